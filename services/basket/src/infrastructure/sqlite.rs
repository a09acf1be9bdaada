//! Baskets in SQLite, for one process that needs no server. A change is one transaction that holds the write lock from
//! its start; the mark of an operation is a row of the inbox in the same transaction.

use async_trait::async_trait;
use shop_clock::{SharedClock, from_millis, millis};
use shop_fault::Fault;
use shop_money::{Currency, Money};
use shop_sql::{Connection, Engine, Sqlite, Value, inbox};
use time::OffsetDateTime;
use uuid::Uuid;

use super::Failure;
use super::document::{quantity, read_merged, write_merged};
use crate::domain::{Basket, Baskets, Change, Changed, Error, Line, UserId, made_until};

/// Baskets deleted by one sweep's statement, so that writers never wait long for it.
const CHUNK: i64 = 500;

/// Baskets in an SQLite file.
pub(super) struct SqliteBaskets {
    pub(super) engine: Sqlite,
    pub(super) clock: SharedClock,
}

#[derive(shop_sql::FromRow)]
struct BasketRow {
    id: Uuid,
    currency: String,
    version: i64,
    created_at: i64,
    updated_at: i64,
    expires_at: i64,
    merging_into: Option<String>,
    cleared_by: Option<Uuid>,
    merged: Option<String>,
}

#[derive(shop_sql::FromRow)]
struct ForwardRow {
    user_id: String,
}

#[derive(shop_sql::FromRow)]
struct LineRow {
    id: Uuid,
    product_id: i64,
    name: String,
    quantity: i64,
    price: i64,
    category: String,
    created_at: i64,
}

/// What is stored for `user`, expired or not.
async fn load<C: Connection>(conn: &mut C, user: &UserId) -> Result<Option<Basket>, Failure> {
    let row: Option<BasketRow> = conn.row(BASKET, &[Value::Text(user.as_str())]).await?;
    let Some(row) = row else { return Ok(None) };
    let lines: Vec<LineRow> = conn.rows(LINES, &[Value::Id(row.id)]).await?;
    Ok(Some(row.into_basket(user, lines)?))
}

impl BasketRow {
    fn into_basket(self, user: &UserId, lines: Vec<LineRow>) -> Result<Basket, Error> {
        let currency: Currency = self.currency.parse().map_err(Fault::internal)?;
        let lines = lines.into_iter().map(|line| line.into_line(currency)).collect::<Result<_, Fault>>()?;
        Ok(Basket {
            id: self.id,
            user: user.clone(),
            lines,
            created_at: from_millis(self.created_at),
            updated_at: from_millis(self.updated_at),
            expires_at: from_millis(self.expires_at),
            version: self.version,
            merging_into: self.merging_into.map(UserId::stored),
            cleared_by: self.cleared_by,
            merged: read_merged(self.merged.as_deref()).map_err(Error::from)?,
        })
    }
}

impl LineRow {
    fn into_line(self, currency: Currency) -> Result<Line, Fault> {
        Ok(Line {
            id: self.id,
            product: self.product_id,
            name: self.name,
            quantity: quantity(self.quantity)?,
            price: Money::new(self.price, currency),
            category: self.category,
            created_at: from_millis(self.created_at),
        })
    }
}

const BASKET: &str = "SELECT id, currency, version, created_at, updated_at, expires_at, merging_into, \
    cleared_by, merged FROM baskets WHERE user_id = $1";
const LINES: &str = "SELECT id, product_id, name, quantity, price, category, created_at FROM basket_items \
    WHERE basket_id = $1 ORDER BY rowid";
const DELETE_BASKET: &str = "DELETE FROM baskets WHERE id = $1";
const DELETE_LINE: &str = "DELETE FROM basket_items WHERE id = $1";
const PUT_BASKET: &str = "INSERT INTO baskets \
    (id, user_id, total, currency, version, created_at, updated_at, expires_at, merging_into, cleared_by, merged) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) ON CONFLICT (id) DO UPDATE SET total = excluded.total, \
    currency = excluded.currency, version = excluded.version, updated_at = excluded.updated_at, \
    expires_at = excluded.expires_at, merging_into = excluded.merging_into, cleared_by = excluded.cleared_by, \
    merged = excluded.merged";
const PUT_LINE: &str = "INSERT INTO basket_items \
    (id, basket_id, product_id, name, quantity, price, subtotal, category, created_at) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (id) DO UPDATE SET name = excluded.name, \
    quantity = excluded.quantity, price = excluded.price, subtotal = excluded.subtotal, \
    category = excluded.category";

const PUT_FORWARD: &str = "INSERT INTO forwards (basket_id, user_id, noted_at) VALUES ($1, $2, $3) \
    ON CONFLICT (basket_id) DO UPDATE SET user_id = excluded.user_id, noted_at = excluded.noted_at";
const FORWARD: &str = "SELECT user_id FROM forwards WHERE basket_id = $1";
const FORGET_FORWARDS: &str = "DELETE FROM forwards WHERE user_id = $1";
const SWEEP_FORWARDS: &str =
    "DELETE FROM forwards WHERE basket_id IN (SELECT basket_id FROM forwards WHERE noted_at <= $1 LIMIT $2)";
const SWEEP: &str = "DELETE FROM baskets WHERE id IN (SELECT id FROM baskets WHERE expires_at <= $1 LIMIT $2)";

/// Makes the rows of `before` those of `after`.
async fn save<C: Connection>(conn: &mut C, before: Option<&Basket>, after: Option<&Basket>) -> Result<(), Failure> {
    if let Some(before) = before
        && after.is_none_or(|after| after.id != before.id)
    {
        conn.run(DELETE_BASKET, &[Value::Id(before.id)]).await?;
    }
    let Some(after) = after else { return Ok(()) };
    let old = before.filter(|before| before.id == after.id).map_or(&[][..], |before| &before.lines);
    let merged = write_merged(&after.merged).map_err(Error::from)?;
    conn.run(PUT_BASKET, &basket_values(after, &after.currency(), merged.as_deref())).await?;
    for line in old.iter().filter(|line| !after.lines.iter().any(|kept| kept.id == line.id)) {
        conn.run(DELETE_LINE, &[Value::Id(line.id)]).await?;
    }
    for line in after.lines.iter().filter(|line| !old.contains(line)) {
        conn.run(PUT_LINE, &line_values(after.id, line)).await?;
    }
    Ok(())
}

/// The parameters of [`PUT_BASKET`].
fn basket_values<'a>(basket: &'a Basket, currency: &'a Currency, merged: Option<&'a str>) -> [Value<'a>; 11] {
    [
        Value::Id(basket.id),
        Value::Text(basket.user.as_str()),
        Value::Int(basket.total().minor),
        Value::Text(currency.as_str()),
        Value::Int(basket.version),
        Value::Int(millis(basket.created_at)),
        Value::Int(millis(basket.updated_at)),
        Value::Int(millis(basket.expires_at)),
        Value::Maybe(basket.merging_into.as_ref().map(UserId::as_str)),
        Value::MaybeId(basket.cleared_by),
        Value::Maybe(merged),
    ]
}

/// The parameters of [`PUT_LINE`].
fn line_values(basket: Uuid, line: &Line) -> [Value<'_>; 9] {
    [
        Value::Id(line.id),
        Value::Id(basket),
        Value::Int(line.product),
        Value::Text(&line.name),
        Value::Int(line.quantity.get().into()),
        Value::Int(line.price.minor),
        Value::Int(line.subtotal().minor),
        Value::Text(&line.category),
        Value::Int(millis(line.created_at)),
    ]
}

impl SqliteBaskets {
    fn live(&self, stored: Option<Basket>) -> Option<Basket> {
        stored.filter(|basket| basket.expires_at > self.clock.now())
    }

    async fn try_change(&self, user: &UserId, operation: Option<Uuid>, change: Change<'_>) -> Result<Changed, Failure> {
        let mut tx = self.engine.begin().await?;
        let stored = load(&mut *tx, user).await?;
        let live = self.live(stored.clone());
        if let Some(operation) = operation
            && !inbox::first_time(&mut *tx, operation, millis(self.clock.now())).await?
        {
            return Ok(Changed::Repeated(live));
        }
        let mut after = live.clone();
        change(&mut after)?;
        if after != live {
            save(&mut *tx, stored.as_ref(), after.as_ref()).await?;
        } else if operation.is_none() {
            return Ok(Changed::Applied(after));
        }
        shop_sql::commit(tx).await?;
        Ok(Changed::Applied(after))
    }

    async fn try_sweep(&self) -> sqlx::Result<u64> {
        let now = self.clock.now();
        self.delete(SWEEP_FORWARDS, millis(now - shop_sql::INBOX_KEPT)).await?;
        self.delete(SWEEP, millis(now)).await
    }

    /// Deletes what is older than `before`, a few rows at a time; how many.
    async fn delete(&self, statement: &'static str, before: i64) -> sqlx::Result<u64> {
        let values = [Value::Int(before), Value::Int(CHUNK)];
        let mut total = 0;
        loop {
            match self.engine.writer().await?.run(statement, &values).await? {
                0 => return Ok(total),
                gone => total += gone,
            }
        }
    }
}

#[async_trait]
impl Baskets for SqliteBaskets {
    async fn get(&self, user: &UserId) -> Result<Option<Basket>, Error> {
        let found = async {
            // One snapshot for the two statements: the lines are those of the row.
            let mut snapshot = self.engine.snapshot().await?;
            load(&mut *snapshot, user).await
        };
        Ok(self.live(found.await?))
    }

    async fn change(&self, user: &UserId, operation: Option<Uuid>, change: Change<'_>) -> Result<Changed, Error> {
        Ok(self.try_change(user, operation, change).await?)
    }

    async fn forward(&self, basket: Uuid, to: &UserId) -> Result<(), Error> {
        let values = [Value::Id(basket), Value::Text(to.as_str()), Value::Int(millis(self.clock.now()))];
        let noted = async { self.engine.writer().await?.run(PUT_FORWARD, &values).await };
        noted.await.map_err(Failure::from)?;
        Ok(())
    }

    async fn forwarded(&self, basket: Uuid) -> Result<Option<UserId>, Error> {
        let found = async { self.engine.reader().await?.row(FORWARD, &[Value::Id(basket)]).await };
        let row: Option<ForwardRow> = found.await.map_err(Failure::from)?;
        Ok(row.map(|row| UserId::stored(row.user_id)))
    }

    async fn forget(&self, user: &UserId, at: OffsetDateTime) -> Result<(), Error> {
        // What a later basket is remembered by is still needed. Marks of operations are rows without a name.
        if self.change(user, None, &made_until(at)).await?.into_basket().is_none() {
            let gone = async { self.engine.writer().await?.run(FORGET_FORWARDS, &[Value::Text(user.as_str())]).await };
            gone.await.map_err(Failure::from)?;
        }
        Ok(())
    }

    async fn sweep(&self) -> Result<u64, Error> {
        Ok(self.try_sweep().await.map_err(Failure::from)?)
    }

    async fn check(&self) -> Result<(), String> {
        shop_sql::check(self.engine.clone().into()).await
    }
}
