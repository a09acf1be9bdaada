//! What is old goes, and takes nothing with it that is not.

use std::time::Duration;

use shop_clock::millis;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::application::Retention;
use crate::domain::samples::{NOON, basket, limits, order};
use crate::domain::{Basket, Error, FORGOTTEN, Failure, Filter, Paid, Payment, Status, UserId};
use crate::infrastructure::contract::{Place, approve, asked, on_each_store};

on_each_store! {
    a_payment_that_came_to_nothing_is_gone_after_its_time_and_others_stay
    a_buyer_of_long_ago_is_no_longer_known_and_his_money_still_is
    a_person_is_forgotten_when_nothing_of_his_is_under_way_and_others_are_not
}

const DAY: time::Duration = time::Duration::DAY;

/// A payment made at that time, kept.
async fn made(place: &Place, at: OffsetDateTime) -> Payment {
    let made = u128::try_from(millis(at)).expect("after 1970");
    let basket = Basket { id: Uuid::from_u128(made), ..basket() };
    let id = Uuid::from_u128((made << 80) | 7);
    let payment = Payment::open(id, order(), basket, None, &limits(), at).expect("a payment");
    assert!(place.opened.store.add(&payment).await.expect("kept"));
    payment
}

async fn round(place: &Place, unpaid: Option<u64>, buyers: Option<u64>) {
    let days = |days: Option<u64>| days.map(|days| Duration::from_hours(24 * days));
    let retention = Retention::new(place.opened.aged.clone(), place.clock.clone(), days(unpaid), days(buyers));
    retention.round().await.expect("a round");
}

async fn of_ada(place: &Place) -> Vec<Payment> {
    let filter = Filter { user_id: Some(UserId::stored("ada".to_owned())), ..Filter::default() };
    place.opened.store.list(&filter, None, 100).await.expect("listed")
}

async fn a_payment_that_came_to_nothing_is_gone_after_its_time_and_others_stay(place: Place) {
    let store = &place.opened.store;
    let [failed, cancelled, pending, recent] = [40, 39, 38, 29].map(|days| NOON - DAY * days);
    for at in [failed, recent] {
        let id = made(&place, at).await.id;
        let fail = |payment: &mut Payment| payment.abandon(&Failure::new("payment_declined", "no"), at);
        store.change(id, &fail).await.expect("failed");
    }
    let id = made(&place, cancelled).await.id;
    let cancel = |payment: &mut Payment| payment.cancel(Uuid::from_u128(9), cancelled);
    store.change(id, &cancel).await.expect("cancelled");
    made(&place, pending).await;
    round(&place, None, None).await;
    assert_eq!(of_ada(&place).await.len(), 4, "nothing is forgotten unless somebody says so");
    round(&place, Some(30), None).await;
    let left: Vec<_> = of_ada(&place).await.into_iter().map(|payment| (payment.created_at, payment.status)).collect();
    assert_eq!(left, [(recent, Status::Failed), (pending, Status::Pending)]);
}

async fn a_buyer_of_long_ago_is_no_longer_known_and_his_money_still_is(place: Place) {
    let store = &place.opened.store;
    let [old, recent] = [400, 100].map(|days| NOON - DAY * days);
    for at in [old, recent] {
        let id = made(&place, at).await.id;
        store.change(id, &|payment| payment.begin(Uuid::from_u128(9), at)).await.expect("begun");
        store.change(id, &approve).await.expect("completed");
        let mut refund = asked(u128::try_from(millis(at)).expect("after 1970"), 100);
        refund.reason = order().description;
        store.change(id, &|payment| payment.request_refund(&refund, at)).await.expect("asked back");
    }
    let before = of_ada(&place).await;
    round(&place, None, Some(365)).await;
    round(&place, None, Some(365)).await;
    assert_eq!(of_ada(&place).await, before[..1], "what is not old stays as it was");
    let kept = store.get(before[1].id).await.expect("read").expect("is there");
    assert_eq!((kept.user_id.as_str(), kept.amount, &kept.items), (FORGOTTEN, before[1].amount, &before[1].items));
    assert_eq!((kept.status, kept.refunds.len()), (before[1].status, 1));
    assert!(kept.description.is_none() && kept.metadata.pairs().is_empty() && kept.refunds[0].reason.is_none());
}

async fn a_person_is_forgotten_when_nothing_of_his_is_under_way_and_others_are_not(place: Place) {
    let (store, aged) = (&place.opened.store, &place.opened.aged);
    let (ada, grace) = (UserId::stored("ada".to_owned()), UserId::stored("grace".to_owned()));
    let [paid, open] = [2, 1].map(|minutes| NOON - time::Duration::MINUTE * minutes);
    let (paid, open) = (made(&place, paid).await.id, made(&place, open).await.id);
    assert!(matches!(aged.forget(&ada).await, Err(Error::PaymentOpen(_))), "both are pending");
    store.change(paid, &|payment| payment.begin(Uuid::from_u128(9), NOON)).await.expect("begun");
    store.change(paid, &approve).await.expect("completed");
    assert!(matches!(aged.forget(&ada).await, Err(Error::PaymentOpen(id)) if id == open));
    store.change(open, &|payment| payment.cancel(Uuid::from_u128(9), NOON)).await.expect("cancelled");
    let mut refund = asked(7, 100);
    refund.reason = order().description;
    store.change(paid, &|payment| payment.request_refund(&refund, NOON)).await.expect("asked back");
    assert!(matches!(aged.forget(&ada).await, Err(Error::RefundOpen(id)) if id == paid));
    assert_eq!(of_ada(&place).await.len(), 2, "who is refused is not forgotten by half");
    let events = || async { shop_sql::outbox::pending(&place.opened.shared).await.expect("counted") };
    let before = events().await;

    store.change(paid, &|payment| payment.settle_refund(refund.id, Paid::Back, NOON)).await.expect("paid back");
    let told = events().await;
    assert!(told > before);
    let known = store.get(paid).await.expect("read").expect("is there");
    assert_eq!(aged.forget(&grace).await.expect("nothing to forget"), 0);
    assert_eq!(aged.forget(&ada).await.expect("forgotten"), 2);
    assert_eq!(aged.forget(&ada).await.expect("forgotten already"), 0);
    assert_eq!(events().await, told + 3, "the others are told each time");
    assert_eq!(of_ada(&place).await, []);
    let kept = store.get(paid).await.expect("read").expect("is there");
    assert_eq!((kept.user_id.as_str(), kept.amount, &kept.items), (FORGOTTEN, known.amount, &known.items));
    assert_eq!((kept.refunds.len(), &kept.refunds[0].reason), (1, &None));
    // Who read it before does not bring the person back.
    let again = asked(8, 100);
    let back = store.change_from(paid, Some(&known), &|payment| payment.request_refund(&again, NOON)).await;
    assert_eq!(back.expect("asked back").user_id.as_str(), FORGOTTEN);
}
