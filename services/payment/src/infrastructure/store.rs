//! Payments in MariaDB or SQLite: a change, its refunds and its events are one transaction.

use std::collections::HashMap;

use async_trait::async_trait;
use shop_clock::{SharedClock, millis};
use shop_events::{Context, Envelope, Event};
use shop_sql::{Connection, Engine, Step, Value, Wake, filters, marks, outbox, retry_transient};
use sqlx::AssertSqlSafe;
use time::OffsetDateTime;
use uuid::Uuid;

use super::counters::{Beside, Counters};
use super::row::{
    INSERT, INSERT_IF_ROOM, INSERT_REFUND, ItemRow, PaymentRow, RefundRow, UPDATE, UPDATE_REFUND, UPDATE_SEEN,
    WholeRow, columns, insert_items, inserted, inserted_refund, named_item_columns, note_reserved, pairs,
    refund_columns, updated, updated_refund,
};
use super::{Failure, left_behind};
use crate::crash::{self, Point};
use crate::domain::{Change, Claim, Error, Filter, Left, Payment, Payments, Standing, Status, UserId, Wait, Waits};

/// Payments noted by one statement, filled up so that its text is always the same.
const NOTED: usize = 16;

/// The name events carry as their source.
const SOURCE: &str = "payment-service";

const GET: &str = concat!("SELECT ", columns!(), " FROM payments WHERE id = $1");
/// With its lines, of which it has one at least.
const GET_WHOLE: &str = concat!(
    "SELECT * FROM (SELECT ",
    columns!(),
    " FROM payments WHERE id = $1) AS payment JOIN (SELECT ",
    named_item_columns!(),
    " FROM payment_items) AS item ON item.payment_id = payment.id ORDER BY position"
);
/// Those that are open, and the one that claims the basket. A union, for each half has an index.
const STANDING: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM payments WHERE user_id = $1 AND status IN ('pending', 'processing', 'requires_action') \
     UNION SELECT ",
    columns!(),
    " FROM payments WHERE open_basket = $2"
);
const BETWEEN: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM payments WHERE id > $1 AND id <= $2 AND created_at >= $3 ORDER BY id LIMIT $4"
);

/// The payments on one engine.
pub(super) struct Sql<E> {
    pub(super) engine: E,
    pub(super) clock: SharedClock,
    /// Tells the relay that there is something to send.
    pub(super) wake: Wake,
    /// What became of payments, counted.
    pub(super) counters: Counters,
}

/// A change that was made.
struct Applied {
    before: Status,
    after: Payment,
    /// What became of its refunds and of its dispute.
    beside: Beside,
    /// Whether it caused events.
    told: bool,
}

impl<E: Engine> Sql<E> {
    /// Adds a payment, if its user has fewer than `most` that are open.
    async fn insert(&self, payment: &Payment, most: Option<u64>) -> Result<bool, Failure> {
        let pairs = pairs(payment)?;
        let (items, values) = insert_items(payment);
        let row = inserted(payment, &pairs);
        let row = match most {
            Some(most) => {
                let most = Value::Int(most.try_into().unwrap_or(i64::MAX));
                Step::new(INSERT_IF_ROOM, [row.as_slice(), &[most]].concat())
            }
            None => Step::new(INSERT, row),
        };
        Ok(self.engine.together(&[row, Step::new(AssertSqlSafe(items), values)]).await?)
    }

    async fn insert_and_count(&self, payment: &Payment, most: Option<u64>) -> Result<bool, Error> {
        let added = retry_transient(|| self.insert(payment, most)).await?;
        if added {
            self.counters.entered(payment.status);
        }
        Ok(added)
    }

    /// What became of `old`; nothing, and nothing was done, when there was no room for `new`.
    async fn exchange(&self, old: Uuid, change: Change<'_>, new: &Payment) -> Result<Option<Applied>, Failure> {
        let mut tx = self.engine.begin().await?;
        let exchanged = async {
            let applied = self.apply_in(&mut *tx, old, change).await?;
            Ok(insert_in(&mut *tx, new).await?.then_some(applied))
        };
        match exchanged.await {
            Ok(Some(applied)) => {
                crash::at(Point::ReplaceBeforeCommit);
                shop_sql::commit(tx).await?;
                Ok(Some(applied))
            }
            refused => {
                // Lets go of the row at once, not when the connection is next used.
                tx.rollback().await.ok();
                refused
            }
        }
    }

    /// Tells whoever wants to know of a change that was committed.
    fn tell(&self, id: Uuid, Applied { before, after, beside, told }: Applied) -> Payment {
        if told {
            self.wake.wake();
        }
        if before != after.status {
            tracing::info!(payment.id = %id, from = %before, to = %after.status, "payment {id} is {}", after.status);
            self.counters.entered(after.status);
        }
        self.counters.beside(&beside);
        after
    }

    async fn apply(&self, id: Uuid, change: Change<'_>) -> Result<Applied, Failure> {
        let mut tx = self.engine.begin().await?;
        match self.apply_in(&mut *tx, id, change).await {
            Ok(applied) => {
                crash::before_commit(applied.before, &applied.after);
                shop_sql::commit(tx).await?;
                Ok(applied)
            }
            Err(failure) => {
                // Lets go of the row at once, not when the connection is next used.
                tx.rollback().await.ok();
                Err(failure)
            }
        }
    }

    /// Applies a change to a payment as it was read before. None, and nothing was done, when it may be another by now: also a
    /// refusal may be of what once was so.
    async fn apply_to(&self, known: &Payment, change: Change<'_>) -> Result<Option<Applied>, Failure> {
        let mut after = known.clone();
        let Ok(events) = change(&mut after) else { return Ok(None) };
        if after == *known || after.refunds != known.refunds {
            return Ok(None);
        }
        after.version += 1;
        let values = [updated(&after).as_slice(), &[Value::Int(known.version)]].concat();
        let told = !events.is_empty();
        let envelopes: Vec<_> = events.into_iter().map(|event| self.envelope(event)).collect();
        let rows = outbox::rows(&envelopes)?;
        let steps: Vec<_> = [Step::new(UPDATE_SEEN, values)].into_iter().chain(rows.steps()).collect();
        crash::before_commit(known.status, &after);
        if !self.engine.together(&steps).await? {
            return Ok(None);
        }
        Ok(Some(Applied { before: known.status, beside: Beside::of(known, &after), after, told }))
    }

    async fn apply_in<C: Connection>(&self, conn: &mut C, id: Uuid, change: Change<'_>) -> Result<Applied, Failure> {
        let sql = AssertSqlSafe(format!("{GET}{}", E::LOCK));
        let row: PaymentRow = conn.row(sql, &[Value::Id(id)]).await?.ok_or(Error::NotFound(id))?;
        let before = complete(conn, vec![row]).await?.pop().ok_or(Error::NotFound(id))?;
        let mut after = before.clone();
        let events = change(&mut after)?;
        if after == before && events.is_empty() {
            return Ok(Applied { before: before.status, after, beside: Beside::default(), told: false });
        }
        after.version += 1;
        conn.run(UPDATE, &updated(&after)).await?;
        for refund in &after.refunds {
            match before.refund(refund.id) {
                None => drop(conn.run(INSERT_REFUND, &inserted_refund(id, refund, after.updated_at)).await?),
                Some(known) if known != refund => {
                    conn.run(UPDATE_REFUND, &updated_refund(refund, after.updated_at)).await?;
                }
                Some(_) => {}
            }
        }
        let told = !events.is_empty();
        let envelopes: Vec<_> = events.into_iter().map(|event| self.envelope(event)).collect();
        outbox::append(conn, &envelopes).await?;
        Ok(Applied { before: before.status, beside: Beside::of(&before, &after), after, told })
    }

    pub(super) fn envelope(&self, event: Event) -> Envelope {
        Envelope {
            id: self.clock.new_id(),
            time: self.clock.now(),
            source: SOURCE.to_owned(),
            event,
            context: Context::default(),
        }
    }
}

/// Adds a payment; false when its id is taken, or its basket claimed.
async fn insert_in<C: Connection>(conn: &mut C, payment: &Payment) -> Result<bool, Failure> {
    let pairs = pairs(payment)?;
    let (items, values) = insert_items(payment);
    if !conn.add(INSERT, &inserted(payment, &pairs)).await? {
        return Ok(false);
    }
    conn.run(AssertSqlSafe(items), &values).await?;
    Ok(true)
}

/// Joins rows of `payments` with their lines and refunds, keeping their order.
async fn complete<C: Connection>(conn: &mut C, rows: Vec<PaymentRow>) -> Result<Vec<Payment>, Failure> {
    let ids: Vec<_> = rows.iter().map(|row| row.id).collect();
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let mut items: HashMap<Uuid, Vec<ItemRow>> = HashMap::new();
    for row in items_of(conn, &ids).await? {
        items.entry(row.payment_id).or_default().push(row);
    }
    let refunded: Vec<_> = rows.iter().filter(|row| row.may_have_refunds()).map(|row| row.id).collect();
    let mut refunds: HashMap<Uuid, Vec<RefundRow>> = HashMap::new();
    if !refunded.is_empty() {
        for row in refunds_of(conn, &refunded).await? {
            refunds.entry(row.payment_id).or_default().push(row);
        }
    }
    let mut join = |row: PaymentRow| {
        let (items, refunds) = (items.remove(&row.id), refunds.remove(&row.id));
        row.into_payment(items.unwrap_or_default(), refunds.unwrap_or_default())
    };
    Ok(rows.into_iter().map(&mut join).collect::<Result<_, Error>>()?)
}

/// The lines of these payments, each payment's in order; at least one id.
async fn items_of<C: Connection>(conn: &mut C, payments: &[Uuid]) -> sqlx::Result<Vec<ItemRow>> {
    let sql = format!(
        concat!(
            "SELECT ",
            named_item_columns!(),
            " FROM payment_items WHERE payment_id IN ({}) ORDER BY payment_id, position"
        ),
        marks(1, payments.len())
    );
    conn.rows(AssertSqlSafe(sql), &ids(payments)).await
}

/// The refunds of these payments, each payment's oldest first; at least one id.
async fn refunds_of<C: Connection>(conn: &mut C, payments: &[Uuid]) -> sqlx::Result<Vec<RefundRow>> {
    let sql = format!(
        concat!(
            "SELECT ",
            refund_columns!(),
            " FROM refunds WHERE payment_id IN ({}) ORDER BY payment_id, created_at, id"
        ),
        marks(1, payments.len())
    );
    conn.rows(AssertSqlSafe(sql), &ids(payments)).await
}

fn ids(payments: &[Uuid]) -> Vec<Value<'static>> {
    payments.iter().copied().map(Value::Id).collect()
}

/// A page, the newest id first.
async fn page<C: Connection>(
    conn: &mut C,
    filter: &Filter,
    after: Option<Uuid>,
    limit: u32,
) -> sqlx::Result<Vec<PaymentRow>> {
    let texts = [
        ("user_id", filter.user_id.as_ref().map(UserId::as_str)),
        ("user_id", filter.of.as_ref().map(UserId::as_str)),
        ("status", filter.status.map(Status::as_str)),
    ];
    let (filters, mut values) = filters(&texts, after);
    values.push(Value::Int(limit.into()));
    let sql =
        format!(concat!("SELECT ", columns!(), " FROM payments{} ORDER BY id DESC LIMIT ${}"), filters, values.len());
    conn.rows(AssertSqlSafe(sql), &values).await
}

#[async_trait]
impl<E: Engine> Payments for Sql<E> {
    async fn add(&self, payment: &Payment) -> Result<bool, Error> {
        self.insert_and_count(payment, None).await
    }

    async fn add_if_room(&self, payment: &Payment, most: u64) -> Result<bool, Error> {
        self.insert_and_count(payment, Some(most)).await
    }

    async fn replace(&self, old: Uuid, change: Change<'_>, new: &Payment) -> Result<bool, Error> {
        let Some(applied) = retry_transient(|| self.exchange(old, change, new)).await? else { return Ok(false) };
        self.tell(old, applied);
        self.counters.entered(new.status);
        Ok(true)
    }

    async fn standing(&self, user: &UserId, basket: Uuid) -> Result<Standing, Error> {
        let found = async {
            let mut reader = self.engine.reader().await?;
            let rows: Vec<PaymentRow> = reader.rows(STANDING, &[Value::Text(user.as_str()), Value::Id(basket)]).await?;
            let (own, others): (Vec<_>, Vec<_>) = rows.into_iter().partition(|row| row.open_basket == Some(basket));
            let of_basket = complete(&mut *reader, own).await?.pop();
            Ok::<_, Failure>(Standing { of_basket, others: others.len().try_into().unwrap_or(u64::MAX) })
        };
        Ok(found.await?)
    }

    async fn get(&self, id: Uuid) -> Result<Option<Payment>, Error> {
        let found = async {
            let mut reader = self.engine.reader().await?;
            let mut rows: Vec<WholeRow> = reader.rows(GET_WHOLE, &[Value::Id(id)]).await?;
            let Some(WholeRow { payment, item }) = rows.pop() else { return Ok(None) };
            let items = rows.into_iter().map(|row| row.item).chain([item]).collect();
            let refunds = if payment.may_have_refunds() { refunds_of(&mut *reader, &[id]).await? } else { Vec::new() };
            Ok::<_, Failure>(Some(payment.into_payment(items, refunds)?))
        };
        Ok(found.await?)
    }

    async fn all_of(&self, ids: &[Uuid]) -> Result<Vec<Payment>, Error> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let sql = format!(concat!("SELECT ", columns!(), " FROM payments WHERE id IN ({})"), marks(1, ids.len()));
        let found = async {
            let mut reader = self.engine.reader().await?;
            let rows = reader.rows(AssertSqlSafe(sql), &self::ids(ids)).await?;
            complete(&mut *reader, rows).await
        };
        Ok(found.await?)
    }

    async fn between(
        &self,
        after: Option<Uuid>,
        last: Option<Uuid>,
        since: OffsetDateTime,
        limit: u32,
    ) -> Result<Vec<Payment>, Error> {
        let values = [
            Value::Id(after.unwrap_or_default()),
            Value::Id(last.unwrap_or(Uuid::max())),
            Value::Int(millis(since)),
            Value::Int(limit.into()),
        ];
        let found = async {
            let mut reader = self.engine.reader().await?;
            let rows = reader.rows(BETWEEN, &values).await?;
            complete(&mut *reader, rows).await
        };
        Ok(found.await?)
    }

    async fn change_from(&self, id: Uuid, known: Option<&Payment>, change: Change<'_>) -> Result<Payment, Error> {
        let applied = match known {
            Some(known) => retry_transient(|| self.apply_to(known, change)).await?,
            None => None,
        };
        let applied = match applied {
            Some(applied) => applied,
            None => retry_transient(|| self.apply(id, change)).await?,
        };
        Ok(self.tell(id, applied))
    }

    async fn note_reserved(&self, payments: &[Uuid]) -> Result<(), Error> {
        for some in payments.chunks(NOTED) {
            let filling = std::iter::repeat_n(some[some.len() - 1], NOTED - some.len());
            let values = ids(&some.iter().copied().chain(filling).collect::<Vec<_>>());
            let note = || async {
                let mut writer = self.engine.writer().await?;
                writer.run(AssertSqlSafe(note_reserved(NOTED)), &values).await.map_err(Failure::from)
            };
            retry_transient(note).await?;
        }
        Ok(())
    }

    async fn list(&self, filter: &Filter, after: Option<Uuid>, limit: u32) -> Result<Vec<Payment>, Error> {
        let found = async {
            let mut reader = self.engine.reader().await?;
            let rows = page(&mut *reader, filter, after, limit).await?;
            complete(&mut *reader, rows).await
        };
        Ok(found.await?)
    }

    async fn expired(
        &self,
        now: OffsetDateTime,
        after: Option<(OffsetDateTime, Uuid)>,
        limit: u32,
    ) -> Result<Vec<(OffsetDateTime, Uuid)>, Error> {
        Ok(left_behind::expired(&self.engine, now, after, limit).await.map_err(Failure::from)?)
    }

    async fn processing(&self, limit: u32) -> Result<Vec<Uuid>, Error> {
        Ok(left_behind::processing(&self.engine, limit).await.map_err(Failure::from)?)
    }

    async fn claim(&self, claim: &Claim) -> Result<Vec<Left>, Error> {
        Ok(left_behind::claim(&self.engine, claim).await.map_err(Failure::from)?)
    }

    async fn put_off(&self, left: &Left, until: OffsetDateTime) -> Result<(), Error> {
        Ok(left_behind::put_off(&self.engine, left, until).await.map_err(Failure::from)?)
    }

    async fn looked(&self, left: &Left, next: Option<OffsetDateTime>) -> Result<(), Error> {
        Ok(left_behind::looked(&self.engine, left, next).await.map_err(Failure::from)?)
    }
}

#[async_trait]
impl<E: Engine> Waits for Sql<E> {
    async fn waiting(&self, by: OffsetDateTime) -> Result<Vec<Wait>, Error> {
        Ok(left_behind::waiting(&self.engine, by).await.map_err(Failure::from)?)
    }
}
