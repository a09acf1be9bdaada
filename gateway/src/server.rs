//! Client connections: accepted by each worker on its own listener, told apart by preface. Those over HTTP/2 are hyper's.

mod connection_state;
pub(crate) mod doors;
pub(crate) mod handler;
mod http1;
mod lingering_close;
mod socket;
mod stream;
pub(crate) mod tls;
pub(crate) mod worker;

pub(crate) use connection_state::{ConnectionState, Occupied};

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use parking_lot::Mutex;
use shop_runtime::CancellationToken;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, timeout_at};

use self::connection_state::Command;
use self::doors::Door;
use self::handler::Handler;
use self::http1::Connection;
use self::socket::{Socket, Watched};
use self::stream::sniff;
use crate::server::tls::Tls;
use crate::state::State;
use crate::upstream::body::Incoming;

/// How often limits on connections are looked after.
const SWEEP: Duration = Duration::from_secs(1);
/// So many connections are looked after, and perhaps end, before others have their turn: a flood that came together is slow
/// together, and its end shall not hold up everybody else.
const LOOKED_AT_ONCE: usize = 16;
/// After running out of file descriptors, wait for others to end instead of spinning.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
const H2_STREAM_WINDOW: u32 = 256 * 1024;
const H2_CONNECTION_WINDOW: u32 = 1024 * 1024;
const H2_PING_INTERVAL: Duration = Duration::from_secs(30);

/// One thread's share of the gateway.
pub(crate) struct Worker<H> {
    handler: Arc<H>,
    state: Arc<State>,
    /// Which of the backends' pools are this worker's.
    index: usize,
    connections: Mutex<HashMap<u64, Arc<ConnectionState>>>,
    next: AtomicU64,
    largest_head: usize,
    http2: http2::Builder<TokioExecutor>,
}

impl<H: Handler> Worker<H> {
    /// The worker number `index`, for whose requests `handler` answers.
    pub(crate) fn new(handler: Arc<H>, state: Arc<State>, index: usize) -> Arc<Self> {
        let generation = state.settings.current();
        let limits = &generation.config.limits;
        let head = usize::try_from(limits.head).unwrap_or(usize::MAX);
        let mut http2 = http2::Builder::new(TokioExecutor::new());
        http2
            .timer(TokioTimer::new())
            .max_header_list_size(limits.head)
            .max_concurrent_streams(limits.h2_streams)
            .initial_stream_window_size(H2_STREAM_WINDOW)
            .initial_connection_window_size(H2_CONNECTION_WINDOW)
            .keep_alive_interval(H2_PING_INTERVAL);
        Arc::new(Self {
            handler,
            state,
            index,
            connections: Mutex::default(),
            next: AtomicU64::new(0),
            largest_head: head,
            http2,
        })
    }

    /// Accepts what comes in by `door` until `stop`.
    pub(crate) async fn accept(self: Arc<Self>, listener: TcpListener, door: Door, stop: CancellationToken) {
        loop {
            let accepted = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => {
                    shop_runtime::spawn_here(Arc::clone(&self).connection(stream, peer, door.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Cuts connections that are too slow, and closes those unused for too long, on both sides.
    pub(crate) async fn sweep(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(SWEEP);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let generation = self.state.settings.current();
            let config = &generation.config;
            let watches: Vec<_> = self.connections.lock().values().cloned().collect();
            for some in watches.chunks(LOOKED_AT_ONCE) {
                some.iter().filter_map(|one| one.look(config)).for_each(|reason| self.count_cut(reason));
                tokio::task::yield_now().await;
            }
            let idle = config.upstream.pool_idle.get();
            generation.backends().for_each(|backend| backend.endpoint.sweep(self.index, idle));
        }
    }

    /// Lets connections end with the request they are serving.
    pub(crate) fn finish(&self) {
        self.connections.lock().values().for_each(|connection| connection.command(Command::Finish));
    }

    /// Cuts tunnels: nothing that they carry tells when they could end.
    pub(crate) fn cut_tunnels(&self) {
        self.connections.lock().values().for_each(|connection| connection.cut_tunnel());
    }

    /// Connections open now.
    pub(crate) fn open(&self) -> usize {
        self.connections.lock().len()
    }

    async fn connection(self: Arc<Self>, stream: TcpStream, peer: SocketAddr, door: Door) {
        // A client that is gone already: whatever is wrong shows at the first read.
        let _ = stream.set_nodelay(true);
        let mut connection = ConnectionState::new(self.state.lifecycle.is_closed(), door.tls().is_some());
        (connection.peer, connection.audience) = (Some(peer.ip().to_canonical()), door.audience());
        let connection = Arc::new(connection);
        if self.state.lifecycle.is_draining() {
            connection.command(Command::Finish);
        }
        let id = self.next.fetch_add(1, Relaxed);
        self.connections.lock().insert(id, Arc::clone(&connection));
        self.state.numbers.metrics.connections.inc();
        let _listed = Listed { worker: &self, id };
        let due = Instant::now() + self.state.settings.current().config.http.header_timeout.get();
        let Some((stream, begin, is_http2)) = self.open_with(stream, door.tls(), due).await else { return };
        connection.opened();
        if is_http2 {
            // Large, and rare.
            Box::pin(self.serve_http2(stream, begin, peer, connection)).await;
        } else {
            Connection::new(stream, begin, connection, self.largest_head).run(&self, peer.ip()).await;
        }
    }

    async fn serve_http2(
        self: &Arc<Self>,
        stream: Socket,
        begin: Bytes,
        peer: SocketAddr,
        connection_state: Arc<ConnectionState>,
    ) {
        connection_state.speaks_http2();
        let service = service_fn(|request: Request<hyper::body::Incoming>| {
            // Kept connections end with an answer that says so while it drains, rather than under a request later.
            if self.state.lifecycle.is_draining() {
                connection_state.command(Command::Finish);
            }
            let request = request.map(Incoming::Http2);
            let served = Arc::clone(&self.handler).serve(self.index, Arc::clone(&connection_state), peer.ip(), request);
            // A tunnel is of HTTP/1.1.
            async move { Ok::<_, Infallible>(served.await.response) }
        });
        let io =
            TokioIo::new(Watched { socket: stream, begin, state: Arc::clone(&connection_state), is_stalled: false });
        let mut connection = Box::pin(self.http2.serve_connection(io, service));
        let mut finishing = false;
        let mut step = |cx: &mut Context<'_>| {
            loop {
                let command = connection_state.poll_command(cx);
                if command == Command::Cut {
                    return Poll::Ready(Ok(()));
                }
                // Read what has arrived before an idle connection is closed: it may be a request.
                if let Poll::Ready(ended) = connection.as_mut().poll(cx) {
                    return Poll::Ready(ended);
                }
                if finishing || command != Command::Finish {
                    return Poll::Pending;
                }
                finishing = true;
                connection.as_mut().graceful_shutdown();
            }
        };
        if let Err(error) = poll_fn(|cx| step(cx)).await {
            tracing::debug!(%error, "a client connection ended");
        }
    }

    /// Finds out until `due` what the client speaks, after TLS if there is any. Nothing when it will not come to a request.
    async fn open_with(&self, stream: TcpStream, tls: Option<&Tls>, due: Instant) -> Option<(Socket, Bytes, bool)> {
        let (mut stream, agreed) = match tls {
            None => (Socket::Left(stream), None),
            // On the heap: what a handshake needs, a connection does not keep.
            Some(tls) => match timeout_at(due, Box::pin(tls.accept(stream))).await {
                Ok(Ok((stream, agreed))) => (Socket::Right(Box::new(stream)), agreed),
                // Probes connect and close; that is no failure.
                Ok(Err(error)) if error.kind() == std::io::ErrorKind::UnexpectedEof => return None,
                Ok(Err(error)) => {
                    self.count_cut("tls_handshake");
                    tracing::debug!(%error, "a TLS handshake failed");
                    return None;
                }
                Err(_) => {
                    self.count_cut("tls_handshake");
                    return None;
                }
            },
        };
        if let Some(is_http2) = agreed {
            return Some((stream, Bytes::new(), is_http2));
        }
        let Ok(begin) = timeout_at(due, sniff(&mut stream)).await else {
            self.count_cut("head_timeout");
            return None;
        };
        let (begin, is_http2) = begin.ok()??;
        Some((stream, begin, is_http2))
    }

    /// A client was cut off.
    fn count_cut(&self, reason: &str) {
        self.state.numbers.metrics.cut.with_label_values(&[reason]).inc();
    }
}

/// Removes a connection from the worker's list when it is over.
struct Listed<'a, H> {
    worker: &'a Worker<H>,
    id: u64,
}

impl<H> Drop for Listed<'_, H> {
    fn drop(&mut self) {
        self.worker.connections.lock().remove(&self.id);
        self.worker.state.numbers.metrics.connections.dec();
    }
}
