//! The inbox: an event's effect happens once, however often the bus brings it.

use uuid::Uuid;

use crate::Tables;

/// Notes `event_id` in the caller's transaction, the one that writes the effect.
///
/// True when it is new: go on. False when its effect is stored already: roll back or commit nothing else.
/// `now` is in unix milliseconds.
pub async fn first_time<C: Tables>(conn: &mut C, event_id: Uuid, now: i64) -> sqlx::Result<bool> {
    conn.inbox_insert(event_id, now).await
}
