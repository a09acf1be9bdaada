//! The double keeps to Stripe's rules.

use serde_json::json;

use super::*;

/// Asks as a client would.
async fn ask(stripe: &Stripe, method: &str, path: &str, key: &str, form: &[(&str, &str)]) -> Option<(u16, Value)> {
    let client = reqwest::Client::new();
    let url = format!("{}{path}", stripe.url());
    let request = if method == "GET" { client.get(url).query(form) } else { client.post(url).body(body(form)) };
    let request = request.header("authorization", format!("Bearer {KEY}")).header("stripe-version", "any");
    let request = if key.is_empty() { request } else { request.header("idempotency-key", key) };
    let response = request.send().await.ok()?;
    let status = response.status().as_u16();
    Some((status, serde_json::from_str(&response.text().await.ok()?).expect("JSON")))
}

fn body(form: &[(&str, &str)]) -> String {
    let mut url = reqwest::Url::parse("http://x/").expect("a URL");
    url.query_pairs_mut().extend_pairs(form);
    url.query().unwrap_or_default().to_owned()
}

async fn post(stripe: &Stripe, path: &str, key: &str, form: &[(&str, &str)]) -> (u16, Value) {
    ask(stripe, "POST", path, key, form).await.expect("an answer")
}

async fn create(stripe: &Stripe, key: &str) -> (u16, Value) {
    let form = [("amount", "1000"), ("currency", "usd"), ("metadata[payment]", "p")];
    post(stripe, "/v1/payment_intents", key, &form).await
}

async fn confirm(stripe: &Stripe, intent: &Value, key: &str, method: &str) -> (u16, Value) {
    let path = format!("/v1/payment_intents/{}/confirm", intent["id"].as_str().expect("an id"));
    post(stripe, &path, key, &[("payment_method", method), ("return_url", "https://shop.example")]).await
}

#[tokio::test]
async fn a_key_has_one_answer_for_a_day_and_other_parameters_are_an_error() {
    let stripe = Stripe::start().await;
    let (_, first) = create(&stripe, "k").await;
    assert_eq!(create(&stripe, "k").await.1["id"], first["id"]);
    let (status, error) = post(&stripe, "/v1/payment_intents", "k", &[("amount", "999"), ("currency", "usd")]).await;
    assert_eq!((status, &error["error"]["type"]), (400, &json!("idempotency_error")));
    stripe.advance(Duration::from_hours(24));
    assert_ne!(create(&stripe, "k").await.1["id"], first["id"], "forgotten");
    assert_eq!(stripe.intents_of("p").len(), 2);
}

#[tokio::test]
async fn a_500_is_an_answer_that_stays_whether_it_acted_or_not() {
    for (fault, made) in [(Fault::FailBefore, 0), (Fault::FailAfter, 1)] {
        let stripe = Stripe::start().await;
        stripe.fail(Call::Create, fault);
        assert_eq!(create(&stripe, "k").await.0, 500);
        assert_eq!(create(&stripe, "k").await.0, 500, "the same again");
        assert_eq!(stripe.intents_of("p").len(), made);
    }
}

#[tokio::test]
async fn a_reply_is_lost_after_it_acted_and_a_request_before() {
    for (fault, made) in [(Fault::LoseReply, 1), (Fault::LoseRequest, 0)] {
        let stripe = Stripe::start().await;
        stripe.fail(Call::Create, fault);
        let form = [("amount", "1000"), ("currency", "usd"), ("metadata[payment]", "p")];
        assert_eq!(ask(&stripe, "POST", "/v1/payment_intents", "k", &form).await, None);
        assert_eq!(stripe.intents_of("p").len(), made);
        assert_eq!(create(&stripe, "k").await.0, 200);
        assert_eq!(stripe.intents_of("p").len(), 1);
    }
}

#[tokio::test]
async fn a_key_in_use_is_told_and_limits_and_locks_keep_nothing() {
    let stripe = Stripe::start().await;
    stripe.fail(Call::Create, Fault::Hold);
    let during = async {
        crate::eventually!(stripe.count(Call::Create) == 1);
        let (status, error) = create(&stripe, "k").await;
        stripe.release();
        (status, error["error"]["code"].clone())
    };
    let ((status, _), during) = tokio::join!(create(&stripe, "k"), during);
    assert_eq!((status, during), (200, (409, json!("idempotency_key_in_use"))));
    stripe.fail(Call::Create, Fault::Limit);
    stripe.fail(Call::Create, Fault::Lock);
    let answers = [create(&stripe, "l").await.0, create(&stripe, "l").await.0, create(&stripe, "l").await.0];
    assert_eq!(answers, [429, 409, 200]);
}

#[tokio::test]
async fn an_intent_succeeds_once_whatever_the_keys() {
    let stripe = Stripe::start().await;
    let (_, intent) = create(&stripe, "k").await;
    assert_eq!(confirm(&stripe, &intent, "1", "pm_card_visa").await.1["status"], "succeeded");
    let (status, error) = confirm(&stripe, &intent, "2", "pm_card_visa").await;
    assert_eq!((status, &error["error"]["code"]), (400, &json!("payment_intent_unexpected_state")));
    assert_eq!((stripe.charges("p"), stripe.taken("p")), (1, 1000));
}

#[tokio::test]
async fn a_decline_puts_it_back_and_is_the_keys_answer() {
    let stripe = Stripe::start().await;
    let (_, intent) = create(&stripe, "k").await;
    for _ in 0..2 {
        let (status, error) = confirm(&stripe, &intent, "1", "pm_card_visa_chargeDeclinedInsufficientFunds").await;
        assert_eq!((status, &error["error"]["decline_code"]), (402, &json!("insufficient_funds")));
        assert_eq!(error["error"]["payment_intent"]["status"], "requires_payment_method");
    }
    assert_eq!(confirm(&stripe, &intent, "2", "pm_card_visa").await.0, 200);
}

#[tokio::test]
async fn an_authorisation_lapses_after_a_week() {
    let stripe = Stripe::start().await;
    let form = [("amount", "1000"), ("currency", "usd"), ("capture_method", "manual"), ("metadata[payment]", "p")];
    let (_, intent) = post(&stripe, "/v1/payment_intents", "k", &form).await;
    confirm(&stripe, &intent, "1", "pm_card_visa").await;
    assert_eq!((stripe.authorised("p"), stripe.taken("p")), (1000, 0));
    stripe.advance(Duration::from_secs(7 * 24 * 3600 - 1));
    assert_eq!(stripe.authorised("p"), 1000);
    stripe.advance(Duration::from_secs(1));
    assert_eq!((stripe.authorised("p"), &stripe.intents_of("p")[0]["status"]), (0, &json!("canceled")));
}

#[tokio::test]
async fn no_more_is_given_back_than_was_taken() {
    let stripe = Stripe::start().await;
    let (_, intent) = create(&stripe, "k").await;
    confirm(&stripe, &intent, "1", "pm_card_visa").await;
    let id = intent["id"].as_str().expect("an id");
    let refund = async |key: &str, amount: &str| {
        post(&stripe, "/v1/refunds", key, &[("payment_intent", id), ("amount", amount)]).await
    };
    assert_eq!(refund("a", "600").await.0, 200);
    assert_eq!(refund("b", "401").await.0, 400);
    assert_eq!(refund("c", "400").await.0, 200);
    assert_eq!(refund("d", "1").await.1["error"]["code"], "charge_already_refunded");
    assert_eq!(stripe.refunded("p"), 1000);
    let first = stripe.refunds_of(id)[0]["id"].as_str().expect("an id").to_owned();
    stripe.settle_refund(&first, false);
    assert_eq!(stripe.refunded("p"), 400, "it came back");
}

#[tokio::test]
async fn webhooks_are_sent_in_order_or_by_hand_and_signed() {
    let stripe = Stripe::start().await;
    let receiver = crate::Receiver::start(&[]).await;
    stripe.send_webhooks(Webhooks::AtOnce(receiver.url(), "whsec_double".to_owned()));
    let (_, intent) = create(&stripe, "k").await;
    confirm(&stripe, &intent, "1", "pm_card_visa").await;
    crate::eventually!(receiver.got().len() == 3);
    let kinds: Vec<_> = receiver.got().iter().map(|got| got.json()["type"].clone()).collect();
    assert_eq!(kinds, ["payment_intent.created", "charge.succeeded", "payment_intent.succeeded"]);
    let header = receiver.got()[0].header("stripe-signature").to_owned();
    let at =
        header.split(',').next().and_then(|part| part.strip_prefix("t=")).expect("a time").parse().expect("seconds");
    assert_eq!(header, stripe.events()[0].signature("whsec_double", at));
    stripe.send_webhooks(Webhooks::ByHandTo(receiver.url(), "whsec_double".to_owned()));
    stripe.dispute(intent["id"].as_str().expect("an id"), "fraudulent");
    let event = stripe.events().pop().expect("an event");
    assert_eq!((event.kind.as_str(), receiver.got().len()), ("charge.dispute.created", 3));
    assert_eq!((stripe.deliver(&event).await, stripe.deliver(&event).await, receiver.got().len()), (204, 204, 5));
}
