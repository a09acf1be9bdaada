//! Whether a store can do its work: what readiness asks.

use sqlx::{Database, Pool};

use crate::{Store, Tables, acquire, fault};

/// Whether `store` can be written, and if not why, in words that may be shown.
///
/// An embedded store is written to (little, and not each time). On a server a statement that may write but finds nothing
/// to write tells a server that only reads from one that writes. That a server's disk fills up is for those to watch who
/// run it.
pub async fn check(store: Store) -> Result<(), String> {
    let checked = match store {
        Store::Postgres(pool) => server(&pool).await,
        Store::MariaDb(pool) => server(&pool).await,
        Store::Sqlite(pools) => pools.check().await,
    };
    checked.map_err(|error| words(error).to_owned())
}

async fn server<DB>(pool: &Pool<DB>) -> sqlx::Result<()>
where
    DB: Database,
    DB::Connection: Tables,
{
    let mut conn = acquire(pool).await?;
    // Nothing was received before all time.
    conn.inbox_purge(i64::MIN, 1).await.map(drop)
}

fn words(error: sqlx::Error) -> &'static str {
    if crate::error::is_read_only(&error) {
        return "the store only reads: it is a replica, or its disk does";
    }
    if crate::error::is_full(&error) {
        return "the store's disk is full";
    }
    let told = fault(error);
    tracing::debug!(error = ?told, "the store failed its check");
    if told.kind().status() == 503 { "the store cannot be reached just now" } else { "the store does not work" }
}
