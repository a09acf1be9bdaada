//! Every route with what it answers.

use http::Method;
use serde_json::{Value, json};
use shop_testing::Receiver;
use shop_testing::preconditions::{Operation, every_operation};

use crate::harness::{Running, quick};

/// The answer without what differs from run to run.
fn steady(mut body: Value) -> Value {
    for member in ["id", "event_id", "payment_id", "secret", "created_at", "updated_at", "sent_at"] {
        if let Some(value) = body.get_mut(member).filter(|value| value.is_string()) {
            *value = json!("…");
        }
    }
    body
}

async fn started() -> (tempfile::TempDir, Running) {
    let folder = tempfile::tempdir().expect("a folder");
    let service = Running::start(quick(folder.path())).await;
    (folder, service)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notification_is_shown_with_what_became_of_it() {
    let (_folder, service) = started().await;
    service.paid("ada").await;
    shop_testing::eventually!(service.only("channel=log").await["status"] == "sent");
    let listed = service.only("user_id=ada").await;
    let path = format!("/notifications/{}", listed["id"].as_str().expect("an id"));
    let shown = service.api.send(service.api.request(Method::GET, &path)).await;
    assert_eq!((shown.status, shown.header("etag")), (200, "\"v3\""));
    assert_eq!(shown.json(), listed);
    insta::assert_json_snapshot!(steady(listed), @r#"
    {
      "attempts": 1,
      "channel": "log",
      "created_at": "…",
      "event_id": "…",
      "event_type": "payment.completed",
      "failure": null,
      "id": "…",
      "next_attempt_at": null,
      "payment_id": "…",
      "recipient": null,
      "sent_at": "…",
      "status": "sent",
      "updated_at": "…",
      "user_id": "ada"
    }
    "#);
    let missing = "/notifications/00000000-0000-0000-0000-000000000000";
    let missing = service.api.send(service.api.request(Method::GET, missing)).await;
    let _ = missing.problem(404, "notification_not_found");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_follow_each_other_by_cursor() {
    let (_folder, service) = started().await;
    for user in 0..5 {
        service.paid(&format!("u{user}")).await;
    }
    let (_, first) = service.api.get("/notifications?limit=3&channel=log").await;
    assert_eq!((&first["count"], first["notifications"][0]["user_id"].as_str()), (&json!(3), Some("u4")));
    let cursor = first["next_cursor"].as_str().expect("a next page");
    let (_, second) = service.api.get(&format!("/notifications?limit=3&channel=log&cursor={cursor}")).await;
    assert_eq!((&second["count"], &second["next_cursor"]), (&json!(2), &Value::Null));
    let foreign = format!("/notifications?limit=3&channel=email&cursor={cursor}");
    let foreign = service.api.send(service.api.request(Method::GET, &foreign)).await;
    let _ = foreign.problem(400, "invalid_cursor");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn preferences_are_there_before_anything_was_said_and_replaced_by_version() {
    let (_folder, service) = started().await;
    let path = "/users/ada@shop.example/notification-preferences";
    let unsaid = service.api.send(service.api.request(Method::GET, path)).await;
    assert_eq!((unsaid.status, unsaid.header("etag")), (200, "\"v0\""));
    insta::assert_json_snapshot!(unsaid.json(), @r#"
    {
      "email": "ada@shop.example",
      "email_enabled": true,
      "event_types": [
        "payment.completed",
        "payment.failed",
        "payment.refunded",
        "payment.authorised",
        "payment.action_required",
        "payment.expired",
        "payment.cancelled",
        "payment.disputed",
        "payment.refund_failed"
      ],
      "updated_at": null,
      "user_id": "ada@shop.example"
    }
    "#);

    let body = json!({"email": "ada@home.example", "email_enabled": false, "event_types": ["payment.refunded"]});
    let put = |version: &str| service.api.request(Method::PUT, path).header("if-match", version.to_owned()).json(&body);
    let said = service.api.send(put("\"v0\"")).await;
    assert_eq!((said.status, said.header("etag")), (200, "\"v1\""));
    let _ = service.api.send(put("\"v0\"")).await.problem(412, "precondition_failed");
    let (_, kept) = service.api.get(path).await;
    assert_eq!((&kept["email"], &kept["email_enabled"]), (&json!("ada@home.example"), &json!(false)));
    assert_eq!(kept["event_types"], json!(["payment.refunded"]));

    let wrong = json!({"email": "nowhere", "event_types": ["payment.lost"]});
    let refused = service.api.send(service.api.request(Method::PUT, path).json(&wrong)).await;
    let fields = refused.problem(422, "validation_failed")["errors"].clone();
    assert_eq!((&fields[0]["field"], &fields[1]["field"]), (&json!("email"), &json!("event_types")));
    let nobody = service.api.send(service.api.request(Method::GET, "/users/a%20b/notification-preferences")).await;
    let _ = nobody.problem(400, "invalid_parameter");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_is_added_shown_changed_and_removed() {
    let (_folder, service) = started().await;
    let body = json!({"url": "https://shop.example/hooks", "event_types": ["payment.completed"]});
    let add = || service.api.request(Method::POST, "/webhooks/endpoints").header("idempotency-key", "e1").json(&body);
    let made = service.api.send(add()).await;
    assert_eq!((made.status, made.header("etag")), (201, "\"v1\""));
    let secret = made.json()["secret"].clone();
    assert!(secret.as_str().expect("a secret").starts_with("whsec_"), "{secret}");
    insta::assert_json_snapshot!(steady(made.json()), @r#"
    {
      "created_at": "…",
      "description": "",
      "disabled_reason": null,
      "enabled": true,
      "event_types": [
        "payment.completed"
      ],
      "id": "…",
      "secret": "…",
      "updated_at": "…",
      "url": "https://shop.example/hooks"
    }
    "#);
    let again = service.api.send(add()).await;
    assert_eq!((again.status, again.json()), (201, made.json()), "a repeat makes no second one");

    let path = made.header("location").to_owned();
    let (_, shown) = service.api.get(&path).await;
    assert_eq!((&shown["secret"], &shown["url"]), (&Value::Null, &json!("https://shop.example/hooks")));
    let (_, listed) = service.api.get("/webhooks/endpoints").await;
    assert_eq!((&listed["count"], &listed["endpoints"][0]), (&json!(1), &shown));

    let off = json!({"url": "https://other.example/", "enabled": false, "description": "the warehouse"});
    let changed =
        service.api.send(service.api.request(Method::PUT, &path).header("if-match", "\"v1\"").json(&off)).await;
    assert_eq!((changed.status, changed.header("etag")), (200, "\"v2\""));
    assert_eq!(changed.json()["event_types"].as_array().map(Vec::len), Some(9), "left out means all");
    let late = service.api.request(Method::DELETE, &path).header("if-match", "\"v1\"");
    let _ = service.api.send(late).await.problem(412, "precondition_failed");
    assert_eq!(service.api.delete(&path).await.0, 204);
    let gone = service.api.send(service.api.request(Method::DELETE, &path)).await;
    let _ = gone.problem(404, "endpoint_not_found");
    service.stop().await;
}

/// Every byte of every file below `folder`.
fn stored(folder: &std::path::Path) -> Vec<u8> {
    let files = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    // Of those that are still there: SQLite takes its log away when it likes.
    files.flat_map(|file| std::fs::read(file).unwrap_or_default()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_keeps_hearing_when_the_answer_to_a_rotation_is_lost_and_its_secrets_lie_nowhere_in_clear() {
    let (folder, service) = started().await;
    let post = |path: String, key: &'static str| {
        let body = json!({"url": "https://shop.example/hooks"});
        let request = service.api.request(Method::POST, &path).header("idempotency-key", key);
        service.api.send(if path.ends_with("rotate-secret") { request } else { request.json(&body) })
    };
    let made = post("/webhooks/endpoints".to_owned(), "add").await.json();
    let rotate = format!("/webhooks/endpoints/{}/rotate-secret", made["id"].as_str().expect("an id"));
    let first = post(rotate.clone(), "rotate").await;
    let again = post(rotate.clone(), "rotate").await;
    assert_eq!((first.status, again.status, again.json()), (200, 200, first.json()), "the same secret");
    assert_eq!(again.header("etag"), "\"v2\"", "one rotation, and the secret before it signs on");

    let other = post(rotate.clone(), "rotate once more").await;
    let _ = post(rotate, "rotate").await.problem(409, "rotated_since");
    let secrets =
        [made, first.json(), other.json()].map(|endpoint| endpoint["secret"].as_str().expect("one").to_owned());
    service.stop().await;
    let bytes = stored(folder.path());
    for secret in &secrets {
        assert!(!bytes.windows(secret.len()).any(|part| part == secret.as_bytes()), "{secret} is in a file");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn endpoints_inside_the_network_are_refused_unless_the_settings_allow_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut config = quick(folder.path());
    (config.webhook.allow_private, config.webhook.allow_http) = (false, false);
    let service = Running::start(config).await;
    for url in [
        "https://127.0.0.1/",
        "https://[::1]:8084/",
        "https://169.254.169.254/",
        "https://localhost/",
        "https://10.0.0.1/",
        "http://shop.example/",
    ] {
        let request = service.api.request(Method::POST, "/webhooks/endpoints").json(&json!({"url": url}));
        let refused = service.api.send(request).await.problem(422, "validation_failed");
        assert_eq!(refused["errors"][0]["field"], "url", "{url}");
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_operation_minds_what_is_expected() {
    let (_folder, service) = started().await;
    // A receiver that takes nothing: its notification is dead, and waits for somebody to retry it.
    let receiver = Receiver::start(&[410]).await;
    service.endpoint(&receiver.url()).await;
    service.paid("ada").await;
    shop_testing::eventually!(service.only("channel=webhook").await["status"] == "dead");
    let dead = service.only("channel=webhook").await;
    let dead = format!("/notifications/{}", dead["id"].as_str().expect("an id"));
    let endpoint = format!("/webhooks/endpoints/{}", service.endpoint(&receiver.url()).await.0);
    let (wants, hook) = ("/users/{user_id}/notification-preferences", "/webhooks/endpoints/{id}");
    let body = json!({"url": receiver.url()});
    let operations = [
        Operation::new(Method::GET, "/notifications", "/notifications"),
        Operation::new(Method::GET, "/notifications/{id}", &dead),
        Operation::new(Method::POST, "/notifications/{id}/retry", format!("{dead}/retry")),
        Operation::new(Method::GET, wants, "/users/ada/notification-preferences"),
        Operation::new(Method::PUT, wants, "/users/ada/notification-preferences").with(json!({})),
        Operation::new(Method::GET, "/webhooks/endpoints", "/webhooks/endpoints"),
        Operation::new(Method::POST, "/webhooks/endpoints", "/webhooks/endpoints").with(body.clone()),
        Operation::new(Method::GET, hook, &endpoint),
        Operation::new(Method::PUT, hook, &endpoint).with(body),
        Operation::new(Method::DELETE, hook, &endpoint),
        Operation::new(Method::POST, "/webhooks/endpoints/{id}/rotate-secret", format!("{endpoint}/rotate-secret")),
    ];
    every_operation(&service.api, &operations).await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_under_a_key_may_be_written_otherwise() {
    let (_folder, service) = started().await;
    let add = |body: &str| {
        let request = service.api.request(Method::POST, "/webhooks/endpoints").header("idempotency-key", "hook");
        service.api.send(request.header("content-type", "application/json").body(body.to_owned()))
    };
    let first =
        add(r#"{"url":"https://shop.example/hooks","event_types":["payment.completed","payment.failed"]}"#).await;
    assert_eq!(first.status, 201, "{first:?}");
    for same in [
        r#"{"event_types":["payment.failed","payment.completed"],"url":"https://shop.example/hooks"}"#,
        r#"{"url":" https://shop.example/hooks","event_types":["payment.completed","payment.failed"],"enabled":true,"description":""}"#,
    ] {
        assert_eq!(add(same).await.text, first.text, "{same}");
    }
    let _ = add(r#"{"url":"https://shop.example/hooks"}"#).await.problem(422, "idempotency_key_reused");
    service.stop().await;
}
