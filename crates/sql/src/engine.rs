//! The three engines as the stores of the services see them, so that every statement and every transaction is written once.

use std::future::Future;

use sqlx::{Database, MySql, MySqlPool, PgPool, Pool, Postgres, SqlSafeStr};

use crate::together::{Step, at_once, one_by_one};
use crate::{Connection, Held, Row, Sqlite, Tx, Value, acquire, begin};

/// An engine that a store is kept on: its pools, how a transaction begins, and how rows are locked.
pub trait Engine: Send + Sync + 'static {
    /// The driver.
    type Db: Database<Connection: Connection>;

    /// What makes a SELECT keep its rows for the transaction.
    const LOCK: &'static str;

    /// The same, passing over rows that another transaction keeps.
    const LOCK_FREE: &'static str;

    /// The connections that read.
    fn readers(&self) -> &Pool<Self::Db>;

    /// The connections that write single statements.
    fn writers(&self) -> &Pool<Self::Db>;

    /// A transaction that will write.
    fn begin(&self) -> impl Future<Output = sqlx::Result<Tx<Self::Db>>> + Send;

    /// A connection that only reads.
    fn reader(&self) -> impl Future<Output = sqlx::Result<Held<Self::Db>>> + Send {
        acquire(self.readers())
    }

    /// Reads rows by a statement whose best plan depends on its parameters: it is planned for these.
    fn rows_planned_anew<R: Row>(
        &self,
        sql: impl SqlSafeStr + Send,
        values: &[Value<'_>],
    ) -> impl Future<Output = sqlx::Result<Vec<R>>> + Send {
        async move { self.reader().await?.rows(sql, values).await }
    }

    /// A connection that writes single statements.
    fn writer(&self) -> impl Future<Output = sqlx::Result<Held<Self::Db>>> + Send {
        acquire(self.writers())
    }

    /// Does all of these statements, of one at least, or none. False, and nothing is done, when the first one touches no row or
    /// a key is taken.
    fn together(&self, steps: &[Step<'_>]) -> impl Future<Output = sqlx::Result<bool>> + Send
    where
        Self: Sized,
    {
        one_by_one(self, steps)
    }
}

const PLANS_ANEW: &str = "BEGIN; SET LOCAL plan_cache_mode = force_custom_plan";

macro_rules! server {
    ($pool:ty, $db:ty, $own:item) => {
        impl Engine for $pool {
            type Db = $db;

            const LOCK: &'static str = " FOR UPDATE";
            const LOCK_FREE: &'static str = " FOR UPDATE SKIP LOCKED";

            fn readers(&self) -> &Self {
                self
            }

            fn writers(&self) -> &Self {
                self
            }

            fn begin(&self) -> impl Future<Output = sqlx::Result<Tx<$db>>> + Send {
                begin(self)
            }

            $own
        }
    };
}
server!(
    PgPool,
    Postgres,
    /// Not by a statement that is forgotten at once: the driver prepares it and asks for its rows in two steps, between which a
    /// pooler gives the connection to somebody else.
    async fn rows_planned_anew<R: Row>(
        &self,
        sql: impl SqlSafeStr + Send,
        values: &[Value<'_>],
    ) -> sqlx::Result<Vec<R>> {
        // It ends as it goes back, and nobody waits for that.
        Tx::begin(acquire(self).await?, PLANS_ANEW.into_sql_str()).await?.rows(sql, values).await
    }
);
server!(
    MySqlPool,
    MySql,
    fn together(&self, steps: &[Step<'_>]) -> impl Future<Output = sqlx::Result<bool>> + Send {
        at_once(self, steps)
    }
);

/// One writer at a time, so a transaction needs no row locks.
impl Engine for Sqlite {
    type Db = sqlx::Sqlite;

    const LOCK: &'static str = "";
    const LOCK_FREE: &'static str = "";

    fn readers(&self) -> &Pool<sqlx::Sqlite> {
        &self.read
    }

    fn writers(&self) -> &Pool<sqlx::Sqlite> {
        &self.write
    }

    fn begin(&self) -> impl Future<Output = sqlx::Result<Tx<sqlx::Sqlite>>> + Send {
        Self::begin(self)
    }
}
