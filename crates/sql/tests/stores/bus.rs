//! A bus that notes what it takes and fails when told to.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use shop_clock::{Clock, SystemClock};
use shop_events::{Bus, BusError, Context, Envelope, Event, Message, StockOperation, StockUpdated, Subscription};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

#[derive(Default)]
pub(crate) struct Notebook {
    taken: Mutex<Vec<Message>>,
    refused_keys: Mutex<HashSet<String>>,
    down: AtomicBool,
    silent: AtomicBool,
    attempts: AtomicUsize,
    busy_keys: Mutex<HashSet<String>>,
}

impl Notebook {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    pub(crate) fn set_down(&self, down: bool) {
        self.down.store(down, Ordering::SeqCst);
    }

    /// Answers nothing from now on, as a bus does that waits for a consumer.
    pub(crate) fn fall_silent(&self) {
        self.silent.store(true, Ordering::SeqCst);
    }

    pub(crate) fn refuse(&self, key: &str) {
        self.refused_keys.lock().insert(key.to_owned());
    }

    pub(crate) fn refuse_nothing(&self) {
        self.refused_keys.lock().clear();
    }

    pub(crate) fn attempts(&self) -> usize {
        self.attempts.load(Ordering::SeqCst)
    }

    pub(crate) fn taken(&self) -> Vec<Message> {
        self.taken.lock().clone()
    }

    /// What was taken of one key, in order, without repeats: the quantities that [`event`] put in.
    pub(crate) fn quantities(&self, product: i64) -> Vec<i64> {
        let mut seen = Vec::new();
        for message in self.taken().iter().filter(|message| message.key == product.to_string()) {
            let Event::StockUpdated(stock) = Envelope::decode(message).expect("an event").event else { continue };
            let quantity = i64::from(stock.quantity);
            if !seen.contains(&quantity) {
                seen.push(quantity);
            }
        }
        seen
    }
}

#[async_trait]
impl Bus for Notebook {
    async fn publish(&self, message: &Message) -> Result<(), BusError> {
        self.attempts.fetch_add(1, Ordering::SeqCst);
        if self.silent.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        let busy = Busy::new(&self.busy_keys, &message.key);
        tokio::task::yield_now().await;
        let refused = self.down.load(Ordering::SeqCst) || self.refused_keys.lock().contains(&message.key);
        drop(busy);
        if refused {
            return Err(BusError::new("told to fail"));
        }
        self.taken.lock().push(message.clone());
        Ok(())
    }

    fn subscribe(&self, _: Subscription, _: CancellationToken) -> BoxFuture<'static, ()> {
        Box::pin(std::future::ready(()))
    }

    async fn check(&self) -> Result<(), BusError> {
        Ok(())
    }
}

/// An event of a key on its way, until it is dropped: also with the relay that sent it.
struct Busy<'a> {
    keys: &'a Mutex<HashSet<String>>,
    key: &'a str,
}

impl<'a> Busy<'a> {
    fn new(keys: &'a Mutex<HashSet<String>>, key: &'a str) -> Self {
        assert!(keys.lock().insert(key.to_owned()), "two events of key {key} at once");
        Self { keys, key }
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.keys.lock().remove(self.key);
    }
}

/// The event that `quantity` of `product` were restocked.
pub(crate) fn event(product: i64, quantity: u32) -> Envelope {
    Envelope {
        id: SystemClock.new_id(),
        time: SystemClock.now(),
        source: "test".to_owned(),
        event: Event::StockUpdated(StockUpdated {
            product_id: product,
            quantity,
            operation: StockOperation::Increase,
            reason: "test ☕".to_owned(),
            payment_id: Uuid::nil(),
        }),
        context: Context::default(),
    }
}
