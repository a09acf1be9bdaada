//! What a good client notices of ten thousand that send their head or body a byte at a time.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use crate::contestant::Contestant;
use crate::gate::Plan;
use crate::load::{Clients, Load};
use crate::process::Process;
use crate::scenario::{self, Scenario, Wire};

/// Half of them send a head, half a body.
pub(crate) const CLIENTS: usize = 10_000;
/// Requests a second of the good client.
pub(crate) const RATE: f64 = 100.0;
/// Each of the three loads takes ten seconds.
const REQUESTS: usize = 1000;
/// The time in which the last of them are accepted, and the backend has their bodies' begin.
const SETTLE: Duration = Duration::from_secs(2);
/// A tick for each hundredth of the slow clients, so that each sends a byte a second.
const TICK: Duration = Duration::from_millis(10);

const HEAD: &[u8] = b"GET /api/products/1k HTTP/1.1\r\nhost: shop.example\r\nx-slow: ";
const BODY: &[u8] = b"POST /api/products/echo HTTP/1.1\r\nhost: shop.example\r\ncontent-length: 1000\r\n\r\n";

/// What the good client saw, and the memory (PSS) in MiB: before, amid and after the slow ones.
pub(crate) struct Slow {
    pub(crate) before: Load,
    pub(crate) amid: Load,
    pub(crate) after: Load,
    pub(crate) memory: (f64, f64, f64),
    /// How often a slow one was cut off, and came back.
    pub(crate) cut: usize,
}

/// Takes forty seconds.
pub(crate) async fn measure(contestant: &Contestant, process: &Process, dir: &Path) -> anyhow::Result<Slow> {
    let port = contestant.port(Wire::Http1);
    let mut good = Clients::open(&Scenario { connections: 4, ..scenario::ALL[0] }, port, dir).await?;
    good.run(Plan { requests: REQUESTS, rate: None }).await?;
    let plan = Plan { requests: REQUESTS, rate: Some(RATE) };
    let before = good.run(plan).await?;
    let quiet = process.memory().0;

    let crowd = Crowd::start(port).await?;
    // What connecting costs is another matter.
    tokio::time::sleep(SETTLE).await;
    let amid = good.run(plan).await?;
    let loaded = process.memory().0;
    let cut = crowd.stop()?;

    tokio::time::sleep(SETTLE).await;
    let after = good.run(plan).await?;
    Ok(Slow { before, amid, after, memory: (quiet, loaded, process.memory().0), cut })
}

/// The slow clients, on a thread of their own: the good one does not wait for them here either.
struct Crowd {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<anyhow::Result<usize>>,
}

impl Crowd {
    /// Returns when all of them are connected.
    async fn start(port: u16) -> anyhow::Result<Self> {
        let (ready, is_ready) = oneshot::channel();
        let stop = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(trickle(port, ready, &ended))
        });
        let crowd = Self { stop, thread };
        if is_ready.await.is_ok() {
            return Ok(crowd);
        }
        // Their thread knows why.
        crowd.stop().and(Err(anyhow!("the slow clients ended early")))
    }

    fn stop(self) -> anyhow::Result<usize> {
        self.stop.store(true, Relaxed);
        self.thread.join().map_err(|_| anyhow!("the slow clients panicked"))?
    }
}

/// Connects all of them, then sends bytes until told to stop. How many had to connect again.
async fn trickle(port: u16, ready: oneshot::Sender<()>, stop: &AtomicBool) -> anyhow::Result<usize> {
    let mut streams = Vec::with_capacity(CLIENTS);
    for number in 0..CLIENTS {
        streams.push(connect(number, port).await.with_context(|| format!("slow client {number}"))?);
    }
    // The good client may have given up.
    let _ = ready.send(());
    let (mut cut, mut next) = (0, 0);
    let mut ticks = tokio::time::interval(TICK);
    while !stop.load(Relaxed) {
        ticks.tick().await;
        for _ in 0..CLIENTS / 100 {
            match streams[next].try_write(b"x") {
                Err(error) if error.kind() != ErrorKind::WouldBlock => {
                    cut += 1;
                    streams[next] = connect(next, port).await?;
                }
                _ => {}
            }
            next = (next + 1) % CLIENTS;
        }
    }
    Ok(cut)
}

async fn connect(number: usize, port: u16) -> std::io::Result<TcpStream> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.set_nodelay(true)?;
    stream.write_all(if number.is_multiple_of(2) { HEAD } else { BODY }).await?;
    Ok(stream)
}
