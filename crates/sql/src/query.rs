//! What the engines have in common, so that a statement is written once for all that keep it.
//!
//! All take `$n`; PostgreSQL and SQLite also have `ON CONFLICT`, `RETURNING` and common table expressions in common.

use std::borrow::Cow;

use async_trait::async_trait;
use sqlx::mysql::MySqlRow;
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, FromRow, MySqlConnection, PgConnection, SqlSafeStr, SqlStr, SqliteConnection};
use uuid::Uuid;

use crate::{Tables, statement};

/// A parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value<'a> {
    /// A whole number.
    Int(i64),
    /// A text.
    Text(&'a str),
    /// A text, or null.
    Maybe(Option<&'a str>),
    /// A whole number, or null.
    MaybeInt(Option<i64>),
    /// A UUID.
    Id(Uuid),
    /// A UUID, or null.
    MaybeId(Option<Uuid>),
    /// Bytes.
    Bytes(&'a [u8]),
}

/// A row that every engine can give.
pub trait Row:
    for<'r> FromRow<'r, PgRow> + for<'r> FromRow<'r, MySqlRow> + for<'r> FromRow<'r, SqliteRow> + Send + Unpin + 'static
{
}

impl<R> Row for R where
    R: for<'r> FromRow<'r, PgRow>
        + for<'r> FromRow<'r, MySqlRow>
        + for<'r> FromRow<'r, SqliteRow>
        + Send
        + Unpin
        + 'static
{
}

/// A connection of any engine.
#[async_trait]
pub trait Connection: Tables {
    /// Runs a statement and reads its rows.
    async fn rows<R: Row>(&mut self, sql: impl SqlSafeStr + Send, values: &[Value<'_>]) -> sqlx::Result<Vec<R>>;

    /// Runs a statement; how many rows it touched.
    async fn run(&mut self, sql: impl SqlSafeStr + Send, values: &[Value<'_>]) -> sqlx::Result<u64>;

    /// Runs a statement that has one row at most.
    async fn row<R: Row>(&mut self, sql: impl SqlSafeStr + Send, values: &[Value<'_>]) -> sqlx::Result<Option<R>> {
        Ok(self.rows(sql, values).await?.pop())
    }

    /// Adds a row; false when its key is taken. Within a transaction roll back then: PostgreSQL does nothing more in it.
    async fn add(&mut self, sql: impl SqlSafeStr + Send, values: &[Value<'_>]) -> sqlx::Result<bool> {
        match self.run(sql, values).await {
            Ok(_) => Ok(true),
            Err(sqlx::Error::Database(error)) if error.is_unique_violation() => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// The `WHERE` of a list, the newest id first: the columns that have to be as they are given, and the id that the page
/// comes after; with its parameters.
pub fn filters<'a>(columns: &[(&str, Option<&'a str>)], after: Option<Uuid>) -> (String, Vec<Value<'a>>) {
    let texts = columns.iter().filter_map(|(column, text)| Some((format!("{column} ="), Value::Text((*text)?))));
    let after = after.map(|after| ("id <".to_owned(), Value::Id(after)));
    let (comparisons, values): (Vec<_>, Vec<_>) = texts.chain(after).unzip();
    let conditions = comparisons.iter().zip(1..).map(|(compared, n)| format!("{compared} ${n}"));
    let conditions = conditions.collect::<Vec<_>>().join(" AND ");
    (if conditions.is_empty() { conditions } else { format!(" WHERE {conditions}") }, values)
}

/// `$first, …`, `count` of them.
pub fn marks(first: usize, count: usize) -> String {
    (first..first + count).map(|n| format!("${n}")).collect::<Vec<_>>().join(", ")
}

/// The statement with its parameters behind `before` others.
pub(crate) fn placed(sql: &str, before: usize) -> String {
    let mut text = String::with_capacity(sql.len() + 16);
    let mut parts = sql.split('$');
    text.push_str(parts.next().unwrap_or_default());
    for part in parts {
        text.push('$');
        let digits = part.bytes().take_while(u8::is_ascii_digit).count();
        match part[..digits].parse::<usize>() {
            Ok(number) => text.push_str(&(before + number).to_string()),
            Err(_) => text.push_str(&part[..digits]),
        }
        text.push_str(&part[digits..]);
    }
    text
}

/// For engines that read `$n` themselves.
fn numbered<'a, 'v>(sql: SqlStr, values: &'a [Value<'v>]) -> (SqlStr, Cow<'a, [Value<'v>]>) {
    (sql, Cow::Borrowed(values))
}

/// For `MariaDB`, which has `?` alone: the parameters in the order in which the statement names them. No statement has a `$`
/// in a literal.
#[expect(clippy::needless_pass_by_value, reason = "as the one above, which gives it back")]
fn positional<'a, 'v>(sql: SqlStr, values: &'a [Value<'v>]) -> (SqlStr, Cow<'a, [Value<'v>]>) {
    let mut text = String::with_capacity(sql.as_str().len());
    let mut named = Vec::with_capacity(values.len());
    let mut rest = sql.as_str();
    while let Some((before, after)) = rest.split_once('$') {
        text.push_str(before);
        let digits = after.bytes().take_while(u8::is_ascii_digit).count();
        let number = after[..digits].parse::<usize>().ok();
        if let Some(value) = number.and_then(|n| values.get(n.checked_sub(1)?)) {
            text.push('?');
            named.push(*value);
            rest = &after[digits..];
        } else {
            // The server says what is wrong with it.
            text.push('$');
            rest = after;
        }
    }
    text.push_str(rest);
    (AssertSqlSafe(text).into_sql_str(), Cow::Owned(named))
}

macro_rules! bind {
    ($query:expr, $values:expr) => {{
        let mut query = $query;
        for value in $values.iter() {
            query = match *value {
                Value::Int(value) => query.bind(value),
                Value::Text(value) => query.bind(value),
                Value::Maybe(value) => query.bind(value),
                Value::Id(value) => query.bind(value),
                Value::MaybeInt(value) => query.bind(value),
                Value::MaybeId(value) => query.bind(value),
                Value::Bytes(value) => query.bind(value),
            };
        }
        query
    }};
}

macro_rules! connection {
    ($connection:ty, $spelled:ident) => {
        #[async_trait]
        impl Connection for $connection {
            async fn rows<R: Row>(
                &mut self,
                sql: impl SqlSafeStr + Send,
                values: &[Value<'_>],
            ) -> sqlx::Result<Vec<R>> {
                let (sql, values) = $spelled(sql.into_sql_str(), values);
                let statement = statement::<Self>(sql.as_str());
                statement.run(bind!(sqlx::query_as(sql), values).fetch_all(self)).await
            }

            async fn run(&mut self, sql: impl SqlSafeStr + Send, values: &[Value<'_>]) -> sqlx::Result<u64> {
                let (sql, values) = $spelled(sql.into_sql_str(), values);
                let statement = statement::<Self>(sql.as_str());
                Ok(statement.run(bind!(sqlx::query(sql), values).execute(self)).await?.rows_affected())
            }
        }
    };
}
connection!(PgConnection, numbered);
connection!(SqliteConnection, numbered);
connection!(MySqlConnection, positional);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_become_places_in_the_order_in_which_they_are_named() {
        let (one, two) = (Value::Int(1), Value::Text("two"));
        let given = [one, two];
        for (sql, text, named) in [
            ("SELECT 1", "SELECT 1", vec![]),
            ("a = $1 AND b = $2", "a = ? AND b = ?", vec![one, two]),
            ("b = $2, a = $1, c = $2", "b = ?, a = ?, c = ?", vec![two, one, two]),
            // One that is not given stays, for the server to refuse.
            ("a = $0 OR a = $3 OR a = $x OR a = $", "a = $0 OR a = $3 OR a = $x OR a = $", vec![]),
        ] {
            let (spelled, values) = positional(AssertSqlSafe(sql.to_owned()).into_sql_str(), &given);
            assert_eq!((spelled.as_str(), values.as_ref()), (text, named.as_slice()));
        }
        assert_eq!(marks(3, 2), "$3, $4");
    }
}
