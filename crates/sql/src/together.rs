//! Statements that are done together or not at all: in a transaction, and in one round trip where the server can.
//!
//! A transaction of two statements is four round trips: BEGIN and COMMIT are two of them. `MariaDB` takes all of it as one
//! statement, which it keeps prepared like any other.

use sqlx::error::DatabaseError;
use sqlx::mysql::MySqlDatabaseError;
use sqlx::{AssertSqlSafe, MySqlPool, SqlSafeStr, SqlStr};

use crate::query::placed;
use crate::{Connection, Engine, Value, acquire, commit, is_transient};

/// One of the statements, and its parameters.
#[derive(Debug, Clone)]
pub struct Step<'a> {
    sql: SqlStr,
    values: Vec<Value<'a>>,
}

impl<'a> Step<'a> {
    /// A statement with the parameters `$1`, `$2` and so on.
    pub fn new(sql: impl SqlSafeStr, values: impl Into<Vec<Value<'a>>>) -> Self {
        Self { sql: sql.into_sql_str(), values: values.into() }
    }
}

/// What a server says when nothing was done, since the first statement touched no row.
const NOTHING: u16 = 1643;

/// One after the other, on engines that take no more than one at a time.
pub(crate) async fn one_by_one<E: Engine>(engine: &E, steps: &[Step<'_>]) -> sqlx::Result<bool> {
    let [first, rest @ ..] = steps else { return Ok(false) };
    if rest.is_empty() {
        return alone(engine, first).await;
    }
    let mut tx = engine.begin().await?;
    if !touches(&mut *tx, first).await? {
        tx.rollback().await?;
        return Ok(false);
    }
    for step in rest {
        match tx.run(step.sql.clone(), &step.values).await {
            Ok(_) => {}
            Err(error) if is_taken(&error) => {
                tx.rollback().await?;
                return Ok(false);
            }
            Err(error) => return Err(error),
        }
    }
    commit(tx).await?;
    Ok(true)
}

/// All at once.
pub(crate) async fn at_once(pool: &MySqlPool, steps: &[Step<'_>]) -> sqlx::Result<bool> {
    if let [step] = steps {
        return alone(pool, step).await;
    }
    let (sql, values) = compound(steps);
    let mut held = acquire(pool).await?;
    shop_idempotency::began();
    // Whoever goes away before the answer leaves a transaction that may be open.
    held.doubt(true);
    let done = held.run(AssertSqlSafe(sql), &values).await;
    match done {
        Ok(_) => {
            held.doubt(false);
            Ok(true)
        }
        Err(error) => {
            // Its handler has rolled back. After anything else the connection is closed, and the server does it.
            let (is_nothing, is_taken) = (is_nothing(&error), is_taken(&error));
            held.doubt(!(is_nothing || is_taken || is_transient(&error)));
            if is_nothing || is_taken { Ok(false) } else { Err(error) }
        }
    }
}

/// One statement is a transaction by itself.
async fn alone<E: Engine>(engine: &E, step: &Step<'_>) -> sqlx::Result<bool> {
    let mut writer = engine.writer().await?;
    shop_idempotency::began();
    touches(&mut *writer, step).await
}

/// Whether it touches a row; not when its key is taken.
async fn touches<C: Connection>(conn: &mut C, step: &Step<'_>) -> sqlx::Result<bool> {
    match conn.run(step.sql.clone(), &step.values).await {
        Ok(touched) => Ok(touched > 0),
        Err(error) if is_taken(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

fn is_taken(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(DatabaseError::is_unique_violation)
}

fn is_nothing(error: &sqlx::Error) -> bool {
    let known = error.as_database_error().and_then(|error| error.try_downcast_ref::<MySqlDatabaseError>());
    known.is_some_and(|error| error.number() == NOTHING)
}

/// The steps as one statement of `MariaDB`, with the parameters of all.
fn compound<'a>(steps: &[Step<'a>]) -> (String, Vec<Value<'a>>) {
    let mut sql = "BEGIN NOT ATOMIC \
         DECLARE EXIT HANDLER FOR SQLEXCEPTION BEGIN ROLLBACK; RESIGNAL; END; \
         START TRANSACTION; "
        .to_owned();
    let mut values = Vec::with_capacity(steps.iter().map(|step| step.values.len()).sum());
    for (at, step) in steps.iter().enumerate() {
        sql.push_str(&placed(step.sql.as_str(), values.len()));
        sql.push_str(if at == 0 {
            "; IF ROW_COUNT() < 1 THEN ROLLBACK; SIGNAL SQLSTATE '02000'; END IF; "
        } else {
            "; "
        });
        values.extend_from_slice(&step.values);
    }
    sql.push_str("COMMIT; END");
    (sql, values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_counted_on_from_one_statement_to_the_next() {
        let (one, two) = (Value::Int(1), Value::Text("two"));
        let steps = [
            Step::new("UPDATE a SET b = $2 WHERE c = $1", [one, two]),
            Step::new("INSERT INTO d VALUES ($1, $2), ($2, $1)", [two, one]),
        ];
        let (sql, values) = compound(&steps);
        assert_eq!(values, [one, two, two, one]);
        assert!(sql.contains("UPDATE a SET b = $2 WHERE c = $1; IF ROW_COUNT()"), "{sql}");
        assert!(sql.ends_with("INSERT INTO d VALUES ($3, $4), ($4, $3); COMMIT; END"), "{sql}");
    }
}
