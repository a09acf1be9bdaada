//! The moves of a payment over HTTP: process, cancel, refund, and the expiry nobody asks for.

use std::time::Duration;

use serde_json::{Value, json};
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
        "reason": "a scratch"
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
    eventually!(world.events.kinds() == ["Release 1x4", "Release 2x3", "payment.failed"]);
    let (_, metrics) = (0, world.api.send(world.api.request(reqwest::Method::GET, "/metrics")).await.text);
    assert!(metrics.contains(r#"payment_recovered_total{what="expired"} 1"#), "{metrics}");
    assert!(metrics.contains(r#"payments_total{status="failed"} 1"#), "{metrics}");
    assert!(metrics.contains("payment_outbox_pending"), "{metrics}");
}
