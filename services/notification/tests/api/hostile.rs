//! Whatever comes in: no panic, no 5xx, no HTML, and every refusal a problem document.

use http::Method;
use serde_json::json;
use shop_testing::hostile::every_field;

use crate::harness::{Running, quick};

/// Every path of the service, as its document writes them; each is below.
const PATHS: [&str; 7] = [
    "/notifications",
    "/notifications/{id}",
    "/notifications/{id}/retry",
    "/users/{user_id}/notification-preferences",
    "/webhooks/endpoints",
    "/webhooks/endpoints/{id}",
    "/webhooks/endpoints/{id}/rotate-secret",
];

/// Every member that a body may have; each is below.
const MEMBERS: [&str; 6] = ["email", "email_enabled", "event_types", "url", "description", "enabled"];

#[tokio::test(flavor = "multi_thread")]
async fn every_path_and_member_is_among_what_is_sent() {
    let folder = tempfile::tempdir().expect("a folder");
    let service = Running::start(quick(folder.path())).await;
    let (_, document) = service.api.get("/openapi.json").await;
    let roots = ["/notifications", "/users", "/webhooks"];
    shop_testing::hostile::is_complete(&document, &roots, &PATHS, &MEMBERS);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_comes_in_breaks_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let service = Running::start(quick(folder.path())).await;
    service.paid("ada").await;
    let (endpoint, _) = service.endpoint("https://shop.example/").await;
    let long = "x".repeat(70_000);
    let texts =
        ["", " ", "\u{0}", "null", "%00", "../../etc/passwd", "' OR 1=1 --", "\u{202e}", "é", "-1", &long[..5000]];
    for text in texts {
        let text = url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
        for path in [
            format!("/notifications/{text}"),
            format!("/notifications?user_id={text}"),
            format!("/notifications?status={text}"),
            format!("/notifications?channel={text}"),
            format!("/notifications?limit={text}"),
            format!("/notifications?cursor={text}"),
            format!("/notifications?{text}=1"),
            format!("/users/{text}/notification-preferences"),
            format!("/webhooks/endpoints/{text}"),
            format!("/webhooks/endpoints?cursor={text}"),
        ] {
            check(&service, service.api.request(Method::GET, &path), &path).await;
        }
        for path in [format!("/notifications/{text}/retry"), format!("/webhooks/endpoints/{text}/rotate-secret")] {
            check(&service, service.api.request(Method::POST, &path), &path).await;
        }
    }
    let bodies = [
        json!(null),
        json!([]),
        json!("x"),
        json!(1),
        json!({}),
        json!({"url": null}),
        json!({"url": 1}),
        json!({"url": long}),
        json!({"url": "https://a.example/\u{0}"}),
        json!({"url": "https://a.example/", "x": 1}),
        json!({"url": "https://a.example/", "event_types": "all"}),
        json!({"email": ["a"]}),
        json!({"email": long}),
        json!({"email": "a@b.example\r\nBcc: c@d.example"}),
        json!({"event_types": [[[]]]}),
        json!({"event_types": [""]}),
        json!({"email_enabled": "yes"}),
        json!({"url": "https://a.example/", "enabled": "yes"}),
        json!({"url": "https://a.example/", "description": "\u{7}"}),
    ];
    for body in &bodies {
        for (method, path) in [
            (Method::POST, "/webhooks/endpoints".to_owned()),
            (Method::PUT, format!("/webhooks/endpoints/{endpoint}")),
            (Method::PUT, "/users/ada/notification-preferences".to_owned()),
        ] {
            let what = format!("{method} {path} {}", &body.to_string().chars().take(80).collect::<String>());
            check(&service, service.api.request(method, &path).json(body), &what).await;
        }
    }
    for method in [Method::PATCH, Method::DELETE, Method::POST] {
        check(&service, service.api.request(method, "/notifications"), "another method").await;
    }
    assert_eq!(service.listed("user_id=ada").await.len(), 1, "it still answers");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_field_refuses_in_words_for_people() {
    let folder = tempfile::tempdir().expect("a folder");
    let service = Running::start(quick(folder.path())).await;
    every_field(&service.api).await;
    service.stop().await;
}

async fn check(service: &Running, request: reqwest::RequestBuilder, what: &str) {
    shop_testing::hostile::check(&service.api.send(request).await, what);
}
