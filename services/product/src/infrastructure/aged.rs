//! Old reservations in SQL: found page by page in the order of their ids, and deleted where nothing may come of them any more.

use shop_clock::millis;
use shop_sql::{Connection, Engine, Value, marks};
use sqlx::AssertSqlSafe;
use time::OffsetDateTime;
use uuid::Uuid;

use super::Tried;
use super::catalogue::Sql;
use super::select::padded;
use crate::domain::Forgotten;

/// Every line is back on the shelf, or there never was one. What is sold stays: a refund may bring it back, and finds by its
/// line how much was sold, and whether that was counted.
const DONE: &str = "state = 'closed' AND updated_at < $1 AND NOT EXISTS (SELECT 1 FROM reservation_lines \
    WHERE reservation_id = reservations.id AND reservation_lines.state <> 'released')";

impl<E: Engine> Sql<E> {
    pub(super) async fn try_forget_released(
        &self,
        before: OffsetDateTime,
        after: Option<Uuid>,
        limit: u32,
    ) -> Tried<Option<Forgotten>> {
        let sql = format!(
            "SELECT id, CAST(CASE WHEN {DONE} THEN 1 ELSE 0 END AS BIGINT) FROM reservations WHERE id > $2 \
             ORDER BY id LIMIT $3"
        );
        let values = [Value::Int(millis(before)), Value::Id(after.unwrap_or_default()), Value::Int(limit.into())];
        let page: Vec<(Uuid, i64)> = self.engine.reader().await?.rows(AssertSqlSafe(sql), &values).await?;
        let Some(&(last, _)) = page.last() else { return Ok(None) };
        let done: Vec<Uuid> = page.into_iter().filter_map(|(id, done)| (done == 1).then_some(id)).collect();
        let deleted = if done.is_empty() { 0 } else { self.delete_reservations(before, &done).await? };
        Ok(Some(Forgotten { last, deleted }))
    }

    /// Deletes those of `ids` that are done with still. One that somebody has in hand at this moment stays until the next look.
    async fn delete_reservations(&self, before: OffsetDateTime, ids: &[Uuid]) -> Tried<u64> {
        let mut tx = self.engine.begin().await?;
        let ids = repeated(ids);
        let sql = format!(
            "SELECT id FROM reservations WHERE {DONE} AND id IN ({}) ORDER BY id{}",
            marks(2, ids.len()),
            E::LOCK_FREE
        );
        let values: Vec<_> = [Value::Int(millis(before))].into_iter().chain(ids).collect();
        let locked: Vec<(Uuid,)> = tx.rows(AssertSqlSafe(sql), &values).await?;
        let locked: Vec<Uuid> = locked.into_iter().map(|(id,)| id).collect();
        if locked.is_empty() {
            return Ok(0);
        }
        let ids = repeated(&locked);
        let these = marks(1, ids.len());
        let lines = format!("DELETE FROM reservation_lines WHERE reservation_id IN ({these})");
        tx.run(AssertSqlSafe(lines), &ids).await?;
        let deleted = tx.run(AssertSqlSafe(format!("DELETE FROM reservations WHERE id IN ({these})")), &ids).await?;
        shop_sql::commit(tx).await?;
        Ok(deleted)
    }
}

/// The ids, filled up with themselves so that few texts are prepared.
fn repeated(ids: &[Uuid]) -> Vec<Value<'static>> {
    ids.iter().copied().cycle().take(padded(ids.len())).map(Value::Id).collect()
}
