//! Payments do not stay for ever where the settings say so.

use std::sync::Arc;
use std::time::Duration;

use shop_clock::SharedClock;
use shop_fault::Fault;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::domain::{Aged, Error, Status};

/// Payments looked at in one transaction, so that no lock is held for long.
const CHUNK: u32 = 200;

/// How often to look.
const EVERY: Duration = Duration::from_hours(1);

/// Where the buyer is known, and is to be known for a while only.
const PAID: [Status; 3] = [Status::Completed, Status::PartiallyRefunded, Status::Refunded];

/// Deletes payments of which nothing came, and takes buyers out of old ones.
pub(crate) struct Retention {
    aged: Arc<dyn Aged>,
    clock: SharedClock,
    unpaid: Option<Duration>,
    buyers: Option<Duration>,
}

impl Retention {
    /// Over `aged`, by `clock`: each as long after a payment was made as is said.
    pub(crate) fn new(
        aged: Arc<dyn Aged>,
        clock: SharedClock,
        unpaid: Option<Duration>,
        buyers: Option<Duration>,
    ) -> Self {
        Self { aged, clock, unpaid, buyers }
    }

    /// Looks at once, then regularly; for ever. May be left anywhere.
    pub(crate) async fn run(self) {
        while self.unpaid.is_some() || self.buyers.is_some() {
            if let Err(error) = self.round().await {
                tracing::warn!(cause = ?Fault::from(error), "could not forget old payments, trying later");
            }
            tokio::time::sleep(EVERY).await;
        }
    }

    /// Everything that is due.
    pub(crate) async fn round(&self) -> Result<(), Error> {
        if let Some(kept) = self.unpaid {
            let mut deleted = 0;
            loop {
                let rows = self.aged.delete_unpaid(self.ago(kept), CHUNK).await?;
                deleted += rows;
                if rows == 0 {
                    break;
                }
            }
            tracing::debug!(deleted, "deleted old payments that were not made");
        }
        if let Some(kept) = self.buyers {
            for status in PAID {
                let mut after = Uuid::nil();
                while let Some(last) = self.aged.forget_buyers(status, self.ago(kept), after, CHUNK).await? {
                    after = last;
                }
            }
        }
        Ok(())
    }

    fn ago(&self, kept: Duration) -> OffsetDateTime {
        // One that reaches past the beginning of time means nothing is old enough.
        let now = self.clock.now();
        time::Duration::try_from(kept).ok().and_then(|kept| now.checked_sub(kept)).unwrap_or(OffsetDateTime::UNIX_EPOCH)
    }
}
