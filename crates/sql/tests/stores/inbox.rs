//! The inbox.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use shop_clock::{Clock, ManualClock, SystemClock, millis};
use shop_sql::{housekeeping, inbox};
use tokio_util::sync::CancellationToken;

use crate::open::{in_transaction, places};

#[tokio::test]
async fn an_event_is_new_once() {
    for place in places().await {
        let id = SystemClock.new_id();
        for expected in [true, false, false] {
            let new = in_transaction!(&place.store, conn => inbox::first_time(conn, id, 1).await.expect("notes"));
            assert_eq!(new, expected, "{}", place.engine);
        }
        let other = SystemClock.new_id();
        assert!(in_transaction!(&place.store, conn => inbox::first_time(conn, other, 1).await.expect("notes")));
    }
}

#[tokio::test]
async fn of_events_that_come_together_those_are_new_that_were_not_there() {
    for place in places().await {
        let ids: Vec<_> = (0..70).map(|_| SystemClock.new_id()).collect();
        let known = ids[3];
        assert!(in_transaction!(&place.store, conn => inbox::first_time(conn, known, 1).await.expect("notes")));
        // In no order, and one of them twice.
        let given: Vec<_> = ids.iter().rev().chain(&ids[5..6]).copied().collect();
        let new = in_transaction!(&place.store, conn => inbox::new_ones(conn, &given, 1).await.expect("notes"));
        let expected: HashSet<_> = ids.iter().filter(|id| **id != known).copied().collect();
        assert_eq!(new, expected, "{}", place.engine);
        let new = in_transaction!(&place.store, conn => inbox::new_ones(conn, &given, 1).await.expect("notes"));
        assert_eq!(new, HashSet::new(), "{}", place.engine);
        assert!(
            in_transaction!(&place.store, conn => inbox::new_ones(conn, &[], 1).await.expect("nothing")).is_empty()
        );
    }
}

#[tokio::test]
async fn of_several_at_once_one_finds_it_new() {
    for place in places().await {
        let id = SystemClock.new_id();
        let tries = (0..8).map(|_| async {
            in_transaction!(&place.store, conn => inbox::first_time(conn, id, 1).await.expect("notes"))
        });
        let new = futures_util::future::join_all(tries).await.into_iter().filter(|new| *new).count();
        assert_eq!(new, 1, "{}", place.engine);
    }
}

#[tokio::test]
async fn an_event_is_known_for_longer_than_its_dead_letter_can_be_tried_again() {
    const DAY: Duration = Duration::from_hours(24);
    for place in places().await {
        let (id, clock) = (SystemClock.new_id(), Arc::new(ManualClock::at(SystemClock.now())));
        let is_new = async || {
            let now = millis(clock.now());
            in_transaction!(&place.store, conn => inbox::first_time(conn, id, now).await.expect("notes"))
        };
        assert!(is_new().await);
        for (days, expected) in [(9, false), (28, false), (9, true)] {
            clock.advance(DAY * days);
            let stop = CancellationToken::new();
            stop.cancel(); // one sweep
            housekeeping(place.store.clone(), clock.clone(), stop).await;
            assert_eq!(is_new().await, expected, "{}: {days} days later", place.engine);
        }
    }
}
