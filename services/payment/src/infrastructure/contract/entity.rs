//! Every field of a payment is kept by every store. No field is left to `..`: a new one has to be decided upon here.

use std::collections::BTreeMap;
use std::time::Duration;

use shop_money::Money;
use uuid::Uuid;

use super::{Place, charge};
use crate::domain::samples::{NOON, numbered, pending};
use crate::domain::{
    Action, Capture, Dispute, DisputeOutcome, Error, Failure, Filter, Item, Metadata, Method, Note, Payment, Reference,
    Refund, RefundStatus, Status, Step, UserId,
};

on_every_store! {
    every_field_of_a_payment_is_kept
    every_field_that_changes_is_written
}

fn yen(minor: i64) -> Money {
    Money::new(minor, "JPY".parse().expect("yen"))
}

fn item(n: i64) -> Item {
    Item {
        id: Uuid::from_u128(u128::from(n.unsigned_abs()) + 200),
        product_id: 40 + n,
        name: format!("tea no. {n} ☕"),
        quantity: 3,
        price: yen(500 + n),
        subtotal: yen(1600 + n),
        category: "food & drink".to_owned(),
        created_at: NOON - Duration::from_secs(50),
    }
}

fn refund(n: u64) -> Refund {
    Refund {
        id: Uuid::from_u128(u128::from(n) + 300),
        amount: yen(70),
        reason: Note::stored(Some(format!("too much, {n}"))),
        restock: true,
        status: RefundStatus::Paid,
        created_at: NOON + Duration::from_secs(n),
    }
}

/// A payment with nothing as in a new one.
fn full() -> Payment {
    let pairs = BTreeMap::from([("till".to_owned(), "7".to_owned()), ("note".to_owned(), "\"ü\"".to_owned())]);
    let full = Payment {
        id: Uuid::from_u128(77),
        user_id: UserId::stored("grace".to_owned()),
        basket_id: Uuid::from_u128(78),
        amount: yen(3203),
        status: Status::PartiallyRefunded,
        method: Method::Crypto,
        provider: "another".to_owned(),
        reference: Some(Reference::new("p-1")),
        description: Note::stored(Some("tea for two".to_owned())),
        metadata: Metadata::stored(pairs),
        items: vec![item(1), item(2)],
        failure: Some(Failure::new("late", "it came late")),
        refunds: vec![refund(1), refund(2)],
        operation: Some(Uuid::from_u128(79)),
        created_at: NOON - Duration::from_secs(1),
        updated_at: NOON + Duration::from_secs(2),
        processed_at: Some(NOON + Duration::from_secs(3)),
        expires_at: NOON + Duration::from_secs(4),
        version: 5,
        claims_basket: false,
        replaces: Some(Uuid::from_u128(76)),
        reserved: true,
        capture: Capture::Manual,
        attempts: 3,
        step: Step::Capture(yen(3000)),
        action: Some(Action { url: "https://a.example/?b=1".to_owned(), until: NOON + Duration::from_secs(5) }),
        authorised_until: Some(NOON + Duration::from_secs(6)),
        captured: Some(yen(3100)),
        dispute: Some(Dispute { amount: yen(30), reason: "fraudulent".to_owned(), outcome: None }),
        restocked: true,
    };
    differs_from_a_new_one(&full);
    full
}

fn differs_from_a_new_one(full: &Payment) {
    let Payment {
        id,
        user_id,
        basket_id,
        amount,
        status,
        method,
        provider,
        reference,
        description,
        metadata,
        items,
        failure,
        refunds,
        operation,
        created_at,
        updated_at,
        processed_at,
        expires_at,
        version,
        claims_basket,
        replaces,
        reserved,
        capture,
        attempts,
        step,
        action,
        authorised_until,
        captured,
        dispute,
        restocked,
    } = full;
    let new = pending();
    assert!(*id != new.id && *user_id != new.user_id && *basket_id != new.basket_id && *amount != new.amount);
    assert!(amount.currency != new.amount.currency && *status != new.status && *method != new.method);
    assert!(*provider != new.provider && *reference != new.reference && *description != new.description);
    assert!(*metadata != new.metadata && *items != new.items && *failure != new.failure && *refunds != new.refunds);
    assert!(*operation != new.operation && *created_at != new.created_at && *updated_at != new.updated_at);
    assert!(*processed_at != new.processed_at && *expires_at != new.expires_at && *version != new.version);
    assert!(*claims_basket != new.claims_basket && *replaces != new.replaces && *reserved != new.reserved);
    assert!(*capture != new.capture && *attempts != new.attempts && *step != new.step && *action != new.action);
    assert!(*authorised_until != new.authorised_until && *captured != new.captured && *dispute != new.dispute);
    assert!(*restocked != new.restocked);
}

/// Changes whatever may change but the version, which the store counts.
fn alter(payment: &mut Payment) {
    let Payment {
        id: _,
        user_id: _,
        basket_id: _,
        amount: _,
        status,
        method: _,
        provider,
        reference,
        description: _,
        metadata: _,
        items: _,
        failure,
        refunds,
        operation,
        created_at: _,
        updated_at,
        processed_at,
        expires_at: _,
        version: _,
        claims_basket,
        replaces: _,
        // Noted beside its changes.
        reserved: _,
        capture: _,
        attempts,
        step,
        action,
        authorised_until,
        captured,
        dispute,
        restocked,
    } = payment;
    *status = Status::Refunded;
    *reference = Some(Reference::new("p-2"));
    *failure = Some(Failure::new("later", "it came later"));
    for one in refunds {
        let Refund { id: _, amount: _, reason: _, restock: _, status, created_at: _ } = one;
        *status = RefundStatus::Pending;
    }
    *operation = Some(Uuid::from_u128(80));
    *updated_at += Duration::from_secs(1);
    *processed_at = Some(NOON + Duration::from_secs(9));
    *claims_basket = true;
    *provider = "a third".to_owned();
    *attempts = 4;
    *step = Step::Void;
    *action = Some(Action { url: "https://b.example/".to_owned(), until: NOON + Duration::from_secs(7) });
    *authorised_until = Some(NOON + Duration::from_secs(8));
    *captured = Some(yen(3200));
    *restocked = false;
    *dispute = Some(Dispute { amount: yen(31), reason: "lost".to_owned(), outcome: Some(DisputeOutcome::Won) });
}

/// Stores it; refunds come later than their payment.
async fn put(place: &Place, payment: &Payment) -> Payment {
    let (store, refunds) = (&place.opened.store, payment.refunds.clone());
    let bare = Payment { refunds: Vec::new(), ..payment.clone() };
    assert!(store.add(&bare).await.expect("adds"));
    assert_eq!(store.get(payment.id).await.expect("reads"), Some(bare), "added");
    let change = |payment: &mut Payment| {
        payment.refunds.clone_from(&refunds);
        Ok(Vec::new())
    };
    let kept = store.change(payment.id, &change).await.expect("changes");
    assert_eq!(kept, Payment { version: payment.version + 1, ..payment.clone() });
    kept
}

async fn every_field_of_a_payment_is_kept(place: Place) {
    let store = &place.opened.store;
    let kept = put(&place, &full()).await;
    let is_kept = async |after: &str| {
        assert_eq!(store.get(kept.id).await.expect("reads").as_ref(), Some(&kept), "{after}");
    };
    is_kept("stored").await;
    store.change(kept.id, &|_| Ok(Vec::new())).await.expect("nothing to do");
    is_kept("a change of nothing").await;
    store.change(kept.id, &|_| Err(Error::NotFound(Uuid::nil()))).await.expect_err("is refused");
    is_kept("a refused change").await;
    assert!(!store.add(&Payment { id: kept.id, ..numbered(1) }).await.expect("is told"));
    is_kept("another with its id").await;
    assert!(store.add(&numbered(1)).await.expect("adds"));
    store.change(Uuid::from_u128(1), &|payment| payment.begin(Uuid::from_u128(9), NOON)).await.expect("begins");
    is_kept("another payment").await;
    place.sandbox().charge(&charge("tok_approve")).await.expect("answers");
    is_kept("a charge").await;
    let listed = store.list(&Filter::default(), None, 10).await.expect("lists");
    assert_eq!(listed.first(), Some(&kept), "listed");
    let second = Payment { id: Uuid::from_u128(88), refunds: Vec::new(), ..full() };
    assert!(store.add_if_room(&second, 1).await.expect("adds"));
    assert_eq!(store.get(second.id).await.expect("reads"), Some(second), "added where there is room");
}

async fn every_field_that_changes_is_written(place: Place) {
    let store = &place.opened.store;
    let mut kept = put(&place, &full()).await;
    let change = |payment: &mut Payment| {
        alter(payment);
        Ok(Vec::new())
    };
    store.change(kept.id, &change).await.expect("changes");
    alter(&mut kept);
    kept.version += 1;
    assert_eq!(store.get(kept.id).await.expect("reads"), Some(kept));
}
