//! Clusters, buses and consumers of the tests.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::consumer::{Consumer as _, StreamConsumer};
use rdkafka::message::{Headers as _, Message as _};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use shop_config::Kafka;
use shop_events::{Bus, Handler, RetryPolicy, Subscription, Topic};
use shop_kafka::KafkaBus;
use shop_telemetry::Metrics;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::handler::{Notebook, event};

/// Partitions of every topic.
pub(crate) const PARTITIONS: i32 = 3;

/// Held by tests that keep the machine busy with brokers of their own, and by those that mind the clock.
pub(crate) static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// A cluster in this process, with the suite's topics.
pub(crate) fn cluster() -> MockCluster<'static, DefaultProducerContext> {
    let cluster = MockCluster::new(1).expect("a mock cluster");
    for topic in Topic::ALL {
        for name in [topic.as_str().to_owned(), format!("{}.dlq", topic.as_str())] {
            cluster.create_topic(&name, PARTITIONS, 1).expect("a topic");
        }
    }
    cluster
}

/// Settings for the brokers at `brokers`, with names of `prefix`.
pub(crate) fn settings(brokers: &str, prefix: &str) -> Kafka {
    Kafka {
        brokers: brokers.split(',').map(str::to_owned).collect(),
        topic_prefix: prefix.to_owned(),
        group_prefix: prefix.to_owned(),
        message_timeout: shop_config::Duration::secs(3),
        session_timeout: shop_config::Duration::secs(6),
        ..Kafka::default()
    }
}

/// A bus that gives up on poison soon.
pub(crate) fn bus(settings: &Kafka, metrics: &Metrics) -> Arc<KafkaBus> {
    let (first, longest) = (Duration::from_millis(5), Duration::from_millis(50));
    let policy = RetryPolicy { attempts: 3, first, longest, ..RetryPolicy::default() };
    KafkaBus::with_policy(settings, "test", metrics, policy).expect("a bus")
}

/// A consumer at work.
pub(crate) struct Consuming {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Consuming {
    /// Subscribes `handler` to stock events, as group `group`.
    pub(crate) fn start(bus: &KafkaBus, group: &str, handler: &Arc<Notebook>) -> Self {
        Self::subscribe(bus, group, handler.clone())
    }

    /// The same with any handler.
    #[expect(clippy::disallowed_methods, reason = "stopped and awaited by `Consuming::stop`")]
    pub(crate) fn subscribe(bus: &KafkaBus, group: &str, handler: Arc<dyn Handler>) -> Self {
        let stop = CancellationToken::new();
        let subscription = Subscription { group: group.to_owned(), topics: vec![Topic::Stock], handler };
        let task = tokio::spawn(bus.subscribe(subscription, stop.clone()));
        Self { stop, task }
    }

    /// Tells it to stop.
    pub(crate) fn ask_to_stop(&self) {
        self.stop.cancel();
    }

    /// Stops it and waits until it has left its group.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.task.await.expect("the consumer ends");
    }
}

/// Publishes the restocking of `quantities` of `product`, in order.
pub(crate) async fn publish(bus: &KafkaBus, product: i64, quantities: impl IntoIterator<Item = u32>) {
    for quantity in quantities {
        bus.publish(&event(product, quantity).encode()).await.expect("publishes");
    }
}

/// A message as somebody else would read it.
#[derive(Debug)]
pub(crate) struct Read {
    pub(crate) key: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) payload: Vec<u8>,
}

impl Read {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// Reads the first `count` messages of a topic, without a group.
pub(crate) async fn read(brokers: &str, topic: &str, count: usize) -> Vec<Read> {
    let consumer: StreamConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "reader")
        .set("enable.auto.commit", "false")
        .create()
        .expect("a consumer");
    let mut partitions = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        partitions.add_partition_offset(topic, partition, Offset::Beginning).expect("an offset");
    }
    consumer.assign(&partitions).expect("assigns");
    let mut read = Vec::new();
    while read.len() < count {
        let message = tokio::time::timeout(Duration::from_secs(15), consumer.recv()).await;
        let message = message.expect("a message in time").expect("a message");
        let text = |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned();
        read.push(Read {
            key: text(message.key()),
            headers: message.headers().map_or_else(Vec::new, |headers| {
                headers.iter().map(|header| (header.key.to_owned(), text(header.value))).collect()
            }),
            payload: message.payload().unwrap_or_default().to_vec(),
        });
    }
    read
}
