//! Payments that forget, in MariaDB or SQLite: old ones, found by their ids, which begin with the time they were made at, and a
//! person's.

use async_trait::async_trait;
use shop_clock::millis;
use shop_events::{Event, UserErased};
use shop_sql::{Connection, Engine, Value, marks, outbox, retry_transient};
use sqlx::AssertSqlSafe;
use time::OffsetDateTime;
use uuid::Uuid;

use super::Failure;
use super::store::Sql;
use crate::domain::{Aged, Error, FORGOTTEN, Status, UserId};

const UNPAID: &str = "SELECT id FROM payments WHERE status IN ('failed', 'cancelled') AND id < $1 LIMIT $2";
const PAID: &str = "SELECT id FROM payments WHERE status = $1 AND id > $2 AND id < $3 ORDER BY id LIMIT $4";
/// All of a person's payments, in one number: they stay as they are until the transaction ends.
const OF_USER: &str = "SELECT COUNT(*) FROM payments WHERE user_id = $1";
const OPEN: &str = "SELECT id FROM payments WHERE user_id = $1 \
     AND status IN ('pending', 'processing', 'requires_action', 'authorised') LIMIT 1";
const UNDER_WAY: &str = "SELECT payment_id FROM refunds WHERE status = 'requested' \
     AND payment_id IN (SELECT id FROM payments WHERE user_id = $1) LIMIT 1";
/// Which payments' follows.
const FORGET_REASONS: &str = "UPDATE refunds SET reason = NULL WHERE reason IS NOT NULL AND payment_id IN ";

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

    async fn forget(&self, user: &UserId) -> Result<u64, Error> {
        let payments = retry_transient(|| self.try_forget_user(user)).await?;
        self.wake.wake();
        Ok(payments)
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
        let these = marks(1, ids.len());
        tx.run(AssertSqlSafe(forget_buyers(&format!("id IN ({these})"))), &ids).await?;
        tx.run(AssertSqlSafe(format!("{FORGET_REASONS}({these})")), &ids).await?;
        shop_sql::commit(tx).await?;
        Ok(Some(last))
    }

    async fn try_forget_user(&self, user: &UserId) -> Result<u64, Failure> {
        let mut tx = self.engine.begin().await?;
        match self.forget_in(&mut *tx, user).await {
            Ok(payments) => {
                shop_sql::commit(tx).await?;
                Ok(payments)
            }
            Err(failure) => {
                // Lets go of the rows at once, not when the connection is next used.
                tx.rollback().await.ok();
                Err(failure)
            }
        }
    }

    async fn forget_in<C: Connection>(&self, conn: &mut C, user: &UserId) -> Result<u64, Failure> {
        let of = [Value::Text(user.as_str())];
        // No refund can begin, and nothing be charged, before this is done.
        let _: Option<(i64,)> = conn.row(AssertSqlSafe(format!("{OF_USER}{}", E::LOCK)), &of).await?;
        let open: Option<(Uuid,)> = conn.row(OPEN, &of).await?;
        if let Some((payment,)) = open {
            return Err(Error::PaymentOpen(payment).into());
        }
        let refund: Option<(Uuid,)> = conn.row(UNDER_WAY, &of).await?;
        if let Some((payment,)) = refund {
            return Err(Error::RefundOpen(payment).into());
        }
        conn.run(AssertSqlSafe(format!("{FORGET_REASONS}(SELECT id FROM payments WHERE user_id = $1)")), &of).await?;
        // One that he makes in this moment is not of what he wants to be forgotten.
        let sql =
            forget_buyers("user_id = $1 AND status NOT IN ('pending', 'processing', 'requires_action', 'authorised')");
        let payments = conn.run(AssertSqlSafe(sql), &of).await?;
        let erased = Event::UserErased(UserErased { user_id: user.as_str().to_owned() });
        outbox::append(conn, &[self.envelope(erased)]).await?;
        Ok(payments)
    }
}

/// Takes who bought out of these payments, and what he noted.
fn forget_buyers(these: &str) -> String {
    format!(
        "UPDATE payments SET user_id = '{FORGOTTEN}', description = NULL, metadata = '{{}}', version = version + 1 \
         WHERE {these} AND user_id <> '{FORGOTTEN}'"
    )
}

/// What no id made at `time` or later is less than, and every one made before is: ids are `UUIDv7` (RFC 9562, 5.7).
fn first_at(time: OffsetDateTime) -> Uuid {
    let millis = u128::try_from(millis(time)).unwrap_or_default();
    Uuid::from_u128(millis << 80)
}
