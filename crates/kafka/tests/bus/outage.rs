//! Without brokers, and with brokers that come late.

use std::time::{Duration, Instant};

use shop_events::Bus;
use shop_telemetry::Metrics;
use shop_testing::eventually;

use crate::handler::{Notebook, event};
use crate::place::{Consuming, bus, cluster, publish, settings};

#[tokio::test]
async fn without_a_broker_a_publish_fails_in_time_and_a_consumer_stops_at_once() {
    let bus = bus(&settings("127.0.0.1:1", ""), &Metrics::new("test"));
    let consumer = Consuming::start(&bus, "one", &Notebook::new());
    let begun = Instant::now();
    bus.publish(&event(1, 1).encode()).await.expect_err("nobody took it");
    bus.check().await.expect_err("nobody is there");
    assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
    let begun = Instant::now();
    consumer.stop().await;
    assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn brokers_may_come_late_and_go_for_a_while() {
    let cluster = cluster();
    cluster.broker_down(1).expect("goes down");
    let bus = bus(&settings(&cluster.bootstrap_servers(), ""), &Metrics::new("test"));
    let handler = Notebook::new();
    let consumer = Consuming::start(&bus, "one", &handler);
    bus.publish(&event(1, 1).encode()).await.expect_err("not yet");
    cluster.broker_up(1).expect("comes up");
    eventually!(within Duration::from_secs(30), bus.publish(&event(1, 1).encode()).await);
    eventually!(within Duration::from_secs(30), handler.quantities(1).contains(&1));
    cluster.broker_down(1).expect("goes down");
    bus.publish(&event(1, 2).encode()).await.expect_err("gone");
    cluster.broker_up(1).expect("comes up");
    eventually!(within Duration::from_secs(30), bus.publish(&event(1, 2).encode()).await);
    publish(&bus, 1, [3]).await;
    eventually!(within Duration::from_secs(30), handler.quantities(1).contains(&3));
    let quantities = handler.quantities(1);
    assert!(quantities.is_sorted() && quantities.contains(&2), "{quantities:?}");
    consumer.stop().await;
}
