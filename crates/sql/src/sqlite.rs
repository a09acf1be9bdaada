//! The embedded store: one file, one writer, several readers.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use sqlx::SqlitePool;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};

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
}

/// Opens the file at `path`; makes it, and its folder, when absent.
///
/// Write-ahead log, so that readers never wait; `synchronous=FULL`, so that a commit survives a power cut.
pub async fn sqlite(path: &Path) -> anyhow::Result<Sqlite> {
    if let Some(folder) = path.parent().filter(|f| !f.as_os_str().is_empty()) {
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
    let pool = || {
        SqlitePoolOptions::new().acquire_timeout(TURN).idle_timeout(None).max_lifetime(None).test_before_acquire(false)
    };
    let failed = || format!("could not open the store {}", path.display());
    // The writer first: it makes the file and switches it to the write-ahead log.
    let write = pool().max_connections(1).connect_with(options.clone()).await.with_context(failed)?;
    let readers = options.optimize_on_close(false, None).pragma("query_only", "ON");
    let read = pool().max_connections(READERS).connect_with(readers).await.with_context(failed)?;
    Ok(Sqlite { read, write })
}

impl Sqlite {
    /// A transaction that holds the write lock from its start, so that what it read is still true when it writes.
    pub async fn begin(&self) -> sqlx::Result<sqlx::Transaction<'static, sqlx::Sqlite>> {
        self.write.begin_with("BEGIN IMMEDIATE").await
    }

    /// Closes both pools; the last connection folds the log into the file.
    pub async fn close(&self) {
        self.read.close().await;
        self.write.close().await;
    }
}
