//! Accepted connections, with an end to those that have not said a word when the stop comes.
//!
//! The server tells HTTP/1.1 and HTTP/2 apart by a connection's first bytes and does not look at the stop meanwhile: a
//! client that connected ahead of its need would hold it up until `http.header_timeout`.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use salvo::conn::tcp::{TcpAcceptor, TcpCoupler};
use salvo::conn::{Accepted, Acceptor, Holding, StraightStream};
use salvo::fuse::ArcFusePolicy;
use shop_runtime::CancellationToken;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_util::sync::WaitForCancellationFutureOwned;

/// Accepts what `inner` accepts.
pub(crate) struct Stoppable {
    pub(crate) inner: TcpAcceptor,
    /// When silent connections end.
    pub(crate) stop: CancellationToken,
}

impl Acceptor for Stoppable {
    type Coupler = TcpCoupler<Self::Stream>;
    type Stream = Connection<StraightStream<TcpStream>>;

    fn holdings(&self) -> &[Holding] {
        self.inner.holdings()
    }

    async fn accept(&mut self, fuse: Option<ArcFusePolicy>) -> io::Result<Accepted<Self::Coupler, Self::Stream>> {
        let accepted = self.inner.accept(fuse).await?;
        let silent = Some(Box::pin(self.stop.clone().cancelled_owned()));
        Ok(accepted.map_into(|_| TcpCoupler::new(), |inner| Connection { inner, silent }))
    }
}

/// A connection that ends at the stop as long as nothing came on it; what came before is read, never lost.
pub(crate) struct Connection<S> {
    inner: S,
    /// The stop, until the first byte.
    silent: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Connection<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.inner).poll_read(cx, buf);
        let Some(stop) = &mut self.silent else { return read };
        if read.is_pending() && stop.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        self.silent = None;
        // At the stop nothing was put into `buf`: that is how a stream ends.
        if read.is_pending() { Poll::Ready(Ok(())) } else { read }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Connection<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
