//! The port's promises, kept over a double of Stripe that remembers and forgets as Stripe does.

use std::sync::Arc;

use shop_clock::ManualClock;
use shop_config::Secret;
use shop_telemetry::Metrics;
use shop_testing::stripe::{Call, Fault};

use super::*;
use uuid::Uuid;

use crate::domain::samples::{NOON, usd};
use crate::domain::{Method, Token};

const DAY: Duration = Duration::from_hours(24);

struct Shop {
    stripe: shop_testing::Stripe,
    provider: Stripe,
    clock: Arc<ManualClock>,
}

impl Shop {
    async fn open() -> Self {
        let stripe = shop_testing::Stripe::start().await;
        let mut settings = StripeSettings {
            secret_key: Secret::from(shop_testing::stripe::KEY),
            return_url: "https://shop.example/paid/{payment}".to_owned(),
            base_url: stripe.url(),
            ..StripeSettings::default()
        };
        // What one call runs into says nothing of the next here.
        settings.circuit_breaker.enabled = false;
        let clock = Arc::new(ManualClock::at(NOON));
        let metrics = Metrics::new("test");
        let provider = Stripe::open(&settings, Duration::from_secs(20), clock.clone(), &metrics).expect("a client");
        Self { stripe, provider, clock }
    }

    fn pass(&self, time: Duration) {
        self.stripe.advance(time);
        self.clock.advance(time);
    }

    async fn opened(&self, capture: Capture) -> Reference {
        self.provider.open(&intent(capture)).await.expect("prepared")
    }

    async fn charge(&self, reference: &Reference, attempt: u32, token: &str) -> Result<Verdict, ProviderError> {
        let (reference, intent) = (reference.clone(), intent(Capture::Automatic));
        self.provider.charge(&Charge { reference, intent, attempt, token: token_of(token) }).await
    }

    async fn charged(&self) -> Reference {
        let reference = self.opened(Capture::Automatic).await;
        assert_eq!(self.charge(&reference, 1, "pm_card_visa").await.expect("a verdict"), approved(1000));
        reference
    }

    async fn refund(&self, reference: &Reference, key: u128, amount: i64) -> Result<Paid, ProviderError> {
        let (key, reference, amount) = (id(key), reference.clone(), usd(amount));
        self.provider.refund(&Payback { key, payment: id(1), reference, amount }).await
    }

    fn taken(&self) -> i64 {
        self.stripe.taken(&payment())
    }

    fn refunded(&self) -> i64 {
        self.stripe.refunded(&payment())
    }
}

fn id(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

fn intent(capture: Capture) -> Intent {
    Intent { payment: id(7), amount: usd(1000), method: Method::CreditCard, capture }
}

fn payment() -> String {
    id(7).to_string()
}

fn token_of(text: &str) -> Token {
    Token::parse(text).expect("a token")
}

fn approved(minor: i64) -> Verdict {
    Verdict::Approved { taken: usd(minor) }
}

fn code(verdict: &Verdict) -> (&str, bool) {
    match verdict {
        Verdict::Declined { failure, may_retry } => (&failure.code, *may_retry),
        other => panic!("{other:?} is no decline"),
    }
}

#[tokio::test]
async fn a_payment_is_prepared_once_and_moves_nothing() {
    let shop = Shop::open().await;
    shop.stripe.fail(Call::Create, Fault::LoseReply);
    let first = shop.opened(Capture::Automatic).await;
    assert_eq!(shop.opened(Capture::Automatic).await, first);
    assert_eq!((shop.stripe.intents_of(&payment()).len(), shop.taken()), (1, 0));
    assert_eq!(shop.provider.find(&first, 1).await.expect("an answer"), None);
}

#[tokio::test]
async fn a_charge_is_made_once_per_attempt_whatever_is_lost() {
    for fault in [Fault::LoseReply, Fault::LoseRequest, Fault::Limit, Fault::Lock] {
        let shop = Shop::open().await;
        shop.stripe.fail(Call::Confirm, fault.clone());
        let reference = shop.charged().await;
        assert_eq!(shop.charge(&reference, 1, "pm_card_visa").await.expect("again"), approved(1000), "{fault:?}");
        assert_eq!(shop.charge(&reference, 2, "pm_card_visa").await.expect("another"), approved(1000), "{fault:?}");
        assert_eq!((shop.stripe.charges(&payment()), shop.taken()), (1, 1000), "{fault:?}");
    }
}

#[tokio::test]
async fn a_charge_that_is_asked_for_again_after_a_day_is_not_made_twice() {
    let shop = Shop::open().await;
    let reference = shop.charged().await;
    shop.pass(DAY * 3);
    assert_eq!(shop.charge(&reference, 1, "pm_card_visa").await.expect("again"), approved(1000));
    assert_eq!(shop.provider.find(&reference, 1).await.expect("an answer"), Some(approved(1000)));
    assert_eq!(shop.provider.void(&reference).await.expect("an answer"), approved(1000));
    assert_eq!((shop.stripe.charges(&payment()), shop.taken()), (1, 1000));
}

#[tokio::test]
async fn an_error_500_leaves_it_open_and_the_void_has_the_final_word() {
    for (fault, verdict, taken) in [(Fault::FailBefore, Verdict::Voided, 0), (Fault::FailAfter, approved(1000), 1000)] {
        let shop = Shop::open().await;
        let reference = shop.opened(Capture::Automatic).await;
        shop.stripe.fail(Call::Confirm, fault);
        shop.charge(&reference, 1, "pm_card_visa").await.expect_err("unknown");
        assert_eq!(shop.provider.void(&reference).await.expect("an answer"), verdict);
        assert_eq!(shop.provider.void(&reference).await.expect("again"), verdict);
        assert_eq!(shop.charge(&reference, 2, "pm_card_visa").await.expect("late"), verdict);
        assert_eq!(shop.taken(), taken);
    }
}

#[tokio::test]
async fn a_void_whose_reply_is_lost_is_a_void() {
    let shop = Shop::open().await;
    let reference = shop.opened(Capture::Automatic).await;
    shop.stripe.fail(Call::Cancel, Fault::LoseReply);
    assert_eq!(shop.provider.void(&reference).await.expect("an answer"), Verdict::Voided);
    assert_eq!(shop.charge(&reference, 1, "pm_card_visa").await.expect("late"), Verdict::Voided);
    assert_eq!(shop.taken(), 0);
}

#[tokio::test]
async fn what_never_came_to_stripe_is_voided_without_asking() {
    let shop = Shop::open().await;
    let reference = Reference::new("sandbox_7");
    assert_eq!(shop.provider.void(&reference).await.expect("an answer"), Verdict::Voided);
    assert_eq!(shop.provider.find(&reference, 1).await.expect("an answer"), None);
    assert!(shop.stripe.requests().is_empty());
}

#[tokio::test]
async fn a_decline_says_whether_another_card_may_pay_and_tells_a_thief_nothing() {
    let shop = Shop::open().await;
    let reference = shop.opened(Capture::Automatic).await;
    for (attempt, token, told, may_retry) in [
        (1, "pm_card_visa_chargeDeclinedInsufficientFunds", "insufficient_funds", true),
        (2, "pm_card_visa_chargeDeclined", "payment_declined", true),
        (3, "pm_card_chargeDeclinedExpiredCard", "expired_card", true),
        (4, "pm_card_visa_chargeDeclinedStolenCard", "payment_declined", false),
    ] {
        let verdict = shop.charge(&reference, attempt, token).await.expect("a verdict");
        assert_eq!(code(&verdict), (told, may_retry), "{token}");
        assert_eq!(shop.charge(&reference, attempt, token).await.expect("again"), verdict, "{token}");
    }
    assert_eq!(shop.charge(&reference, 5, "pm_card_visa").await.expect("a verdict"), approved(1000));
}

#[tokio::test]
async fn the_decline_of_an_attempt_before_is_not_the_word_on_the_next() {
    let shop = Shop::open().await;
    let reference = shop.opened(Capture::Automatic).await;
    shop.charge(&reference, 1, "pm_card_visa_chargeDeclined").await.expect("declined");
    let found = shop.provider.find(&reference, 1).await.expect("an answer").expect("declined");
    assert_eq!(code(&found), ("payment_declined", true));
    assert_eq!(shop.provider.find(&reference, 2).await.expect("an answer"), None);
}

#[tokio::test]
async fn what_is_voided_after_a_hard_decline_was_declined() {
    let shop = Shop::open().await;
    let reference = shop.opened(Capture::Automatic).await;
    shop.charge(&reference, 1, "pm_card_visa_chargeDeclinedLostCard").await.expect("declined");
    assert_eq!(code(&shop.provider.void(&reference).await.expect("an answer")), ("payment_declined", false));
    let shop = Shop::open().await;
    let reference = shop.opened(Capture::Automatic).await;
    shop.charge(&reference, 1, "pm_card_visa_chargeDeclined").await.expect("declined");
    assert_eq!(shop.provider.void(&reference).await.expect("an answer"), Verdict::Voided);
}

#[tokio::test]
async fn a_way_to_pay_that_stripe_does_not_know_may_be_replaced() {
    let shop = Shop::open().await;
    let reference = shop.opened(Capture::Automatic).await;
    for token in ["tok_approve", "pm_missing"] {
        assert_eq!(code(&shop.charge(&reference, 1, token).await.expect("a verdict")), ("unknown_token", true));
    }
    assert_eq!(shop.charge(&reference, 2, "pm_card_visa").await.expect("a verdict"), approved(1000));
}

#[tokio::test]
async fn a_bank_that_asks_sends_the_payer_away_and_back_to_the_shop() {
    for (well, taken) in [(true, 1000), (false, 0)] {
        let shop = Shop::open().await;
        let reference = shop.opened(Capture::Automatic).await;
        let asked = shop.charge(&reference, 1, "pm_card_threeDSecure2Required").await.expect("a verdict");
        let Verdict::ActionRequired { url, until } = asked else { panic!("{asked:?}") };
        assert!(url.starts_with(&shop.stripe.url()) && until == NOON + ASKED);
        let back = shop.stripe.requests().into_iter().find(|request| request.call == Some(Call::Confirm));
        assert_eq!(
            back.expect("confirmed").parameter("return_url"),
            format!("https://shop.example/paid/{}", payment())
        );
        shop.stripe.authenticate(reference.as_str(), well);
        let found = shop.provider.find(&reference, 1).await.expect("an answer").expect("a word");
        if well {
            assert_eq!(found, approved(1000));
        } else {
            assert_eq!(code(&found), ("authentication_failed", true));
        }
        assert_eq!(shop.taken(), taken);
    }
}

#[tokio::test]
async fn who_is_still_asked_can_be_called_off_and_who_is_slow_cannot() {
    let shop = Shop::open().await;
    let reference = shop.opened(Capture::Automatic).await;
    shop.charge(&reference, 1, "pm_card_threeDSecure2Required").await.expect("asked");
    assert_eq!(shop.provider.void(&reference).await.expect("an answer"), Verdict::Voided);

    let shop = Shop::open().await;
    let reference = shop.opened(Capture::Automatic).await;
    assert_eq!(shop.charge(&reference, 1, "pm_usBankAccount_processing").await.expect("a verdict"), Verdict::Pending);
    assert_eq!(shop.provider.void(&reference).await.expect("an answer"), Verdict::Pending, "it may still be paid");
    shop.pass(DAY * 4);
    assert_eq!(shop.provider.find(&reference, 1).await.expect("an answer"), Some(Verdict::Pending));
    shop.stripe.settle(reference.as_str(), true);
    assert_eq!(shop.provider.void(&reference).await.expect("an answer"), approved(1000));
}

#[tokio::test]
async fn what_is_authorised_is_captured_once_or_let_go() {
    let shop = Shop::open().await;
    let reference = shop.opened(Capture::Manual).await;
    let held = shop.charge(&reference, 1, "pm_card_visa").await.expect("a verdict");
    assert!(matches!(held, Verdict::Authorised { .. }), "{held:?}");
    shop.stripe.fail(Call::Capture, Fault::LoseReply);
    assert_eq!(shop.provider.capture(&reference, usd(600)).await.expect("taken"), approved(600));
    assert_eq!(shop.provider.capture(&reference, usd(1000)).await.expect("again"), approved(600), "the first stands");
    assert_eq!((shop.taken(), shop.stripe.authorised(&payment())), (600, 0));

    let shop = Shop::open().await;
    let reference = shop.opened(Capture::Manual).await;
    shop.charge(&reference, 1, "pm_card_visa").await.expect("authorised");
    shop.pass(DAY * 8);
    assert_eq!(shop.provider.capture(&reference, usd(600)).await.expect("an answer"), Verdict::Voided, "it lapsed");
    assert_eq!(shop.taken(), 0);
}

#[tokio::test]
async fn a_refund_is_made_once_per_key_also_after_a_day() {
    for fault in [Fault::LoseReply, Fault::LoseRequest, Fault::Limit, Fault::Lock] {
        let shop = Shop::open().await;
        let reference = shop.charged().await;
        shop.stripe.fail(Call::Refund, fault);
        assert_eq!(shop.refund(&reference, 1, 400).await.expect("an answer"), Paid::Back);
        assert_eq!(shop.refund(&reference, 1, 400).await.expect("again"), Paid::Back);
        shop.pass(DAY * 2);
        assert_eq!(shop.refund(&reference, 1, 400).await.expect("much later"), Paid::Back);
        assert_eq!((shop.refunded(), shop.stripe.refunds_of(reference.as_str()).len()), (400, 1));
    }
}

#[tokio::test]
async fn a_refund_that_came_to_a_500_is_found_if_it_was_made_and_made_when_the_key_is_forgotten() {
    for (fault, refunded) in [(Fault::FailAfter, 400), (Fault::FailBefore, 0)] {
        let shop = Shop::open().await;
        let reference = shop.charged().await;
        shop.stripe.fail(Call::Refund, fault);
        shop.refund(&reference, 1, 400).await.expect_err("unknown");
        assert_eq!(shop.refunded(), refunded);
        assert_eq!(shop.refund(&reference, 1, 400).await.is_ok(), refunded > 0);
        shop.pass(DAY);
        assert_eq!(shop.refund(&reference, 1, 400).await.expect("at last"), Paid::Back);
        assert_eq!(shop.refunded(), 400);
    }
}

#[tokio::test]
async fn a_refund_on_its_way_is_pending_until_it_arrives_or_comes_back() {
    for (well, paid) in [(true, Paid::Back), (false, Paid::Refused)] {
        let shop = Shop::open().await;
        let reference = shop.opened(Capture::Automatic).await;
        shop.charge(&reference, 1, "pm_card_pendingRefund").await.expect("paid");
        assert_eq!(shop.refund(&reference, 1, 400).await.expect("an answer"), Paid::Pending);
        assert_eq!(shop.refund(&reference, 1, 400).await.expect("again"), Paid::Pending);
        let refund = shop.stripe.refunds_of(reference.as_str())[0]["id"].as_str().expect("an id").to_owned();
        shop.stripe.settle_refund(&refund, well);
        assert_eq!(shop.refund(&reference, 1, 400).await.expect("an answer"), paid);
    }
}

#[tokio::test]
async fn what_went_back_at_stripes_own_page_is_refused_here_and_not_tried_for_ever() {
    let shop = Shop::open().await;
    let reference = shop.charged().await;
    shop.stripe.refund_at_the_page(reference.as_str(), 700);
    assert_eq!(shop.refund(&reference, 1, 400).await.expect("an answer"), Paid::Refused, "more than is left");
    shop.stripe.refund_at_the_page(reference.as_str(), 300);
    assert_eq!(shop.refund(&reference, 2, 400).await.expect("an answer"), Paid::Refused, "nothing is left");
    assert_eq!(shop.refunded(), 1000);
}

#[tokio::test]
async fn a_refund_of_what_is_disputed_is_refused_and_not_tried_for_ever() {
    let shop = Shop::open().await;
    let reference = shop.charged().await;
    shop.stripe.dispute(reference.as_str(), "fraudulent");
    assert_eq!(shop.refund(&reference, 1, 400).await.expect("an answer"), Paid::Refused);
}

#[tokio::test]
async fn an_amount_that_stripe_does_not_take_is_said_to_be_so_and_not_sent() {
    let shop = Shop::open().await;
    for (minor, currency) in [(49, "USD"), (1234, "KWD"), (100, "KPW"), (150, "MGA")] {
        let amount = Money::new(minor, currency.parse().expect("a currency"));
        shop.provider.open(&Intent { amount, ..intent(Capture::Automatic) }).await.expect_err("not taken");
    }
    assert!(shop.stripe.requests().is_empty());
}

#[tokio::test]
async fn money_of_every_kind_comes_back_as_it_went() {
    for (minor, currency, there) in [
        (5000, "JPY", 5000),
        (5000, "UGX", 500_000),
        (5000, "ISK", 500_000),
        (20_000, "HUF", 20_000),
        (5120, "KWD", 5120),
    ] {
        let shop = Shop::open().await;
        let amount = Money::new(minor, currency.parse().expect("a currency"));
        let intent = Intent { amount, ..intent(Capture::Automatic) };
        let reference = shop.provider.open(&intent).await.expect("prepared");
        let charge = Charge { reference: reference.clone(), intent, attempt: 1, token: token_of("pm_card_visa") };
        let verdict = shop.provider.charge(&charge).await.expect("a verdict");
        assert_eq!((verdict, shop.taken()), (Verdict::Approved { taken: amount }, there), "{currency}");
        let paid = shop.provider.refund(&Payback { key: id(1), payment: id(1), reference, amount }).await;
        assert_eq!((paid.expect("back"), shop.refunded()), (Paid::Back, there), "{currency}");
    }
}

#[tokio::test]
async fn what_a_webhook_leads_to_is_money_of_the_shop_in_every_currency() {
    let mut tried = 0;
    for code in shop_money::Currency::codes() {
        let currency: shop_money::Currency = code.parse().expect("a currency");
        // A thousand whole units: over every minimum, and in every step.
        let amount = Money::new(100_000 * 10_i64.pow(currency.decimals()), currency);
        if shop_stripe::chargeable(amount).is_err() {
            continue;
        }
        let shop = Shop::open().await;
        let intent = Intent { amount, ..intent(Capture::Automatic) };
        let reference = shop.provider.open(&intent).await.expect("prepared");
        let charge = Charge { reference: reference.clone(), intent, attempt: 1, token: token_of("pm_card_visa") };
        shop.provider.charge(&charge).await.expect("a verdict");
        shop.stripe.refund_at_the_page(reference.as_str(), shop.taken() / 10);
        shop.stripe.dispute(reference.as_str(), "fraudulent");
        let record = shop.provider.record(&reference).await.expect("an answer").expect("is ours");
        assert_eq!(record.verdict, Some(Verdict::Approved { taken: amount }), "{code}");
        let back = Money::new(amount.minor / 10, currency);
        assert_eq!(record.refunds.iter().map(|given| given.amount).collect::<Vec<_>>(), [back], "{code}");
        assert_eq!(record.dispute.map(|dispute| dispute.amount), Some(amount), "{code}");
        tried += 1;
    }
    assert!(tried > 100, "{tried}");
}

#[tokio::test]
async fn nobody_there_is_no_verdict() {
    let shop = Shop::open().await;
    let reference = shop.charged().await;
    let Shop { stripe, provider, .. } = shop;
    drop(stripe);
    provider.find(&reference, 1).await.expect_err("unknown");
    provider.void(&reference).await.expect_err("unknown");
    provider.refund(&Payback { key: id(1), payment: id(1), reference, amount: usd(1) }).await.expect_err("unknown");
}

#[tokio::test]
async fn a_refund_of_the_providers_own_page_is_asked_about_and_not_made_once_more() {
    let shop = Shop::open().await;
    let reference = shop.opened(Capture::Automatic).await;
    shop.charge(&reference, 1, "pm_card_pendingRefund").await.expect("a verdict");
    let made = shop.stripe.refund_at_the_page(reference.as_str(), 300);
    let record = shop.provider.record(&reference).await.expect("an answer").expect("a payment's");
    let key = record.refunds[0].id;
    let payback = Payback { key, payment: record.payment, reference: reference.clone(), amount: usd(300) };
    assert_eq!(shop.provider.refund(&payback).await.expect("an answer"), Paid::Pending);
    shop.stripe.settle_refund(&made, true);
    assert_eq!(shop.provider.refund(&payback).await.expect("an answer"), Paid::Back);
    assert_eq!((shop.stripe.count(Call::Refund), shop.refunded()), (0, 300));
}
