//! PostgreSQL: a file, its note and the lock are one transaction, so nothing is needed of the session. That makes it safe
//! behind a pooler that gives each transaction another connection.

use anyhow::Context;
use async_trait::async_trait;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, PgPool, Postgres};

use super::{Files, Migrating, Noted, Served, Settings, TURN, in_file};

/// Only one service's tables are in a database, so one lock is enough there. The number says nothing.
const LOCK: i64 = 7_411_200_931;

/// A table being rebuilt may need longer than a request may.
const LIMITS: &str = "SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0";

const TABLE: &str = "CREATE TABLE IF NOT EXISTS _sqlx_migrations (version BIGINT PRIMARY KEY, description TEXT NOT NULL, \
    installed_on TIMESTAMPTZ NOT NULL DEFAULT now(), success BOOLEAN NOT NULL, checksum BYTEA NOT NULL, \
    execution_time BIGINT NOT NULL)";

const NOTED: &str = "SELECT version, checksum, success FROM _sqlx_migrations";

const NOTE: &str = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
    VALUES ($1, $2, TRUE, $3, -1) ON CONFLICT (version) DO UPDATE SET success = TRUE, checksum = excluded.checksum";

#[async_trait]
impl Migrating for Postgres {
    async fn step(conn: &mut PgConnection, _: &PgPool, files: &Files<'_>) -> anyhow::Result<bool> {
        let mut tx = conn.begin().await?;
        tx.execute(LIMITS).await?;
        // A lock's limit counts for this one, too, and is that of requests again for the tables: a migration that cannot
        // have a table must not make everybody queue behind it.
        let lock = format!(
            "SET LOCAL lock_timeout = '{}s'; SELECT pg_advisory_xact_lock({LOCK}); SET LOCAL lock_timeout = '10s'",
            TURN.as_secs()
        );
        let turn = tx.execute(AssertSqlSafe(lock)).await;
        turn.with_context(|| format!("another process has been migrating the store for {TURN:?}"))?;
        tx.execute(TABLE).await?;
        let noted = Self::noted(&mut tx).await?;
        let Some(file) = files.first_missing(noted)? else {
            tx.commit().await?;
            return Ok(false);
        };
        tx.execute(file.sql.clone()).await.with_context(|| in_file(file))?;
        shop_runtime::crash_point("migrate.statement");
        let note = sqlx::query(NOTE).bind(file.version).bind(&*file.description).bind(&*file.checksum);
        note.persistent(false).execute(&mut *tx).await?;
        shop_runtime::crash_point("migrate.statement");
        tx.commit().await?;
        shop_runtime::crash_point("migrate.statement");
        Ok(true)
    }
}

#[async_trait]
impl Served for Postgres {
    async fn open(settings: &Settings) -> anyhow::Result<PgPool> {
        crate::postgres(settings).await
    }

    async fn noted(conn: &mut PgConnection) -> sqlx::Result<Vec<Noted>> {
        // Not kept prepared: the next transaction may be on another connection.
        sqlx::query_as(NOTED).persistent(false).fetch_all(conn).await
    }
}
