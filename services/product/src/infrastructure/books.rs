//! The stock's books as they stand, in SQL: reservations to compare with payments, and products with what was booked.

use std::collections::BTreeMap;

use shop_clock::millis;
use shop_sql::{Connection, Engine, Value, marks};
use sqlx::AssertSqlSafe;
use time::OffsetDateTime;
use uuid::Uuid;

use super::Tried;
use super::catalogue::Sql;
use super::lines::{LineRow, lock_products};
use crate::domain::{Drift, Holding, Reservation, Result};

const PAGE: &str = "SELECT id FROM reservations WHERE id > $1 AND (created_at >= $2 OR EXISTS (SELECT 1 FROM reservation_lines \
    WHERE reservation_id = id AND reservation_lines.state = 'held')) ORDER BY id LIMIT $3";
/// In one statement, so of one moment.
const RESERVED: &str = "SELECT p.id, p.reserved_quantity, COALESCE(h.held, 0) FROM products p LEFT JOIN \
    (SELECT product_id, CAST(SUM(quantity) AS BIGINT) AS held FROM reservation_lines WHERE state = 'held' GROUP BY product_id) h \
    ON h.product_id = p.id WHERE p.reserved_quantity <> COALESCE(h.held, 0) ORDER BY p.id";
const HELD: &str =
    "SELECT CAST(COALESCE(SUM(quantity), 0) AS BIGINT) FROM reservation_lines WHERE product_id = $1 AND state = 'held'";
/// What is promised is on hand, also when it was promised twice: the books say so, and the report that it was.
const MEND: &str = "UPDATE products SET reserved_quantity = $2, \
    stock_quantity = CASE WHEN stock_quantity < $2 THEN $2 ELSE stock_quantity END, version = version + 1, updated_at = $3 \
    WHERE id = $1 AND reserved_quantity <> $2";

/// Likewise.
const LEDGER: &str = "SELECT p.id, p.stock_quantity, COALESCE(m.stock, 0), p.reserved_quantity, COALESCE(m.reserved, 0) \
    FROM products p LEFT JOIN (SELECT product_id, CAST(SUM(stock_delta) AS BIGINT) AS stock, \
    CAST(SUM(reserved_delta) AS BIGINT) AS reserved FROM stock_movements GROUP BY product_id) m ON m.product_id = p.id \
    WHERE p.stock_quantity <> COALESCE(m.stock, 0) OR p.reserved_quantity <> COALESCE(m.reserved, 0) ORDER BY p.id";
/// What the ledger lacks, whoever did not write it.
const ENTER: &str = "INSERT INTO stock_movements (product_id, kind, stock_delta, reserved_delta, reason, created_at) \
    SELECT p.id, 'adjustment', p.stock_quantity - COALESCE(m.stock, 0), p.reserved_quantity - COALESCE(m.reserved, 0), \
    'reconciled', $2 FROM products p LEFT JOIN (SELECT product_id, CAST(SUM(stock_delta) AS BIGINT) AS stock, \
    CAST(SUM(reserved_delta) AS BIGINT) AS reserved FROM stock_movements WHERE product_id = $1 GROUP BY product_id) m \
    ON m.product_id = p.id WHERE p.id = $1 \
    AND (p.stock_quantity <> COALESCE(m.stock, 0) OR p.reserved_quantity <> COALESCE(m.reserved, 0))";

/// A line with the reservation that it is of.
#[derive(shop_sql::FromRow)]
struct LineOf {
    reservation_id: Uuid,
    product_id: i64,
    quantity: i64,
    state: String,
    restocked: i64,
}

impl<E: Engine> Sql<E> {
    pub(super) async fn try_reservations(
        &self,
        after: Option<Uuid>,
        since: OffsetDateTime,
        limit: u32,
    ) -> Tried<Vec<Reservation>> {
        let values = [Value::Id(after.unwrap_or_default()), Value::Int(millis(since)), Value::Int(limit.into())];
        let mut reader = self.engine.reader().await?;
        let ids: Vec<(Uuid,)> = reader.rows(PAGE, &values).await?;
        let ids: Vec<Uuid> = ids.into_iter().map(|(id,)| id).collect();
        complete(&mut *reader, ids).await
    }

    pub(super) async fn try_reservations_of(&self, ids: &[Uuid]) -> Tried<Vec<Reservation>> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let sql = format!("SELECT id FROM reservations WHERE id IN ({}) ORDER BY id", marks(1, ids.len()));
        let values: Vec<_> = ids.iter().copied().map(Value::Id).collect();
        let mut reader = self.engine.reader().await?;
        let ids: Vec<(Uuid,)> = reader.rows(AssertSqlSafe(sql), &values).await?;
        complete(&mut *reader, ids.into_iter().map(|(id,)| id).collect()).await
    }

    pub(super) async fn try_drifts(&self) -> Tried<Vec<Drift>> {
        let mut reader = self.engine.reader().await?;
        let held: Vec<(i64, i64, i64)> = reader.rows(RESERVED, &[]).await?;
        let booked: Vec<(i64, i64, i64, i64, i64)> = reader.rows(LEDGER, &[]).await?;
        let drift = |product, number, says, booked| Drift { product, number, says, booked };
        let held =
            held.into_iter().map(|(product, says, held)| drift(product, "reserved_quantity, lines held", says, held));
        let booked = booked.into_iter().flat_map(|(product, stock, stock_booked, reserved, reserved_booked)| {
            [
                drift(product, "stock_quantity, movements", stock, stock_booked),
                drift(product, "reserved_quantity, movements", reserved, reserved_booked),
            ]
        });
        Ok(held.chain(booked.filter(|drift| drift.says != drift.booked)).collect())
    }

    pub(super) async fn try_mend(&self, product: i64, now: OffsetDateTime) -> Tried<()> {
        let mut tx = self.engine.begin().await?;
        // From here on nobody else changes what is reserved of it.
        lock_products::<E, _>(&mut *tx, [product]).await?;
        let held: Option<(i64,)> = tx.row(HELD, &[Value::Int(product)]).await?;
        let held = held.map_or(0, |(held,)| held);
        tx.run(MEND, &[Value::Int(product), Value::Int(held), Value::Int(millis(now))]).await?;
        tx.run(ENTER, &[Value::Int(product), Value::Int(millis(now))]).await?;
        Ok(shop_sql::commit(tx).await?)
    }
}

/// The reservations of these ids with their lines.
async fn complete<C: Connection>(conn: &mut C, ids: Vec<Uuid>) -> Tried<Vec<Reservation>> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let sql = format!(
        "SELECT reservation_id, product_id, quantity, state, restocked FROM reservation_lines \
         WHERE reservation_id IN ({}) ORDER BY reservation_id, product_id",
        marks(1, ids.len())
    );
    let values: Vec<_> = ids.iter().copied().map(Value::Id).collect();
    let rows: Vec<LineOf> = conn.rows(AssertSqlSafe(sql), &values).await?;
    let mut lines: BTreeMap<Uuid, Vec<LineRow>> = BTreeMap::new();
    for LineOf { reservation_id, product_id, quantity, state, restocked } in rows {
        lines.entry(reservation_id).or_default().push(LineRow { product_id, quantity, state, restocked });
    }
    let whole = |id: Uuid| {
        let rows = lines.remove(&id).unwrap_or_default();
        let lines = rows.into_iter().map(Holding::try_from).collect::<Result<_>>()?;
        Ok(Reservation { id, lines })
    };
    Ok(ids.into_iter().map(whole).collect::<Result<_>>()?)
}
