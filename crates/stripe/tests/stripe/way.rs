//! What calls do when nothing is in the way.

use std::time::Duration;

use shop_stripe::{CaptureMethod, DisputeStatus, RefundStatus, Status, VERSION, decline};
use shop_testing::stripe::Call;

use crate::{Shop, soon};

#[tokio::test]
async fn an_intent_is_made_with_its_key_and_its_note_and_moves_nothing() {
    let shop = Shop::open().await;
    let intent = shop.made(CaptureMethod::Automatic).await;
    assert_eq!((intent.status, intent.amount, intent.currency.as_str()), (Status::RequiresPaymentMethod, 1000, "usd"));
    assert_eq!(intent.noted("payment"), Some("p1"));
    let request = &shop.stripe.requests()[0];
    assert_eq!((request.key.as_deref(), request.version.as_deref()), (Some("open-p1"), Some(VERSION)));
    assert_eq!((request.parameter("currency"), request.parameter("capture_method")), ("usd", "automatic"));
    assert_eq!((shop.stripe.taken("p1"), shop.stripe.charges("p1")), (0, 0));
}

#[tokio::test]
async fn a_card_is_charged_and_the_charge_told() {
    let shop = Shop::open().await;
    let paid = shop.paid().await;
    assert_eq!((paid.status, paid.amount_received), (Status::Succeeded, 1000));
    assert!(paid.charge.as_ref().is_some_and(|charge| !charge.disputed));
    assert_eq!(shop.client.retrieve(&paid.id, soon()).await.expect("found"), paid);
    assert_eq!(shop.stripe.taken("p1"), 1000);
}

#[tokio::test]
async fn a_decline_is_a_refusal_with_the_banks_reason_and_another_card_may_pay() {
    let shop = Shop::open().await;
    let intent = shop.made(CaptureMethod::Automatic).await;
    for (attempt, method, reason, may_retry) in [
        (1, "pm_card_visa_chargeDeclined", "generic_decline", true),
        (2, "pm_card_chargeDeclinedInsufficientFunds", "insufficient_funds", true),
        (3, "pm_card_visa_chargeDeclinedStolenCard", "stolen_card", false),
        (4, "pm_card_chargeDeclinedExpiredCard", "expired_card", true),
    ] {
        let error = shop.confirm(&intent, attempt, method).await.expect_err("declined");
        let refusal = error.refusal().expect("a refusal");
        assert_eq!((refusal.status, refusal.decline_code.as_deref()), (402, Some(reason)));
        let state = refusal.intent.as_ref().expect("the intent");
        assert_eq!(state.status, Status::RequiresPaymentMethod);
        let told = state.last_payment_error.as_ref().and_then(|error| error.decline_code.as_deref());
        assert_eq!((told, decline(told).may_retry), (Some(reason), may_retry));
    }
    assert_eq!(shop.confirm(&intent, 5, "pm_card_visa").await.expect("paid").status, Status::Succeeded);
    assert_eq!(shop.stripe.charges("p1"), 1);
    assert_eq!(shop.counted("confirm_intent", "declined"), 4);
}

#[tokio::test]
async fn a_bank_asks_the_payer_who_does_it_well_or_ill() {
    for (well, status) in [(true, Status::Succeeded), (false, Status::RequiresPaymentMethod)] {
        let shop = Shop::open().await;
        let intent = shop.made(CaptureMethod::Automatic).await;
        let asked = shop.confirm(&intent, 1, "pm_card_threeDSecure2Required").await.expect("asked");
        assert_eq!((asked.status, asked.action.as_deref()), (Status::RequiresAction, Some("redirect_to_url")));
        assert!(asked.redirect.is_some_and(|url| url.starts_with(&shop.stripe.url())));
        assert_eq!(shop.stripe.taken("p1"), 0);
        shop.stripe.authenticate(&intent.id, well);
        let after = shop.client.retrieve(&intent.id, soon()).await.expect("found");
        assert_eq!((after.status, after.redirect), (status, None));
        assert_eq!(after.last_payment_error.is_some(), !well);
    }
}

#[tokio::test]
async fn a_debit_wants_the_payers_consent_which_comes_with_a_confirmation_token() {
    let shop = Shop::open().await;
    let intent = shop.made(CaptureMethod::Automatic).await;
    let error = shop.confirm(&intent, 1, "pm_sepaDebit").await.expect_err("nobody consented");
    assert_eq!(error.refusal().and_then(|refusal| refusal.param.as_deref()), Some("mandate_data"), "{error}");
    let under_way = shop.confirm(&intent, 2, "ctoken_sepaDebit").await.expect("under way");
    assert_eq!(under_way.status, Status::Processing);
    let request = shop.stripe.requests().pop().expect("a request");
    assert_eq!(
        (request.parameter("confirmation_token"), request.parameter("payment_method")),
        ("ctoken_sepaDebit", "")
    );
}

#[tokio::test]
async fn money_that_takes_days_is_under_way_and_then_there_or_not() {
    for (well, status, taken) in [(true, Status::Succeeded, 1000), (false, Status::RequiresPaymentMethod, 0)] {
        let shop = Shop::open().await;
        let intent = shop.made(CaptureMethod::Automatic).await;
        let under_way = shop.confirm(&intent, 1, "pm_usBankAccount_processing").await.expect("under way");
        assert_eq!((under_way.status, shop.stripe.taken("p1")), (Status::Processing, 0));
        let refusal = shop.client.cancel(&intent.id, soon()).await.expect_err("too late");
        let state = refusal.refusal().and_then(|refusal| refusal.intent.as_ref()).expect("the intent");
        assert_eq!(state.status, Status::Processing, "what it is, is told with the refusal");
        shop.stripe.settle(&intent.id, well);
        let after = shop.client.retrieve(&intent.id, soon()).await.expect("found");
        assert_eq!((after.status, shop.stripe.taken("p1")), (status, taken));
    }
}

#[tokio::test]
async fn what_is_authorised_is_captured_once_in_part_and_the_rest_let_go() {
    let shop = Shop::open().await;
    let intent = shop.made(CaptureMethod::Manual).await;
    let held = shop.confirm(&intent, 1, "pm_card_visa").await.expect("authorised");
    assert_eq!((held.status, held.amount_capturable, held.amount_received), (Status::RequiresCapture, 1000, 0));
    assert!(held.charge.and_then(|charge| charge.capture_before).is_some());
    let error = shop.client.capture(&intent.id, 1001, soon()).await.expect_err("too much");
    assert!(error.refusal().is_some_and(|refusal| refusal.is("amount_too_large")));
    let taken = shop.client.capture(&intent.id, 600, soon()).await.expect("taken");
    assert_eq!((taken.status, taken.amount_received, taken.amount_capturable), (Status::Succeeded, 600, 0));
    let error = shop.client.capture(&intent.id, 400, soon()).await.expect_err("once");
    let state = error.refusal().and_then(|refusal| refusal.intent.as_ref()).expect("the intent");
    assert_eq!((state.amount_received, shop.stripe.taken("p1"), shop.stripe.authorised("p1")), (600, 600, 0));
    assert_eq!(shop.client.refunds(&intent.id, soon()).await, Ok(Vec::new()), "what was let go was not given back");
}

#[tokio::test]
async fn an_authorisation_is_let_go_or_lapses_by_itself() {
    let shop = Shop::open().await;
    let intent = shop.made(CaptureMethod::Manual).await;
    shop.confirm(&intent, 1, "pm_card_visa").await.expect("authorised");
    let gone = shop.client.cancel(&intent.id, soon()).await.expect("let go");
    assert_eq!((gone.status, gone.cancellation_reason.as_deref()), (Status::Canceled, Some("abandoned")));
    let shop = Shop::open().await;
    let intent = shop.made(CaptureMethod::Manual).await;
    shop.confirm(&intent, 1, "pm_card_visa").await.expect("authorised");
    shop.stripe.advance(Duration::from_hours(7 * 24));
    let gone = shop.client.retrieve(&intent.id, soon()).await.expect("found");
    assert_eq!((gone.status, gone.cancellation_reason.as_deref()), (Status::Canceled, Some("automatic")));
}

#[tokio::test]
async fn money_goes_back_in_parts_and_never_more_than_came() {
    let shop = Shop::open().await;
    let paid = shop.paid().await;
    assert_eq!(shop.refund(&paid, "r1", 600).await.expect("back").status, RefundStatus::Succeeded);
    assert!(shop.refund(&paid, "r2", 401).await.is_err());
    shop.refund(&paid, "r3", 400).await.expect("back");
    let error = shop.refund(&paid, "r4", 1).await.expect_err("nothing left");
    assert!(error.refusal().is_some_and(|refusal| refusal.is("charge_already_refunded")));
    let all = shop.client.refunds(&paid.id, soon()).await.expect("listed");
    let noted: Vec<_> = all.iter().map(|refund| (refund.noted("refund"), refund.amount)).collect();
    assert_eq!(noted, [(Some("r3"), 400), (Some("r1"), 600)]);
    assert_eq!(shop.stripe.refunded("p1"), 1000);
}

#[tokio::test]
async fn a_refund_that_takes_its_time_may_come_back_and_so_may_one_that_arrived() {
    let shop = Shop::open().await;
    let intent = shop.made(CaptureMethod::Automatic).await;
    let paid = shop.confirm(&intent, 1, "pm_card_pendingRefund").await.expect("paid");
    let refund = shop.refund(&paid, "r1", 1000).await.expect("under way");
    assert_eq!(refund.status, RefundStatus::Pending);
    for (well, status) in [(true, RefundStatus::Succeeded), (false, RefundStatus::Failed)] {
        shop.stripe.settle_refund(&refund.id, well);
        let all = shop.client.refunds(&paid.id, soon()).await.expect("listed");
        assert_eq!((all[0].status, all[0].failure_reason.is_some()), (status, !well));
    }
    assert_eq!(shop.stripe.refunded("p1"), 0);
    shop.refund(&paid, "r2", 1000).await.expect("it can be given back again");
}

#[tokio::test]
async fn many_refunds_come_in_pages() {
    let shop = Shop::open().await;
    let paid = shop.paid().await;
    for _ in 0..205 {
        shop.stripe.refund_at_the_page(&paid.id, 1);
    }
    let all = shop.client.refunds(&paid.id, soon()).await.expect("listed");
    let ids: std::collections::BTreeSet<_> = all.iter().map(|refund| &refund.id).collect();
    assert_eq!((all.len(), ids.len(), shop.stripe.count(Call::ListRefunds)), (205, 205, 3));
}

#[tokio::test]
async fn a_dispute_is_seen_at_the_charge_and_keeps_its_money_from_going_back() {
    let shop = Shop::open().await;
    let paid = shop.paid().await;
    let dispute = shop.stripe.dispute(&paid.id, "product_not_received");
    let now = shop.client.retrieve(&paid.id, soon()).await.expect("found");
    assert!(now.charge.is_some_and(|charge| charge.disputed));
    let error = shop.refund(&paid, "r1", 1000).await.expect_err("disputed");
    assert!(error.refusal().is_some_and(|refusal| refusal.is("charge_disputed")));
    let all = shop.client.disputes(&paid.id, soon()).await.expect("listed");
    assert_eq!(
        (all[0].status, all[0].amount, all[0].reason.as_str()),
        (DisputeStatus::Open, 1000, "product_not_received")
    );
    shop.stripe.decide(&dispute, false);
    assert_eq!(shop.client.disputes(&paid.id, soon()).await.expect("listed")[0].status, DisputeStatus::Lost);
}

#[tokio::test]
async fn calls_share_a_connection() {
    let shop = Shop::open().await;
    let paid = shop.paid().await;
    for _ in 0..5 {
        shop.client.retrieve(&paid.id, soon()).await.expect("found");
    }
    assert_eq!((shop.stripe.requests().len(), shop.stripe.connections()), (7, 1));
}
