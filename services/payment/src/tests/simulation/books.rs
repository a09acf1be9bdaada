//! What has to be true: at every moment, and in the end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use shop_events::{Event, StockOperation};
use shop_money::{Currency, Decimal, Money};
use uuid::Uuid;

use super::world::{Promise, World};
use crate::domain::{DisputeOutcome, Failure, Outcome, Payment, Reference, Refund, RefundStatus, Status};

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
        // That it came back is known a while later.
        let reference = payment.reference.as_ref().map(Reference::as_str);
        let back = world
            .came_back
            .lock()
            .iter()
            .filter(|back| Some(back.intent.as_str()) == reference)
            .map(|back| back.amount)
            .sum::<i64>();
        ensure(booked <= returned + back, || {
            format!("{booked} is booked as paid back, {returned} is, and {back} came back: {payment:?}")
        })?;
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
        ensure(payment.is_some_and(|payment| is_kept(world, payment, *promise)), || {
            format!("{promise:?} was said: {payment:?}")
        })?;
    }
    match world.town.amiss(&payments) {
        Some(amiss) => Err(amiss),
        None => Ok(()),
    }
}

/// How many refunds were said to have arrived, and later to have come back.
pub(super) fn came_back(world: &World) -> usize {
    let (mut arrived, mut came_back) = (BTreeSet::new(), 0);
    for event in world.store.events(0) {
        match event {
            Event::PaymentRefunded(told) => drop(arrived.insert(told.refund_id)),
            Event::PaymentRefundFailed(told) => came_back += usize::from(arrived.contains(&told.refund_id)),
            _ => {}
        }
    }
    came_back
}

fn is_kept(world: &World, payment: &Payment, promise: Promise) -> bool {
    match promise {
        Promise::Paid => PAID.contains(&payment.status),
        Promise::Cancelled => payment.status == Status::Cancelled,
        Promise::PaidBack(refund) => {
            let came_back = world.came_back.lock().iter().any(|back| back.refund == refund);
            let end = if came_back { RefundStatus::Failed } else { RefundStatus::Paid };
            payment.refund(refund).is_some_and(|refund| refund.status == end)
        }
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
    /// Of each refund that it arrived, and that it did not, or came back: as more and less.
    refunded: BTreeMap<Uuid, Vec<i64>>,
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
    let refunded = payment.refunds.iter().map(|refund| (refund.id, of_refund(refund, &told)));
    let expected = Told {
        completed: is_paid.then(|| payment.taken().minor).into_iter().collect(),
        refunded: refunded.filter(|(_, all)| !all.is_empty()).collect(),
        authorised: usize::from(payment.authorised_until.is_some()),
        cleared: usize::from(is_paid || payment.authorised_until.is_some()),
        over: usize::from(!is_paid && !is_superseded),
        is_disputed: payment.dispute.is_some(),
        sold: if is_paid { lines } else { 0 },
        released: if is_paid { 0 } else { lines },
        returned: if is_returned { lines } else { 0 },
    };
    ensure(told == expected, || format!("{told:?} was told, and should be {expected:?}"))
}

/// What is to be told of a refund, given what was. Of one that failed at once nobody else is told; of one that was on its way, that
/// it failed; and that it came back, of one that was said to have arrived.
fn of_refund(refund: &Refund, told: &Told) -> Vec<i64> {
    let amount = refund.amount.minor;
    let was_told = told.refunded.get(&refund.id).and_then(|all| all.first());
    match refund.status {
        RefundStatus::Paid => vec![amount],
        RefundStatus::Failed => match was_told {
            None => Vec::new(),
            Some(first) if *first < 0 => vec![-amount],
            Some(_) => vec![amount, -amount],
        },
        RefundStatus::Requested | RefundStatus::Pending => Vec::new(),
    }
}

fn minor(amount: &Decimal) -> i64 {
    Money::parse(amount, Currency::USD).map_or(0, |money| money.minor)
}

impl Told {
    fn hear(&mut self, id: Uuid, event: &Event) {
        match event {
            Event::PaymentCompleted(told) if told.payment_id == id => self.completed.push(minor(&told.amount)),
            Event::PaymentRefunded(told) if told.payment_id == id => {
                self.refunded.entry(told.refund_id).or_default().push(minor(&told.amount));
            }
            Event::PaymentRefundFailed(told) if told.payment_id == id => {
                self.refunded.entry(told.refund_id).or_default().push(-minor(&told.amount));
            }
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
