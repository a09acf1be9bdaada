//! The events that a payment's moves cause.

use shop_clock::rfc3339;
use shop_events::{
    BasketCleared, BasketLine, Event, Item as EventItem, PaymentActionRequired, PaymentAuthorised, PaymentCancelled,
    PaymentCompleted, PaymentDisputed, PaymentExpired, PaymentFailed, PaymentRefundFailed, PaymentRefunded,
    StockOperation, StockUpdated,
};
use time::OffsetDateTime;

use super::{Action, Dispute, Failure, Item, Note, Payment, Refund, Status};

/// The money was taken: the reserved units are sold and leave the basket.
pub(super) fn completed(payment: &Payment) -> Vec<Event> {
    let mut events = vec![Event::PaymentCompleted(PaymentCompleted {
        payment_id: payment.id,
        user_id: payment.user_id.as_str().to_owned(),
        basket_id: Some(payment.basket_id),
        amount: payment.taken().into(),
        currency: payment.amount.currency,
        items: items(payment),
        metadata: payment.metadata.pairs().clone(),
    })];
    events.extend(stock(payment, StockOperation::Decrease, "payment completed"));
    events
}

/// What was bought leaves the basket.
pub(super) fn cleared(payment: &Payment) -> Event {
    let lines = payment.items.iter().map(|item| BasketLine { product_id: item.product_id, quantity: item.quantity });
    let reason = if payment.status == Status::Authorised { "payment authorised" } else { "payment completed" };
    Event::BasketCleared(BasketCleared {
        user_id: payment.user_id.as_str().to_owned(),
        basket_id: payment.basket_id,
        lines: lines.collect(),
        reason: reason.to_owned(),
        payment_id: payment.id,
    })
}

/// The money is held on the buyer's account.
pub(super) fn authorised(payment: &Payment, until: OffsetDateTime) -> Event {
    Event::PaymentAuthorised(PaymentAuthorised {
        payment_id: payment.id,
        user_id: payment.user_id.as_str().to_owned(),
        basket_id: Some(payment.basket_id),
        amount: payment.amount.into(),
        currency: payment.amount.currency,
        items: items(payment),
        metadata: payment.metadata.pairs().clone(),
        authorised_until: rfc3339(until),
    })
}

/// The buyer has to do something first.
pub(super) fn action_required(payment: &Payment, action: &Action) -> Event {
    Event::PaymentActionRequired(PaymentActionRequired {
        payment_id: payment.id,
        user_id: payment.user_id.as_str().to_owned(),
        basket_id: Some(payment.basket_id),
        amount: payment.amount.into(),
        currency: payment.amount.currency,
        items: items(payment),
        metadata: payment.metadata.pairs().clone(),
        url: action.url.clone(),
        expires_at: rfc3339(action.until),
    })
}

/// Its time was over before it was paid: the reserved units are free again.
pub(super) fn expired(payment: &Payment, failure: &Failure) -> Vec<Event> {
    let mut events = vec![Event::PaymentExpired(PaymentExpired {
        payment_id: payment.id,
        user_id: payment.user_id.as_str().to_owned(),
        basket_id: Some(payment.basket_id),
        amount: payment.amount.into(),
        currency: payment.amount.currency,
        items: items(payment),
        metadata: payment.metadata.pairs().clone(),
        reason: failure.message.clone(),
        error_code: failure.code.clone(),
    })];
    events.extend(released(payment, "payment expired"));
    events
}

/// It was given up before it was paid: the reserved units are free again.
pub(super) fn cancelled(payment: &Payment) -> Vec<Event> {
    let mut events = vec![Event::PaymentCancelled(PaymentCancelled {
        payment_id: payment.id,
        user_id: payment.user_id.as_str().to_owned(),
        basket_id: Some(payment.basket_id),
        amount: payment.amount.into(),
        currency: payment.amount.currency,
        items: items(payment),
        metadata: payment.metadata.pairs().clone(),
    })];
    events.extend(released(payment, "payment cancelled"));
    events
}

/// The buyer has asked his bank for the money, or the bank has decided.
pub(super) fn disputed(payment: &Payment, dispute: &Dispute) -> Event {
    Event::PaymentDisputed(PaymentDisputed {
        payment_id: payment.id,
        user_id: payment.user_id.as_str().to_owned(),
        basket_id: Some(payment.basket_id),
        amount: dispute.amount.into(),
        currency: dispute.amount.currency,
        items: items(payment),
        metadata: payment.metadata.pairs().clone(),
        reason: dispute.reason.clone(),
        outcome: dispute.outcome.map(|outcome| outcome.as_str().to_owned()),
    })
}

/// It will never be taken: the reserved units are free again.
pub(super) fn failed(payment: &Payment, failure: &Failure) -> Vec<Event> {
    let mut events = vec![Event::PaymentFailed(PaymentFailed {
        payment_id: payment.id,
        user_id: payment.user_id.as_str().to_owned(),
        basket_id: Some(payment.basket_id),
        amount: payment.amount.into(),
        currency: payment.amount.currency,
        items: items(payment),
        metadata: payment.metadata.pairs().clone(),
        reason: failure.message.clone(),
        error_code: failure.code.clone(),
    })];
    events.extend(released(payment, "payment failed"));
    events
}

/// The reserved units are free again.
pub(super) fn released(payment: &Payment, reason: &str) -> Vec<Event> {
    stock(payment, StockOperation::Release, reason)
}

/// Money went back.
pub(super) fn refunded(payment: &Payment, refund: &Refund) -> Event {
    Event::PaymentRefunded(PaymentRefunded {
        payment_id: payment.id,
        user_id: payment.user_id.as_str().to_owned(),
        basket_id: Some(payment.basket_id),
        amount: refund.amount.into(),
        currency: refund.amount.currency,
        items: items(payment),
        metadata: payment.metadata.pairs().clone(),
        reason: refund.reason.as_ref().map(Note::as_str).map(str::to_owned),
        refund_id: refund.id,
    })
}

/// Money that was to go back did not arrive.
pub(super) fn refund_failed(payment: &Payment, refund: &Refund) -> Event {
    Event::PaymentRefundFailed(PaymentRefundFailed {
        payment_id: payment.id,
        user_id: payment.user_id.as_str().to_owned(),
        basket_id: Some(payment.basket_id),
        amount: refund.amount.into(),
        currency: refund.amount.currency,
        items: items(payment),
        metadata: payment.metadata.pairs().clone(),
        reason: refund.reason.as_ref().map(Note::as_str).map(str::to_owned),
        refund_id: refund.id,
    })
}

/// The sold units came back.
pub(super) fn restocked(payment: &Payment) -> Vec<Event> {
    stock(payment, StockOperation::Increase, "payment refunded")
}

fn stock(payment: &Payment, operation: StockOperation, reason: &str) -> Vec<Event> {
    let update = |item: &Item| {
        Event::StockUpdated(StockUpdated {
            product_id: item.product_id,
            quantity: item.quantity,
            operation,
            reason: reason.to_owned(),
            payment_id: payment.id,
        })
    };
    payment.items.iter().map(update).collect()
}

fn items(payment: &Payment) -> Vec<EventItem> {
    let line = |item: &Item| EventItem {
        product_id: item.product_id,
        name: item.name.clone(),
        quantity: item.quantity,
        price: item.price.into(),
        subtotal: item.subtotal.into(),
        category: item.category.clone(),
    };
    payment.items.iter().map(line).collect()
}
