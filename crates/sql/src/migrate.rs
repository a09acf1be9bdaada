//! Bringing a store to the present schema.

use anyhow::{Context, ensure};
use async_trait::async_trait;
use sqlx::migrate::{Migrate, Migrator};
use sqlx::{Database, Executor, MySql, MySqlConnection, PgConnection, Pool, Postgres, Sqlite, SqliteConnection};

/// Seconds to wait for another replica that migrates.
const TURN: i64 = 600;

/// An engine that can be migrated while other replicas start, too.
#[async_trait]
pub trait Migrating: Database {
    /// Makes `conn` the only one that migrates and lifts the limits made for requests; lasts as long as the session.
    async fn take_turn(conn: &mut Self::Connection) -> anyhow::Result<()>;
}

#[async_trait]
impl Migrating for Postgres {
    async fn take_turn(conn: &mut PgConnection) -> anyhow::Result<()> {
        // The migrator itself takes an advisory lock; a table being rebuilt may need longer than a request.
        conn.execute("SET statement_timeout = 0; SET lock_timeout = 0").await?;
        Ok(())
    }
}

#[async_trait]
impl Migrating for MySql {
    async fn take_turn(conn: &mut MySqlConnection) -> anyhow::Result<()> {
        conn.execute("SET SESSION max_statement_time = 0, idle_transaction_timeout = 0").await?;
        // The migrator's own lock has a negative time limit, which MariaDB takes for none at all.
        let turn: Option<i64> = sqlx::query_scalar("SELECT GET_LOCK(LEFT(CONCAT('migrate ', DATABASE()), 64), ?)")
            .bind(TURN)
            .fetch_one(conn)
            .await?;
        ensure!(turn == Some(1), "another process has been migrating the store for {TURN} seconds");
        Ok(())
    }
}

#[async_trait]
impl Migrating for Sqlite {
    async fn take_turn(_: &mut SqliteConnection) -> anyhow::Result<()> {
        Ok(()) // one process has the file
    }
}

/// Applies what is missing. Safe when several replicas start at once: one does it, the others wait.
/// For SQLite pass the pool that writes.
pub async fn migrate<DB>(pool: &Pool<DB>, migrator: &Migrator) -> anyhow::Result<()>
where
    DB: Migrating,
    DB::Connection: Migrate,
{
    let failed = "could not bring the store to the present schema";
    let mut conn = pool.acquire().await.context(failed)?;
    // The session ends with the migration, and with it the lock and the lifted limits.
    conn.close_on_drop();
    DB::take_turn(&mut conn).await.context(failed)?;
    migrator.run(&mut conn).await.context(failed)?;
    conn.close().await.context(failed)
}
