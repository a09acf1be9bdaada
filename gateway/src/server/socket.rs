//! A client's socket, with or without TLS, and what watches over the writes to it.

use std::io;
use std::ops::Deref;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;

use super::ConnectionState;

/// A client's socket, with TLS on the right. One type, so that the code for connections is there once.
pub(super) type Socket = Either<TcpStream, Box<TlsStream<TcpStream>>>;

/// It will be closed with RST: what came so far is not all, and without a length only that can say so.
pub(super) fn will_reset(socket: &Socket) {
    let stream = match socket {
        Either::Left(stream) => stream,
        Either::Right(stream) => stream.get_ref().0,
    };
    // A client that is gone already needs none.
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

/// A socket that is written to under the eyes of a [`ConnectionState`].
pub(super) struct Watched<S, C> {
    pub(super) socket: S,
    /// Read before.
    pub(super) begin: Bytes,
    pub(super) state: C,
    /// The latest write found no room.
    pub(super) is_stalled: bool,
}

impl<S, C: Deref<Target = ConnectionState>> Watched<S, C> {
    fn note(&mut self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        self.is_stalled = written.is_pending();
        self.state.writes(self.is_stalled);
        written
    }
}

impl<S: AsyncRead + Unpin, C: Unpin> AsyncRead for Watched<S, C> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.begin.has_remaining() {
            let size = self.begin.len().min(buf.remaining());
            buf.put_slice(&self.begin.split_to(size));
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.socket).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin, C: Deref<Target = ConnectionState> + Unpin> AsyncWrite for Watched<S, C> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write(cx, buf);
        self.note(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write_vectored(cx, parts);
        self.note(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
