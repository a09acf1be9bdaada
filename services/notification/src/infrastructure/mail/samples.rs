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

/// An event with what all of them have, and what is its own.
macro_rules! event {
    ($kind:ident, $items:ident, $minor:expr $(, $field:ident: $value:expr)*) => {
        Event::$kind($kind {
            payment_id: Uuid::from_u128(1),
            user_id: "ada".to_owned(),
            basket_id: None,
            amount: amount($minor),
            currency: Currency::USD,
            items: $items.clone(),
            metadata: BTreeMap::new(),
            $($field: $value),*
        })
    };
}

/// The same, of a product of that name.
pub(super) fn events_of(name: &str) -> [Envelope; 9] {
    let items = vec![item(3, name, 2, 129_990), item(5, "Mouse & pad", 1, 1250)];
    let (all, some, refund_id) = (261_230, 1250, Uuid::from_u128(2));
    let text = str::to_owned;
    [
        event!(PaymentCompleted, items, all),
        event!(
            PaymentFailed,
            items,
            all,
            reason: text("the card was declined"),
            error_code: text("payment_declined")
        ),
        event!(PaymentRefunded, items, some, reason: Some(text("arrived broken")), refund_id: refund_id),
        event!(PaymentAuthorised, items, all, authorised_until: text("2026-01-09T03:04:05.678Z")),
        event!(
            PaymentActionRequired,
            items,
            all,
            url: text("https://bank.example/confirm?id=1&lang=en"),
            expires_at: text("2026-01-02T03:19:05.678Z")
        ),
        event!(
            PaymentExpired,
            items,
            all,
            reason: text("the payment was not processed in time"),
            error_code: text("payment_expired")
        ),
        event!(PaymentCancelled, items, all),
        event!(PaymentDisputed, items, all, reason: text("product_not_received"), outcome: None),
        event!(PaymentRefundFailed, items, some, reason: Some(text("arrived broken")), refund_id: refund_id),
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
