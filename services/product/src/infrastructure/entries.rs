//! Entries of the ledger as transactions on stock write them.

use shop_sql::{Connection, Value};
use sqlx::AssertSqlSafe;
use uuid::Uuid;

use super::select::padded;
use crate::domain::{EntryKind, Line, NewEntry};

/// Writes entries, in one statement whatever their number.
pub(super) async fn write<C: Connection>(conn: &mut C, entries: &[NewEntry], now: i64) -> sqlx::Result<()> {
    if entries.is_empty() {
        return Ok(());
    }
    let count = padded(entries.len());
    let row = |n: usize| {
        let place = |column: usize| 5 * n + column + 2;
        format!("(${}, ${}, ${}, ${}, ${})", place(0), place(1), place(2), place(3), place(4))
    };
    let rows = (0..count).map(row).collect::<Vec<_>>().join(", ");
    // Product 0 does not exist: it only fills the statement up.
    let sql = format!(
        "WITH entry (product, kind, stock, reserved, reservation) AS (VALUES {rows}) INSERT INTO stock_movements \
         (product_id, kind, stock_delta, reserved_delta, reservation_id, created_at) \
         SELECT product, kind, stock, reserved, reservation, $1 FROM entry WHERE product > 0"
    );
    let filling = NewEntry { product: 0, kind: EntryKind::Sale, stock: 0, reserved: 0, reservation: Uuid::nil() };
    let values = entries.iter().chain(std::iter::repeat(&filling)).take(count).flat_map(|entry| {
        let NewEntry { product, kind, stock, reserved, reservation } = *entry;
        let kind = Value::Text(kind.name());
        [Value::Int(product), kind, Value::Int(stock), Value::Int(reserved), Value::Id(reservation)]
    });
    let values: Vec<_> = [Value::Int(now)].into_iter().chain(values).collect();
    conn.run(AssertSqlSafe(sql), &values).await.map(drop)
}

/// The entries of lines whose reserved units change, times `sign`.
pub(super) fn entries(id: Uuid, lines: &[Line], kind: EntryKind, sign: i64) -> Vec<NewEntry> {
    let entry = |line: &Line| {
        let reserved = sign * line.quantity;
        NewEntry { product: line.product, kind, stock: 0, reserved, reservation: id }
    };
    lines.iter().map(entry).collect()
}
