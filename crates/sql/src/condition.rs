//! What is known of whether an embedded store can be written, and the trial writes that find out.
//!
//! Readiness asks every few seconds, so the usual answer must cost next to nothing: as long as nothing went wrong, one
//! small commit in a while. Once a transaction broke, or a trial failed, only a write of some size proves the store sound
//! again: on a full disk a small one often still finds room in the log.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use sqlx::{Connection, Executor, SqliteConnection};
use tokio::time::{Instant, timeout};

use crate::held::in_time;
use crate::{Sqlite, acquire};

/// A store that proved sound is not tried again for so long, unless something breaks.
const SOUND_FOR: Duration = Duration::from_secs(10);

/// How long to wait for a turn to write; less than a readiness check may take.
const PATIENCE: Duration = Duration::from_millis(700);

/// Free space below which the disk counts as full: a write of a request with its log, and something to spare.
const ROOM: u64 = 256 * 1024;

/// Both leave nothing behind. Every store has these tables; no event and no client has this id or this key.
const SMALL_TRIAL: &str = "INSERT OR IGNORE INTO inbox (event_id, received_at) VALUES (zeroblob(16), 0); \
    DELETE FROM inbox WHERE event_id = zeroblob(16)";
/// Two commits, so that the row really is in the log before it goes. Its pages are free afterwards and used again.
const LARGE_TRIAL: [&str; 2] = [
    "INSERT OR REPLACE INTO idempotency_keys \
     (idempotency_key, fingerprint, operation, created_at, leased_until, body) \
     VALUES (char(10) || 'trial', x'', zeroblob(16), 0, 0, zeroblob(65536))",
    "DELETE FROM idempotency_keys WHERE idempotency_key = char(10) || 'trial'",
];

/// What is known of one store.
#[derive(Debug)]
pub(crate) struct Condition {
    folder: PathBuf,
    /// Connections given back: whether the queue of writers moves.
    turns: AtomicU64,
    /// Times something broke.
    breakdowns: AtomicU64,
    /// When a trial last went well, and how many breakdowns there had been before it.
    proven: Mutex<Option<(Instant, u64)>>,
}

impl Condition {
    /// Of a store that was just opened in `folder`.
    pub(crate) fn new(folder: &Path) -> Self {
        let (turns, breakdowns) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { folder: folder.to_owned(), turns, breakdowns, proven: Mutex::new(None) }
    }

    /// A connection came back.
    pub(crate) fn turn(&self) {
        self.turns.fetch_add(1, Ordering::Relaxed);
    }

    /// A write failed for the store's own reasons.
    pub(crate) fn broke(&self) {
        self.breakdowns.fetch_add(1, Ordering::Relaxed);
    }

    /// Fails when the disk has too little room left.
    async fn room(&self, least: u64) -> io::Result<()> {
        let folder = self.folder.clone();
        // Off the runtime's threads: a file system that hangs must not take them along.
        let asked = tokio::task::spawn_blocking(move || rustix::fs::statvfs(&folder));
        // Where the system does not tell, the trial does.
        let Ok(Ok(disk)) = asked.await else { return Ok(()) };
        if disk.f_bavail.saturating_mul(disk.f_frsize) >= least {
            Ok(())
        } else {
            Err(io::ErrorKind::StorageFull.into())
        }
    }
}

impl Sqlite {
    /// Fails while the store cannot be written.
    pub(crate) async fn check(&self) -> sqlx::Result<()> {
        let condition = &self.condition;
        let breakdowns = condition.breakdowns.load(Ordering::Relaxed);
        let proven = *condition.proven.lock();
        let checked = self.try_to_write(proven, breakdowns).await;
        match &checked {
            Ok(Tried::Wrote) => *condition.proven.lock() = Some((Instant::now(), breakdowns)),
            Ok(Tried::Skipped) => {}
            Err(_) => condition.broke(),
        }
        checked.map(drop)
    }

    async fn try_to_write(&self, proven: Option<(Instant, u64)>, breakdowns: u64) -> sqlx::Result<Tried> {
        self.condition.room(ROOM).await.map_err(sqlx::Error::Io)?;
        let sound = proven.map_or(breakdowns == 0, |(_, before)| before == breakdowns);
        if sound && proven.is_some_and(|(at, _)| at.elapsed() < SOUND_FOR) {
            return Ok(Tried::Skipped);
        }
        let turns = self.condition.turns.load(Ordering::Relaxed);
        let Ok(writer) = timeout(PATIENCE, acquire(&self.write)).await else {
            // Many write, and the queue moves: that is work, not a fault.
            let moves = self.condition.turns.load(Ordering::Relaxed) != turns;
            return if moves { Ok(Tried::Skipped) } else { Err(sqlx::Error::PoolTimedOut) };
        };
        let mut writer = writer?;
        let trial = async { if sound { small_trial(&mut writer).await } else { large_trial(&mut writer).await } };
        in_time(trial).await.map(|()| Tried::Wrote)
    }
}

enum Tried {
    Wrote,
    Skipped,
}

async fn small_trial(writer: &mut SqliteConnection) -> sqlx::Result<()> {
    let mut tx = writer.begin_with("BEGIN IMMEDIATE").await?;
    tx.execute(SMALL_TRIAL).await?;
    tx.commit().await
}

async fn large_trial(writer: &mut SqliteConnection) -> sqlx::Result<()> {
    for statement in LARGE_TRIAL {
        let mut tx = writer.begin_with("BEGIN IMMEDIATE").await?;
        tx.execute(statement).await?;
        tx.commit().await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_disk_without_room_is_full() {
        let condition = Condition::new(&std::env::temp_dir());
        condition.room(0).await.expect("there is always nothing");
        assert_eq!(condition.room(u64::MAX).await.map_err(|error| error.kind()), Err(io::ErrorKind::StorageFull));
    }
}
