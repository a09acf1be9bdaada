//! One event of each kind, to try templates on before they are needed.

use std::collections::BTreeMap;

use shop_events::{Context, Envelope, Event, Item, PaymentCompleted, PaymentFailed, PaymentRefunded};
use shop_money::{Currency, Decimal, Money};
use time::macros::datetime;
use uuid::Uuid;

/// A purchase that went through, one that failed, and a refund.
pub(super) fn events() -> [Envelope; 3] {
    events_of("Laptop")
}

/// The same, of a product of that name.
pub(super) fn events_of(name: &str) -> [Envelope; 3] {
    let (payment_id, user_id, currency) = (Uuid::from_u128(1), "ada".to_owned(), Currency::USD);
    let items = vec![item(3, name, 2, 129_990), item(5, "Mouse & pad", 1, 1250)];
    let (basket_id, metadata) = (None, BTreeMap::new());
    let (all, some) = (amount(261_230), amount(1250));
    let completed = PaymentCompleted {
        payment_id,
        user_id: user_id.clone(),
        basket_id,
        amount: all.clone(),
        currency,
        items: items.clone(),
        metadata: metadata.clone(),
    };
    let failed = PaymentFailed {
        payment_id,
        user_id: user_id.clone(),
        basket_id,
        amount: all,
        currency,
        items: items.clone(),
        metadata: metadata.clone(),
        reason: "the card was declined".to_owned(),
        error_code: "payment_declined".to_owned(),
    };
    let refunded = PaymentRefunded {
        payment_id,
        user_id,
        basket_id,
        amount: some,
        currency,
        items,
        metadata,
        reason: Some("arrived broken".to_owned()),
        refund_id: Uuid::from_u128(2),
    };
    [Event::PaymentCompleted(completed), Event::PaymentFailed(failed), Event::PaymentRefunded(refunded)].map(|event| {
        Envelope {
            id: Uuid::from_u128(7),
            time: datetime!(2026-01-02 03:04:05.678 UTC),
            source: "payment-service".to_owned(),
            event,
            context: Context::default(),
        }
    })
}

fn item(product_id: i64, name: &str, quantity: u32, cents: i64) -> Item {
    Item {
        product_id,
        name: name.to_owned(),
        quantity,
        price: amount(cents),
        subtotal: amount(cents * i64::from(quantity)),
        category: "computers".to_owned(),
    }
}

fn amount(cents: i64) -> Decimal {
    Money::new(cents, Currency::USD).into()
}
