//! A basket is paid once, at what its buyer saw, whatever he clicks and however often.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use shop_fault::Fault;
use uuid::Uuid;

use super::checkout::{Checkout, GUEST, PAYMENT, code};
use crate::application::{Cancel, Made};
use crate::domain::samples::{basket, raw_order, usd};
use crate::domain::{Basket, BasketChange, ChangeKind, Error, Expected, Merged, Payment, RawOrder, Status, UserId};
use crate::infrastructure::contract::{Place, on_each_store};

on_each_store! {
    two_tabs_have_one_payment
    a_double_click_makes_one_payment
    a_tab_that_is_late_gets_the_payment_that_the_other_one_pays
    a_basket_that_was_paid_is_not_paid_again_until_it_is_cleared
    a_basket_that_changed_gets_another_payment_in_the_place_of_the_first
    a_payment_under_way_is_not_replaced
    a_refunded_basket_may_be_bought_again
    a_payment_that_ran_out_of_time_does_not_stand_in_the_way
    a_price_that_was_not_seen_is_told_each_time_and_never_charged
    a_buyer_is_not_locked_out_by_his_own_reservation
    a_buyer_does_not_hold_the_whole_shelf
    a_declined_card_gives_the_stock_back_at_once
    whose_payment_was_replaced_gets_the_one_that_stands
    what_a_guest_paid_is_not_paid_again_by_who_he_became
    what_a_guest_has_not_paid_yet_is_paid_once_by_who_he_became
    a_guest_who_signs_in_while_he_pays_has_no_payment_that_nobody_sees
}

const OTHER: Uuid = Uuid::from_u128(2);

impl Checkout {
    async fn make(&self, id: Uuid, order: RawOrder) -> Result<Made, Error> {
        self.commands.create(id, order).await
    }

    /// Ada puts one more mouse in.
    fn one_more(&self) -> Basket {
        let mut more = basket();
        more.items[1].quantity = 2;
        more.items[1].subtotal = usd(600);
        more.version += 1;
        *self.neighbours.altered.lock() = Some(more.clone());
        more
    }
}

async fn two_tabs_have_one_payment(place: Place) {
    let checkout = Checkout::at(place);
    let first = checkout.make(PAYMENT, raw_order()).await.expect("makes it");
    let second = checkout.make(OTHER, raw_order()).await.expect("finds it");
    assert_eq!((first.is_new, second.is_new), (true, false));
    assert_eq!(first.payment, second.payment);
    checkout.process(10, "tok_approve").await.expect("the one tab");
    assert_eq!(code(checkout.process(11, "tok_approve").await), (409, "invalid_state".to_owned()), "the other");
    assert_eq!(checkout.place.charges(PAYMENT).await, 1);
}

async fn a_double_click_makes_one_payment(place: Place) {
    let checkout = Arc::new(Checkout::at(place));
    let clicks = (1..=8_u128).map(|n| {
        let checkout = checkout.clone();
        tokio::task::spawn(async move { checkout.make(Uuid::from_u128(n), raw_order()).await.map_err(Fault::from) })
    });
    let made: Vec<_> =
        futures_util::future::join_all(clicks).await.into_iter().map(|joined| joined.expect("runs")).collect();
    let made: Vec<_> = made.into_iter().map(|made| made.expect("is answered")).collect();
    assert_eq!(made.iter().filter(|made| made.is_new).count(), 1);
    assert!(made.iter().all(|one| one.payment.id == made[0].payment.id));
}

async fn a_tab_that_is_late_gets_the_payment_that_the_other_one_pays(place: Place) {
    let checkout = Checkout::at(place);
    checkout.made_elsewhere().await;
    // The reservation was sold between this tab's look and its turn.
    checkout.neighbours.overtake(checkout.place.opened.store.clone());
    checkout.neighbours.short.store(true, Ordering::SeqCst);
    let late = checkout.make(OTHER, raw_order()).await.expect("it is his own");
    assert_eq!((late.payment.id, late.payment.status, late.is_new), (PAYMENT, Status::Processing, false));
    assert!(checkout.neighbours.released.lock().is_empty(), "it is still being paid");
}

async fn a_basket_that_was_paid_is_not_paid_again_until_it_is_cleared(place: Place) {
    let checkout = Checkout::at(place);
    checkout.create().await;
    checkout.process(10, "tok_approve").await.expect("is paid");
    for _ in 0..2 {
        let fault = Fault::from(checkout.make(OTHER, raw_order()).await.expect_err("the bus is away"));
        assert_eq!((fault.kind().status(), fault.code()), (409, "basket_paid"));
        assert_eq!(fault.members()["payment_id"], PAYMENT.to_string());
    }
    let old = Some(Uuid::from_u128(77));
    *checkout.neighbours.altered.lock() = Some(Basket { cleared_by: old, ..basket() });
    assert_eq!(code(checkout.make(OTHER, raw_order()).await), (409, "basket_paid".to_owned()), "of the one before");

    *checkout.neighbours.altered.lock() = Some(Basket { cleared_by: Some(PAYMENT), ..basket() });
    let next = checkout.make(OTHER, raw_order()).await.expect("the same again, bought anew");
    assert_eq!((next.payment.id, next.is_new, next.payment.replaces), (OTHER, true, None));
    assert_eq!(checkout.stored().await.status, Status::Completed);
}

async fn a_basket_that_changed_gets_another_payment_in_the_place_of_the_first(place: Place) {
    let checkout = Checkout::at(place);
    checkout.create().await;
    checkout.one_more();
    let made = checkout.make(OTHER, raw_order()).await.expect("takes its place");
    assert_eq!((made.payment.id, made.is_new, made.payment.amount), (OTHER, true, usd(3000)));
    assert_eq!(checkout.neighbours.replaced.lock().last(), Some(&(OTHER, Some(PAYMENT))), "in one step");
    let old = checkout.stored().await;
    assert_eq!((old.status, old.failure.expect("why").code.as_str()), (Status::Cancelled, "superseded"));
    let late = Fault::from(checkout.process(10, "tok_approve").await.expect_err("is replaced"));
    assert_eq!((late.kind().status(), late.code()), (409, "payment_superseded"));
    assert_eq!(late.members()["payment_id"], OTHER.to_string(), "which one to pay");
    let cancel = Cancel { id: PAYMENT, operation: Uuid::from_u128(9), expected: Expected::default(), of: None };
    assert_eq!(code(checkout.commands.cancel(cancel).await), (409, "payment_superseded".to_owned()));
    assert_eq!(checkout.place.charges(PAYMENT).await, 0);
    let repeat = checkout.make(OTHER, raw_order()).await.expect("the same request again").payment;
    assert_eq!((repeat.id, repeat.replaces), (OTHER, Some(PAYMENT)), "killed in between, it is still known");
    let order = RawOrder { method: "paypal".to_owned(), ..raw_order() };
    let third = checkout.make(Uuid::from_u128(3), order).await.expect("another way to pay").payment;
    assert_eq!(third.replaces, Some(OTHER));
}

async fn a_payment_under_way_is_not_replaced(place: Place) {
    let checkout = Checkout::at(place);
    checkout.create().await;
    let begin = |payment: &mut crate::domain::Payment| payment.begin(Uuid::from_u128(50), payment.created_at);
    checkout.place.opened.store.change(PAYMENT, &begin).await.expect("begins");
    let same = checkout.make(OTHER, raw_order()).await.expect("finds it");
    assert_eq!((same.payment.id, same.payment.status, same.is_new), (PAYMENT, Status::Processing, false));
    checkout.one_more();
    assert_eq!(code(checkout.make(OTHER, raw_order()).await), (409, "payment_unsettled".to_owned()));
}

async fn a_refunded_basket_may_be_bought_again(place: Place) {
    let checkout = Checkout::at(place);
    checkout.create().await;
    checkout.process(10, "tok_approve").await.expect("is paid");
    checkout.refund(11, None).await.expect("goes back");
    assert!(checkout.make(OTHER, raw_order()).await.expect("anew").is_new);
}

async fn a_payment_that_ran_out_of_time_does_not_stand_in_the_way(place: Place) {
    let checkout = Checkout::at(place);
    checkout.create().await;
    checkout.place.clock.advance(std::time::Duration::from_mins(30));
    let made = checkout.make(OTHER, raw_order()).await.expect("before anybody looked");
    assert_eq!((made.is_new, checkout.stored().await.status), (true, Status::Failed));
    assert_eq!(*checkout.neighbours.released.lock(), [PAYMENT]);
}

async fn a_price_that_was_not_seen_is_told_each_time_and_never_charged(place: Place) {
    let checkout = Checkout::at(place);
    let kind = ChangeKind::Price { old: usd(1200), new: usd(1500) };
    *checkout.neighbours.changes.lock() = vec![BasketChange { product_id: 3, name: "Laptop".to_owned(), kind }];
    for id in [PAYMENT, PAYMENT, OTHER] {
        assert_eq!(code(checkout.make(id, raw_order()).await), (409, "basket_changed".to_owned()));
    }
    checkout.neighbours.changes.lock().clear();
    checkout.one_more();
    let seen = |total: &str, version| RawOrder {
        expected_total: Some(crate::domain::Amount::Decimal(total.parse().expect("a decimal"))),
        basket_version: Some(version),
        ..raw_order()
    };
    assert_eq!(code(checkout.make(PAYMENT, seen("27.00", 8)).await), (409, "total_changed".to_owned()));
    assert_eq!(code(checkout.make(PAYMENT, seen("30.00", 7)).await), (409, "basket_changed".to_owned()));
    assert_eq!(checkout.make(PAYMENT, seen("30.00", 8)).await.expect("as he saw it").payment.amount, usd(3000));
    assert_eq!(
        code(checkout.make(OTHER, seen("27.00", 8)).await),
        (409, "total_changed".to_owned()),
        "nor by another tab"
    );
}

async fn a_buyer_is_not_locked_out_by_his_own_reservation(place: Place) {
    let checkout = Checkout::at(place);
    checkout.create().await;
    let kind = ChangeKind::Availability { quantity: 2, available: 0 };
    *checkout.neighbours.changes.lock() = vec![BasketChange { product_id: 3, name: "Laptop".to_owned(), kind }];
    assert_eq!(checkout.make(OTHER, raw_order()).await.expect("his own").payment.id, PAYMENT);
    checkout.one_more();
    assert!(checkout.make(OTHER, raw_order()).await.expect("his own, still").is_new);
}

async fn a_buyer_does_not_hold_the_whole_shelf(place: Place) {
    let checkout = Checkout::at(place);
    for n in 1..=3 {
        *checkout.neighbours.altered.lock() = Some(Basket { id: Uuid::from_u128(500 + n), ..basket() });
        assert!(checkout.make(Uuid::from_u128(n), raw_order()).await.expect("one of three").is_new);
    }
    *checkout.neighbours.altered.lock() = Some(Basket { id: Uuid::from_u128(600), ..basket() });
    let refused = checkout.make(Uuid::from_u128(4), raw_order()).await;
    assert_eq!(code(refused), (409, "too_many_open_payments".to_owned()));
    let cancel = Cancel { id: PAYMENT, operation: Uuid::from_u128(9), expected: Expected::default(), of: None };
    checkout.commands.cancel(cancel).await.expect("gives one up");
    assert!(checkout.make(Uuid::from_u128(4), raw_order()).await.expect("there is room").is_new);
}

async fn a_declined_card_gives_the_stock_back_at_once(place: Place) {
    let checkout = Checkout::at(place);
    checkout.create().await;
    assert_eq!(code(checkout.process(10, "tok_decline").await), (402, "payment_declined".to_owned()));
    assert_eq!(*checkout.neighbours.released.lock(), [PAYMENT], "the bus has not been asked");
    assert!(checkout.make(OTHER, raw_order()).await.expect("with another card").is_new);
    checkout.neighbours.short.store(true, Ordering::SeqCst);
    checkout.one_more();
    assert_eq!(code(checkout.make(Uuid::from_u128(3), raw_order()).await), (409, "insufficient_stock".to_owned()));
    assert_eq!(*checkout.neighbours.released.lock(), [PAYMENT, Uuid::from_u128(3)]);
}

async fn whose_payment_was_replaced_gets_the_one_that_stands(place: Place) {
    let checkout = Arc::new(Checkout::at(place));
    checkout.made_elsewhere().await;
    // A second tab pays for the same; a third takes one more meanwhile, and has the stock.
    let third = checkout.clone();
    *checkout.neighbours.meanwhile.lock() = Some(Box::pin(async move {
        third.one_more();
        third.make(OTHER, raw_order()).await.expect("takes its place");
    }));
    let second = checkout.make(Uuid::from_u128(3), raw_order()).await.expect("is answered");
    assert_eq!((second.payment.id, second.is_new), (OTHER, false));

    let repeated = Fault::from(checkout.make(PAYMENT, raw_order()).await.expect_err("the first request again"));
    assert_eq!((repeated.code(), &repeated.members()["payment_id"]), ("payment_superseded", &OTHER.to_string().into()));
}

fn of_guest() -> RawOrder {
    RawOrder { user_id: GUEST.to_owned(), ..raw_order() }
}

impl Checkout {
    /// A guest's payment of a basket like the sample.
    async fn of_a_guest(&self) -> Payment {
        *self.neighbours.guests.lock() = Some(Basket { id: GUESTS, ..basket() });
        self.make(PAYMENT, of_guest()).await.expect("makes it").payment
    }

    /// He signs in as Ada.
    fn merge(&self, cleared_by: Option<Uuid>) {
        *self.neighbours.guests.lock() = None;
        let merged = vec![Merged { basket: GUESTS, cleared_by }];
        *self.neighbours.altered.lock() = Some(Basket { merged, ..basket() });
    }
}

const GUESTS: Uuid = Uuid::from_u128(900);

async fn what_a_guest_paid_is_not_paid_again_by_who_he_became(place: Place) {
    let checkout = Checkout::at(place);
    checkout.of_a_guest().await;
    let begin = |payment: &mut Payment| payment.begin(Uuid::from_u128(10), payment.created_at);
    checkout.place.opened.store.change(PAYMENT, &begin).await.expect("begins");
    checkout.merge(None);
    assert_eq!(code(checkout.make(OTHER, raw_order()).await), (409, "payment_unsettled".to_owned()));
    let approved = crate::domain::Verdict::Approved { taken: crate::domain::samples::usd(2700) };
    let settle = |payment: &mut Payment| payment.settle(1, &approved, payment.created_at);
    checkout.place.opened.store.change(PAYMENT, &settle).await.expect("is paid");
    for cleared_by in [None, Some(Uuid::from_u128(77))] {
        checkout.merge(cleared_by);
        let fault = Fault::from(checkout.make(OTHER, raw_order()).await.expect_err("the bus is away"));
        assert_eq!((fault.code(), &fault.members()["payment_id"]), ("basket_paid", &PAYMENT.to_string().into()));
    }
    checkout.merge(Some(PAYMENT));
    assert!(checkout.make(OTHER, raw_order()).await.expect("it had left before").is_new);
}

async fn what_a_guest_has_not_paid_yet_is_paid_once_by_who_he_became(place: Place) {
    let checkout = Checkout::at(place);
    let ada = checkout.make(Uuid::from_u128(3), raw_order()).await.expect("her own, from another day").payment;
    checkout.of_a_guest().await;
    checkout.merge(None);
    let kind = ChangeKind::Availability { quantity: 2, available: 0 };
    *checkout.neighbours.changes.lock() = vec![BasketChange { product_id: 3, name: "Laptop".to_owned(), kind }];
    assert_eq!(checkout.make(OTHER, raw_order()).await.expect("as it was").payment.id, ada.id);
    let guests = checkout.stored().await;
    assert_eq!((guests.status, guests.claims_basket), (Status::Cancelled, false));
    assert_eq!(*checkout.neighbours.released.lock(), [PAYMENT]);

    let cancel = Cancel { id: ada.id, operation: Uuid::from_u128(9), expected: Expected::default(), of: None };
    checkout.commands.cancel(cancel).await.expect("is given up");
    checkout.neighbours.changes.lock().clear();
    *checkout.neighbours.guests.lock() = Some(Basket { id: GUESTS, ..basket() });
    checkout.make(Uuid::from_u128(4), of_guest()).await.expect("signed out again");
    checkout.merge(None);
    *checkout.neighbours.changes.lock() = vec![BasketChange { product_id: 3, name: "Laptop".to_owned(), kind }];
    let made = checkout.make(OTHER, raw_order()).await.expect("his own reservation is no obstacle");
    assert_eq!((made.is_new, made.payment.replaces), (true, Some(Uuid::from_u128(4))));
    assert_eq!(made.payment.user_id, "ada".parse::<UserId>().expect("a user"));
}

async fn a_guest_who_signs_in_while_he_pays_has_no_payment_that_nobody_sees(place: Place) {
    let checkout = Checkout::at(place);
    *checkout.neighbours.guests.lock() = Some(Basket { id: GUESTS, ..basket() });
    checkout.neighbours.signs_in.store(true, Ordering::SeqCst);
    assert_eq!(code(checkout.make(PAYMENT, of_guest()).await), (404, "basket_not_found".to_owned()));
    assert_eq!(checkout.stored().await.status, Status::Cancelled);
    assert_eq!(checkout.neighbours.reservations.load(Ordering::SeqCst), 0, "nothing was held for it");
    checkout.merge(None);
    assert!(checkout.make(OTHER, raw_order()).await.expect("is paid once").is_new);
}
