//! Holding stock: the reservations of all that wait at the same time, in one transaction.
//!
//! Many buyers of one product are many changes of one row, and each would wait for the disk of the one before. So whoever
//! comes while others are being served waits with the rest, and all of them are served next: one pass over the locks, one
//! commit. Alone, a reservation goes out at once. Each is all or nothing for itself, first come, first served.
//!
//! The work is done by tasks of their own, as a caller that goes away must not take the others along.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use parking_lot::Mutex;
use shop_clock::millis;
use shop_fault::{Fault, Kind};
use shop_sql::{Connection, Engine, Value, marks, retry_transient};
use shop_telemetry::{RequestContext, context};
use sqlx::AssertSqlSafe;
use time::OffsetDateTime;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use uuid::Uuid;

#[cfg(test)]
mod tests;

use super::Tried;
use super::entries::{entries, write};
use super::lines::{LineRow, by_ids, lock_products, reserve};
use super::select::padded;
use crate::domain::{EntryKind, Error, Hold, Holding, Line, NewEntry, Result, Shelf, Stored};

/// Transactions at a time: the second one begins while the first waits for the disk.
pub(super) const LANES: u32 = 2;
/// Lines per transaction: beyond it the rows, not the round trips and the disk, are what takes time.
const LINES: usize = 256;
/// Who comes while so many wait would not be served in the time that a checkout has.
const WAITING: usize = 4096;
/// The longest wait for an answer. Callers have given up by then.
const PATIENCE: Duration = Duration::from_secs(10);

/// Reservations on one store.
pub(super) struct Holds<E>(Arc<Queue<E>>);

struct Queue<E> {
    engine: E,
    lanes: Arc<Semaphore>,
    waiting: Mutex<VecDeque<Asked>>,
}

/// Somebody who waits for a reservation.
struct Asked {
    hold: Hold,
    now: OffsetDateTime,
    context: Option<RequestContext>,
    answer: oneshot::Sender<Result<bool>>,
}

impl<E: Engine> Holds<E> {
    pub(super) fn new(engine: E) -> Self {
        Self(Arc::new(Queue { engine, lanes: Arc::new(Semaphore::new(LANES as usize)), waiting: Mutex::default() }))
    }

    /// Makes a reservation, together with others that wait.
    pub(super) async fn hold(&self, hold: Hold, now: OffsetDateTime) -> Result<bool> {
        let (answer, answered) = oneshot::channel();
        let asked = Asked { hold, now, context: context::current(), answer };
        {
            let mut waiting = self.0.waiting.lock();
            if waiting.len() >= WAITING {
                waiting.retain(|asked| !asked.answer.is_closed());
            }
            if waiting.len() >= WAITING {
                return Err(busy("too many reservations wait already"));
            }
            waiting.push_back(asked);
        }
        if let Ok(lane) = self.0.lanes.clone().try_acquire_owned() {
            #[expect(
                clippy::disallowed_methods,
                reason = "it ends when nobody waits, each batch with the store's deadlines"
            )]
            tokio::spawn(self.0.clone().serve_all(lane));
        }
        match tokio::time::timeout(PATIENCE, answered).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(Fault::internal("a batch of reservations ended without an answer").into()),
            Err(_) => Err(busy("the reservation was not made in time")),
        }
    }
}

/// What it may be asked again for: a reservation made meanwhile is found by its id.
fn busy(detail: &'static str) -> Error {
    Fault::new(Kind::Unavailable, "store_busy", detail).with_retry_after(Duration::from_secs(1)).into()
}

impl<E: Engine> Queue<E> {
    /// Serves until nobody waits. Who comes while the lane is given back is seen after that, or has got it himself.
    async fn serve_all(self: Arc<Self>, mut lane: OwnedSemaphorePermit) {
        loop {
            loop {
                let batch = self.batch();
                if batch.is_empty() {
                    break;
                }
                // Whoever waits behind these is served, whatever becomes of them.
                let _ = AssertUnwindSafe(self.serve(batch)).catch_unwind().await;
            }
            drop(lane);
            if self.waiting.lock().is_empty() {
                return;
            }
            match self.lanes.clone().try_acquire_owned() {
                Ok(free) => lane = free,
                Err(_) => return,
            }
        }
    }

    /// The first of those that still wait. No reservation is in it twice: the second call of it belongs behind the first.
    fn batch(&self) -> Vec<Asked> {
        let (mut waiting, mut batch) = (self.waiting.lock(), Vec::new());
        let (mut touched, mut lines, mut later) = (HashSet::new(), 0, VecDeque::new());
        while let Some(asked) = waiting.pop_front() {
            if asked.answer.is_closed() {
                continue;
            }
            lines += asked.hold.lines.as_slice().len();
            if !batch.is_empty() && lines > LINES {
                waiting.push_front(asked);
                break;
            }
            let is_free = asked.hold.touches().all(|id| !touched.contains(&id));
            touched.extend(asked.hold.touches());
            if is_free { batch.push(asked) } else { later.push_back(asked) }
        }
        later.append(&mut waiting);
        *waiting = later;
        batch
    }

    /// Answers everybody in the batch. A reservation that the store cannot make fails alone.
    async fn serve(&self, batch: Vec<Asked>) {
        let (holds, answers): (Vec<_>, Vec<_>) =
            batch.into_iter().map(|Asked { hold, now, context, answer }| ((hold, now), (context, answer))).unzip();
        // The statements belong to the trace of the first: they cannot belong to all.
        let told = within(answers[0].0.clone(), self.hold_all(&holds)).await;
        let told = match told {
            Err(error) if holds.len() > 1 && is_defect(&error) => self.each_alone(&holds).await,
            Err(error) => same_for_all(error, holds.len()),
            Ok(told) => told,
        };
        for ((_, answer), told) in answers.into_iter().zip(told) {
            // Who went away meanwhile finds the reservation by its id, or takes it back.
            let _ = answer.send(told);
        }
    }

    async fn each_alone(&self, holds: &[(Hold, OffsetDateTime)]) -> Vec<Result<bool>> {
        let mut told = Vec::with_capacity(holds.len());
        for hold in holds {
            let alone = self.hold_all(std::slice::from_ref(hold)).await;
            told.push(alone.and_then(|mut told| told.pop().unwrap_or_else(|| Err(busy("nobody answered")))));
        }
        told
    }

    async fn hold_all(&self, holds: &[(Hold, OffsetDateTime)]) -> Result<Vec<Result<bool>>> {
        Ok(retry_transient(|| self.try_hold_all(holds)).await?)
    }

    async fn try_hold_all(&self, holds: &[(Hold, OffsetDateTime)]) -> Tried<Vec<Result<bool>>> {
        let now = holds.last().map_or(0, |(_, now)| millis(*now));
        let mut tx = self.engine.begin().await?;
        let opened = open(&mut *tx, holds, now).await?;
        let known = known::<E, _>(&mut *tx, holds, &opened).await?;
        let mut products: Vec<i64> =
            holds.iter().flat_map(|(hold, _)| hold.lines.as_slice()).map(|l| l.product).collect();
        products.extend(known.values().flat_map(|stored| &stored.holdings).map(|holding| holding.product));
        let free = Shelf::new(lock_products::<E, _>(&mut *tx, products).await?);
        let decided = Decided::of(holds, &opened, &known, free);
        if !decided.is_effect {
            // Rolled back, and with it the reservations that were opened for nothing.
            return Ok(decided.told);
        }
        decided.write(&mut *tx, now).await?;
        shop_sql::commit(tx).await?;
        Ok(decided.told)
    }
}

async fn within<F: Future>(asker: Option<RequestContext>, work: F) -> F::Output {
    match asker {
        Some(asker) => context::scope(asker, work).await,
        None => work.await,
    }
}

/// Whether the store refused what it was told, rather than was away or busy.
fn is_defect(error: &Error) -> bool {
    matches!(error, Error::Store(fault) if fault.kind() == Kind::Internal)
}

/// A fault of the store, told to everybody. The log has its cause once.
fn same_for_all(error: Error, count: usize) -> Vec<Result<bool>> {
    let fault = Fault::from(error);
    let again = |_| {
        let told = Fault::new(fault.kind(), fault.code().to_owned(), fault.detail());
        Err(Error::Store(fault.retry_after().into_iter().fold(told, Fault::with_retry_after)))
    };
    let mut told: Vec<_> = (1..count).map(again).collect();
    told.insert(0, Err(Error::Store(fault)));
    told
}

/// Opens the reservations, and closes those to be replaced that are not known: they stay as tombstones. Says which are new.
async fn open<C: Connection>(conn: &mut C, holds: &[(Hold, OffsetDateTime)], now: i64) -> sqlx::Result<HashSet<Uuid>> {
    let states = holds.iter().flat_map(|(hold, _)| {
        [(hold.id, "open")].into_iter().chain(hold.replaces.map(|replaced| (replaced, "closed")))
    });
    // In the order of ids, so that two services that open the same do not wait for each other.
    let states: BTreeMap<Uuid, &str> = states.collect();
    let count = padded(states.len());
    let row = |n: usize| format!("(${}, ${}, $1, $1, 1)", 2 * n + 2, 2 * n + 3);
    let sql = format!(
        "INSERT INTO reservations (id, state, created_at, updated_at, sale_counts) VALUES {} \
         ON CONFLICT (id) DO NOTHING RETURNING id",
        (0..count).map(row).collect::<Vec<_>>().join(", ")
    );
    // The last one once more only fills the statement up.
    let last = states.iter().next_back();
    let states = states.iter().chain(last.into_iter().cycle()).take(count);
    let values = states.flat_map(|(id, state)| [Value::Id(*id), Value::Text(state)]);
    let values: Vec<_> = [Value::Int(now)].into_iter().chain(values).collect();
    let rows: Vec<(Uuid,)> = conn.rows(AssertSqlSafe(sql), &values).await?;
    Ok(rows.into_iter().map(|(id,)| id).collect())
}

/// Reads and locks the reservations that were there before.
async fn known<E: Engine, C: Connection>(
    conn: &mut C,
    holds: &[(Hold, OffsetDateTime)],
    opened: &HashSet<Uuid>,
) -> Tried<HashMap<Uuid, Stored>> {
    #[derive(shop_sql::FromRow)]
    struct Row {
        reservation_id: Uuid,
        #[sqlx(flatten)]
        line: LineRow,
    }
    let mut ids: Vec<Uuid> =
        holds.iter().flat_map(|(hold, _)| hold.touches()).filter(|id| !opened.contains(id)).collect();
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    ids.sort_unstable();
    let count = padded(ids.len());
    let ids: Vec<_> = ids.into_iter().cycle().take(count).map(Value::Id).collect();
    let marks = marks(1, ids.len());
    let sql = format!("SELECT id, state FROM reservations WHERE id IN ({marks}) ORDER BY id{}", E::LOCK);
    let states: Vec<(Uuid, String)> = conn.rows(AssertSqlSafe(sql), &ids).await?;
    let sql = format!(
        "SELECT reservation_id, product_id, quantity, state, restocked FROM reservation_lines \
         WHERE reservation_id IN ({marks}) ORDER BY reservation_id, product_id"
    );
    let rows: Vec<Row> = conn.rows(AssertSqlSafe(sql), &ids).await?;
    let of = |(id, state): (Uuid, String)| (id, Stored { is_open: state == "open", holdings: Vec::new() });
    let mut known: HashMap<_, _> = states.into_iter().map(of).collect();
    for Row { reservation_id, line } in rows {
        known.entry(reservation_id).or_default().holdings.push(Holding::try_from(line)?);
    }
    Ok(known)
}

/// What becomes of each, and what there is to write.
struct Decided<'a> {
    told: Vec<Result<bool>>,
    held: Vec<(Uuid, &'a [Line])>,
    given_up: Vec<(Uuid, Vec<Line>)>,
    /// Opened, and refused afterwards.
    refused: Vec<Uuid>,
    /// Whether anything is to be kept.
    is_effect: bool,
}

impl<'a> Decided<'a> {
    fn of(
        holds: &'a [(Hold, OffsetDateTime)],
        opened: &HashSet<Uuid>,
        known: &HashMap<Uuid, Stored>,
        mut free: Shelf,
    ) -> Self {
        let mut decided =
            Self { told: Vec::new(), held: Vec::new(), given_up: Vec::new(), refused: Vec::new(), is_effect: false };
        for (hold, _) in holds {
            let told = decided.decide(hold, opened, known, &mut free);
            if told.is_err() {
                decided.refused.extend(hold.touches().filter(|id| opened.contains(id)));
            }
            decided.told.push(told);
        }
        decided
    }

    fn decide(
        &mut self,
        hold: &'a Hold,
        opened: &HashSet<Uuid>,
        known: &HashMap<Uuid, Stored>,
        free: &mut Shelf,
    ) -> Result<bool> {
        let replaced = hold.replaces.and_then(|id| Some((id, known.get(&id)?)));
        let given_up = replaced.map(|(id, known)| known.given_up(id)).transpose()?.unwrap_or_default();
        let is_new = opened.contains(&hold.id);
        if is_new {
            free.take(&hold.lines, &given_up)?;
            self.held.push((hold.id, hold.lines.as_slice()));
        } else {
            known.get(&hold.id).ok_or(Error::Closed(hold.id))?.check_repeat(hold)?;
            free.put_back(&given_up);
        }
        if let Some((id, Stored { is_open: true, .. })) = replaced {
            self.given_up.push((id, given_up));
        }
        self.is_effect |= is_new || hold.replaces.is_some();
        Ok(is_new)
    }

    async fn write<C: Connection>(&self, conn: &mut C, now: i64) -> sqlx::Result<()> {
        if !self.refused.is_empty() {
            by_ids(conn, "DELETE FROM reservations WHERE id IN", &self.refused, None).await?;
        }
        if !self.given_up.is_empty() {
            let ids: Vec<Uuid> = self.given_up.iter().map(|(id, _)| *id).collect();
            let close = "UPDATE reservations SET state = 'closed', updated_at = $1 WHERE id IN";
            by_ids(conn, close, &ids, Some(now)).await?;
            let release = "UPDATE reservation_lines SET state = 'released' WHERE state = 'held' AND reservation_id IN";
            by_ids(conn, release, &ids, None).await?;
        }
        if !self.held.is_empty() {
            insert_lines(conn, &self.held).await?;
        }
        let entries = self.entries();
        let mut sums = BTreeMap::<i64, i64>::new();
        for entry in &entries {
            *sums.entry(entry.product).or_default() += entry.reserved;
        }
        let sums: Vec<_> = sums.into_iter().map(|(product, quantity)| Line { product, quantity }).collect();
        reserve(conn, &sums).await?;
        write(conn, &entries, now).await
    }

    fn entries(&self) -> Vec<NewEntry> {
        let given_up = self.given_up.iter().map(|(id, lines)| (*id, lines.as_slice(), EntryKind::Release, -1));
        let held = self.held.iter().map(|(id, lines)| (*id, *lines, EntryKind::Reservation, 1));
        given_up.chain(held).flat_map(|(id, lines, kind, sign)| entries(id, lines, kind, sign)).collect()
    }
}

async fn insert_lines<C: Connection>(conn: &mut C, held: &[(Uuid, &[Line])]) -> sqlx::Result<()> {
    let lines: Vec<_> = held.iter().flat_map(|(id, lines)| lines.iter().map(|line| (*id, *line))).collect();
    let count = padded(lines.len());
    let row = |n: usize| format!("(${}, ${}, ${})", 3 * n + 1, 3 * n + 2, 3 * n + 3);
    let sql = format!(
        "WITH held (reservation, product, quantity) AS (VALUES {}) \
         INSERT INTO reservation_lines (reservation_id, product_id, quantity, state) \
         SELECT reservation, product, quantity, 'held' FROM held WHERE quantity > 0",
        (0..count).map(row).collect::<Vec<_>>().join(", ")
    );
    let filling = std::iter::repeat((Uuid::nil(), Line { product: 0, quantity: 0 }));
    let values = lines
        .into_iter()
        .chain(filling)
        .take(count)
        .flat_map(|(id, line)| [Value::Id(id), Value::Int(line.product), Value::Int(line.quantity)]);
    conn.run(AssertSqlSafe(sql), &values.collect::<Vec<_>>()).await.map(drop)
}
