//! Reservations in SQL.
//!
//! Every transaction locks in the same order, first the reservation, then products by id, so that none waits for one
//! that waits for it.

use std::result::Result as Tried;

use async_trait::async_trait;
use shop_clock::millis;
use shop_fault::Fault;
use shop_sql::{Connection, Engine, Value, retry_transient};
use sqlx::AssertSqlSafe;
use time::OffsetDateTime;
use uuid::Uuid;

use super::Failure;
use super::catalogue::Sql;
use super::entries::{entries, write};
use super::lines::{BURY, CLOSE, holdings, lock_products, reserve};
use crate::domain::{
    Drift, EntryKind, Forgotten, Hold, Holding, Line, Outcome, Reach, Reservation, Reservations, Resolved, Result,
    Sale, Settlement,
};

const RELEASE_LINES: &str =
    "UPDATE reservation_lines SET state = 'released' WHERE reservation_id = $1 AND state = 'held'";

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

    async fn settle(&self, settlements: &[Settlement], now: OffsetDateTime) -> Result<()> {
        Ok(retry_transient(|| self.try_settle(settlements, now)).await?)
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

    async fn count_sold(&self, sales: &[Sale], now: OffsetDateTime) -> Result<()> {
        if sales.is_empty() {
            return Ok(());
        }
        let counted = self.sale_counts(sales).await?;
        let sales: Vec<_> = sales.iter().filter(|sale| !counted.contains(&sale.reservation)).collect();
        if sales.is_empty() {
            return Ok(());
        }
        Ok(retry_transient(|| self.try_count_sold(&sales, now)).await?)
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

    /// Locks the reservation and says its state.
    pub(super) async fn lock_reservation<C: Connection>(&self, conn: &mut C, id: Uuid) -> sqlx::Result<Option<String>> {
        let sql = format!("SELECT state FROM reservations WHERE id = $1{}", E::LOCK);
        let state: Option<(String,)> = conn.row(AssertSqlSafe(sql), &[Value::Id(id)]).await?;
        Ok(state.map(|(state,)| state))
    }
}
