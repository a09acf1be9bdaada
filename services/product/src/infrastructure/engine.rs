//! What PostgreSQL and SQLite have in common, so that every statement and every transaction is written once.
//!
//! Both read `$n`, `RETURNING`, `ON CONFLICT` and common table expressions; what differs is how a transaction begins,
//! how rows are locked, and how text is searched.

use async_trait::async_trait;
use shop_sql::{Connection, Refusal};
use sqlx::pool::PoolConnection;
use sqlx::{Database, Transaction};

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

    /// A condition that finds all of `words`, which are folded, in any of their forms; its one parameter is numbered `n`.
    fn words(&self, words: &str, n: usize) -> Search;

    /// A condition that finds `piece`, which is folded, in the name; its parameters are numbered from `n`.
    fn pieces(&self, piece: &str, n: usize) -> Search;
}

/// A condition on the text of a product.
pub(super) struct Search {
    /// The SQL.
    pub(super) condition: String,
    /// Its parameters.
    pub(super) values: Vec<String>,
}

/// Why a transaction ended without effect.
pub(super) type Failure = shop_sql::Failure<Error>;

impl Refusal for Error {}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        failure.told()
    }
}
