//! What was left behind, in SQL: found by one look each at an index, and claimed row by row.

use shop_clock::{from_millis, millis};
use shop_sql::{Connection, Engine, Value, retry_transient};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::domain::{Claim, Left};

const EXPIRED: &str = "SELECT expires_at, id FROM payments WHERE status = 'pending' AND expires_at <= $1 \
    AND (expires_at > $2 OR (expires_at = $2 AND id > $3)) ORDER BY expires_at, id LIMIT $4";
const PROCESSING: &str = "SELECT id FROM payments WHERE status = 'processing' ORDER BY id LIMIT $1";
/// One look for both. A place in this order is what fairness is: who was tried least, of these who waits longest.
const DUE: &str = "SELECT id AS payment, NULL AS refund, recoveries AS tried, COALESCE(recover_at, updated_at) AS since \
    FROM payments WHERE status = 'processing' AND updated_at <= $1 AND (recover_at IS NULL OR recover_at <= $2) \
    UNION ALL SELECT id, NULL, recoveries, COALESCE(recover_at, action_until) \
    FROM payments WHERE status = 'requires_action' AND action_until <= $2 AND (recover_at IS NULL OR recover_at <= $2) \
    UNION ALL SELECT id, NULL, recoveries, COALESCE(recover_at, authorised_until) \
    FROM payments WHERE status = 'authorised' AND authorised_until <= $2 AND (recover_at IS NULL OR recover_at <= $2) \
    UNION ALL SELECT payment_id, id, recoveries, COALESCE(recover_at, created_at) \
    FROM refunds WHERE status = 'requested' AND created_at <= $1 AND (recover_at IS NULL OR recover_at <= $2) \
    ORDER BY tried, since LIMIT $3";
const CLAIM_PAYMENT: &str = "UPDATE payments SET recover_at = $3, recoveries = recoveries + 1 \
    WHERE id = $1 AND status IN ('processing', 'requires_action', 'authorised') AND recoveries = $2";
const CLAIM_REFUND: &str = "UPDATE refunds SET recover_at = $3, recoveries = recoveries + 1 \
    WHERE id = $1 AND status = 'requested' AND recoveries = $2";
const PUT_OFF_PAYMENT: &str = "UPDATE payments SET recover_at = $3 \
    WHERE id = $1 AND status IN ('processing', 'requires_action', 'authorised') AND recoveries = $2";
const PUT_OFF_REFUND: &str =
    "UPDATE refunds SET recover_at = $3 WHERE id = $1 AND status = 'requested' AND recoveries = $2";

/// A row of [`DUE`].
type DueRow = (Uuid, Option<Uuid>, i64, i64);

pub(super) async fn expired<E: Engine>(
    engine: &E,
    now: OffsetDateTime,
    after: Option<(OffsetDateTime, Uuid)>,
    limit: u32,
) -> sqlx::Result<Vec<(OffsetDateTime, Uuid)>> {
    let (since, id) = after.map_or((i64::MIN, Uuid::nil()), |(at, id)| (millis(at), id));
    let values = [Value::Int(millis(now)), Value::Int(since), Value::Id(id), Value::Int(limit.into())];
    let rows: Vec<(i64, Uuid)> = engine.reader().await?.rows(EXPIRED, &values).await?;
    Ok(rows.into_iter().map(|(at, id)| (from_millis(at), id)).collect())
}

pub(super) async fn processing<E: Engine>(engine: &E, limit: u32) -> sqlx::Result<Vec<Uuid>> {
    let rows: Vec<(Uuid,)> = engine.reader().await?.rows(PROCESSING, &[Value::Int(limit.into())]).await?;
    Ok(rows.into_iter().map(|(id,)| id).collect())
}

/// Another replica may have looked at the same moment: whoever writes first has it.
pub(super) async fn claim<E: Engine>(engine: &E, claim: &Claim) -> sqlx::Result<Vec<Left>> {
    let values = [Value::Int(millis(claim.left_behind)), Value::Int(millis(claim.now)), Value::Int(claim.limit.into())];
    let due: Vec<DueRow> = engine.reader().await?.rows(DUE, &values).await?;
    let mut claimed = Vec::with_capacity(due.len());
    for (payment, refund, tried, _) in due {
        let left = Left { payment, refund, attempts: tried + 1 };
        let sql = if refund.is_some() { CLAIM_REFUND } else { CLAIM_PAYMENT };
        if write(engine, sql, &left, tried, claim.until).await? {
            claimed.push(left);
        }
    }
    Ok(claimed)
}

pub(super) async fn put_off<E: Engine>(engine: &E, left: &Left, until: OffsetDateTime) -> sqlx::Result<()> {
    let sql = if left.refund.is_some() { PUT_OFF_REFUND } else { PUT_OFF_PAYMENT };
    write(engine, sql, left, left.attempts, until).await.map(drop)
}

async fn write<E: Engine>(
    engine: &E,
    sql: &'static str,
    left: &Left,
    tried: i64,
    until: OffsetDateTime,
) -> sqlx::Result<bool> {
    let id = Value::Id(left.refund.unwrap_or(left.payment));
    let values = [id, Value::Int(tried), Value::Int(millis(until))];
    retry_transient(|| async { Ok::<_, sqlx::Error>(engine.writer().await?.run(sql, &values).await? == 1) }).await
}
