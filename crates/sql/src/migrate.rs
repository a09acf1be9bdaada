//! Bringing a store to the present schema.
//!
//! The files and the table that notes them are sqlx's; the run is not. sqlx's refuses a store that a newer release has
//! migrated, holds a lock of the session, which a pooler gives to somebody else, and gives up for ever on a file that was
//! cut short on `MariaDB`, where every statement commits by itself.

mod mariadb;
mod postgres;
mod sqlite;
mod turn;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use async_trait::async_trait;
use shop_config::Database as Settings;
use sqlx::migrate::{Migration, Migrator};
use sqlx::{Database, Pool};
use tokio::time::{Instant, sleep};

use crate::begin;
use crate::error::is_missing;
use crate::held::in_time;

/// How long to wait for another replica that migrates.
const TURN: Duration = Duration::from_mins(10);

/// The longest that one file may take, its turn included. A table of many rows may be copied in it; a server that is gone
/// is not waited for longer.
const LONGEST: Duration = Duration::from_hours(1);

/// How far what the other way leads to may be behind.
const BEHIND: Duration = Duration::from_secs(5);

/// The pause between two looks at it.
const PAUSE: Duration = Duration::from_millis(100);

/// What is noted in a store: a file's number, its checksum, and whether all of it was run.
type Noted = (i64, Vec<u8>, bool);

/// An engine that can be migrated while other replicas start, too.
#[async_trait]
pub trait Migrating: Database {
    /// Runs the first of the files that the store lacks, as the only replica to do so; false when it lacks none. Whatever
    /// moment it is cut short at, the next call makes good. `pool` is for a connection beside.
    async fn step(conn: &mut Self::Connection, pool: &Pool<Self>, files: &Files<'_>) -> anyhow::Result<bool>;
}

/// An engine that is a server.
#[async_trait]
pub trait Served: Migrating {
    /// A pool on it.
    async fn open(settings: &Settings) -> anyhow::Result<Pool<Self>>;

    /// What is noted, where anything is.
    async fn noted(conn: &mut Self::Connection) -> sqlx::Result<Vec<Noted>>;
}

/// The files of a service, in their order.
#[derive(Debug)]
pub struct Files<'a>(Vec<&'a Migration>);

impl<'a> Files<'a> {
    fn of(migrator: &'a Migrator) -> Self {
        Self(migrator.iter().filter(|file| file.migration_type.is_up_migration()).collect())
    }

    /// The first that is not noted as run. What a later release added is not ours to know: its schema serves this one,
    /// too, as every migration only adds (docs/operations.md, "Migrations").
    fn first_missing(&self, noted: Vec<Noted>) -> anyhow::Result<Option<&'a Migration>> {
        let noted: BTreeMap<i64, _> = noted.into_iter().map(|(version, sum, whole)| (version, (sum, whole))).collect();
        let newest = self.0.last().map_or(0, |file| file.version);
        let foreign =
            noted.keys().find(|&&version| version < newest && self.0.iter().all(|file| file.version != version));
        if let Some(version) = foreign {
            bail!(
                "the store has a migration {version}, which this program never had: \
                 see that database.url leads to this service's own database"
            );
        }
        for &file in &self.0 {
            match noted.get(&file.version) {
                Some((sum, true)) => ensure!(
                    **sum == *file.checksum,
                    "migration {} was run with another text: a migration that was released must not be edited, \
                     so start the program that ran it, or put its text back",
                    file.version
                ),
                Some((_, false)) | None => return Ok(Some(file)),
            }
        }
        Ok(None)
    }
}

/// Applies what is missing. Safe when several replicas start at once: one does it, the others wait.
/// For SQLite pass the pool that writes.
pub async fn migrate<DB: Migrating>(pool: &Pool<DB>, migrator: &Migrator) -> anyhow::Result<()> {
    let failed = "could not bring the store to the present schema";
    let files = Files::of(migrator);
    let mut conn = pool.acquire().await.context(failed)?;
    // The session ends with the migration, and with it what was set for it.
    conn.close_on_drop();
    loop {
        let step = tokio::time::timeout(LONGEST, DB::step(&mut conn, pool, &files)).await;
        let more = step.with_context(|| format!("a migration has taken {LONGEST:?}")).context(failed)?;
        if !more.context(failed)? {
            return conn.close().await.context(failed);
        }
    }
}

/// Brings the store of a `pool` to the present schema: past the pooler before it, where its settings name a `direct_url`.
pub async fn migrate_server<DB: Served>(
    settings: &Settings,
    pool: &Pool<DB>,
    migrator: &Migrator,
) -> anyhow::Result<()> {
    let direct = settings.direct().map_err(anyhow::Error::msg).context("database.direct_url")?;
    let Some(mut direct) = direct else { return migrate(pool, migrator).await };
    direct.pool.max = 1;
    let direct = DB::open(&direct).await.context("database.direct_url")?;
    migrate(&direct, migrator).await?;
    direct.close().await;
    let files = Files::of(migrator);
    let until = Instant::now() + BEHIND;
    while is_missing_some(pool, &files).await? {
        ensure!(
            Instant::now() < until,
            "what was migrated at database.direct_url is missing at database.url: have both lead to the same database"
        );
        sleep(PAUSE).await;
    }
    Ok(())
}

/// Whether the store of a pool lacks some of the files.
async fn is_missing_some<DB: Served>(pool: &Pool<DB>, files: &Files<'_>) -> anyhow::Result<bool> {
    // A pooler may give what is prepared outside of a transaction to another connection.
    let mut tx = begin(pool).await?;
    let noted = match in_time(DB::noted(&mut tx)).await {
        Err(error) if is_missing(&error) => Vec::new(),
        noted => noted?,
    };
    tx.rollback().await?;
    Ok(files.first_missing(noted)?.is_some())
}

/// Names the file in what went wrong.
fn in_file(file: &Migration) -> String {
    format!("migration {} ({})", file.version, file.description)
}

#[cfg(test)]
mod tests {
    use sqlx::AssertSqlSafe;
    use sqlx::SqlSafeStr as _;
    use sqlx::migrate::MigrationType;

    use super::*;

    fn file(version: i64) -> Migration {
        let sql = AssertSqlSafe(format!("CREATE TABLE t{version} (id INT)")).into_sql_str();
        Migration::new(version, "a table".into(), MigrationType::Simple, sql, false)
    }

    fn noted(file: &Migration) -> Noted {
        (file.version, file.checksum.to_vec(), true)
    }

    #[test]
    fn a_store_lacks_what_is_not_noted_and_what_was_cut_short() {
        let (one, two, three) = (file(1), file(2), file(3));
        let files = Files(vec![&one, &two]);
        let missing = |noted| files.first_missing(noted).expect("fits").map(|file| file.version);
        assert_eq!(missing(vec![]), Some(1));
        assert_eq!(missing(vec![noted(&one)]), Some(2));
        assert_eq!(missing(vec![noted(&one), noted(&two)]), None);
        assert_eq!(missing(vec![noted(&one), (2, vec![], false)]), Some(2), "its text may have been mended since");
        assert_eq!(missing(vec![noted(&one), noted(&two), noted(&three)]), None, "a later release was here");
        assert_eq!(missing(vec![noted(&one), noted(&three)]), Some(2), "a release between the two");
    }

    #[test]
    fn a_store_of_somebody_else_is_left_alone() {
        let (one, two, three) = (file(1), file(2), file(3));
        let error = Files(vec![&one, &three]).first_missing(vec![noted(&one), noted(&two)]).expect_err("no such file");
        assert!(error.to_string().contains("database.url"), "{error}");
        let error = Files(vec![&one]).first_missing(vec![(1, vec![1], true)]).expect_err("another text");
        assert!(error.to_string().contains("must not be edited"), "{error}");
    }
}
