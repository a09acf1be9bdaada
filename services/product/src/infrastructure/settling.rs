//! What events make of reservations, in SQL. Those that come together are one transaction, and as many statements as one alone.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use shop_clock::millis;
use shop_sql::{Connection, Engine, Value, inbox, marks};
use sqlx::AssertSqlSafe;
use time::OffsetDateTime;
use uuid::Uuid;

use super::Tried;
use super::catalogue::Sql;
use super::entries::write;
use super::lines::{BURY, LineRow, MOVE, by_ids, lock_products, moved, text};
use super::select::padded;
use crate::domain::{Delta, EntryKind, Holding, Line, Movement, NewEntry, Result, Sale, Settlement};

/// Names a line: its reservation and its product.
type LineId = (Uuid, i64);

/// A line with what is said of its reservation.
#[derive(shop_sql::FromRow)]
struct Row {
    reservation_id: Uuid,
    reservation_state: String,
    sale_counts: i64,
    #[sqlx(flatten)]
    line: LineRow,
}

/// A line that nobody else changes meanwhile.
struct Locked {
    is_open: bool,
    sale_counts: i64,
    holding: Holding,
}

impl<E: Engine> Sql<E> {
    pub(super) async fn try_settle(&self, settlements: &[Settlement], now: OffsetDateTime) -> Tried<()> {
        let now = millis(now);
        let mut tx = self.engine.begin().await?;
        let events: Vec<Uuid> = settlements.iter().map(|settlement| settlement.event).collect();
        let mut new = inbox::new_ones(&mut *tx, &events, now).await?;
        // One that comes twice is taken once.
        let settlements: Vec<_> = settlements.iter().filter(|settlement| new.remove(&settlement.event)).collect();
        if settlements.is_empty() {
            return Ok(());
        }
        let mut lines = self.lock_lines(&mut *tx, settlements.iter().map(|settlement| line_id(settlement))).await?;
        let releases = settlements.iter().filter(|settlement| settlement.movement == Movement::Release);
        let unknown: BTreeSet<_> = releases.map(|one| line_id(one)).filter(|id| !lines.contains_key(id)).collect();
        if !unknown.is_empty() {
            for id in unknown.iter().map(|(reservation, _)| *reservation).collect::<BTreeSet<_>>() {
                tx.run(BURY, &[Value::Id(id), Value::Int(now)]).await?;
            }
            // Some may have been made meanwhile.
            lines.extend(self.lock_lines(&mut *tx, unknown.into_iter()).await?);
        }
        Effects::of(&settlements, &mut lines)?.write::<E, _>(&mut *tx, &lines, now).await?;
        Ok(shop_sql::commit(tx).await?)
    }

    /// Locks lines and their reservations, in the order of their ids.
    async fn lock_lines<C: Connection>(
        &self,
        conn: &mut C,
        ids: impl Iterator<Item = LineId>,
    ) -> Tried<HashMap<LineId, Locked>> {
        let ids: BTreeSet<_> = ids.collect();
        let count = padded(ids.len());
        let sql = format!(
            "SELECT l.reservation_id, r.state AS reservation_state, r.sale_counts, l.product_id, l.quantity, l.state, \
             l.restocked FROM reservations r JOIN reservation_lines l ON l.reservation_id = r.id \
             WHERE (l.reservation_id, l.product_id) IN (VALUES {}) ORDER BY l.reservation_id, l.product_id{}",
            rows(1, 2, count),
            E::LOCK
        );
        let ids = ids.into_iter().chain(std::iter::repeat((Uuid::nil(), 0))).take(count);
        let values: Vec<_> = ids.flat_map(|(id, product)| [Value::Id(id), Value::Int(product)]).collect();
        let rows: Vec<Row> = conn.rows(AssertSqlSafe(sql), &values).await?;
        let locked = |Row { reservation_id, reservation_state, sale_counts, line }| {
            let holding = Holding::try_from(line)?;
            let locked = Locked { is_open: reservation_state == "open", sale_counts, holding };
            Ok(((reservation_id, holding.product), locked))
        };
        Ok(rows.into_iter().map(locked).collect::<Result<_>>()?)
    }

    /// Of these reservations, those whose units are counted by their sale, and not by their payment.
    pub(super) async fn sale_counts(&self, sales: &[Sale]) -> Tried<HashSet<Uuid>> {
        let count = padded(sales.len());
        let sql = format!("SELECT id FROM reservations WHERE sale_counts = 1 AND id IN ({})", marks(1, count));
        let ids = sales.iter().map(|sale| sale.reservation).chain(std::iter::repeat(Uuid::nil())).take(count);
        let values: Vec<_> = ids.map(Value::Id).collect();
        let rows: Vec<(Uuid,)> = self.engine.reader().await?.rows(AssertSqlSafe(sql), &values).await?;
        Ok(rows.into_iter().map(|(id,)| id).collect())
    }

    pub(super) async fn try_count_sold(&self, sales: &[&Sale], now: OffsetDateTime) -> Tried<()> {
        let mut tx = self.engine.begin().await?;
        let events: Vec<Uuid> = sales.iter().map(|sale| sale.event).collect();
        let mut new = inbox::new_ones(&mut *tx, &events, millis(now)).await?;
        let mut sums = BTreeMap::<i64, i64>::new();
        for line in sales.iter().filter(|sale| new.remove(&sale.event)).flat_map(|sale| &sale.lines) {
            *sums.entry(line.product).or_default() += line.quantity;
        }
        if !sums.is_empty() {
            lock_products::<E, _>(&mut *tx, sums.keys().copied()).await?;
            let lines: Vec<_> = sums.into_iter().map(|(product, quantity)| Line { product, quantity }).collect();
            let (table, values) = moved(&lines);
            let sql = format!(
                "{table} UPDATE products SET units_sold = units_sold + moved.quantity FROM moved WHERE products.id = moved.id"
            );
            tx.run(AssertSqlSafe(sql), &values).await?;
        }
        Ok(shop_sql::commit(tx).await?)
    }
}

fn line_id(settlement: &Settlement) -> LineId {
    (settlement.reservation, settlement.line.product)
}

/// `($first, …), …`: `count` rows of so many columns.
fn rows(first: usize, columns: usize, count: usize) -> String {
    let row = |n: usize| format!("({})", marks(first + n * columns, columns));
    (0..count).map(row).collect::<Vec<_>>().join(", ")
}

/// What is added to the counters of a product.
#[derive(Debug, Clone, Copy, Default)]
struct Sum {
    reserved: i64,
    stock: i64,
    sold: i64,
}

/// What there is to write.
#[derive(Default)]
struct Effects {
    lines: BTreeSet<LineId>,
    closed: BTreeSet<Uuid>,
    sums: BTreeMap<i64, Sum>,
    entries: Vec<NewEntry>,
}

impl Effects {
    /// Applies events to their lines, in their order.
    fn of(settlements: &[&Settlement], lines: &mut HashMap<LineId, Locked>) -> Result<Self> {
        let mut effects = Self::default();
        for settlement in settlements {
            match lines.get_mut(&line_id(settlement)) {
                Some(line) => effects.settle(settlement, line)?,
                // Nothing was held, so nothing is to be given back.
                None if settlement.movement == Movement::Release => {}
                None => return Err(settlement.unfit("no such line")),
            }
        }
        Ok(effects)
    }

    fn settle(&mut self, settlement: &Settlement, line: &mut Locked) -> Result<()> {
        let delta = line.holding.settle(settlement)?;
        if line.is_open {
            self.closed.insert(settlement.reservation);
        }
        if delta == Delta::default() {
            return Ok(());
        }
        let Settlement { reservation, line: Line { product, .. }, movement, .. } = *settlement;
        let (kind, sold) = match movement {
            Movement::Sell => (EntryKind::Sale, -delta.stock * line.sale_counts),
            Movement::Release => (EntryKind::Release, 0),
            Movement::Restock => (EntryKind::Restock, 0),
        };
        let Delta { stock, reserved } = delta;
        let sum = self.sums.entry(product).or_default();
        *sum = Sum { reserved: sum.reserved + reserved, stock: sum.stock + stock, sold: sum.sold + sold };
        self.entries.push(NewEntry { product, kind, stock, reserved, reservation });
        self.lines.insert(line_id(settlement));
        Ok(())
    }

    /// Writes lines, closes reservations, moves the units of products, and enters that into the ledger.
    async fn write<E: Engine, C: Connection>(
        mut self,
        conn: &mut C,
        lines: &HashMap<LineId, Locked>,
        now: i64,
    ) -> sqlx::Result<()> {
        if !self.closed.is_empty() {
            let ids: Vec<_> = self.closed.iter().copied().collect();
            by_ids(conn, "UPDATE reservations SET state = 'closed', updated_at = $1 WHERE id IN", &ids, Some(now))
                .await?;
        }
        if self.lines.is_empty() {
            return Ok(());
        }
        write_lines(conn, self.lines.iter().filter_map(|id| Some((id.0, lines.get(id)?.holding))).collect()).await?;
        // A product that is gone has no units to count.
        let moved = shift::<E, _>(conn, &self.sums, now).await?;
        self.entries.retain(|entry| moved.contains(&entry.product));
        write(conn, &self.entries, now).await
    }
}

async fn write_lines<C: Connection>(conn: &mut C, lines: Vec<(Uuid, Holding)>) -> sqlx::Result<()> {
    let count = padded(lines.len());
    let sql = format!(
        "WITH settled (reservation, product, became, back) AS (VALUES {}) UPDATE reservation_lines \
         SET state = became, restocked = back FROM settled WHERE reservation_id = reservation AND product_id = product",
        rows(1, 4, count)
    );
    let values = lines.iter().map(|(id, line)| (*id, line.product, text(line.state), line.restocked));
    let values = values.chain(std::iter::repeat((Uuid::nil(), 0, "", 0))).take(count);
    let values: Vec<_> = values
        .flat_map(|(id, product, state, back)| {
            [Value::Id(id), Value::Int(product), Value::Text(state), Value::Int(back)]
        })
        .collect();
    conn.run(AssertSqlSafe(sql), &values).await.map(drop)
}

/// Moves the units of products, in the order of their ids; those that there are.
async fn shift<E: Engine, C: Connection>(
    conn: &mut C,
    sums: &BTreeMap<i64, Sum>,
    now: i64,
) -> sqlx::Result<HashSet<i64>> {
    let mut all = sums.iter().map(|(product, sum)| [*product, sum.reserved, sum.stock, sum.sold]);
    if let (Some([product, reserved, stock, sold]), 1) = (all.next(), sums.len()) {
        let touched = conn.run(MOVE, &[product, reserved, stock, sold, now].map(Value::Int)).await?;
        return Ok((touched > 0).then_some(product).into_iter().collect());
    }
    let all = sums.iter().map(|(product, sum)| [*product, sum.reserved, sum.stock, sum.sold]);
    let count = padded(sums.len());
    let sql = format!(
        "WITH moved (product, reserved, stock, sold) AS (VALUES {}), locked AS MATERIALIZED (SELECT id AS locked_id \
         FROM products WHERE id IN (SELECT product FROM moved) ORDER BY id{}) \
         UPDATE products SET reserved_quantity = reserved_quantity + reserved, moves = moves + 1, \
         stock_quantity = stock_quantity + stock, units_sold = units_sold + sold, \
         version = version + CASE WHEN stock = 0 THEN 0 ELSE 1 END, \
         updated_at = CASE WHEN stock = 0 THEN updated_at ELSE $1 END \
         FROM moved JOIN locked ON locked_id = product WHERE products.id = product RETURNING id",
        rows(2, 4, count),
        E::LOCK
    );
    // Product 0 does not exist: it only fills the statement up.
    let values = all.chain(std::iter::repeat([0; 4])).take(count).flatten();
    let values: Vec<_> = std::iter::once(now).chain(values).map(Value::Int).collect();
    let rows: Vec<(i64,)> = conn.rows(AssertSqlSafe(sql), &values).await?;
    Ok(rows.into_iter().map(|(id,)| id).collect())
}
