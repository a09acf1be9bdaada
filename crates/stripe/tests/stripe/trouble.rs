//! What calls do when something goes wrong: money moves once, and what is not known is not made up.

use std::time::Duration;

use shop_config::Duration as Length;
use shop_config::Secret;
use shop_stripe::{CaptureMethod, Error, NewIntent, Status};
use shop_testing::stripe::{Call, Fault};
use tokio::time::Instant;

use crate::{Shop, soon};

#[tokio::test]
async fn a_lost_reply_is_asked_for_again_and_nothing_happens_twice() {
    let shop = Shop::open().await;
    for call in [Call::Create, Call::Confirm, Call::Retrieve, Call::Refund, Call::ListRefunds] {
        shop.stripe.fail(call, Fault::LoseReply);
    }
    let paid = shop.paid().await;
    assert_eq!(shop.client.retrieve(&paid.id, soon()).await.expect("found").amount_received, 1000);
    shop.refund(&paid, "r1", 400).await.expect("back");
    assert_eq!(shop.client.refunds(&paid.id, soon()).await.expect("listed").len(), 1);
    let (intents, charges) = (shop.stripe.intents_of("p1").len(), shop.stripe.charges("p1"));
    assert_eq!((intents, charges, shop.stripe.taken("p1"), shop.stripe.refunded("p1")), (1, 1, 1000, 400));
    assert_eq!((shop.counted("confirm_intent", "lost"), shop.counted("confirm_intent", "ok")), (1, 1));
}

#[tokio::test]
async fn a_capture_or_a_cancellation_whose_reply_was_lost_tells_what_became_of_it() {
    let shop = Shop::open().await;
    let intent = shop.made(CaptureMethod::Manual).await;
    shop.confirm(&intent, 1, "pm_card_visa").await.expect("authorised");
    shop.stripe.fail(Call::Capture, Fault::LoseReply);
    let error = shop.client.capture(&intent.id, 600, soon()).await.expect_err("it was captured already");
    let state = error.refusal().and_then(|refusal| refusal.intent.clone()).expect("the intent");
    assert_eq!((state.status, state.amount_received, shop.stripe.taken("p1")), (Status::Succeeded, 600, 600));

    let shop = Shop::open().await;
    let intent = shop.made(CaptureMethod::Manual).await;
    shop.stripe.fail(Call::Cancel, Fault::LoseReply);
    let error = shop.client.cancel(&intent.id, soon()).await.expect_err("it was called off already");
    let state = error.refusal().and_then(|refusal| refusal.intent.clone()).expect("the intent");
    assert_eq!(state.status, Status::Canceled);
}

#[tokio::test]
async fn a_request_that_never_arrived_is_made_again() {
    for call in Call::ALL {
        let shop = Shop::open().await;
        shop.stripe.fail(call, Fault::LoseRequest);
        let intent = shop.made(CaptureMethod::Manual).await;
        shop.confirm(&intent, 1, "pm_card_visa").await.expect("authorised");
        shop.client.retrieve(&intent.id, soon()).await.expect("found");
        if call == Call::Cancel {
            shop.client.cancel(&intent.id, soon()).await.expect("let go");
            continue;
        }
        shop.client.capture(&intent.id, 1000, soon()).await.expect("taken");
        shop.refund(&intent, "r1", 1000).await.expect("back");
        shop.client.refunds(&intent.id, soon()).await.expect("listed");
        shop.client.disputes(&intent.id, soon()).await.expect("listed");
        assert_eq!((shop.stripe.taken("p1"), shop.stripe.refunded("p1")), (1000, 1000), "{call:?}");
    }
}

#[tokio::test]
async fn a_limit_and_a_lock_are_waited_for() {
    let shop = Shop::open().await;
    let intent = shop.made(CaptureMethod::Automatic).await;
    shop.stripe.fail(Call::Confirm, Fault::Limit);
    shop.stripe.fail(Call::Confirm, Fault::Lock);
    assert_eq!(shop.confirm(&intent, 1, "pm_card_visa").await.expect("paid").status, Status::Succeeded);
    assert_eq!((shop.counted("confirm_intent", "limited"), shop.counted("confirm_intent", "locked")), (1, 1));
}

#[tokio::test]
async fn a_third_limit_is_the_answer_and_nothing_was_done() {
    let shop = Shop::open().await;
    for _ in 0..3 {
        shop.stripe.fail(Call::Create, Fault::Limit);
    }
    assert!(matches!(shop.create(CaptureMethod::Automatic).await, Err(Error::Lost(_))));
    assert_eq!((shop.stripe.count(Call::Create), shop.stripe.intents_of("p1").len()), (3, 0));
}

#[tokio::test]
async fn a_500_is_not_believed_either_way_and_the_intent_tells_the_truth() {
    for (fault, taken) in [(Fault::FailBefore, 0), (Fault::FailAfter, 1000)] {
        let shop = Shop::open().await;
        let intent = shop.made(CaptureMethod::Automatic).await;
        shop.stripe.fail(Call::Confirm, fault);
        assert!(matches!(shop.confirm(&intent, 1, "pm_card_visa").await, Err(Error::Lost(_))));
        // The second time it is told that the answer is a stored one, which would come for ever.
        assert_eq!(shop.stripe.count(Call::Confirm), 2);
        let now = shop.client.retrieve(&intent.id, soon()).await.expect("found");
        assert_eq!((now.amount_received, shop.stripe.taken("p1")), (taken, taken));
    }
}

#[tokio::test]
async fn stripe_says_whether_to_ask_again() {
    let shop = Shop::open().await;
    let not = vec![("stripe-should-retry", "false".to_owned())];
    shop.stripe.fail(Call::Create, Fault::Answer(503, not, "{}".to_owned()));
    assert!(shop.create(CaptureMethod::Automatic).await.is_err());
    assert_eq!(shop.stripe.count(Call::Create), 1);
    let again = vec![("stripe-should-retry", "true".to_owned())];
    shop.stripe.fail(Call::Create, Fault::Answer(400, again, "{}".to_owned()));
    assert!(shop.create(CaptureMethod::Automatic).await.is_ok());
}

#[tokio::test]
async fn a_key_with_other_parameters_is_refused_and_makes_no_second_intent() {
    let shop = Shop::open().await;
    shop.made(CaptureMethod::Automatic).await;
    let error = shop.create(CaptureMethod::Manual).await.expect_err("another request");
    assert!(error.refusal().is_some_and(|refusal| refusal.kind == "idempotency_error"));
    assert_eq!((shop.stripe.intents_of("p1").len(), shop.stripe.count(Call::Create)), (1, 2));
}

#[tokio::test]
async fn the_same_key_twice_at_once_makes_one_intent() {
    let shop = Shop::open().await;
    shop.stripe.fail(Call::Create, Fault::Hold);
    let second = async {
        shop_testing::eventually!(shop.stripe.count(Call::Create) == 1);
        let later = async {
            shop_testing::eventually!(shop.stripe.count(Call::Create) == 2);
            shop.stripe.release();
        };
        tokio::join!(shop.create(CaptureMethod::Automatic), later).0
    };
    let (first, second) = tokio::join!(shop.create(CaptureMethod::Automatic), second);
    assert_eq!(first.expect("made").id, second.expect("found").id);
    assert_eq!((shop.stripe.intents_of("p1").len(), shop.counted("create_intent", "locked")), (1, 1));
}

#[tokio::test]
async fn an_answer_that_does_not_come_is_waited_for_as_long_as_the_caller_has() {
    let shop = Shop::open().await;
    shop.stripe.fail(Call::Create, Fault::Hold);
    let began = Instant::now();
    let deadline = began + Duration::from_millis(200);
    let new = NewIntent { key: "k", amount: 1000, currency: "USD", capture: CaptureMethod::Automatic, metadata: &[] };
    assert!(matches!(shop.client.create(&new, deadline).await, Err(Error::Lost(_))));
    assert!(began.elapsed() < Duration::from_secs(5));
    assert_eq!(shop.stripe.count(Call::Create), 1, "no time was left for another");
}

#[tokio::test]
async fn a_slow_answer_is_asked_for_again_under_the_same_key() {
    let shop = Shop::with(|settings| settings.timeout = Length::millis(300)).await;
    shop.stripe.fail(Call::Create, Fault::Hold);
    let released = async {
        shop_testing::eventually!(shop.counted("create_intent", "lost") == 1);
        shop.stripe.release();
    };
    let (made, ()) = tokio::join!(shop.create(CaptureMethod::Automatic), released);
    assert_eq!(made.expect("made").status, Status::RequiresPaymentMethod);
    assert_eq!(shop.stripe.intents_of("p1").len(), 1);
}

#[tokio::test]
async fn an_answer_that_means_nothing_is_an_error_and_never_a_payment() {
    let intent = |member: &str| {
        format!(
            r#"{{"object":"payment_intent","id":"pi_1","currency":"usd","amount":1000,"amount_received":0,{member}}}"#
        )
    };
    let long = format!(r#"{{"object":"payment_intent","junk":"{}"}}"#, "x".repeat(1024 * 1024));
    for (status, body) in [
        (200, String::new()),
        (200, "<html>hello</html>".to_owned()),
        (200, "null".to_owned()),
        (200, r#"{"object":"charge","id":"ch_1"}"#.to_owned()),
        (200, intent(r#""amount_received":"1000""#)),
        (200, long),
        (302, "{}".to_owned()),
    ] {
        let shop = Shop::open().await;
        let to = vec![("location", "https://elsewhere.example/".to_owned())];
        shop.stripe.fail(Call::Create, Fault::Answer(status, to, body.clone()));
        let error = shop.create(CaptureMethod::Automatic).await.expect_err("unreadable");
        assert!(matches!(error, Error::Unreadable(_)), "{body:.60}: {error}");
    }
    let shop = Shop::open().await;
    shop.stripe.fail(Call::Create, Fault::Answer(200, Vec::new(), intent(r#""status":"requires_blessing","new":{}"#)));
    assert_eq!(shop.create(CaptureMethod::Automatic).await.expect("an intent").status, Status::Unsettled);
}

#[tokio::test]
async fn a_key_that_is_not_accepted_is_said_to_be_so_and_asked_with_once() {
    let shop = Shop::with(|settings| settings.secret_key = Secret::from("sk_test_stale")).await;
    assert!(matches!(shop.create(CaptureMethod::Automatic).await, Err(Error::Key(_))));
    assert_eq!(shop.stripe.count(Call::Create), 1);
}

#[tokio::test]
async fn an_id_that_is_none_reaches_no_other_path() {
    let shop = Shop::open().await;
    for id in ["../refunds", "pi_1/confirm", "pi_1?x=y", "pi 1", "", "é"] {
        assert!(shop.client.retrieve(id, soon()).await.is_err(), "{id}");
    }
    assert!(shop.stripe.requests().iter().all(|request| request.path.matches('/').count() == 3));
}

#[tokio::test]
async fn nobody_there_is_no_answer() {
    let shop =
        Shop::with(|settings| settings.base_url = format!("http://127.0.0.1:{}", shop_testing::free_port())).await;
    assert!(matches!(shop.create(CaptureMethod::Automatic).await, Err(Error::Lost(_))));
    assert_eq!(shop.counted("create_intent", "lost"), 3);
}

#[tokio::test]
async fn who_does_not_answer_is_left_alone_for_a_while_and_then_tried_again() {
    let shop = Shop::with(|settings| {
        settings.circuit_breaker.enabled = true;
        settings.circuit_breaker.timeout = Length::secs(1);
    })
    .await;
    let intent = shop.made(CaptureMethod::Automatic).await;
    let bad = || Fault::Answer(200, Vec::new(), "not JSON".to_owned());
    for _ in 0..5 {
        shop.stripe.fail(Call::Retrieve, bad());
        assert!(matches!(shop.client.retrieve(&intent.id, soon()).await, Err(Error::Unreadable(_) | Error::Resting)));
    }
    let asked = shop.stripe.count(Call::Retrieve);
    assert_eq!(shop.client.retrieve(&intent.id, soon()).await, Err(Error::Resting));
    assert_eq!(shop.stripe.count(Call::Retrieve), asked, "nothing was sent");
    assert!(shop.counted("retrieve_intent", "resting") > 0);
    assert!(shop.metrics.render().contains("stripe_circuit_breaker_open 1"));
    shop_testing::eventually!(shop.client.retrieve(&intent.id, soon()).await);
}

#[tokio::test]
async fn declines_and_refusals_do_not_count_against_stripe() {
    let shop = Shop::with(|settings| settings.circuit_breaker.enabled = true).await;
    let intent = shop.made(CaptureMethod::Automatic).await;
    for attempt in 0..10 {
        shop.confirm(&intent, attempt, "pm_card_visa_chargeDeclined").await.expect_err("declined");
    }
    assert_eq!(shop.confirm(&intent, 99, "pm_card_visa").await.expect("paid").status, Status::Succeeded);
}
