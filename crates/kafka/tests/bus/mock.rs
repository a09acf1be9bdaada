//! What the bus promises, against a mock cluster.

use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use shop_events::{Bus, Envelope, Message};
use shop_telemetry::Metrics;
use shop_testing::eventually;

use crate::handler::{Notebook, POISON, event};
use crate::place::{Consuming, bus, cluster, publish, read, settings};

#[tokio::test]
async fn a_message_arrives_as_it_was_sent() {
    let cluster = cluster();
    let bus = bus(&settings(&cluster.bootstrap_servers(), ""), &Metrics::new("test"));
    let sent = event(7, 2).encode();
    bus.publish(&sent).await.expect("publishes");
    let read = read(&cluster.bootstrap_servers(), "stock-events", 1).await;
    assert_eq!((&read[0].key, &read[0].payload, &read[0].headers), (&sent.key, &sent.payload, &sent.headers));
    bus.check().await.expect("the cluster is there");
}

#[tokio::test]
async fn a_publish_outlasts_a_broker_that_is_not_ready() {
    let cluster = cluster();
    cluster.request_errors(
        RDKafkaApiKey::Produce,
        &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS, RDKafkaRespErr::RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT],
    );
    let bus = bus(&settings(&cluster.bootstrap_servers(), ""), &Metrics::new("test"));
    bus.publish(&event(7, 2).encode()).await.expect("publishes in the end");
}

#[tokio::test]
async fn events_of_a_key_take_effect_in_order_and_once_per_group() {
    let cluster = cluster();
    let metrics = Metrics::new("test");
    let bus = bus(&settings(&cluster.bootstrap_servers(), ""), &metrics);
    for product in 1..=4 {
        publish(&bus, product, 1..=25).await;
    }
    let (first, other) = (Notebook::new(), Notebook::new());
    let consuming = [Consuming::start(&bus, "one", &first), Consuming::start(&bus, "other", &other)];
    eventually!(within std::time::Duration::from_secs(30), first.applied().len() == 100 && other.applied().len() == 100);
    for product in 1..=4 {
        assert_eq!(first.quantities(product), (1..=25).collect::<Vec<_>>());
    }
    assert!(first.requests().contains(&"request-25".to_owned()), "handlers run under the request's id");
    for consumer in consuming {
        consumer.stop().await;
    }
    // All of it is committed: who comes next gets only what is new.
    let next = Notebook::new();
    let consumer = Consuming::start(&bus, "one", &next);
    publish(&bus, 1, [26]).await;
    eventually!(within std::time::Duration::from_secs(30), !next.applied().is_empty());
    assert_eq!(next.applied(), [(1, 26)]);
    consumer.stop().await;
}

#[tokio::test]
async fn poison_goes_to_the_dead_letters_and_the_next_message_is_handled() {
    let cluster = cluster();
    let metrics = Metrics::new("test");
    let bus = bus(&settings(&cluster.bootstrap_servers(), ""), &metrics);
    let garbage = Message { payload: b"\xff not an event".to_vec(), ..event(2, 1).encode() };
    publish(&bus, 2, [1, POISON]).await;
    bus.publish(&garbage).await.expect("publishes");
    publish(&bus, 2, [3]).await;
    let handler = Notebook::new();
    let consumer = Consuming::start(&bus, "one", &handler);
    eventually!(within std::time::Duration::from_secs(30), handler.applied() == [(2, 1), (2, 3)]);
    let dead = read(&cluster.bootstrap_servers(), "stock-events.dlq", 2).await;
    assert_eq!(dead[0].header("dlq_reason"), Some("no such quantity"));
    assert_eq!((dead[0].header("dlq_topic"), dead[0].header("dlq_offset")), (Some("stock-events"), Some("1")));
    assert_eq!(dead[0].header("dlq_group"), Some("one"));
    let again = Message {
        topic: "stock-events".to_owned(),
        key: dead[0].key.clone(),
        headers: dead[0].headers.clone(),
        payload: dead[0].payload.clone(),
    };
    Envelope::decode(&again).expect("a dead letter is whole: it can be sent again");
    assert_eq!(dead[1].payload, garbage.payload);
    assert!(dead[1].header("dlq_reason").is_some_and(|reason| reason.contains("not a valid event")));
    consumer.stop().await;
    assert!(metrics.render().contains("kafka_dead_letters_total{"), "{}", metrics.render());
}

#[tokio::test]
async fn a_dependency_that_is_down_holds_up_only_its_partition() {
    let cluster = cluster();
    let bus = bus(&settings(&cluster.bootstrap_servers(), ""), &Metrics::new("test"));
    let handler = Notebook::new();
    handler.set_store_down(true);
    // More than a partition may have waiting in memory, so that it is paused and resumed.
    publish(&bus, 1, 1..=400).await;
    let consumer = Consuming::start(&bus, "one", &handler);
    eventually!(within std::time::Duration::from_secs(30), handler.begun() > 3);
    // Products hash to three partitions: one of these is not product 1's.
    for product in [2, 4, 6, 8, 10] {
        publish(&bus, product, [1]).await;
    }
    eventually!(!handler.applied().is_empty());
    assert_eq!(handler.quantities(1), [0; 0]);
    handler.set_store_down(false);
    eventually!(within std::time::Duration::from_secs(30), handler.applied().len() == 405);
    assert_eq!(handler.quantities(1), (1..=400).collect::<Vec<_>>());
    consumer.stop().await;
}

#[tokio::test]
async fn a_stop_lets_the_message_at_hand_finish_and_commits_it() {
    let cluster = cluster();
    let bus = bus(&settings(&cluster.bootstrap_servers(), ""), &Metrics::new("test"));
    publish(&bus, 1, 1..=2).await;
    let handler = Notebook::closed();
    let consumer = Consuming::start(&bus, "one", &handler);
    eventually!(within std::time::Duration::from_secs(30), handler.begun() == 1);
    consumer.ask_to_stop();
    handler.open();
    consumer.stop().await;
    assert_eq!(handler.applied(), [(1, 1)]);
    let next = Notebook::new();
    let consumer = Consuming::start(&bus, "one", &next);
    eventually!(within std::time::Duration::from_secs(30), next.applied() == [(1, 2)]);
    consumer.stop().await;
}

#[tokio::test]
async fn a_stop_while_a_message_waits_leaves_it_for_the_next_consumer() {
    let cluster = cluster();
    let bus = bus(&settings(&cluster.bootstrap_servers(), ""), &Metrics::new("test"));
    publish(&bus, 1, 1..=2).await;
    let handler = Notebook::new();
    handler.set_store_down(true);
    let consumer = Consuming::start(&bus, "one", &handler);
    eventually!(within std::time::Duration::from_secs(30), handler.begun() > 1);
    consumer.stop().await;
    assert_eq!(handler.applied(), []);
    handler.set_store_down(false);
    let consumer = Consuming::start(&bus, "one", &handler);
    eventually!(within std::time::Duration::from_secs(30), handler.applied() == [(1, 1), (1, 2)]);
    consumer.stop().await;
}

#[tokio::test]
async fn a_second_consumer_takes_over_partitions_without_loss() {
    let cluster = cluster();
    let bus = bus(&settings(&cluster.bootstrap_servers(), ""), &Metrics::new("test"));
    let (first, second) = (Notebook::new(), Notebook::new());
    let one = Consuming::start(&bus, "one", &first);
    publish(&bus, 1, 1..=5).await;
    eventually!(within std::time::Duration::from_secs(30), first.applied().len() == 5);
    let two = Consuming::start(&bus, "one", &second);
    // One message a try, to each key in turn and past the poison: both get something once the group is shared out anew.
    let (mut quantity, mut published) = (POISON, vec![(1, 1), (1, 2), (1, 3), (1, 4), (1, 5)]);
    let mut next = async || {
        quantity += 1;
        let product = 1 + i64::from(quantity % 9);
        publish(&bus, product, [quantity]).await;
        published.push((product, quantity));
    };
    eventually!(within std::time::Duration::from_mins(1), {
        next().await;
        !second.applied().is_empty()
    });
    one.stop().await;
    for _ in 0..9 {
        next().await;
    }
    published.sort_unstable();
    eventually!(within std::time::Duration::from_mins(1), {
        let mut applied: Vec<_> = (1..=9)
            .flat_map(|product| {
                let quantities = [first.quantities(product), second.quantities(product)].concat();
                quantities.into_iter().map(move |quantity| (product, quantity))
            })
            .collect();
        applied.sort_unstable();
        applied.dedup();
        if applied == published { Ok(()) } else { Err(format!("{} of {}", applied.len(), published.len())) }
    });
    two.stop().await;
}
