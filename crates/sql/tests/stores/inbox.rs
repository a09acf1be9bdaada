//! The inbox.

use shop_clock::{Clock, SystemClock};
use shop_sql::inbox;

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
