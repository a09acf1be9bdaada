//! Reservations settled by their payment's word, in SQL.
//!
//! The locks are those of every other change of a reservation: an event that comes at the same moment comes before or after,
//! and finds its line settled.

use shop_clock::{from_millis, millis};
use shop_sql::{Connection, Engine, Value};
use sqlx::AssertSqlSafe;
use time::OffsetDateTime;
use uuid::Uuid;

use super::Tried;
use super::catalogue::Sql;
use super::entries::write;
use super::lines::{BURY, CLOSE, MOVE, holdings, lock_products, text};
use crate::domain::{Delta, EntryKind, Holding, Line, LineState, NewEntry, Outcome, Reach, Resolved};

const HELD: &str = "SELECT DISTINCT r.created_at, r.id FROM reservation_lines l JOIN reservations r ON r.id = l.reservation_id \
    WHERE l.state = 'held' AND r.created_at <= $1 AND (r.created_at > $2 OR (r.created_at = $2 AND r.id > $3)) \
    ORDER BY r.created_at, r.id LIMIT $4";
const PUT_LINE: &str = "INSERT INTO reservation_lines (reservation_id, product_id, quantity, state, restocked) \
    VALUES ($1, $2, $3, $4, $5) ON CONFLICT (reservation_id, product_id) \
    DO UPDATE SET quantity = excluded.quantity, state = excluded.state, restocked = excluded.restocked";
const COUNTS: &str = "SELECT sale_counts FROM reservations WHERE id = $1";
const REOPEN: &str = "UPDATE reservations SET state = 'open', updated_at = $2 WHERE id = $1";

impl<E: Engine> Sql<E> {
    pub(super) async fn try_held_since(
        &self,
        before: OffsetDateTime,
        after: Option<(OffsetDateTime, Uuid)>,
        limit: u32,
    ) -> Tried<Vec<(OffsetDateTime, Uuid)>> {
        let (since, id) = after.map_or((i64::MIN, Uuid::nil()), |(at, id)| (millis(at), id));
        let values = [Value::Int(millis(before)), Value::Int(since), Value::Id(id), Value::Int(limit.into())];
        let rows: Vec<(i64, Uuid)> = self.engine.reader().await?.rows(HELD, &values).await?;
        Ok(rows.into_iter().map(|(at, id)| (from_millis(at), id)).collect())
    }

    pub(super) async fn try_resolve(
        &self,
        id: Uuid,
        outcome: &Outcome,
        reach: Reach,
        now: OffsetDateTime,
    ) -> Tried<Resolved> {
        let at = Value::Int(millis(now));
        let mut tx = self.engine.begin().await?;
        tx.run(BURY, &[Value::Id(id), at]).await?;
        let sql = format!("{COUNTS}{}", E::LOCK);
        let counts: Option<(i64,)> = tx.row(AssertSqlSafe(sql), &[Value::Id(id)]).await?;
        let before = holdings(&mut *tx, id).await?;
        let after = outcome.resolve(&before, reach);
        let changed: Vec<Holding> = after.iter().filter(|line| !before.contains(line)).copied().collect();
        if changed.is_empty() {
            tx.rollback().await?;
            return Ok(Resolved::default());
        }
        let mut available = lock_products::<E, _>(&mut *tx, changed.iter().map(|line| line.product)).await?;
        let mut short = Vec::new();
        for line in &changed {
            let state = Value::Text(text(line.state));
            let (product, quantity) = (Value::Int(line.product), Value::Int(line.quantity));
            let values = [Value::Id(id), product, quantity, state, Value::Int(line.restocked)];
            tx.run(PUT_LINE, &values).await?;
            // A product that is gone has no units to count.
            if let Some(available) = available.remove(&line.product) {
                let known = before.iter().find(|known| known.product == line.product);
                let change = Change { reservation: id, before: known, after: line, counts: counts.map_or(0, |(n,)| n) };
                short.extend(change.book(&mut *tx, available, millis(now)).await?);
            }
        }
        let close = if matches!(outcome, Outcome::Open(_)) { REOPEN } else { CLOSE };
        tx.run(close, &[Value::Id(id), at]).await?;
        shop_sql::commit(tx).await?;
        Ok(Resolved { lines: changed, short })
    }
}

/// A line that becomes another.
struct Change<'a> {
    reservation: Uuid,
    before: Option<&'a Holding>,
    after: &'a Holding,
    /// 1 where the sale of the reservation counts the units sold, 0 where its payment does.
    counts: i64,
}

impl Change<'_> {
    /// Moves the product, and enters that into its ledger. Where more is sold than is `available`, what lacks is added to the
    /// books first: the units are gone, whatever the books say. Answers what lacks.
    async fn book<C: Connection>(&self, conn: &mut C, available: i64, now: i64) -> sqlx::Result<Option<Line>> {
        let product = self.after.product;
        let (was, is) = (self.before.map(Holding::weight).unwrap_or_default(), self.after.weight());
        let delta = Delta { stock: is.stock - was.stock, reserved: is.reserved - was.reserved };
        let lacks = (delta.reserved - delta.stock - available).max(0);
        let sold = |line: &Holding| if line.state == LineState::Sold { line.quantity } else { 0 };
        let sold = (sold(self.after) - self.before.map_or(0, sold)) * self.counts;
        if (delta, sold) == (Delta::default(), 0) {
            return Ok(None);
        }
        let values = [product, delta.reserved, delta.stock + lacks, sold, now].map(Value::Int);
        conn.run(MOVE, &values).await?;
        let entry = |kind, delta: Delta| {
            let Delta { stock, reserved } = delta;
            NewEntry { product, kind, stock, reserved, reservation: self.reservation }
        };
        let found = entry(EntryKind::Adjustment, Delta { stock: lacks, reserved: 0 });
        let entries = [found, entry(self.kind(), delta)];
        let entries: Vec<_> = entries.into_iter().filter(|entry| (entry.stock, entry.reserved) != (0, 0)).collect();
        write(conn, &entries, now).await?;
        Ok((lacks > 0).then_some(Line { product, quantity: lacks }))
    }

    fn kind(&self) -> EntryKind {
        let restocked = self.before.map_or(0, |before| before.restocked);
        match self.after.state {
            LineState::Held => EntryKind::Reservation,
            LineState::Sold if self.after.restocked > restocked => EntryKind::Restock,
            LineState::Sold => EntryKind::Sale,
            LineState::Released => EntryKind::Release,
        }
    }
}
