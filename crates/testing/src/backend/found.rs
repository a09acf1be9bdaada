//! Where a store still has a text: what is left of somebody who is to be nowhere.

use std::path::Path;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, Connection, MySqlConnection, PgConnection, SqliteConnection};

use super::{Db, Keys};

/// Columns by table.
fn tables(columns: Vec<(String, String)>) -> Vec<(String, Vec<String>)> {
    let mut tables: Vec<(String, Vec<String>)> = Vec::new();
    for (name, column) in columns {
        match tables.last_mut().filter(|(table, _)| *table == name) {
            Some((_, columns)) => columns.push(column),
            None => tables.push((name, vec![column])),
        }
    }
    tables
}

/// Asks each table for rows with `text` in a column, which reads as text by `cast`.
macro_rules! found {
    ($connection:expr, $columns:expr, $cast:literal, $text:expr) => {{
        let mut connection = $connection;
        let columns: Vec<(String, String)> =
            sqlx::query_as($columns).fetch_all(&mut connection).await.expect("columns");
        let pattern = format!("%{}%", $text);
        let mut found = Vec::new();
        for (table, columns) in tables(columns) {
            let any = columns.iter().map(|column| format!($cast, column)).collect::<Vec<_>>().join(" OR ");
            let sql = format!("SELECT COUNT(*) FROM {table} WHERE {any}").replace("PATTERN", &format!("'{pattern}'"));
            let rows: i64 = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&mut connection).await.expect("counted");
            if rows > 0 {
                found.push(table);
            }
        }
        found
    }};
}

impl Db {
    /// The tables that have `text`, a plain one, in a row.
    pub async fn found(&self, text: &str) -> Vec<String> {
        if self.server.starts_with("postgres") {
            found!(
                PgConnection::connect(&self.url()).await.expect("connects to PostgreSQL"),
                "SELECT table_name::text, column_name::text FROM information_schema.columns \
                 WHERE table_schema = 'public' ORDER BY table_name",
                "\"{}\"::text LIKE PATTERN",
                text
            )
        } else {
            found!(
                MySqlConnection::connect(&self.url()).await.expect("connects to MariaDB"),
                "SELECT table_name AS table_name, column_name AS column_name FROM information_schema.columns \
                 WHERE table_schema = DATABASE() ORDER BY table_name",
                "CONVERT(`{}` USING utf8mb4) LIKE PATTERN",
                text
            )
        }
    }
}

/// The tables of an SQLite file that have `text`, a plain one, in a row.
pub async fn found_in(file: &Path, text: &str) -> Vec<String> {
    let options = SqliteConnectOptions::new().filename(file).read_only(true);
    found!(
        SqliteConnection::connect_with(&options).await.expect("opens"),
        "SELECT m.name AS table_name, c.name AS column_name FROM sqlite_master m, pragma_table_info(m.name) c \
         WHERE m.type = 'table' ORDER BY m.name",
        "CAST(\"{}\" AS TEXT) LIKE PATTERN",
        text
    )
}

impl Keys {
    /// The keys that have `text` in their name or their value.
    pub fn found(&self, text: &str) -> Vec<String> {
        let mut connection =
            redis::Client::open(self.url()).and_then(|client| client.get_connection()).expect("connects to Redis");
        let pattern = format!("{}*", self.prefix());
        let keys: Vec<String> = redis::cmd("KEYS").arg(pattern).query(&mut connection).expect("keys");
        let mut has = |key: &String| {
            let kind: String = redis::cmd("TYPE").arg(key).query(&mut connection).expect("a type");
            let read = if kind == "hash" { "HGETALL" } else { "GET" };
            let value: redis::Value = redis::cmd(read).arg(key).query(&mut connection).expect("a value");
            key.contains(text) || texts(&value).any(|value| value.contains(text))
        };
        keys.into_iter().filter(|key| has(key)).collect()
    }
}

/// All texts of an answer.
fn texts(value: &redis::Value) -> Box<dyn Iterator<Item = String> + '_> {
    match value {
        redis::Value::BulkString(bytes) => Box::new(std::iter::once(String::from_utf8_lossy(bytes).into_owned())),
        redis::Value::Array(all) => Box::new(all.iter().flat_map(texts)),
        redis::Value::Map(all) => Box::new(all.iter().flat_map(|(name, value)| texts(name).chain(texts(value)))),
        _ => Box::new(std::iter::empty()),
    }
}
