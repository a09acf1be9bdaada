//! The events that a payment's moves cause.

use shop_events::{
    BasketCleared, BasketLine, Event, Item as EventItem, PaymentCompleted, PaymentFailed, PaymentRefunded,
    StockOperation, StockUpdated,
};

use super::{Failure, Item, Note, Payment, Refund};

/// The money was taken: the reserved units are sold and leave the basket.
pub(super) fn completed(payment: &Payment) -> Vec<Event> {
    let lines = payment.items.iter().map(|item| BasketLine { product_id: item.product_id, quantity: item.quantity });
    let mut events = vec![Event::PaymentCompleted(PaymentCompleted {
        payment_id: payment.id,
        user_id: payment.user_id.as_str().to_owned(),
        basket_id: Some(payment.basket_id),
        amount: payment.amount.into(),
        currency: payment.amount.currency,
        items: items(payment),
        metadata: payment.metadata.pairs().clone(),
    })];
    events.extend(stock(payment, StockOperation::Decrease, "payment completed"));
    events.push(Event::BasketCleared(BasketCleared {
        user_id: payment.user_id.as_str().to_owned(),
        basket_id: payment.basket_id,
        lines: lines.collect(),
        reason: "payment completed".to_owned(),
        payment_id: payment.id,
    }));
    events
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
