//! The moves of a payment over HTTP: process, cancel, refund, and the expiry nobody asks for.

use std::time::Duration;

use serde_json::{Value, json};
use shop_identity::IdentitySettings;
use shop_testing::eventually;

use crate::neighbours::hanging;
use crate::world::{World, steady};

#[tokio::test]
async fn a_neighbour_that_is_away_is_named() {
    let world = World::new().await;
    *world.neighbours.refusal.lock().expect("no panic") = Some(hanging);
    let made = world.post("/payments", &json!({"user_id": "ada", "method": "crypto"})).await;
    let _ = made.problem(503, "reservation_unknown");
    let (_, listed) = world.api.get("/payments?user_id=ada").await;
    let id = listed["payments"][0]["id"].as_str().expect("is there all the same").to_owned();
    let reply = world.post(&format!("/payments/{id}/process"), &json!({})).await;
    assert_eq!(reply.header("retry-after"), "1");
    let _ = reply.problem(503, "product_service_unavailable");
    assert_eq!(world.api.get(&format!("/payments/{id}")).await.1["status"], "pending");
}

#[tokio::test]
async fn a_processed_payment_is_completed_and_tells_everybody() {
    let world = World::new().await;
    let id = world.completed().await;
    let (_, payment) = world.api.get(&format!("/payments/{id}")).await;
    assert_eq!(payment["provider_id"], json!(format!("sandbox_{}", id.replace('-', ""))));
    assert_eq!(payment["processed_at"], json!("2026-03-01T12:00:00.000Z"));
    eventually!(world.events.kinds() == ["Decrease 1x4", "Decrease 2x3", "basket.cleared", "payment.completed"]);
    let reply = world.post(&format!("/payments/{id}/process"), &json!({})).await;
    let problem = reply.problem(409, "invalid_state");
    assert_eq!(problem["detail"], json!(format!("payment {id} is completed, so it cannot be processed")));
    assert_eq!(problem["payment_status"], "completed");
    let _ = world.post(&format!("/payments/{id}/cancel"), &json!({})).await.problem(409, "invalid_state");
}

#[tokio::test]
async fn each_token_of_the_sandbox_does_what_it_says() {
    let world = World::new().await;
    for (token, status, failure) in [
        ("tok_approve", 200, Value::Null),
        ("tok_slow", 200, Value::Null),
        ("tok_lost_reply", 200, Value::Null),
        ("tok_decline", 402, json!("payment_declined")),
        ("tok_insufficient_funds", 402, json!("insufficient_funds")),
        ("tok_made_up", 402, json!("unknown_token")),
        ("tok_refund_pending", 200, Value::Null),
        ("tok_authorise", 200, Value::Null),
        ("tok_action", 200, Value::Null),
        ("tok_pending", 200, Value::Null),
    ] {
        let id = world.pending().await;
        let reply = world.post(&format!("/payments/{id}/process"), &json!({"payment_token": token})).await;
        assert_eq!(reply.status, status, "{token}: {reply:?}");
        if status == 402 {
            let problem = reply.problem(402, "payment_declined");
            assert_eq!((&problem["decline_code"], &problem["payment_id"]), (&failure, &json!(id)));
        }
        let (_, payment) = world.api.get(&format!("/payments/{id}")).await;
        assert_eq!(payment["failure"]["code"], failure, "{token}");
    }
}

#[tokio::test]
async fn process_cancel_and_refund_take_no_body_too() {
    let world = World::new().await;
    let post = |path: String| world.api.send(world.api.request(reqwest::Method::POST, &path));
    let id = world.pending().await;
    assert_eq!(post(format!("/payments/{id}/process")).await.json()["status"], "completed");
    assert_eq!(post(format!("/payments/{id}/refund")).await.json()["status"], "refunded");
    let id = world.pending().await;
    assert_eq!(post(format!("/payments/{id}/cancel")).await.json()["status"], "cancelled");
}

#[tokio::test]
async fn refunds_go_back_in_parts_and_then_with_the_goods() {
    let world = World::new().await;
    let path = format!("/payments/{}/refund", world.completed().await);
    let (status, payment) = world.api.post(&path, &json!({"amount": "1.50", "reason": " a scratch "})).await;
    assert_eq!((status, &payment["status"]), (200, &json!("partially_refunded")));
    insta::assert_json_snapshot!(steady(payment["refunds"].clone()), @r#"
    [
      {
        "amount": 1.5,
        "created_at": "2026-03-01T12:00:00.000Z",
        "id": "<id>",
        "reason": "a scratch",
        "status": "paid"
      }
    ]
    "#);
    let problem = world.post(&path, &json!({"amount": 25.51})).await.problem(422, "refund_exceeds_payment");
    assert_eq!(problem["errors"][0]["message"], "must be at most 25.50");
    let _ = world.post(&path, &json!({"amount": 1.001})).await.problem(422, "validation_failed");
    let _ = world.post(&path, &json!({"amount": 1, "restock": true})).await.problem(422, "restock_needs_full_refund");
    let (status, payment) = world.api.post(&path, &json!({"restock": true})).await;
    assert_eq!((status, &payment["status"], &payment["refunded_amount"]), (200, &json!("refunded"), &json!(27.0)));
    eventually!(world.events.kinds().iter().skip(2).filter(|kind| kind.starts_with("Increase")).count() == 2);
    let _ = world.post(&path, &json!({})).await.problem(409, "invalid_state");
}

#[tokio::test]
async fn a_repeat_under_the_same_key_gets_the_same_answer() {
    let world = World::new().await;
    let order = json!({"user_id": "ada", "method": "credit_card"});
    let made = world.post_once("/payments", "k-1", &order).await;
    let again = world.post_once("/payments", "k-1", &order).await;
    assert_eq!((again.status, &again.text, again.header("idempotency-replayed")), (201, &made.text, "true"));
    assert_eq!(again.header("location"), made.header("location"));
    let other = json!({"user_id": "ada2", "method": "credit_card"});
    let _ = world.post_once("/payments", "k-1", &other).await.problem(422, "idempotency_key_reused");
    let process = format!("{}/process", made.header("location"));
    let declined = world.post_once(&process, "k-2", &json!({"payment_token": "tok_decline"})).await;
    let again = world.post_once(&process, "k-2", &json!({"payment_token": "tok_decline"})).await;
    assert_eq!((again.status, again.header("idempotency-replayed")), (402, "true"));
    assert_eq!(again.text, declined.text);
    let refund = format!("/payments/{}/refund", world.completed().await);
    for _ in 0..2 {
        let reply = world.post_once(&refund, "k-3", &json!({"amount": 2})).await;
        assert_eq!(reply.json()["refunded_amount"], json!(2.0));
    }
}

#[tokio::test]
async fn a_payment_nobody_processes_expires_by_itself() {
    let world = World::new().await;
    let path = format!("/payments/{}", world.pending().await);
    world.clock.advance(Duration::from_mins(30));
    eventually!(world.api.get(&path).await.1["failure"]["code"] == "payment_expired");
    eventually!(world.events.kinds() == ["Release 1x4", "Release 2x3", "payment.expired"]);
    let (_, metrics) = (0, world.api.send(world.api.request(reqwest::Method::GET, "/metrics")).await.text);
    assert!(metrics.contains(r#"payment_recovered_total{what="expired"} 1"#), "{metrics}");
    assert!(metrics.contains(r#"payments_total{status="failed"} 1"#), "{metrics}");
    assert!(metrics.contains("payment_outbox_pending"), "{metrics}");
}

#[tokio::test]
async fn a_decline_that_may_be_retried_leaves_the_payment_to_another_card() {
    let world = World::new().await;
    let path = format!("/payments/{}", world.pending().await);
    let reply = world.post(&format!("{path}/process"), &json!({"payment_token": "tok_retryable_decline"})).await;
    let problem = reply.problem(402, "payment_declined");
    assert_eq!((&problem["decline_code"], &problem["may_retry"]), (&json!("try_another_card"), &json!(true)));
    let (_, payment) = world.api.get(&path).await;
    assert_eq!((&payment["status"], &payment["failure"]), (&json!("pending"), &Value::Null));
    assert_eq!((&payment["last_failure"]["code"], &payment["attempts"]), (&json!("try_another_card"), &json!(1)));
    let (status, paid) = world.api.post(&format!("{path}/process"), &json!({"payment_token": "tok_approve"})).await;
    assert_eq!((status, &paid["attempts"], &paid["last_failure"]), (200, &json!(2), &Value::Null));
    let declined = world.charged_with("tok_decline").await;
    assert_eq!(world.api.get(&format!("/payments/{declined}")).await.1["status"], "failed");
}

#[tokio::test]
async fn a_buyer_confirms_at_the_providers_page_and_comes_back() {
    let world = World::new().await;
    let path = format!("/payments/{}", world.charged_with("tok_action").await);
    let (_, payment) = world.api.get(&path).await;
    let next = json!({
        "type": "redirect",
        "url": payment["next_action"]["url"],
        "expires_at": "2026-03-01T12:15:00.000Z",
    });
    assert_eq!((&payment["status"], &payment["next_action"]), (&json!("requires_action"), &next));
    let (status, waiting) = world.api.post(&format!("{path}/process"), &json!({})).await;
    assert_eq!((status, &waiting["next_action"]), (200, &next), "he has not come back yet");
    world.clock.advance(Duration::from_secs(2));
    let (_, paid) = world.api.get(&path).await;
    assert_eq!((&paid["status"], &paid["next_action"]), (&json!("completed"), &Value::Null));
    let kinds = ["Decrease 1x4", "Decrease 2x3", "basket.cleared", "payment.action_required", "payment.completed"];
    eventually!(world.events.kinds() == kinds);
}

#[tokio::test]
async fn what_is_authorised_is_captured_once_for_less_or_let_go() {
    let world = World::new().await;
    let order = json!({"user_id": "ada", "method": "credit_card", "capture": "manual"});
    let made = world.post("/payments", &order).await;
    let path = format!("/payments/{}", made.json()["id"].as_str().expect("an id"));
    let _ = world.post(&format!("{path}/capture"), &json!({})).await.problem(409, "invalid_state");
    let (status, held) = world.api.post(&format!("{path}/process"), &json!({})).await;
    assert_eq!((status, &held["status"], &held["captured_amount"]), (200, &json!("authorised"), &json!(0.0)));
    assert_eq!(held["authorised_until"], "2026-03-08T12:00:00.000Z");
    let problem = world.post(&format!("{path}/capture"), &json!({"amount": 27.01})).await;
    let problem = problem.problem(422, "capture_exceeds_payment");
    assert_eq!(problem["errors"][0]["message"], "must be at most 27.00");
    for _ in 0..2 {
        let taken = world.post_once(&format!("{path}/capture"), "k-1", &json!({"amount": "20.00"})).await.json();
        assert_eq!((&taken["status"], &taken["captured_amount"]), (&json!("completed"), &json!(20.0)));
    }
    let _ = world.post(&format!("{path}/capture"), &json!({})).await.problem(409, "invalid_state");
    let problem = world.post(&format!("{path}/refund"), &json!({"amount": 20.01})).await;
    assert_eq!(problem.problem(422, "refund_exceeds_payment")["errors"][0]["message"], "must be at most 20.00");
    assert_eq!(world.api.post(&format!("{path}/refund"), &json!({})).await.1["status"], "refunded");

    let path = format!("/payments/{}", world.charged_with("tok_authorise").await);
    let (status, given_up) = world.api.post(&format!("{path}/cancel"), &json!({})).await;
    assert_eq!((status, &given_up["status"]), (200, &json!("cancelled")));
    let wrong = json!({"user_id": "ada", "method": "credit_card", "capture": "later"});
    let problem = world.post("/payments", &wrong).await.problem(422, "validation_failed");
    assert_eq!((&problem["errors"][0]["field"], &problem["errors"][0]["code"]), (&json!("capture"), &json!("unknown")));
}

#[tokio::test]
async fn a_refund_on_its_way_is_shown_and_one_that_does_not_arrive_may_be_made_again() {
    let world = World::new().await;
    let path = format!("/payments/{}", world.charged_with("tok_refund_fails").await);
    let (status, payment) = world.api.post(&format!("{path}/refund"), &json!({"amount": 5})).await;
    assert_eq!((status, &payment["status"], &payment["refunded_amount"]), (200, &json!("completed"), &json!(0.0)));
    assert_eq!(payment["refunds"][0]["status"], "pending");
    let _ =
        world.post(&format!("{path}/refund"), &json!({"amount": 22.01})).await.problem(422, "refund_exceeds_payment");
    world.clock.advance(Duration::from_secs(31));
    eventually!(world.api.get(&path).await.1["refunds"][0]["status"] == "failed");
    let (status, again) = world.api.post(&format!("{path}/refund"), &json!({"amount": 27})).await;
    assert_eq!((status, &again["refunds"][1]["status"]), (200, &json!("pending")));
}

#[tokio::test]
async fn a_refund_that_comes_back_is_failed_once_the_sandbox_calls_about_it() {
    let world = World::new().await;
    let id = world.charged_with("tok_refund_returned").await;
    let path = format!("/payments/{id}");
    let (status, payment) = world.api.post(&format!("{path}/refund"), &json!({"amount": 5})).await;
    assert_eq!((status, &payment["refunds"][0]["status"]), (200, &json!("paid")));
    assert_eq!((&payment["status"], &payment["refunded_amount"]), (&json!("partially_refunded"), &json!(5.0)));
    world.clock.advance(Duration::from_secs(1));
    let call = json!({"id": "0190f8a0-5a3e-7c11-8d5b-3f6a2c1e4d70", "payment": id});
    for _ in 0..3 {
        assert_eq!(world.post("/webhooks/sandbox", &call).await.status, 200);
    }
    let (_, payment) = world.api.get(&path).await;
    assert_eq!((&payment["status"], &payment["refunds"][0]["status"]), (&json!("completed"), &json!("failed")));
    eventually!(world.events.kinds().iter().filter(|kind| *kind == "payment.refund_failed").count() == 1);
}

#[tokio::test]
async fn who_confirmed_and_closed_the_tab_has_paid_when_the_sandbox_calls() {
    let world = World::new().await;
    let id = world.charged_with("tok_action").await;
    let status = async || world.api.get("/payments?user_id=ada").await.1["payments"][0]["status"].clone();
    assert_eq!(status().await, "requires_action");
    world.clock.advance(Duration::from_secs(1));
    let call = async |body: Value| world.post("/webhooks/sandbox", &body).await.status;
    let of = |id: &str, call: u128| json!({"id": uuid::Uuid::from_u128(call), "payment": id});
    for body in [json!({}), json!({"id": 1, "payment": id}), of("0190f8a0-5a3e-7c11-8d5b-3f6a2c1e4d70", 1)] {
        assert_eq!(call(body).await, 200, "nothing to call again for");
    }
    assert_eq!(status().await, "requires_action");
    assert_eq!(call(of(&id, 2)).await, 200);
    assert_eq!(status().await, "completed");
    eventually!(world.events.kinds().iter().filter(|kind| *kind == "payment.completed").count() == 1);
}

#[tokio::test]
async fn where_there_is_no_sandbox_nobody_calls_for_it() {
    let world = World::set(IdentitySettings::off(), |config| config.provider.sandbox = None).await;
    let id = world.pending().await;
    let body = json!({"id": "0190f8a0-5a3e-7c11-8d5b-3f6a2c1e4d70", "payment": id});
    let _ = world.post("/webhooks/sandbox", &body).await.problem(400, "signature_invalid");
}
