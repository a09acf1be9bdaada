//! SQLite: one writer at a time, so a transaction needs no row locks; FTS5 for words.

use async_trait::async_trait;
use shop_sql::Sqlite;
use sqlx::Transaction;
use sqlx::pool::PoolConnection;

use super::engine::{Engine, Search};
use super::reads::Reads;
use super::row::ProductRow;
use super::select::like;
use crate::domain::folded;

/// The schema.
pub(super) static MIGRATIONS: sqlx::migrate::Migrator = shop_sql::migrations!("migrations/sqlite");

/// The pools on an SQLite file.
pub(super) struct SqliteEngine {
    pools: Sqlite,
    reads: Reads<sqlx::Sqlite>,
}

impl SqliteEngine {
    /// The catalogue in these pools.
    pub(super) fn new(pools: Sqlite) -> Self {
        Self { reads: Reads::new(pools.read.clone()), pools }
    }
}

#[async_trait]
impl Engine for SqliteEngine {
    type Db = sqlx::Sqlite;

    async fn begin(&self) -> sqlx::Result<Transaction<'static, sqlx::Sqlite>> {
        self.pools.begin().await
    }

    async fn reader(&self) -> sqlx::Result<PoolConnection<sqlx::Sqlite>> {
        self.pools.read.acquire().await
    }

    async fn product(&self, id: i64) -> sqlx::Result<Option<ProductRow>> {
        self.reads.product(id).await
    }

    fn lock(&self) -> &'static str {
        ""
    }

    fn words(&self, text: &str, n: usize) -> Option<Search> {
        let query = phrases(text)?;
        let condition = format!("id IN (SELECT rowid FROM products_words WHERE products_words MATCH ${n})");
        Some(Search { condition, values: vec![query] })
    }

    fn pieces(&self, text: &str, n: usize) -> Search {
        let condition = format!(r"name_folded LIKE ${n} ESCAPE '\'");
        Search { condition, values: vec![like(&folded(text))] }
    }
}

/// `text` in FTS5's language: every run of letters and digits a quoted word, so that nothing in it is an operator.
/// None when there is no word.
fn phrases(text: &str) -> Option<String> {
    let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    let quoted: Vec<String> = words.map(|word| format!("\"{word}\"")).collect();
    (!quoted.is_empty()).then(|| quoted.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_is_an_operator() {
        for (text, query) in [
            ("walnut desk", Some("\"walnut\" \"desk\"")),
            ("NEAR(a b) OR -c*", Some("\"NEAR\" \"a\" \"b\" \"OR\" \"c\"")),
            ("\"';--", None),
            ("żółw 2", Some("\"żółw\" \"2\"")),
        ] {
            assert_eq!(phrases(text).as_deref(), query, "{text}");
        }
    }
}
