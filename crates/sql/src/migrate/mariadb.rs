//! `MariaDB`: every statement that changes a table commits by itself, so a file that was cut short is run again from its
//! beginning, and what it had done is passed over.

use anyhow::Context;
use async_trait::async_trait;
use sqlx::mysql::MySqlDatabaseError;
use sqlx::{AssertSqlSafe, Executor, MySql, MySqlConnection, MySqlPool};

use super::turn::{Turn, is_lost};
use super::{Files, Migrating, Noted, Served, Settings, in_file};
use crate::error::{has_code, is_missing};
use crate::is_transient;

/// Attempts at one file, the first included.
const ATTEMPTS: u32 = 6;

/// A table being rebuilt may need longer than a request may. But one that a dump or a forgotten transaction has is not waited for:
/// all requests to it would queue behind us.
const LIMITS: &str = "SET SESSION max_statement_time = 0, lock_wait_timeout = 10";

/// What the server says when a table, or a row, was not had in time.
const LOCKED: &str = "1205";

const TABLE: &str = "CREATE TABLE IF NOT EXISTS _sqlx_migrations (version BIGINT PRIMARY KEY, description TEXT NOT NULL, \
    installed_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, success BOOLEAN NOT NULL, checksum BLOB NOT NULL, \
    execution_time BIGINT NOT NULL)";

const NOTED: &str = "SELECT version, checksum, success FROM _sqlx_migrations";

/// Whoever finds the note there goes on with what another run began.
const BEGUN: &str = "INSERT IGNORE INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
    VALUES (?, ?, FALSE, ?, -1)";

const DONE: &str = "UPDATE _sqlx_migrations SET success = TRUE, checksum = ? WHERE version = ?";

#[async_trait]
impl Migrating for MySql {
    async fn step(conn: &mut MySqlConnection, pool: &MySqlPool, files: &Files<'_>) -> anyhow::Result<bool> {
        conn.execute(LIMITS).await?;
        let mut attempt = 1;
        loop {
            let turn = Turn::take(conn).await?;
            let done = turn.hold(pool, run_first(conn, &turn, files)).await;
            let ended = turn.end(conn).await;
            match done {
                Err(error) if attempt < ATTEMPTS && begins_again(&error) => {
                    tracing::warn!("a migration was interrupted and begins again: {error:#}");
                    attempt += 1;
                }
                Err(error) => return Err(error),
                Ok(more) => return Ok(ended.map(|()| more)?),
            }
        }
    }
}

#[async_trait]
impl Served for MySql {
    async fn open(settings: &Settings) -> anyhow::Result<MySqlPool> {
        crate::mariadb(settings).await
    }

    async fn noted(conn: &mut MySqlConnection) -> sqlx::Result<Vec<Noted>> {
        sqlx::query_as(NOTED).fetch_all(conn).await
    }
}

/// Whether nothing is wrong but that another node writes, too: to the same rows, or in our turn.
fn begins_again(error: &anyhow::Error) -> bool {
    let again = |error: &sqlx::Error| is_transient(error) && !has_code(error, &[LOCKED]);
    error.downcast_ref().is_some_and(|error| again(error) || is_lost(error))
}

/// Runs the first of the files that the store lacks; false when it lacks none.
async fn run_first(conn: &mut MySqlConnection, turn: &Turn, files: &Files<'_>) -> anyhow::Result<bool> {
    let Some(file) = files.first_missing(noted(conn).await?)? else { return Ok(false) };
    let begun = sqlx::query(BEGUN).bind(file.version).bind(&*file.description).bind(&*file.checksum);
    let again = begun.execute(&mut *conn).await?.rows_affected() == 0;
    shop_runtime::crash_point("migrate.statement");
    if again {
        tracing::warn!("{} was cut short: running it again", in_file(file));
    }
    run(conn, turn, file.sql.as_str(), again).await.with_context(|| in_file(file))?;
    sqlx::query(DONE).bind(&*file.checksum).bind(file.version).execute(&mut *conn).await?;
    shop_runtime::crash_point("migrate.statement");
    Ok(true)
}

/// What is noted. A table is made only where there is none: to make one, a cluster stands still.
async fn noted(conn: &mut MySqlConnection) -> sqlx::Result<Vec<Noted>> {
    match MySql::noted(conn).await {
        Err(error) if is_missing(&error) => conn.execute(TABLE).await.map(|_| Vec::new()),
        noted => noted,
    }
}

/// Runs the statements of a file; those of a file that is run `again` may have been done before.
async fn run(conn: &mut MySqlConnection, turn: &Turn, file: &str, again: bool) -> sqlx::Result<()> {
    for statement in statements(file) {
        match conn.execute(AssertSqlSafe(turn.guarded(statement))).await {
            Err(sqlx::Error::Database(error)) if again && is_done(statement, error.downcast_ref()) => {}
            Err(error) => return Err(error),
            Ok(_) => {}
        }
        shop_runtime::crash_point("migrate.statement");
    }
    Ok(())
}

/// Whether a statement was refused because what it makes is there, or what it takes away is not.
fn is_done(statement: &str, error: &MySqlDatabaseError) -> bool {
    // Table, column, index, foreign key there; table, column or index not there.
    const DONE: [u16; 6] = [1050, 1060, 1061, 1826, 1051, 1091];
    // The same row. Of an index that is to be unique it says that rows of the table are alike, which is a failure.
    const DUPLICATE: u16 = 1062;
    let inserts = statement.get(..6).is_some_and(|word| word.eq_ignore_ascii_case("INSERT"));
    DONE.contains(&error.number()) || inserts && error.number() == DUPLICATE
}

/// The statements of a file, without the comments around them. Semicolons in texts, names and comments end none.
fn statements(file: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let (mut start, mut at) = (0, 0);
    while let Some(c) = file[at..].chars().next() {
        let rest = &file[at..];
        let skipped = match c {
            '-' if rest.starts_with("--") => rest.find('\n'),
            '/' if rest.starts_with("/*") => rest.find("*/"),
            '\'' | '"' | '`' => rest[1..].find(c).map(|end| end + 1),
            ';' => {
                found.push(&file[start..at]);
                start = at + 1;
                Some(0)
            }
            _ => Some(0),
        };
        at = skipped
            .map_or(file.len(), |skipped| at + skipped + file[at + skipped..].chars().next().map_or(0, char::len_utf8));
    }
    found.push(&file[start..]);
    found.into_iter().map(without_comments).filter(|statement| !statement.is_empty()).collect()
}

/// A statement from its first word on.
fn without_comments(statement: &str) -> &str {
    let mut rest = statement.trim();
    while rest.starts_with("--") {
        rest = rest.split_once('\n').map_or("", |(_, after)| after).trim_start();
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_falls_into_its_statements() {
        for (file, expected) in [
            ("", vec![]),
            ("-- nothing; at all\n", vec![]),
            ("SELECT 1", vec!["SELECT 1"]),
            ("-- one; two\nSELECT 1; -- three\n\nSELECT 2;\n", vec!["SELECT 1", "SELECT 2"]),
            (
                "SELECT ';', \";\", `;` /* ; */;SELECT 'it''s; ö';",
                vec!["SELECT ';', \";\", `;` /* ; */", "SELECT 'it''s; ö'"],
            ),
            ("CREATE TABLE a (\n  b INT, -- c; d\n  e INT\n);", vec!["CREATE TABLE a (\n  b INT, -- c; d\n  e INT\n)"]),
            ("SELECT 'never ends; x", vec!["SELECT 'never ends; x"]),
        ] {
            assert_eq!(statements(file), expected, "{file}");
        }
    }
}
