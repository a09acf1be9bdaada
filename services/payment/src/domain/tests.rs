//! The moves of a payment: as a table, and against a model that is too simple to be wrong.

pub(crate) mod samples;

use proptest::prelude::*;
use serde_json::json;
use shop_events::{Event, StockOperation};
use shop_fault::Fault;
use shop_money::Money;
use uuid::Uuid;

use self::samples::{NOON, basket, limits, numbered, order, pending, raw_order, usd};
use super::{
    ARROWS, Amount, Basket, BasketChange, ChangeKind, Dispute, DisputeOutcome, Error, Expected, Failure, Limits,
    MAX_ATTEMPTS, MAX_REASON, MAX_URL, Method, Outcome, Paid, Payment, RawOrder, Refund, RefundStatus, Refunding,
    Status, Step, Token, Verdict,
};

const OPERATION: Uuid = Uuid::from_u128(77);

fn approved() -> Verdict {
    Verdict::Approved { taken: usd(2700) }
}

fn declined() -> Verdict {
    let failure = Failure::new("insufficient_funds", "there are insufficient funds");
    Verdict::Declined { failure, may_retry: false }
}

fn retryable() -> Verdict {
    Verdict::Declined { failure: Failure::new("try_another_card", "the card was declined"), may_retry: true }
}

fn dispute(outcome: Option<DisputeOutcome>) -> Dispute {
    Dispute { amount: usd(2700), reason: "fraudulent".to_owned(), outcome }
}

fn authorised() -> Verdict {
    Verdict::Authorised { until: NOON + std::time::Duration::from_hours(24) }
}

fn action() -> Verdict {
    Verdict::ActionRequired { url: "https://a.example/".to_owned(), until: NOON + std::time::Duration::from_mins(15) }
}

/// A payment in each status, by legal moves only.
fn in_status(status: Status) -> Payment {
    let mut payment = pending();
    let mut go = |step: &dyn Fn(&mut Payment) -> Result<Vec<Event>, Error>| step(&mut payment).expect("a legal move");
    let begin = |p: &mut Payment| p.begin(OPERATION, NOON);
    let settle = |p: &mut Payment| p.settle(1, &approved(), NOON);
    match status {
        Status::Pending => {}
        Status::Processing => drop(go(&begin)),
        Status::RequiresAction => drop((go(&begin), go(&|p| p.settle(1, &action(), NOON)))),
        Status::Authorised => drop((go(&begin), go(&|p| p.settle(1, &authorised(), NOON)))),
        Status::Completed => drop((go(&begin), go(&settle))),
        Status::PartiallyRefunded => drop((go(&begin), go(&settle), go(&|p| refund(p, 1, Some(100))))),
        Status::Refunded => drop((go(&begin), go(&settle), go(&|p| refund(p, 1, None)))),
        Status::Failed => drop((go(&begin), go(&|p| p.settle(1, &declined(), NOON)))),
        Status::Cancelled => drop(go(&|p| p.cancel(OPERATION, NOON))),
    }
    assert_eq!(payment.status, status);
    payment
}

fn asked(id: u128, minor: Option<i64>, restock: bool) -> Refunding {
    Refunding { id: Uuid::from_u128(id), amount: minor.map(usd), reason: None, restock, expected: Expected::default() }
}

/// Requests and settles a refund.
fn refund(payment: &mut Payment, id: u128, minor: Option<i64>) -> Result<Vec<Event>, Error> {
    payment.request_refund(&asked(id, minor, false), NOON)?;
    payment.settle_refund(Uuid::from_u128(id), Paid::Back, NOON)
}

fn kinds(events: &[Event]) -> Vec<String> {
    let name = |event: &Event| match event {
        Event::StockUpdated(stock) => format!("{:?} {}x{}", stock.operation, stock.quantity, stock.product_id),
        other => other.event_type().to_owned(),
    };
    events.iter().map(name).collect()
}

#[test]
fn a_new_payment_is_the_basket_at_its_price_for_half_an_hour() {
    let payment = pending();
    assert_eq!((payment.status, payment.amount, payment.refunded()), (Status::Pending, usd(2700), usd(0)));
    assert_eq!(payment.expires_at - payment.created_at, time::Duration::minutes(30));
    assert_eq!(payment.items, basket().items);
    assert!(payment.claims_basket);
}

#[test]
fn a_payment_takes_no_more_of_the_shelf_than_one_buyer_may() {
    let limits = Limits { units: 2, ..limits() };
    let error = Payment::open(OPERATION, order(), basket(), None, &limits, NOON).expect_err("three units");
    let fault = Fault::from(error);
    assert_eq!((fault.kind().status(), fault.code(), &fault.members()["limit"]), (409, "too_many_units", &2.into()));
}

#[test]
fn a_basket_can_be_paid_again_once_its_payment_is_over() {
    for (status, claims) in [
        (Status::Pending, true),
        (Status::Processing, true),
        (Status::Completed, true),
        (Status::PartiallyRefunded, true),
        (Status::Refunded, false),
        (Status::Failed, false),
        (Status::Cancelled, false),
    ] {
        assert_eq!(in_status(status).claims_basket, claims, "{status}");
    }
    let mut old = pending();
    assert_eq!(kinds(&old.supersede(NOON).expect("is pending")), ["Release 2x3", "Release 1x4"]);
    assert_eq!((old.status, old.claims_basket), (Status::Cancelled, false));
    assert_eq!(Fault::from(old.refusal("paid")).code(), "payment_superseded", "its card was not declined");
    for status in Status::ALL.into_iter().filter(|status| *status != Status::Pending) {
        assert!(in_status(status).supersede(NOON).is_err(), "{status}");
    }
}

#[test]
fn a_shortage_that_the_buyers_own_payment_makes_does_not_lock_him_out() {
    let change = |product_id, kind| BasketChange { product_id, name: "Laptop".to_owned(), kind };
    let short = |available| change(3, ChangeKind::Availability { quantity: 2, available });
    for (available, own, locked_out) in [(0, true, false), (0, false, true), (-1, true, true)] {
        let seen = Basket { changes: vec![short(available)], ..basket() };
        let own = own.then(pending);
        assert_eq!(!seen.obstacles(own.as_ref()).is_empty(), locked_out, "{available}");
    }
    let moved = change(3, ChangeKind::Price { old: usd(1), new: usd(2) });
    let seen = Basket { changes: vec![short(0), moved.clone()], ..basket() };
    assert_eq!(seen.obstacles(Some(&pending())), [moved]);
}

#[test]
fn what_the_buyer_saw_is_what_he_pays() {
    let decimal = |text: &str| Amount::Decimal(text.parse().expect("a decimal"));
    for (total, version, code) in [
        (None, None, None),
        (Some(decimal("27")), Some(7), None),
        (Some(Amount::Exact(usd(2700))), None, None),
        (Some(decimal("27.01")), None, Some("total_changed")),
        (Some(Amount::Exact(Money::new(2700, "EUR".parse().expect("euros")))), None, Some("total_changed")),
        (Some(decimal("27.001")), None, Some("validation_failed")),
        (None, Some(6), Some("basket_changed")),
        (Some(decimal("27.00")), Some(8), Some("basket_changed")),
    ] {
        let order = RawOrder { expected_total: total.clone(), basket_version: version, ..raw_order() };
        let refused = order.check().expect("valid").check_seen(&basket()).err().map(Fault::from);
        assert_eq!(refused.as_ref().map(Fault::code), code, "{total:?} {version:?}");
        if let Some(fault) = refused.filter(|fault| fault.kind().status() == 409) {
            assert_eq!((&fault.members()["total"], &fault.members()["basket_version"]), (&json!(27.0), &json!(7)));
        }
    }
}

#[test]
fn an_empty_basket_or_one_in_another_currency_is_not_paid() {
    let mut empty = basket();
    empty.items.clear();
    let error = Payment::open(OPERATION, order(), empty, None, &limits(), NOON).expect_err("empty");
    assert_eq!(Fault::from(error).code(), "basket_empty");
    let order = RawOrder { currency: Some("eur".to_owned()), ..raw_order() }.check().expect("valid");
    let error = Payment::open(OPERATION, order, basket(), None, &limits(), NOON).expect_err("euros");
    assert_eq!(
        (error.to_string().as_str(), Fault::from(error).code()),
        ("the basket is in USD, not in EUR", "currency_mismatch")
    );
}

#[test]
fn every_move_that_is_not_in_the_picture_is_refused_and_names_the_status() {
    type Move = fn(&mut Payment) -> Result<Vec<Event>, Error>;
    let moves: [(&str, Move, &[Status]); 6] = [
        ("processed", |p| p.begin(OPERATION, NOON), &[Status::Pending]),
        ("cancelled", |p| p.cancel(OPERATION, NOON), &[Status::Pending, Status::RequiresAction, Status::Authorised]),
        ("captured", |p| p.begin_capture(OPERATION, None, NOON), &[Status::Authorised]),
        (
            "disputed",
            |p| p.dispute(&dispute(None), NOON),
            &[Status::Completed, Status::PartiallyRefunded, Status::Refunded],
        ),
        ("paid", |p| p.abandon(&Failure::new(Failure::SHORT, "short"), NOON), &[Status::Pending]),
        ("refunded", |p| refund(p, 9, Some(50)), &[Status::Completed, Status::PartiallyRefunded]),
    ];
    for (name, make, from) in moves {
        for status in Status::ALL {
            let mut payment = in_status(status);
            let before = payment.clone();
            let outcome = make(&mut payment);
            if from.contains(&status) {
                outcome.unwrap_or_else(|error| panic!("{status} {name}: {error}"));
                continue;
            }
            let error = outcome.expect_err(name);
            assert_eq!(error.to_string(), format!("payment {} is {status}, so it cannot be {name}", payment.id));
            let fault = Fault::from(error);
            assert_eq!((fault.kind().status(), fault.code()), (409, "invalid_state"));
            assert_eq!(payment, before, "a refused move changes nothing");
        }
    }
}

#[test]
fn the_providers_word_settles_once_and_its_repeat_changes_nothing() {
    for (verdict, status) in [
        (approved(), Status::Completed),
        (authorised(), Status::Authorised),
        (action(), Status::RequiresAction),
        (declined(), Status::Failed),
        (Verdict::Voided, Status::Failed),
    ] {
        let mut payment = in_status(Status::Processing);
        assert!(!payment.settle(1, &verdict, NOON).expect("settles").is_empty());
        assert_eq!(payment.status, status);
        let settled = payment.clone();
        assert!(payment.settle(1, &verdict, NOON).expect("the same word again").is_empty());
        assert_eq!(payment, settled);
    }
    for (status, verdict) in [
        (Status::Completed, declined()),
        (Status::Failed, approved()),
        (Status::Pending, approved()),
        (Status::Cancelled, approved()),
    ] {
        in_status(status).settle(1, &verdict, NOON).expect_err("two words");
    }
}

#[test]
fn a_decline_that_may_be_retried_leaves_it_pending_five_times() {
    let mut payment = pending();
    for attempt in 1..=MAX_ATTEMPTS {
        payment.begin(OPERATION, NOON).expect("begins");
        assert_eq!((payment.attempt(), &payment.failure), (attempt, &None));
        let events = payment.settle(attempt, &retryable(), NOON).expect("settles");
        let (status, last) = (payment.status, attempt == MAX_ATTEMPTS);
        assert_eq!((status, events.is_empty()), if last { (Status::Failed, false) } else { (Status::Pending, true) });
        assert_eq!(payment.failure.as_ref().map(|why| why.code.as_str()), Some("try_another_card"));
        assert_eq!(payment.claims_basket, !last);
    }
    let mut late = pending();
    late.begin(OPERATION, NOON).expect("begins");
    late.settle(1, &retryable(), late.expires_at).expect("settles");
    assert_eq!(late.status, Status::Failed, "there is no time for another card");
}

#[test]
fn what_was_said_of_an_attempt_before_changes_nothing_unless_money_was_taken() {
    let second = || {
        let mut payment = pending();
        payment.begin(OPERATION, NOON).expect("begins");
        payment.settle(1, &retryable(), NOON).expect("settles");
        payment.begin(OPERATION, NOON).expect("begins");
        payment
    };
    for verdict in [declined(), retryable(), action(), Verdict::Pending] {
        let mut payment = second();
        assert!(payment.settle(1, &verdict, NOON).expect("is old").is_empty());
        assert_eq!(payment, second(), "{verdict:?}");
    }
    let mut payment = second();
    assert!(!payment.settle(1, &approved(), NOON).expect("is the truth").is_empty());
    assert_eq!(payment.status, Status::Completed);
}

#[test]
fn what_is_authorised_leaves_the_basket_and_is_sold_when_it_is_captured() {
    let mut payment = in_status(Status::Processing);
    let events = payment.settle(1, &authorised(), NOON).expect("settles");
    assert_eq!(kinds(&events), ["payment.authorised", "basket.cleared"]);
    assert_eq!((payment.outcome(), payment.captured_amount()), (Outcome::Open, usd(0)));
    for (minor, code) in [(2701, "capture_exceeds_payment"), (0, "validation_failed"), (-1, "validation_failed")] {
        let refused = payment.clone().begin_capture(OPERATION, Some(usd(minor)), NOON).expect_err("refused");
        assert_eq!(Fault::from(refused).code(), code, "{minor}");
    }
    payment.begin_capture(OPERATION, Some(usd(2000)), NOON).expect("begins");
    let mut failed = payment.clone();
    assert!(failed.settle(1, &authorised(), NOON).expect("it was not captured").is_empty());
    assert_eq!(failed.status, Status::Authorised);
    let events = payment.settle(1, &Verdict::Approved { taken: usd(2000) }, NOON).expect("settles");
    assert_eq!(kinds(&events), ["payment.completed", "Decrease 2x3", "Decrease 1x4"]);
    assert_eq!((payment.captured_amount(), payment.left()), (usd(2000), usd(2000)));
    let refused = payment.request_refund(&asked(1, Some(2001), false), NOON).expect_err("more than was taken");
    assert_eq!(Fault::from(refused).code(), "refund_exceeds_payment");
    refund(&mut payment, 2, None).expect("pays back");
    assert_eq!(payment.status, Status::Refunded);
}

#[test]
fn what_is_called_off_says_why_and_releases_its_stock() {
    let released = |first: &str| [first, "Release 2x3", "Release 1x4"].map(str::to_owned);
    for (status, event, code) in [
        (Status::Processing, "payment.failed", "charge_voided"),
        (Status::RequiresAction, "payment.expired", "payment_expired"),
        (Status::Authorised, "payment.expired", "authorisation_lapsed"),
    ] {
        let mut payment = in_status(status);
        let events = payment.settle(1, &Verdict::Voided, NOON).expect("settles");
        assert_eq!(kinds(&events), released(event), "{status}");
        assert_eq!((payment.status, payment.claims_basket), (Status::Failed, false));
        assert_eq!(payment.failure.map(|why| why.code).as_deref(), Some(code));
    }
    for status in [Status::RequiresAction, Status::Authorised] {
        let mut payment = in_status(status);
        assert!(payment.cancel(OPERATION, NOON).expect("is asked of the provider").is_empty());
        let mut taken = payment.clone();
        taken.settle(1, &approved(), NOON).expect("it was taken after all");
        assert_eq!(taken.status, Status::Completed);
        let events = payment.settle(1, &Verdict::Voided, NOON).expect("settles");
        assert_eq!((payment.status, kinds(&events)), (Status::Cancelled, released("payment.cancelled").to_vec()));
    }
}

#[test]
fn a_buyer_at_his_bank_may_come_back_in_any_way() {
    for (verdict, status) in [
        (approved(), Status::Completed),
        (authorised(), Status::Authorised),
        (Verdict::Pending, Status::Processing),
        (retryable(), Status::Pending),
        (declined(), Status::Failed),
        (action(), Status::RequiresAction),
    ] {
        let mut payment = in_status(Status::RequiresAction);
        payment.settle(1, &verdict, NOON).expect("settles");
        assert_eq!((payment.status, payment.action.is_some()), (status, status == Status::RequiresAction));
    }
}

#[test]
fn what_is_on_its_way_is_overdue_when_its_method_says_so() {
    let mut payment = Payment { method: Method::BankTransfer, ..in_status(Status::Processing) };
    payment.settle(1, &Verdict::Pending, NOON).expect("waits");
    let day = std::time::Duration::from_hours(24);
    assert!(payment.is_at_provider() && !payment.is_overdue(NOON + day * 13) && payment.is_overdue(NOON + day * 14));
    let card = Payment { method: Method::CreditCard, ..payment };
    assert!(card.is_overdue(NOON + day));
    let (action, held) = (in_status(Status::RequiresAction), in_status(Status::Authorised));
    assert!(!action.is_overdue(NOON) && action.is_overdue(NOON + day));
    assert!(!held.is_overdue(NOON) && held.is_overdue(NOON + day));
}

#[test]
fn what_is_disputed_is_not_paid_back_unless_the_dispute_was_won() {
    let mut payment = in_status(Status::Completed);
    assert_eq!(kinds(&payment.dispute(&dispute(None), NOON).expect("is booked")), ["payment.disputed"]);
    assert!(payment.dispute(&dispute(None), NOON).expect("is known").is_empty());
    for (outcome, refunds) in [(None, false), (Some(DisputeOutcome::Lost), false), (Some(DisputeOutcome::Won), true)] {
        payment.dispute(&dispute(outcome), NOON).expect("is booked");
        let asked = payment.clone().request_refund(&asked(1, Some(100), false), NOON);
        assert_eq!(asked.is_ok(), refunds, "{outcome:?}");
        if let Err(refused) = asked {
            assert_eq!(Fault::from(refused).code(), "payment_disputed");
        }
    }
}

#[test]
fn a_refund_that_did_not_arrive_gives_its_amount_back() {
    let mut payment = in_status(Status::Completed);
    payment.request_refund(&asked(1, Some(1000), false), NOON).expect("requested");
    let id = Uuid::from_u128(1);
    assert!(payment.settle_refund(id, Paid::Pending, NOON).expect("is on its way").is_empty());
    assert_eq!((payment.status, payment.left(), payment.refunded()), (Status::Completed, usd(1700), usd(0)));
    let mut failed = payment.clone();
    assert_eq!(kinds(&failed.settle_refund(id, Paid::Refused, NOON).expect("no")), ["payment.refund_failed"]);
    assert_eq!((failed.left(), failed.refunds[0].status), (usd(2700), RefundStatus::Failed));
    assert_eq!(kinds(&payment.settle_refund(id, Paid::Back, NOON).expect("arrived")), ["payment.refunded"]);
    assert_eq!((payment.status, payment.refunded()), (Status::PartiallyRefunded, usd(1000)));
}

#[test]
fn a_refund_that_comes_back_after_it_was_paid_is_left_to_be_paid_again() {
    let mut payment = in_status(Status::Completed);
    refund(&mut payment, 1, Some(1000)).expect("pays back");
    refund(&mut payment, 2, None).expect("pays back the rest");
    let id = Uuid::from_u128;
    let told = payment.settle_refund(id(2), Paid::Refused, NOON).expect("came back");
    assert_eq!(kinds(&told), ["payment.refund_failed"]);
    assert_eq!((payment.status, payment.left(), payment.refunded()), (Status::PartiallyRefunded, usd(1700), usd(1000)));
    let known = payment.clone();
    for word in [Paid::Refused, Paid::Back, Paid::Pending] {
        assert!(payment.settle_refund(id(2), word, NOON).expect("nothing new").is_empty());
    }
    assert_eq!(payment, known);
    payment.settle_refund(id(1), Paid::Refused, NOON).expect("came back, too");
    assert_eq!((payment.status, payment.left(), payment.refunded()), (Status::Completed, usd(2700), usd(0)));
    assert_eq!(kinds(&refund(&mut payment, 3, None).expect("pays back")), ["payment.refunded"]);
    assert_eq!(payment.status, Status::Refunded);
}

#[test]
fn what_is_on_the_shelf_again_stays_there_once_when_its_refund_comes_back() {
    let mut payment = in_status(Status::Completed);
    payment.request_refund(&asked(1, None, true), NOON).expect("requested");
    let told = payment.settle_refund(Uuid::from_u128(1), Paid::Back, NOON).expect("paid");
    assert_eq!(kinds(&told), ["payment.refunded", "Increase 2x3", "Increase 1x4"]);
    payment.settle_refund(Uuid::from_u128(1), Paid::Refused, NOON).expect("came back");
    assert_eq!((payment.status, payment.outcome()), (Status::Completed, Outcome::Returned));
    payment.request_refund(&asked(2, None, true), NOON).expect("requested again");
    let told = payment.settle_refund(Uuid::from_u128(2), Paid::Back, NOON).expect("paid again");
    assert_eq!(kinds(&told), ["payment.refunded"], "not once more");
    assert_eq!((payment.status, payment.outcome()), (Status::Refunded, Outcome::Returned));
}

#[test]
fn a_refund_is_looked_at_for_some_weeks_while_it_is_paid() {
    let mut payment = in_status(Status::Completed);
    payment.request_refund(&asked(1, None, false), NOON).expect("requested");
    assert_eq!(payment.refunds[0].next_look(NOON), None, "it is asked about anyway");
    payment.settle_refund(Uuid::from_u128(1), Paid::Back, NOON).expect("paid");
    let mut days = Vec::new();
    let mut now = NOON;
    while let Some(next) = payment.refunds[0].next_look(now) {
        assert!(next > now);
        days.push((next - NOON).whole_days());
        now = next;
    }
    assert_eq!(days, [1, 3, 7, 14, 30, 45]);
}

#[test]
fn a_page_that_cannot_be_kept_keeps_nobody_from_being_charged() {
    let asks = |url: String| Verdict::ActionRequired { url, until: NOON + std::time::Duration::from_mins(15) };
    let page = format!("https://a.example/{}", "ä".repeat(MAX_URL - 18));
    let mut payment = in_status(Status::Processing);
    payment.settle(1, &asks(page.clone()), NOON).expect("settles");
    assert_eq!((payment.status, payment.action.map(|action| action.url)), (Status::RequiresAction, Some(page.clone())));
    for url in [page + "ä", String::new()] {
        let mut payment = in_status(Status::Processing);
        assert!(payment.settle(1, &asks(url), NOON).expect("settles").is_empty());
        assert_eq!((payment.status, payment.step, payment.action.clone()), (Status::Processing, Step::Await, None));
        payment.settle(1, &approved(), NOON).expect("the money came");
        assert_eq!(payment.status, Status::Completed);
    }
}

#[test]
fn what_a_bank_says_of_a_dispute_at_length_is_cut_and_told_once() {
    let mut payment = in_status(Status::Completed);
    let dispute = Dispute { amount: usd(2700), reason: "ß".repeat(MAX_REASON + 1), outcome: None };
    assert_eq!(kinds(&payment.dispute(&dispute, NOON).expect("booked")), ["payment.disputed"]);
    assert_eq!(payment.dispute.as_ref().map(|kept| kept.reason.chars().count()), Some(MAX_REASON));
    assert!(payment.dispute(&dispute, NOON).expect("nothing new").is_empty());
}

#[test]
fn a_completed_payment_sells_its_stock_and_clears_its_basket() {
    let mut payment = in_status(Status::Processing);
    let events = payment.settle(1, &approved(), NOON).expect("settles");
    assert_eq!(kinds(&events), ["payment.completed", "Decrease 2x3", "Decrease 1x4", "basket.cleared"]);
    assert_eq!((payment.reference.clone(), payment.processed_at), (Some(pending().reference()), Some(NOON)));
}

#[test]
fn a_payment_that_ends_without_money_releases_its_stock() {
    let failed = ["payment.failed", "Release 2x3", "Release 1x4"];
    assert_eq!(kinds(&in_status(Status::Processing).settle(1, &declined(), NOON).expect("settles")), failed);
    let expired = ["payment.expired", "Release 2x3", "Release 1x4"];
    assert_eq!(kinds(&pending().expire(NOON + limits().window)), expired);
    let cancelled = pending().cancel(OPERATION, NOON).expect("cancels");
    assert_eq!(kinds(&cancelled), ["payment.cancelled", "Release 2x3", "Release 1x4"]);
}

#[test]
fn a_payment_expires_at_its_time_and_not_before() {
    let mut payment = pending();
    assert!(payment.expire(NOON + limits().window - std::time::Duration::from_millis(1)).is_empty());
    assert_eq!(payment.status, Status::Pending);
    payment.expire(NOON + limits().window);
    assert_eq!(payment.failure.as_ref().map(|why| why.code.as_str()), Some("payment_expired"));
    assert!(payment.expire(NOON + limits().window * 2).is_empty(), "once");
    for status in Status::ALL.into_iter().filter(|status| *status != Status::Pending) {
        assert!(in_status(status).expire(NOON + limits().window).is_empty(), "{status}");
    }
}

#[test]
fn a_payment_processed_or_cancelled_too_late_expires_instead() {
    let late = NOON + limits().window;
    let mut payment = pending();
    assert_eq!(kinds(&payment.begin(OPERATION, late).expect("expires"))[0], "payment.expired");
    assert_eq!(payment.status, Status::Failed);
    assert_eq!(Fault::from(payment.refusal("processed")).code(), "invalid_state");
    let mut payment = pending();
    payment.cancel(OPERATION, late).expect("expires");
    assert_eq!(payment.status, Status::Failed);
}

#[test]
fn refunds_add_up_to_the_amount_and_no_further() {
    let mut payment = in_status(Status::Completed);
    assert_eq!(kinds(&refund(&mut payment, 1, Some(700)).expect("part")), ["payment.refunded"]);
    assert_eq!((payment.status, payment.refunded(), payment.left()), (Status::PartiallyRefunded, usd(700), usd(2000)));
    let error = refund(&mut payment, 2, Some(2001)).expect_err("over");
    assert_eq!(
        error.to_string(),
        format!("a refund of 20.01 USD exceeds the 20.00 that are left of payment {}", payment.id)
    );
    assert_eq!((Fault::from(error).kind().status(), "refund_exceeds_payment"), (422, "refund_exceeds_payment"));
    refund(&mut payment, 3, None).expect("all that is left");
    assert_eq!((payment.status, payment.refunded(), payment.left()), (Status::Refunded, usd(2700), usd(0)));
}

#[test]
fn a_refund_on_its_way_counts_as_gone_until_it_is_refused() {
    let mut payment = in_status(Status::Completed);
    payment.request_refund(&asked(1, Some(2700), false), NOON).expect("requested");
    assert_eq!((payment.status, payment.refunded(), payment.left()), (Status::Completed, usd(0), usd(0)));
    assert_eq!(Fault::from(refund(&mut payment, 2, None).expect_err("nothing left")).code(), "refund_exceeds_payment");
    assert!(payment.settle_refund(Uuid::from_u128(1), Paid::Refused, NOON).expect("refused").is_empty());
    assert_eq!(payment.left(), usd(2700));
    refund(&mut payment, 3, None).expect("it may be refunded now");
}

#[test]
fn a_refund_requested_or_settled_twice_is_one_refund() {
    let mut payment = in_status(Status::Completed);
    payment.request_refund(&asked(1, Some(100), false), NOON).expect("requested");
    payment.request_refund(&asked(1, Some(100), false), NOON).expect("again");
    assert_eq!(payment.refunds.len(), 1);
    assert_eq!(payment.settle_refund(Uuid::from_u128(1), Paid::Back, NOON).expect("settled").len(), 1);
    assert!(payment.settle_refund(Uuid::from_u128(1), Paid::Back, NOON).expect("again").is_empty());
    assert_eq!(payment.refunded(), usd(100));
}

#[test]
fn refunds_of_nothing_less_than_nothing_or_other_money_are_refused() {
    let eur = shop_money::Money::new(100, "EUR".parse().expect("EUR"));
    for amount in [usd(0), usd(-1), usd(i64::MIN), eur] {
        let asked = Refunding {
            id: OPERATION,
            amount: Some(amount),
            reason: None,
            restock: false,
            expected: Expected::default(),
        };
        let error = in_status(Status::Completed).request_refund(&asked, NOON).expect_err("refused");
        assert_eq!(Fault::from(error).code(), "validation_failed");
    }
}

#[test]
fn units_come_back_once_and_only_when_all_is_paid_back() {
    let mut payment = in_status(Status::Completed);
    let error = payment.request_refund(&asked(1, Some(100), true), NOON).expect_err("part");
    assert_eq!(Fault::from(error).code(), "restock_needs_full_refund");
    payment.request_refund(&asked(2, Some(100), false), NOON).expect("on its way");
    payment.request_refund(&asked(3, None, true), NOON).expect("the rest");
    let first = payment.settle_refund(Uuid::from_u128(3), Paid::Back, NOON).expect("settled");
    assert_eq!(kinds(&first), ["payment.refunded"], "the other one may still be refused");
    let last = payment.settle_refund(Uuid::from_u128(2), Paid::Back, NOON).expect("settled");
    assert_eq!(kinds(&last), ["payment.refunded", "Increase 2x3", "Increase 1x4"]);
}

#[test]
fn every_wrong_field_of_an_order_is_reported_at_once() {
    let order = RawOrder {
        user_id: "a b".to_owned(),
        basket_id: Some("7".to_owned()),
        method: "cash".to_owned(),
        provider: Some("paypal".to_owned()),
        currency: Some("XXX".to_owned()),
        description: Some("a\u{0}b".to_owned()),
        metadata: (0..51).map(|n| (n.to_string(), String::new())).collect(),
        ..RawOrder::default()
    };
    let fault = Fault::from(order.check().expect_err("all wrong"));
    let fields: Vec<_> = fault.fields().iter().map(|error| error.field.as_str()).collect();
    assert_eq!(fields, ["user_id", "basket_id", "method", "provider", "currency", "description", "metadata"]);
}

#[test]
fn texts_keep_to_the_rule_of_all_texts() {
    let pairs = |key: &str, value: &str| vec![(key.to_owned(), value.to_owned())];
    for (order, field, code) in [
        (RawOrder { description: Some("\u{200b}".to_owned()), ..raw_order() }, "description", "invisible"),
        (RawOrder { description: Some("a\u{202e}b".to_owned()), ..raw_order() }, "description", "bidi_control"),
        (RawOrder { metadata: pairs(" ", "x"), ..raw_order() }, "metadata", "required"),
        (RawOrder { metadata: pairs("k", "a\nb"), ..raw_order() }, "metadata.k", "control_character"),
        (RawOrder { metadata: pairs("k", &"x".repeat(501)), ..raw_order() }, "metadata.k", "too_long"),
    ] {
        let fault = Fault::from(order.check().expect_err("refused"));
        let told: Vec<_> = fault.fields().iter().map(|error| (error.field.as_str(), error.code.as_str())).collect();
        assert_eq!(told, [(field, code)]);
    }
    let blank = RawOrder { description: Some(" ".to_owned()), ..raw_order() };
    assert_eq!(blank.check().expect("nothing was said").description, None);
}

#[test]
fn card_numbers_are_refused_and_never_repeated() {
    const CARD: &str = "4242 4242 4242 4242";
    let pairs = |key: &str, value: &str| vec![(key.to_owned(), value.to_owned())];
    let orders = [
        RawOrder { description: Some(format!("my card {CARD}")), ..raw_order() },
        RawOrder { metadata: pairs("card", CARD), ..raw_order() },
        RawOrder { metadata: pairs(CARD, "x"), ..raw_order() },
    ];
    let mut errors: Vec<_> = orders.into_iter().map(|order| order.check().expect_err("refused")).collect();
    errors.push(Token::parse(CARD).expect_err("refused"));
    errors.push(super::Note::reason(Some(CARD)).expect_err("refused"));
    for error in errors {
        let fault = Fault::from(error);
        assert_eq!((fault.kind().status(), fault.code()), (422, "card_data_not_accepted"));
        assert!(!format!("{fault:?} {:?}", fault.fields()).contains("4242"), "{fault:?}");
    }
}

/// A move of the model.
#[derive(Debug, Clone, Copy)]
enum Move {
    Begin { late: bool },
    Approve,
    Authorise,
    Require,
    Await,
    Void,
    Capture { minor: i16 },
    Decline { retry: bool },
    Cancel,
    Expire { late: bool },
    Request { id: u8, minor: Option<i16>, restock: bool },
    Settle { id: u8, paid: bool },
}

fn step() -> impl Strategy<Value = Move> {
    prop_oneof![
        any::<bool>().prop_map(|late| Move::Begin { late }),
        Just(Move::Begin { late: false }),
        Just(Move::Approve),
        Just(Move::Authorise),
        Just(Move::Require),
        Just(Move::Await),
        Just(Move::Void),
        (-1..3000_i16).prop_map(|minor| Move::Capture { minor }),
        any::<bool>().prop_map(|retry| Move::Decline { retry }),
        Just(Move::Cancel),
        any::<bool>().prop_map(|late| Move::Expire { late }),
        (0..8_u8, proptest::option::of(-10..3000_i16), any::<bool>()).prop_map(|(id, minor, restock)| Move::Request {
            id,
            minor,
            restock
        }),
        (0..8_u8, any::<bool>()).prop_map(|(id, paid)| Move::Settle { id, paid }),
    ]
}

fn take(payment: &mut Payment, step: Move) -> Result<Vec<Event>, Error> {
    let at = |late: bool| if late { NOON + limits().window } else { NOON };
    match step {
        Move::Begin { late } => payment.begin(OPERATION, at(late)),
        Move::Approve => payment.settle(payment.attempt(), &approved(), NOON),
        Move::Authorise => payment.settle(payment.attempt(), &authorised(), NOON),
        Move::Require => payment.settle(payment.attempt(), &action(), NOON),
        Move::Await => payment.settle(payment.attempt(), &Verdict::Pending, NOON),
        Move::Void => payment.settle(payment.attempt(), &Verdict::Voided, NOON),
        Move::Capture { minor } => payment.begin_capture(OPERATION, Some(usd(minor.into())), NOON),
        Move::Decline { retry } => {
            payment.settle(payment.attempt(), &if retry { retryable() } else { declined() }, NOON)
        }
        Move::Cancel => payment.cancel(OPERATION, NOON),
        Move::Expire { late } => Ok(payment.expire(at(late))),
        Move::Request { id, minor, restock } => {
            payment.request_refund(&asked(id.into(), minor.map(i64::from), restock), NOON)
        }
        Move::Settle { id, paid } => {
            payment.settle_refund(Uuid::from_u128(id.into()), if paid { Paid::Back } else { Paid::Refused }, NOON)
        }
    }
}

/// The page with the picture of the moves.
const PAGE: &str = "../../docs/api.md";

/// The moves, as Mermaid draws them.
fn picture() -> String {
    let line = |(from, to): &(Status, Status)| format!("    {from} --> {to}\n");
    let lines: String = ARROWS.iter().map(line).collect();
    format!("```mermaid\nstateDiagram-v2\n    [*] --> pending\n{lines}```\n")
}

/// `SHOP_TEST_UPDATE=1` writes it anew.
#[test]
fn the_page_has_the_picture_of_the_moves() {
    let page = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE);
    let text = std::fs::read_to_string(&page).expect("there is a page");
    let (before, rest) = text.split_once("```mermaid\n").expect("has a picture");
    let (_, after) = rest.split_once("```\n").expect("it ends");
    let drawn = [before, &picture(), after].concat();
    #[expect(clippy::disallowed_methods, reason = "whoever runs the tests says whether the page is written")]
    if std::env::var("SHOP_TEST_UPDATE").is_ok_and(|value| value == "1") {
        std::fs::write(page, drawn).expect("writes the page");
    } else {
        assert!(drawn == text, "docs/api.md draws other moves; SHOP_TEST_UPDATE=1 writes:\n{}", picture());
    }
}

#[test]
fn every_move_of_the_picture_can_be_made() {
    let verdicts = [
        approved(),
        Verdict::Approved { taken: usd(1000) },
        authorised(),
        action(),
        Verdict::Pending,
        retryable(),
        declined(),
        Verdict::Voided,
    ];
    let mut made = std::collections::BTreeSet::new();
    for from in Status::ALL {
        let mut outcomes: Vec<Payment> = Vec::new();
        let mut take = |step: &dyn Fn(&mut Payment) -> Result<Vec<Event>, Error>| {
            for dirty in [false, true] {
                let mut payment = in_status(from);
                if dirty && from == Status::Processing {
                    payment = in_status(Status::Authorised);
                    payment.begin_capture(OPERATION, None, NOON).expect("begins");
                }
                if dirty && from == Status::Pending {
                    payment.begin(OPERATION, NOON).expect("begins");
                    payment.settle(1, &retryable(), NOON).expect("is pending again");
                }
                if dirty && from == Status::Cancelled {
                    continue;
                }
                if step(&mut payment).is_ok() {
                    outcomes.push(payment);
                }
            }
        };
        for verdict in &verdicts {
            take(&|p| p.settle(p.attempt(), verdict, NOON));
        }
        take(&|p| p.begin(OPERATION, NOON));
        take(&|p| p.cancel(OPERATION, NOON));
        take(&|p| p.begin_capture(OPERATION, None, NOON));
        take(&|p| Ok(p.expire(NOON + limits().window)));
        take(&|p| refund(p, 8, Some(100)));
        take(&|p| refund(p, 8, None));
        made.extend(outcomes.iter().map(|payment| (from, payment.status)).filter(|(from, to)| from != to));
    }
    // By way of a cancellation that the provider has to confirm.
    let mut cancelled = in_status(Status::Authorised);
    cancelled.cancel(OPERATION, NOON).expect("begins");
    cancelled.settle(1, &Verdict::Voided, NOON).expect("settles");
    made.insert((Status::Processing, cancelled.status));
    for paid in [&[100, 2600][..], &[2700]] {
        let mut payment = in_status(Status::Completed);
        for (id, minor) in (1..).zip(paid) {
            refund(&mut payment, id, Some(*minor)).expect("pays back");
        }
        for id in 1..=paid.len() {
            let before = payment.status;
            let id = Uuid::from_u128(id.try_into().expect("few"));
            payment.settle_refund(id, Paid::Refused, NOON).expect("came back");
            made.insert((before, payment.status));
        }
    }
    assert_eq!(made, ARROWS.iter().copied().collect());
}

proptest! {
    #[test]
    fn whatever_is_tried_the_books_balance(steps in proptest::collection::vec(step(), 0..60)) {
        let mut payment = numbered(1);
        let (mut events, mut came_back) = (Vec::new(), 0);
        for step in steps {
            let before = payment.clone();
            if let Ok(caused) = take(&mut payment, step) {
                events.extend(caused);
            } else {
                prop_assert_eq!(&payment, &before);
            }
            let is_paid = |refund: &&Refund| refund.status == RefundStatus::Paid;
            let failed = |refund: &&Refund| payment.refund(refund.id).is_some_and(|now| now.status == RefundStatus::Failed);
            came_back += before.refunds.iter().filter(is_paid).filter(failed).count();
            let arrow = (before.status, payment.status);
            prop_assert!(arrow.0 == arrow.1 || ARROWS.contains(&arrow), "{} to {}", arrow.0, arrow.1);
            prop_assert!(payment.left().minor >= 0 && payment.refunded().minor <= payment.taken().minor);
            prop_assert_eq!(payment.status == Status::Refunded, payment.captured.is_some() && payment.refunded() == payment.taken());
        }
        let count = |operation| events.iter().filter(|event| matches!(event, Event::StockUpdated(s) if s.operation == operation)).count();
        let (sold, released, back) = (count(StockOperation::Decrease), count(StockOperation::Release), count(StockOperation::Increase));
        prop_assert!(sold + released <= payment.items.len(), "a reservation is sold or released, once");
        prop_assert!(back <= sold, "no more comes back than was sold");
        let ended = matches!(payment.status, Status::Failed | Status::Cancelled);
        prop_assert_eq!(ended, released == payment.items.len());
        let paid = events.iter().filter(|event| matches!(event, Event::PaymentRefunded(_))).count();
        let left = payment.refunds.iter().filter(|refund| refund.status == RefundStatus::Paid).count();
        prop_assert_eq!(paid, left + came_back);
    }

    #[test]
    fn no_input_makes_an_order_panic(
        texts in proptest::collection::vec(any::<Option<String>>(), 6),
        pairs in proptest::collection::vec(any::<(String, String)>(), 0..60),
    ) {
        let text = |at: usize| texts[at].clone();
        let order = RawOrder {
            user_id: text(0).unwrap_or_default(),
            basket_id: text(1),
            method: text(2).unwrap_or_default(),
            provider: text(3),
            currency: text(4),
            description: text(5),
            metadata: pairs,
            ..RawOrder::default()
        };
        let refused = order.check().err().map(|error| Fault::from(error).kind().status());
        prop_assert!(refused.is_none_or(|status| status == 422));
        Token::read(texts[0].as_deref()).ok();
    }
}

#[test]
fn a_word_that_was_not_the_last_says_nothing_of_what_is_over() {
    let old = [
        Verdict::Pending,
        Verdict::ActionRequired { url: "https://bank.example/1".to_owned(), until: NOON },
        Verdict::Authorised { until: NOON },
    ];
    for status in [Status::Completed, Status::PartiallyRefunded, Status::Refunded] {
        for verdict in &old {
            let before = in_status(status);
            let mut payment = before.clone();
            let events = payment.settle(payment.attempt(), verdict, NOON).expect("nothing new");
            assert!(events.is_empty() && payment == before, "{verdict:?} of {status}");
        }
    }
    for status in [Status::Failed, Status::Cancelled] {
        let mut payment = in_status(status);
        assert!(payment.settle(payment.attempt(), &old[0], NOON).expect("nothing new").is_empty(), "{status}");
        assert!(payment.settle(payment.attempt(), &old[2], NOON).is_err(), "money that is held is for people");
    }
}
