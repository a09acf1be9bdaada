//! The same against a real Kafka.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use shop_config::Kafka;
use shop_events::{Bus, Topic};
use shop_telemetry::Metrics;
use shop_testing::{Cable, backend, eventually};

use crate::handler::{Notebook, POISON, event};
use crate::place::{Consuming, PARTITIONS, TURN, bus, publish, read, settings};

const LONG: Duration = Duration::from_mins(1);

#[tokio::test]
async fn topics_are_made_and_events_arrive_once_poison_aside() {
    let Some(place) = backend::kafka().await else { return };
    let metrics = Metrics::new("test");
    let bus = bus(&settings(place.brokers(), place.prefix()), &metrics);
    let handler = Notebook::new();
    let consumer = Consuming::start(&bus, "one", &handler);
    for product in 1..=4 {
        publish(&bus, product, (1..=20).chain([POISON]).chain(21..=25)).await;
    }
    eventually!(within LONG, handler.applied().len() == 100);
    for product in 1..=4 {
        assert_eq!(handler.quantities(product), (1..=25).collect::<Vec<_>>());
    }
    let dead = read(place.brokers(), &format!("{}stock-events.dlq", place.prefix()), 4).await;
    assert!(dead.iter().all(|dead| dead.header("dlq_reason") == Some("no such quantity")));
    // The lag comes with the client's statistics, every few seconds.
    eventually!(within LONG, {
        let text = metrics.render();
        let lags: Vec<_> = text.lines().filter(|line| line.starts_with("kafka_consumer_lag{")).collect();
        !lags.is_empty() && lags.iter().all(|line| line.ends_with(" 0"))
    });
    bus.check().await.expect("the cluster is there");
    consumer.stop().await;
    let next = Notebook::new();
    let consumer = Consuming::start(&bus, "one", &next);
    publish(&bus, 1, [26]).await;
    eventually!(within LONG, next.applied() == [(1, 26)]);
    consumer.stop().await;
    every_topic_has_its_partitions(place.brokers(), place.prefix());
}

fn every_topic_has_its_partitions(brokers: &str, prefix: &str) {
    let client: BaseConsumer = ClientConfig::new().set("bootstrap.servers", brokers).create().expect("a client");
    for topic in Topic::ALL {
        for name in [format!("{prefix}{}", topic.as_str()), format!("{prefix}{}.dlq", topic.as_str())] {
            let metadata = client.fetch_metadata(Some(&name), Duration::from_secs(10)).expect("metadata");
            assert_eq!(metadata.topics()[0].partitions().len(), usize::try_from(PARTITIONS).expect("few"), "{name}");
        }
    }
}

#[tokio::test]
async fn topics_are_made_as_they_are_set() {
    let Some(place) = backend::kafka().await else { return };
    let settings = Kafka {
        replication: 1,
        min_insync_replicas: 1,
        retention: shop_config::Duration::secs(86_400),
        ..settings(place.brokers(), place.prefix())
    };
    bus(&settings, &Metrics::new("test")).publish(&event(1, 1).encode()).await.expect("publishes");
    let client = ClientConfig::new().set("bootstrap.servers", place.brokers()).clone();
    let admin: AdminClient<_> = client.create().expect("a client");
    let name = format!("{}stock-events", place.prefix());
    let asked = [ResourceSpecifier::Topic(&name)];
    let told =
        admin.describe_configs(&asked, &AdminOptions::new()).await.expect("is told").remove(0).expect("is there");
    let value = |key: &str| told.get(key).and_then(|entry| entry.value.clone());
    assert_eq!(value("retention.ms").as_deref(), Some("86400000"));
    assert_eq!(value("min.insync.replicas").as_deref(), Some("1"));
}

/// In their order. What was done and not yet noted at the broker when that went comes once more; an inbox knows it.
fn first_times(handler: &Notebook) -> Vec<u32> {
    let mut seen = std::collections::HashSet::new();
    let mut quantities = handler.quantities(1);
    quantities.retain(|quantity| seen.insert(*quantity));
    quantities
}

#[tokio::test]
async fn a_broker_that_is_killed_and_comes_back_costs_time_only() {
    if backend::kafka().await.is_none() {
        return;
    }
    let Some(own) = backend::Own::start("kafka").await else { return };
    let brokers = own.variable("SHOP_TEST_KAFKA_BROKERS").to_owned();
    let bus = bus(&settings(&brokers, "own."), &Metrics::new("test"));
    let handler = Notebook::new();
    let consumer = Consuming::start(&bus, "one", &handler);
    publish(&bus, 1, 1..=10).await;
    eventually!(within LONG, handler.applied().len() == 10);
    own.kill().await;
    bus.publish(&event(1, 11).encode()).await.expect_err("nobody took it");
    own.resume().await;
    eventually!(within LONG, bus.publish(&event(1, 11).encode()).await);
    publish(&bus, 1, [12]).await;
    eventually!(within LONG, handler.quantities(1).last() == Some(&12));
    assert_eq!(first_times(&handler), (1..=12).collect::<Vec<_>>());
    consumer.stop().await;
}

#[tokio::test]
async fn a_broker_that_vanished_without_a_word_is_left_when_its_name_leads_to_one_that_answers() {
    const WELL: Duration = Duration::from_secs(25);
    let _turn = TURN.lock().await;
    let cable = Cable::to("127.0.0.1:1").await;
    let Some(own) = backend::Own::kafka_at(cable.at()).await else { return };
    let brokers = own.variable("SHOP_TEST_KAFKA_BROKERS").to_owned();
    cable.lead_to(&brokers).await;
    let bus = bus(&settings(&cable.at().to_string(), "own."), &Metrics::new("test"));
    let handler = Notebook::new();
    let consumer = Consuming::start(&bus, "one", &handler);
    publish(&bus, 1, 1..=10).await;
    eventually!(within LONG, handler.applied().len() == 10);
    cable.go_silent();
    bus.publish(&event(1, 11).encode()).await.expect_err("nobody took it");
    bus.check().await.expect_err("nobody answers");
    cable.lead_to(&brokers).await;
    eventually!(within WELL, bus.publish(&event(1, 11).encode()).await);
    publish(&bus, 1, [12]).await;
    eventually!(within WELL, handler.quantities(1).last() == Some(&12));
    assert_eq!(first_times(&handler), (1..=12).collect::<Vec<_>>());
    consumer.stop().await;
}
