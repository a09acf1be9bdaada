//! What was left behind, in SQL: found by one look each at an index, and claimed row by row.

use shop_clock::{from_millis, millis};
use shop_sql::{Connection, Engine, Value, retry_transient};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::domain::{Claim, Left, Wait};

const EXPIRED: &str = "SELECT expires_at, id FROM payments WHERE status = 'pending' AND expires_at <= $1 \
    AND (expires_at > $2 OR (expires_at = $2 AND id > $3)) ORDER BY expires_at, id LIMIT $4";
const PROCESSING: &str = "SELECT id FROM payments WHERE status = 'processing' ORDER BY id LIMIT $1";
/// One look for all. A place in this order is what fairness is: who was tried least, of these who waits longest.
const DUE: &str = "SELECT id AS payment, NULL AS refund, recoveries AS tried, COALESCE(recover_at, updated_at) AS since, 0 AS paid \
    FROM payments WHERE status = 'processing' AND updated_at <= $1 AND (recover_at IS NULL OR recover_at <= $2) \
    UNION ALL SELECT id, NULL, recoveries, COALESCE(recover_at, action_until), 0 \
    FROM payments WHERE status = 'requires_action' AND action_until <= $2 AND (recover_at IS NULL OR recover_at <= $2) \
    UNION ALL SELECT id, NULL, recoveries, COALESCE(recover_at, authorised_until), 0 \
    FROM payments WHERE status = 'authorised' AND authorised_until <= $2 AND (recover_at IS NULL OR recover_at <= $2) \
    UNION ALL SELECT payment_id, id, recoveries, COALESCE(recover_at, created_at), 0 \
    FROM refunds WHERE status = 'requested' AND created_at <= $1 AND (recover_at IS NULL OR recover_at <= $2) \
    UNION ALL SELECT payment_id, id, recoveries, look_at, 1 FROM refunds WHERE look_at <= $2 AND status = 'settled' \
    ORDER BY tried, since LIMIT $3";
const CLAIM_PAYMENT: &str = "UPDATE payments SET recover_at = $3, recoveries = recoveries + 1 \
    WHERE id = $1 AND status IN ('processing', 'requires_action', 'authorised') AND recoveries = $2";
const CLAIM_REFUND: &str = "UPDATE refunds SET recover_at = $3, recoveries = recoveries + 1 \
    WHERE id = $1 AND status = 'requested' AND recoveries = $2";
const PUT_OFF_PAYMENT: &str = "UPDATE payments SET recover_at = $3 \
    WHERE id = $1 AND status IN ('processing', 'requires_action', 'authorised') AND recoveries = $2";
const PUT_OFF_REFUND: &str =
    "UPDATE refunds SET recover_at = $3 WHERE id = $1 AND status = 'requested' AND recoveries = $2";
const CLAIM_LOOK: &str = "UPDATE refunds SET look_at = $3, recoveries = recoveries + 1 \
    WHERE id = $1 AND status = 'settled' AND recoveries = $2";
const PUT_OFF_LOOK: &str = "UPDATE refunds SET look_at = $3 WHERE id = $1 AND status = 'settled' AND recoveries = $2";

/// What waits, how much of it, since when at longest, and how much of it lapses by a moment.
const WAITING: &str = "SELECT status, COUNT(*), MIN(updated_at), COUNT(CASE WHEN authorised_until <= $1 THEN 1 END) \
    FROM payments WHERE status IN ('processing', 'requires_action', 'authorised') GROUP BY status \
    UNION ALL SELECT 'refund', COUNT(*), MIN(created_at), 0 FROM refunds WHERE status = 'requested'";

/// A row of [`WAITING`].
type WaitRow = (String, i64, Option<i64>, i64);

/// A row of [`DUE`].
type DueRow = (Uuid, Option<Uuid>, i64, i64, i64);

pub(super) async fn waiting<E: Engine>(engine: &E, by: OffsetDateTime) -> sqlx::Result<Vec<Wait>> {
    let rows: Vec<WaitRow> = engine.reader().await?.rows(WAITING, &[Value::Int(millis(by))]).await?;
    let wait = |(what, count, since, lapsing): WaitRow| Wait { what, count, since: since.map(from_millis), lapsing };
    Ok(rows.into_iter().map(wait).collect())
}

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
    for (payment, refund, tried, _, paid) in due {
        let left = Left { payment, refund, is_paid: paid == 1, attempts: tried + 1 };
        let sql = match refund {
            Some(_) if left.is_paid => CLAIM_LOOK,
            Some(_) => CLAIM_REFUND,
            None => CLAIM_PAYMENT,
        };
        if write(engine, sql, &left, tried, Some(claim.until)).await? {
            claimed.push(left);
        }
    }
    Ok(claimed)
}

pub(super) async fn put_off<E: Engine>(engine: &E, left: &Left, until: OffsetDateTime) -> sqlx::Result<()> {
    let sql = match left.refund {
        Some(_) if left.is_paid => PUT_OFF_LOOK,
        Some(_) => PUT_OFF_REFUND,
        None => PUT_OFF_PAYMENT,
    };
    write(engine, sql, left, left.attempts, Some(until)).await.map(drop)
}

pub(super) async fn looked<E: Engine>(engine: &E, left: &Left, next: Option<OffsetDateTime>) -> sqlx::Result<()> {
    write(engine, PUT_OFF_LOOK, left, left.attempts, next).await.map(drop)
}

async fn write<E: Engine>(
    engine: &E,
    sql: &'static str,
    left: &Left,
    tried: i64,
    until: Option<OffsetDateTime>,
) -> sqlx::Result<bool> {
    let id = Value::Id(left.refund.unwrap_or(left.payment));
    let values = [id, Value::Int(tried), Value::MaybeInt(until.map(millis))];
    retry_transient(|| async { Ok::<_, sqlx::Error>(engine.writer().await?.run(sql, &values).await? == 1) }).await
}
