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
    /// How often it was asked for.
    pub(super) attempts: i64,
    pub(super) created_at: i64,
    /// Which try this is the outcome of.
    pub(super) attempt: i64,
    pub(super) manual: bool,
    pub(super) due_at: Option<i64>,
    pub(super) ends_at: Option<i64>,
    pub(super) captured: Option<i64>,
}

/// A row of `sandbox_refunds`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, shop_sql::FromRow)]
pub(super) struct Repaid {
    pub(super) refund_key: Uuid,
    pub(super) amount: i64,
    pub(super) due_at: Option<i64>,
    pub(super) failed: bool,
}

macro_rules! entry_columns {
    () => {
        "charge_key, outcome, code, message, amount, currency, attempts, created_at, attempt, manual, due_at, ends_at, \
         captured"
    };
}

const ENTER: &str = concat!(
    "INSERT INTO sandbox_charges (",
    entry_columns!(),
    ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)"
);
const ENTRY: &str = concat!("SELECT ", entry_columns!(), " FROM sandbox_charges WHERE charge_key = $1");
const TRY_AGAIN: &str = "UPDATE sandbox_charges SET outcome = $1, code = $2, message = $3, amount = $4, attempts = $5, \
    attempt = $6, manual = $7, due_at = $8, ends_at = $9 WHERE charge_key = $10 AND outcome = $11 AND attempt < $12";
const TURN: &str = "UPDATE sandbox_charges SET outcome = $1, ends_at = $2 WHERE charge_key = $3 AND outcome = $4";
const CAPTURE: &str = "UPDATE sandbox_charges SET outcome = $1, captured = $2 WHERE charge_key = $3 AND outcome = $4";
const ASKED_AGAIN: &str = "UPDATE sandbox_charges SET attempts = attempts + 1 WHERE charge_key = $1";
const REPAID: &str = "SELECT refund_key, amount, due_at, failed FROM sandbox_refunds WHERE refund_key = $1";
const REPAID_OF: &str = "SELECT refund_key, amount, due_at, failed FROM sandbox_refunds WHERE charge_key = $1 \
    ORDER BY created_at, refund_key";
const ENTER_REFUND: &str =
    "INSERT INTO sandbox_refunds (refund_key, charge_key, amount, created_at, due_at) VALUES ($1, $2, $3, $4, $5)";
const FAIL_REFUND: &str = "UPDATE sandbox_refunds SET failed = TRUE WHERE refund_key = $1";

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
        Value::Int(entry.attempt),
        Value::Int(entry.manual.into()),
        Value::MaybeInt(entry.due_at),
        Value::MaybeInt(entry.ends_at),
        Value::MaybeInt(entry.captured),
    ];
    conn.add(ENTER, &values).await
}

/// Enters a later attempt in the place of one with the outcome `over`; false when there is none such.
pub(super) async fn try_again<C: Connection>(conn: &mut C, entry: &Entry, over: &str) -> sqlx::Result<bool> {
    let values = [
        Value::Text(&entry.outcome),
        Value::Maybe(entry.code.as_deref()),
        Value::Maybe(entry.message.as_deref()),
        Value::Int(entry.amount),
        Value::Int(entry.attempts),
        Value::Int(entry.attempt),
        Value::Int(entry.manual.into()),
        Value::MaybeInt(entry.due_at),
        Value::MaybeInt(entry.ends_at),
        Value::Id(entry.charge_key),
        Value::Text(over),
        Value::Int(entry.attempt),
    ];
    Ok(conn.run(TRY_AGAIN, &values).await? == 1)
}

/// Turns an outcome into another, unless somebody else did.
pub(super) async fn turn<C: Connection>(
    conn: &mut C,
    key: Uuid,
    (from, to): (&str, &str),
    ends_at: Option<i64>,
) -> sqlx::Result<()> {
    let values = [Value::Text(to), Value::MaybeInt(ends_at), Value::Id(key), Value::Text(from)];
    conn.run(TURN, &values).await.map(drop)
}

/// Captures so much, unless somebody else did.
pub(super) async fn capture<C: Connection>(
    conn: &mut C,
    key: Uuid,
    (from, to): (&str, &str),
    amount: i64,
) -> sqlx::Result<()> {
    let values = [Value::Text(to), Value::Int(amount), Value::Id(key), Value::Text(from)];
    conn.run(CAPTURE, &values).await.map(drop)
}

/// The entry under a key; `lock` makes it this transaction's or is empty.
pub(super) async fn entry<C: Connection>(conn: &mut C, key: Uuid, lock: &str) -> sqlx::Result<Option<Entry>> {
    conn.row(AssertSqlSafe(format!("{ENTRY}{lock}")), &[Value::Id(key)]).await
}

/// Counts another charge asked for under a key.
pub(super) async fn asked_again<C: Connection>(conn: &mut C, key: Uuid) -> sqlx::Result<()> {
    conn.run(ASKED_AGAIN, &[Value::Id(key)]).await.map(drop)
}

/// What was paid back under a refund's key.
pub(super) async fn repaid<C: Connection>(conn: &mut C, key: Uuid) -> sqlx::Result<Option<Repaid>> {
    conn.row(REPAID, &[Value::Id(key)]).await
}

/// All that was paid back of a charge, or is on its way.
pub(super) async fn repaid_of<C: Connection>(conn: &mut C, charge: Uuid) -> sqlx::Result<i64> {
    // Summed here: engines differ in the type of a sum, and a charge has few refunds.
    Ok(all_repaid_of(conn, charge).await?.iter().filter(|repaid| !repaid.failed).map(|repaid| repaid.amount).sum())
}

/// The refunds of a charge, those that did not arrive among them; the oldest first.
pub(super) async fn all_repaid_of<C: Connection>(conn: &mut C, charge: Uuid) -> sqlx::Result<Vec<Repaid>> {
    conn.rows(REPAID_OF, &[Value::Id(charge)]).await
}

/// Enters a refund.
pub(super) async fn enter_refund<C: Connection>(
    conn: &mut C,
    key: Uuid,
    charge: Uuid,
    amount: i64,
    now: i64,
    due_at: Option<i64>,
) -> sqlx::Result<()> {
    let values = [Value::Id(key), Value::Id(charge), Value::Int(amount), Value::Int(now), Value::MaybeInt(due_at)];
    conn.run(ENTER_REFUND, &values).await.map(drop)
}

/// It did not arrive.
pub(super) async fn fail_refund<C: Connection>(conn: &mut C, key: Uuid) -> sqlx::Result<()> {
    conn.run(FAIL_REFUND, &[Value::Id(key)]).await.map(drop)
}
