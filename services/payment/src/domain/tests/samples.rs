//! Payments for tests.

use std::time::Duration;

use shop_money::{Currency, Money};
use time::OffsetDateTime;
use time::macros::datetime;
use uuid::Uuid;

use super::super::{Basket, Item, Limits, Order, Payment, RawOrder};

pub(crate) const NOON: OffsetDateTime = datetime!(2026-03-01 12:00 UTC);

pub(crate) fn usd(minor: i64) -> Money {
    Money::new(minor, Currency::USD)
}

pub(crate) fn order() -> Order {
    raw_order().check().expect("a valid order")
}

pub(crate) fn raw_order() -> RawOrder {
    RawOrder {
        user_id: "ada".to_owned(),
        method: "credit_card".to_owned(),
        provider: Some("sandbox".to_owned()),
        description: Some("first order ☕".to_owned()),
        metadata: vec![("order".to_owned(), "17".to_owned())],
        ..RawOrder::default()
    }
}

/// Two laptops and a mouse, 27.00 in all.
pub(crate) fn basket() -> Basket {
    let item = |product_id, name: &str, quantity, price: i64| Item {
        id: Uuid::from_u128(100 + u128::try_from(product_id).expect("positive")),
        product_id,
        name: name.to_owned(),
        quantity,
        price: usd(price),
        subtotal: usd(price * i64::from(quantity)),
        category: "computers".to_owned(),
        created_at: NOON,
    };
    Basket {
        id: Uuid::from_u128(5),
        currency: Currency::USD,
        items: vec![item(3, "Laptop", 2, 1200), item(4, "Mouse", 1, 300)],
        changes: Vec::new(),
        version: 7,
        cleared_by: None,
        merged: Vec::new(),
    }
}

pub(crate) fn limits() -> Limits {
    Limits { window: Duration::from_mins(30), open_payments: 3, units: 10 }
}

pub(crate) fn pending() -> Payment {
    numbered(1)
}

pub(crate) fn numbered(id: u128) -> Payment {
    Payment::open(
        Uuid::from_u128(id),
        order(),
        Basket { id: Uuid::from_u128(1000 + id), ..basket() },
        None,
        &limits(),
        NOON,
    )
    .expect("a payment")
}
