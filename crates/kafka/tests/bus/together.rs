//! Messages that wait together: how they are applied, and what one of them that cannot be does to the others.

use std::time::Duration;

use shop_events::{Bus, Message};
use shop_telemetry::Metrics;
use shop_testing::eventually;

use crate::handler::{Notebook, POISON, event};
use crate::place::{Consuming, bus, cluster, publish, read, settings};

const LONG: Duration = Duration::from_secs(30);

#[tokio::test]
async fn what_waits_takes_effect_together_in_order_and_once() {
    let cluster = cluster();
    let bus = bus(&settings(&cluster.bootstrap_servers(), ""), &Metrics::new("test"));
    for product in 1..=4 {
        publish(&bus, product, 1..=25).await;
    }
    let handler = Notebook::of_eight();
    let consumer = Consuming::start(&bus, "one", &handler);
    eventually!(within LONG, handler.applied().len() == 100);
    for product in 1..=4 {
        assert_eq!(handler.quantities(product), (1..=25).collect::<Vec<_>>());
    }
    let together = handler.together();
    assert!(together.iter().all(|count| (2..=8).contains(count)) && together.contains(&8), "{together:?}");
    consumer.stop().await;
    // All of it is committed: who comes next gets only what is new.
    let next = Notebook::of_eight();
    let consumer = Consuming::start(&bus, "one", &next);
    publish(&bus, 1, [26]).await;
    eventually!(within LONG, !next.applied().is_empty());
    assert_eq!(next.applied(), [(1, 26)]);
    consumer.stop().await;
}

#[tokio::test]
async fn poison_among_others_is_buried_alone_and_they_take_effect_once() {
    let cluster = cluster();
    let bus = bus(&settings(&cluster.bootstrap_servers(), ""), &Metrics::new("test"));
    let garbage = Message { payload: b"\xff not an event".to_vec(), ..event(2, 1).encode() };
    publish(&bus, 2, [1, 2, POISON, 3]).await;
    bus.publish(&garbage).await.expect("publishes");
    publish(&bus, 2, 4..=24).await;
    let handler = Notebook::of_eight();
    let consumer = Consuming::start(&bus, "one", &handler);
    eventually!(within LONG, handler.applied().len() == 24);
    assert_eq!(handler.quantities(2), (1..=24).collect::<Vec<_>>());
    assert!(!handler.together().is_empty(), "what comes after it goes together again");
    let dead = read(&cluster.bootstrap_servers(), "stock-events.dlq", 2).await;
    assert_eq!(dead[0].header("dlq_reason"), Some("no such quantity"));
    assert_eq!(dead[1].payload, garbage.payload);
    consumer.stop().await;
}

#[tokio::test]
async fn a_defect_that_one_of_them_meets_holds_up_no_other_product_and_costs_no_event() {
    let cluster = cluster();
    let bus = bus(&settings(&cluster.bootstrap_servers(), ""), &Metrics::new("test"));
    let handler = Notebook::of_eight();
    handler.set_broken(true);
    publish(&bus, 1, 1..=2).await;
    for product in 2..=12 {
        publish(&bus, product, [1, 2]).await;
    }
    publish(&bus, 1, [3]).await;
    let consumer = Consuming::start(&bus, "one", &handler);
    eventually!(within LONG, handler.applied().len() == 22);
    assert_eq!(handler.quantities(1), [0; 0]);
    // Killed now, nothing of the product is lost.
    consumer.stop().await;
    handler.set_broken(false);
    let consumer = Consuming::start(&bus, "one", &handler);
    eventually!(within LONG, handler.quantities(1) == [1, 2, 3]);
    consumer.stop().await;
}

#[tokio::test]
async fn what_a_store_that_is_down_did_not_take_together_takes_effect_when_it_is_back() {
    let cluster = cluster();
    let bus = bus(&settings(&cluster.bootstrap_servers(), ""), &Metrics::new("test"));
    let handler = Notebook::of_eight();
    handler.set_store_down(true);
    publish(&bus, 1, 1..=300).await;
    let consumer = Consuming::start(&bus, "one", &handler);
    eventually!(within LONG, handler.begun() > 1);
    assert_eq!(handler.applied(), []);
    handler.set_store_down(false);
    eventually!(within LONG, handler.applied().len() == 300);
    assert_eq!(handler.quantities(1), (1..=300).collect::<Vec<_>>());
    consumer.stop().await;
}
