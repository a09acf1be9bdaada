//! Three brokers that encrypt and want a login, events under way all the time, and brokers that go and come.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use shop_config::{GroupProtocol, Kafka};
use shop_events::{Bus, Envelope, Event, HandleError, Handler};
use shop_kafka::KafkaBus;
use shop_telemetry::Metrics;
use shop_testing::backend::{Cluster, Listener};
use shop_testing::eventually;
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::handler::event;
use crate::place::{Consuming, TURN, bus};
use crate::secure::good;

const LONG: Duration = Duration::from_mins(2);

/// Products, each the key of events of its own.
const KEYS: i64 = 8;

const TOPIC: &str = "cluster.stock-events";

/// A store with an inbox, which all consumers of a group share: what took effect, in its order, and what came once more.
#[derive(Default)]
struct Ledger {
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
struct Publishing {
    goes_on: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<u32>>,
}

impl Publishing {
    /// Goes on where `after` ends, for each product.
    #[expect(clippy::disallowed_methods, reason = "told to end and awaited by `Publishing::stop`")]
    fn start(bus: &Arc<KafkaBus>, after: &BTreeMap<i64, u32>) -> Self {
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
    async fn stop(self) -> BTreeMap<i64, u32> {
        self.goes_on.store(false, Ordering::Relaxed);
        let mut last = BTreeMap::new();
        for (product, task) in (1..).zip(self.tasks) {
            last.insert(product, task.await.expect("it ends"));
        }
        last
    }
}

/// Some processes of one group, with a store in common.
struct Group {
    ledger: Arc<Ledger>,
    members: Vec<(Arc<KafkaBus>, Consuming)>,
}

impl Group {
    fn of(settings: &Kafka, ledger: &Arc<Ledger>, members: usize) -> Self {
        let mut group = Self { ledger: ledger.clone(), members: Vec::new() };
        for number in 0..members {
            let id = if settings.group_instance_id.is_empty() { String::new() } else { format!("member-{number}") };
            group.join(&Kafka { group_instance_id: id, ..settings.clone() });
        }
        group
    }

    fn join(&mut self, settings: &Kafka) {
        let bus = bus(settings, &Metrics::new("test"));
        let consuming = Consuming::subscribe(&bus, "one", self.ledger.clone());
        self.members.push((bus, consuming));
    }

    async fn leave(&mut self) {
        let (_, consuming) = self.members.remove(0);
        consuming.stop().await;
    }

    async fn stop(mut self) {
        while !self.members.is_empty() {
            self.leave().await;
        }
    }

    /// Waits until so many more of each product took effect.
    async fn goes_on(&self) {
        let then: Vec<_> = (1..=KEYS).map(|product| self.ledger.of(product).len()).collect();
        eventually!(within LONG, {
            let behind = (1..=KEYS).zip(&then).find(|(product, then)| self.ledger.of(*product).len() < **then + 20);
            behind.map_or(Ok(()), |(product, then)| Err(format!("product {product} stands at {then}")))
        });
    }

    /// Every event up to `last` took effect, once, in the order of its product.
    async fn has_all(&self, last: &BTreeMap<i64, u32>) {
        for (product, last) in last {
            eventually!(within LONG, self.ledger.of(*product).len() >= usize::try_from(*last).expect("few"));
            assert_eq!(self.ledger.of(*product), (1..=*last).collect::<Vec<_>>(), "product {product}");
        }
    }
}

fn settings(cluster: &Cluster) -> Kafka {
    Kafka { replication: 3, ..good(cluster, Listener::Secure, "cluster.") }
}

fn plain(cluster: &Cluster) -> ClientConfig {
    ClientConfig::new().set("bootstrap.servers", cluster.at(Listener::Plaintext).join(",")).clone()
}

/// Which broker leads the topic's first partition.
async fn leader(cluster: &Cluster) -> usize {
    let client: BaseConsumer = plain(cluster).create().expect("a client");
    let asked = tokio::task::spawn_blocking(move || client.fetch_metadata(Some(TOPIC), Duration::from_secs(10)));
    let metadata = asked.await.expect("it ends").expect("metadata");
    usize::try_from(metadata.topics()[0].partitions()[0].leader()).expect("there is one")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_is_killed_and_partitions_are_added_and_every_event_takes_effect_once_in_order() {
    let _turn = TURN.lock().await;
    let Some(cluster) = Cluster::start(3).await else { return };
    let (settings, ledger) = (settings(&cluster), Arc::new(Ledger::default()));
    let mut group = Group::of(&settings, &ledger, 2);
    let publishing = Publishing::start(&group.members[0].0, &BTreeMap::new());
    group.goes_on().await;
    let killed = leader(&cluster).await;
    cluster.kill(killed).await;
    group.goes_on().await;
    // One comes and one goes, in the middle of what they do.
    group.join(&settings);
    group.goes_on().await;
    group.leave().await;
    cluster.resume(killed).await;
    group.goes_on().await;
    let last = publishing.stop().await;
    group.has_all(&last).await;

    // Partitions are added while nothing is under way, then the processes start anew: see docs/operations.md.
    group.stop().await;
    let admin: AdminClient<DefaultClientContext> = plain(&cluster).create().expect("a client");
    let doubled = admin.create_partitions(&[NewPartitions::new(TOPIC, 6)], &AdminOptions::new()).await;
    doubled.expect("is told").remove(0).expect("are added");
    let (mut last, mut rounds) = (last, 0);
    // Who starts at once may still hear of three, from a broker that was not told yet.
    while written(&cluster, 3..6).await == 0 {
        rounds += 1;
        assert!(rounds <= 5, "nothing gets into the new partitions");
        let group = Group::of(&settings, &ledger, 2);
        let publishing = Publishing::start(&group.members[0].0, &last);
        group.goes_on().await;
        last = publishing.stop().await;
        group.has_all(&last).await;
        group.stop().await;
    }
}

/// How many messages partitions have.
async fn written(cluster: &Cluster, partitions: std::ops::Range<i32>) -> i64 {
    let client: BaseConsumer = plain(cluster).create().expect("a client");
    let asked = tokio::task::spawn_blocking(move || {
        // One that has no leader yet has nothing.
        partitions.map(|id| client.fetch_watermarks(TOPIC, id, Duration::from_secs(10)).map_or(0, |(_, end)| end)).sum()
    });
    asked.await.expect("it ends")
}

/// Each broker is stopped in order and started again under load, and one of them killed; members keep their names.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes: make kafka-roll"]
async fn all_brokers_are_rolled_and_every_event_takes_effect_once_in_order() {
    let Some(cluster) = Cluster::start(3).await else { return };
    let settings = Kafka { group_instance_id: "named".to_owned(), ..settings(&cluster) };
    roll(&cluster, &settings).await;
}

/// The same with groups that the brokers share out, which Kafka 4.0 and newer do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "wants Kafka 4, takes minutes: make kafka-roll"]
async fn groups_of_the_brokers_are_rolled_through_and_every_event_takes_effect_once_in_order() {
    let Some(cluster) = Cluster::start(3).await else { return };
    let settings = Kafka { group_protocol: GroupProtocol::Consumer, ..settings(&cluster) };
    roll(&cluster, &settings).await;
}

async fn roll(cluster: &Cluster, settings: &Kafka) {
    let ledger = Arc::new(Ledger::default());
    let mut group = Group::of(settings, &ledger, 2);
    let publishing = Publishing::start(&group.members[0].0, &BTreeMap::new());
    group.goes_on().await;
    for broker in 1..=3 {
        cluster.stop(broker).await;
        group.goes_on().await;
        cluster.resume(broker).await;
        group.goes_on().await;
    }
    for _ in 0..2 {
        let killed = leader(cluster).await;
        cluster.kill(killed).await;
        group.goes_on().await;
        let id = if settings.group_instance_id.is_empty() { String::new() } else { "member-9".to_owned() };
        group.join(&Kafka { group_instance_id: id, ..settings.clone() });
        group.goes_on().await;
        // One with a name leaves without a word: its partitions wait for the end of its session.
        let (_, consuming) = group.members.pop().expect("it just joined");
        consuming.stop().await;
        cluster.resume(killed).await;
        group.goes_on().await;
    }
    let last = publishing.stop().await;
    group.has_all(&last).await;
    group.stop().await;
    assert!(last.values().all(|last| *last > 100), "{last:?}");
}
