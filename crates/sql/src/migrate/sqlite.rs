//! SQLite: a file and its note are one transaction that holds the write lock.

use anyhow::Context;
use async_trait::async_trait;
use sqlx::{Connection, Executor, Sqlite, SqliteConnection, SqlitePool};

use super::{Files, Migrating, Noted, in_file};

const TABLE: &str = "CREATE TABLE IF NOT EXISTS _sqlx_migrations (version BIGINT PRIMARY KEY, description TEXT NOT NULL, \
    installed_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, success BOOLEAN NOT NULL, checksum BLOB NOT NULL, \
    execution_time BIGINT NOT NULL)";

const NOTED: &str = "SELECT version, checksum, success FROM _sqlx_migrations";

const NOTE: &str = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
    VALUES ($1, $2, TRUE, $3, -1) ON CONFLICT (version) DO UPDATE SET success = TRUE, checksum = excluded.checksum";

#[async_trait]
impl Migrating for Sqlite {
    async fn step(conn: &mut SqliteConnection, _: &SqlitePool, files: &Files<'_>) -> anyhow::Result<bool> {
        let mut tx = conn.begin_with("BEGIN IMMEDIATE").await?;
        tx.execute(TABLE).await?;
        let noted: Vec<Noted> = sqlx::query_as(NOTED).fetch_all(&mut *tx).await?;
        let Some(file) = files.first_missing(noted)? else {
            tx.commit().await?;
            return Ok(false);
        };
        tx.execute(file.sql.clone()).await.with_context(|| in_file(file))?;
        shop_runtime::crash_point("migrate.statement");
        let note = sqlx::query(NOTE).bind(file.version).bind(&*file.description).bind(&*file.checksum);
        note.execute(&mut *tx).await?;
        shop_runtime::crash_point("migrate.statement");
        tx.commit().await?;
        shop_runtime::crash_point("migrate.statement");
        Ok(true)
    }
}
