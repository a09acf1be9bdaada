//! Connections for the server, once they have said something; over TLS after the handshake, if there is any.
//!
//! The server waits for the preface of HTTP/2 as long as it takes, also while it stops: clients that connect and keep
//! silent would pile up, and hold up the end.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::stream::{self, FuturesUnordered, Stream, StreamExt};
use shop_tls::TlsStream;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, BufReader, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_util::either::Either;
use tonic::transport::server::{Connected, TcpConnectInfo};

/// Longest silence after connecting, and longest handshake; clients say who they are at once.
const FIRST_BYTE: Duration = Duration::from_secs(10);

/// How long to wait when nothing can be accepted, for want of file descriptors as a rule: others end meanwhile.
const PAUSE: Duration = Duration::from_millis(50);

/// A connection that has said something.
#[derive(Debug)]
pub(crate) struct Connection(Either<TcpStream, Box<BufReader<TlsStream<TcpStream>>>>);

/// What `listener` accepts. Dropped, it closes the listener and the connections that were silent so far.
pub(crate) fn accepted(
    listener: TcpListener,
    tls: Option<Arc<shop_tls::Server>>,
) -> impl Stream<Item = io::Result<Connection>> {
    stream::unfold((listener, tls, FuturesUnordered::new()), async |(listener, tls, mut silent)| {
        loop {
            tokio::select! {
                Some(spoken) = silent.next() => {
                    if let Some(stream) = spoken {
                        return Some((Ok(stream), (listener, tls, silent)));
                    }
                }
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => silent.push(first_byte(stream, tls.clone())),
                    Err(error) => {
                        tracing::warn!(%error, "a connection could not be accepted");
                        sleep(PAUSE).await;
                    }
                },
            }
        }
    })
}

/// Nothing when the client was silent for too long, or left.
async fn first_byte(stream: TcpStream, tls: Option<Arc<shop_tls::Server>>) -> Option<Connection> {
    let spoken = async {
        let Some(tls) = tls else {
            let seen = stream.peek(&mut [0]).await.ok()?;
            return (seen > 0).then_some(Either::Left(stream));
        };
        let shaken = tls.accept(stream).await;
        let stream = shaken.inspect_err(|error| tracing::debug!(%error, "a TLS handshake failed")).ok()?;
        let mut stream = Box::new(BufReader::new(stream));
        let seen = !stream.fill_buf().await.ok()?.is_empty();
        seen.then_some(Either::Right(stream))
    };
    timeout(FIRST_BYTE, spoken).await.ok()?.map(Connection)
}

impl Connected for Connection {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        match &self.0 {
            Either::Left(stream) => stream.connect_info(),
            Either::Right(stream) => stream.get_ref().get_ref().0.connect_info(),
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn who_says_nothing_is_overtaken_and_let_go_at_the_end() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let addr = listener.local_addr().expect("bound");
        let mut silent = TcpStream::connect(addr).await.expect("listens");
        let mut spoken = TcpStream::connect(addr).await.expect("listens");
        spoken.write_all(b"PRI").await.expect("open");
        {
            let mut all = pin!(accepted(listener, None));
            let arrived = all.next().await.expect("goes on").expect("accepted");
            let peer = arrived.connect_info().remote_addr().expect("connected");
            assert_eq!(peer, spoken.local_addr().expect("connected"));
        }
        assert_eq!(silent.read(&mut [0]).await.expect("closed in order"), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn silence_has_an_end() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let _client = TcpStream::connect(listener.local_addr().expect("bound")).await.expect("listens");
        let (stream, _) = listener.accept().await.expect("connected");
        assert!(first_byte(stream, None).await.is_none());
    }
}
