//! Payments whose stock is known to be held, so that it is not reserved once more when they are paid.
//!
//! What product has said is known here at once, and noted with the payments a little later, many in one statement, for the
//! buyer may be served by another replica when he pays. A note that is lost costs one more call, and nothing else: a
//! reservation that is asked for again is the same one.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use shop_fault::Fault;
use shop_runtime::CancellationToken;
use tokio::sync::Notify;
use uuid::Uuid;

use crate::domain::{Payment, Payments};

/// How long a note waits for others. A buyer takes longer than that to name his card.
const LINGER: Duration = Duration::from_millis(250);

/// Notes that wait at most, so that a store that is away costs no memory without bound.
const MOST_WAITING: usize = 4096;

/// What is known of reservations. Clones share it.
#[derive(Clone)]
pub(crate) struct Held {
    payments: Arc<dyn Payments>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// Said to be held, and not yet noted.
    waiting: Mutex<HashSet<Uuid>>,
    said: Notify,
}

impl Held {
    /// Of these payments.
    pub(super) fn new(payments: Arc<dyn Payments>) -> Self {
        Self { payments, shared: Arc::default() }
    }

    /// Product has said that the stock of this payment is held.
    pub(super) fn note(&self, id: Uuid) {
        let mut waiting = self.shared.waiting.lock();
        if waiting.len() < MOST_WAITING && waiting.insert(id) {
            self.shared.said.notify_one();
        }
    }

    /// Whether its stock is known to be held, for as long as it can still be paid: only its own end, or another payment in
    /// its place, lets go of it.
    pub(super) fn is_known(&self, payment: &Payment) -> bool {
        payment.reserved || self.shared.waiting.lock().contains(&payment.id)
    }

    /// It is paid, or not to be paid any more: nobody asks about its stock again.
    pub(super) fn is_over(&self, id: Uuid) {
        self.shared.waiting.lock().remove(&id);
    }

    /// Notes what is said until `stop`, which has to come after the last request; then what is left.
    pub(crate) async fn run(self, stop: CancellationToken) {
        while stop.run_until_cancelled(self.shared.said.notified()).await.is_some() {
            // None when told to stop, which the loop sees.
            let _ = stop.run_until_cancelled(tokio::time::sleep(LINGER)).await;
            self.flush().await;
        }
        self.flush().await;
    }

    pub(crate) async fn flush(&self) {
        let ids: Vec<_> = self.shared.waiting.lock().iter().copied().collect();
        if ids.is_empty() {
            return;
        }
        if let Err(error) = self.payments.note_reserved(&ids).await {
            let cause = Fault::from(error);
            tracing::warn!(cause = ?cause, payments = ids.len(), "not noted that stock is held: it is asked again");
        }
        let mut waiting = self.shared.waiting.lock();
        for id in ids {
            waiting.remove(&id);
        }
    }
}
