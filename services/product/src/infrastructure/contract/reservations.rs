//! Reservations: all lines or none, never more than there is, every event once.

use std::sync::Arc;

use super::{add, at, contract, count_sold, details, hold, line, settle, settlement, stock};
use crate::domain::{EntryKind, EntryPage, Error, Hold, Line, Movement, Product, Sale, Store};
use uuid::Uuid;

contract![
    a_reservation_holds_all_lines,
    a_short_line_holds_nothing,
    a_repeat_holds_nothing_more,
    a_release_gives_back_once_and_for_good,
    a_late_reservation_finds_its_tombstone,
    sold_units_leave_the_shelf_once,
    a_release_by_event_frees_line_by_line,
    restocked_units_come_back_up_to_what_was_sold,
    an_event_that_does_not_fit_is_refused_and_may_come_again,
    sales_are_counted_once,
    a_sale_outlives_its_product,
    a_buyer_who_changes_his_order_is_not_locked_out_by_himself,
    what_was_sold_is_not_replaced,
    what_is_replaced_before_it_came_is_closed,
    a_refused_replacement_keeps_what_was_held,
    a_refund_that_overtakes_its_sale_loses_no_unit,
    a_sale_counts_its_units_itself,
    events_that_come_together_do_what_each_would_do_alone,
    an_event_that_does_not_fit_keeps_those_beside_it_for_another_try,
    payments_that_come_together_are_counted_each_once,
];

async fn held(store: &dyn Store, product: &Product, quantity: i64) -> Uuid {
    let id = Uuid::new_v4();
    assert!(store.reserve(hold(id, [line(product, quantity)]), at(2)).await.expect("is held"));
    id
}

async fn a_reservation_holds_all_lines(store: &dyn Store) {
    let (desk, lamp) = (add(store, &details("desk", 7)).await, add(store, &details("lamp", 2)).await);
    let id = Uuid::new_v4();
    assert!(store.reserve(hold(id, [line(&lamp, 2), line(&desk, 3)]), at(2)).await.expect("is held"));
    assert_eq!((stock(store, desk.id).await, stock(store, lamp.id).await), ((7, 3), (2, 2)));
    let read = store.get(desk.id).await.expect("is there");
    assert_eq!((read.version, read.updated_at), (desk.version, desk.updated_at), "a reservation is no edit");
}

async fn a_short_line_holds_nothing(store: &dyn Store) {
    let (desk, lamp) = (add(store, &details("desk", 7)).await, add(store, &details("lamp", 2)).await);
    let id = Uuid::new_v4();
    let gone = Line { product: lamp.id + 100, quantity: 1 };
    let refused = store.reserve(hold(id, [line(&desk, 1), line(&lamp, 3), gone]), at(2)).await;
    let Err(Error::Insufficient(short)) = refused else { panic!("not refused: {refused:?}") };
    let named: Vec<_> = short.iter().map(|short| (short.product, short.wanted, short.available)).collect();
    assert_eq!(named, [(lamp.id, 3, Some(2)), (gone.product, 1, None)]);
    assert_eq!((stock(store, desk.id).await, stock(store, lamp.id).await), ((7, 0), (2, 0)));
    // Nothing of the attempt is left: the same id may try again with less.
    assert!(store.reserve(hold(id, [line(&desk, 1)]), at(3)).await.expect("is held"));
}

async fn a_repeat_holds_nothing_more(store: &dyn Store) {
    let desk = add(store, &details("desk", 7)).await;
    let id = held(store, &desk, 3).await;
    assert!(!store.reserve(hold(id, [line(&desk, 3)]), at(3)).await.expect("stands already"));
    let other = store.reserve(hold(id, [line(&desk, 4)]), at(3)).await;
    assert!(matches!(other, Err(Error::OtherLines(_))), "{other:?}");
    assert_eq!(stock(store, desk.id).await, (7, 3));
}

async fn a_release_gives_back_once_and_for_good(store: &dyn Store) {
    let desk = add(store, &details("desk", 7)).await;
    let id = held(store, &desk, 3).await;
    assert!(store.release(id, at(3)).await.expect("is released"));
    assert!(!store.release(id, at(3)).await.expect("a repeat"));
    assert_eq!(stock(store, desk.id).await, (7, 0));
    let again = store.reserve(hold(id, [line(&desk, 3)]), at(4)).await;
    assert!(matches!(again, Err(Error::Closed(_))), "{again:?}");
}

async fn a_late_reservation_finds_its_tombstone(store: &dyn Store) {
    let desk = add(store, &details("desk", 7)).await;
    let (by_call, by_event) = (Uuid::new_v4(), Uuid::new_v4());
    assert!(!store.release(by_call, at(2)).await.expect("is remembered"));
    let release = settlement(by_event, line(&desk, 1), Movement::Release);
    settle(store, &release, at(2)).await.expect("is remembered");
    for id in [by_call, by_event] {
        let late = store.reserve(hold(id, [line(&desk, 1)]), at(3)).await;
        assert!(matches!(late, Err(Error::Closed(_))), "{late:?}");
    }
    assert_eq!(stock(store, desk.id).await, (7, 0));
}

async fn sold_units_leave_the_shelf_once(store: &dyn Store) {
    let desk = add(store, &details("desk", 7)).await;
    let id = held(store, &desk, 3).await;
    let sale = settlement(id, line(&desk, 3), Movement::Sell);
    let repeat = settlement(id, line(&desk, 3), Movement::Sell);
    for sale in [&sale, &sale, &repeat] {
        settle(store, sale, at(5)).await.expect("is sold");
        assert_eq!(stock(store, desk.id).await, (4, 0));
    }
    let read = store.get(desk.id).await.expect("is there");
    assert_eq!((read.version, read.updated_at), (2, at(5)), "what an editor would overwrite has changed");
    assert!(!store.release(id, at(6)).await.expect("nothing is held"));
    assert_eq!(stock(store, desk.id).await, (4, 0));
}

async fn a_release_by_event_frees_line_by_line(store: &dyn Store) {
    let (desk, lamp) = (add(store, &details("desk", 7)).await, add(store, &details("lamp", 2)).await);
    let id = Uuid::new_v4();
    store.reserve(hold(id, [line(&desk, 3), line(&lamp, 1)]), at(2)).await.expect("is held");
    settle(store, &settlement(id, line(&desk, 3), Movement::Release), at(3)).await.expect("is released");
    assert_eq!((stock(store, desk.id).await, stock(store, lamp.id).await), ((7, 0), (2, 1)));
    settle(store, &settlement(id, line(&lamp, 1), Movement::Release), at(3)).await.expect("is released");
    assert_eq!(stock(store, lamp.id).await, (2, 0));
    let other = Line { product: lamp.id + 100, quantity: 1 };
    settle(store, &settlement(id, other, Movement::Release), at(3)).await.expect("nothing was held");
}

async fn restocked_units_come_back_up_to_what_was_sold(store: &dyn Store) {
    let desk = add(store, &details("desk", 7)).await;
    let id = held(store, &desk, 3).await;
    settle(store, &settlement(id, line(&desk, 3), Movement::Sell), at(3)).await.expect("is sold");
    let back = settlement(id, line(&desk, 2), Movement::Restock);
    for back in [&back, &back] {
        settle(store, back, at(4)).await.expect("comes back");
        assert_eq!(stock(store, desk.id).await, (6, 0));
    }
    settle(store, &settlement(id, line(&desk, 2), Movement::Restock), at(5)).await.expect("comes back");
    assert_eq!(stock(store, desk.id).await, (7, 0));
}

async fn an_event_that_does_not_fit_is_refused_and_may_come_again(store: &dyn Store) {
    let desk = add(store, &details("desk", 7)).await;
    let id = Uuid::new_v4();
    let sale = settlement(id, line(&desk, 3), Movement::Sell);
    let refused = settle(store, &sale, at(3)).await;
    assert!(matches!(refused, Err(Error::Unfit { .. })), "{refused:?}");
    store.reserve(hold(id, [line(&desk, 3)]), at(3)).await.expect("is held");
    settle(store, &sale, at(4)).await.expect("the refusal was not remembered");
    assert_eq!(stock(store, desk.id).await, (4, 0));
}

async fn sales_are_counted_once(store: &dyn Store) {
    let (desk, lamp) = (add(store, &details("desk", 7)).await, add(store, &details("lamp", 2)).await);
    let event = Uuid::new_v4();
    let gone = Line { product: lamp.id + 100, quantity: 5 };
    for _ in 0..2 {
        count_sold(store, event, Uuid::new_v4(), &[line(&desk, 3), line(&lamp, 1), gone], at(3))
            .await
            .expect("is counted");
    }
    count_sold(store, Uuid::new_v4(), Uuid::new_v4(), &[line(&desk, 1)], at(3)).await.expect("is counted");
    count_sold(store, Uuid::new_v4(), Uuid::new_v4(), &[], at(3)).await.expect("nothing to count");
    let sold =
        [store.get(desk.id).await, store.get(lamp.id).await].map(|product| product.expect("is there").units_sold);
    assert_eq!(sold, [4, 1]);
}

async fn a_sale_outlives_its_product(store: &dyn Store) {
    let desk = add(store, &details("desk", 3)).await;
    let id = held(store, &desk, 3).await;
    settle(store, &settlement(id, line(&desk, 3), Movement::Sell), at(3)).await.expect("is sold");
    store.remove(desk.id, &|product| product.check_removable(&None.into())).await.expect("is removed");
    settle(store, &settlement(id, line(&desk, 1), Movement::Restock), at(4)).await.expect("has nowhere to go");
}

fn replacing<const N: usize>(id: Uuid, replaces: Uuid, lines: [Line; N]) -> Hold {
    Hold { replaces: Some(replaces), ..hold(id, lines) }
}

async fn a_buyer_who_changes_his_order_is_not_locked_out_by_himself(store: &dyn Store) {
    let (desk, lamp) = (add(store, &details("desk", 3)).await, add(store, &details("lamp", 1)).await);
    let first = held(store, &desk, 3).await;
    let second = replacing(Uuid::new_v4(), first, [line(&desk, 2), line(&lamp, 1)]);
    assert!(store.reserve(second.clone(), at(3)).await.expect("takes the place of the first"));
    assert_eq!((stock(store, desk.id).await, stock(store, lamp.id).await), ((3, 2), (1, 1)));
    assert!(!store.reserve(second, at(3)).await.expect("a repeat"));
    let again = store.reserve(hold(first, [line(&desk, 1)]), at(4)).await;
    assert!(matches!(again, Err(Error::Closed(_))), "{again:?}");
    assert!(!store.release(first, at(4)).await.expect("nothing is left of it"));
    assert_eq!(stock(store, desk.id).await, (3, 2));
    // Under a second call of its own, for the same goods: nothing else moves.
    let late = settle(store, &settlement(first, line(&desk, 3), Movement::Release), at(5)).await;
    late.expect("its own event comes late");
    assert_eq!(stock(store, desk.id).await, (3, 2));
}

async fn what_was_sold_is_not_replaced(store: &dyn Store) {
    let desk = add(store, &details("desk", 7)).await;
    let first = held(store, &desk, 3).await;
    settle(store, &settlement(first, line(&desk, 3), Movement::Sell), at(3)).await.expect("is sold");
    let second = Uuid::new_v4();
    let refused = store.reserve(replacing(second, first, [line(&desk, 1)]), at(4)).await;
    assert!(matches!(refused, Err(Error::Sold(id)) if id == first), "{refused:?}");
    assert_eq!(stock(store, desk.id).await, (4, 0));
    assert!(store.reserve(hold(second, [line(&desk, 1)]), at(5)).await.expect("nothing of the attempt is left"));
}

async fn what_is_replaced_before_it_came_is_closed(store: &dyn Store) {
    let desk = add(store, &details("desk", 7)).await;
    let (late, second) = (Uuid::new_v4(), Uuid::new_v4());
    assert!(store.reserve(replacing(second, late, [line(&desk, 1)]), at(2)).await.expect("is held"));
    let refused = store.reserve(hold(late, [line(&desk, 1)]), at(3)).await;
    assert!(matches!(refused, Err(Error::Closed(_))), "{refused:?}");
    assert!(store.reserve(replacing(Uuid::new_v4(), late, [line(&desk, 1)]), at(4)).await.expect("closed already"));
    assert_eq!(stock(store, desk.id).await, (7, 2));
}

async fn a_refused_replacement_keeps_what_was_held(store: &dyn Store) {
    let (desk, lamp) = (add(store, &details("desk", 3)).await, add(store, &details("lamp", 1)).await);
    let first = held(store, &desk, 3).await;
    let refused = store.reserve(replacing(Uuid::new_v4(), first, [line(&desk, 1), line(&lamp, 2)]), at(3)).await;
    assert!(matches!(&refused, Err(Error::Insufficient(short)) if short.len() == 1), "{refused:?}");
    assert_eq!(stock(store, desk.id).await, (3, 3));
    assert!(store.release(first, at(4)).await.expect("was held all the time"));
    let unknown = Uuid::new_v4();
    store.reserve(replacing(Uuid::new_v4(), unknown, [line(&lamp, 2)]), at(5)).await.expect_err("is short");
    assert!(store.reserve(hold(unknown, [line(&lamp, 1)]), at(6)).await.expect("no tombstone of the attempt is left"));
}

async fn a_refund_that_overtakes_its_sale_loses_no_unit(store: &dyn Store) {
    let desk = add(store, &details("desk", 7)).await;
    let id = held(store, &desk, 3).await;
    settle(store, &settlement(id, line(&desk, 2), Movement::Restock), at(3)).await.expect("comes first");
    assert_eq!(store.get(desk.id).await.expect("is there").available(), 6, "as it will be");
    assert!(!store.release(id, at(3)).await.expect("is under way to its buyer"));
    settle(store, &settlement(id, line(&desk, 3), Movement::Sell), at(4)).await.expect("comes second");
    assert_eq!(stock(store, desk.id).await, (6, 0));
    assert_eq!(store.get(desk.id).await.expect("is there").units_sold, 3);
}

/// The payment's event tells of the same units, before or after.
async fn a_sale_counts_its_units_itself(store: &dyn Store) {
    let desk = add(store, &details("desk", 7)).await;
    for told_first in [true, false] {
        let id = held(store, &desk, 3).await;
        let sale = settlement(id, line(&desk, 3), Movement::Sell);
        if !told_first {
            settle(store, &sale, at(3)).await.expect("is sold");
        }
        count_sold(store, Uuid::new_v4(), id, &[line(&desk, 3)], at(3)).await.expect("is known");
        settle(store, &sale, at(3)).await.expect("is sold");
    }
    assert_eq!(store.get(desk.id).await.expect("is there").units_sold, 6);
}

async fn events_that_come_together_do_what_each_would_do_alone(store: &dyn Store) {
    let (desk, lamp) = (add(store, &details("desk", 7)).await, add(store, &details("lamp", 5)).await);
    let both = [line(&desk, 3), line(&lamp, 1)];
    let (sold, dropped, never) = (Uuid::new_v4(), Uuid::new_v4(), Uuid::new_v4());
    for id in [sold, dropped] {
        store.reserve(hold(id, both), at(2)).await.expect("is held");
    }
    let sale = settlement(sold, both[0], Movement::Sell);
    let events = [
        sale,
        settlement(dropped, both[0], Movement::Release),
        settlement(never, both[0], Movement::Release),
        settlement(sold, both[1], Movement::Sell),
        settlement(sold, line(&desk, 2), Movement::Restock),
        // Sent twice: the sender did not hear that the first one arrived.
        sale,
    ];
    for _ in 0..2 {
        store.settle(&events, at(3)).await.expect("take effect, or are known");
        assert_eq!((stock(store, desk.id).await, stock(store, lamp.id).await), ((6, 0), (4, 1)));
    }
    let (desk, lamp) = (store.get(desk.id).await.expect("is there"), store.get(lamp.id).await.expect("is there"));
    assert_eq!((desk.units_sold, desk.updated_at, lamp.units_sold), (3, at(3), 1));
    let entries = store.entries(desk.id, &EntryPage { before: None, limit: 3 }).await.expect("are listed").items;
    let moved: Vec<_> = entries.iter().map(|entry| (entry.kind, entry.stock, entry.reserved)).collect();
    assert_eq!(moved, [(EntryKind::Restock, 2, 0), (EntryKind::Release, 0, -3), (EntryKind::Sale, -3, -3)]);
    let late = store.reserve(hold(never, both), at(4)).await;
    assert!(matches!(late, Err(Error::Closed(_))), "{late:?}");
    assert!(store.release(dropped, at(4)).await.is_ok_and(|gave| !gave), "closed: its lamp has an event of its own");
    assert_eq!(store.drifts().await.expect("are looked for"), []);
}

async fn an_event_that_does_not_fit_keeps_those_beside_it_for_another_try(store: &dyn Store) {
    let desk = add(store, &details("desk", 7)).await;
    let sale = settlement(held(store, &desk, 3).await, line(&desk, 3), Movement::Sell);
    let stray = settlement(Uuid::new_v4(), line(&desk, 1), Movement::Sell);
    let refused = store.settle(&[sale, stray], at(3)).await;
    assert!(matches!(refused, Err(Error::Unfit { .. })), "{refused:?}");
    assert_eq!(stock(store, desk.id).await, (7, 3), "all or nothing");
    settle(store, &sale, at(4)).await.expect("was not remembered");
    assert_eq!(stock(store, desk.id).await, (4, 0));
}

async fn payments_that_come_together_are_counted_each_once(store: &dyn Store) {
    let (desk, lamp) = (add(store, &details("desk", 7)).await, add(store, &details("lamp", 7)).await);
    let sale = |reservation, lines: &[Line]| Sale { event: Uuid::new_v4(), reservation, lines: lines.to_vec() };
    let counted_by_its_sale = held(store, &desk, 3).await;
    let old = sale(Uuid::new_v4(), &[line(&desk, 1), line(&lamp, 2)]);
    let sales =
        [old.clone(), sale(counted_by_its_sale, &[line(&desk, 3)]), sale(Uuid::new_v4(), &[line(&desk, 1)]), old];
    for _ in 0..2 {
        store.count_sold(&sales, at(3)).await.expect("are counted, or known");
    }
    let sold = [store.get(desk.id).await, store.get(lamp.id).await];
    assert_eq!(sold.map(|product| product.expect("is there").units_sold), [2, 2]);
}

/// Forty buyers of one of seven units and of one of plenty, listed in either order.
async fn forty_reservers_of_seven_units(store: Arc<dyn Store>) {
    let (few, many) = (add(store.as_ref(), &details("few", 7)).await, add(store.as_ref(), &details("many", 400)).await);
    let mut buyers = tokio::task::JoinSet::new();
    for buyer in 0..40 {
        let store = store.clone();
        let wanted = if buyer % 2 == 0 { [line(&few, 1), line(&many, 2)] } else { [line(&many, 2), line(&few, 1)] };
        buyers.spawn(async move { store.reserve(hold(Uuid::new_v4(), wanted), at(2)).await });
    }
    let outcomes = buyers.join_all().await;
    let held = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    assert_eq!(held, 7, "{outcomes:?}");
    for refused in outcomes.iter().filter_map(|outcome| outcome.as_ref().err()) {
        assert!(matches!(refused, Error::Insufficient(_)), "{refused:?}");
    }
    assert_eq!(stock(store.as_ref(), few.id).await, (7, 7));
    assert_eq!(stock(store.as_ref(), many.id).await, (400, 14));
}

/// Twelve sales of three products, told to eight consumers at once, each in an order of its own.
async fn the_same_events_told_to_several_at_once_take_effect_once(store: Arc<dyn Store>) {
    let mut products = Vec::new();
    for name in ["desk", "lamp", "rug"] {
        products.push(add(store.as_ref(), &details(name, 100)).await);
    }
    let mut sales = Vec::new();
    for n in 0..12 {
        let product = &products[n % 3];
        sales.push(settlement(held(store.as_ref(), product, 2).await, line(product, 2), Movement::Sell));
    }
    let mut deliveries = tokio::task::JoinSet::new();
    for n in 0..8 {
        let (store, mut sales) = (store.clone(), sales.clone());
        sales.rotate_left(n);
        if n % 2 == 1 {
            sales.reverse();
        }
        deliveries.spawn(async move { store.settle(&sales, at(3)).await });
    }
    for outcome in deliveries.join_all().await {
        outcome.expect("take effect or are known");
    }
    for product in products {
        let product = store.get(product.id).await.expect("is there");
        assert_eq!((product.details.stock_quantity, product.reserved_quantity, product.units_sold), (92, 0, 8));
    }
}

/// The same sale and the same count delivered eight times at once.
async fn events_delivered_at_once_take_effect_once(store: Arc<dyn Store>) {
    let desk = add(store.as_ref(), &details("desk", 7)).await;
    let sale = settlement(held(store.as_ref(), &desk, 3).await, line(&desk, 3), Movement::Sell);
    let event = Uuid::new_v4();
    let mut deliveries = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (store, sold) = (store.clone(), [line(&desk, 3)]);
        deliveries.spawn(async move {
            settle(store.as_ref(), &sale, at(3)).await?;
            count_sold(store.as_ref(), event, Uuid::new_v4(), &sold, at(3)).await
        });
    }
    for outcome in deliveries.join_all().await {
        outcome.expect("takes effect or is known");
    }
    assert_eq!(stock(store.as_ref(), desk.id).await, (4, 0));
    assert_eq!(store.get(desk.id).await.expect("is there").units_sold, 6, "by the sale, and by an event of another");
}

#[tokio::test(flavor = "multi_thread")]
async fn crowds_on_sqlite() {
    let folder = tempfile::tempdir().expect("a folder");
    let opened = super::sqlite(folder.path()).await;
    forty_reservers_of_seven_units(opened.store.clone()).await;
    the_same_events_told_to_several_at_once_take_effect_once(opened.store.clone()).await;
    events_delivered_at_once_take_effect_once(opened.store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn crowds_on_postgres() {
    let Some((_database, opened)) = super::postgres().await else { return };
    forty_reservers_of_seven_units(opened.store.clone()).await;
    the_same_events_told_to_several_at_once_take_effect_once(opened.store.clone()).await;
    events_delivered_at_once_take_effect_once(opened.store).await;
}
