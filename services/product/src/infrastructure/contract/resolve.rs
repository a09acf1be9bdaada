//! Reservations settled by their payment's word: as if its events had come, once, and in any order with them.

use uuid::Uuid;

use super::{add, at, contract, details, hold, line, settle, stock};
use crate::domain::{Hold, Line, Lines, Movement, Outcome, Product, Reach, Resolved, Settlement, Store};

contract![
    what_is_held_too_long_is_found_page_by_page,
    a_sale_nobody_heard_of_is_entered_once_and_its_event_may_still_come,
    units_of_a_payment_that_failed_are_free_again,
    a_reservation_without_a_payment_does_not_live_for_ever,
    what_was_paid_back_with_its_units_is_back_on_the_shelf,
    units_that_came_back_before_their_sale_was_heard_of_are_there_once,
    what_events_settled_otherwise_is_left_to_people,
    lines_that_events_left_half_way_are_found_too,
    an_event_at_the_same_moment_changes_nothing,
    all_is_brought_to_what_the_payment_says_whatever_was_restored,
];

fn lines<const N: usize>(lines: [Line; N]) -> Lines {
    Lines::parse(lines.to_vec()).expect("valid lines")
}

/// Nothing differs from what was booked.
async fn all_is_booked(store: &dyn Store) {
    assert_eq!(store.drifts().await.expect("looks"), []);
}

async fn held(store: &dyn Store, made: i64, held: &[Line]) -> Uuid {
    let id = Uuid::new_v4();
    let asked = Hold::parse(id, None, held.to_vec()).expect("valid lines");
    assert!(store.reserve(asked, at(made)).await.expect("is held"));
    id
}

fn event(reservation: Uuid, line: Line, movement: Movement) -> Settlement {
    Settlement { event: Uuid::new_v4(), reservation, line, movement }
}

fn sold(product: &Product, quantity: i64) -> Outcome {
    Outcome::Sold(lines([line(product, quantity)]))
}

async fn found(store: &dyn Store, before: i64) -> Vec<Uuid> {
    store.held_since(at(before), None, 10).await.expect("looks").into_iter().map(|(_, id)| id).collect()
}

async fn what_is_held_too_long_is_found_page_by_page(store: &dyn Store) {
    let desk = add(store, &details("desk", 20)).await;
    let mut all = Vec::new();
    for made in 1..=5 {
        all.push(held(store, made, &[line(&desk, 1)]).await);
    }
    store.release(all[1], at(9)).await.expect("is released");
    let expected = [all[0], all[2], all[3]];
    assert_eq!(found(store, 4).await, expected);
    let (mut after, mut paged) = (None, Vec::new());
    while let Some(one) = store.held_since(at(4), after, 1).await.expect("looks").pop() {
        paged.push(one.1);
        after = Some(one);
    }
    assert_eq!(paged, expected);
}

async fn a_sale_nobody_heard_of_is_entered_once_and_its_event_may_still_come(store: &dyn Store) {
    let desk = add(store, &details("desk", 7)).await;
    let id = held(store, 2, &[line(&desk, 3)]).await;
    let resolved = store.resolve(id, &sold(&desk, 3), Reach::Held, at(9)).await.expect("is settled");
    assert_eq!((resolved.lines.len(), stock(store, desk.id).await), (1, (4, 0)));
    assert_eq!(store.resolve(id, &sold(&desk, 3), Reach::Held, at(9)).await.expect("again"), Resolved::default());
    settle(store, &event(id, line(&desk, 3), Movement::Sell), at(10)).await.expect("comes late, and does nothing");
    assert_eq!((found(store, 99).await.len(), stock(store, desk.id).await), (0, (4, 0)));
    settle(store, &event(id, line(&desk, 3), Movement::Restock), at(11)).await.expect("what follows it does something");
    assert_eq!(stock(store, desk.id).await, (7, 0));
}

async fn units_of_a_payment_that_failed_are_free_again(store: &dyn Store) {
    let desk = add(store, &details("desk", 7)).await;
    let id = held(store, 2, &[line(&desk, 3)]).await;
    store.resolve(id, &Outcome::Released, Reach::Held, at(9)).await.expect("is settled");
    settle(store, &event(id, line(&desk, 3), Movement::Release), at(10)).await.expect("comes late, and does nothing");
    assert_eq!(stock(store, desk.id).await, (7, 0));
    store.reserve(hold(id, [line(&desk, 3)]), at(11)).await.expect_err("is closed for good");
}

async fn a_reservation_without_a_payment_does_not_live_for_ever(store: &dyn Store) {
    let desk = add(store, &details("desk", 7)).await;
    let id = held(store, 2, &[line(&desk, 7)]).await;
    store.resolve(id, &Outcome::Unknown, Reach::Held, at(9)).await.expect("is settled");
    assert_eq!(stock(store, desk.id).await, (7, 0));
}

async fn what_was_paid_back_with_its_units_is_back_on_the_shelf(store: &dyn Store) {
    let desk = add(store, &details("desk", 7)).await;
    let id = held(store, 2, &[line(&desk, 3)]).await;
    let returned = Outcome::Returned(lines([line(&desk, 3)]));
    store.resolve(id, &returned, Reach::Held, at(9)).await.expect("is settled");
    for movement in [Movement::Sell, Movement::Restock] {
        settle(store, &event(id, line(&desk, 3), movement), at(10)).await.expect("comes late, and does nothing");
    }
    assert_eq!(stock(store, desk.id).await, (7, 0));
}

/// The event of the sale is lost, the one of the refund came: the line is held, and its units are on the shelf.
async fn units_that_came_back_before_their_sale_was_heard_of_are_there_once(store: &dyn Store) {
    for reach in [Reach::Held, Reach::All] {
        for (says, expected) in [
            (Outcome::Returned as fn(Lines) -> Outcome, 7),
            // Read a moment before the refund, so it does not know of it.
            (Outcome::Sold, if reach == Reach::Held { 7 } else { 4 }),
            (|_| Outcome::Released, 7),
        ] {
            let desk = add(store, &details("desk", 7)).await;
            let id = held(store, 2, &[line(&desk, 3)]).await;
            settle(store, &event(id, line(&desk, 3), Movement::Restock), at(3)).await.expect("comes first");
            let outcome = says(lines([line(&desk, 3)]));
            store.resolve(id, &outcome, reach, at(9)).await.expect("is settled");
            assert_eq!(stock(store, desk.id).await, (expected, 0), "{outcome:?} {reach:?}");
            all_is_booked(store).await;
        }
    }
}

async fn what_events_settled_otherwise_is_left_to_people(store: &dyn Store) {
    let desk = add(store, &details("desk", 7)).await;
    let id = held(store, 2, &[line(&desk, 3)]).await;
    settle(store, &event(id, line(&desk, 3), Movement::Sell), at(3)).await.expect("is sold");
    for outcome in [Outcome::Released, Outcome::Unknown] {
        assert_eq!(store.resolve(id, &outcome, Reach::Held, at(9)).await.expect("looks"), Resolved::default());
    }
    assert_eq!(stock(store, desk.id).await, (4, 0));
}

async fn lines_that_events_left_half_way_are_found_too(store: &dyn Store) {
    let (desk, lamp) = (add(store, &details("desk", 7)).await, add(store, &details("lamp", 7)).await);
    let both = [line(&desk, 1), line(&lamp, 2)];
    let id = held(store, 2, &both).await;
    // One of the two events came, and closed the reservation.
    settle(store, &event(id, both[0], Movement::Sell), at(3)).await.expect("is sold");
    assert_eq!(found(store, 9).await, [id]);
    store.resolve(id, &Outcome::Sold(lines(both)), Reach::Held, at(9)).await.expect("is settled");
    assert_eq!((stock(store, desk.id).await, stock(store, lamp.id).await), ((6, 0), (5, 0)));
}

async fn an_event_at_the_same_moment_changes_nothing(store: &dyn Store) {
    let desk = add(store, &details("desk", 50)).await;
    for made in 0..10 {
        let id = held(store, made, &[line(&desk, 1)]).await;
        let (event, outcome) = (event(id, line(&desk, 1), Movement::Sell), sold(&desk, 1));
        let (settled, resolved) =
            tokio::join!(settle(store, &event, at(20)), store.resolve(id, &outcome, Reach::Held, at(20)));
        settled.expect("finds it sold, or sells it");
        resolved.expect("likewise");
    }
    assert_eq!(stock(store, desk.id).await, (40, 0));
}

async fn all_is_brought_to_what_the_payment_says_whatever_was_restored(store: &dyn Store) {
    let desk = add(store, &details("desk", 10)).await;
    let (id, three) = (Uuid::new_v4(), lines([line(&desk, 3)]));
    let returned = Outcome::Returned(three.clone());
    // From nothing at all, and from each to each.
    for (outcome, expected) in [
        (Outcome::Sold(three.clone()), (7, 0)),
        (Outcome::Released, (10, 0)),
        (Outcome::Open(three.clone()), (10, 3)),
        (Outcome::Sold(three.clone()), (7, 0)),
        (Outcome::Open(three.clone()), (10, 3)),
        (returned.clone(), (10, 0)),
        (Outcome::Sold(three.clone()), (7, 0)),
        (returned, (10, 0)),
        (Outcome::Unknown, (10, 0)),
        (Outcome::Sold(three.clone()), (7, 0)),
    ] {
        let resolved = store.resolve(id, &outcome, Reach::All, at(9)).await.expect("is settled");
        assert_eq!((stock(store, desk.id).await, resolved.short), (expected, vec![]), "{outcome:?}");
        assert_eq!(store.resolve(id, &outcome, Reach::All, at(9)).await.expect("again"), Resolved::default());
    }
    // What is sold and not there: the sale is entered, and what lacks is told.
    let resolved = store.resolve(Uuid::new_v4(), &sold(&desk, 9), Reach::All, at(9)).await.expect("is settled");
    assert_eq!((stock(store, desk.id).await, resolved.short), ((0, 0), vec![line(&desk, 2)]));
    all_is_booked(store).await;
}
