//! What has to be true: at every moment, and in the end.

use std::sync::Arc;

use shop_events::{Event, StockOperation};
use shop_money::{Currency, Decimal, Money};
use uuid::Uuid;

use super::world::{Promise, World};
use crate::domain::{DisputeOutcome, Failure, Outcome, Payment, Reference, RefundStatus, Status};

type Amiss = Result<(), String>;

fn ensure(is_so: bool, otherwise: impl FnOnce() -> String) -> Amiss {
    if is_so { Ok(()) } else { Err(otherwise()) }
}

const PAID: [Status; 3] = [Status::Completed, Status::PartiallyRefunded, Status::Refunded];

/// At every moment: nobody is charged twice; money that is at the provider is known to its payment; what is booked as paid, or
/// as paid back, is.
pub(super) fn never_amiss(world: &Arc<World>) -> Amiss {
    let (payments, intents) = (world.store.payments(), world.stripe.lock().intents());
    for intent in intents.iter().filter(|intent| intent.charges > 0 && !intent.payment.is_empty()) {
        let payment = payments.iter().find(|payment| payment.id.to_string() == intent.payment);
        let Some(payment) = payment else { return Err(format!("nobody knows of {intent:?}")) };
        let reference = payment.reference.as_ref().map(Reference::as_str);
        ensure(intent.charges == 1, || format!("charged more than once: {intent:?}"))?;
        ensure(reference == Some(&intent.id), || format!("{intent:?} is charged, and the payment has {reference:?}"))?;
    }
    for payment in payments.iter().filter(|payment| PAID.contains(&payment.status)) {
        let intent =
            intents.iter().find(|intent| Some(intent.id.as_str()) == payment.reference.as_ref().map(Reference::as_str));
        let taken = intent.map_or(0, |intent| intent.received);
        ensure(taken == payment.taken().minor, || {
            format!("{} is booked, {taken} taken: {payment:?}", payment.taken())
        })?;
        let returned = intent.map_or(0, |intent| intent.returned);
        let booked = payment.refunded().minor;
        ensure(booked <= returned, || format!("{booked} is booked as paid back, {returned} is: {payment:?}"))?;
    }
    Ok(())
}

/// In the end: both books say the same, and so do stock, events, and what people were told.
pub(super) fn all_is_well(world: &Arc<World>) -> Amiss {
    never_amiss(world)?;
    let payments = world.store.payments();
    let events = world.store.events(0);
    for payment in &payments {
        same_money(world, payment).map_err(|amiss| format!("{amiss}: {payment:?}"))?;
        same_events(payment, &events).map_err(|amiss| format!("{amiss}: {payment:?}"))?;
    }
    for (id, promise) in world.promises.lock().iter() {
        let payment = payments.iter().find(|payment| payment.id == *id);
        ensure(payment.is_some_and(|payment| is_kept(payment, *promise)), || {
            format!("{promise:?} was said: {payment:?}")
        })?;
    }
    match world.town.amiss(&payments) {
        Some(amiss) => Err(amiss),
        None => Ok(()),
    }
}

fn is_kept(payment: &Payment, promise: Promise) -> bool {
    match promise {
        Promise::Paid => PAID.contains(&payment.status),
        Promise::Cancelled => payment.status == Status::Cancelled,
        Promise::PaidBack(refund) => payment.refund(refund).is_some_and(|refund| refund.status == RefundStatus::Paid),
    }
}

/// What the provider took and gave back is what is booked; it holds nothing any more; a dispute is known here, too.
fn same_money(world: &Arc<World>, payment: &Payment) -> Amiss {
    let stripe = world.stripe.lock();
    let intents = stripe.intents();
    let own: Vec<_> = intents.iter().filter(|intent| intent.payment == payment.id.to_string()).collect();
    let sum = |of: fn(&&&shop_testing::stripe::Sight) -> i64| own.iter().map(|sight| of(&sight)).sum::<i64>();
    let (taken, returned, held) =
        (sum(|intent| intent.received), sum(|intent| intent.returned), sum(|intent| intent.capturable));
    let booked = (payment.captured_amount().minor, payment.refunded().minor);
    ensure((taken, returned) == booked, || format!("{taken} taken and {returned} given back, and booked {booked:?}"))?;
    ensure(held == 0, || format!("{held} is held still"))?;
    let disputes = stripe.disputes();
    let of_it = |(_, intent, _): &&(String, String, &'static str)| own.iter().any(|sight| sight.id == *intent);
    let dispute = disputes.iter().find(of_it).map(|(_, _, status)| match *status {
        "won" => Some(DisputeOutcome::Won),
        "lost" => Some(DisputeOutcome::Lost),
        _ => None,
    });
    let known = payment.dispute.as_ref().map(|dispute| dispute.outcome);
    ensure(dispute == known, || format!("the dispute is {dispute:?}, and known as {known:?}"))
}

/// What was told of a payment.
#[derive(Debug, Default, PartialEq, Eq)]
struct Told {
    completed: Vec<i64>,
    refunded: Vec<i64>,
    authorised: usize,
    cleared: usize,
    /// That it will not be paid.
    over: usize,
    is_disputed: bool,
    sold: usize,
    released: usize,
    returned: usize,
}

fn same_events(payment: &Payment, events: &[Event]) -> Amiss {
    let mut told = Told::default();
    for event in events {
        told.hear(payment.id, event);
    }
    let (is_paid, lines) = (PAID.contains(&payment.status), payment.items.len());
    let is_superseded = payment.failure.as_ref().is_some_and(|failure| failure.code == Failure::SUPERSEDED);
    let is_returned = payment.outcome() == Outcome::Returned;
    let back = payment.refunds.iter().filter(|refund| refund.status == RefundStatus::Paid);
    let mut expected = Told {
        completed: is_paid.then(|| payment.taken().minor).into_iter().collect(),
        refunded: back.map(|refund| refund.amount.minor).collect(),
        authorised: usize::from(payment.authorised_until.is_some()),
        cleared: usize::from(is_paid || payment.authorised_until.is_some()),
        over: usize::from(!is_paid && !is_superseded),
        is_disputed: payment.dispute.is_some(),
        sold: if is_paid { lines } else { 0 },
        released: if is_paid { 0 } else { lines },
        returned: if is_returned { lines } else { 0 },
    };
    told.refunded.sort_unstable();
    expected.refunded.sort_unstable();
    ensure(told == expected, || format!("{told:?} was told, and should be {expected:?}"))
}

fn minor(amount: &Decimal) -> i64 {
    Money::parse(amount, Currency::USD).map_or(0, |money| money.minor)
}

impl Told {
    fn hear(&mut self, id: Uuid, event: &Event) {
        match event {
            Event::PaymentCompleted(told) if told.payment_id == id => self.completed.push(minor(&told.amount)),
            Event::PaymentRefunded(told) if told.payment_id == id => self.refunded.push(minor(&told.amount)),
            Event::PaymentAuthorised(told) if told.payment_id == id => self.authorised += 1,
            Event::BasketCleared(told) if told.payment_id == id => self.cleared += 1,
            Event::PaymentFailed(told) if told.payment_id == id => self.over += 1,
            Event::PaymentExpired(told) if told.payment_id == id => self.over += 1,
            Event::PaymentCancelled(told) if told.payment_id == id => self.over += 1,
            Event::PaymentDisputed(told) if told.payment_id == id => self.is_disputed = true,
            Event::StockUpdated(told) if told.payment_id == id => match told.operation {
                StockOperation::Decrease => self.sold += 1,
                StockOperation::Release => self.released += 1,
                StockOperation::Increase => self.returned += 1,
            },
            _ => {}
        }
    }
}
