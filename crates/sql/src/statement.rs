//! Statements as spans of the trace at hand.
//!
//! What a statement is called is read from its text, which has parameters where values go; neither text nor values are told.

use std::collections::HashMap;
use std::future::Future;
use std::sync::LazyLock;

use parking_lot::RwLock;
use shop_telemetry::{About, KeyValue, Span, SpanKind};
use sqlx::{Connection, Database};

use crate::Tx;
use crate::held::in_time;

/// The longest summary (semantic conventions for databases).
const LONGEST: usize = 255;

/// Where a store is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) database: String,
}

/// The servers this process has pools on, by engine; none when there are several of one, as a statement does not know whose
/// it is.
static PLACES: LazyLock<RwLock<HashMap<&'static str, Option<Place>>>> = LazyLock::new(RwLock::default);

/// Notes that the process has a pool there.
pub(crate) fn is_at<DB: Database>(place: &Place) {
    let mut places = PLACES.write();
    let known = places.entry(DB::NAME).or_insert_with(|| Some(place.clone()));
    if known.as_ref() != Some(place) {
        *known = None;
    }
}

/// A statement about to run.
#[must_use = "it has to be run"]
#[derive(Debug)]
pub struct Statement(Span);

/// The statement `sql` on a connection `C`: [`run`](Statement::run) what executes it. Nothing is made of it when the trace at
/// hand is not recorded.
pub fn statement<C: Connection>(sql: &str) -> Statement {
    Statement(Span::child(SpanKind::Client, || about(<C::Database as Database>::NAME, sql)))
}

impl Statement {
    /// Executes it. A store that does not answer in time is away.
    pub async fn run<T>(mut self, work: impl Future<Output = sqlx::Result<T>>) -> sqlx::Result<T> {
        let done = in_time(work).await;
        if let Err(error) = &done
            && self.0.is_recorded()
        {
            self.0.fail(kind(error));
            if let Some(code) = error.as_database_error().and_then(sqlx::error::DatabaseError::code) {
                self.0.set("db.response.status_code", code.into_owned());
            }
        }
        done
    }
}

/// Commits a transaction, which is where a store waits for its disk. A request with an idempotency key has begun with that.
pub async fn commit<DB: Database>(tx: Tx<DB>) -> sqlx::Result<()> {
    shop_idempotency::began();
    statement::<DB::Connection>("COMMIT").run(tx.commit()).await
}

/// A failure in a word.
fn kind(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(error) => {
            error.code().map_or_else(|| "database".to_owned(), std::borrow::Cow::into_owned)
        }
        sqlx::Error::Io(_) => "io".to_owned(),
        sqlx::Error::PoolTimedOut => "pool_timeout".to_owned(),
        sqlx::Error::RowNotFound => "row_not_found".to_owned(),
        _ => "_OTHER".to_owned(),
    }
}

fn about(engine: &'static str, sql: &str) -> About {
    let system = match engine {
        "PostgreSQL" => "postgresql",
        "SQLite" => "sqlite",
        _ => "mariadb",
    };
    let summary = summary(sql);
    let operation = summary.split(' ').next().unwrap_or_default().to_owned();
    let mut attributes = vec![
        KeyValue::new("db.system.name", system),
        KeyValue::new("db.query.summary", summary.clone()),
        KeyValue::new("db.operation.name", operation),
    ];
    // Only where there is one: a statement on several is no matter of any of them.
    if let [_, table] = *summary.split(' ').collect::<Vec<_>>() {
        attributes.push(KeyValue::new("db.collection.name", table.to_owned()));
    }
    if let Some(place) = PLACES.read().get(engine).and_then(Option::as_ref) {
        attributes.push(KeyValue::new("db.namespace", place.database.clone()));
        attributes.push(KeyValue::new("server.address", place.host.clone()));
        attributes.push(KeyValue::new("server.port", i64::from(place.port)));
    }
    (summary.into(), attributes)
}

/// Operations and tables in their order: `INSERT payments`, `SELECT payments payment_items`. A SELECT within another, or in a
/// union with it, is one with it.
fn summary(sql: &str) -> String {
    let mut summary = String::new();
    let (mut before, mut operation, mut table) = ("", "", "");
    let mut say = |word: &str| {
        if summary.len() + 1 + word.len() <= LONGEST {
            summary.push_str(if summary.is_empty() { "" } else { " " });
            summary.push_str(word);
        }
    };
    let words =
        sql.split(|c: char| c.is_whitespace() || matches!(c, '(' | ')' | ',' | ';')).filter(|word| !word.is_empty());
    for word in words {
        let is = |known: &[&str], word: &str| known.iter().any(|known| known.eq_ignore_ascii_case(word));
        let is_name = word.starts_with(|c: char| c.is_ascii_alphabetic()) && !is(&["SELECT", "SET", "SKIP"], word);
        // Row locks and conflict clauses have a word of statements in them, which means no table.
        if is(&["UPDATE"], word) && is(&["FOR", "DO", "KEY"], before) {
            before = "";
            continue;
        }
        if is(&["SELECT", "INSERT", "UPDATE", "DELETE", "COMMIT"], word) {
            if !(is(&["SELECT"], word) && is(&["SELECT"], operation)) {
                say(&word.to_ascii_uppercase());
                table = "";
            }
            operation = word;
        } else if is_name && is(&["FROM", "INTO", "JOIN", "UPDATE"], before) {
            if word != table {
                say(word);
            }
            table = word;
        }
        before = word;
    }
    if summary.is_empty() {
        summary.push_str(sql.split_whitespace().next().unwrap_or("_OTHER"));
    }
    summary
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_is_called_by_what_it_does_and_to_what() {
        for (sql, expected) in [
            ("SELECT 1", "SELECT"),
            ("SELECT * FROM payments WHERE id = ? FOR UPDATE", "SELECT payments"),
            ("SELECT id FROM outbox_relay WHERE id = 1 FOR UPDATE SKIP LOCKED", "SELECT outbox_relay"),
            ("INSERT INTO inbox (event_id) VALUES ($1) ON CONFLICT (event_id) DO NOTHING", "INSERT inbox"),
            ("insert into baskets (id) VALUES ($1) ON CONFLICT (id) DO UPDATE SET total = 1", "INSERT baskets"),
            (
                "INSERT IGNORE INTO sandbox_charges (a) VALUES (?) ON DUPLICATE KEY UPDATE a = 1",
                "INSERT sandbox_charges",
            ),
            ("UPDATE refunds SET status = ? WHERE id = ?", "UPDATE refunds"),
            ("DELETE FROM inbox WHERE event_id IN (SELECT event_id FROM inbox LIMIT $2)", "DELETE inbox SELECT inbox"),
            ("WITH x AS (SELECT a FROM b) UPDATE products SET a = x.a FROM x", "SELECT b UPDATE products x"),
            (
                "BEGIN NOT ATOMIC START TRANSACTION; UPDATE payments SET a = ?; INSERT INTO outbox (a) VALUES (?); COMMIT; END",
                "UPDATE payments INSERT outbox COMMIT",
            ),
            (
                "SELECT * FROM (SELECT id FROM payments WHERE id = ?) AS p JOIN (SELECT a FROM payment_items) AS i ON a = id",
                "SELECT payments payment_items",
            ),
            ("SELECT id FROM payments WHERE a = ? UNION SELECT id FROM payments WHERE b = ?", "SELECT payments"),
            ("PRAGMA optimize", "PRAGMA"),
            ("", "_OTHER"),
        ] {
            assert_eq!(summary(sql), expected, "{sql}");
        }
    }

    #[test]
    fn a_summary_stays_short() {
        assert!(summary(&"SELECT a FROM table_with_a_name ".repeat(100)).len() <= LONGEST);
    }
}
