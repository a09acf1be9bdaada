//! The statements on the sandbox provider's books.

use async_trait::async_trait;
use shop_sql::statement;
use sqlx::{MySqlConnection, SqliteConnection};
use uuid::Uuid;

/// A row of `sandbox_charges`.
#[derive(Debug, Clone, PartialEq, Eq, shop_sql::FromRow)]
pub(super) struct Entry {
    pub(super) charge_key: Uuid,
    pub(super) outcome: String,
    pub(super) code: Option<String>,
    pub(super) message: Option<String>,
    pub(super) amount: i64,
    pub(super) currency: String,
    pub(super) attempts: i64,
    pub(super) created_at: i64,
}

/// A connection that knows the books.
#[async_trait]
pub(super) trait Ledger: Send {
    /// Enters the outcome of a key; false when it has one already, which stands.
    async fn enter(&mut self, entry: &Entry) -> sqlx::Result<bool>;
    /// What is written under a key; `lock` keeps it for this transaction.
    async fn entry(&mut self, key: Uuid, lock: bool) -> sqlx::Result<Option<Entry>>;
    /// Counts one more charge asked for under a key.
    async fn asked_again(&mut self, key: Uuid) -> sqlx::Result<()>;
    /// The amount paid back under a refund's key.
    async fn paid_back(&mut self, key: Uuid) -> sqlx::Result<Option<i64>>;
    /// All that was paid back of a charge.
    async fn paid_back_of(&mut self, charge: Uuid) -> sqlx::Result<i64>;
    /// Enters a refund.
    async fn enter_refund(&mut self, key: Uuid, charge: Uuid, amount: i64, now: i64) -> sqlx::Result<()>;
}

const ENTER: &str = "INTO sandbox_charges \
    (charge_key, outcome, code, message, amount, currency, attempts, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)";
const ENTER_REFUND: &str =
    "INSERT INTO sandbox_refunds (refund_key, charge_key, amount, created_at) VALUES (?, ?, ?, ?)";

macro_rules! ledger {
    ($connection:ty, $insert_new:literal, $lock:literal, $integer:literal) => {
        #[async_trait]
        impl Ledger for $connection {
            async fn enter(&mut self, entry: &Entry) -> sqlx::Result<bool> {
                let sql = sqlx::AssertSqlSafe(format!("{} {ENTER}", $insert_new));
                let query = sqlx::query(sql)
                    .bind(entry.charge_key)
                    .bind(entry.outcome.as_str())
                    .bind(entry.code.as_deref())
                    .bind(entry.message.as_deref())
                    .bind(entry.amount)
                    .bind(entry.currency.as_str())
                    .bind(entry.attempts)
                    .bind(entry.created_at);
                let done = statement::<Self>("INSERT INTO sandbox_charges").run(query.execute(self)).await?;
                Ok(done.rows_affected() == 1)
            }

            async fn entry(&mut self, key: Uuid, lock: bool) -> sqlx::Result<Option<Entry>> {
                const READ: &str = "SELECT * FROM sandbox_charges WHERE charge_key = ?";
                let sql =
                    if lock { concat!("SELECT * FROM sandbox_charges WHERE charge_key = ?", $lock) } else { READ };
                statement::<Self>(sql).run(sqlx::query_as(sql).bind(key).fetch_optional(self)).await
            }

            async fn asked_again(&mut self, key: Uuid) -> sqlx::Result<()> {
                let sql = "UPDATE sandbox_charges SET attempts = attempts + 1 WHERE charge_key = ?";
                statement::<Self>(sql).run(sqlx::query(sql).bind(key).execute(self)).await.map(drop)
            }

            async fn paid_back(&mut self, key: Uuid) -> sqlx::Result<Option<i64>> {
                let sql = "SELECT amount FROM sandbox_refunds WHERE refund_key = ?";
                statement::<Self>(sql).run(sqlx::query_scalar(sql).bind(key).fetch_optional(self)).await
            }

            async fn paid_back_of(&mut self, charge: Uuid) -> sqlx::Result<i64> {
                let sql = concat!(
                    "SELECT CAST(COALESCE(SUM(amount), 0) AS ",
                    $integer,
                    ") FROM sandbox_refunds WHERE charge_key = ?"
                );
                statement::<Self>(sql).run(sqlx::query_scalar(sql).bind(charge).fetch_one(self)).await
            }

            async fn enter_refund(&mut self, key: Uuid, charge: Uuid, amount: i64, now: i64) -> sqlx::Result<()> {
                let query = sqlx::query(ENTER_REFUND).bind(key).bind(charge).bind(amount).bind(now);
                statement::<Self>(ENTER_REFUND).run(query.execute(self)).await.map(drop)
            }
        }
    };
}

ledger!(MySqlConnection, "INSERT IGNORE", " FOR UPDATE", "SIGNED");
ledger!(SqliteConnection, "INSERT OR IGNORE", "", "INTEGER");
