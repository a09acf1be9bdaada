//! What a connection is after a 101, or a stream over HTTP/2: bytes both ways, as they come, until both sides have ended.

use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional};
use tokio::time::{Instant, Sleep};

use crate::message::reason::Reason;
use crate::record::RequestRecord;
use crate::routing::InFlight;
use crate::server::{self, ConnectionState};
use crate::settings::Config;
use crate::upstream::Stream;

/// A tunnel between a client and a backend, with what must be held as long as it is open.
pub(crate) struct Tunnel {
    link: Option<Link>,
    record: RequestRecord,
    limits: Limits,
    traffic: Arc<Traffic>,
}

/// The backend's side.
pub(crate) struct Link {
    pub(crate) backend: Stream,
    /// What it has said already.
    pub(crate) early: Bytes,
    pub(crate) in_flight: InFlight,
}

/// How long nothing may move.
#[derive(Clone, Copy)]
struct Limits {
    open: Duration,
    /// After one side has ended: what is left is the rest of an answer.
    half_closed: Duration,
    /// While the client takes nothing.
    stall: Duration,
}

/// What moved, and when last.
struct Traffic {
    begun: Instant,
    /// Milliseconds from `begun` to the latest byte.
    latest: AtomicU64,
    client: Side,
    backend: Side,
}

/// What came from one side.
#[derive(Default)]
struct Side {
    bytes: AtomicU64,
    ended: AtomicBool,
    broke: AtomicBool,
    /// Since when it takes nothing of what is there for it, in milliseconds from the begin, plus one; 0 when it does.
    stuck: AtomicU64,
}

impl Traffic {
    fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX - 1)
    }

    fn moved(&self) {
        self.latest.store(self.now(), Relaxed);
    }

    fn is_half_closed(&self) -> bool {
        self.client.ended.load(Relaxed) || self.backend.ended.load(Relaxed)
    }

    /// When it has been quiet for too long, as things are.
    fn due(&self, limits: Limits) -> Instant {
        let limit = if self.is_half_closed() { limits.half_closed.min(limits.open) } else { limits.open };
        let quiet = self.begun + Duration::from_millis(self.latest.load(Relaxed)) + limit;
        match self.client.stuck.load(Relaxed) {
            0 => quiet,
            since => quiet.min(self.begun + Duration::from_millis(since - 1) + limits.stall),
        }
    }

    /// Ready when nothing moved for too long. The timer is moved on only when it fires, not with each byte, and back when a side
    /// has ended.
    fn poll_quiet(&self, limits: Limits, mut timer: Pin<&mut Sleep>, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let due = self.due(limits);
            if due < timer.deadline() {
                timer.as_mut().reset(due);
            }
            ready!(timer.as_mut().poll(cx));
            if due <= Instant::now() {
                return Poll::Ready(());
            }
            timer.as_mut().reset(due);
        }
    }
}

impl Tunnel {
    /// The tunnel to `link`, recorded in `record`.
    pub(crate) fn new(link: Link, record: RequestRecord, config: &Config) -> Box<Self> {
        let traffic = Traffic {
            begun: Instant::now(),
            latest: AtomicU64::new(0),
            client: Side::default(),
            backend: Side::default(),
        };
        let limits = Limits {
            open: config.upstream.tunnel_idle.get(),
            half_closed: config.upstream.idle_timeout.get(),
            stall: config.limits.write_stall.get(),
        };
        Box::new(Self { link: Some(link), record, limits, traffic: Arc::new(traffic) })
    }
}

impl server::handler::Tunnel for Tunnel {
    /// Passes bytes on until both sides have ended, one breaks, nothing moves for too long, or `connection` says to cut.
    async fn run<C>(mut self: Box<Self>, client: C, early: Bytes, connection: Option<&ConnectionState>) -> bool
    where
        C: AsyncRead + AsyncWrite + Unpin + Send,
    {
        // Counted among the backend's calls to the end.
        let Some(Link { backend, early: answered, in_flight: _in_flight }) = self.link.take() else { return true };
        let traffic = Arc::clone(&self.traffic);
        let mut client = Metered { stream: client, early, side: &traffic.client, traffic: &traffic };
        let mut backend = Metered { stream: backend, early: answered, side: &traffic.backend, traffic: &traffic };
        let mut copy = pin!(copy_bidirectional(&mut client, &mut backend));
        let mut timer = pin!(tokio::time::sleep_until(traffic.due(self.limits)));
        let end = std::future::poll_fn(|cx| {
            if connection.is_some_and(|connection| connection.poll_cut(cx).is_ready()) {
                return Poll::Ready(Some(self.record.cut_reason()));
            }
            match copy.as_mut().poll(cx) {
                Poll::Ready(Ok(_)) => Poll::Ready(None),
                Poll::Ready(Err(_)) if traffic.backend.broke.load(Relaxed) => Poll::Ready(Some(Reason::UpstreamReset)),
                // Or its connection was closed here.
                Poll::Ready(Err(_)) => Poll::Ready(Some(self.record.cut_reason())),
                Poll::Pending => traffic.poll_quiet(self.limits, timer.as_mut(), cx).map(|()| Some(Reason::TunnelIdle)),
            }
        });
        let broke_off = end.await;
        match broke_off {
            None => self.record.complete(),
            Some(reason) => self.record.broke_off(reason),
        }
        broke_off.is_none()
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        let bytes = |side: &Side| side.bytes.load(Relaxed);
        self.record.tunnelled(bytes(&self.traffic.client), bytes(&self.traffic.backend));
    }
}

/// One side's stream, which notes what moves.
struct Metered<'a, S> {
    stream: S,
    /// Read before the tunnel began.
    early: Bytes,
    side: &'a Side,
    traffic: &'a Traffic,
}

impl<S> Metered<'_, S> {
    fn note<T>(&self, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        match &result {
            Poll::Ready(Ok(_)) => self.traffic.moved(),
            Poll::Ready(Err(_)) => self.side.broke.store(true, Relaxed),
            Poll::Pending => {}
        }
        result
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<'_, S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let result = if self.early.has_remaining() {
            let size = self.early.len().min(buf.remaining());
            buf.put_slice(&self.early.split_to(size));
            Poll::Ready(Ok(()))
        } else {
            Pin::new(&mut self.stream).poll_read(cx, buf)
        };
        let size = buf.filled().len() - before;
        if result.is_ready() && size == 0 {
            self.side.ended.store(true, Relaxed);
        }
        self.side.bytes.fetch_add(u64::try_from(size).unwrap_or(u64::MAX), Relaxed);
        self.note(result)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<'_, S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, buf);
        let stuck = &self.side.stuck;
        if result.is_ready() {
            stuck.store(0, Relaxed);
        } else if stuck.load(Relaxed) == 0 {
            stuck.store(self.traffic.now() + 1, Relaxed);
        }
        self.note(result)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_flush(cx);
        if let Poll::Ready(Err(_)) = result {
            self.side.broke.store(true, Relaxed);
        }
        result
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.note(result)
    }
}
