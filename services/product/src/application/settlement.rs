//! What is done for reservations that nothing was heard of: the payment is asked, and its word settles them.
//!
//! Events do this at once, and this is for those that never came: lost with a broker's disk, buried as dead letters, or not
//! in the dump that a store was restored from. Safe with several replicas, and beside the events themselves.

use std::sync::Arc;
use std::time::Duration;

use shop_clock::SharedClock;
use shop_fault::Fault;
use uuid::Uuid;

use crate::domain::{Error, Outcome, Payments, Reach, Result, Store};

/// Reservations asked about in one call: as many as payment answers for.
const BATCH: u32 = 100;

/// Settles what is held for too long.
#[derive(Clone)]
pub(crate) struct Settlements {
    store: Arc<dyn Store>,
    payments: Arc<dyn Payments>,
    clock: SharedClock,
    /// Age at which a reservation is asked about.
    after: Duration,
}

/// What a round found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// Sold, and no event had said so.
    pub(crate) sold: u64,
    /// Free, and no event had said so.
    pub(crate) released: u64,
    /// Nobody's: there is no payment. Free now, too.
    pub(crate) unknown: u64,
    /// Open still: the payment may go either way.
    pub(crate) left: u64,
    /// Could not be settled now.
    pub(crate) failed: u64,
}

impl Settlements {
    /// Of the reservations in `store`, by the word of `payments`.
    pub(crate) fn new(store: Arc<dyn Store>, payments: Arc<dyn Payments>, clock: SharedClock, after: Duration) -> Self {
        Self { store, payments, clock, after }
    }

    /// Asks about everything that is held for too long. While payment is away nothing is settled, and nothing is lost.
    pub(crate) async fn round(&self) -> Result<Found> {
        let before = self.clock.now() - self.after;
        let (mut found, mut after) = (Found::default(), None);
        loop {
            let held = self.store.held_since(before, after, BATCH).await?;
            let Some(last) = held.last() else { return Ok(found) };
            after = Some(*last);
            let ids: Vec<Uuid> = held.iter().map(|(_, id)| *id).collect();
            for (id, outcome) in ids.iter().zip(self.payments.outcomes(&ids).await?) {
                match outcome {
                    Ok(outcome) => self.settle(*id, &outcome, &mut found).await,
                    // One that cannot be read, as of a newer version, does not keep the others waiting.
                    Err(error) => failed(*id, error, &mut found),
                }
            }
            if held.len() < BATCH as usize {
                return Ok(found);
            }
        }
    }

    async fn settle(&self, id: Uuid, outcome: &Outcome, found: &mut Found) {
        let (count, became) = match outcome {
            Outcome::Open(_) => {
                found.left += 1;
                return;
            }
            Outcome::Sold(_) => (&mut found.sold, "its payment is completed"),
            Outcome::Returned(_) => (&mut found.sold, "its payment was completed, and paid back with its units"),
            Outcome::Released => (&mut found.released, "its payment was not completed"),
            Outcome::Unknown => (&mut found.unknown, "there is no such payment"),
        };
        match self.store.resolve(id, outcome, Reach::Held, self.clock.now()).await {
            // An event was faster.
            Ok(resolved) if resolved.lines.is_empty() => {}
            Ok(resolved) => {
                *count += 1;
                let lines = resolved.lines.len();
                tracing::warn!(reservation.id = %id, lines, "reservation settled without its events: {became}");
            }
            Err(error) => failed(id, error, found),
        }
    }
}

fn failed(id: Uuid, error: Error, found: &mut Found) {
    found.failed += 1;
    tracing::warn!(reservation.id = %id, cause = ?Fault::from(error), "reservation could not be settled, trying later");
}
