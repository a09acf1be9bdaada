//! Events under way all the time, and those who read them: what took effect, and in which order.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use shop_config::Kafka;
use shop_events::{Bus, Envelope, Event, HandleError, Handler};
use shop_kafka::KafkaBus;
use shop_telemetry::Metrics;
use shop_testing::eventually;
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::handler::event;
use crate::place::{Consuming, bus};

const LONG: Duration = Duration::from_mins(2);

/// Products, each the key of events of its own.
const KEYS: i64 = 8;

/// A store with an inbox, which all consumers of a group share: what took effect, in its order, and what came once more.
#[derive(Default)]
pub(crate) struct Ledger {
    seen: Mutex<Seen>,
}

/// The events by id, and what they said by key.
type Seen = (HashSet<Uuid>, BTreeMap<i64, Vec<u32>>);

impl Ledger {
    fn enter(&self, envelope: &Envelope) -> Result<(), HandleError> {
        let Event::StockUpdated(stock) = &envelope.event else {
            return Err(HandleError::Rejected("not about stock".into()));
        };
        let mut seen = self.seen.lock();
        if seen.0.insert(envelope.id) {
            seen.1.entry(stock.product_id).or_default().push(stock.quantity);
        }
        Ok(())
    }

    fn of(&self, product: i64) -> Vec<u32> {
        self.seen.lock().1.get(&product).cloned().unwrap_or_default()
    }
}

#[async_trait]
impl Handler for Ledger {
    async fn handle(&self, envelope: &Envelope) -> Result<(), HandleError> {
        self.enter(envelope)
    }

    fn at_once(&self) -> usize {
        8
    }

    async fn handle_all(&self, envelopes: &[Envelope]) -> Result<(), HandleError> {
        envelopes.iter().try_for_each(|envelope| self.enter(envelope))
    }
}

/// Somebody who publishes what happens to every product, one event of each at a time, and each until it is taken.
pub(crate) struct Publishing {
    goes_on: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<u32>>,
}

impl Publishing {
    /// Goes on where `after` ends, for each product.
    #[expect(clippy::disallowed_methods, reason = "told to end and awaited by `Publishing::stop`")]
    pub(crate) fn start(bus: &Arc<KafkaBus>, after: &BTreeMap<i64, u32>) -> Self {
        let goes_on = Arc::new(AtomicBool::new(true));
        let tasks = (1..=KEYS).map(|product| {
            let (bus, goes_on, mut last) = (bus.clone(), goes_on.clone(), after.get(&product).copied().unwrap_or(0));
            tokio::spawn(async move {
                while goes_on.load(Ordering::Relaxed) {
                    let message = event(product, last + 1).encode();
                    // As the relay does: the same event until the bus has it.
                    while bus.publish(&message).await.is_err() {}
                    last += 1;
                    tokio::task::yield_now().await;
                }
                last
            })
        });
        let tasks = tasks.collect();
        Self { goes_on, tasks }
    }

    /// The last of each product.
    pub(crate) async fn stop(self) -> BTreeMap<i64, u32> {
        self.goes_on.store(false, Ordering::Relaxed);
        let mut last = BTreeMap::new();
        for (product, task) in (1..).zip(self.tasks) {
            last.insert(product, task.await.expect("it ends"));
        }
        last
    }
}

/// Some processes of one group, with a store in common.
pub(crate) struct Group {
    ledger: Arc<Ledger>,
    members: Vec<(Arc<KafkaBus>, Consuming)>,
}

impl Group {
    pub(crate) fn of(settings: &Kafka, ledger: &Arc<Ledger>, members: usize) -> Self {
        let mut group = Self { ledger: ledger.clone(), members: Vec::new() };
        for number in 0..members {
            let id = if settings.group_instance_id.is_empty() { String::new() } else { format!("member-{number}") };
            group.join(&Kafka { group_instance_id: id, ..settings.clone() });
        }
        group
    }

    pub(crate) fn join(&mut self, settings: &Kafka) {
        let bus = bus(settings, &Metrics::new("test"));
        let consuming = Consuming::subscribe(&bus, "one", self.ledger.clone());
        self.members.push((bus, consuming));
    }

    pub(crate) async fn leave(&mut self) {
        let (_, consuming) = self.members.remove(0);
        consuming.stop().await;
    }

    /// The newest of them leaves.
    pub(crate) async fn leave_last(&mut self) {
        let (_, consuming) = self.members.pop().expect("there is one");
        consuming.stop().await;
    }

    /// The bus of one of them.
    pub(crate) fn first(&self) -> &Arc<KafkaBus> {
        &self.members[0].0
    }

    pub(crate) async fn stop(mut self) {
        while !self.members.is_empty() {
            self.leave().await;
        }
    }

    /// Waits until so many more of each product took effect.
    pub(crate) async fn goes_on(&self) {
        let then: Vec<_> = (1..=KEYS).map(|product| self.ledger.of(product).len()).collect();
        eventually!(within LONG, {
            let behind = (1..=KEYS).zip(&then).find(|(product, then)| self.ledger.of(*product).len() < **then + 20);
            behind.map_or(Ok(()), |(product, then)| Err(format!("product {product} stands at {then}")))
        });
    }

    /// Every event up to `last` took effect, once, in the order of its product.
    pub(crate) async fn has_all(&self, last: &BTreeMap<i64, u32>) {
        for (product, last) in last {
            eventually!(within LONG, self.ledger.of(*product).len() >= usize::try_from(*last).expect("few"));
            assert_eq!(self.ledger.of(*product), (1..=*last).collect::<Vec<_>>(), "product {product}");
        }
    }
}
