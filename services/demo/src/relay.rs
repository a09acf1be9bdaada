//! A way to a service that can be made long: every byte towards it takes as much time more as the switch says.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::broken::Broken;

/// Pieces on their way at once over one connection; beyond, the caller waits, as with a real line.
const PIECES: usize = 256;
/// The largest piece.
const PIECE: usize = 16 * 1024;

/// Takes connections of `listener` to `service`, until it is dropped.
pub(super) async fn relay(listener: TcpListener, service: SocketAddr, broken: watch::Receiver<Broken>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((caller, _)) => {
                    let broken = broken.clone();
                    connections.spawn(async move {
                        // A connection that breaks on one side ends on the other: that is all there is to tell.
                        let _ = pass(caller, service, broken).await;
                    });
                }
                // Too many open files, or a caller that has left again.
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn pass(caller: TcpStream, service: SocketAddr, broken: watch::Receiver<Broken>) -> io::Result<()> {
    let service = shop_runtime::dial(service).await?;
    caller.set_nodelay(true)?;
    let (mut from_caller, mut to_caller) = caller.into_split();
    let (mut from_service, mut to_service) = service.into_split();
    let (pieces, due) = mpsc::channel(PIECES);
    let back = async {
        tokio::io::copy(&mut from_service, &mut to_caller).await?;
        to_caller.shutdown().await
    };
    let delay = broken.clone();
    tokio::try_join!(read(&mut from_caller, pieces, delay), write(&mut to_service, due, broken), back).map(|_| ())
}

/// A piece, and when the service may have it.
type Piece = (Instant, Vec<u8>);

async fn read(
    from: &mut OwnedReadHalf,
    pieces: mpsc::Sender<Piece>,
    broken: watch::Receiver<Broken>,
) -> io::Result<()> {
    let mut buffer = vec![0; PIECE];
    loop {
        let length = from.read(&mut buffer).await?;
        let due = Instant::now() + broken.borrow().slow;
        if length == 0 || pieces.send((due, buffer[..length].to_vec())).await.is_err() {
            return Ok(());
        }
    }
}

async fn write(
    to: &mut OwnedWriteHalf,
    mut pieces: mpsc::Receiver<Piece>,
    mut broken: watch::Receiver<Broken>,
) -> io::Result<()> {
    while let Some((due, piece)) = pieces.recv().await {
        // Once the switch is off nothing waits any more. An error says that the switch is gone, which is the same.
        tokio::select! {
            () = tokio::time::sleep_until(due) => {}
            _ = broken.wait_for(|broken| broken.slow.is_zero()) => {}
        }
        to.write_all(&piece).await?;
    }
    to.shutdown().await
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A service that says everything back.
    async fn echo() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let at = listener.local_addr().expect("bound");
        tokio::task::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (mut from, mut to) = stream.split();
                let _ = tokio::io::copy(&mut from, &mut to).await;
            }
        });
        at
    }

    async fn ask(stream: &mut TcpStream, word: &[u8]) -> Duration {
        let begun = Instant::now();
        stream.write_all(word).await.expect("written");
        let mut answer = vec![0; word.len()];
        stream.read_exact(&mut answer).await.expect("read");
        assert_eq!(answer, word);
        begun.elapsed()
    }

    #[tokio::test]
    async fn a_call_takes_longer_by_the_delay_until_the_switch_is_off() {
        let switch = watch::Sender::new(Broken::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let front = listener.local_addr().expect("bound");
        let service = echo().await;
        tokio::task::spawn(relay(listener, service, switch.subscribe()));
        let mut stream = TcpStream::connect(front).await.expect("connected");
        ask(&mut stream, b"hello").await;

        let delay = Duration::from_millis(150);
        switch.send_modify(|broken| broken.slow = delay);
        assert!(ask(&mut stream, b"slow").await >= delay);

        switch.send_modify(|broken| broken.slow = Duration::from_hours(1));
        let mend = async {
            tokio::task::yield_now().await;
            switch.send_modify(|broken| broken.slow = Duration::ZERO);
        };
        let (took, ()) = tokio::join!(ask(&mut stream, b"stuck"), mend);
        assert!(took < Duration::from_mins(1), "what waited goes on at once: {took:?}");

        stream.shutdown().await.expect("our side ends");
        assert_eq!(stream.read(&mut [0; 8]).await.expect("the other side ends"), 0);
    }
}
