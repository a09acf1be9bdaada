//! The lines of reservations and the counters of products, as every transaction on stock reads, locks and moves them.

use std::collections::{BTreeSet, HashMap};

use shop_fault::Fault;
use shop_sql::{Connection, Engine, Value, marks};
use sqlx::AssertSqlSafe;
use uuid::Uuid;

use super::Tried;
use super::select::padded;
use crate::domain::{Error, Holding, Line, LineState, Result};

/// A reservation that is released before it was made: it stays as a tombstone.
pub(super) const BURY: &str = "INSERT INTO reservations (id, state, created_at, updated_at, sale_counts) \
                    VALUES ($1, 'closed', $2, $2, 1) ON CONFLICT (id) DO NOTHING";
pub(super) const CLOSE: &str = "UPDATE reservations SET state = 'closed', updated_at = $2 WHERE id = $1";
const LINES: &str = "SELECT product_id, quantity, state, restocked FROM reservation_lines \
                     WHERE reservation_id = $1 ORDER BY product_id";
/// The stock on hand is what an editor sees and replaces, so its change is a new version.
pub(super) const MOVE: &str = "UPDATE products SET reserved_quantity = reserved_quantity + $2, moves = moves + 1, \
                    stock_quantity = stock_quantity + $3, units_sold = units_sold + $4, \
                    version = version + CASE WHEN $3 = 0 THEN 0 ELSE 1 END, \
                    updated_at = CASE WHEN $3 = 0 THEN updated_at ELSE $5 END WHERE id = $1";

/// Locks products in the order of their ids and says what is available of each that exists.
pub(super) async fn lock_products<E: Engine, C: Connection>(
    conn: &mut C,
    products: impl IntoIterator<Item = i64>,
) -> sqlx::Result<HashMap<i64, i64>> {
    let products: BTreeSet<i64> = products.into_iter().collect();
    let count = padded(products.len());
    let sql = format!(
        "SELECT id, stock_quantity - reserved_quantity FROM products WHERE id IN ({}) ORDER BY id{}",
        marks(1, count),
        E::LOCK
    );
    // Product 0 does not exist: it only fills the statement up.
    let ids = products.into_iter().chain(std::iter::repeat(0)).take(count);
    let rows: Vec<(i64, i64)> = conn.rows(AssertSqlSafe(sql), &ids.map(Value::Int).collect::<Vec<_>>()).await?;
    Ok(rows.into_iter().collect())
}

/// A row of `reservation_lines`.
#[derive(shop_sql::FromRow)]
pub(super) struct LineRow {
    pub(super) product_id: i64,
    pub(super) quantity: i64,
    pub(super) state: String,
    pub(super) restocked: i64,
}

impl TryFrom<LineRow> for Holding {
    type Error = Error;

    fn try_from(row: LineRow) -> Result<Self> {
        let LineRow { product_id, quantity, state, restocked } = row;
        let states = [LineState::Held, LineState::Sold, LineState::Released];
        let state = states.into_iter().find(|known| text(*known) == state);
        let state = state.ok_or_else(|| Fault::internal("a reservation line has an unknown state"))?;
        Ok(Self { product: product_id, quantity, state, restocked })
    }
}

pub(super) fn text(state: LineState) -> &'static str {
    match state {
        LineState::Held => "held",
        LineState::Sold => "sold",
        LineState::Released => "released",
    }
}

pub(super) async fn holdings<C: Connection>(conn: &mut C, id: Uuid) -> Tried<Vec<Holding>> {
    let rows: Vec<LineRow> = conn.rows(LINES, &[Value::Id(id)]).await?;
    Ok(rows.into_iter().map(Holding::try_from).collect::<Result<_>>()?)
}

/// The lines as a table `moved (id, quantity)`, filled up with rows that match nothing so that few texts are prepared.
pub(super) fn moved(lines: &[Line]) -> (String, Vec<Value<'static>>) {
    let count = padded(lines.len());
    let row = |n: usize| format!("(CAST(${} AS BIGINT), CAST(${} AS BIGINT))", 2 * n + 1, 2 * n + 2);
    let rows = (0..count).map(row).collect::<Vec<_>>().join(", ");
    let pairs = lines.iter().map(|line| [line.product, line.quantity]).chain(std::iter::repeat([0, 0]));
    let values = pairs.take(count).flatten().map(Value::Int).collect();
    (format!("WITH moved (id, quantity) AS (VALUES {rows})"), values)
}

/// Adds to what is reserved of each product, in one statement.
pub(super) async fn reserve<C: Connection>(conn: &mut C, sums: &[Line]) -> sqlx::Result<()> {
    let (table, values) = moved(sums);
    let sql = format!(
        "{table} UPDATE products SET reserved_quantity = reserved_quantity + moved.quantity, moves = moves + 1 \
         FROM moved WHERE products.id = moved.id"
    );
    conn.run(AssertSqlSafe(sql), &values).await.map(drop)
}

/// Runs `sql` for the rows of these ids, which it ends with; `first` is its first parameter.
pub(super) async fn by_ids<C: Connection>(
    conn: &mut C,
    sql: &str,
    ids: &[Uuid],
    first: Option<i64>,
) -> sqlx::Result<()> {
    let count = padded(ids.len());
    let values = first.map(Value::Int).into_iter();
    let sql = format!("{sql} ({})", marks(1 + values.len(), count));
    // Once more those that it is about only fills the statement up: any other id may be somebody's.
    let ids = ids.iter().copied().cycle().take(count);
    let values: Vec<_> = values.chain(ids.map(Value::Id)).collect();
    conn.run(AssertSqlSafe(sql), &values).await.map(drop)
}
