//! A provider calls while others change the payment it calls about.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use shop_clock::ManualClock;
use uuid::Uuid;

use super::checkout::Neighbours;
use crate::application::{self, Bells, Commands, Rung};
use crate::domain::samples::{NOON, limits, pending, usd};
use crate::domain::{
    Bell, Inbox, Payment, Payments, ProviderError, Providers, Record, Reference, Ring, STRIPE, Status, Unheard, Verdict,
};
use crate::infrastructure::memory::{Calm, Memory};

const RING: Uuid = Uuid::from_u128(8);

/// A provider that has the money; while it is asked, others hear older words of it, one at each of the first calls.
struct Overtaken {
    store: Arc<Memory>,
    asked: AtomicUsize,
}

#[async_trait]
impl Bell for Overtaken {
    fn hear(&self, _: &str, _: &[u8]) -> Result<Ring, Unheard> {
        let (reference, payment) = (Some(Reference::new("pi_1")), Some(pending().id));
        Ok(Ring { id: RING, is_of_the_charge: true, reference, payment })
    }

    async fn record(&self, _: &Reference) -> Result<Option<Record>, ProviderError> {
        let url = "https://bank.example/1".to_owned();
        let earlier = [Verdict::Pending, Verdict::ActionRequired { url, until: NOON + Duration::from_mins(5) }];
        if let Some(word) = earlier.get(self.asked.fetch_add(1, Ordering::SeqCst)) {
            self.store.change(pending().id, &|payment| payment.settle(1, word, NOON)).await.expect("settles");
        }
        let verdict = Some(Verdict::Approved { taken: usd(2700) });
        Ok(Some(Record { payment: pending().id, verdict, refunds: Vec::new(), dispute: None }))
    }
}

#[tokio::test]
async fn a_payment_that_changed_while_its_provider_was_asked_is_looked_at_again() {
    let store = Arc::new(Memory::new(Calm));
    store.add(&Payment { provider: STRIPE.to_owned(), ..pending() }).await.expect("adds");
    let begin = |payment: &mut Payment| {
        payment.note(STRIPE, &Reference::new("pi_1"));
        payment.begin(Uuid::from_u128(7), NOON)
    };
    store.change(pending().id, &begin).await.expect("begins");
    let bell = Arc::new(Overtaken { store: store.clone(), asked: AtomicUsize::new(0) });
    let (neighbours, clock) = (Arc::new(Neighbours::default()), Arc::new(ManualClock::at(NOON)));
    let around = application::Neighbours {
        baskets: neighbours.clone(),
        stock: neighbours,
        providers: Providers::default().with_bell(STRIPE, bell.clone()),
        approves_without_token: false,
    };
    let commands = Commands::new(store.clone(), around, clock.clone(), Duration::from_secs(30), limits());
    let bells = Bells::new(commands, store.clone(), clock);
    assert_eq!(bells.ring(STRIPE, "", b"").await.expect("listens"), Rung::Booked);
    let payment = store.get(pending().id).await.expect("reads").expect("there");
    assert_eq!((payment.status, payment.captured_amount()), (Status::Completed, usd(2700)));
    assert!(store.has(RING).await.expect("looks"));
    assert_eq!(bells.ring(STRIPE, "", b"").await.expect("listens"), Rung::Repeated);
}
