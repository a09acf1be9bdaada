//! PostgreSQL: row locks, full-text search, trigrams where the server has them.

use async_trait::async_trait;
use sqlx::pool::PoolConnection;
use sqlx::{PgPool, Postgres, Transaction};

use super::engine::{Engine, Search};
use super::reads::Reads;
use super::row::ProductRow;
use super::select::like;

/// The schema.
pub(super) static MIGRATIONS: sqlx::migrate::Migrator = shop_sql::migrations!("migrations/postgres");

/// A pool on PostgreSQL.
pub(super) struct PostgresEngine {
    pool: PgPool,
    reads: Reads<Postgres>,
    trigrams: bool,
}

impl PostgresEngine {
    /// Looks at what the server can do.
    pub(super) async fn new(pool: PgPool) -> sqlx::Result<Self> {
        let trigrams = sqlx::query_scalar("SELECT to_regclass('products_name_trigrams') IS NOT NULL");
        let trigrams: bool = trigrams.fetch_one(&pool).await?;
        if !trigrams {
            tracing::info!("pg_trgm is not available: a search that matches no word scans the names");
        }
        Ok(Self { reads: Reads::new(pool.clone()), pool, trigrams })
    }
}

#[async_trait]
impl Engine for PostgresEngine {
    type Db = Postgres;

    async fn begin(&self) -> sqlx::Result<Transaction<'static, Postgres>> {
        shop_sql::begin(&self.pool).await
    }

    async fn reader(&self) -> sqlx::Result<PoolConnection<Postgres>> {
        self.pool.acquire().await
    }

    async fn product(&self, id: i64) -> sqlx::Result<Option<ProductRow>> {
        self.reads.product(id).await
    }

    fn lock(&self) -> &'static str {
        " FOR UPDATE"
    }

    fn words(&self, words: &str, n: usize) -> Search {
        let condition = format!("search @@ plainto_tsquery('product_words', ${n})");
        Search { condition, values: vec![words.to_owned()] }
    }

    fn pieces(&self, piece: &str, n: usize) -> Search {
        let pattern = like(piece);
        if self.trigrams {
            let condition = format!(r"(name_folded LIKE ${n} ESCAPE '\' OR name_folded %> ${})", n + 1);
            return Search { condition, values: vec![pattern, piece.to_owned()] };
        }
        Search { condition: format!(r"name_folded LIKE ${n} ESCAPE '\'"), values: vec![pattern] }
    }
}
