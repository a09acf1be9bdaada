//! Client connections: accepted by each worker on its own listener, told apart by preface. Those over HTTP/2 are hyper's.

mod client_certificate;
mod connection_state;
pub(crate) mod crowd;
pub(crate) mod doors;
mod future_pool;
pub(crate) mod handler;
mod http1;
mod http2;
mod lingering_close;
mod proxy_protocol;
mod socket;
mod stream;
pub(crate) mod tls;
pub(crate) mod worker;

pub(crate) use connection_state::{ConnectionState, Occupied};

use std::future::poll_fn;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use hyper::server::conn::http2::Builder;
use hyper_util::rt::TokioTimer;
use prometheus::IntGauge;
use shop_runtime::CancellationToken;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, timeout_at};

use self::connection_state::Command;
use self::crowd::{Crowd, Entry, Listed, Place, Want};
use self::doors::Door;
use self::handler::Handler;
use self::http1::Connection;
use self::http2::{Streams, outflow};
use self::socket::Socket;
use self::stream::sniff;
use crate::message::client::Audience;
use crate::server::tls::Tls;
use crate::state::State;

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
    crowd: Arc<Crowd>,
    next: AtomicU64,
    largest_head: usize,
    http2: Builder<Streams>,
    /// Calls that one connection over HTTP/2 may have open.
    most_streams: usize,
}

impl<H: Handler> Worker<H> {
    /// The worker number `index` of those of `crowd`, for whose requests `handler` answers.
    pub(crate) fn new(handler: Arc<H>, state: Arc<State>, crowd: Arc<Crowd>, index: usize) -> Arc<Self> {
        let generation = state.settings.current();
        let limits = &generation.config.limits;
        let head = usize::try_from(limits.head).unwrap_or(usize::MAX);
        let mut http2 = Builder::new(Streams);
        http2
            .timer(TokioTimer::new())
            .max_header_list_size(limits.head)
            .max_concurrent_streams(limits.h2_streams)
            .initial_stream_window_size(H2_STREAM_WINDOW)
            .initial_connection_window_size(H2_CONNECTION_WINDOW)
            .max_send_buf_size(outflow::MOST_OF_ONE)
            .enable_connect_protocol()
            .keep_alive_interval(H2_PING_INTERVAL);
        Arc::new(Self {
            handler,
            state,
            index,
            crowd,
            next: AtomicU64::new(0),
            largest_head: head,
            http2,
            most_streams: usize::try_from(limits.h2_streams).unwrap_or(usize::MAX),
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
                    if let Some(entry) = self.admit(peer.ip(), &door) {
                        shop_runtime::spawn_here(Arc::clone(&self).connection(stream, peer, entry, door.clone()));
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    if is_out_of_descriptors(&error) {
                        self.make_room(Want::Descriptors);
                    }
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Whether `peer` may have a connection more by `door`; none when its address has as many as it may, or when there are too
    /// many and none of them waits.
    fn admit(&self, peer: IpAddr, door: &Door) -> Option<Entry> {
        // Clients must not keep out who has to look at them.
        if door.audience() == Audience::Operators {
            return Some(Entry::new(self.crowd.place(peer)));
        }
        // Of a proxy that says for whom it speaks, that address counts, once it is known.
        let place = if door.is_proxy(peer) { self.crowd.place(peer) } else { self.place(peer)? };
        let most = self.state.settings.current().config.limits.connections;
        if !self.crowd.has_room(most) && self.make_room(Want::Limit) == 0 {
            self.count_shed(Want::Limit.word(), 1);
            return None;
        }
        Some(Entry::new(place))
    }

    /// The place of `client`, unless its address has as many connections as it may.
    fn place(&self, client: IpAddr) -> Option<Place> {
        let generation = self.state.settings.current();
        let config = &generation.config;
        let place = self.crowd.place(client);
        let is_trusted = || config.trusted_proxies.iter().any(|network| network.contains(client));
        let most = config.limits.connections_per_address;
        if most > 0 && place.connections() >= most && !is_trusted() {
            tracing::debug!(peer = %client, "a connection was refused: its address has {most}");
            self.count_shed("address", 1);
            return None;
        }
        Some(place)
    }

    /// Closes connections that wait; how many.
    fn make_room(&self, want: Want) -> usize {
        let shed = self.crowd.make_room(want);
        self.count_shed(want.word(), shed);
        shed
    }

    /// Connections were closed, or not taken, because there were too many.
    fn count_shed(&self, reason: &str, count: usize) {
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        self.state.numbers.metrics.shed.with_label_values(&[reason]).inc_by(count);
    }

    /// Cuts connections that are too slow, and closes those unused for too long, on both sides.
    pub(crate) async fn sweep(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(SWEEP);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            // Of this thread, which so lets go of one that is not in force any more, whether anybody asks or not.
            let generation = self.state.settings.current_here();
            let config = &generation.config;
            let watches = self.connections();
            for some in watches.chunks(LOOKED_AT_ONCE) {
                for found in some.iter().map(|one| one.look(config)) {
                    found.cut.iter().for_each(|reason| self.count_cut(reason));
                    self.state.numbers.metrics.streams_reset.inc_by(found.streams);
                }
                tokio::task::yield_now().await;
            }
            let idle = config.upstream.pool_idle.get();
            generation.sweep(self.index, idle);
        }
    }

    /// Lets connections end with the request they are serving.
    pub(crate) fn finish(&self) {
        self.connections().iter().for_each(|connection| connection.command(Command::Finish));
    }

    /// Cuts tunnels: nothing that they carry tells when they could end.
    pub(crate) fn cut_tunnels(&self) {
        self.connections().iter().for_each(|connection| connection.cut_tunnel());
    }

    fn connections(&self) -> Vec<Arc<ConnectionState>> {
        self.crowd.of(self.index).values().cloned().collect()
    }

    /// Connections open now.
    pub(crate) fn open(&self) -> usize {
        self.crowd.of(self.index).len()
    }

    async fn connection(self: Arc<Self>, mut stream: TcpStream, mut peer: SocketAddr, mut entry: Entry, door: Door) {
        // A client that is gone already: whatever is wrong shows at the first read.
        let _ = stream.set_nodelay(true);
        let due = Instant::now() + self.state.settings.current().config.http.header_timeout.get();
        let mut audience = door.audience();
        if door.is_proxy(peer.ip()) {
            // On the heap, as few have it. Nobody need make room for others meanwhile: whoever is trusted is quick.
            let introduced = Box::pin(self.introduced(&mut stream, peer, entry, due)).await;
            let Some(client) = introduced else { return };
            (peer, entry) = client;
            audience = Audience::Relayed;
        }
        let mut connection =
            ConnectionState::new(entry.place(), self.state.lifecycle.is_closed(), door.tls().is_some());
        (connection.peer, connection.audience) = (Some(peer.ip().to_canonical()), audience);
        let connection = Arc::new(connection);
        let id = self.next.fetch_add(1, Relaxed);
        let listed = self.crowd.list(self.index, id, Arc::clone(&connection));
        let _counted = Counted::new(&self.state.numbers.metrics.connections, listed);
        let opened = tokio::select! {
            biased;
            () = poll_fn(|cx| connection.poll_cut(cx)) => return,
            opened = self.open_with(stream, door.tls(), due, &connection) => opened,
        };
        let Some((stream, begin, is_http2)) = opened else { return };
        if audience == Audience::Clients && door.has_proxies() && proxy_protocol::begins(&begin) {
            self.count_cut("proxy_protocol");
            tracing::debug!(%peer, "a client spoke for another one, and is none of the proxies that may");
            return;
        }
        self.serve(stream, begin, is_http2, peer, connection).await;
    }

    /// Serves what is told apart.
    async fn serve(
        self: &Arc<Self>,
        stream: Socket,
        begin: Bytes,
        is_http2: bool,
        peer: SocketAddr,
        connection: Arc<ConnectionState>,
    ) {
        connection.opened();
        // Over HTTP/2 nothing may be sent once that is said, and a client that has just come has sent nothing yet: it is told with its
        // first answer.
        let is_leaving = if is_http2 { self.state.lifecycle.is_closed() } else { self.state.lifecycle.is_draining() };
        if is_leaving {
            connection.command(Command::Finish);
        }
        if is_http2 {
            // Large, and rare.
            Box::pin(self.serve_http2(stream, begin, peer, connection)).await;
        } else {
            Connection::new(stream, begin, connection, self.largest_head).run(self, peer.ip()).await;
        }
    }

    /// Hears from the proxy at `peer`, until `due`, for whom it speaks, and counts the connection as that client's. Nothing when
    /// it does not say, or when that client may not have one more.
    async fn introduced(
        &self,
        stream: &mut TcpStream,
        peer: SocketAddr,
        entry: Entry,
        due: Instant,
    ) -> Option<(SocketAddr, Entry)> {
        let client = match timeout_at(due, proxy_protocol::take(stream)).await {
            Ok(Ok(Some(client))) => client,
            Ok(Ok(None)) => return Some((peer, entry)),
            // Probes connect and close; that is no failure.
            Ok(Err(error)) if error.kind() == std::io::ErrorKind::UnexpectedEof => return None,
            Ok(Err(error)) => {
                self.count_cut("proxy_protocol");
                tracing::debug!(%error, %peer, "a proxy did not say for whom it speaks");
                return None;
            }
            Err(_) => {
                self.count_cut("head_timeout");
                return None;
            }
        };
        Some((client, Entry::new(self.place(client.ip())?)))
    }

    /// Finds out until `due` what the client speaks, after TLS if there is any. Nothing when it will not come to a request.
    async fn open_with(
        &self,
        stream: TcpStream,
        tls: Option<&Tls>,
        due: Instant,
        connection: &ConnectionState,
    ) -> Option<(Socket, Bytes, bool)> {
        let (mut stream, agreed) = match tls {
            None => (Socket::Left(stream), None),
            // On the heap: what a handshake needs, a connection does not keep.
            Some(tls) => match timeout_at(due, Box::pin(tls.accept(stream))).await {
                Ok(Ok((stream, agreed))) => {
                    connection.shows(tls.told(&stream));
                    (Socket::Right(Box::new(stream)), agreed)
                }
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

/// A connection that is counted until it is over.
struct Counted<'a> {
    gauge: &'a IntGauge,
    _listed: Listed,
}

impl<'a> Counted<'a> {
    fn new(gauge: &'a IntGauge, listed: Listed) -> Self {
        gauge.inc();
        Self { gauge, _listed: listed }
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.gauge.dec();
    }
}

/// Whether the process, or the machine, has no file descriptor left.
fn is_out_of_descriptors(error: &std::io::Error) -> bool {
    let number = error.raw_os_error().map(rustix::io::Errno::from_raw_os_error);
    matches!(number, Some(rustix::io::Errno::MFILE | rustix::io::Errno::NFILE))
}
