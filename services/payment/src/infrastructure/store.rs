//! Payments in MariaDB or SQLite: a change, its refunds and its events are one transaction.

use std::collections::HashMap;

use async_trait::async_trait;
use prometheus::IntCounterVec;
use shop_clock::{SharedClock, millis};
use shop_events::{Context, Envelope, Event};
use shop_sql::{Tables, Transient, Wake, outbox, retry_transient};
use sqlx::{Database, Pool, Transaction};
use uuid::Uuid;

use super::rows::{ItemRow, PaymentRow, RefundRow};
use super::statements::{Page, Statements};
use crate::crash;
use crate::domain::{Change, Due, Error, Filter, Payment, Payments, Status};

/// The name events carry as their source.
const SOURCE: &str = "payment-service";

/// The payments of one database.
pub(super) struct SqlPayments<DB: Database> {
    pub(super) read: Pool<DB>,
    pub(super) write: Pool<DB>,
    /// How a transaction that will write begins.
    pub(super) begin: &'static str,
    pub(super) clock: SharedClock,
    /// Tells the relay that there is something to send.
    pub(super) wake: Wake,
    /// Payments that came into a status, by status.
    pub(super) entered: IntCounterVec,
}

/// A change that was made.
struct Applied {
    before: Status,
    after: Payment,
    /// Whether it caused events.
    told: bool,
}

/// Why an attempt at a transaction ended.
enum Failed {
    Store(sqlx::Error),
    Domain(Error),
}

impl Transient for Failed {
    fn transient(&self) -> bool {
        matches!(self, Self::Store(error) if shop_sql::is_transient(error))
    }
}

impl From<sqlx::Error> for Failed {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error)
    }
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::Domain(error)
    }
}

impl From<Failed> for Error {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Store(error) => store_error(error),
            Failed::Domain(error) => error,
        }
    }
}

fn store_error(error: sqlx::Error) -> Error {
    Error::Other(shop_sql::fault(error))
}

impl<DB> SqlPayments<DB>
where
    DB: Database,
    DB::Connection: Statements + Tables,
{
    async fn begin(&self) -> sqlx::Result<Transaction<'static, DB>> {
        shop_sql::begin_with(&self.write, self.begin).await
    }

    async fn insert(&self, payment: &Payment) -> Result<bool, Failed> {
        let (row, items) = (PaymentRow::of(payment)?, ItemRow::of(payment));
        let mut tx = self.begin().await?;
        match tx.insert_payment(&row).await {
            Ok(()) => {}
            Err(sqlx::Error::Database(error)) if error.is_unique_violation() => {
                tx.rollback().await?;
                return Ok(false);
            }
            Err(error) => return Err(error.into()),
        }
        tx.insert_items(&items).await?;
        shop_sql::commit(tx).await?;
        Ok(true)
    }

    async fn apply(&self, id: Uuid, change: Change<'_>) -> Result<Applied, Failed> {
        let mut tx = self.begin().await?;
        match self.apply_in(&mut tx, id, change).await {
            Ok(applied) => {
                crash::before_commit(applied.before, &applied.after);
                shop_sql::commit(tx).await?;
                Ok(applied)
            }
            Err(failed) => {
                // Lets go of the row at once, not when the connection is next used.
                tx.rollback().await.ok();
                Err(failed)
            }
        }
    }

    async fn apply_in(
        &self,
        tx: &mut Transaction<'static, DB>,
        id: Uuid,
        change: Change<'_>,
    ) -> Result<Applied, Failed> {
        let row = tx.payment(id, true).await?.ok_or(Error::NotFound(id))?;
        let before = complete(&mut **tx, vec![row]).await?.pop().ok_or(Error::NotFound(id))?;
        let mut after = before.clone();
        let events = change(&mut after)?;
        if after == before && events.is_empty() {
            return Ok(Applied { before: before.status, after, told: false });
        }
        after.version += 1;
        tx.update_payment(&PaymentRow::of(&after)?).await?;
        for refund in &after.refunds {
            let row = RefundRow::of(id, refund);
            match before.refund(refund.id) {
                None => tx.insert_refund(&row).await?,
                Some(known) if known != refund => tx.update_refund(&row).await?,
                Some(_) => {}
            }
        }
        let told = !events.is_empty();
        let envelopes: Vec<_> = events.into_iter().map(|event| self.envelope(event)).collect();
        outbox::append(&mut **tx, &envelopes).await?;
        Ok(Applied { before: before.status, after, told })
    }

    fn envelope(&self, event: Event) -> Envelope {
        Envelope {
            id: self.clock.new_id(),
            time: self.clock.now(),
            source: SOURCE.to_owned(),
            event,
            context: Context::default(),
        }
    }
}

/// Joins rows of `payments` with their lines and refunds, keeping their order.
async fn complete<C: Statements>(conn: &mut C, rows: Vec<PaymentRow>) -> Result<Vec<Payment>, Failed> {
    let ids: Vec<_> = rows.iter().map(|row| row.id).collect();
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let mut items: HashMap<Uuid, Vec<ItemRow>> = HashMap::new();
    for row in conn.items(&ids).await? {
        items.entry(row.payment_id).or_default().push(row);
    }
    let refunded: Vec<_> = rows.iter().filter(|row| row.may_have_refunds()).map(|row| row.id).collect();
    let mut refunds: HashMap<Uuid, Vec<RefundRow>> = HashMap::new();
    if !refunded.is_empty() {
        for row in conn.refunds(&refunded).await? {
            refunds.entry(row.payment_id).or_default().push(row);
        }
    }
    let mut join = |row: PaymentRow| {
        let (items, refunds) = (items.remove(&row.id), refunds.remove(&row.id));
        row.into_payment(items.unwrap_or_default(), refunds.unwrap_or_default())
    };
    rows.into_iter().map(|row| join(row).map_err(Failed::Domain)).collect()
}

#[async_trait]
impl<DB> Payments for SqlPayments<DB>
where
    DB: Database,
    DB::Connection: Statements + Tables,
{
    async fn add(&self, payment: &Payment) -> Result<bool, Error> {
        let added = retry_transient(|| self.insert(payment)).await?;
        if added {
            self.entered.with_label_values(&[payment.status.as_str()]).inc();
        }
        Ok(added)
    }

    async fn get(&self, id: Uuid) -> Result<Option<Payment>, Error> {
        let mut conn = self.read.acquire().await.map_err(store_error)?;
        let row = conn.payment(id, false).await.map_err(store_error)?;
        Ok(complete(&mut *conn, row.into_iter().collect()).await?.pop())
    }

    async fn change(&self, id: Uuid, change: Change<'_>) -> Result<Payment, Error> {
        let Applied { before, after, told } = retry_transient(|| self.apply(id, change)).await?;
        if told {
            self.wake.wake();
        }
        if before != after.status {
            tracing::info!(payment.id = %id, from = %before, to = %after.status, "payment {id} is {}", after.status);
            self.entered.with_label_values(&[after.status.as_str()]).inc();
        }
        Ok(after)
    }

    async fn list(&self, filter: &Filter, after: Option<Uuid>, limit: u32) -> Result<Vec<Payment>, Error> {
        let page = Page {
            user_id: filter.user_id.as_ref().map(crate::domain::UserId::as_str),
            status: filter.status.map(Status::as_str),
            after,
            limit: limit.into(),
        };
        let mut conn = self.read.acquire().await.map_err(store_error)?;
        let rows = conn.page(page).await.map_err(store_error)?;
        Ok(complete(&mut *conn, rows).await?)
    }

    async fn due(&self, due: Due, limit: u32) -> Result<Vec<Uuid>, Error> {
        let mut conn = self.read.acquire().await.map_err(store_error)?;
        let limit = limit.into();
        let ids = match due {
            Due::Expired(now) => conn.expired(millis(now), limit).await,
            Due::Processing(before) => conn.processing(millis(before), limit).await,
            Due::Refunds(before) => conn.refunding(millis(before), limit).await,
        };
        ids.map_err(store_error)
    }
}
