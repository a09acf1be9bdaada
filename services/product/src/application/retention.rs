//! Reservations of which nothing came do not stay for ever where the settings say so.

use std::sync::Arc;
use std::time::Duration;

use shop_clock::SharedClock;
use shop_fault::Fault;
use time::OffsetDateTime;

use crate::domain::{Forgotten, Result, Store};

/// Reservations looked at in one step, so that no lock is held for long.
const CHUNK: u32 = 500;

/// How often to look. Each look passes over every reservation there is, and nobody waits for it.
const EVERY: Duration = Duration::from_hours(24);

/// Deletes reservations whose units all went back on the shelf, or that were closed before they were made.
pub(crate) struct Retention {
    store: Arc<dyn Store>,
    clock: SharedClock,
    released: Option<Duration>,
}

impl Retention {
    /// Over `store`, by `clock`: so long after a reservation was closed as `released` says, if it says anything.
    pub(crate) fn new(store: Arc<dyn Store>, clock: SharedClock, released: Option<Duration>) -> Self {
        Self { store, clock, released }
    }

    /// Looks at once, then regularly; for ever. May be left anywhere.
    pub(crate) async fn run(self) {
        let Some(kept) = self.released else { return };
        loop {
            match self.round(kept).await {
                Ok(deleted) => tracing::debug!(deleted, "deleted old reservations of which nothing came"),
                Err(error) => {
                    tracing::warn!(cause = ?Fault::from(error), "could not forget old reservations, trying later");
                }
            }
            tokio::time::sleep(EVERY).await;
        }
    }

    /// Deletes everything that is due; how many reservations.
    async fn round(&self, kept: Duration) -> Result<u64> {
        let now = self.clock.now();
        // One that reaches past the beginning of time means nothing is old enough.
        let before = time::Duration::try_from(kept).ok().and_then(|kept| now.checked_sub(kept));
        let before = before.unwrap_or(OffsetDateTime::UNIX_EPOCH);
        let (mut after, mut total) = (None, 0);
        while let Some(Forgotten { last, deleted }) = self.store.forget_released(before, after, CHUNK).await? {
            total += deleted;
            after = Some(last);
        }
        Ok(total)
    }
}
