//! The outbox and its relay.

use std::sync::Arc;
use std::time::Duration;

use shop_clock::SystemClock;
use shop_sql::{Relay, Store, outbox};
use shop_telemetry::{Metrics, RequestContext, TraceParent, TraceState, context};
use shop_testing::eventually;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::bus::{Notebook, event};
use crate::open::{append_and_roll_back, in_transaction, places, servers, sqlite};

/// A relay at work, stopped at the end of a test.
struct Running {
    wake: shop_sql::Wake,
    metrics: Metrics,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

#[expect(clippy::disallowed_methods, reason = "stopped and awaited by `Running::stop`")]
fn start(store: &Store, bus: &Arc<Notebook>) -> Running {
    let metrics = Metrics::new("test");
    let relay = Relay::new("test", store.clone(), bus.clone(), Arc::new(SystemClock), &metrics);
    let (wake, stop) = (relay.wake(), CancellationToken::new());
    let task = tokio::spawn(relay.run(stop.clone()));
    Running { wake, metrics, stop, task }
}

impl Running {
    async fn stop(self) {
        self.stop.cancel();
        self.task.await.expect("the relay ends");
    }

    /// The gauge of waiting events as shown to the outside.
    fn gauge(&self) -> Option<f64> {
        let text = self.metrics.render();
        let line = text.lines().find(|line| line.starts_with("test_outbox_pending"))?;
        line.rsplit(' ').next()?.parse().ok()
    }
}

async fn add(store: &Store, product: i64, quantity: u32) {
    in_transaction!(store, conn => outbox::append(conn, &[event(product, quantity)]).await.expect("appends"));
}

/// Adds events of one product in one transaction, more than one statement holds.
async fn add_many(store: &Store, product: i64, quantities: std::ops::Range<u32>) {
    let events: Vec<_> = quantities.map(|quantity| event(product, quantity)).collect();
    in_transaction!(store, conn => outbox::append(conn, &events).await.expect("appends"));
}

async fn pending(store: &Store) -> i64 {
    outbox::pending(store).await.expect("counts")
}

#[tokio::test]
async fn events_of_a_key_leave_in_order_and_the_outbox_ends_empty() {
    for place in places().await {
        let bus = Notebook::new();
        for quantity in 1..=60 {
            add(&place.store, i64::from(quantity % 7), quantity).await;
        }
        add_many(&place.store, 3, 100..140).await;
        assert_eq!(pending(&place.store).await, 100, "{}", place.engine);
        let relay = start(&place.store, &bus);
        eventually!(pending(&place.store).await == 0);
        assert_eq!(bus.taken().len(), 100, "{}", place.engine);
        for product in 0..7 {
            let quantities = bus.quantities(product);
            assert!(quantities.is_sorted(), "{}: {quantities:?}", place.engine);
        }
        eventually!(relay.gauge() == Some(0.0));
        relay.stop().await;
    }
}

#[tokio::test]
async fn what_was_rolled_back_never_leaves() {
    for place in places().await {
        append_and_roll_back(&place.store, &event(1, 1)).await;
        assert_eq!(pending(&place.store).await, 0, "{}", place.engine);
    }
}

#[tokio::test]
async fn a_key_that_is_refused_holds_up_only_itself() {
    for place in places().await {
        let bus = Notebook::new();
        bus.refuse("1");
        // More rows of the refused key than one look reads.
        for quantity in 1..=300 {
            add(&place.store, 1, quantity).await;
        }
        for quantity in 1..=5 {
            add(&place.store, 2, quantity).await;
        }
        let relay = start(&place.store, &bus);
        eventually!(bus.quantities(2).len() == 5);
        eventually!(pending(&place.store).await == 300);
        assert_eq!(bus.quantities(1), [0; 0], "{}", place.engine);
        bus.refuse_nothing();
        eventually!(pending(&place.store).await == 0);
        assert_eq!(bus.quantities(1), (1..=300).collect::<Vec<_>>(), "{}", place.engine);
        relay.stop().await;
    }
}

#[tokio::test]
async fn a_bus_that_is_down_loses_nothing_and_is_not_hammered() {
    for place in places().await {
        let bus = Notebook::new();
        bus.set_down(true);
        let relay = start(&place.store, &bus);
        for quantity in 1..=40 {
            add(&place.store, i64::from(quantity % 3), quantity).await;
            relay.wake.wake();
        }
        eventually!(relay.gauge() == Some(40.0));
        assert_eq!(pending(&place.store).await, 40, "{}", place.engine);
        assert!(bus.attempts() < 60, "{}: {} attempts", place.engine, bus.attempts());
        bus.set_down(false);
        eventually!(pending(&place.store).await == 0);
        for product in 0..3 {
            assert!(bus.quantities(product).is_sorted(), "{}", place.engine);
        }
        relay.stop().await;
    }
}

#[tokio::test]
async fn the_gauge_grows_while_the_bus_keeps_the_relay_waiting() {
    for place in places().await {
        let bus = Notebook::new();
        bus.fall_silent();
        let relay = start(&place.store, &bus);
        add(&place.store, 1, 1).await;
        relay.wake.wake();
        eventually!(bus.attempts() > 0);
        for quantity in 2..=40 {
            add(&place.store, i64::from(quantity), quantity).await;
        }
        eventually!(relay.gauge() == Some(40.0));
        relay.stop().await;
    }
}

/// The bus of this test panics when two events of one key travel at once, which two active relays would soon do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_replicas_one_relays_at_a_time() {
    for place in servers().await {
        let bus = Notebook::new();
        let other = place.replica().await;
        let relays = [start(&place.store, &bus), start(&other, &bus)];
        for quantity in 1..=150 {
            let store = if quantity % 2 == 0 { &place.store } else { &other };
            add(store, i64::from(quantity % 2), quantity).await;
            for relay in &relays {
                relay.wake.wake();
            }
        }
        eventually!(pending(&place.store).await == 0);
        assert_eq!(bus.taken().len(), 150, "{}: nothing twice when nobody dies", place.engine);
        assert!(bus.quantities(0).is_sorted() && bus.quantities(1).is_sorted(), "{}", place.engine);
        for relay in relays {
            relay.stop().await;
        }
    }
}

#[tokio::test]
async fn what_a_dead_relay_left_is_carried_by_the_next() {
    for place in places().await {
        let bus = Notebook::new();
        bus.set_down(true);
        let first = start(&place.store, &bus);
        add(&place.store, 1, 1).await;
        eventually!(bus.attempts() > 0);
        first.task.abort();
        bus.set_down(false);
        let second = start(&place.replica().await, &bus);
        eventually!(pending(&place.store).await == 0);
        assert_eq!(bus.quantities(1), [1], "{}", place.engine);
        second.stop().await;
    }
}

#[tokio::test]
async fn a_wake_spares_the_wait_for_the_next_look() {
    let place = sqlite().await;
    let bus = Notebook::new();
    let relay = start(&place.store, &bus);
    eventually!(relay.gauge() == Some(0.0));
    let begun = std::time::Instant::now();
    for quantity in 1..=20 {
        add(&place.store, 1, quantity).await;
        relay.wake.wake();
        eventually!(bus.taken().len() == quantity as usize);
    }
    // Twenty looks by the clock would take twenty seconds.
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    relay.stop().await;
}

#[tokio::test]
async fn an_event_carries_the_ids_of_its_request() {
    let place = sqlite().await;
    let bus = Notebook::new();
    let trace = TraceParent::random();
    let traceparent = trace.to_string();
    let state = TraceState::beside(Some(&traceparent), [&b"rojo=1,congo=2"[..]]);
    let request = RequestContext::new("request-7", trace).with_state(state.clone());
    context::scope(request, add(&place.store, 1, 1)).await;
    let relay = start(&place.store, &bus);
    eventually!(!bus.taken().is_empty());
    let message = &bus.taken()[0];
    assert_eq!(message.header("x-request-id"), Some("request-7"));
    assert_eq!(message.header("traceparent"), Some(traceparent.as_str()));
    assert_eq!(message.header("tracestate"), Some("rojo=1,congo=2"));
    assert_eq!(message.arrived("memory", "group").1.state, state, "who applies it goes on with both");
    relay.stop().await;
}
