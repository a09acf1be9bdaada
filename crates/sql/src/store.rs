//! One of the three engines, for the parts that work the same on each.

use sqlx::{MySqlPool, PgPool};

use crate::Sqlite;

/// An open store. Cheap to clone.
#[derive(Debug, Clone)]
pub enum Store {
    /// A pool on PostgreSQL.
    Postgres(PgPool),
    /// A pool on `MariaDB`.
    MariaDb(MySqlPool),
    /// The pools on an SQLite file.
    Sqlite(Sqlite),
}

impl From<PgPool> for Store {
    fn from(pool: PgPool) -> Self {
        Self::Postgres(pool)
    }
}

impl From<MySqlPool> for Store {
    fn from(pool: MySqlPool) -> Self {
        Self::MariaDb(pool)
    }
}

impl From<Sqlite> for Store {
    fn from(sqlite: Sqlite) -> Self {
        Self::Sqlite(sqlite)
    }
}

impl Store {
    /// Notes what a failed write says of the store, for its next [`check`](crate::check).
    pub(crate) fn note(&self, error: &sqlx::Error) {
        if let Self::Sqlite(pools) = self
            && crate::error::is_unavailable(error)
        {
            pools.condition.broke();
        }
    }
}

/// Runs `$body` with `$conn`, a connection that may write, on whichever engine the store is.
macro_rules! with_writer {
    ($store:expr, $conn:ident => $body:expr) => {
        $crate::store::with!($store, write, $conn => $body)
    };
}

/// The same for a connection that only reads.
macro_rules! with_reader {
    ($store:expr, $conn:ident => $body:expr) => {
        $crate::store::with!($store, read, $conn => $body)
    };
}

/// The same for the connections of an SQLite file that `$pool` has; a server has them of one kind.
macro_rules! with {
    ($store:expr, $pool:ident, $conn:ident => $body:expr) => {
        match $store {
            $crate::Store::Postgres(pool) => $crate::store::with!(pool, $conn => $body),
            $crate::Store::MariaDb(pool) => $crate::store::with!(pool, $conn => $body),
            $crate::Store::Sqlite(pools) => $crate::store::with!(pools.$pool, $conn => $body),
        }
    };
    ($pool:expr, $conn:ident => $body:expr) => {{
        let mut held = $crate::acquire(&$pool).await?;
        let $conn = &mut *held;
        $body
    }};
}

pub(crate) use {with, with_reader, with_writer};
