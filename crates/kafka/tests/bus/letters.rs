//! What cannot take effect: what becomes of it, of those behind it, and how it is tried again.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use shop_events::{Bus, Letter, LetterState, Letters, Message};
use shop_telemetry::Metrics;
use shop_testing::{backend, eventually};

use crate::handler::{Notebook, POISON, event};
use crate::place::{Consuming, bus, cluster, publish, read, settings};

const LONG: Duration = Duration::from_secs(30);

/// What a partition with three keys in it may hold up.
const OTHERS: std::ops::RangeInclusive<i64> = 2..=12;

#[tokio::test]
async fn a_defect_that_one_product_meets_holds_up_no_other_and_costs_no_event() {
    let cluster = cluster();
    let bus = bus(&settings(&cluster.bootstrap_servers(), ""), &Metrics::new("test"));
    let handler = Notebook::new();
    handler.set_broken(true);
    publish(&bus, 1, 1..=3).await;
    for product in OTHERS {
        publish(&bus, product, [1, 2]).await;
    }
    let consumer = Consuming::start(&bus, "one", &handler);
    eventually!(within LONG, handler.applied().len() == 22);
    assert_eq!(handler.quantities(1), [0; 0]);
    // Killed now, nothing of the product is lost.
    consumer.stop().await;
    let consumer = Consuming::start(&bus, "one", &handler);
    let begun = handler.begun();
    eventually!(within LONG, handler.begun() > begun);
    handler.set_broken(false);
    eventually!(within LONG, handler.quantities(1) == [1, 2, 3]);
    consumer.stop().await;
}

#[tokio::test]
async fn an_event_of_a_newer_program_is_passed_over_and_counted() {
    let cluster = cluster();
    let metrics = Metrics::new("test");
    let bus = bus(&settings(&cluster.bootstrap_servers(), ""), &metrics);
    let mut newer = event(1, 1).encode();
    newer.payload = String::from_utf8(newer.payload).expect("JSON").replace("stock.updated", "stock.moved").into();
    bus.publish(&newer).await.expect("publishes");
    publish(&bus, 1, [2]).await;
    let handler = Notebook::new();
    let consumer = Consuming::start(&bus, "one", &handler);
    eventually!(within LONG, handler.applied() == [(1, 2)]);
    let text = metrics.render();
    let counted = r#"kafka_events_passed_over_total{group="one",topic="stock-events"} 1"#;
    assert!(text.contains(counted) && !text.contains("kafka_dead_letters_total{"), "{text}");
    consumer.stop().await;
}

#[tokio::test]
async fn where_nobody_may_bury_the_alarm_is_raised_and_other_products_go_on() {
    let cluster = cluster();
    let metrics = Metrics::new("test");
    let bus = bus(&settings(&cluster.bootstrap_servers(), ""), &metrics);
    publish(&bus, 1, [POISON, 1]).await;
    for product in OTHERS {
        publish(&bus, product, [1, 2]).await;
    }
    // Nothing but dead letters is sent from here on.
    let denied = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    cluster.request_errors(RDKafkaApiKey::Produce, &[denied; 1000]);
    let handler = Notebook::new();
    let consumer = Consuming::start(&bus, "one", &handler);
    eventually!(within LONG, handler.applied().len() == 22);
    let waiting = |count| format!(r#"kafka_dead_letters_waiting{{group="one",topic="stock-events"}} {count}"#);
    eventually!(within LONG, metrics.render().contains(&waiting(1)));
    assert!(metrics.render().contains("kafka_dead_letters_refused_total{"), "{}", metrics.render());
    let told = bus.check().await.expect_err("is told").to_string();
    assert!(told.contains("1 dead letters are not taken, such as stock-events/"), "{told}");
    assert_eq!(handler.quantities(1), [0; 0]);

    cluster.clear_request_errors(RDKafkaApiKey::Produce);
    eventually!(within LONG, handler.quantities(1) == [1]);
    bus.check().await.expect("all is well again");
    assert!(metrics.render().contains(&waiting(0)), "{}", metrics.render());
    consumer.stop().await;
}

#[tokio::test]
async fn a_letter_that_is_tried_again_reaches_who_gave_it_up_and_nobody_else() {
    let cluster = cluster();
    let bus = bus(&settings(&cluster.bootstrap_servers(), ""), &Metrics::new("test"));
    tried_again(&bus, || async { read(&cluster.bootstrap_servers(), "stock-events.dlq", 2).await.len() }).await;
}

#[tokio::test]
async fn a_letter_of_a_real_cluster_is_tried_again() {
    let Some(place) = backend::kafka().await else { return };
    let bus = bus(&settings(place.brokers(), place.prefix()), &Metrics::new("test"));
    let dead = format!("{}stock-events.dlq", place.prefix());
    tried_again(&bus, || async { read(place.brokers(), &dead, 2).await.len() }).await;
}

async fn tried_again(bus: &shop_kafka::KafkaBus, records: impl AsyncFn() -> usize) {
    let (strict, generous) = (Notebook::new(), Notebook::new());
    generous.take_poison();
    let consumers = [Consuming::start(bus, "one", &strict), Consuming::start(bus, "other", &generous)];
    publish(bus, 1, [POISON, 1]).await;
    eventually!(within LONG, strict.applied().len() == 1 && generous.applied().len() == 2);
    let letters = bus.letters(&["one", "other"]);
    let read = letters.read().await.expect("reads");
    let [letter] = read.as_slice() else { panic!("{read:?}") };
    assert_eq!((letter.reason.as_str(), letter.state), ("no such quantity", LetterState::Open));
    assert!(letter.group.ends_with("one") && letter.is_whole && letter.buried_at.is_some(), "{letter:?}");
    assert_eq!(letter.event_type(), Some("stock.updated"));
    assert!(bus.letters(&["other"]).read().await.expect("reads").is_empty());

    strict.take_poison();
    letters.replay(letter).await.expect("is sent again");
    publish(bus, 1, [2]).await;
    eventually!(within LONG, strict.applied() == [(1, 1), (1, POISON), (1, 2)]);
    eventually!(within LONG, generous.quantities(1).last() == Some(&2));
    assert_eq!(generous.applied(), [(1, POISON), (1, 1), (1, 2)], "whom it took effect at is not told again");
    assert_eq!(letters.read().await.expect("reads")[0].state, LetterState::Replayed);
    assert_eq!(records().await, 2, "the letter and its receipt");
    for consumer in consumers {
        consumer.stop().await;
    }
}

#[tokio::test]
async fn a_message_that_leaves_no_room_for_a_reason_is_buried_and_can_be_tried_again() {
    let cluster = cluster();
    let brokers = cluster.bootstrap_servers();
    let bus = bus(&settings(&brokers, ""), &Metrics::new("test"));
    // As much as a client sends by default, so that one more header is too much.
    too_large(&bus, &brokers, "stock-events", 1_000_000).await;
}

#[tokio::test]
async fn a_dead_letter_topic_that_takes_less_stops_nothing() {
    let Some(place) = backend::kafka().await else { return };
    let client: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", place.brokers()).create().expect("a client");
    let dead = format!("{}stock-events.dlq", place.prefix());
    let small = NewTopic::new(&dead, 3, TopicReplication::Fixed(1)).set("max.message.bytes", "1500");
    client.create_topics([&small], &AdminOptions::new()).await.expect("asks").remove(0).expect("is made");
    let bus = bus(&settings(place.brokers(), place.prefix()), &Metrics::new("test"));
    bus.check().await.expect("makes the other topics");
    too_large(&bus, place.brokers(), &format!("{}stock-events", place.prefix()), 5_000).await;
}

/// Sends a message of that many bytes that nobody takes, and one after it.
async fn too_large(bus: &shop_kafka::KafkaBus, brokers: &str, topic: &str, bytes: usize) {
    let Message { key, headers: _, mut payload, .. } = event(1, POISON).encode();
    payload.resize(bytes - key.len() - 100, b' ');
    let producer: FutureProducer = ClientConfig::new().set("bootstrap.servers", brokers).create().expect("a producer");
    let record = FutureRecord::to(topic).key(&key).payload(&payload);
    producer.send(record, LONG).await.expect("is taken");
    publish(bus, 1, [1]).await;
    let handler = Notebook::new();
    let consumer = Consuming::start(bus, "one", &handler);
    eventually!(within LONG, handler.applied() == [(1, 1)]);
    let letters = bus.letters(&["one"]);
    let read: Vec<Letter> = letters.read().await.expect("reads");
    assert_eq!((read.len(), read[0].is_whole, read[0].reason.as_str()), (1, false, "no such quantity"));
    handler.take_poison();
    letters.replay(&read[0]).await.expect("is read where it came from");
    eventually!(within LONG, handler.applied() == [(1, 1), (1, POISON)]);
    consumer.stop().await;
}
