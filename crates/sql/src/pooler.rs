//! A pooler between a service and PostgreSQL that gives each transaction another connection.
//!
//! Statements are kept prepared, so it has to carry them along. One that does not fails a statement now and then, by who else
//! is there, which is when it is busy: better at the start, with a word on how to mend it.

use std::time::Duration;

use anyhow::bail;
use sqlx::error::DatabaseError;
use sqlx::{Connection, PgConnection, PgPool};

use crate::connect;
use crate::give_up::within;
use crate::held::in_time;

/// What the servers say when a statement is prepared that is, or that is not.
const LOST: [&str; 2] = ["42P05", "26000"];

/// How long a pooler may take to come by another connection to the server.
const ANOTHER: Duration = Duration::from_secs(2);

/// Refuses a pooler that does not carry prepared statements from one connection of the server to the next. What could not be
/// tried is not refused.
pub async fn check_pooler(pool: &PgPool) -> anyhow::Result<()> {
    match lost(pool).await {
        Ok(None) => Ok(()),
        Ok(Some(error)) => bail!(
            "the PostgreSQL of database.url is behind a pooler that gives each transaction another connection and loses \
             prepared statements ({error}): take PgBouncer 1.21 or newer with max_prepared_statements = 256, or set its \
             pool_mode = session"
        ),
        Err(error) => {
            tracing::warn!(%error, "could not try whether prepared statements get lost between here and PostgreSQL");
            Ok(())
        }
    }
}

/// What the server says when a prepared statement gets lost.
async fn lost(pool: &PgPool) -> sqlx::Result<Option<Box<dyn DatabaseError>>> {
    let (mut one, mut other) = (connect(pool).await?, connect(pool).await?);
    let tried = in_time(try_statements(&mut one, &mut other)).await;
    // One of them may wait for an answer still.
    drop((one.close_hard().await, other.close_hard().await));
    match tried {
        Err(sqlx::Error::Database(error)) if error.code().is_some_and(|code| LOST.contains(&&*code)) => Ok(Some(error)),
        tried => tried.map(|()| None),
    }
}

/// The driver numbers the statements of a connection from the first, so a second client that gets what the first left finds
/// its name taken; and the first, which then gets another, does not find what it prepared.
async fn try_statements(one: &mut PgConnection, other: &mut PgConnection) -> sqlx::Result<()> {
    const ONE: &str = "SELECT 1";
    const OTHER: &str = "SELECT 2";
    sqlx::query(ONE).execute(&mut *one).await?;
    let mut tx = other.begin().await?;
    sqlx::query(OTHER).execute(&mut *tx).await?;
    match within(ANOTHER, sqlx::query(ONE).execute(&mut *one)).await {
        // Late: there is only one, and nobody found anything wrong with it.
        Ok(_) | Err(sqlx::Error::Io(_)) => tx.rollback().await,
        Err(error) => Err(error),
    }
}
