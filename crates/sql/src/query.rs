//! What PostgreSQL and SQLite have in common, so that a statement is written once for both.
//!
//! Both read `$n`, `RETURNING`, `ON CONFLICT` and common table expressions.

use async_trait::async_trait;
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;
use sqlx::{FromRow, PgConnection, SqlSafeStr, SqliteConnection};
use uuid::Uuid;

use crate::{Tables, statement};

/// A parameter.
#[derive(Debug, Clone, Copy)]
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
}

/// A row that both engines can give.
pub trait Row: for<'r> FromRow<'r, PgRow> + for<'r> FromRow<'r, SqliteRow> + Send + Unpin + 'static {}

impl<R> Row for R where R: for<'r> FromRow<'r, PgRow> + for<'r> FromRow<'r, SqliteRow> + Send + Unpin + 'static {}

/// A connection of either engine.
#[async_trait]
pub trait Connection: Tables {
    /// Runs a statement and reads its rows.
    async fn rows<R: Row>(&mut self, sql: impl SqlSafeStr + Send, values: &[Value<'_>]) -> sqlx::Result<Vec<R>>;

    /// The same for a statement whose best plan depends on its parameters: it is planned for these.
    async fn rows_planned_anew<R: Row>(
        &mut self,
        sql: impl SqlSafeStr + Send,
        values: &[Value<'_>],
    ) -> sqlx::Result<Vec<R>>;

    /// Runs a statement; how many rows it touched.
    async fn run(&mut self, sql: impl SqlSafeStr + Send, values: &[Value<'_>]) -> sqlx::Result<u64>;

    /// Runs a statement that has one row at most.
    async fn row<R: Row>(&mut self, sql: impl SqlSafeStr + Send, values: &[Value<'_>]) -> sqlx::Result<Option<R>> {
        Ok(self.rows(sql, values).await?.pop())
    }
}

macro_rules! bind {
    ($query:expr, $values:expr) => {{
        let mut query = $query;
        for value in $values {
            query = match *value {
                Value::Int(value) => query.bind(value),
                Value::Text(value) => query.bind(value),
                Value::Maybe(value) => query.bind(value),
                Value::Id(value) => query.bind(value),
                Value::MaybeInt(value) => query.bind(value),
            };
        }
        query
    }};
}

macro_rules! connection {
    ($connection:ty) => {
        #[async_trait]
        impl Connection for $connection {
            async fn rows<R: Row>(
                &mut self,
                sql: impl SqlSafeStr + Send,
                values: &[Value<'_>],
            ) -> sqlx::Result<Vec<R>> {
                let sql = sql.into_sql_str();
                let statement = statement::<Self>(sql.as_str());
                statement.run(bind!(sqlx::query_as(sql), values).fetch_all(self)).await
            }

            async fn rows_planned_anew<R: Row>(
                &mut self,
                sql: impl SqlSafeStr + Send,
                values: &[Value<'_>],
            ) -> sqlx::Result<Vec<R>> {
                let sql = sql.into_sql_str();
                let statement = statement::<Self>(sql.as_str());
                statement.run(bind!(sqlx::query_as(sql), values).persistent(false).fetch_all(self)).await
            }

            async fn run(&mut self, sql: impl SqlSafeStr + Send, values: &[Value<'_>]) -> sqlx::Result<u64> {
                let sql = sql.into_sql_str();
                let statement = statement::<Self>(sql.as_str());
                Ok(statement.run(bind!(sqlx::query(sql), values).execute(self)).await?.rows_affected())
            }
        }
    };
}
connection!(PgConnection);
connection!(SqliteConnection);
