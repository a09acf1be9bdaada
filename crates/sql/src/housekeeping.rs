//! Forgetting what is no longer needed.

use std::time::Duration;

use shop_clock::{SharedClock, millis};
use tokio_util::sync::CancellationToken;

use crate::Store;
use crate::store::with_writer;

/// How often to look.
const EVERY: Duration = Duration::from_mins(10);

/// Rows per DELETE, so that no lock is held for long.
const CHUNK: i64 = 500;

/// Idempotency keys are promised for 24 hours.
const KEYS_KEPT_MS: i64 = 24 * 3600 * 1000;

/// What can come again is known. A dead letter can be tried again for as long as it is kept: 30 days, and up to 7 more until
/// Kafka closes the segment it lies in. One more week for clocks that differ and for who asks on the last day.
pub const INBOX_KEPT: Duration = Duration::from_hours(45 * 24);

/// A replay that was sent on its last day may lie in its topic for a week.
const _: () = assert!(INBOX_KEPT.as_secs() >= shop_events::REPLAY_WITHIN.as_secs() + 7 * 86_400);

/// So may any event, whose group may have lost its place there.
const _: () = assert!(INBOX_KEPT.as_secs() >= shop_config::Kafka::LONGEST_RETENTION.as_secs() + 7 * 86_400);

/// Deletes old idempotency keys and inbox entries from time to time, until `stop`.
pub async fn housekeeping(store: Store, clock: SharedClock, stop: CancellationToken) {
    loop {
        let now = millis(clock.now());
        match sweep(&store, now).await {
            Ok(0) => {}
            Ok(rows) => tracing::debug!(rows, "forgot old idempotency keys and inbox entries"),
            Err(error) => tracing::warn!(error = %error, "could not delete old idempotency keys and inbox entries"),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}

/// Deletes what is too old at `now`, in chunks; how many rows.
async fn sweep(store: &Store, now: i64) -> sqlx::Result<u64> {
    let inbox_kept = i64::try_from(INBOX_KEPT.as_millis()).unwrap_or(i64::MAX);
    let mut total = 0;
    loop {
        let keys = with_writer!(store, conn => crate::Tables::key_purge(conn, now - KEYS_KEPT_MS, CHUNK).await?);
        let seen = with_writer!(store, conn => crate::Tables::inbox_purge(conn, now - inbox_kept, CHUNK).await?);
        total += keys + seen;
        if keys + seen == 0 {
            return Ok(total);
        }
    }
}
