//! Old reservations of which nothing came go, and take nothing with them that is not.

use uuid::Uuid;

use super::{add, at, contract, details, hold, line, settle, settlement, stock};
use crate::domain::{EntryPage, Error, Movement, Store};

contract![what_was_given_back_long_ago_is_forgotten_and_what_was_sold_is_not];

/// Looks at all of them, a few at a time; how many were deleted of those closed before this second.
async fn forget(store: &dyn Store, before: i64) -> u64 {
    let (mut after, mut deleted) = (None, 0);
    while let Some(looked) = store.forget_released(at(before), after, 2).await.expect("looks") {
        after = Some(looked.last);
        deleted += looked.deleted;
    }
    deleted
}

async fn what_was_given_back_long_ago_is_forgotten_and_what_was_sold_is_not(store: &dyn Store) {
    let (desk, lamp) = (add(store, &details("desk", 20)).await, add(store, &details("lamp", 20)).await);
    let ids = [(); 7].map(|()| Uuid::new_v4());
    let [given_back, by_event, held, sold, half, late, tombstone] = ids;
    for id in [given_back, by_event, held, sold, half, late] {
        store.reserve(hold(id, [line(&desk, 1), line(&lamp, 1)]), at(2)).await.expect("is held");
    }
    store.release(given_back, at(9)).await.expect("is released");
    store.release(late, at(50)).await.expect("is released");
    store.release(tombstone, at(9)).await.expect("was not there");
    let both = [line(&desk, 1), line(&lamp, 1)];
    for (id, movements) in [
        (by_event, [Movement::Release, Movement::Release]),
        (sold, [Movement::Sell, Movement::Sell]),
        (half, [Movement::Release, Movement::Sell]),
    ] {
        for (line, movement) in both.into_iter().zip(movements) {
            settle(store, &settlement(id, line, movement), at(9)).await.expect("fits");
        }
    }
    let (shelf, moved) = ((stock(store, desk.id).await, stock(store, lamp.id).await), entries(store, desk.id).await);
    assert_eq!(forget(store, 9).await, 0, "nothing is old");
    assert_eq!(forget(store, 50).await, 3);
    assert_eq!(forget(store, 50).await, 0);
    let mut left: Vec<_> = store.reservations(None, at(0), 100).await.expect("listed").iter().map(|r| r.id).collect();
    let mut expected = vec![held, sold, half, late];
    left.sort_unstable();
    expected.sort_unstable();
    assert_eq!(left, expected);
    // The shelf and its ledger are as they were.
    assert_eq!((stock(store, desk.id).await, stock(store, lamp.id).await), shelf);
    assert_eq!(entries(store, desk.id).await, moved);
    assert_eq!(store.drifts().await.expect("looks"), []);
    // What is closed a short while is so still, a refund finds its sale, and what comes again for what is gone does nothing.
    let again = store.reserve(hold(late, [line(&desk, 1)]), at(60)).await;
    assert!(matches!(again, Err(Error::Closed(_))), "{again:?}");
    settle(store, &settlement(sold, both[0], Movement::Restock), at(60)).await.expect("comes back");
    settle(store, &settlement(given_back, both[0], Movement::Release), at(60)).await.expect("is nothing");
    assert!(!store.release(by_event, at(60)).await.expect("is nothing"));
    assert_eq!(stock(store, desk.id).await, (shelf.0.0 + 1, shelf.0.1));
}

async fn entries(store: &dyn Store, product: i64) -> Vec<i64> {
    let page = store.entries(product, &EntryPage { before: None, limit: 100 }).await.expect("listed");
    page.items.iter().map(|entry| entry.id).collect()
}
