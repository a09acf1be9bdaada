//! What differs between PostgreSQL and SQLite: how a transaction begins, and how rows are locked.

use async_trait::async_trait;
use shop_sql::{Connection, Refusal, Sqlite};
use sqlx::pool::PoolConnection;
use sqlx::{Database, PgPool, Postgres, Transaction};

use crate::domain::Error;

/// The schema on PostgreSQL.
pub(super) static POSTGRES: sqlx::migrate::Migrator = shop_sql::migrations!("migrations/postgres");
/// The schema on SQLite.
pub(super) static SQLITE: sqlx::migrate::Migrator = shop_sql::migrations!("migrations/sqlite");

/// An engine that keeps notifications.
#[async_trait]
pub(super) trait Engine: Send + Sync + 'static {
    /// The driver.
    type Db: Database<Connection: Connection>;

    /// What makes a SELECT keep its rows for the transaction.
    const LOCK: &'static str;

    /// The same, passing over rows that another transaction keeps.
    const LOCK_FREE: &'static str;

    /// A transaction that will write.
    async fn begin(&self) -> sqlx::Result<Transaction<'static, Self::Db>>;

    /// A connection that only reads.
    async fn reader(&self) -> sqlx::Result<PoolConnection<Self::Db>>;
}

#[async_trait]
impl Engine for PgPool {
    type Db = Postgres;

    const LOCK: &'static str = " FOR UPDATE";
    const LOCK_FREE: &'static str = " FOR UPDATE SKIP LOCKED";

    async fn begin(&self) -> sqlx::Result<Transaction<'static, Postgres>> {
        shop_sql::begin(self).await
    }

    async fn reader(&self) -> sqlx::Result<PoolConnection<Postgres>> {
        self.acquire().await
    }
}

/// One writer at a time, so a transaction needs no row locks.
#[async_trait]
impl Engine for Sqlite {
    type Db = sqlx::Sqlite;

    const LOCK: &'static str = "";
    const LOCK_FREE: &'static str = "";

    async fn begin(&self) -> sqlx::Result<Transaction<'static, sqlx::Sqlite>> {
        Self::begin(self).await
    }

    async fn reader(&self) -> sqlx::Result<PoolConnection<sqlx::Sqlite>> {
        self.read.acquire().await
    }
}

/// Why a transaction ended without effect.
pub(super) type Failure = shop_sql::Failure<Error>;

impl Refusal for Error {}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        failure.told()
    }
}
