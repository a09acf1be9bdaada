//! Payments that are read again and again while they wait at their provider, which is asked about each once in a while only.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use time::OffsetDateTime;
use tokio::sync::Mutex as Turn;
use uuid::Uuid;

use super::Commands;
use crate::domain::{Error, Payment};

/// How long what the provider said last is told to whoever reads. Pages ask once a second while a buyer waits.
const FRESH: Duration = Duration::from_secs(2);

/// Payments remembered at most; those beyond are asked about each time.
const MOST: usize = 4096;

/// When the provider was last asked about a payment; whoever has it asks now.
type Asked = Arc<Turn<Option<OffsetDateTime>>>;

/// What was asked lately. Clones share it.
#[derive(Clone, Default)]
pub(super) struct Looks {
    asked: Arc<Mutex<HashMap<Uuid, Asked>>>,
}

impl Looks {
    fn of(&self, payment: Uuid, now: OffsetDateTime) -> Asked {
        let mut asked = self.asked.lock();
        if asked.len() >= MOST {
            asked.retain(|_, turn| turn.try_lock().map_or(true, |last| is_fresh(*last, now)));
        }
        if asked.len() >= MOST && !asked.contains_key(&payment) {
            return Asked::default();
        }
        asked.entry(payment).or_default().clone()
    }
}

fn is_fresh(last: Option<OffsetDateTime>, now: OffsetDateTime) -> bool {
    last.is_some_and(|last| now < last + FRESH)
}

impl Commands {
    /// The payment as it is by now, for who may ask as often as he likes: of many at a time one asks the provider, and the others
    /// hear what it said.
    pub(crate) async fn glance(&self, payment: Payment) -> Result<Payment, Error> {
        if !payment.is_at_provider() {
            return Ok(payment);
        }
        let asked = self.looks.of(payment.id, self.clock.now());
        let mut last = asked.lock().await;
        if is_fresh(*last, self.clock.now()) {
            // It was read before that was written down, perhaps.
            return self.find(payment.id).await;
        }
        let payment = self.look(payment).await?;
        *last = Some(self.clock.now());
        Ok(payment)
    }
}
