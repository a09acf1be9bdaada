//! Reservations in SQL.
//!
//! Every transaction locks in the same order, first the reservation, then products by id, so that none waits for one
//! that waits for it.

use std::collections::HashMap;
use std::result::Result as Outcome;

use async_trait::async_trait;
use shop_clock::millis;
use shop_sql::{Connection, Engine, Value, inbox, marks, retry_transient};
use sqlx::AssertSqlSafe;
use time::OffsetDateTime;
use uuid::Uuid;

use super::Failure;
use super::catalogue::Sql;
use super::select::padded;
use crate::domain::{Error, Holding, Line, LineState, Lines, Movement, Reservations, Result, Settlement};

const OPEN: &str = "INSERT INTO reservations (id, state, created_at, updated_at) \
                    VALUES ($1, 'open', $2, $2) ON CONFLICT (id) DO NOTHING";
/// A reservation that is released before it was made: it stays as a tombstone.
const BURY: &str = "INSERT INTO reservations (id, state, created_at, updated_at) \
                    VALUES ($1, 'closed', $2, $2) ON CONFLICT (id) DO NOTHING";
const CLOSE: &str = "UPDATE reservations SET state = 'closed', updated_at = $2 WHERE id = $1";
const LINES: &str = "SELECT product_id, quantity, state, restocked FROM reservation_lines \
                     WHERE reservation_id = $1 ORDER BY product_id";
const LINE: &str = "SELECT product_id, quantity, state, restocked FROM reservation_lines \
                    WHERE reservation_id = $1 AND product_id = $2";
const RELEASE_LINES: &str =
    "UPDATE reservation_lines SET state = 'released' WHERE reservation_id = $1 AND state = 'held'";
const WRITE_LINE: &str = "UPDATE reservation_lines SET state = $3, restocked = $4 \
                          WHERE reservation_id = $1 AND product_id = $2";
const MOVE_RESERVED: &str = "UPDATE products SET reserved_quantity = reserved_quantity + $2 WHERE id = $1";
/// The stock on hand is what an editor sees and replaces, so its change is a new version.
const MOVE_STOCK: &str = "UPDATE products SET reserved_quantity = reserved_quantity + $2, \
                          stock_quantity = stock_quantity + $3, version = version + 1, updated_at = $4 WHERE id = $1";

#[async_trait]
impl<E: Engine> Reservations for Sql<E> {
    async fn reserve(&self, id: Uuid, lines: &Lines, now: OffsetDateTime) -> Result<bool> {
        Ok(retry_transient(|| self.try_reserve(id, lines, now)).await?)
    }

    async fn release(&self, id: Uuid, now: OffsetDateTime) -> Result<bool> {
        Ok(retry_transient(|| self.try_release(id, now)).await?)
    }

    async fn settle(&self, settlement: &Settlement, now: OffsetDateTime) -> Result<()> {
        Ok(retry_transient(|| self.try_settle(settlement, now)).await?)
    }

    async fn count_sold(&self, event: Uuid, lines: &[Line], now: OffsetDateTime) -> Result<()> {
        Ok(retry_transient(|| self.try_count_sold(event, lines, now)).await?)
    }
}

impl<E: Engine> Sql<E> {
    async fn try_reserve(&self, id: Uuid, lines: &Lines, now: OffsetDateTime) -> Outcome<bool, Failure> {
        let mut tx = self.engine.begin().await?;
        if tx.run(OPEN, &[Value::Id(id), Value::Int(millis(now))]).await? == 0 {
            self.same_again(&mut *tx, id, lines).await?;
            return Ok(false);
        }
        let available = self.lock_products(&mut *tx, lines.as_slice()).await?;
        lines.check_available(&available)?;
        insert_lines(&mut *tx, id, lines.as_slice()).await?;
        add(&mut *tx, Count::Reserved, lines.as_slice(), 1).await?;
        shop_sql::commit(tx).await?;
        Ok(true)
    }

    /// A repeat is fine while the reservation is open and asks for the same.
    async fn same_again<C: Connection>(&self, conn: &mut C, id: Uuid, lines: &Lines) -> Outcome<(), Failure> {
        if self.lock_reservation(conn, id).await?.as_deref() != Some("open") {
            return Err(Error::Closed(id).into());
        }
        let held: Vec<Line> = holdings(conn, id).await?.iter().map(Holding::line).collect();
        if held == lines.as_slice() { Ok(()) } else { Err(Error::OtherLines(id).into()) }
    }

    async fn try_release(&self, id: Uuid, now: OffsetDateTime) -> Outcome<bool, Failure> {
        let mut tx = self.engine.begin().await?;
        let at = Value::Int(millis(now));
        if tx.run(BURY, &[Value::Id(id), at]).await? == 1 {
            shop_sql::commit(tx).await?;
            return Ok(false);
        }
        // Closed means that every line is settled, or that its own event is on the way.
        if self.lock_reservation(&mut *tx, id).await?.as_deref() != Some("open") {
            return Ok(false);
        }
        let held: Vec<Line> = holdings(&mut *tx, id).await?.iter().map(Holding::line).collect();
        self.lock_products(&mut *tx, &held).await?;
        add(&mut *tx, Count::Reserved, &held, -1).await?;
        tx.run(RELEASE_LINES, &[Value::Id(id)]).await?;
        tx.run(CLOSE, &[Value::Id(id), at]).await?;
        shop_sql::commit(tx).await?;
        Ok(true)
    }

    async fn try_settle(&self, settlement: &Settlement, now: OffsetDateTime) -> Outcome<(), Failure> {
        let (id, product) = (Value::Id(settlement.reservation), Value::Int(settlement.line.product));
        let at = Value::Int(millis(now));
        let mut tx = self.engine.begin().await?;
        if !inbox::first_time(&mut *tx, settlement.event, millis(now)).await? {
            return Ok(());
        }
        let releases = settlement.movement == Movement::Release;
        if releases && tx.run(BURY, &[id, at]).await? == 1 {
            return Ok(shop_sql::commit(tx).await?);
        }
        self.lock_reservation(&mut *tx, settlement.reservation).await?;
        let line: Option<LineRow> = tx.row(LINE, &[id, product]).await?;
        let Some(line) = line else {
            // Nothing was held, so nothing is to be given back.
            return if releases {
                Ok(shop_sql::commit(tx).await?)
            } else {
                Err(settlement.unfit("no such line").into())
            };
        };
        let mut holding = Holding::try_from(line)?;
        let delta = holding.settle(settlement)?;
        let state = Value::Text(text(holding.state));
        tx.run(WRITE_LINE, &[id, product, state, Value::Int(holding.restocked)]).await?;
        tx.run(CLOSE, &[id, at]).await?;
        let reserved = Value::Int(delta.reserved);
        if delta.stock != 0 {
            tx.run(MOVE_STOCK, &[product, reserved, Value::Int(delta.stock), at]).await?;
        } else if delta.reserved != 0 {
            tx.run(MOVE_RESERVED, &[product, reserved]).await?;
        }
        Ok(shop_sql::commit(tx).await?)
    }

    async fn try_count_sold(&self, event: Uuid, lines: &[Line], now: OffsetDateTime) -> Outcome<(), Failure> {
        let mut tx = self.engine.begin().await?;
        if !inbox::first_time(&mut *tx, event, millis(now)).await? {
            return Ok(());
        }
        self.lock_products(&mut *tx, lines).await?;
        add(&mut *tx, Count::Sold, lines, 1).await?;
        Ok(shop_sql::commit(tx).await?)
    }

    /// Locks the reservation and says its state.
    async fn lock_reservation<C: Connection>(&self, conn: &mut C, id: Uuid) -> sqlx::Result<Option<String>> {
        let sql = format!("SELECT state FROM reservations WHERE id = $1{}", E::LOCK);
        let state: Option<(String,)> = conn.row(AssertSqlSafe(sql), &[Value::Id(id)]).await?;
        Ok(state.map(|(state,)| state))
    }

    /// Locks the products of `lines` in the order of their ids and says what is available of each that exists.
    async fn lock_products<C: Connection>(&self, conn: &mut C, lines: &[Line]) -> sqlx::Result<HashMap<i64, i64>> {
        let count = padded(lines.len());
        let sql = format!(
            "SELECT id, stock_quantity - reserved_quantity FROM products WHERE id IN ({}) ORDER BY id{}",
            marks(1, count),
            E::LOCK
        );
        // Product 0 does not exist: it only fills the statement up.
        let ids = lines.iter().map(|line| line.product).chain(std::iter::repeat(0)).take(count);
        let rows: Vec<(i64, i64)> = conn.rows(AssertSqlSafe(sql), &ids.map(Value::Int).collect::<Vec<_>>()).await?;
        Ok(rows.into_iter().collect())
    }
}

/// A row of `reservation_lines`.
#[derive(shop_sql::FromRow)]
struct LineRow {
    product_id: i64,
    quantity: i64,
    state: String,
    restocked: i64,
}

impl TryFrom<LineRow> for Holding {
    type Error = Error;

    fn try_from(row: LineRow) -> Result<Self> {
        let LineRow { product_id, quantity, state, restocked } = row;
        let states = [LineState::Held, LineState::Sold, LineState::Released];
        let state = states.into_iter().find(|known| text(*known) == state);
        let state = state.ok_or_else(|| shop_fault::Fault::internal("a reservation line has an unknown state"))?;
        Ok(Self { product: product_id, quantity, state, restocked })
    }
}

fn text(state: LineState) -> &'static str {
    match state {
        LineState::Held => "held",
        LineState::Sold => "sold",
        LineState::Released => "released",
    }
}

async fn holdings<C: Connection>(conn: &mut C, id: Uuid) -> Outcome<Vec<Holding>, Failure> {
    let rows: Vec<LineRow> = conn.rows(LINES, &[Value::Id(id)]).await?;
    Ok(rows.into_iter().map(Holding::try_from).collect::<Result<_>>()?)
}

/// What [`add`] adds to.
#[derive(Clone, Copy)]
enum Count {
    Reserved,
    Sold,
}

async fn insert_lines<C: Connection>(conn: &mut C, id: Uuid, lines: &[Line]) -> sqlx::Result<()> {
    let (table, mut values) = moved(lines, 1);
    let last = values.len() + 1;
    values.push(Value::Id(id));
    let sql = format!(
        "{table} INSERT INTO reservation_lines (reservation_id, product_id, quantity, state) \
         SELECT ${last}, id, quantity, 'held' FROM moved WHERE quantity > 0"
    );
    conn.run(AssertSqlSafe(sql), &values).await.map(drop)
}

/// Adds every line's quantity, times `sign`, to its product, in one statement.
async fn add<C: Connection>(conn: &mut C, count: Count, lines: &[Line], sign: i64) -> sqlx::Result<()> {
    let column = match count {
        Count::Reserved => "reserved_quantity",
        Count::Sold => "units_sold",
    };
    let (table, values) = moved(lines, sign);
    let sql = format!(
        "{table} UPDATE products SET {column} = {column} + moved.quantity FROM moved WHERE products.id = moved.id"
    );
    conn.run(AssertSqlSafe(sql), &values).await.map(drop)
}

/// The lines as a table `moved (id, quantity)`, filled up with rows that match nothing so that few texts are prepared.
fn moved(lines: &[Line], sign: i64) -> (String, Vec<Value<'static>>) {
    let count = padded(lines.len());
    let row = |n: usize| format!("(CAST(${} AS BIGINT), CAST(${} AS BIGINT))", 2 * n + 1, 2 * n + 2);
    let rows = (0..count).map(row).collect::<Vec<_>>().join(", ");
    let pairs = lines.iter().map(|line| [line.product, sign * line.quantity]).chain(std::iter::repeat([0, 0]));
    let values = pairs.take(count).flatten().map(Value::Int).collect();
    (format!("WITH moved (id, quantity) AS (VALUES {rows})"), values)
}
