//! What PostgreSQL and SQLite have in common, so that every statement and every transaction is written once.
//!
//! Both read `$n`, `RETURNING`, `ON CONFLICT` and common table expressions; what differs is how a transaction begins,
//! how rows are locked, and how text is searched.

use async_trait::async_trait;
use shop_sql::{Tables, Transient};
use sqlx::pool::PoolConnection;
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;
use sqlx::{Database, FromRow, PgConnection, SqlSafeStr, SqliteConnection, Transaction};
use uuid::Uuid;

use super::row::ProductRow;
use crate::domain::Error;

/// An engine that keeps the catalogue.
#[async_trait]
pub(super) trait Engine: Send + Sync + 'static {
    /// The driver.
    type Db: Database<Connection: Connection>;

    /// A transaction that will write.
    async fn begin(&self) -> sqlx::Result<Transaction<'static, Self::Db>>;

    /// A connection that only reads.
    async fn reader(&self) -> sqlx::Result<PoolConnection<Self::Db>>;

    /// One product, in one round trip.
    async fn product(&self, id: i64) -> sqlx::Result<Option<ProductRow>>;

    /// What makes a SELECT keep its rows for the transaction.
    fn lock(&self) -> &'static str;

    /// A condition that finds `text` as words, with its one parameter numbered `n`; none when it has no word.
    fn words(&self, text: &str, n: usize) -> Option<Search>;

    /// A condition that finds `text` as a piece of the name, its parameters numbered from `n`.
    fn pieces(&self, text: &str, n: usize) -> Search;
}

/// A condition on the text of a product.
pub(super) struct Search {
    /// The SQL.
    pub(super) condition: String,
    /// Its parameters.
    pub(super) values: Vec<String>,
}

/// A parameter.
#[derive(Debug, Clone, Copy)]
pub(super) enum Value<'a> {
    Int(i64),
    Text(&'a str),
    Maybe(Option<&'a str>),
    Id(Uuid),
}

/// A row that both engines can give.
pub(super) trait Row:
    for<'r> FromRow<'r, PgRow> + for<'r> FromRow<'r, SqliteRow> + Send + Unpin + 'static
{
}

impl<R> Row for R where R: for<'r> FromRow<'r, PgRow> + for<'r> FromRow<'r, SqliteRow> + Send + Unpin + 'static {}

/// A connection of either engine.
#[async_trait]
pub(super) trait Connection: Tables {
    /// Runs a statement and reads its rows.
    async fn rows<R: Row>(&mut self, sql: impl SqlSafeStr + Send, values: &[Value<'_>]) -> sqlx::Result<Vec<R>>;

    /// The same for a statement whose best plan depends on its parameters: it is planned for these.
    async fn rows_planned_anew<R: Row>(
        &mut self,
        sql: impl SqlSafeStr + Send,
        values: &[Value<'_>],
    ) -> sqlx::Result<Vec<R>>;

    /// Runs a statement; how many rows it touched.
    async fn run(&mut self, sql: impl SqlSafeStr + Send, values: &[Value<'_>]) -> sqlx::Result<u64>;

    /// Runs a statement that has one row at most.
    async fn row<R: Row>(&mut self, sql: impl SqlSafeStr + Send, values: &[Value<'_>]) -> sqlx::Result<Option<R>> {
        Ok(self.rows(sql, values).await?.pop())
    }
}

macro_rules! bind {
    ($query:expr, $values:expr) => {{
        let mut query = $query;
        for value in $values {
            query = match *value {
                Value::Int(value) => query.bind(value),
                Value::Text(value) => query.bind(value),
                Value::Maybe(value) => query.bind(value),
                Value::Id(value) => query.bind(value),
            };
        }
        query
    }};
}

macro_rules! connection {
    ($connection:ty) => {
        #[async_trait]
        impl Connection for $connection {
            async fn rows<R: Row>(
                &mut self,
                sql: impl SqlSafeStr + Send,
                values: &[Value<'_>],
            ) -> sqlx::Result<Vec<R>> {
                bind!(sqlx::query_as(sql), values).fetch_all(self).await
            }

            async fn rows_planned_anew<R: Row>(
                &mut self,
                sql: impl SqlSafeStr + Send,
                values: &[Value<'_>],
            ) -> sqlx::Result<Vec<R>> {
                bind!(sqlx::query_as(sql), values).persistent(false).fetch_all(self).await
            }

            async fn run(&mut self, sql: impl SqlSafeStr + Send, values: &[Value<'_>]) -> sqlx::Result<u64> {
                Ok(bind!(sqlx::query(sql), values).execute(self).await?.rows_affected())
            }
        }
    };
}
connection!(PgConnection);
connection!(SqliteConnection);

/// Why a transaction ended without effect.
#[derive(Debug)]
pub(super) enum Failure {
    /// The store failed, or another transaction won.
    Store(sqlx::Error),
    /// A rule said no.
    Refused(Error),
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

impl Transient for Failure {
    fn transient(&self) -> bool {
        matches!(self, Self::Store(error) if error.transient())
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Store(error) => Self::Store(shop_sql::fault(error)),
            Failure::Refused(error) => error,
        }
    }
}
