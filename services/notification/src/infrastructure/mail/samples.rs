//! One event of each kind, to try templates on before they are needed.

use std::collections::BTreeMap;

use shop_events::{
    Context, Envelope, Event, Item, PaymentActionRequired, PaymentAuthorised, PaymentCancelled, PaymentCompleted,
    PaymentDisputed, PaymentExpired, PaymentFailed, PaymentRefundFailed, PaymentRefunded,
};
use shop_money::{Currency, Decimal, Money};
use time::macros::datetime;
use uuid::Uuid;

/// A purchase that went through, one that failed, a refund, and whatever else becomes of payments.
pub(super) fn events() -> [Envelope; 9] {
    events_of("Laptop")
}

/// The same, of a product of that name.
pub(super) fn events_of(name: &str) -> [Envelope; 9] {
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
        amount: all.clone(),
        currency,
        items: items.clone(),
        metadata: metadata.clone(),
        reason: "the card was declined".to_owned(),
        error_code: "payment_declined".to_owned(),
    };
    let refunded = PaymentRefunded {
        payment_id,
        user_id: user_id.clone(),
        basket_id,
        amount: some.clone(),
        currency,
        items: items.clone(),
        metadata: metadata.clone(),
        reason: Some("arrived broken".to_owned()),
        refund_id: Uuid::from_u128(2),
    };
    let refund_failed = PaymentRefundFailed {
        payment_id,
        user_id: user_id.clone(),
        basket_id,
        amount: some,
        currency,
        items: items.clone(),
        metadata: metadata.clone(),
        reason: Some("arrived broken".to_owned()),
        refund_id: Uuid::from_u128(2),
    };
    let authorised = PaymentAuthorised {
        payment_id,
        user_id: user_id.clone(),
        basket_id,
        amount: all.clone(),
        currency,
        items: items.clone(),
        metadata: metadata.clone(),
        authorised_until: "2026-01-09T03:04:05.678Z".to_owned(),
    };
    let action = PaymentActionRequired {
        payment_id,
        user_id: user_id.clone(),
        basket_id,
        amount: all.clone(),
        currency,
        items: items.clone(),
        metadata: metadata.clone(),
        url: "https://bank.example/confirm?id=1&lang=en".to_owned(),
        expires_at: "2026-01-02T03:19:05.678Z".to_owned(),
    };
    let expired = PaymentExpired {
        payment_id,
        user_id: user_id.clone(),
        basket_id,
        amount: all.clone(),
        currency,
        items: items.clone(),
        metadata: metadata.clone(),
        reason: "the payment was not processed in time".to_owned(),
        error_code: "payment_expired".to_owned(),
    };
    let cancelled = PaymentCancelled {
        payment_id,
        user_id: user_id.clone(),
        basket_id,
        amount: all.clone(),
        currency,
        items: items.clone(),
        metadata: metadata.clone(),
    };
    let disputed = PaymentDisputed {
        payment_id,
        user_id: user_id.clone(),
        basket_id,
        amount: all.clone(),
        currency,
        items: items.clone(),
        metadata: metadata.clone(),
        reason: "product_not_received".to_owned(),
        outcome: None,
    };
    [
        Event::PaymentCompleted(completed),
        Event::PaymentFailed(failed),
        Event::PaymentRefunded(refunded),
        Event::PaymentAuthorised(authorised),
        Event::PaymentActionRequired(action),
        Event::PaymentExpired(expired),
        Event::PaymentCancelled(cancelled),
        Event::PaymentDisputed(disputed),
        Event::PaymentRefundFailed(refund_failed),
    ]
    .map(envelope)
}

fn envelope(event: Event) -> Envelope {
    Envelope {
        id: Uuid::from_u128(7),
        time: datetime!(2026-01-02 03:04:05.678 UTC),
        source: "payment-service".to_owned(),
        event,
        context: Context::default(),
    }
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
