//! What one client connection does and is told to do, at the price of a few relaxed stores per request: connections note what
//! they do, and the worker's sweep compares the notes with the limits once a second.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_util::task::AtomicWaker;
use http::HeaderValue;
use parking_lot::Mutex;

use super::crowd::Place;
use super::http2::outflow::Flows;
use crate::message::client::Audience;
use crate::message::headers::Introduction;
use crate::settings::Config;
use crate::upstream::Caller;
use crate::upstream::interim::Inform;

/// Informational answers kept for a client that takes nothing; beyond, they are dropped, being no more than hints.
const MOST_INTERIM: usize = 16 * 1024;

/// How long a client that sends nothing more may wait for an answer to begin: most who do that are gone, and their request
/// costs a backend.
const HALF_CLOSED: Duration = Duration::from_secs(5);
/// An answer that is due ends by itself, with better words, unless its client is what holds it up.
const LATE: Duration = Duration::from_millis(500);
/// How long an idle connection over HTTP/2 may take to end.
const FINISH: Duration = Duration::from_secs(2);

/// What a connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Phase {
    /// Some of a request's head is due.
    Head = 0,
    /// A request is being served.
    Busy = 1,
    /// Nothing is due.
    Idle = 2,
    /// What it speaks is not known yet. The worker itself waits for that, and no longer than for a head.
    Opening = 3,
    /// It was refused: what still comes is thrown away, until the client has seen why.
    Leaving = 4,
}

/// What a connection is told to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Command {
    /// Go on.
    None = 0,
    /// Take no further request and close after the running ones.
    Finish = 1,
    /// Close at once.
    Cut = 2,
}

/// The notes about one connection. Times are milliseconds since it was accepted.
pub(crate) struct ConnectionState {
    accepted: Instant,
    phase: AtomicU8,
    since: AtomicU64,
    /// Requests being served: at most one over HTTP/1.1.
    open: AtomicUsize,
    /// Since when the client has taken nothing of what is to be sent, plus one; 0 when it takes what it gets.
    stalled: AtomicU64,
    /// When its client said that it sends nothing more, plus one; 0 as long as it may, and when its answer is there.
    half_closed: AtomicU64,
    /// When the answer being sent over HTTP/1.1 has to be over, plus one; 0 when there is none, or it may go on.
    due: AtomicU64,
    command: AtomicU8,
    /// Answers on their way, if it is over HTTP/2.
    flows: OnceLock<Flows>,
    /// When it was first told to finish, plus one.
    finishing: AtomicU64,
    /// Of the address that it comes from.
    place: Arc<Place>,
    /// It came when the gateway took no new requests any more.
    pub(crate) is_late: bool,
    /// It is over TLS.
    pub(crate) is_encrypted: bool,
    /// What backends are told of it.
    pub(crate) introduction: OnceLock<Introduction>,
    /// What they are told of the certificate that the client showed. On the heap: few show one.
    certificate: OnceLock<Box<HeaderValue>>,
    /// Who is at the other end.
    pub(crate) peer: Option<IpAddr>,
    /// Whose listener it came in by.
    pub(crate) audience: Audience,
    waker: AtomicWaker,
    /// Informational answers that were not sent yet.
    interim: Mutex<Vec<u8>>,
    has_interim: AtomicBool,
    /// It is no HTTP any more, or will not be after the response being sent.
    is_tunnel: AtomicBool,
}

impl ConnectionState {
    /// A connection just accepted.
    pub(super) fn new(place: Arc<Place>, is_late: bool, is_encrypted: bool) -> Self {
        Self {
            accepted: Instant::now(),
            phase: AtomicU8::new(Phase::Opening as u8),
            since: AtomicU64::new(0),
            open: AtomicUsize::new(0),
            stalled: AtomicU64::new(0),
            half_closed: AtomicU64::new(0),
            due: AtomicU64::new(0),
            command: AtomicU8::new(Command::None as u8),
            flows: OnceLock::new(),
            finishing: AtomicU64::new(0),
            place,
            is_late,
            is_encrypted,
            introduction: OnceLock::new(),
            certificate: OnceLock::new(),
            peer: None,
            audience: Audience::Clients,
            waker: AtomicWaker::new(),
            interim: Mutex::new(Vec::new()),
            has_interim: AtomicBool::new(false),
            is_tunnel: AtomicBool::new(false),
        }
    }

    /// Milliseconds since it was accepted.
    pub(super) fn now(&self) -> u64 {
        u64::try_from(self.accepted.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Relaxed);
        self.since.store(self.now(), Relaxed);
    }

    fn is_in(&self, phase: Phase) -> bool {
        self.phase.load(Relaxed) == phase as u8
    }

    /// What it speaks is known; the first head is due, in what is left of its time.
    pub(super) fn opened(&self) {
        self.phase.store(Phase::Head as u8, Relaxed);
    }

    /// Its client showed a certificate, of which backends are told this.
    pub(super) fn shows(&self, certificate: Option<HeaderValue>) {
        if let Some(certificate) = certificate {
            self.certificate.get_or_init(|| Box::new(certificate));
        }
    }

    /// What backends are told of the client's certificate, if it showed one that is good.
    pub(crate) fn certificate(&self) -> Option<&HeaderValue> {
        self.certificate.get().map(|certificate| &**certificate)
    }

    /// It is an HTTP/2 connection. Heads come in frames there and idle clients send pings, so bytes say little.
    /// `streams` may be open at once.
    pub(super) fn speaks_http2(&self, streams: usize) {
        self.flows.get_or_init(|| Flows::new(streams));
        self.enter(Phase::Idle);
    }

    /// Answers on their way over HTTP/2.
    pub(super) fn flows(&self) -> Option<&Flows> {
        self.flows.get()
    }

    /// Bytes came.
    pub(super) fn reads(&self) {
        if self.is_in(Phase::Idle) && self.flows.get().is_none() {
            self.enter(Phase::Head);
        }
    }

    /// Its client sends nothing more; whether it still waits for its answer, nobody knows.
    pub(super) fn half_closes(&self) {
        self.half_closed.store(self.now() + 1, Relaxed);
    }

    /// The answer is there, and has to be over when it is `due`. From now on the socket tells whether the client is there.
    pub(super) fn answers(&self, due: Option<Instant>) {
        self.due.store(due.map_or(0, |due| self.at(due) + 1), Relaxed);
        if self.half_closed.load(Relaxed) != 0 {
            self.half_closed.store(0, Relaxed);
        }
    }

    /// The answer is over.
    pub(super) fn has_answered(&self) {
        self.due.store(0, Relaxed);
    }

    /// `time` in milliseconds since it was accepted.
    pub(super) fn at(&self, time: Instant) -> u64 {
        u64::try_from(time.saturating_duration_since(self.accepted).as_millis()).unwrap_or(u64::MAX - 1)
    }

    /// Nothing is due from now on.
    pub(super) fn idles(&self) {
        self.enter(Phase::Idle);
    }

    /// Nothing of what it sends counts any more.
    pub(super) fn leaves(&self) {
        if !self.is_in(Phase::Leaving) {
            self.enter(Phase::Leaving);
        }
    }

    /// Bytes were to be sent, and the client took some or none.
    pub(super) fn writes(&self, stalled: bool) {
        if !stalled {
            if self.stalled.load(Relaxed) != 0 {
                self.stalled.store(0, Relaxed);
            }
        } else if self.stalled.load(Relaxed) == 0 {
            self.stalled.store(self.now() + 1, Relaxed);
        }
    }

    /// A request is being served until the guard is dropped: one of `client`'s, if it comes through a proxy that is trusted.
    pub(crate) fn occupy(self: &Arc<Self>, client: Option<IpAddr>) -> Occupied {
        if self.open.fetch_add(1, Relaxed) == 0 {
            self.phase.store(Phase::Busy as u8, Relaxed);
        }
        let place = client.map_or_else(|| Arc::clone(&self.place), |client| Arc::new(self.place.of(client)));
        place.begin();
        Occupied { connection: Arc::clone(self), place }
    }

    /// How long it has waited with nothing being served, if it does: true and the time for one that is idle, false for one
    /// that owes the head of a request. Those that end already are none.
    pub(super) fn waits(&self) -> Option<(bool, Duration)> {
        let is_idle = self.is_in(Phase::Idle);
        let waits = is_idle || self.is_in(Phase::Head) || self.is_in(Phase::Opening);
        let since = Duration::from_millis(self.since.load(Relaxed));
        (waits && !self.is_ending()).then(|| (is_idle, self.accepted.elapsed().saturating_sub(since)))
    }

    /// Ends one that [waits](Self::waits).
    pub(super) fn make_room(&self) {
        // A request may be on its way over one that is idle.
        self.command(if self.is_in(Phase::Idle) { Command::Finish } else { Command::Cut });
    }

    /// Informational answers to send now.
    pub(super) fn take_interim(&self) -> Option<Vec<u8>> {
        let has_some = self.has_interim.load(Relaxed) && self.has_interim.swap(false, Relaxed);
        has_some.then(|| std::mem::take(&mut *self.interim.lock()))
    }

    /// After the response now due, a 101, it is a tunnel; over HTTP/2 one of its streams is.
    pub(super) fn becomes_tunnel(&self) {
        self.is_tunnel.store(true, Relaxed);
    }

    /// Closes it at once if it is a tunnel: these have no end of their own to wait for.
    pub(super) fn cut_tunnel(&self) {
        if self.is_tunnel.load(Relaxed) {
            self.command(Command::Cut);
        }
    }

    /// Ready when it is to be closed at once.
    pub(crate) fn poll_cut(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.poll_command(cx) == Command::Cut { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Whether it takes no further request.
    pub(super) fn is_ending(&self) -> bool {
        self.command.load(Relaxed) != Command::None as u8
    }

    /// Whether closing now would lose a request that may be on its way, or the words to a client that was refused.
    pub(super) fn is_unfinished(&self) -> bool {
        self.is_in(Phase::Head) || self.is_in(Phase::Leaving)
    }

    /// Tells the connection what to do. A weaker command does not replace a stronger one.
    pub(super) fn command(&self, command: Command) {
        if self.command.fetch_max(command as u8, Relaxed) == Command::None as u8 {
            self.finishing.store(self.now() + 1, Relaxed);
        }
        self.waker.wake();
    }

    /// What it is told to do; `cx` is woken when that changes.
    pub(super) fn poll_command(&self, cx: &mut Context<'_>) -> Command {
        self.waker.register(cx.waker());
        match self.command.load(Relaxed) {
            0 => Command::None,
            1 => Command::Finish,
            _ => Command::Cut,
        }
    }

    /// Compares the notes with the limits.
    pub(super) fn look(&self, config: &Config) -> Found {
        let now = self.now();
        let over = |since: u64, limit: Duration| u128::from(now.saturating_sub(since)) > limit.as_millis();
        let stall = config.limits.write_stall.get();
        let is_late = |since, due| over(since, stall) || over(due, LATE);
        let (streams, has_to_end) = self.flows().map(|flows| flows.look(is_late)).unwrap_or_default();
        let due = self.due.load(Relaxed);
        let found = |cut| Found { cut, streams };
        let stalled = self.stalled.load(Relaxed);
        let since = self.since.load(Relaxed);
        let reason = if has_to_end || stalled != 0 && over(stalled - 1, stall) {
            "write_stalled"
        } else if due != 0 && over(due - 1, LATE) {
            "answer_timeout"
        } else if self.is_in(Phase::Head) && over(since, config.http.header_timeout.get()) {
            "head_timeout"
        } else {
            if self.is_in(Phase::Leaving) && over(since, config.http.header_timeout.get()) {
                self.command(Command::Cut);
            }
            if self.is_in(Phase::Idle) && over(since, config.http.idle_timeout.get()) {
                self.command(Command::Finish);
            }
            let half_closed = self.half_closed.load(Relaxed);
            if half_closed != 0 && over(half_closed - 1, HALF_CLOSED) {
                self.command(Command::Cut);
            }
            // Over HTTP/2 the client has a part in that, which it need not play.
            let finishing = self.finishing.load(Relaxed);
            if self.is_in(Phase::Idle) && finishing != 0 && over(finishing - 1, FINISH) {
                self.command(Command::Cut);
            }
            return found(None);
        };
        let cut_before = self.command.load(Relaxed) == Command::Cut as u8;
        self.command(Command::Cut);
        found((!cut_before).then_some(reason))
    }
}

/// What a look at a connection's notes came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// The reason when the connection is cut, unless it was refused with one before.
    pub(super) cut: Option<&'static str>,
    /// Streams that were given up.
    pub(super) streams: u64,
}

impl Inform for ConnectionState {
    fn inform(&self, head: &[u8]) {
        let mut interim = self.interim.lock();
        if interim.len() + head.len() <= MOST_INTERIM {
            interim.extend_from_slice(head);
            self.has_interim.store(true, Relaxed);
            self.waker.wake();
        }
    }
}

/// A request being served on a connection.
pub(crate) struct Occupied {
    connection: Arc<ConnectionState>,
    place: Arc<Place>,
}

impl Occupied {
    /// Requests of the same client that are not over, this one included.
    pub(crate) fn unfinished(&self) -> usize {
        self.place.unfinished()
    }

    /// Whose it is.
    pub(crate) fn caller(&self) -> Arc<dyn Caller> {
        Arc::clone(&self.place) as Arc<dyn Caller>
    }
}

impl Drop for Occupied {
    fn drop(&mut self) {
        self.place.end();
        if self.connection.open.fetch_sub(1, Relaxed) == 1 {
            self.connection.enter(Phase::Idle);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;

    fn config() -> Config {
        let mut config = Config::default();
        config.http.header_timeout = shop_config::Duration::millis(0);
        config.http.idle_timeout = shop_config::Duration::millis(0);
        config.limits.write_stall = shop_config::Duration::millis(0);
        config
    }

    fn new() -> ConnectionState {
        let place = crate::server::crowd::Crowd::new(1).place([127, 0, 0, 1].into());
        ConnectionState::new(Arc::new(place), false, false)
    }

    /// Lets a millisecond pass, so that a limit of none is over.
    fn later(state: &ConnectionState) {
        let now = state.now();
        while state.now() <= now + 1 {
            std::hint::spin_loop();
        }
    }

    fn commanded(state: &ConnectionState) -> Command {
        state.poll_command(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn a_slow_head_is_cut_once() {
        let state = new();
        state.opened();
        later(&state);
        assert_eq!(state.look(&config()).cut, Some("head_timeout"));
        assert_eq!(state.look(&config()).cut, None);
        assert_eq!(commanded(&state), Command::Cut);
    }

    #[test]
    fn an_opening_is_cut_by_others_and_who_was_refused_without_a_reason() {
        let state = new();
        later(&state);
        assert_eq!((state.look(&config()).cut, commanded(&state)), (None, Command::None));
        state.opened();
        state.leaves();
        assert!(state.is_unfinished());
        later(&state);
        assert_eq!((state.look(&config()).cut, commanded(&state)), (None, Command::Cut));
    }

    #[test]
    fn a_busy_connection_is_left_alone_and_an_idle_one_finishes() {
        let state = Arc::new(new());
        let request = state.occupy(None);
        later(&state);
        assert_eq!((state.look(&config()).cut, commanded(&state)), (None, Command::None));
        drop(request);
        later(&state);
        assert_eq!((state.look(&config()).cut, commanded(&state)), (None, Command::Finish));
    }

    #[test]
    fn bytes_on_an_idle_connection_begin_a_head() {
        let state = Arc::new(new());
        drop(state.occupy(None));
        assert!(!state.is_unfinished());
        state.reads();
        assert!(state.is_unfinished());
    }

    #[test]
    fn a_client_that_takes_nothing_is_cut_and_one_that_takes_is_not() {
        let state = Arc::new(new());
        let _request = state.occupy(None);
        state.writes(true);
        state.writes(false);
        later(&state);
        assert_eq!(state.look(&config()).cut, None);
        state.writes(true);
        later(&state);
        assert_eq!(state.look(&config()).cut, Some("write_stalled"));
    }
}
