//! A client's socket, as it is opened and as hyper reads it over HTTP/2; the [`ConnectionState`] sees what moves.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use shop_http1::read_buffer;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::ConnectionState;
use super::socket::Socket;

/// What an HTTP/2 client sends first (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Reads until it is clear whether this is HTTP/2. Nothing when the client closed without a word.
pub(super) async fn sniff(stream: &mut Socket) -> io::Result<Option<(Bytes, bool)>> {
    let mut seen = Bytes::new();
    loop {
        let more = poll_fn(|cx| read_buffer::poll_read(stream, None, cx)).await?;
        if more.is_empty() {
            return Ok((!seen.is_empty()).then_some((seen, false)));
        }
        seen = if seen.is_empty() { more } else { [seen, more].concat().into() };
        let known = seen.len().min(PREFACE.len());
        if seen[..known] != PREFACE[..known] {
            return Ok(Some((seen, false)));
        }
        if known == PREFACE.len() {
            return Ok(Some((seen, true)));
        }
    }
}

/// The socket of an HTTP/2 client.
pub(super) struct ClientStream {
    stream: Socket,
    /// Read before it was known what it is.
    begin: Bytes,
    state: Arc<ConnectionState>,
}

impl ClientStream {
    /// The socket of a client that has sent `begin`.
    pub(super) fn new(stream: Socket, begin: Bytes, state: Arc<ConnectionState>) -> Self {
        Self { stream, begin, state }
    }

    fn written(&self, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        self.state.writes(result.is_pending());
        result
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.begin.has_remaining() {
            let size = self.begin.len().min(buf.remaining());
            buf.put_slice(&self.begin.split_to(size));
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.written(result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.written(result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
