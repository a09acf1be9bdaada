//! A client's socket: the bytes read to tell protocols apart come first, and its [`Watch`] sees what moves.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::Watch;

/// What an HTTP/2 client sends first (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Room for most request heads, so that telling protocols apart takes no read of its own.
const FIRST_READ: usize = 4096;

/// Reads until it is clear whether this is HTTP/2. Nothing when the client closed without a word.
pub(super) async fn sniff(stream: &mut TcpStream) -> io::Result<Option<(Bytes, bool)>> {
    let mut seen = BytesMut::with_capacity(FIRST_READ);
    loop {
        if stream.read_buf(&mut seen).await? == 0 {
            return Ok((!seen.is_empty()).then(|| (seen.freeze(), false)));
        }
        let known = seen.len().min(PREFACE.len());
        if seen[..known] != PREFACE[..known] {
            return Ok(Some((seen.freeze(), false)));
        }
        if known == PREFACE.len() {
            return Ok(Some((seen.freeze(), true)));
        }
    }
}

/// A client's socket.
pub(super) struct ClientStream {
    stream: TcpStream,
    prefix: Bytes,
    watch: Arc<Watch>,
}

impl ClientStream {
    pub(super) fn new(stream: TcpStream, prefix: Bytes, watch: Arc<Watch>) -> Self {
        Self { stream, prefix, watch }
    }

    fn written(&self, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        self.watch.writes(result.is_pending());
        result
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.prefix.has_remaining() {
            let size = self.prefix.len().min(buf.remaining());
            buf.put_slice(&self.prefix.split_to(size));
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        let result = Pin::new(&mut self.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.watch.reads();
        }
        result
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
