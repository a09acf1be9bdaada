//! The ledger of stock in SQL. Whoever writes an entry counts `products.moves` on; for who does not, a trigger writes one.

use async_trait::async_trait;
use shop_clock::{from_millis, millis};
use shop_fault::Fault;
use shop_page::Slice;
use shop_sql::{Connection, Engine, Value, retry_transient};
use uuid::Uuid;

use super::Tried;
use super::catalogue::Sql;
use super::lines::MOVE;
use crate::domain::{Adjustment, Change, Entries, Entry, EntryKind, EntryPage, Error, Ledger, Product, Result};

const ADJUSTED: &str = "SELECT id FROM stock_movements WHERE operation = $1";
const ADJUST: &str = "INSERT INTO stock_movements (product_id, kind, stock_delta, reserved_delta, operation, reason, \
                      reference, created_at) VALUES ($1, 'adjustment', $2, 0, $3, $4, $5, $6)";
const LIST: &str = "SELECT id, product_id, kind, stock_delta, reserved_delta, reservation_id, reason, reference, \
                    created_at FROM stock_movements WHERE product_id = $1 AND id < $2 ORDER BY id DESC LIMIT $3";

/// A row of `stock_movements`.
#[derive(shop_sql::FromRow)]
struct EntryRow {
    id: i64,
    product_id: i64,
    kind: String,
    stock_delta: i64,
    reserved_delta: i64,
    reservation_id: Option<Uuid>,
    reason: Option<String>,
    reference: Option<String>,
    created_at: i64,
}

impl TryFrom<EntryRow> for Entry {
    type Error = Error;

    fn try_from(row: EntryRow) -> Result<Self> {
        let kind = EntryKind::ALL.into_iter().find_map(|(name, kind)| (name == row.kind).then_some(kind));
        Ok(Self {
            id: row.id,
            product: row.product_id,
            kind: kind.ok_or_else(|| Fault::internal("a stock movement has an unknown kind"))?,
            stock: row.stock_delta,
            reserved: row.reserved_delta,
            reason: row.reason,
            reference: row.reference.or_else(|| row.reservation_id.map(|id| id.to_string())),
            at: from_millis(row.created_at),
        })
    }
}

#[async_trait]
impl<E: Engine> Ledger for Sql<E> {
    async fn adjust(&self, operation: Uuid, id: i64, adjustment: &Adjustment, change: Change<'_>) -> Result<Product> {
        Ok(retry_transient(|| self.try_adjust(operation, id, adjustment, change)).await?)
    }

    async fn entries(&self, product: i64, page: &EntryPage) -> Result<Entries> {
        Ok(self.list_entries(product, page).await?)
    }
}

impl<E: Engine> Sql<E> {
    async fn try_adjust(
        &self,
        operation: Uuid,
        id: i64,
        adjustment: &Adjustment,
        change: Change<'_>,
    ) -> Tried<Product> {
        let mut tx = self.engine.begin().await?;
        let mut product = self.locked(&mut *tx, id).await?;
        let done: Option<(i64,)> = tx.row(ADJUSTED, &[Value::Id(operation)]).await?;
        if done.is_some() {
            return Ok(product);
        }
        change(&mut product)?;
        let Adjustment { delta, reason, reference } = adjustment;
        let now = millis(product.updated_at);
        tx.run(MOVE, &[id, 0, *delta, 0, now].map(Value::Int)).await?;
        let (reason, reference) = (Value::Text(reason), Value::Maybe(reference.as_deref()));
        tx.run(ADJUST, &[Value::Int(id), Value::Int(*delta), Value::Id(operation), reason, reference, Value::Int(now)])
            .await?;
        shop_sql::commit(tx).await?;
        Ok(product)
    }

    async fn list_entries(&self, product: i64, page: &EntryPage) -> Tried<Entries> {
        let EntryPage { before, limit } = *page;
        // One more tells that there is a next page.
        let most = i64::try_from(limit + 1).unwrap_or(i64::MAX);
        let values = [product, before.unwrap_or(i64::MAX), most].map(Value::Int);
        let rows: Vec<EntryRow> = self.engine.reader().await?.rows(LIST, &values).await?;
        let entries: Vec<Entry> = rows.into_iter().map(Entry::try_from).collect::<Result<_>>()?;
        Ok(Slice::cut(entries, limit, |last| last.id))
    }
}
