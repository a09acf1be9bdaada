//! The catalogue in SQL.

use async_trait::async_trait;
use shop_clock::millis;
use shop_sql::{Connection, Engine, Value, retry_transient};
use sqlx::AssertSqlSafe;
use time::OffsetDateTime;
use tokio::sync::Semaphore;
use uuid::Uuid;

use super::holding::Holds;
use super::reads::Reads;
use super::row::{INSERT, ProductRow, UPDATE, Written, columns, edit};
use super::search::TextSearch;
use super::select::Select;
use super::{Failure, Tried};
use crate::domain::{After, Change, Details, Error, Listing, Match, Permit, Product, Products, Result, Slice};

const GET: &str = concat!("SELECT ", columns!(), " FROM products WHERE id = $1");
const GET_MADE_BY: &str = concat!("SELECT ", columns!(), " FROM products WHERE operation = $1");

/// Reservations released at a time: a quarter of the connections that a pool has by default.
const RELEASES: usize = 4;

/// The catalogue and its stock on one engine.
pub(super) struct Sql<E: Engine> {
    pub(super) engine: E,
    pub(super) holds: Holds<E>,
    /// Turns of those who release a reservation.
    pub(super) releases: Semaphore,
    reads: Reads<E::Db>,
    search: TextSearch,
}

impl<E: Engine> Sql<E> {
    /// The catalogue in these pools; reservations are made on `holding`.
    pub(super) fn new(engine: E, holding: E, search: TextSearch) -> Self {
        let (holds, reads) = (Holds::new(holding), Reads::new(engine.readers().clone()));
        Self { engine, holds, releases: Semaphore::new(RELEASES), reads, search }
    }
}

#[async_trait]
impl<E: Engine> Products for Sql<E> {
    async fn get(&self, id: i64) -> Result<Product> {
        let found = self.reads.product(id).await.map_err(Failure::from)?;
        found.ok_or(Error::NotFound(id))?.try_into()
    }

    async fn list(&self, listing: &Listing) -> Result<Slice> {
        let matching = listing.after.as_ref().map_or(Match::Words, |after| after.matching);
        let slice = self.page(listing, matching).await?;
        // Only the first page may change the way of matching: later ones follow their cursor.
        if slice.items.is_empty() && listing.after.is_none() && listing.filter.text.is_some() {
            return Ok(self.page(listing, Match::Pieces).await?);
        }
        Ok(slice)
    }

    async fn add(&self, operation: Uuid, details: &Details, now: OffsetDateTime) -> Result<Product> {
        Ok(retry_transient(|| self.try_add(operation, details, now)).await?)
    }

    async fn change(&self, id: i64, change: Change<'_>) -> Result<Product> {
        Ok(retry_transient(|| self.try_change(id, change)).await?)
    }

    async fn remove(&self, id: i64, permit: Permit<'_>) -> Result<()> {
        Ok(retry_transient(|| self.try_remove(id, permit)).await?)
    }

    async fn is_empty(&self) -> Result<bool> {
        let found = async {
            let first: Option<(i64,)> = self.engine.reader().await?.row("SELECT id FROM products LIMIT 1", &[]).await?;
            Tried::Ok(first)
        };
        Ok(found.await?.is_none())
    }

    async fn refold(&self) -> Result<usize> {
        Ok(self.refold_some().await?)
    }
}

impl<E: Engine> Sql<E> {
    async fn page(&self, listing: &Listing, matching: Match) -> Tried<Slice> {
        let Some(select) = Select::page(self.search, listing, matching) else {
            return Ok(Slice { items: Vec::new(), next: None });
        };
        let (sql, values) = (AssertSqlSafe(select.sql()), select.values());
        let rows: Vec<ProductRow> = if select.is_selective() {
            self.engine.rows_planned_anew(sql, &values).await?
        } else {
            self.engine.reader().await?.rows(sql, &values).await?
        };
        let shop_page::Slice { items, next } = shop_page::Slice::cut(rows, listing.limit, |_| ());
        let items: Vec<Product> = items.into_iter().map(Product::try_from).collect::<Result<_>>()?;
        let last = next.and(items.last());
        let next = last.map(|last| After { key: listing.order.key(last), id: last.id, matching });
        Ok(Slice { items, next })
    }

    async fn try_add(&self, operation: Uuid, details: &Details, now: OffsetDateTime) -> Tried<Product> {
        let mut tx = self.engine.begin().await?;
        let written = Written::new(details);
        let values = written.values([Value::Id(operation), Value::Int(millis(now))]);
        let mut made: Option<ProductRow> = tx.row(INSERT, &values).await?;
        if made.is_none() {
            made = tx.row(GET_MADE_BY, &[Value::Id(operation)]).await?;
        }
        shop_sql::commit(tx).await?;
        Ok(made.ok_or(sqlx::Error::RowNotFound)?.try_into()?)
    }

    async fn try_change(&self, id: i64, change: Change<'_>) -> Tried<Product> {
        let mut tx = self.engine.begin().await?;
        let mut product = self.locked(&mut *tx, id).await?;
        change(&mut product)?;
        let written = Written::new(&product.details);
        tx.run(UPDATE, &written.values(edit(&product))).await?;
        shop_sql::commit(tx).await?;
        Ok(product)
    }

    async fn try_remove(&self, id: i64, permit: Permit<'_>) -> Tried<()> {
        let mut tx = self.engine.begin().await?;
        let product = self.locked(&mut *tx, id).await?;
        permit(&product)?;
        tx.run("DELETE FROM products WHERE id = $1", &[Value::Int(id)]).await?;
        Ok(shop_sql::commit(tx).await?)
    }

    pub(super) async fn locked<C: Connection>(&self, conn: &mut C, id: i64) -> Tried<Product> {
        let sql = format!("{GET}{}", E::LOCK);
        let row: Option<ProductRow> = conn.row(AssertSqlSafe(sql), &[Value::Int(id)]).await?;
        Ok(row.ok_or(Error::NotFound(id))?.try_into()?)
    }
}
