//! SQLite: one writer at a time, so a transaction needs no row locks; FTS5 for words.

use async_trait::async_trait;
use shop_sql::Sqlite;
use sqlx::Transaction;
use sqlx::pool::PoolConnection;

use super::engine::{Engine, Search};
use super::reads::Reads;
use super::row::ProductRow;
use super::select::like;

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

    fn words(&self, words: &str, n: usize) -> Search {
        let condition = format!("id IN (SELECT rowid FROM products_words WHERE products_words MATCH ${n})");
        Search { condition, values: vec![phrases(words)] }
    }

    fn pieces(&self, piece: &str, n: usize) -> Search {
        let condition = format!(r"name_folded LIKE ${n} ESCAPE '\'");
        Search { condition, values: vec![like(piece)] }
    }
}

/// `words` in FTS5's language: each quoted, so that none is an operator.
fn phrases(words: &str) -> String {
    words.split(' ').map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::words;

    #[test]
    fn no_text_is_an_operator() {
        for (text, query) in [
            ("walnut desk", "\"walnut\" \"desk\""),
            ("NEAR(a b) OR -c*", "\"near\" \"a\" \"b\" \"or\" \"c\""),
            ("\"żółw\" 2", "\"zolw\" \"2\""),
        ] {
            assert_eq!(phrases(&words(text)), query, "{text}");
        }
    }
}
