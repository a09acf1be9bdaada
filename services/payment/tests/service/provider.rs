//! Who moves the money is said, or nobody does.

use serde_json::json;
use shop_identity::IdentitySettings;

use crate::world::World;

#[tokio::test]
async fn without_a_provider_orders_are_taken_and_nothing_is_charged() {
    let world = World::set(IdentitySettings::off(), |config| config.provider.sandbox = None).await;
    let id = world.pending().await;
    let reply = world.post(&format!("/payments/{id}/process"), &json!({"payment_token": "tok_approve"})).await;
    let problem = reply.problem(503, "provider_not_configured");
    assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains("provider.sandbox = true")), "{problem}");
    let (_, payment) = world.api.get(&format!("/payments/{id}")).await;
    assert_eq!((&payment["status"], &payment["provider"]), (&json!("pending"), &json!("none")));
    let (status, health) = world.api.get("/health").await;
    assert_eq!((status, &health["status"]), (200, &json!("up")), "it takes orders");
    let error = health["checks"]["provider"]["error"].as_str().unwrap_or_default();
    assert!(error.contains("SHOP_PROVIDER__SANDBOX=true"), "{health}");
}

#[tokio::test]
async fn nothing_is_approved_that_names_no_token() {
    let world = World::set(IdentitySettings::off(), |config| config.provider.approves_without_token = false).await;
    let path = format!("/payments/{}", world.pending().await);
    for body in [json!({}), json!({"payment_token": null})] {
        let problem = world.post(&format!("{path}/process"), &body).await.problem(422, "validation_failed");
        assert_eq!(
            (&problem["errors"][0]["field"], &problem["errors"][0]["code"]),
            (&json!("payment_token"), &json!("required"))
        );
    }
    assert_eq!(world.api.get(&path).await.1["status"], "pending");
    let (status, paid) = world.api.post(&format!("{path}/process"), &json!({"payment_token": "tok_approve"})).await;
    assert_eq!((status, &paid["provider"]), (200, &json!("sandbox")));
    let (_, health) = world.api.get("/health").await;
    assert!(health["checks"]["provider"].is_null(), "{health}");
}
