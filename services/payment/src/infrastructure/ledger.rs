//! The statements on the sandbox provider's books.

use shop_sql::{Connection, Value};
use sqlx::AssertSqlSafe;
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

const ENTER: &str = "INSERT INTO sandbox_charges \
    (charge_key, outcome, code, message, amount, currency, attempts, created_at) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
const ENTRY: &str = "SELECT charge_key, outcome, code, message, amount, currency, attempts, created_at \
    FROM sandbox_charges WHERE charge_key = $1";
const ASKED_AGAIN: &str = "UPDATE sandbox_charges SET attempts = attempts + 1 WHERE charge_key = $1";
const PAID_BACK: &str = "SELECT amount FROM sandbox_refunds WHERE refund_key = $1";
const PAID_BACK_OF: &str = "SELECT amount FROM sandbox_refunds WHERE charge_key = $1";
const ENTER_REFUND: &str =
    "INSERT INTO sandbox_refunds (refund_key, charge_key, amount, created_at) VALUES ($1, $2, $3, $4)";

/// Enters a charge; false when its key has an entry.
pub(super) async fn enter<C: Connection>(conn: &mut C, entry: &Entry) -> sqlx::Result<bool> {
    let values = [
        Value::Id(entry.charge_key),
        Value::Text(&entry.outcome),
        Value::Maybe(entry.code.as_deref()),
        Value::Maybe(entry.message.as_deref()),
        Value::Int(entry.amount),
        Value::Text(&entry.currency),
        Value::Int(entry.attempts),
        Value::Int(entry.created_at),
    ];
    conn.add(ENTER, &values).await
}

/// The entry under a key; `lock` makes it this transaction's or is empty.
pub(super) async fn entry<C: Connection>(conn: &mut C, key: Uuid, lock: &str) -> sqlx::Result<Option<Entry>> {
    conn.row(AssertSqlSafe(format!("{ENTRY}{lock}")), &[Value::Id(key)]).await
}

/// Counts another charge asked for under a key.
pub(super) async fn asked_again<C: Connection>(conn: &mut C, key: Uuid) -> sqlx::Result<()> {
    conn.run(ASKED_AGAIN, &[Value::Id(key)]).await.map(drop)
}

/// The amount paid back under a refund's key.
pub(super) async fn paid_back<C: Connection>(conn: &mut C, key: Uuid) -> sqlx::Result<Option<i64>> {
    let amount: Option<(i64,)> = conn.row(PAID_BACK, &[Value::Id(key)]).await?;
    Ok(amount.map(|(amount,)| amount))
}

/// All that was paid back of a charge.
pub(super) async fn paid_back_of<C: Connection>(conn: &mut C, charge: Uuid) -> sqlx::Result<i64> {
    // Summed here: engines differ in the type of a sum, and a charge has few refunds.
    let amounts: Vec<(i64,)> = conn.rows(PAID_BACK_OF, &[Value::Id(charge)]).await?;
    Ok(amounts.iter().map(|(amount,)| amount).sum())
}

/// Enters a refund.
pub(super) async fn enter_refund<C: Connection>(
    conn: &mut C,
    key: Uuid,
    charge: Uuid,
    amount: i64,
    now: i64,
) -> sqlx::Result<()> {
    let values = [Value::Id(key), Value::Id(charge), Value::Int(amount), Value::Int(now)];
    conn.run(ENTER_REFUND, &values).await.map(drop)
}
