//! The ledger: at any moment its sums are the stock and what is reserved, whoever changed them.

use uuid::Uuid;

use super::{add, at, contract, details, hold, line, settle, settlement, stock};
use crate::domain::{Adjustment, EntryKind, EntryPage, Error, Movement, Product, Store};

contract![
    every_change_of_a_life_is_in_the_ledger,
    what_is_refused_or_repeated_leaves_no_entry,
    an_adjustment_is_made_once_and_keeps_promises,
    pages_lead_from_the_newest_to_the_first,
];

async fn entries(store: &dyn Store, product: i64) -> Vec<(EntryKind, i64, i64)> {
    let page = EntryPage { before: None, limit: 100 };
    let slice = store.entries(product, &page).await.expect("are read");
    slice.items.iter().rev().map(|entry| (entry.kind, entry.stock, entry.reserved)).collect()
}

async fn check_sums(store: &dyn Store, product: i64) {
    let entries = entries(store, product).await;
    let sums = entries.iter().fold((0, 0), |sums, (_, stock, reserved)| (sums.0 + stock, sums.1 + reserved));
    assert_eq!(sums, stock(store, product).await, "{entries:?}");
}

fn restocked_to(units: i64) -> impl Fn(&mut Product) -> crate::domain::Result<()> + Sync {
    move |product| {
        let details = crate::domain::Details { stock_quantity: units, ..product.details.clone() };
        product.replace(details, &Some(product.version).into(), at(9))
    }
}

async fn every_change_of_a_life_is_in_the_ledger(store: &dyn Store) {
    use EntryKind::{Adjustment, Release, Reservation, Restock, Sale};
    let desk = add(store, &details("desk", 7)).await;
    let (sold, left) = (Uuid::new_v4(), Uuid::new_v4());
    let mut expected = vec![(Adjustment, 7, 0)];
    for (id, quantity) in [(sold, 3), (left, 2)] {
        store.reserve(hold(id, [line(&desk, quantity)]), at(2)).await.expect("is held");
        expected.push((Reservation, 0, quantity));
        check_sums(store, desk.id).await;
    }
    settle(store, &settlement(sold, line(&desk, 3), Movement::Sell), at(3)).await.expect("is sold");
    store.release(left, at(3)).await.expect("is released");
    settle(store, &settlement(sold, line(&desk, 1), Movement::Restock), at(4)).await.expect("comes back");
    store.change(desk.id, &restocked_to(9)).await.expect("is counted anew");
    check_sums(store, desk.id).await;
    expected.extend([(Sale, -3, -3), (Release, 0, -2), (Restock, 1, 0), (Adjustment, 4, 0)]);
    assert_eq!(entries(store, desk.id).await, expected);
    store.remove(desk.id, &|product| product.check_removable(&None.into())).await.expect("is removed");
    expected.push((Adjustment, -9, 0));
    assert_eq!(entries(store, desk.id).await, expected, "also when it is gone");
    settle(store, &settlement(sold, line(&desk, 1), Movement::Restock), at(5)).await.expect("has nowhere to go");
    assert_eq!(entries(store, desk.id).await, expected);
}

async fn what_is_refused_or_repeated_leaves_no_entry(store: &dyn Store) {
    let desk = add(store, &details("desk", 7)).await;
    let id = Uuid::new_v4();
    for _ in 0..2 {
        store.reserve(hold(id, [line(&desk, 3)]), at(2)).await.expect("is held");
    }
    store.reserve(hold(Uuid::new_v4(), [line(&desk, 5)]), at(2)).await.expect_err("is short");
    let sale = settlement(id, line(&desk, 3), Movement::Sell);
    for sale in [&sale, &sale, &settlement(id, line(&desk, 3), Movement::Sell)] {
        settle(store, sale, at(3)).await.expect("is sold");
    }
    store.release(id, at(4)).await.expect("nothing is held");
    store.change(desk.id, &restocked_to(4)).await.expect("is as it was");
    assert_eq!(entries(store, desk.id).await.len(), 3);
    check_sums(store, desk.id).await;
}

async fn an_adjustment_is_made_once_and_keeps_promises(store: &dyn Store) {
    let desk = add(store, &details("desk", 7)).await;
    store.reserve(hold(Uuid::new_v4(), [line(&desk, 3)]), at(2)).await.expect("is held");
    let adjust = async |operation, delta: i64| {
        let adjustment = Adjustment { delta, reason: "delivery".to_owned(), reference: Some("note 7".to_owned()) };
        let change = |product: &mut Product| product.adjust(delta, &None.into(), at(3));
        store.adjust(operation, desk.id, &adjustment, &change).await
    };
    let operation = Uuid::new_v4();
    for _ in 0..2 {
        let product = adjust(operation, 5).await.expect("is counted in");
        assert_eq!((product.details.stock_quantity, product.version, product.updated_at), (12, 2, at(3)));
    }
    assert_eq!(store.get(desk.id).await.expect("is there").version, 2);
    let refused = adjust(Uuid::new_v4(), -10).await;
    assert!(matches!(refused, Err(Error::StockBelowReserved { reserved: 3, wanted: 2, .. })), "{refused:?}");
    adjust(Uuid::new_v4(), -9).await.expect("all that is not promised");
    assert_eq!(stock(store, desk.id).await, (3, 3));
    check_sums(store, desk.id).await;
    let newest = store.entries(desk.id, &EntryPage { before: None, limit: 1 }).await.expect("is read").items.remove(0);
    assert_eq!((newest.kind, newest.stock, newest.at), (EntryKind::Adjustment, -9, at(3)));
    assert_eq!((newest.reason.as_deref(), newest.reference.as_deref()), (Some("delivery"), Some("note 7")));
}

async fn pages_lead_from_the_newest_to_the_first(store: &dyn Store) {
    let (desk, lamp) = (add(store, &details("desk", 7)).await, add(store, &details("lamp", 7)).await);
    for id in [Uuid::new_v4(), Uuid::new_v4()] {
        store.reserve(hold(id, [line(&desk, 1), line(&lamp, 1)]), at(2)).await.expect("is held");
    }
    let (mut before, mut sizes, mut ids) = (None, Vec::new(), Vec::new());
    loop {
        let page = store.entries(desk.id, &EntryPage { before, limit: 2 }).await.expect("is read");
        assert!(page.items.iter().all(|entry| entry.product == desk.id));
        sizes.push(page.items.len());
        ids.extend(page.items.iter().map(|entry| entry.id));
        before = page.next;
        if before.is_none() {
            break;
        }
    }
    assert_eq!(sizes, [2, 1]);
    assert!(ids.is_sorted_by(|newer, older| newer > older), "{ids:?}");
}
