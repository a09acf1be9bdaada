//! What is sent when a payment is heard of, and what happens when it does not arrive.

use serde_json::{Value, json};
use shop_events::Bus as _;
use shop_testing::{Receiver, eventually};

use crate::harness::{Running, completed, quick};

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_is_one_signed_webhook_however_often_it_is_told() {
    let (folder, receiver) = (tempfile::tempdir().expect("a folder"), Receiver::start(&[]).await);
    let service = Running::start(quick(folder.path())).await;
    let (endpoint, secret) = service.endpoint(&receiver.url()).await;
    let event = completed("ada");
    for _ in 0..3 {
        service.bus.publish(&event.encode()).await.expect("takes effect");
    }
    eventually!(service.only("channel=webhook").await["status"] == "sent");
    let sent = service.only("channel=webhook").await;
    assert_eq!((&sent["recipient"], &sent["attempts"]), (&json!(endpoint), &json!(1)));
    assert_eq!(sent["event_id"], json!(event.id));
    eventually!(service.only("channel=log").await["status"] == "sent");
    assert_eq!(service.listed("channel=email").await, [] as [Value; 0], "there is no mail server");

    let got = receiver.got();
    assert_eq!(got.len(), 1);
    assert!(got[0].is_signed_with(&secret));
    assert_eq!(got[0].header("webhook-id"), sent["id"].as_str().expect("an id"));
    let body = got[0].json();
    assert_eq!(body["type"], "payment.completed");
    assert_eq!((&body["data"]["user_id"], &body["data"]["amount"]), (&json!("ada"), &json!(2599.00)));
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_fails_is_told_again_under_the_same_id() {
    let (folder, receiver) = (tempfile::tempdir().expect("a folder"), Receiver::start(&[500, 404, 301]).await);
    let service = Running::start(quick(folder.path())).await;
    let (_, secret) = service.endpoint(&receiver.url()).await;
    service.paid("ada").await;
    eventually!(service.only("channel=webhook").await["status"] == "sent");
    assert_eq!(service.only("channel=webhook").await["attempts"], 4);
    let got = receiver.got();
    assert_eq!(got.len(), 4);
    assert!(got.iter().all(|one| one.header("webhook-id") == got[0].header("webhook-id")));
    assert!(got.iter().all(|one| one.json() == got[0].json() && one.is_signed_with(&secret)));
    assert_eq!(service.metric(r#"notification_attempts_total{channel="webhook",outcome="later"}"#).await, Some(3.0));
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_is_gone_gets_nothing_more_until_somebody_says_so() {
    let (folder, receiver) = (tempfile::tempdir().expect("a folder"), Receiver::start(&[410]).await);
    let service = Running::start(quick(folder.path())).await;
    let (endpoint, _) = service.endpoint(&receiver.url()).await;
    service.paid("ada").await;
    eventually!(service.only("channel=webhook").await["status"] == "dead");
    let dead = service.only("channel=webhook").await;
    assert_eq!(dead["failure"]["code"], "endpoint_gone");
    let path = format!("/webhooks/endpoints/{endpoint}");
    let (_, off) = service.api.get(&path).await;
    assert_eq!(off["enabled"], false);
    assert!(off["disabled_reason"].is_string(), "{off}");
    service.paid("bob").await;
    assert_eq!(service.listed("channel=webhook").await.len(), 1, "bob's payment is not sent there");

    assert_eq!(service.api.put(&path, &json!({"url": receiver.url()})).await.0, 200);
    let retry = format!("/notifications/{}/retry", dead["id"].as_str().expect("an id"));
    assert_eq!(service.api.post(&retry, &Value::Null).await.0, 200);
    eventually!(service.only("channel=webhook").await["status"] == "sent");
    let again = service.api.send(service.api.request(http::Method::POST, &retry)).await;
    assert_eq!(again.problem(409, "invalid_state")["notification_status"], "sent");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_could_not_be_sent_is_sent_after_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let addr = Receiver::start(&[]).await.addr;
    let service = Running::start(quick(folder.path())).await;
    service.endpoint(&format!("http://{addr}/")).await;
    service.paid("ada").await;
    eventually!(service.only("channel=webhook").await["attempts"].as_i64() >= Some(2));
    let waits = service.only("channel=webhook").await;
    assert!(waits["failure"]["code"].is_string(), "{waits}");
    service.stop().await;

    let receiver = Receiver::start_at(addr, &[]).await;
    let service = Running::start(quick(folder.path())).await;
    eventually!(service.only("channel=webhook").await["status"] == "sent");
    assert_eq!(receiver.got().len(), 1);
    assert_eq!(receiver.got()[0].header("webhook-id"), waits["id"].as_str().expect("an id"));
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_endpoint_does_not_keep_others_waiting() {
    let folder = tempfile::tempdir().expect("a folder");
    // Accepts and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
    let slow = format!("http://{}/", silent.local_addr().expect("bound"));
    let receiver = Receiver::start(&[]).await;
    let mut config = quick(folder.path());
    (config.delivery.concurrency, config.delivery.concurrency_per_target) = (4, 2);
    config.webhook.timeout = shop_config::Duration::secs(3);
    let service = Running::start(config).await;
    service.endpoint(&slow).await;
    service.endpoint(&receiver.url()).await;
    for user in 0..10 {
        service.paid(&format!("u{user}")).await;
    }
    eventually!(receiver.got().len() == 10);
    // That it was sent is noted after it was.
    eventually!(service.listed("channel=webhook&status=sent").await.len() == 10);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_secrets_sign_while_one_takes_over_from_the_other() {
    let (folder, receiver) = (tempfile::tempdir().expect("a folder"), Receiver::start(&[]).await);
    let service = Running::start(quick(folder.path())).await;
    let (endpoint, old) = service.endpoint(&receiver.url()).await;
    let (status, rotated) =
        service.api.post(&format!("/webhooks/endpoints/{endpoint}/rotate-secret"), &Value::Null).await;
    let new = rotated["secret"].as_str().expect("a secret");
    assert_eq!(status, 200);
    assert_ne!(new, old);
    service.paid("ada").await;
    eventually!(receiver.got().len() == 1);
    let got = &receiver.got()[0];
    assert!(got.is_signed_with(&old) && got.is_signed_with(new));
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_endpoint_of_the_settings_gets_everything() {
    let (folder, receiver) = (tempfile::tempdir().expect("a folder"), Receiver::start(&[]).await);
    let secret = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";
    let mut config = quick(folder.path());
    (config.webhook.url, config.webhook.secret) = (Some(receiver.url()), Some(secret.into()));
    config.log_channel.enabled = false;
    let service = Running::start(config).await;
    service.paid("ada").await;
    eventually!(receiver.got().len() == 1);
    assert!(receiver.got()[0].is_signed_with(secret));
    assert_eq!(service.only("limit=100").await["recipient"], "settings");
    service.stop().await;
}
