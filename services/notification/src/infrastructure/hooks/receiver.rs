//! A receiver of webhooks for tests: it does what it is told, good or bad, and remembers what it got.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::connect::Network;

/// What to do with one request.
#[derive(Debug, Clone, Copy)]
pub(super) enum Act {
    /// Write this and wait for the next one on the same connection.
    Answer(&'static str),
    /// Write this and close.
    Last(&'static str),
    /// Write this and no more, until the caller hangs up.
    Stall(&'static str),
    /// Write the first once and the second for ever.
    Flood(&'static str, &'static str),
}

/// One request that came in.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) head: String,
    pub(super) body: Vec<u8>,
}

impl Seen {
    /// The value of a header, by its name in lower case.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.filter(|(header, _)| header.eq_ignore_ascii_case(name)).map(|(_, value)| value).next()
    }
}

#[derive(Debug, Default)]
struct Shared {
    acts: Mutex<VecDeque<Act>>,
    seen: Mutex<Vec<Seen>>,
    connections: AtomicUsize,
    closed: AtomicUsize,
}

/// A listener on a loopback port.
#[derive(Debug)]
pub(super) struct Receiver {
    pub(super) address: SocketAddr,
    shared: Arc<Shared>,
}

impl Receiver {
    /// Does `acts` in turn, then answers 200.
    pub(super) async fn start(acts: &[Act], tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let address = listener.local_addr().expect("is bound");
        let shared = Arc::new(Shared { acts: Mutex::new(acts.iter().copied().collect()), ..Shared::default() });
        let state = Arc::clone(&shared);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (state, tls) = (Arc::clone(&state), tls.clone());
                state.connections.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(async move {
                    match tls {
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => serve(stream, &state).await.ok(),
                            Err(_) => None,
                        },
                        None => serve(stream, &state).await.ok(),
                    };
                    state.closed.fetch_add(1, Ordering::Relaxed);
                });
            }
        });
        Self { address, shared }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/hooks/s3cr3t?key=s3cr3t", self.address)
    }

    /// The requests so far.
    pub(super) fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().clone()
    }

    /// The connections so far, and how many of them are over.
    pub(super) fn connections(&self) -> (usize, usize) {
        (self.shared.connections.load(Ordering::Relaxed), self.shared.closed.load(Ordering::Relaxed))
    }
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, shared: &Shared) -> io::Result<()> {
    loop {
        let seen = request(&mut stream).await?;
        shared.seen.lock().push(seen);
        let act = shared.acts.lock().pop_front().unwrap_or(Act::Answer("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"));
        match act {
            Act::Answer(text) => stream.write_all(text.as_bytes()).await?,
            Act::Last(text) => {
                stream.write_all(text.as_bytes()).await?;
                return stream.shutdown().await;
            }
            Act::Stall(text) => {
                stream.write_all(text.as_bytes()).await?;
                while stream.read(&mut [0; 64]).await? > 0 {}
                return Ok(());
            }
            Act::Flood(first, more) => {
                stream.write_all(first.as_bytes()).await?;
                loop {
                    stream.write_all(more.as_bytes()).await?;
                }
            }
        }
    }
}

async fn request<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<Seen> {
    let mut bytes = Vec::new();
    loop {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4);
        if let Some(end) = end {
            let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
            let mut seen = Seen { head, body: bytes[end..].to_vec() };
            let length = seen.header("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
            if seen.body.len() >= length {
                seen.body.truncate(length);
                return Ok(seen);
            }
        }
        if stream.read_buf(&mut bytes).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// A network in which names lead where a test says, and every connection ends at one receiver.
#[derive(Debug)]
pub(super) struct Pretended {
    answers: Mutex<VecDeque<Vec<IpAddr>>>,
    receiver: SocketAddr,
    stuck: bool,
    dialled: Mutex<Vec<SocketAddr>>,
}

impl Pretended {
    /// Look-ups are answered by `answers` in turn, then by nothing.
    pub(super) fn new(receiver: &Receiver, answers: &[&[&str]]) -> Arc<Self> {
        let parsed = answers.iter().map(|ips| ips.iter().map(|ip| ip.parse().expect("an address")).collect());
        Arc::new(Self {
            answers: Mutex::new(parsed.collect()),
            receiver: receiver.address,
            stuck: false,
            dialled: Mutex::default(),
        })
    }

    /// As [`new`](Self::new), but the first address that is dialled never answers.
    pub(super) fn stuck(receiver: &Receiver, answers: &[&[&str]]) -> Arc<Self> {
        let network = Arc::into_inner(Self::new(receiver, answers)).expect("is ours alone");
        Arc::new(Self { stuck: true, ..network })
    }

    /// What was connected to.
    pub(super) fn dialled(&self) -> Vec<String> {
        self.dialled.lock().iter().map(SocketAddr::to_string).collect()
    }
}

#[async_trait]
impl Network for Pretended {
    async fn lookup(&self, _: &str) -> io::Result<Vec<IpAddr>> {
        self.answers.lock().pop_front().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    async fn dial(&self, address: SocketAddr) -> io::Result<TcpStream> {
        let first = {
            let mut dialled = self.dialled.lock();
            dialled.push(address);
            dialled.len() == 1
        };
        if self.stuck && first {
            tokio::time::sleep(Duration::MAX).await;
        }
        TcpStream::connect(self.receiver).await
    }
}
