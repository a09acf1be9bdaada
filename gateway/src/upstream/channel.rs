//! The HTTP/2 connections to one gRPC backend from one worker; calls share them.
//!
//! The first connection is filled before there is a second, and a call that finds all of them full waits for a place, as one of a
//! few. Whoever needs a new connection while one is being made waits for that one, and hears of its failure with the others.

mod noting;
mod outgoing;
mod pace;
mod taken_back;

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::time::Duration;

use futures_util::future::{FutureExt as _, Shared};
use http::uri::Scheme;
use http::{Request, Uri};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use parking_lot::Mutex;
use shop_discovery::Protocol;
use shop_http1::request_head::Parts;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{Instant, timeout_at};

use self::noting::{Noting, Refused};
use self::outgoing::Paced;
use self::pace::{Pace, RESETS, SMALL};
use self::taken_back::Call;
use super::{Caller, Due, Endpoint, Failed, Received, Sent, Timeouts, Unconnected, connect, settle, unsent};
use crate::message::reason::Reason;
use crate::upstream::body::RequestBody;
use crate::upstream::retry::Replay;

/// A vanished backend is noticed within this and [`PING_TIMEOUT`] while calls wait for it.
const PING_INTERVAL: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// Calls over one connection at a time: what a server should allow at least (RFC 9113, section 6.5.2).
const STREAMS: usize = 100;
/// Connections at a time.
const CONNECTIONS: usize = 8;
/// When so many calls run on that were taken back, who took some back makes no more: the other places are for who waits, and each
/// holds what its backend sends ahead.
const MOST_LEFT: usize = CONNECTIONS * STREAMS / 16;
/// Calls that wait for a place at a time.
const WAITING: usize = 1000;
/// What a backend may send ahead on one stream: enough for a fast network, bounded for memory.
const STREAM_WINDOW: u32 = 128 * 1024;
/// The same on all of them: clients that do not read fill their own streams, and leave the others theirs.
#[expect(clippy::cast_possible_truncation, reason = "it is a hundred")]
const CONNECTION_WINDOW: u32 = STREAM_WINDOW * STREAMS as u32;
/// Largest head or trailers of an answer: the details of a refusal travel there, and hyper's 16 KiB are too small for many.
const LARGEST_HEAD: u32 = 64 * 1024;

const TOO_SLOW: &str = "no connection within the time allowed";

/// The connections, made as they are needed.
pub(super) struct Channel {
    /// A permit for each call that there may be.
    places: Arc<Semaphore>,
    waiting: AtomicUsize,
    /// Calls that were taken back and run on.
    left: Arc<AtomicUsize>,
    connections: Mutex<Connections>,
}

#[derive(Default)]
struct Connections {
    open: Vec<Arc<Connection>>,
    /// The next one, on its way.
    attempt: Option<Attempt>,
}

type Attempt = Shared<oneshot::Receiver<Result<(), Unconnected>>>;

struct Connection {
    sender: SendRequest<Paced>,
    resets: Pace,
    small: Pace,
    /// Those of all connections of the channel.
    left: Arc<AtomicUsize>,
    streams: AtomicUsize,
    is_used: AtomicBool,
    refused: Refused,
}

/// A call's place on a connection, until it is dropped.
struct Place {
    connection: Arc<Connection>,
    /// How long it was waited for, if it was.
    waited: Option<Duration>,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connection.streams.fetch_sub(1, Relaxed);
    }
}

impl Default for Channel {
    fn default() -> Self {
        let places = Arc::new(Semaphore::new(CONNECTIONS * STREAMS));
        Self { places, waiting: AtomicUsize::new(0), left: Arc::default(), connections: Mutex::default() }
    }
}

impl Connections {
    /// The first that has a place.
    fn with_place(&mut self) -> Option<Arc<Connection>> {
        self.open.retain(|connection| !connection.sender.is_closed());
        let connection = self.open.iter().find(|connection| connection.streams.load(Relaxed) < STREAMS)?;
        connection.streams.fetch_add(1, Relaxed);
        Some(Arc::clone(connection))
    }
}

impl Channel {
    /// A place for a call.
    async fn place(&self, endpoint: &Arc<Endpoint>, worker: usize, timeouts: &Timeouts) -> Result<Place, Unconnected> {
        let due = Due::of(timeouts);
        let mut waits_since = None;
        let permit = if let Ok(permit) = Arc::clone(&self.places).try_acquire_owned() {
            permit
        } else {
            waits_since = Some(Instant::now());
            self.permit(due).await?
        };
        loop {
            let attempt = {
                let mut connections = self.connections.lock();
                if let Some(connection) = connections.with_place() {
                    let waited = waits_since.map(|since: Instant| since.elapsed());
                    return Ok(Place { connection, waited, _permit: permit });
                }
                waits_since.get_or_insert_with(Instant::now);
                let begin = || begin(Arc::clone(endpoint), worker, timeouts.connect);
                connections.attempt.get_or_insert_with(begin).clone()
            };
            let made = due.wait(attempt, TOO_SLOW).await?;
            made.unwrap_or_else(|_| {
                // Whoever made it has died, and the next one begins anew.
                self.connections.lock().attempt = None;
                Err(Unconnected::failed("the attempt to connect broke off"))
            })?;
            // Others may have been quicker, and filled it; or it has closed already.
            if due.at <= Instant::now() {
                return Err(due.missed(TOO_SLOW));
            }
        }
    }

    /// Waits until a call is over.
    async fn permit(&self, due: Due) -> Result<OwnedSemaphorePermit, Unconnected> {
        let busy = |detail: &str| Unconnected { reason: Reason::UpstreamBusy, detail: detail.to_owned() };
        let _waits = Waits::for_one_of(&self.waiting).ok_or_else(|| busy("too many calls wait for it already"))?;
        match timeout_at(due.at, Arc::clone(&self.places).acquire_owned()).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(busy("no call to it ended in time")),
        }
    }

    /// Nothing new goes over this one: it is going away.
    fn leave(&self, connection: &Arc<Connection>) {
        self.connections.lock().open.retain(|open| !Arc::ptr_eq(open, connection));
    }

    /// Lets go of the connections: each closes with the last call over it.
    pub(super) fn clear(&self) {
        self.connections.lock().open.clear();
    }

    /// Closes those that a rush has left behind: all but the first, while nobody uses them.
    pub(super) fn sweep(&self) {
        let mut connections = self.connections.lock();
        let mut is_first = true;
        connections.open.retain(|connection| {
            let stays = std::mem::take(&mut is_first) || connection.streams.load(Relaxed) > 0;
            stays && !connection.sender.is_closed()
        });
    }

    /// Open connections.
    pub(super) fn len(&self) -> usize {
        self.connections.lock().open.iter().filter(|connection| !connection.sender.is_closed()).count()
    }
}

/// One of those who wait.
struct Waits<'a>(&'a AtomicUsize);

impl<'a> Waits<'a> {
    fn for_one_of(waiting: &'a AtomicUsize) -> Option<Self> {
        let room = |count| (count < WAITING).then_some(count + 1);
        waiting.fetch_update(Relaxed, Relaxed, room).ok().map(|_| Self(waiting))
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// Makes a connection, whoever still waits for it.
fn begin(endpoint: Arc<Endpoint>, worker: usize, time: Duration) -> Attempt {
    let (tell, told) = oneshot::channel();
    shop_runtime::spawn_here(async move {
        let opened = open(&endpoint, time).await;
        let channel = &endpoint.channels[worker];
        let mut connections = channel.connections.lock();
        connections.attempt = None;
        let outcome = opened.map(|(sender, refused)| {
            let (streams, is_used) = (AtomicUsize::new(0), AtomicBool::new(false));
            let (resets, small, left) = (Pace::new(RESETS), Pace::new(SMALL), Arc::clone(&channel.left));
            let connection = Connection { sender, resets, small, left, streams, is_used, refused };
            connections.open.push(Arc::new(connection));
            if endpoint.is_retired() {
                // Nobody looks after it any more; those who wait for it have it.
                connections.open.clear();
            }
        });
        drop(connections);
        // Nobody may wait any more.
        let _ = tell.send(outcome);
    });
    told.shared()
}

async fn open(endpoint: &Endpoint, time: Duration) -> Result<(SendRequest<Paced>, Refused), Unconnected> {
    let due = Due::within(time);
    let refused = Refused::default();
    let stream = Noting { stream: connect(endpoint, Protocol::Grpc, due).await?, refused: Arc::clone(&refused) };
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(LARGEST_HEAD)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT);
    // One flight: it may not hang on a peer that says nothing.
    let shaken = due.wait(builder.handshake(TokioIo::new(stream)), "no handshake within the time allowed");
    let (sender, connection) = shaken.await?.map_err(|error| Unconnected::failed(error.to_string()))?;
    shop_runtime::spawn_here(async move {
        // Failures reach whoever waits for an answer; the connection has nothing to add.
        let _ = connection.await;
    });
    Ok((sender, refused))
}

impl Connection {
    /// Why nothing of a call went out.
    fn gone(&self) -> Unconnected {
        match self.refused.get() {
            Some(why) => Unconnected { reason: Reason::UpstreamTlsFailed, detail: why.clone() },
            None => Unconnected::failed("the connection closed at once"),
        }
    }

    /// What became of a call that failed with the connection.
    fn explain(&self, failed: Failed) -> Failed {
        match self.refused.get() {
            Some(why) if failed.reason == Reason::UpstreamReset => Failed::sent(Reason::UpstreamTlsFailed, why.clone()),
            _ => failed,
        }
    }
}

impl Endpoint {
    /// Sends a request over one of the worker's HTTP/2 connections. If that was going away and took nothing of the request,
    /// over another; what was sent of it comes from `replay` then.
    pub(crate) async fn http2(
        self: &Arc<Self>,
        worker: usize,
        head: &Parts,
        mut body: RequestBody,
        replay: Option<&Replay>,
        timeouts: &Timeouts,
        caller: &Arc<dyn Caller>,
    ) -> Result<Received, Failed> {
        let channel = &self.channels[worker];
        let mut resent = false;
        loop {
            if channel.left.load(Relaxed) >= MOST_LEFT && caller.has_left_some() {
                let detail = "calls that this client took back are not over yet".to_owned();
                return Err(unsent(body, Unconnected { reason: Reason::TooManyUnfinished, detail }));
            }
            let place = match channel.place(self, worker, timeouts).await {
                Ok(place) => place,
                Err(why) => return Err(unsent(body, why)),
            };
            let (connection, connected_in) = (Arc::clone(&place.connection), place.waited);
            let reused = connection.is_used.swap(true, Relaxed);
            let (body_onward, keeps) = Paced::new(body, &connection);
            let mut request = Request::from_parts(head.to_http(), body_onward);
            if self.tls.is_some() {
                *request.uri_mut() = over_tls(std::mem::take(request.uri_mut()));
            }
            let sent = connection.sender.clone().try_send_request(request);
            let mut call = Call::new(sent, keeps, place, Arc::clone(caller));
            match settle(call.response(), timeouts).await {
                Sent::Answered(response) => {
                    if reused {
                        self.reused.inc();
                    }
                    let response = response.map(|()| super::ResponseBody::Right(call));
                    return Ok(Received { response: response.into(), resent, connected_in });
                }
                Sent::Back(back) if reused && !resent => body = back,
                Sent::Back(back) => return Err(unsent(back, connection.gone())),
                Sent::Dropped(failed) if failed.is_untouched && !resent => {
                    let Some(again) = replay.and_then(Replay::resume) else { return Err(failed) };
                    body = again;
                }
                Sent::Dropped(failed) | Sent::Failed(failed) => return Err(connection.explain(failed)),
            }
            channel.leave(&connection);
            resent = true;
        }
    }
}

/// `:scheme` says how the backend is called (RFC 9113, section 8.3.1); some compare it with how they were.
fn over_tls(uri: Uri) -> Uri {
    let mut parts = uri.clone().into_parts();
    parts.scheme = Some(Scheme::HTTPS);
    Uri::from_parts(parts).unwrap_or(uri)
}

/// The body of a response. Its place is free for another call when it is dropped, or at its turn if it is not over then.
pub(crate) type ResponseBody = Call;
