//! A client's socket. What HTTP/1.1 clients send passes [`Framing`] before hyper reads it; the [`Watch`] sees what moves.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio_util::io::poll_read_buf;

use super::Watch;
use super::farewell::Farewell;
use super::framing::{Fault, Framing};
use super::socket::Socket;

/// What an HTTP/2 client sends first (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Room for most request heads, so that telling protocols apart takes no read of its own.
const FIRST_READ: usize = 4096;

/// Reads until it is clear whether this is HTTP/2. Nothing when the client closed without a word.
pub(super) async fn sniff(stream: &mut Socket) -> io::Result<Option<(BytesMut, bool)>> {
    let mut seen = BytesMut::with_capacity(FIRST_READ);
    loop {
        if stream.read_buf(&mut seen).await? == 0 {
            return Ok((!seen.is_empty()).then_some((seen, false)));
        }
        let known = seen.len().min(PREFACE.len());
        if seen[..known] != PREFACE[..known] {
            return Ok(Some((seen, false)));
        }
        if known == PREFACE.len() {
            return Ok(Some((seen, true)));
        }
    }
}

/// A client's socket.
pub(super) struct ClientStream {
    stream: Socket,
    /// Read and checked, for hyper to take.
    checked: Bytes,
    watch: Arc<Watch>,
    /// For HTTP/1.1 only.
    guard: Option<Guard>,
    /// Informational answers being sent.
    interim: Bytes,
    /// Nothing of an answer waits to be written.
    is_between: bool,
}

/// What keeps ambiguous requests from hyper.
struct Guard {
    framing: Framing,
    /// The begin of a head.
    partial: BytesMut,
    refuse: Box<dyn Fn(Fault) -> Bytes + Send>,
    refused: Option<Refused>,
}

/// A client that is told why nothing more is read.
enum Refused {
    /// In a body: its request says so.
    Body(Fault),
    /// In a head: it is told after the answers to what came before.
    Head(Fault),
    Leaving(Farewell),
}

impl Guard {
    /// Looks at `bytes`; so much of them is for hyper.
    fn check(&mut self, bytes: &[u8]) -> usize {
        let (passed, fault) = self.framing.follow(bytes);
        let is_in_body = self.framing.is_in_body();
        self.refused = fault.map(|fault| if is_in_body { Refused::Body(fault) } else { Refused::Head(fault) });
        passed
    }
}

impl ClientStream {
    /// Of an HTTP/2 client that has sent `begin`.
    pub(super) fn http2(stream: Socket, begin: BytesMut, watch: Arc<Watch>) -> Self {
        Self { stream, checked: begin.freeze(), watch, guard: None, interim: Bytes::new(), is_between: false }
    }

    /// Of an HTTP/1.1 client that has sent `begin`. `refuse` makes the answer to what must not be handed on.
    pub(super) fn http1(
        stream: Socket,
        mut begin: BytesMut,
        watch: Arc<Watch>,
        framing: Framing,
        refuse: Box<dyn Fn(Fault) -> Bytes + Send>,
    ) -> Self {
        let mut guard = Guard { framing, partial: BytesMut::new(), refuse, refused: None };
        let checked = begin.split_to(guard.check(&begin)).freeze();
        guard.partial = begin;
        Self { stream, checked, watch, guard: Some(guard), interim: Bytes::new(), is_between: true }
    }

    /// Without its guard: it speaks another protocol from now on, beginning with what was read ahead.
    pub(super) fn unguarded(mut self) -> Self {
        if let Some(Guard { partial, .. }) = self.guard.take()
            && !partial.is_empty()
        {
            self.checked = [&self.checked[..], &partial].concat().into();
        }
        self
    }

    /// Sends informational answers, where one may stand: before or after an answer, never inside.
    fn poll_interim(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.guard.is_some()
            && let Some(interim) = self.watch.take_interim(self.is_between)
        {
            self.interim =
                if self.interim.is_empty() { interim } else { [&self.interim, &interim[..]].concat() }.into();
        }
        while self.interim.has_remaining() {
            let written = Pin::new(&mut self.stream).poll_write(cx, &self.interim);
            let size = ready!(self.written(written))?;
            if size == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.interim.advance(size);
        }
        Poll::Ready(Ok(()))
    }

    fn written(&self, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        self.watch.writes(result.is_pending());
        result
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if this.checked.has_remaining() {
                let size = this.checked.len().min(buf.remaining());
                buf.put_slice(&this.checked.split_to(size));
                return Poll::Ready(Ok(()));
            }
            let stream = Pin::new(&mut this.stream);
            let before = buf.filled().len();
            let Some(guard) = &mut this.guard else {
                ready!(stream.poll_read(cx, buf))?;
                if buf.filled().len() > before {
                    this.watch.reads();
                }
                return Poll::Ready(Ok(()));
            };
            match &mut guard.refused {
                None => {}
                Some(Refused::Body(fault)) => {
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, fault.detail)));
                }
                // Answers to earlier requests come first: see `poll_flush`.
                Some(Refused::Head(_)) => return Poll::Pending,
                Some(Refused::Leaving(farewell)) => {
                    ready!(farewell.poll(stream, cx));
                    return Poll::Ready(Ok(()));
                }
            }
            if guard.partial.is_empty() {
                ready!(stream.poll_read(cx, buf))?;
                let fresh = &buf.filled()[before..];
                if fresh.is_empty() {
                    return Poll::Ready(Ok(()));
                }
                this.watch.reads();
                let passed = guard.check(fresh);
                guard.partial.extend_from_slice(&fresh[passed..]);
                buf.set_filled(before + passed);
                if passed > 0 {
                    return Poll::Ready(Ok(()));
                }
            } else {
                // The rest of a head that came in pieces.
                if ready!(poll_read_buf(stream, cx, &mut guard.partial))? == 0 {
                    return Poll::Ready(Ok(()));
                }
                this.watch.reads();
                let mut partial = std::mem::take(&mut guard.partial);
                this.checked = partial.split_to(guard.check(&partial)).freeze();
                guard.partial = partial;
            }
        }
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_interim(cx))?;
        self.is_between = false;
        let result = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.written(result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_interim(cx))?;
        self.is_between = false;
        let result = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.written(result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// hyper flushes when it has written all it has.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        this.is_between = true;
        ready!(this.poll_interim(cx))?;
        if let Some(guard) = &mut this.guard
            && let Some(Refused::Head(fault)) = guard.refused
            && this.watch.served() >= guard.framing.heads()
        {
            // All that came before is answered, and nothing waits in between.
            guard.partial = BytesMut::new();
            guard.refused = Some(Refused::Leaving(Farewell::new((guard.refuse)(fault))));
            this.watch.leaves();
            cx.waker().wake_by_ref();
        }
        Pin::new(&mut this.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.guard.as_ref().is_some_and(|guard| matches!(guard.refused, Some(Refused::Leaving(_)))) {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
