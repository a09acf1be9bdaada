//! The inbox: an event's effect happens once, however often the bus brings it.

use std::collections::HashSet;

use uuid::Uuid;

use crate::Tables;

/// Notes `event_id` in the caller's transaction, the one that writes the effect.
///
/// True when it is new: go on. False when its effect is stored already: roll back or commit nothing else.
/// `now` is in unix milliseconds.
pub async fn first_time<C: Tables>(conn: &mut C, event_id: Uuid, now: i64) -> sqlx::Result<bool> {
    conn.inbox_insert(event_id, now).await
}

/// The same for several at once, in one statement: those that are new.
pub async fn new_ones<C: Tables>(conn: &mut C, event_ids: &[Uuid], now: i64) -> sqlx::Result<HashSet<Uuid>> {
    conn.inbox_insert_all(event_ids, now).await
}
