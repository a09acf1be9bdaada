//! Payments that Stripe takes: requests and webhooks at once, in any order, again and again. What went wrong in other shops.

use serde_json::{Value, json};
use shop_clock::Clock as _;
use shop_config::Secret;
use shop_identity::IdentitySettings;
use shop_testing::Stripe;
use shop_testing::stripe::{Call, Event, Fault, Webhooks, sign};

use crate::world::World;

const SECRET: &str = "whsec_abcdefghijklmnop";

/// A shop, and Stripe beside it.
struct Shop {
    world: World,
    stripe: Stripe,
}

impl Shop {
    async fn open() -> Self {
        let stripe = Stripe::start().await;
        let url = stripe.url();
        let world = World::set(IdentitySettings::off(), |config| {
            config.provider.sandbox = None;
            config.provider.approves_without_token = false;
            let settings = &mut config.provider.stripe;
            settings.secret_key = Secret::from(shop_testing::stripe::KEY);
            settings.webhook_secrets = Secret::from(SECRET);
            "https://shop.example/paid/{payment}".clone_into(&mut settings.return_url);
            settings.base_url = url;
            settings.circuit_breaker.enabled = false;
        })
        .await;
        stripe.begin_at(world.clock.now().unix_timestamp());
        let shop = Self { world, stripe };
        shop.stripe.send_webhooks(Webhooks::ByHandTo(shop.webhook_url(), SECRET.to_owned()));
        shop
    }

    fn webhook_url(&self) -> String {
        self.world.api.url("/webhooks/stripe")
    }

    async fn pending(&self, capture: &str) -> String {
        let order = json!({"user_id": "ada", "method": "credit_card", "capture": capture});
        let reply = self.world.post("/payments", &order).await;
        assert_eq!(reply.status, 201, "{reply:?}");
        reply.json()["id"].as_str().expect("an id").to_owned()
    }

    async fn process(&self, id: &str, token: &str) -> (u16, Value) {
        self.world.api.post(&format!("/payments/{id}/process"), &json!({"payment_token": token})).await
    }

    async fn get(&self, id: &str) -> Value {
        self.world.api.get(&format!("/payments/{id}")).await.1
    }

    async fn refund(&self, id: &str, body: &Value) -> (u16, Value) {
        self.world.api.post(&format!("/payments/{id}/refund"), body).await
    }

    async fn paid(&self) -> String {
        let id = self.pending("automatic").await;
        let (status, payment) = self.process(&id, "pm_card_visa").await;
        assert_eq!((status, &payment["status"]), (200, &json!("completed")), "{payment}");
        id
    }

    /// A payment by debit that is under way for days: the first token did not tell of the buyer's consent.
    async fn debited(&self) -> String {
        let reply = self.world.post("/payments", &json!({"user_id": "ada", "method": "bank_transfer"})).await;
        let id = reply.json()["id"].as_str().expect("an id").to_owned();
        let (status, problem) = self.process(&id, "pm_sepaDebit").await;
        assert_eq!((status, &problem["decline_code"]), (402, &json!("mandate_required")), "{problem}");
        assert_eq!(problem["may_retry"], true);
        let (status, payment) = self.process(&id, "ctoken_sepaDebit").await;
        assert_eq!((status, &payment["status"]), (200, &json!("processing")), "{payment}");
        self.world.clock.advance(std::time::Duration::from_hours(4 * 24));
        self.stripe.begin_at(self.world.clock.now().unix_timestamp());
        assert_eq!(self.get(&id).await["status"], "processing");
        id
    }

    fn intent(&self, id: &str) -> String {
        let intents = self.stripe.intents_of(id);
        assert_eq!(intents.len(), 1, "one intent per payment");
        intents[0]["id"].as_str().expect("an id").to_owned()
    }

    fn events(&self, kind: &str) -> Vec<Event> {
        self.stripe.events().into_iter().filter(|event| event.kind == kind).collect()
    }

    fn event(&self, kind: &str) -> Event {
        self.events(kind).pop().expect("it happened")
    }

    async fn deliver(&self, kind: &str) -> u16 {
        self.stripe.deliver(&self.event(kind)).await
    }

    /// A webhook as anybody may send one.
    async fn call(&self, signature: &str, body: Vec<u8>) -> u16 {
        let request = self.world.api.request(reqwest::Method::POST, "/webhooks/stripe");
        self.world.api.send(request.header("stripe-signature", signature).body(body)).await.status
    }

    fn told(&self, kind: &str) -> usize {
        self.world.events.kinds().iter().filter(|told| *told == kind).count()
    }

    /// What was told of the payments so far, once nothing more waits to be told.
    async fn told_once(&self, kind: &str) {
        shop_testing::eventually!(self.told(kind) == 1);
    }
}

#[tokio::test]
async fn a_webhook_before_the_answer_and_the_answer_book_the_money_once() {
    let shop = Shop::open().await;
    shop.stripe.send_webhooks(Webhooks::BeforeTheAnswer(shop.webhook_url(), SECRET.to_owned()));
    let id = shop.paid().await;
    let payment = shop.get(&id).await;
    assert_eq!((&payment["status"], &payment["captured_amount"]), (&json!("completed"), &payment["amount"]));
    assert!(shop.stripe.delivered().iter().all(|(_, status)| *status == 200), "{:?}", shop.stripe.delivered());
    shop.told_once("payment.completed").await;
    assert_eq!(shop.stripe.charges(&id), 1);
}

#[tokio::test]
async fn a_request_whose_answer_is_lost_answers_what_the_webhook_brought() {
    let shop = Shop::open().await;
    shop.stripe.send_webhooks(Webhooks::BeforeTheAnswer(shop.webhook_url(), SECRET.to_owned()));
    let id = shop.pending("automatic").await;
    shop.stripe.fail(Call::Confirm, Fault::FailAfter);
    let (status, payment) = shop.process(&id, "pm_card_visa").await;
    assert_eq!((status, &payment["status"]), (200, &json!("completed")), "{payment}");
    shop.told_once("payment.completed").await;
    assert_eq!(shop.stripe.charges(&id), 1);
}

#[tokio::test]
async fn two_tabs_at_once_make_one_intent_and_one_charge() {
    let shop = Shop::open().await;
    let id = shop.pending("automatic").await;
    let (one, other) = tokio::join!(shop.process(&id, "pm_card_visa"), shop.process(&id, "pm_card_mastercard"));
    assert!(one.0 == 200 || other.0 == 200, "{one:?} {other:?}");
    shop_testing::eventually!(shop.get(&id).await["status"] == "completed");
    let _one_alone = shop.intent(&id);
    assert_eq!(shop.stripe.charges(&id), 1);
    shop.told_once("payment.completed").await;
}

#[tokio::test]
async fn two_captures_at_once_take_the_money_once() {
    let shop = Shop::open().await;
    let id = shop.pending("manual").await;
    assert_eq!(shop.process(&id, "pm_card_visa").await.1["status"], "authorised");
    let path = format!("/payments/{id}/capture");
    let (body, more) = (json!({"amount": 10.00}), json!({}));
    let (one, other) = tokio::join!(shop.world.api.post(&path, &body), shop.world.api.post(&path, &more));
    assert!(one.0 == 200 || other.0 == 200, "{one:?} {other:?}");
    let payment = shop.get(&id).await;
    let captured = payment["captured_amount"].as_f64().expect("an amount");
    assert!(
        (captured * 100.0 - f64::from(i32::try_from(shop.stripe.taken(&id)).expect("small"))).abs() < 0.5,
        "{payment}"
    );
    assert_eq!((shop.stripe.charges(&id), shop.stripe.authorised(&id)), (1, 0));
}

#[tokio::test]
async fn a_webhook_that_decides_nothing_changes_nothing() {
    let shop = Shop::open().await;
    let id = shop.pending("automatic").await;
    let (_, payment) = shop.process(&id, "pm_usBankAccount_processing").await;
    assert_eq!(payment["status"], "processing", "{payment}");
    for kind in ["payment_intent.created", "payment_intent.processing"] {
        assert_eq!(shop.deliver(kind).await, 200);
        assert_eq!(shop.get(&id).await["status"], "processing", "{kind}");
    }
    assert_eq!(shop.told("payment.completed"), 0);
    shop.stripe.settle(&shop.intent(&id), true);
    assert_eq!(shop.deliver("payment_intent.succeeded").await, 200);
    assert_eq!(shop.get(&id).await["status"], "completed");
    shop.told_once("payment.completed").await;
}

#[tokio::test]
async fn who_confirmed_at_his_bank_and_closed_the_tab_has_paid() {
    let shop = Shop::open().await;
    let id = shop.pending("automatic").await;
    let (status, payment) = shop.process(&id, "pm_card_threeDSecure2Required").await;
    assert_eq!((status, &payment["status"]), (200, &json!("requires_action")), "{payment}");
    assert_eq!(payment["next_action"]["type"], "redirect");
    shop.stripe.authenticate(&shop.intent(&id), true);
    assert_eq!(shop.deliver("payment_intent.succeeded").await, 200);
    shop.told_once("payment.completed").await;
}

#[tokio::test]
async fn asking_again_and_again_does_not_give_the_buyer_more_time() {
    let shop = Shop::open().await;
    let id = shop.pending("automatic").await;
    let (_, payment) = shop.process(&id, "pm_card_threeDSecure2Required").await;
    shop.world.clock.advance(std::time::Duration::from_mins(5));
    let later = shop.get(&id).await;
    assert_eq!((&later["next_action"], &later["version"]), (&payment["next_action"], &payment["version"]));
}

#[tokio::test]
async fn the_same_event_three_times_at_once_is_booked_once() {
    let shop = Shop::open().await;
    let id = shop.pending("automatic").await;
    shop.process(&id, "pm_usBankAccount_processing").await;
    shop.stripe.settle(&shop.intent(&id), true);
    let event = shop.event("payment_intent.succeeded");
    let answers = tokio::join!(shop.stripe.deliver(&event), shop.stripe.deliver(&event), shop.stripe.deliver(&event));
    assert_eq!(answers, (200, 200, 200));
    shop.told_once("payment.completed").await;
    let asked = shop.stripe.requests().len();
    assert_eq!(shop.stripe.deliver(&event).await, 200);
    assert_eq!(shop.stripe.requests().len(), asked, "what is known is not asked for again");
}

#[tokio::test]
async fn events_in_the_wrong_order_come_to_the_same() {
    let shop = Shop::open().await;
    let id = shop.paid().await;
    shop.stripe.refund_at_the_page(&shop.intent(&id), 300);
    let mut events = shop.stripe.events();
    events.reverse();
    for event in &events {
        assert_eq!(shop.stripe.deliver(event).await, 200, "{}", event.kind);
    }
    let payment = shop.get(&id).await;
    assert_eq!(
        (&payment["status"], payment["refunds"].as_array().map(Vec::len)),
        (&json!("partially_refunded"), Some(1))
    );
    shop.told_once("payment.completed").await;
    shop.told_once("payment.refunded").await;
}

#[tokio::test]
async fn what_is_not_ours_is_taken_and_left_alone() {
    let shop = Shop::open().await;
    shop.stripe.foreign(500, "eur");
    for kind in ["charge.succeeded", "payment_intent.succeeded"] {
        assert_eq!(shop.deliver(kind).await, 200, "{kind}");
    }
    let now = shop.world.clock.now().unix_timestamp();
    for body in [
        json!({"id": "evt_a", "type": "customer.created", "data": {"object": {"object": "customer", "id": "cus_1"}}}),
        json!({"id": "evt_b", "type": "payment_intent.payment_failed", "account": "acct_2",
               "data": {"object": {"object": "payment_intent", "id": "pi_elsewhere"}}}),
        json!({"id": "evt_c", "type": "payment_intent.payment_failed",
               "data": {"object": {"object": "payment_intent", "id": "pi_unknown"}}}),
        json!({"id": "evt_d", "type": "new.in_2030", "data": {}}),
        json!({"nothing": "of an event"}),
    ] {
        let body = body.to_string().into_bytes();
        assert_eq!(shop.call(&sign(SECRET, now, &body), body).await, 200);
    }
    let metrics = shop.world.api.send(shop.world.api.request(reqwest::Method::GET, "/metrics")).await.text;
    assert!(metrics.contains(r#"payment_webhooks_total{outcome="foreign",provider="stripe"} 6"#), "{metrics}");
    assert!(metrics.contains(r#"payment_webhooks_total{outcome="unreadable",provider="stripe"} 1"#), "{metrics}");
}

#[tokio::test]
async fn only_the_bytes_that_were_signed_are_believed() {
    let shop = Shop::open().await;
    let now = shop.world.clock.now().unix_timestamp();
    let spaced = b"{ \"id\" : \"evt_\\u0061\",\n \"type\": \"x\" }".to_vec();
    let good = sign(SECRET, now, &spaced);
    assert_eq!(shop.call(&good, spaced.clone()).await, 200, "as they are, odd as they are");
    let mut zipped = spaced.clone();
    zipped.reverse();
    for (signature, body) in [
        (good.as_str(), zipped),
        (&sign("whsec_of_somebody_else", now, &spaced), spaced.clone()),
        (&sign(SECRET, now - 301, &spaced), spaced.clone()),
        (&sign(SECRET, now + 301, &spaced), spaced.clone()),
        (&good.replace("v1=", "v0="), spaced.clone()),
        ("", spaced.clone()),
    ] {
        assert_eq!(shop.call(signature, body).await, 400, "{signature}");
    }
    let long = vec![b' '; 256 * 1024 + 1];
    assert_eq!(shop.call(&sign(SECRET, now, &long), long).await, 413);
}

#[tokio::test]
async fn what_was_given_back_at_stripes_own_page_is_booked_and_cannot_be_given_back_again() {
    let shop = Shop::open().await;
    let id = shop.paid().await;
    let intent = shop.intent(&id);
    let all = shop.stripe.taken(&id);
    shop.stripe.refund_at_the_page(&intent, all);
    // Nobody has told the shop yet.
    let (status, problem) = shop.refund(&id, &json!({"amount": 1.00})).await;
    assert_eq!((status, &problem["code"]), (409, &json!("refund_refused")), "{problem}");
    assert_eq!(shop.deliver("charge.refunded").await, 200);
    assert_eq!(shop.deliver("refund.created").await, 200);
    let payment = shop.get(&id).await;
    let refunds: Vec<_> = payment["refunds"].as_array().into_iter().flatten().map(|refund| &refund["status"]).collect();
    assert_eq!(payment["status"], "refunded", "{payment}");
    assert_eq!(refunds, ["failed", "paid"], "{payment}");
    let (status, problem) = shop.refund(&id, &json!({"amount": 1.00})).await;
    assert_eq!((status, &problem["code"]), (409, &json!("invalid_state")), "{problem}");
    assert_eq!(shop.stripe.refunded(&id), all);
}

#[tokio::test]
async fn a_refund_that_came_back_can_be_made_again() {
    let shop = Shop::open().await;
    let id = shop.pending("automatic").await;
    shop.process(&id, "pm_card_pendingRefund").await;
    shop.refund(&id, &json!({"amount": 1.00})).await;
    let refunds = shop.stripe.refunds_of(&shop.intent(&id));
    shop.stripe.settle_refund(refunds[0]["id"].as_str().expect("an id"), false);
    assert_eq!(shop.deliver("refund.failed").await, 200);
    let payment = shop.get(&id).await;
    assert_eq!((&payment["status"], &payment["refunds"][0]["status"]), (&json!("completed"), &json!("failed")));
    assert_eq!(shop.stripe.refunded(&id), 0);
}

#[tokio::test]
async fn a_refund_that_comes_back_after_it_was_paid_is_booked_once_in_any_order_and_made_again() {
    let shop = Shop::open().await;
    let id = shop.paid().await;
    let all = shop.stripe.taken(&id);
    let (_, payment) = shop.refund(&id, &json!({"restock": true})).await;
    assert_eq!((&payment["status"], &payment["refunds"][0]["status"]), (&json!("refunded"), &json!("paid")));
    let refunds = shop.stripe.refunds_of(&shop.intent(&id));
    shop.stripe.settle_refund(refunds[0]["id"].as_str().expect("an id"), false);
    let mut late: Vec<Event> = shop.stripe.events();
    late.reverse();
    for event in late.iter().chain(&late) {
        assert_eq!(shop.stripe.deliver(event).await, 200, "{}", event.kind);
    }
    let payment = shop.get(&id).await;
    assert_eq!((&payment["status"], &payment["refunds"][0]["status"]), (&json!("completed"), &json!("failed")));
    assert_eq!((&payment["refunded_amount"], &payment["captured_amount"]), (&json!(0.0), &payment["amount"]));
    shop.told_once("payment.refund_failed").await;
    let (status, payment) = shop.refund(&id, &json!({"restock": true})).await;
    assert_eq!((status, &payment["status"]), (200, &json!("refunded")), "{payment}");
    assert_eq!(shop.stripe.refunded(&id), all);
    let shelved = shop.world.events.kinds().iter().filter(|kind| kind.starts_with("Increase")).count();
    assert_eq!(shelved, payment["items"].as_array().expect("items").len(), "the goods came back once");
}

#[tokio::test]
async fn a_refund_that_comes_back_is_found_though_nobody_calls() {
    let shop = Shop::open().await;
    let id = shop.paid().await;
    shop.refund(&id, &json!({"amount": 1.00})).await;
    let refunds = shop.stripe.refunds_of(&shop.intent(&id));
    shop.stripe.settle_refund(refunds[0]["id"].as_str().expect("an id"), false);
    let lists = shop.stripe.count(Call::ListRefunds);
    shop.world.clock.advance(std::time::Duration::from_hours(23));
    assert_eq!(shop.get(&id).await["status"], "partially_refunded");
    assert_eq!(shop.stripe.count(Call::ListRefunds), lists, "not before a day is over");
    shop.world.clock.advance(std::time::Duration::from_hours(1));
    shop_testing::eventually!(shop.get(&id).await["status"] == "completed");
    shop.told_once("payment.refund_failed").await;
}

#[tokio::test]
async fn a_webhook_that_says_whose_it_is_asks_stripe_once_and_is_not_believed() {
    let shop = Shop::open().await;
    let id = shop.pending("automatic").await;
    shop.process(&id, "pm_usBankAccount_processing").await;
    let other = shop.pending("automatic").await;
    shop.stripe.settle(&shop.intent(&id), true);
    let asked = shop.stripe.count(Call::Retrieve);
    let event = shop.event("payment_intent.succeeded");
    let forged = event.body.replace(&id, &other).replace(&event.id, "evt_forged");
    let now = shop.world.clock.now().unix_timestamp();
    assert_eq!(shop.call(&sign(SECRET, now, forged.as_bytes()), forged.into_bytes()).await, 200);
    assert_eq!(shop.get(&other).await["status"], "pending");
    assert_eq!(shop.stripe.count(Call::Retrieve), asked, "the other has no such intent");
    assert_eq!(shop.stripe.deliver(&event).await, 200);
    assert_eq!(shop.stripe.count(Call::Retrieve), asked + 1);
    assert_eq!(shop.get(&id).await["status"], "completed");
    shop.refund(&id, &json!({"amount": 1.00})).await;
    let asked = shop.stripe.count(Call::Retrieve);
    assert_eq!(shop.deliver("refund.created").await, 200);
    assert_eq!(shop.deliver("charge.refunded").await, 200);
    assert_eq!(shop.stripe.count(Call::Retrieve), asked + 2);
}

#[tokio::test]
async fn however_often_a_payment_that_waits_is_read_stripe_is_asked_once_in_a_while() {
    let shop = Shop::open().await;
    let id = shop.pending("automatic").await;
    shop.process(&id, "pm_card_threeDSecure2Required").await;
    let asked = shop.stripe.count(Call::Retrieve);
    shop.stripe.fail(Call::Retrieve, Fault::Hold);
    let reads = async { tokio::join!(shop.get(&id), shop.get(&id), shop.get(&id), shop.get(&id)) };
    let release = async {
        shop_testing::eventually!(shop.stripe.count(Call::Retrieve) == asked + 1);
        shop.stripe.authenticate(&shop.intent(&id), true);
        shop.stripe.release();
    };
    let (read, ()) = tokio::join!(reads, release);
    for payment in [read.0, read.1, read.2, read.3] {
        assert_eq!(payment["status"], "completed", "whoever waited hears what was said");
    }
    assert_eq!(shop.stripe.count(Call::Retrieve), asked + 1);
    let id = shop.pending("automatic").await;
    shop.process(&id, "pm_card_threeDSecure2Required").await;
    let asked = shop.stripe.count(Call::Retrieve);
    for _ in 0..5 {
        assert_eq!(shop.get(&id).await["status"], "requires_action");
    }
    assert_eq!(shop.stripe.count(Call::Retrieve), asked + 1);
    shop.stripe.authenticate(&shop.intent(&id), true);
    assert_eq!(shop.get(&id).await["status"], "requires_action");
    shop.world.clock.advance(std::time::Duration::from_secs(2));
    assert_eq!(shop.get(&id).await["status"], "completed");
    assert_eq!(shop.stripe.count(Call::Retrieve), asked + 2);
}

#[tokio::test]
async fn a_debit_that_fails_after_days_fails_the_payment_and_frees_its_stock() {
    for is_called in [true, false] {
        let shop = Shop::open().await;
        let id = shop.debited().await;
        shop.stripe.settle(&shop.intent(&id), false);
        if is_called {
            assert_eq!(shop.deliver("payment_intent.payment_failed").await, 200);
        }
        shop.world.clock.advance(std::time::Duration::from_secs(2));
        let payment = shop.get(&id).await;
        assert_eq!((&payment["status"], &payment["attempts"]), (&json!("failed"), &json!(2)), "{payment}");
        assert_eq!(payment["failure"]["code"], "insufficient_funds");
        shop.told_once("payment.failed").await;
        let freed = || shop.world.events.kinds().iter().filter(|kind| kind.starts_with("Release")).count();
        shop_testing::eventually!(freed() == payment["items"].as_array().expect("items").len());
    }
}

#[tokio::test]
async fn a_debit_that_the_bank_takes_back_after_it_succeeded_is_a_dispute() {
    let shop = Shop::open().await;
    let id = shop.debited().await;
    let intent = shop.intent(&id);
    shop.stripe.settle(&intent, true);
    assert_eq!(shop.deliver("payment_intent.succeeded").await, 200);
    assert_eq!(shop.get(&id).await["status"], "completed");
    let dispute = shop.stripe.dispute(&intent, "debit_not_authorized");
    shop.stripe.decide(&dispute, false);
    assert_eq!(shop.deliver("charge.dispute.closed").await, 200);
    assert_eq!(shop.deliver("charge.dispute.created").await, 200);
    let payment = shop.get(&id).await;
    assert_eq!((&payment["status"], &payment["dispute"]["outcome"]), (&json!("completed"), &json!("lost")));
    assert_eq!(payment["dispute"]["reason"], "debit_not_authorized");
    shop.told_once("payment.disputed").await;
    assert_eq!(shop.told("payment.failed"), 0);
}

#[tokio::test]
async fn a_disputed_payment_says_so_and_gives_nothing_back() {
    let shop = Shop::open().await;
    let id = shop.paid().await;
    let dispute = shop.stripe.dispute(&shop.intent(&id), "product_not_received");
    assert_eq!(shop.deliver("charge.dispute.created").await, 200);
    let payment = shop.get(&id).await;
    assert_eq!(
        (&payment["dispute"]["reason"], &payment["dispute"]["outcome"]),
        (&json!("product_not_received"), &Value::Null)
    );
    let (status, problem) = shop.refund(&id, &json!({})).await;
    assert_eq!((status, &problem["code"]), (409, &json!("payment_disputed")), "{problem}");
    shop.stripe.decide(&dispute, false);
    assert_eq!(shop.deliver("charge.dispute.closed").await, 200);
    assert_eq!(shop.get(&id).await["dispute"]["outcome"], "lost");
    assert_eq!(shop.stripe.refunded(&id), 0);
}

#[tokio::test]
async fn stripe_is_asked_to_call_again_about_what_nobody_else_would_ask_for() {
    let shop = Shop::open().await;
    let id = shop.paid().await;
    shop.stripe.refund_at_the_page(&shop.intent(&id), 100);
    for _ in 0..3 {
        shop.stripe.fail(Call::Retrieve, Fault::Limit);
    }
    assert_eq!(shop.deliver("charge.refunded").await, 503);
    assert_eq!(shop.deliver("charge.refunded").await, 200, "and the second time it is not a repeat");
    assert_eq!(shop.get(&id).await["status"], "partially_refunded");
}

#[tokio::test]
async fn an_amount_that_stripe_does_not_take_is_said_before_anything_is_charged() {
    let shop = Shop::open().await;
    let reply = shop.world.post("/payments", &json!({"user_id": "frugal", "method": "credit_card"})).await;
    let id = reply.json()["id"].as_str().expect("an id").to_owned();
    let (status, problem) = shop.process(&id, "pm_card_visa").await;
    assert_eq!((status, &problem["errors"][0]["field"]), (422, &json!("amount")), "{problem}");
    assert_eq!(shop.get(&id).await["status"], "pending");
    assert!(shop.stripe.requests().is_empty());
}
