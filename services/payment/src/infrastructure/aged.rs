//! Old payments in MariaDB or SQLite: found by their ids, which begin with the time they were made at.

use async_trait::async_trait;
use shop_clock::millis;
use shop_sql::{Connection, Engine, Value, marks, retry_transient};
use sqlx::AssertSqlSafe;
use time::OffsetDateTime;
use uuid::Uuid;

use super::Failure;
use super::store::Sql;
use crate::domain::{Aged, Error, FORGOTTEN, Status};

const UNPAID: &str = "SELECT id FROM payments WHERE status IN ('failed', 'cancelled') AND id < $1 LIMIT $2";
const PAID: &str = "SELECT id FROM payments WHERE status = $1 AND id > $2 AND id < $3 ORDER BY id LIMIT $4";

#[async_trait]
impl<E: Engine> Aged for Sql<E> {
    async fn delete_unpaid(&self, before: OffsetDateTime, limit: u32) -> Result<u64, Error> {
        Ok(retry_transient(|| self.try_delete(before, limit)).await?)
    }

    async fn forget_buyers(
        &self,
        status: Status,
        before: OffsetDateTime,
        after: Uuid,
        limit: u32,
    ) -> Result<Option<Uuid>, Error> {
        let values =
            [Value::Text(status.as_str()), Value::Id(after), Value::Id(first_at(before)), Value::Int(limit.into())];
        Ok(retry_transient(|| self.try_forget(&values)).await?)
    }
}

impl<E: Engine> Sql<E> {
    async fn try_delete(&self, before: OffsetDateTime, limit: u32) -> Result<u64, Failure> {
        let mut tx = self.engine.begin().await?;
        let found: Vec<(Uuid,)> = tx.rows(UNPAID, &[Value::Id(first_at(before)), Value::Int(limit.into())]).await?;
        let ids: Vec<_> = found.into_iter().map(|(id,)| Value::Id(id)).collect();
        let mut deleted = 0;
        if !ids.is_empty() {
            let these = marks(1, ids.len());
            for (table, key) in [("payment_items", "payment_id"), ("refunds", "payment_id"), ("payments", "id")] {
                let sql = format!("DELETE FROM {table} WHERE {key} IN ({these})");
                deleted = tx.run(AssertSqlSafe(sql), &ids).await?;
            }
        }
        shop_sql::commit(tx).await?;
        Ok(deleted)
    }

    async fn try_forget(&self, of: &[Value<'_>]) -> Result<Option<Uuid>, Failure> {
        let mut tx = self.engine.begin().await?;
        let found: Vec<(Uuid,)> = tx.rows(PAID, of).await?;
        let Some(&(last,)) = found.last() else { return Ok(None) };
        let ids: Vec<_> = found.into_iter().map(|(id,)| Value::Id(id)).collect();
        let these = marks(2, ids.len());
        let gone = [vec![Value::Text(FORGOTTEN)], ids.clone()].concat();
        let sql = format!(
            "UPDATE payments SET user_id = $1, description = NULL, metadata = '{{}}' \
             WHERE id IN ({these}) AND user_id <> '{FORGOTTEN}'"
        );
        tx.run(AssertSqlSafe(sql), &gone).await?;
        let sql = format!(
            "UPDATE refunds SET reason = NULL WHERE payment_id IN ({}) AND reason IS NOT NULL",
            marks(1, ids.len())
        );
        tx.run(AssertSqlSafe(sql), &ids).await?;
        shop_sql::commit(tx).await?;
        Ok(Some(last))
    }
}

/// What no id made at `time` or later is less than, and every one made before is: ids are `UUIDv7` (RFC 9562, 5.7).
fn first_at(time: OffsetDateTime) -> Uuid {
    let millis = u128::try_from(millis(time)).unwrap_or_default();
    Uuid::from_u128(millis << 80)
}
