//! Connections for the server, once they have said something.
//!
//! The server waits for the preface of HTTP/2 as long as it takes, also while it stops: clients that connect and keep
//! silent would pile up, and hold up the end.

use std::time::Duration;

use futures_util::stream::{self, FuturesUnordered, Stream, StreamExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};

/// Longest silence after connecting; clients say who they are at once.
const FIRST_BYTE: Duration = Duration::from_secs(10);

/// How long to wait when nothing can be accepted, for want of file descriptors as a rule: others end meanwhile.
const PAUSE: Duration = Duration::from_millis(50);

/// What `listener` accepts. Dropped, it closes the listener and the connections that were silent so far.
pub(crate) fn accepted(listener: TcpListener) -> impl Stream<Item = std::io::Result<TcpStream>> {
    stream::unfold((listener, FuturesUnordered::new()), async |(listener, mut silent)| {
        loop {
            tokio::select! {
                Some(spoken) = silent.next() => {
                    if let Some(stream) = spoken {
                        return Some((Ok(stream), (listener, silent)));
                    }
                }
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => silent.push(first_byte(stream)),
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
async fn first_byte(stream: TcpStream) -> Option<TcpStream> {
    let seen = timeout(FIRST_BYTE, stream.peek(&mut [0])).await.ok()?.ok()?;
    (seen > 0).then_some(stream)
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
            let mut all = pin!(accepted(listener));
            let arrived = all.next().await.expect("goes on").expect("accepted");
            assert_eq!(arrived.peer_addr().expect("connected"), spoken.local_addr().expect("connected"));
        }
        assert_eq!(silent.read(&mut [0]).await.expect("closed in order"), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn silence_has_an_end() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let _client = TcpStream::connect(listener.local_addr().expect("bound")).await.expect("listens");
        let (stream, _) = listener.accept().await.expect("connected");
        assert!(first_byte(stream).await.is_none());
    }
}
