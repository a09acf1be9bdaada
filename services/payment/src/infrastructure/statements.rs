//! The statements on payments, behind one trait on the connections of both engines. The texts are the same but for the
//! row lock, which SQLite does not need: its transactions hold the only write lock from their start.

use async_trait::async_trait;
use shop_sql::statement;
use sqlx::{AssertSqlSafe, MySql, MySqlConnection, QueryBuilder, Sqlite, SqliteConnection};
use uuid::Uuid;

use super::rows::{ItemRow, PaymentRow, RefundRow};

/// Which rows of `payments` to list.
#[derive(Debug, Clone, Copy)]
pub(super) struct Page<'a> {
    pub(super) user_id: Option<&'a str>,
    pub(super) status: Option<&'a str>,
    pub(super) after: Option<Uuid>,
    pub(super) limit: i64,
}

/// A connection that knows the tables of payments.
#[async_trait]
pub(super) trait Statements: Send {
    /// Adds a payment.
    async fn insert_payment(&mut self, row: &PaymentRow) -> sqlx::Result<()>;
    /// Adds the lines of a payment; at least one.
    async fn insert_items(&mut self, rows: &[ItemRow]) -> sqlx::Result<()>;
    /// One payment; `lock` keeps it for this transaction.
    async fn payment(&mut self, id: Uuid, lock: bool) -> sqlx::Result<Option<PaymentRow>>;
    /// The lines of these payments, each payment's in order; at least one id.
    async fn items(&mut self, payments: &[Uuid]) -> sqlx::Result<Vec<ItemRow>>;
    /// The refunds of these payments, each payment's oldest first; at least one id.
    async fn refunds(&mut self, payments: &[Uuid]) -> sqlx::Result<Vec<RefundRow>>;
    /// Writes what can change of a payment.
    async fn update_payment(&mut self, row: &PaymentRow) -> sqlx::Result<()>;
    /// Adds a refund.
    async fn insert_refund(&mut self, row: &RefundRow) -> sqlx::Result<()>;
    /// Writes how far a refund got.
    async fn update_refund(&mut self, row: &RefundRow) -> sqlx::Result<()>;
    /// A page, newest id first.
    async fn page(&mut self, page: Page<'_>) -> sqlx::Result<Vec<PaymentRow>>;
    /// Pending payments whose time was over at `now`.
    async fn expired(&mut self, now: i64, limit: i64) -> sqlx::Result<Vec<Uuid>>;
    /// Payments in `processing` that last moved at `before` or earlier.
    async fn processing(&mut self, before: i64, limit: i64) -> sqlx::Result<Vec<Uuid>>;
    /// Payments with a refund requested at `before` or earlier and still open.
    async fn refunding(&mut self, before: i64, limit: i64) -> sqlx::Result<Vec<Uuid>>;
}

const INSERT_PAYMENT: &str = "INSERT INTO payments (id, user_id, basket_id, amount, currency, status, method, provider, \
    provider_id, description, metadata, failure_code, failure_message, operation, created_at, updated_at, \
    processed_at, expires_at, version) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
const PAYMENT: &str = "SELECT * FROM payments WHERE id = ?";
const UPDATE_PAYMENT: &str = "UPDATE payments SET status = ?, provider_id = ?, failure_code = ?, failure_message = ?, \
    operation = ?, updated_at = ?, processed_at = ?, version = ? WHERE id = ?";
const INSERT_REFUND: &str =
    "INSERT INTO refunds (id, payment_id, amount, reason, restock, status, created_at) VALUES (?, ?, ?, ?, ?, ?, ?)";
const UPDATE_REFUND: &str = "UPDATE refunds SET status = ? WHERE id = ?";
const EXPIRED: &str =
    "SELECT id FROM payments WHERE status = 'pending' AND expires_at <= ? ORDER BY expires_at LIMIT ?";
const PROCESSING: &str = "SELECT id FROM payments WHERE status = 'processing' AND updated_at <= ? ORDER BY id LIMIT ?";
const REFUNDING: &str = "SELECT DISTINCT payment_id FROM refunds WHERE status = 'requested' AND created_at <= ? ORDER BY payment_id LIMIT ?";

macro_rules! statements {
    ($connection:ty, $engine:ty, $lock:literal) => {
        #[async_trait]
        impl Statements for $connection {
            async fn insert_payment(&mut self, row: &PaymentRow) -> sqlx::Result<()> {
                let query = sqlx::query(INSERT_PAYMENT)
                    .bind(row.id)
                    .bind(row.user_id.as_str())
                    .bind(row.basket_id)
                    .bind(row.amount)
                    .bind(row.currency.as_str())
                    .bind(row.status.as_str())
                    .bind(row.method.as_str())
                    .bind(row.provider.as_str())
                    .bind(row.provider_id.as_deref())
                    .bind(row.description.as_deref())
                    .bind(row.metadata.as_str())
                    .bind(row.failure_code.as_deref())
                    .bind(row.failure_message.as_deref())
                    .bind(row.operation)
                    .bind(row.created_at)
                    .bind(row.updated_at)
                    .bind(row.processed_at)
                    .bind(row.expires_at)
                    .bind(row.version);
                statement::<Self>(INSERT_PAYMENT).run(query.execute(self)).await.map(drop)
            }

            async fn insert_items(&mut self, rows: &[ItemRow]) -> sqlx::Result<()> {
                let mut query = QueryBuilder::<$engine>::new(
                    "INSERT INTO payment_items (payment_id, position, id, product_id, name, quantity, price, subtotal, \
                     category, created_at) ",
                );
                query.push_values(rows, |mut values, row| {
                    values
                        .push_bind(row.payment_id)
                        .push_bind(row.position)
                        .push_bind(row.id)
                        .push_bind(row.product_id)
                        .push_bind(row.name.as_str())
                        .push_bind(row.quantity)
                        .push_bind(row.price)
                        .push_bind(row.subtotal)
                        .push_bind(row.category.as_str())
                        .push_bind(row.created_at);
                });
                statement::<Self>("INSERT INTO payment_items").run(query.build().execute(self)).await.map(drop)
            }

            async fn payment(&mut self, id: Uuid, lock: bool) -> sqlx::Result<Option<PaymentRow>> {
                let sql = if lock { concat!("SELECT * FROM payments WHERE id = ?", $lock) } else { PAYMENT };
                statement::<Self>(sql).run(sqlx::query_as(sql).bind(id).fetch_optional(self)).await
            }

            async fn items(&mut self, payments: &[Uuid]) -> sqlx::Result<Vec<ItemRow>> {
                let marks = marks(payments.len());
                let sql =
                    format!("SELECT * FROM payment_items WHERE payment_id IN ({marks}) ORDER BY payment_id, position");
                let query = sqlx::query_as(AssertSqlSafe(sql));
                let query = payments.iter().fold(query, |query, id| query.bind(*id));
                statement::<Self>("SELECT * FROM payment_items").run(query.fetch_all(self)).await
            }

            async fn refunds(&mut self, payments: &[Uuid]) -> sqlx::Result<Vec<RefundRow>> {
                let marks = marks(payments.len());
                let sql =
                    format!("SELECT * FROM refunds WHERE payment_id IN ({marks}) ORDER BY payment_id, created_at, id");
                let query = sqlx::query_as(AssertSqlSafe(sql));
                let query = payments.iter().fold(query, |query, id| query.bind(*id));
                statement::<Self>("SELECT * FROM refunds").run(query.fetch_all(self)).await
            }

            async fn update_payment(&mut self, row: &PaymentRow) -> sqlx::Result<()> {
                let query = sqlx::query(UPDATE_PAYMENT)
                    .bind(row.status.as_str())
                    .bind(row.provider_id.as_deref())
                    .bind(row.failure_code.as_deref())
                    .bind(row.failure_message.as_deref())
                    .bind(row.operation)
                    .bind(row.updated_at)
                    .bind(row.processed_at)
                    .bind(row.version)
                    .bind(row.id);
                statement::<Self>(UPDATE_PAYMENT).run(query.execute(self)).await.map(drop)
            }

            async fn insert_refund(&mut self, row: &RefundRow) -> sqlx::Result<()> {
                let query = sqlx::query(INSERT_REFUND)
                    .bind(row.id)
                    .bind(row.payment_id)
                    .bind(row.amount)
                    .bind(row.reason.as_deref())
                    .bind(row.restock)
                    .bind(row.status.as_str())
                    .bind(row.created_at);
                statement::<Self>(INSERT_REFUND).run(query.execute(self)).await.map(drop)
            }

            async fn update_refund(&mut self, row: &RefundRow) -> sqlx::Result<()> {
                let query = sqlx::query(UPDATE_REFUND).bind(row.status.as_str()).bind(row.id);
                statement::<Self>(UPDATE_REFUND).run(query.execute(self)).await.map(drop)
            }

            async fn page(&mut self, page: Page<'_>) -> sqlx::Result<Vec<PaymentRow>> {
                let mut query = QueryBuilder::<$engine>::new("SELECT * FROM payments WHERE 1 = 1");
                if let Some(user_id) = page.user_id {
                    query.push(" AND user_id = ").push_bind(user_id);
                }
                if let Some(status) = page.status {
                    query.push(" AND status = ").push_bind(status);
                }
                if let Some(after) = page.after {
                    query.push(" AND id < ").push_bind(after);
                }
                query.push(" ORDER BY id DESC LIMIT ").push_bind(page.limit);
                statement::<Self>("SELECT * FROM payments").run(query.build_query_as().fetch_all(self)).await
            }

            async fn expired(&mut self, now: i64, limit: i64) -> sqlx::Result<Vec<Uuid>> {
                sqlx::query_scalar(EXPIRED).bind(now).bind(limit).fetch_all(self).await
            }

            async fn processing(&mut self, before: i64, limit: i64) -> sqlx::Result<Vec<Uuid>> {
                sqlx::query_scalar(PROCESSING).bind(before).bind(limit).fetch_all(self).await
            }

            async fn refunding(&mut self, before: i64, limit: i64) -> sqlx::Result<Vec<Uuid>> {
                sqlx::query_scalar(REFUNDING).bind(before).bind(limit).fetch_all(self).await
            }
        }
    };
}

statements!(MySqlConnection, MySql, " FOR UPDATE");
statements!(SqliteConnection, Sqlite, "");

/// `?, ?, …`
fn marks(count: usize) -> String {
    vec!["?"; count].join(", ")
}
