//! Reservations in SQL.
//!
//! Every transaction locks in the same order, first the reservation, then products by id, so that none waits for one
//! that waits for it.

use std::result::Result as Tried;

use async_trait::async_trait;
use shop_clock::millis;
use shop_fault::Fault;
use shop_sql::{Connection, Engine, Value, inbox, retry_transient};
use sqlx::AssertSqlSafe;
use time::OffsetDateTime;
use uuid::Uuid;

use super::Failure;
use super::catalogue::Sql;
use super::entries::{entries, write};
use super::lines::{BURY, CLOSE, LineRow, MOVE, holdings, lock_products, moved, reserve, text};
use crate::domain::{
    Delta, Drift, EntryKind, Forgotten, Hold, Holding, Line, Movement, NewEntry, Outcome, Reach, Reservation,
    Reservations, Resolved, Result, Settlement,
};

const RELEASE_LINES: &str =
    "UPDATE reservation_lines SET state = 'released' WHERE reservation_id = $1 AND state = 'held'";
const WRITE_LINE: &str = "UPDATE reservation_lines SET state = $3, restocked = $4 \
                          WHERE reservation_id = $1 AND product_id = $2";
const SALE_COUNTS: &str = "SELECT sale_counts FROM reservations WHERE id = $1 AND sale_counts = 1";

#[async_trait]
impl<E: Engine> Reservations for Sql<E> {
    async fn reserve(&self, hold: Hold, now: OffsetDateTime) -> Result<bool> {
        self.holds.hold(hold, now).await
    }

    async fn release(&self, id: Uuid, now: OffsetDateTime) -> Result<bool> {
        // After a rush many are released at once; they must not take every connection from those who still buy.
        let _turn = self.releases.acquire().await.map_err(Fault::internal)?;
        Ok(retry_transient(|| self.try_release(id, now)).await?)
    }

    async fn settle(&self, settlement: &Settlement, now: OffsetDateTime) -> Result<()> {
        Ok(retry_transient(|| self.try_settle(settlement, now)).await?)
    }

    async fn held_since(
        &self,
        before: OffsetDateTime,
        after: Option<(OffsetDateTime, Uuid)>,
        limit: u32,
    ) -> Result<Vec<(OffsetDateTime, Uuid)>> {
        Ok(self.try_held_since(before, after, limit).await?)
    }

    async fn resolve(&self, id: Uuid, outcome: &Outcome, reach: Reach, now: OffsetDateTime) -> Result<Resolved> {
        Ok(retry_transient(|| self.try_resolve(id, outcome, reach, now)).await?)
    }

    async fn reservations(&self, after: Option<Uuid>, since: OffsetDateTime, limit: u32) -> Result<Vec<Reservation>> {
        Ok(self.try_reservations(after, since, limit).await?)
    }

    async fn reservations_of(&self, ids: &[Uuid]) -> Result<Vec<Reservation>> {
        Ok(self.try_reservations_of(ids).await?)
    }

    async fn forget_released(
        &self,
        before: OffsetDateTime,
        after: Option<Uuid>,
        limit: u32,
    ) -> Result<Option<Forgotten>> {
        Ok(retry_transient(|| self.try_forget_released(before, after, limit)).await?)
    }

    async fn drifts(&self) -> Result<Vec<Drift>> {
        Ok(self.try_drifts().await?)
    }

    async fn mend(&self, product: i64, now: OffsetDateTime) -> Result<()> {
        Ok(retry_transient(|| self.try_mend(product, now)).await?)
    }

    async fn count_sold(&self, event: Uuid, reservation: Uuid, lines: &[Line], now: OffsetDateTime) -> Result<()> {
        if self.sale_counts(reservation).await? {
            return Ok(());
        }
        Ok(retry_transient(|| self.try_count_sold(event, lines, now)).await?)
    }
}

impl<E: Engine> Sql<E> {
    async fn try_release(&self, id: Uuid, now: OffsetDateTime) -> Tried<bool, Failure> {
        let mut tx = self.engine.begin().await?;
        let at = Value::Int(millis(now));
        if tx.run(BURY, &[Value::Id(id), at]).await? == 1 {
            shop_sql::commit(tx).await?;
            return Ok(false);
        }
        // Closed means that every line is settled, or that its own event is on the way.
        if self.lock_reservation(&mut *tx, id).await?.as_deref() != Some("open") {
            return Ok(false);
        }
        let held: Vec<Line> = holdings(&mut *tx, id).await?.iter().map(Holding::line).collect();
        lock_products::<E, _>(&mut *tx, held.iter().map(|line| line.product)).await?;
        let given_back = entries(id, &held, EntryKind::Release, -1);
        let sums = given_back.iter().map(|entry| Line { product: entry.product, quantity: entry.reserved });
        reserve(&mut *tx, &sums.collect::<Vec<_>>()).await?;
        write(&mut *tx, &given_back, millis(now)).await?;
        tx.run(RELEASE_LINES, &[Value::Id(id)]).await?;
        tx.run(CLOSE, &[Value::Id(id), at]).await?;
        shop_sql::commit(tx).await?;
        Ok(true)
    }

    async fn try_settle(&self, settlement: &Settlement, now: OffsetDateTime) -> Tried<(), Failure> {
        let (id, product) = (Value::Id(settlement.reservation), Value::Int(settlement.line.product));
        let at = Value::Int(millis(now));
        let mut tx = self.engine.begin().await?;
        if !inbox::first_time(&mut *tx, settlement.event, millis(now)).await? {
            return Ok(());
        }
        let mut line = self.lock_line(&mut *tx, id, product).await?;
        let releases = settlement.movement == Movement::Release;
        if line.is_none() && releases {
            if tx.run(BURY, &[id, at]).await? == 1 {
                return Ok(shop_sql::commit(tx).await?);
            }
            // It was made meanwhile.
            line = self.lock_line(&mut *tx, id, product).await?;
        }
        let Some(SettledRow { state, sale_counts, line }) = line else {
            // Nothing was held, so nothing is to be given back.
            return if releases {
                Ok(shop_sql::commit(tx).await?)
            } else {
                Err(settlement.unfit("no such line").into())
            };
        };
        let mut holding = Holding::try_from(line)?;
        let delta = holding.settle(settlement)?;
        let line_state = Value::Text(text(holding.state));
        tx.run(WRITE_LINE, &[id, product, line_state, Value::Int(holding.restocked)]).await?;
        if state == "open" {
            tx.run(CLOSE, &[id, at]).await?;
        }
        if delta != Delta::default() {
            self.apply(&mut *tx, settlement, delta, sale_counts, millis(now)).await?;
        }
        Ok(shop_sql::commit(tx).await?)
    }

    /// Moves the units of the product, unless it is gone, and enters it into the ledger.
    async fn apply<C: Connection>(
        &self,
        conn: &mut C,
        settlement: &Settlement,
        delta: Delta,
        sale_counts: i64,
        now: i64,
    ) -> sqlx::Result<()> {
        let Settlement { reservation, line: Line { product, .. }, movement, .. } = *settlement;
        let (kind, sold) = match movement {
            Movement::Sell => (EntryKind::Sale, -delta.stock * sale_counts),
            Movement::Release => (EntryKind::Release, 0),
            Movement::Restock => (EntryKind::Restock, 0),
        };
        let Delta { stock, reserved } = delta;
        let values = [product, reserved, stock, sold, now].map(Value::Int);
        if conn.run(MOVE, &values).await? == 0 {
            return Ok(());
        }
        write(conn, &[NewEntry { product, kind, stock, reserved, reservation }], now).await
    }

    /// Locks a line and its reservation.
    async fn lock_line<C: Connection>(
        &self,
        conn: &mut C,
        id: Value<'_>,
        product: Value<'_>,
    ) -> sqlx::Result<Option<SettledRow>> {
        let sql = format!(
            "SELECT r.state AS reservation_state, r.sale_counts, l.product_id, l.quantity, l.state, l.restocked \
             FROM reservations r JOIN reservation_lines l ON l.reservation_id = r.id \
             WHERE r.id = $1 AND l.product_id = $2{}",
            E::LOCK
        );
        conn.row(AssertSqlSafe(sql), &[id, product]).await
    }

    /// Whether the units of this reservation are counted by its sale, and not by its payment.
    async fn sale_counts(&self, reservation: Uuid) -> Tried<bool, Failure> {
        let counts: Option<(i64,)> = self.engine.reader().await?.row(SALE_COUNTS, &[Value::Id(reservation)]).await?;
        Ok(counts.is_some())
    }

    async fn try_count_sold(&self, event: Uuid, lines: &[Line], now: OffsetDateTime) -> Tried<(), Failure> {
        let mut tx = self.engine.begin().await?;
        if !inbox::first_time(&mut *tx, event, millis(now)).await? {
            return Ok(());
        }
        lock_products::<E, _>(&mut *tx, lines.iter().map(|line| line.product)).await?;
        let (table, values) = moved(lines);
        let sql = format!(
            "{table} UPDATE products SET units_sold = units_sold + moved.quantity FROM moved WHERE products.id = moved.id"
        );
        tx.run(AssertSqlSafe(sql), &values).await?;
        Ok(shop_sql::commit(tx).await?)
    }

    /// Locks the reservation and says its state.
    pub(super) async fn lock_reservation<C: Connection>(&self, conn: &mut C, id: Uuid) -> sqlx::Result<Option<String>> {
        let sql = format!("SELECT state FROM reservations WHERE id = $1{}", E::LOCK);
        let state: Option<(String,)> = conn.row(AssertSqlSafe(sql), &[Value::Id(id)]).await?;
        Ok(state.map(|(state,)| state))
    }
}

/// A line with what is said of its reservation.
#[derive(shop_sql::FromRow)]
struct SettledRow {
    #[sqlx(rename = "reservation_state")]
    state: String,
    sale_counts: i64,
    #[sqlx(flatten)]
    line: LineRow,
}
