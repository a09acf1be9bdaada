//! Baskets in SQLite, for one process that needs no server. A change is one transaction that holds the write lock from
//! its start; the mark of an operation is a row of the inbox in the same transaction.

use std::path::Path;

use async_trait::async_trait;
use shop_clock::{SharedClock, from_millis, millis};
use shop_fault::Fault;
use shop_money::{Currency, Money};
use shop_sql::{Sqlite, Statement, fault, inbox, statement};
use sqlx::SqliteConnection;
use sqlx::migrate::Migrator;
use uuid::Uuid;

use super::document::quantity;
use crate::domain::{Basket, Baskets, Change, Changed, Error, Line, UserId};

static MIGRATIONS: Migrator = shop_sql::migrations!("migrations/sqlite");

/// Baskets deleted by one sweep's statement, so that writers never wait long for it.
const CHUNK: i64 = 500;

/// Baskets in an SQLite file.
pub(crate) struct SqliteBaskets {
    store: Sqlite,
    clock: SharedClock,
}

#[derive(shop_sql::FromRow)]
struct BasketRow {
    id: Uuid,
    currency: String,
    version: i64,
    created_at: i64,
    updated_at: i64,
    expires_at: i64,
}

#[derive(shop_sql::FromRow)]
struct LineRow {
    id: Uuid,
    product_id: i64,
    name: String,
    quantity: u32,
    price: i64,
    category: String,
    created_at: i64,
}

impl SqliteBaskets {
    /// Opens the file and brings it to the present schema.
    pub(crate) async fn open(path: &Path, clock: SharedClock) -> anyhow::Result<Self> {
        let store = shop_sql::sqlite(path).await?;
        shop_sql::migrate(&store.write, &MIGRATIONS).await?;
        Ok(Self { store, clock })
    }

    /// The pools, for what else lives in the file.
    pub(crate) fn store(&self) -> &Sqlite {
        &self.store
    }

    /// What is stored for `user`, expired or not.
    async fn load(conn: &mut SqliteConnection, user: &UserId) -> Result<Option<Basket>, Error> {
        let query = sqlx::query_as(BASKET).bind(user.as_str());
        let row: Option<BasketRow> = execute(BASKET).run(query.fetch_optional(&mut *conn)).await.map_err(fault)?;
        let Some(row) = row else { return Ok(None) };
        let query = sqlx::query_as(LINES).bind(row.id);
        let lines: Vec<LineRow> = execute(LINES).run(query.fetch_all(conn)).await.map_err(fault)?;
        let currency: Currency = row.currency.parse().map_err(Fault::internal)?;
        let lines = lines.into_iter().map(|line| line.into_line(currency)).collect::<Result<_, Fault>>()?;
        Ok(Some(Basket {
            id: row.id,
            user: user.clone(),
            lines,
            created_at: from_millis(row.created_at),
            updated_at: from_millis(row.updated_at),
            expires_at: from_millis(row.expires_at),
            version: row.version,
        }))
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

const BASKET: &str = "SELECT id, currency, version, created_at, updated_at, expires_at FROM baskets WHERE user_id = $1";
const LINES: &str = "SELECT id, product_id, name, quantity, price, category, created_at FROM basket_items \
    WHERE basket_id = $1 ORDER BY rowid";
const DELETE_BASKET: &str = "DELETE FROM baskets WHERE id = $1";
const DELETE_LINE: &str = "DELETE FROM basket_items WHERE id = $1";
const PUT_BASKET: &str = "INSERT INTO baskets \
    (id, user_id, total, currency, version, created_at, updated_at, expires_at) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (id) DO UPDATE SET total = excluded.total, \
    currency = excluded.currency, version = excluded.version, updated_at = excluded.updated_at, \
    expires_at = excluded.expires_at";
const PUT_LINE: &str = "INSERT INTO basket_items \
    (id, basket_id, product_id, name, quantity, price, subtotal, category, created_at) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (id) DO UPDATE SET name = excluded.name, \
    quantity = excluded.quantity, price = excluded.price, subtotal = excluded.subtotal, \
    category = excluded.category";

fn execute(sql: &str) -> Statement {
    statement::<SqliteConnection>(sql)
}

/// Makes the rows of `before` those of `after`.
async fn save(conn: &mut SqliteConnection, before: Option<&Basket>, after: Option<&Basket>) -> sqlx::Result<()> {
    if let Some(before) = before
        && after.is_none_or(|after| after.id != before.id)
    {
        let query = sqlx::query(DELETE_BASKET).bind(before.id);
        execute(DELETE_BASKET).run(query.execute(&mut *conn)).await?;
    }
    let Some(after) = after else { return Ok(()) };
    let old = before.filter(|before| before.id == after.id).map_or(&[][..], |before| &before.lines);
    put_basket(conn, after).await?;
    for line in old.iter().filter(|line| !after.lines.iter().any(|kept| kept.id == line.id)) {
        let query = sqlx::query(DELETE_LINE).bind(line.id);
        execute(DELETE_LINE).run(query.execute(&mut *conn)).await?;
    }
    for line in after.lines.iter().filter(|line| !old.contains(line)) {
        put_line(conn, after.id, line).await?;
    }
    Ok(())
}

async fn put_basket(conn: &mut SqliteConnection, basket: &Basket) -> sqlx::Result<()> {
    let query = sqlx::query(PUT_BASKET)
        .bind(basket.id)
        .bind(basket.user.as_str())
        .bind(basket.total().minor)
        .bind(basket.currency().as_str())
        .bind(basket.version)
        .bind(millis(basket.created_at))
        .bind(millis(basket.updated_at))
        .bind(millis(basket.expires_at));
    execute(PUT_BASKET).run(query.execute(conn)).await.map(drop)
}

async fn put_line(conn: &mut SqliteConnection, basket: Uuid, line: &Line) -> sqlx::Result<()> {
    let query = sqlx::query(PUT_LINE)
        .bind(line.id)
        .bind(basket)
        .bind(line.product)
        .bind(&line.name)
        .bind(line.quantity.get())
        .bind(line.price.minor)
        .bind(line.subtotal().minor)
        .bind(&line.category)
        .bind(millis(line.created_at));
    execute(PUT_LINE).run(query.execute(conn)).await.map(drop)
}

#[async_trait]
impl Baskets for SqliteBaskets {
    async fn get(&self, user: &UserId) -> Result<Option<Basket>, Error> {
        // One snapshot for the two statements: the lines are those of the row.
        let mut snapshot = self.store.snapshot().await.map_err(fault)?;
        let basket = Self::load(&mut snapshot, user).await?;
        Ok(basket.filter(|basket| basket.expires_at > self.clock.now()))
    }

    async fn change(&self, user: &UserId, operation: Option<Uuid>, change: Change<'_>) -> Result<Changed, Error> {
        let mut tx = self.store.begin().await.map_err(fault)?;
        let stored = Self::load(&mut tx, user).await?;
        let live = stored.clone().filter(|basket| basket.expires_at > self.clock.now());
        if let Some(operation) = operation {
            let now = millis(self.clock.now());
            if !inbox::first_time(&mut *tx, operation, now).await.map_err(fault)? {
                return Ok(Changed::Repeated(live));
            }
        }
        let mut after = live.clone();
        change(&mut after)?;
        if after != live {
            save(&mut tx, stored.as_ref(), after.as_ref()).await.map_err(fault)?;
        } else if operation.is_none() {
            return Ok(Changed::Applied(after));
        }
        shop_sql::commit(tx).await.map_err(fault)?;
        Ok(Changed::Applied(after))
    }

    async fn sweep(&self) -> Result<u64, Error> {
        let mut total = 0;
        loop {
            let gone =
                sqlx::query("DELETE FROM baskets WHERE id IN (SELECT id FROM baskets WHERE expires_at <= $1 LIMIT $2)")
                    .bind(millis(self.clock.now()))
                    .bind(CHUNK)
                    .execute(&self.store.write)
                    .await
                    .map_err(fault)?
                    .rows_affected();
            total += gone;
            if gone == 0 {
                return Ok(total);
            }
        }
    }

    async fn check(&self) -> Result<(), String> {
        shop_sql::check(&self.store.clone().into()).await
    }
}
