//! Several servers of one store, of which one writes: which it is, and how a pool goes there.
//!
//! A pool of sqlx leads to one address. When a connection is not had at once, or leads to a server that does not write, all
//! servers are asked side by side, and the pool is led to the one that writes; whoever waits goes there, too.

use std::any::Any;
use std::cmp::Reverse;
use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, OnceLock, Weak};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use parking_lot::RwLock;
use sqlx::pool::PoolConnection;
use sqlx::{ConnectOptions as _, Connection, Database, Pool};
use tokio::sync::{Mutex, Notify};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::error::is_unavailable;
use crate::give_up::{give_up_all, give_up_idle, within};

/// How long a connection may take before the servers are asked: opening one takes a few round trips.
const PROMPT: Duration = Duration::from_millis(300);

/// The longest that a server may take to say whether it writes, while somebody waits for another one to.
const ANSWER: Duration = Duration::from_secs(1);

/// The same where there is nothing better to do than to wait for it.
pub(crate) const PATIENT: Duration = Duration::from_secs(5);

/// How much longer than the first that writes the others may take.
const OTHERS: Duration = Duration::from_millis(250);

/// The pause before the servers are asked again. A failover takes seconds.
const PAUSE: Duration = Duration::from_millis(300);

pub(crate) type Options<DB> = <<DB as Database>::Connection as Connection>::Options;

/// Whether the server of a connection writes: if so, how often its history has changed hands, as far as the engine says.
pub(crate) type Writes<DB> =
    for<'c> fn(&'c mut <DB as Database>::Connection) -> BoxFuture<'c, sqlx::Result<Option<u64>>>;

/// What a new connection's session needs.
pub(crate) type Session<DB> = for<'c> fn(&'c mut <DB as Database>::Connection) -> BoxFuture<'c, sqlx::Result<()>>;

/// One of the servers.
pub(crate) struct Server<DB: Database> {
    /// `host:port`.
    pub(crate) name: String,
    pub(crate) options: Options<DB>,
}

/// The servers of a store.
pub(crate) struct Servers<DB: Database> {
    /// In the order of the settings.
    all: Arc<[Server<DB>]>,
    writes: Writes<DB>,
    pub(crate) session: Option<Session<DB>>,
    /// Held by whoever asks the servers.
    turn: Mutex<Turn>,
    /// Told when a connection leads to a server that does not write.
    misled: Notify,
    /// The latest history that was seen. A server of an earlier one has been replaced, and does not know.
    history: Arc<AtomicU64>,
    /// The pool's place among those that are known.
    entry: OnceLock<Entry>,
}

/// What is known from the last time that the servers were asked.
#[derive(Default)]
struct Turn {
    /// Where the pool leads.
    at: usize,
    asked: Option<Instant>,
    nobody: bool,
}

/// What came of asking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    /// The pool leads to the one that writes, and did.
    Right,
    /// Now it does.
    Moved,
    /// None writes.
    Nobody,
}

/// Why to ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Because {
    /// A connection failed, or led to a server that does not write.
    Wrong,
    /// It takes long, which it also does when all are in use.
    Slow,
}

impl Because {
    /// How long an answer that all is well is believed.
    const fn believes(self) -> Duration {
        match self {
            Self::Wrong => PAUSE,
            Self::Slow => Duration::from_secs(2),
        }
    }
}

/// Why a server is not the one.
pub(crate) enum Unfit {
    /// It could not be asked.
    Away(sqlx::Error),
    /// It only reads.
    Reads,
    /// It writes, and does not know that another took its place.
    Replaced,
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Away(error) => error.fmt(f),
            Self::Reads => f.write_str("it only reads"),
            Self::Replaced => f.write_str("another server was promoted in its place"),
        }
    }
}

/// The servers of pools that have several, by the address of a pool's options, which lie with it and never move.
static KNOWN: LazyLock<RwLock<HashMap<usize, Weak<dyn Any + Send + Sync>>>> = LazyLock::new(RwLock::default);

/// A place in [`KNOWN`], gone with this value.
struct Entry(usize);

impl Drop for Entry {
    fn drop(&mut self) {
        drop(KNOWN.write().remove(&self.0));
    }
}

fn address<DB: Database>(pool: &Pool<DB>) -> usize {
    std::ptr::from_ref(pool.options()).addr()
}

/// The servers of a pool that has several.
pub(crate) fn of<DB: Database>(pool: &Pool<DB>) -> Option<Arc<Servers<DB>>> {
    let known = KNOWN.read();
    if known.is_empty() {
        return None;
    }
    known.get(&address(pool))?.upgrade()?.downcast().ok()
}

impl<DB: Database> Servers<DB> {
    pub(crate) fn new(all: impl Into<Arc<[Server<DB>]>>, writes: Writes<DB>, session: Option<Session<DB>>) -> Self {
        Self {
            all: all.into(),
            writes,
            session,
            turn: Mutex::default(),
            misled: Notify::new(),
            history: Arc::default(),
            entry: OnceLock::new(),
        }
    }

    /// The same for another pool, and where this one leads. What is known of promotions both know.
    pub(crate) async fn again(&self) -> (Self, usize) {
        let again = Self::new(self.all.clone(), self.writes, self.session);
        (Self { history: self.history.clone(), ..again }, self.turn.lock().await.at)
    }

    /// Makes it known that `pool` leads to the server `at` of these.
    pub(crate) async fn lead_from(self: &Arc<Self>, pool: &Pool<DB>, at: usize) {
        self.turn.lock().await.at = at;
        let known: Arc<dyn Any + Send + Sync> = self.clone();
        KNOWN.write().insert(address(pool), Arc::downgrade(&known));
        // A pool is made once.
        drop(self.entry.set(Entry(address(pool))));
    }

    /// Whether there is only one, which then has to do.
    pub(crate) fn is_one(&self) -> bool {
        self.all.len() == 1
    }

    /// One of them.
    pub(crate) fn server(&self, at: usize) -> &Server<DB> {
        &self.all[at]
    }

    /// Refuses a new connection to a server that does not write.
    pub(crate) async fn admit(&self, conn: &mut DB::Connection) -> sqlx::Result<()> {
        let answer = within(PATIENT, (self.writes)(conn)).await;
        let Err(unfit) = self.judge(answer) else { return Ok(()) };
        self.misled.notify_waiters();
        match unfit {
            Unfit::Away(error) => Err(error),
            Unfit::Reads | Unfit::Replaced => {
                Err(sqlx::Error::Configuration(format!("not written to: {unfit}").into()))
            }
        }
    }

    /// Takes a connection of `pool` to the server that writes, within the time that the pool gives.
    pub(crate) async fn acquire(&self, pool: &Pool<DB>) -> sqlx::Result<PoolConnection<DB>> {
        let mut failed = sqlx::Error::PoolTimedOut;
        let had = timeout(pool.options().get_acquire_timeout(), self.until_had(pool, &mut failed)).await;
        had.unwrap_or(Err(failed))
    }

    async fn until_had(&self, pool: &Pool<DB>, failed: &mut sqlx::Error) -> sqlx::Result<PoolConnection<DB>> {
        loop {
            let seen = pool.connect_options();
            let attempt = tokio::select! {
                biased;
                attempt = pool.acquire() => attempt,
                // Whoever waits there for a connection waits in vain.
                () = self.moved(pool, &seen) => continue,
            };
            match attempt {
                Err(error) if is_unavailable(&error) && !matches!(error, sqlx::Error::PoolClosed) => *failed = error,
                had => return had,
            }
            if self.lead(pool, &seen, Because::Wrong).await == Asked::Nobody {
                sleep(PAUSE).await;
            }
        }
    }

    /// Waits until the pool leads elsewhere than to what was `seen`.
    async fn moved(&self, pool: &Pool<DB>, seen: &Arc<Options<DB>>) {
        let mut because = tokio::select! {
            () = self.misled.notified() => Because::Wrong,
            () = sleep(PROMPT) => Because::Slow,
        };
        while self.lead(pool, seen, because).await != Asked::Moved {
            because = tokio::select! {
                () = self.misled.notified() => Because::Wrong,
                () = sleep(PAUSE) => because,
            };
        }
    }

    /// Asks the servers, one caller for all, and leads the pool to the one that writes.
    async fn lead(&self, pool: &Pool<DB>, seen: &Arc<Options<DB>>, because: Because) -> Asked {
        let mut turn = self.turn.lock().await;
        if !Arc::ptr_eq(seen, &pool.connect_options()) {
            return Asked::Moved;
        }
        let known = if turn.nobody { PAUSE } else { because.believes() };
        if turn.asked.is_some_and(|asked| asked.elapsed() < known) {
            return if turn.nobody { Asked::Nobody } else { Asked::Right };
        }
        let found = self.find(turn.at, ANSWER).await;
        turn.asked = Some(Instant::now());
        let at = match found {
            Ok(at) => at,
            Err(unfit) => {
                if !std::mem::replace(&mut turn.nobody, true) {
                    tracing::warn!("none of the store's servers writes: {}", self.reasons(&unfit));
                }
                return Asked::Nobody;
            }
        };
        if turn.nobody || at != turn.at {
            tracing::warn!("the store is written at {} (before: {})", self.all[at].name, self.all[turn.at].name);
        }
        turn.nobody = false;
        if at == turn.at {
            return Asked::Right;
        }
        turn.at = at;
        pool.set_connect_options(self.all[at].options.clone());
        // Those in use, too, as they come back.
        give_up_all();
        give_up_idle(pool);
        Asked::Moved
    }

    /// The server that writes; of several the one with the latest history, then `at`, then the first. Or why each does not.
    pub(crate) async fn find(&self, at: usize, patience: Duration) -> Result<usize, Vec<(usize, Unfit)>> {
        let ask = async |n: usize| (n, within(patience, self.ask(&self.all[n])).await);
        let mut asked: FuturesUnordered<_> = (0..self.all.len()).map(ask).collect();
        let mut best = None;
        let mut unfit = Vec::new();
        let mut others = None;
        loop {
            let next = match others {
                None => asked.next().await,
                Some(until) => timeout_at(until, asked.next()).await.unwrap_or_default(),
            };
            let Some((n, answer)) = next else { break };
            match self.judge(answer) {
                Ok(history) => {
                    others.get_or_insert_with(|| Instant::now() + OTHERS);
                    best = best.max(Some((history, n == at, Reverse(n))));
                }
                Err(why) => unfit.push((n, why)),
            }
        }
        best.map(|(_, _, Reverse(n))| n).ok_or(unfit)
    }

    /// The servers by name, and why each is not the one.
    pub(crate) fn reasons(&self, unfit: &[(usize, Unfit)]) -> String {
        unfit.iter().map(|(n, why)| format!("{}: {why}", self.all[*n].name)).collect::<Vec<_>>().join("; ")
    }

    async fn ask(&self, server: &Server<DB>) -> sqlx::Result<Option<u64>> {
        let mut conn = server.options.connect().await?;
        let answer = (self.writes)(&mut conn).await;
        drop(conn.close().await);
        answer
    }

    /// Whether a server is the one: its history.
    fn judge(&self, answer: sqlx::Result<Option<u64>>) -> Result<u64, Unfit> {
        let history = answer.map_err(Unfit::Away)?.ok_or(Unfit::Reads)?;
        let latest = self.history.fetch_max(history, Ordering::Relaxed);
        if history < latest { Err(Unfit::Replaced) } else { Ok(history) }
    }
}
