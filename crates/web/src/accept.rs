//! Accepted connections, with an end to those that say nothing, or too slowly.
//!
//! The server tells HTTP/1.1 and HTTP/2 apart by a connection's first bytes and does not look at the stop meanwhile: a
//! client that connected ahead of its need would hold it up. And hyper's own limit on a head also runs while a kept
//! connection waits for its next request, so it has to be the idle limit; the first head's limit is kept here.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::uri::Scheme;
use salvo::conn::tcp::{TcpAcceptor, TcpCoupler};
use salvo::conn::{Accepted, Acceptor, HandshakeStream, Holding, StraightStream};
use salvo::fuse::ArcFusePolicy;
use shop_runtime::CancellationToken;
use shop_tls::TlsStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;
use tokio_util::either::Either;
use tokio_util::sync::WaitForCancellationFutureOwned;

/// In cleartext, or over TLS once hands are shaken, which is with the first read.
type Stream = Either<StraightStream<TcpStream>, HandshakeStream<TlsStream<StraightStream<TcpStream>>>>;

/// Accepts what `inner` accepts.
pub(crate) struct Stoppable {
    pub(crate) inner: TcpAcceptor,
    /// What hands are shaken by, if they are.
    pub(crate) tls: Option<Arc<shop_tls::Server>>,
    /// When silent connections end.
    pub(crate) stop: CancellationToken,
    /// How long a connection may take over its first head.
    pub(crate) head: Duration,
}

impl Acceptor for Stoppable {
    type Coupler = TcpCoupler<Self::Stream>;
    type Stream = Connection<Stream>;

    fn holdings(&self) -> &[Holding] {
        self.inner.holdings()
    }

    async fn accept(&mut self, fuse: Option<ArcFusePolicy>) -> io::Result<Accepted<Self::Coupler, Self::Stream>> {
        let mut accepted = self.inner.accept(fuse).await?;
        let fuse = accepted.fuse_config;
        let tls = self.tls.clone();
        if tls.is_some() {
            accepted.http_scheme = Scheme::HTTPS;
        }
        let silent = Some(Box::pin(self.stop.clone().cancelled_owned()));
        let head = Some(Head { limit: Box::pin(tokio::time::sleep(self.head)), empty_line: Line::Text });
        let stream = |stream| match tls {
            None => Either::Left(stream),
            Some(tls) => Either::Right(HandshakeStream::new(shaken(tls, stream), fuse)),
        };
        Ok(accepted.map_into(|_| TcpCoupler::new(), |inner| Connection { inner: stream(inner), silent, head }))
    }
}

async fn shaken<S>(tls: Arc<shop_tls::Server>, stream: S) -> io::Result<TlsStream<S>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    tls.accept(stream).await.inspect_err(|error| tracing::debug!(%error, "a TLS handshake failed"))
}

/// A connection that ends at the stop as long as nothing came on it, and when its first head takes too long; what came
/// before is read, never lost.
pub(crate) struct Connection<S> {
    inner: S,
    /// The stop, until the first byte.
    silent: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    /// The first head, until its end.
    head: Option<Head>,
}

/// A head on its way: it ends with an empty line, and so does the preface of HTTP/2.
struct Head {
    limit: Pin<Box<Sleep>>,
    empty_line: Line,
}

/// What the line under way holds so far.
#[derive(Clone, Copy, PartialEq)]
enum Line {
    Begun,
    Text,
}

impl Head {
    /// Whether the head ends within `bytes`.
    fn ends(&mut self, bytes: &[u8]) -> bool {
        for byte in bytes {
            self.empty_line = match (byte, self.empty_line) {
                (b'\n', Line::Begun) => return true,
                (b'\n', Line::Text) => Line::Begun,
                (b'\r', line) => line,
                _ => Line::Text,
            };
        }
        false
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Connection<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.inner).poll_read(cx, buf);
        if read.is_ready() {
            self.silent = None;
            if self.head.as_mut().is_some_and(|head| head.ends(&buf.filled()[before..])) {
                self.head = None;
            }
            return read;
        }
        let stopped = self.silent.as_mut().is_some_and(|stop| stop.as_mut().poll(cx).is_ready());
        let late = self.head.as_mut().is_some_and(|head| head.limit.as_mut().poll(cx).is_ready());
        // Nothing was put into `buf`: that is how a stream ends.
        if stopped || late { Poll::Ready(Ok(())) } else { Poll::Pending }
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
