//! The embedded store: one file, one writer, several readers.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use sqlx::pool::PoolOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Connection, SqlSafeStr as _, SqlitePool};

use crate::condition::Condition;
use crate::{Tx, acquire};

/// Readers per file. Each is a thread with a page cache of its own; more than the cores of a small machine gain nothing.
const READERS: u32 = 4;

/// How long to wait for a lock held by another process (a backup, an `sqlite3` shell).
const BUSY: Duration = Duration::from_secs(5);

/// How long a request waits for its turn to write.
const TURN: Duration = Duration::from_secs(10);

/// The two pools on one file. SQLite has one writer at a time; a pool of one makes them queue fairly
/// instead of failing with "database is locked".
#[derive(Debug, Clone)]
pub struct Sqlite {
    /// For reading; refuses to write.
    pub read: SqlitePool,
    /// The one connection that writes.
    pub write: SqlitePool,
    /// What is known of whether it can.
    pub(crate) condition: Arc<Condition>,
}

/// Opens the file at `path`; makes it, and its folder, when absent.
///
/// Write-ahead log, so that readers never wait; `synchronous=FULL`, so that a commit survives a power cut.
pub async fn sqlite(path: &Path) -> anyhow::Result<Sqlite> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    if let Some(folder) = folder {
        tokio::fs::create_dir_all(folder)
            .await
            .with_context(|| format!("could not make the folder {} for the store", folder.display()))?;
    }
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(BUSY)
        // 4 MiB of pages per connection; temporary tables and sorts stay off the disk.
        .pragma("cache_size", "-4096")
        .pragma("temp_store", "MEMORY")
        // A log that grew under a long read is cut back to 16 MiB at the next checkpoint.
        .pragma("journal_size_limit", "16777216")
        .optimize_on_close(true, 400);
    let condition = Arc::new(Condition::new(folder.unwrap_or(Path::new("."))));
    let failed = || format!("could not open the store {}", path.display());
    // The writer first: it makes the file and switches it to the write-ahead log.
    let write = pool(&condition).max_connections(1).connect_with(options.clone()).await.with_context(failed)?;
    let readers = options.optimize_on_close(false, None).pragma("query_only", "ON");
    let read = pool(&condition).max_connections(READERS).connect_with(readers).await.with_context(failed)?;
    Ok(Sqlite { read, write, condition })
}

/// The settings both pools share.
///
/// A full disk, an input/output error or a lack of memory makes SQLite roll a transaction back by itself. The driver does
/// not learn of it: its own ROLLBACK fails, and it takes the connection for one within a transaction for ever. Such a
/// connection is closed when it comes back; the next in the queue gets a new one.
fn pool(condition: &Arc<Condition>) -> PoolOptions<sqlx::Sqlite> {
    let condition = condition.clone();
    SqlitePoolOptions::new()
        .acquire_timeout(TURN)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
        .after_release(move |conn, _| {
            let condition = condition.clone();
            Box::pin(async move {
                condition.turn();
                if conn.is_in_transaction() {
                    // Its rollback was sent and perhaps not done: the answer to a ping comes after.
                    conn.ping().await?;
                }
                let sound = !conn.is_in_transaction();
                if !sound {
                    condition.broke();
                    tracing::warn!("SQLite gave up a transaction by itself; a new connection takes this one's place");
                }
                Ok(sound)
            })
        })
}

impl Sqlite {
    /// A transaction that holds the write lock from its start, so that what it read is still true when it writes.
    pub async fn begin(&self) -> sqlx::Result<Tx<sqlx::Sqlite>> {
        Tx::begin_with(acquire(&self.write).await?, "BEGIN IMMEDIATE".into_sql_str()).await
    }

    /// A transaction that only reads: what it reads is of one moment.
    pub async fn snapshot(&self) -> sqlx::Result<Tx<sqlx::Sqlite>> {
        Tx::begin_with(acquire(&self.read).await?, None).await
    }

    /// Closes both pools; the last connection folds the log into the file.
    pub async fn close(&self) {
        self.read.close().await;
        self.write.close().await;
    }
}
