//! The relay: carries events from the outbox to the bus, in order per key, at least once.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use parking_lot::Mutex;
use prometheus::{Gauge, IntGauge};
use shop_clock::{SharedClock, millis};
use shop_events::{Bus, BusError, Message};
use shop_telemetry::Metrics;
use sqlx::Pool;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::tables::{Pending, Tables};
use crate::{Sqlite, Store, outbox};

/// Rows per look.
const BATCH: usize = 256;

/// The most rows of stuck keys that one look reads over to find others.
const READ_OVER: usize = 10_000;

/// Keys whose events travel at the same time.
const KEYS_AT_ONCE: usize = 64;

/// Keys refused in a row, and none taken, after which the bus counts as down for all.
const DOWN: usize = 8;

/// A look for events that nobody announced: another replica's, or those of a process that died.
const POLL: Duration = Duration::from_secs(1);

/// From the start of one pass to that of the next, however much is announced meanwhile: what gathers then shares a transaction
/// here, a request to the bus, and a transaction of those who hear of it. After a rest, an event leaves at once.
const GATHER: Duration = Duration::from_millis(50);

/// Until another try for the lock while another replica relays.
const ELSEWHERE: Duration = Duration::from_millis(250);

/// No publish starts later than this into a batch, so that its transaction ends well before the server would end it.
const BATCH_TIME: Duration = Duration::from_secs(30);

/// Counting a long outbox reads all of it: for each moment spent on that, so many pass without.
const COUNT_REST: u32 = 20;

/// How long a publish under way may still take when the process stops.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// First and longest pause while the bus takes nothing.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Tells the relay that a transaction with events was committed. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Wake(Arc<Notify>);

impl Wake {
    /// There is something to carry.
    pub fn wake(&self) {
        self.0.notify_one();
    }
}

/// Carries events from one store's outbox to the bus. Of all replicas on one database, one is active at a time: the
/// one whose transaction holds the row of `outbox_relay`.
pub struct Relay {
    store: Store,
    bus: Arc<dyn Bus>,
    clock: SharedClock,
    wake: Wake,
    pending: IntGauge,
    oldest: Gauge,
    /// When the last pass left nothing behind.
    clean: Mutex<Option<Instant>>,
}

/// What one pass over the outbox came to.
enum Pass {
    /// All that was there has left.
    Clean,
    /// Another replica is at it.
    Elsewhere,
    /// Some keys did not get through; others did.
    Partly,
    /// Nothing got through.
    Down,
}

/// What became of one batch.
#[derive(Default)]
struct Batch {
    read: usize,
    acked: Vec<i64>,
    stuck: Vec<(String, String)>,
    error: Option<BusError>,
}

impl Relay {
    /// A relay from `store` to `bus`, with the gauges `<service>_outbox_pending` and `<service>_outbox_oldest_seconds`.
    pub fn new(
        service: &str,
        store: impl Into<Store>,
        bus: Arc<dyn Bus>,
        clock: SharedClock,
        metrics: &Metrics,
    ) -> Self {
        let pending = metrics.gauge(
            &format!("{service}_outbox_pending"),
            "Events stored but not yet acknowledged by the bus (counted up to 100000).",
        );
        let oldest = metrics.float_gauge(
            &format!("{service}_outbox_oldest_seconds"),
            "Age of the oldest event that waits in the outbox, in seconds.",
        );
        Self { store: store.into(), bus, clock, wake: Wake::default(), pending, oldest, clean: Mutex::default() }
    }

    /// The handle by which commits announce events.
    pub fn wake(&self) -> Wake {
        self.wake.clone()
    }

    /// Carries events until `stop`; ends within a few seconds of it. What is left stays in the outbox.
    pub async fn run(self, stop: CancellationToken) {
        tokio::join!(self.carry_all(&stop), self.measure(&stop));
    }

    async fn carry_all(&self, stop: &CancellationToken) {
        let (mut pause, mut announced) = (BACK_OFF.0, false);
        while !stop.is_cancelled() {
            let gathered = Instant::now() + GATHER;
            let pass = self.pass(announced, stop).await.unwrap_or_else(|error| {
                tracing::warn!(error = %error, "the outbox cannot be read, trying again");
                Pass::Down
            });
            if matches!(pass, Pass::Clean) {
                *self.clean.lock() = Some(Instant::now());
            }
            // A commit says nothing about the bus: while that is down, no wake makes us hurry.
            let (nap, wakeable, next) = match pass {
                Pass::Clean => (POLL, true, BACK_OFF.0),
                Pass::Elsewhere => (ELSEWHERE, false, BACK_OFF.0),
                Pass::Partly => (pause, true, longer(pause)),
                Pass::Down => (pause, false, longer(pause)),
            };
            pause = next;
            announced = tokio::select! {
                () = stop.cancelled() => false,
                () = async { tokio::join!(self.wake.0.notified(), tokio::time::sleep_until(gathered)); }, if wakeable => true,
                () = tokio::time::sleep(nap) => false,
            };
        }
    }

    /// Keeps the gauges up to date beside the passes, which may wait long for the bus: that is when somebody looks.
    async fn measure(&self, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            let began = Instant::now();
            self.gauge().await;
            let rest = POLL.max(began.elapsed() * COUNT_REST);
            // None when told to stop, which the loop sees.
            let _ = stop.run_until_cancelled(tokio::time::sleep(rest)).await;
        }
    }

    /// Carries what is there, batch by batch; unless something was `announced`, it looks first whether there is anything.
    async fn pass(&self, announced: bool, stop: &CancellationToken) -> sqlx::Result<Pass> {
        let mut stuck = HashSet::new();
        let mut left = 0;
        let mut any = false;
        // Most looks find nothing: then neither a lock nor a transaction is needed.
        if !announced && outbox::oldest(&self.store).await?.is_none() {
            return Ok(Pass::Clean);
        }
        loop {
            let limit = BATCH + left.min(READ_OVER);
            let Some(batch) = self.batch(limit, &stuck, stop).await? else { return Ok(Pass::Elsewhere) };
            any |= !batch.acked.is_empty();
            left = batch.read - batch.acked.len();
            if let Some(error) = batch.error {
                tracing::warn!(error = %error, waiting = left, "the bus did not take an event, it stays in the outbox");
            }
            let idle = batch.acked.is_empty() && batch.stuck.is_empty();
            stuck.extend(batch.stuck);
            let down = !any && stuck.len() >= DOWN;
            let done = batch.read < limit || idle || down || stop.is_cancelled();
            match (done, left, any) {
                (false, ..) => {}
                (true, 0, _) => return Ok(Pass::Clean),
                (true, _, true) => return Ok(Pass::Partly),
                (true, _, false) => return Ok(Pass::Down),
            }
        }
    }

    /// Carries the first rows of the outbox, without those of `stuck` keys. None when another replica is at it.
    async fn batch(
        &self,
        limit: usize,
        stuck: &HashSet<(String, String)>,
        stop: &CancellationToken,
    ) -> sqlx::Result<Option<Batch>> {
        match &self.store {
            Store::Postgres(pool) => self.locked(pool, limit, stuck, stop).await,
            Store::MariaDb(pool) => self.locked(pool, limit, stuck, stop).await,
            Store::Sqlite(pools) => self.embedded(pools, limit, stuck, stop).await.map(Some),
        }
    }

    /// On a server: the lock, the rows and their removal are one transaction.
    async fn locked<DB>(
        &self,
        pool: &Pool<DB>,
        limit: usize,
        stuck: &HashSet<(String, String)>,
        stop: &CancellationToken,
    ) -> sqlx::Result<Option<Batch>>
    where
        DB: sqlx::Database,
        DB::Connection: Tables,
    {
        let mut tx = crate::begin(pool).await?;
        if !tx.relay_lock().await? {
            return Ok(None);
        }
        let rows = tx.outbox_head(rows(limit)).await?;
        let batch = self.carry(rows, stuck, stop).await;
        shop_runtime::crash_point("relay.before_delete");
        tx.outbox_delete(&batch.acked).await?;
        tx.commit().await?;
        Ok(Some(batch))
    }

    /// On SQLite: this process has the only relay, and must not hold the only writer while handlers write.
    async fn embedded(
        &self,
        pools: &Sqlite,
        limit: usize,
        stuck: &HashSet<(String, String)>,
        stop: &CancellationToken,
    ) -> sqlx::Result<Batch> {
        let rows = crate::acquire(&pools.read).await?.outbox_head(rows(limit)).await?;
        let batch = self.carry(rows, stuck, stop).await;
        shop_runtime::crash_point("relay.before_delete");
        if !batch.acked.is_empty() {
            let mut tx = pools.begin().await?;
            tx.outbox_delete(&batch.acked).await?;
            tx.commit().await?;
        }
        Ok(batch)
    }

    /// Publishes rows: those of one key one after the other, different keys at the same time.
    async fn carry(&self, rows: Vec<Pending>, stuck: &HashSet<(String, String)>, stop: &CancellationToken) -> Batch {
        let read = rows.len();
        let until = Instant::now() + BATCH_TIME;
        let chains = chains(rows, stuck);
        let mut carried = futures_util::stream::iter(chains.into_iter().map(|chain| self.chain(chain, until, stop)))
            .buffer_unordered(KEYS_AT_ONCE);
        let mut batch = Batch { read, ..Batch::default() };
        while let Some((acked, failure)) = carried.next().await {
            batch.acked.extend(acked);
            if let Some((key, error)) = failure {
                batch.stuck.push(key);
                batch.error.get_or_insert(error);
            }
        }
        batch
    }

    /// Publishes the rows of one key up to the first that fails.
    async fn chain(
        &self,
        rows: Vec<Pending>,
        until: Instant,
        stop: &CancellationToken,
    ) -> (Vec<i64>, Option<((String, String), BusError)>) {
        let mut acked = Vec::with_capacity(rows.len());
        for row in rows {
            if stop.is_cancelled() || Instant::now() >= until {
                break;
            }
            let (id, key) = (row.id, (row.topic.clone(), row.message_key.clone()));
            match self.publish(row, until, stop).await {
                Ok(()) => acked.push(id),
                Err(error) => return (acked, Some((key, error))),
            }
        }
        (acked, None)
    }

    async fn publish(&self, row: Pending, until: Instant, stop: &CancellationToken) -> Result<(), BusError> {
        let mut message = message(row)?;
        let mut span = message.sent(self.bus.system());
        let published = tokio::select! {
            biased;
            published = self.bus.publish(&message) => published,
            () = tokio::time::sleep_until(until) => Err(BusError::new("the bus did not answer in time")),
            () = async { stop.cancelled().await; tokio::time::sleep(LAST_WORDS).await } => {
                Err(BusError::new("stopped before the bus answered"))
            }
        };
        if published.is_err() {
            span.fail("bus");
        }
        published
    }

    /// Brings the gauges up to date; an error shows in the next pass. What a pass has just seen is not asked for again.
    async fn gauge(&self) {
        if self.clean.lock().is_some_and(|at| at.elapsed() < POLL * 2) {
            self.pending.set(0);
            self.oldest.set(0.0);
            return;
        }
        let Ok(oldest) = outbox::oldest(&self.store).await else { return };
        let Some(oldest) = oldest else {
            self.pending.set(0);
            self.oldest.set(0.0);
            return;
        };
        if let Ok(pending) = outbox::pending(&self.store).await {
            self.pending.set(pending);
        }
        let age = Duration::from_millis((millis(self.clock.now()) - oldest).try_into().unwrap_or(0));
        self.oldest.set(age.as_secs_f64());
    }
}

impl std::fmt::Debug for Relay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Relay").field("store", &self.store).finish_non_exhaustive()
    }
}

/// Rows by topic and key, each list in the order of the outbox, the lists in the order of their first row.
fn chains(rows: Vec<Pending>, stuck: &HashSet<(String, String)>) -> Vec<Vec<Pending>> {
    let mut places: HashMap<(String, String), usize> = HashMap::new();
    let mut chains: Vec<Vec<Pending>> = Vec::new();
    for row in rows {
        let key = (row.topic.clone(), row.message_key.clone());
        if stuck.contains(&key) {
            continue;
        }
        let place = *places.entry(key).or_insert_with(|| {
            chains.push(Vec::new());
            chains.len() - 1
        });
        chains[place].push(row);
    }
    chains
}

fn message(row: Pending) -> Result<Message, BusError> {
    let headers = serde_json::from_str(&row.headers).map_err(BusError::new)?;
    Ok(Message { topic: row.topic, key: row.message_key, headers, payload: row.payload })
}

fn rows(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

fn longer(pause: Duration) -> Duration {
    (pause * 2).min(BACK_OFF.1)
}
