//! Whatever is sent: no panic, no failure of ours, no page of HTML.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use reqwest::Method;
use reqwest::header::{HeaderName, HeaderValue};

use crate::world::World;

/// Every path of the service, as its document writes them.
const PATHS: [&str; 8] = [
    "/payments",
    "/payments/{id}",
    "/payments/{id}/process",
    "/payments/{id}/capture",
    "/payments/{id}/cancel",
    "/payments/{id}/refund",
    "/users/{user_id}/payments",
    "/users/{user_id}/data",
];

/// Every member that a body may have.
const MEMBERS: [&str; 14] = [
    "user_id",
    "basket_id",
    "method",
    "provider",
    "capture",
    "currency",
    "description",
    "metadata",
    "payment_token",
    "amount",
    "reason",
    "restock",
    "expected_total",
    "basket_version",
];

#[derive(Debug, Clone)]
struct Sent {
    method: Method,
    path: String,
    body: Vec<u8>,
    headers: Vec<(&'static str, Vec<u8>)>,
}

fn path() -> impl Strategy<Value = String> {
    let id = prop_oneof![
        Just("0190f8a0-5a3e-7c11-8d5b-3f6a2c1e4d70".to_owned()),
        Just("%00".to_owned()),
        "[a-zA-Z0-9%._~-]{0,40}",
    ];
    let query = prop_oneof![
        Just(String::new()),
        "\\?(limit|cursor|user_id|status)=[a-zA-Z0-9%+._~-]{0,60}",
        "\\?[a-zA-Z0-9%&=+._~-]{0,60}",
    ];
    let made = prop_oneof![Just("/{id}"), Just("/users/{id}"), Just("/payments/{id}/x"), Just("/payments/")];
    (prop_oneof![4 => proptest::sample::select(PATHS.to_vec()), 1 => made], id, query)
        .prop_map(|(path, id, query)| path.replace("{id}", &id).replace("{user_id}", &id) + &query)
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    let text =
        prop_oneof![any::<String>(), Just("ada".to_owned()), Just("credit_card".to_owned()), Just("\u{0}".to_owned())];
    let json = prop_oneof![
        text.prop_map(serde_json::Value::from),
        any::<i64>().prop_map(serde_json::Value::from),
        any::<f64>().prop_map(serde_json::Value::from),
        any::<bool>().prop_map(serde_json::Value::from),
        Just(serde_json::Value::Null),
        Just(serde_json::json!({"a": {"b": []}})),
    ];
    let name = prop_oneof![11 => proptest::sample::select(MEMBERS.to_vec()), 1 => Just("x")];
    let object = proptest::collection::btree_map(name, json, 0..6)
        .prop_map(|members| serde_json::to_vec(&members).expect("json"));
    prop_oneof![object, proptest::collection::vec(any::<u8>(), 0..200)]
}

fn sent() -> impl Strategy<Value = Sent> {
    let method = prop_oneof![
        4 => Just(Method::POST),
        2 => Just(Method::GET),
        1 => Just(Method::DELETE),
        1 => Just(Method::PATCH),
    ];
    let name = prop_oneof![
        Just("idempotency-key"),
        Just("x-request-id"),
        Just("traceparent"),
        Just("if-match"),
        Just("if-none-match"),
        Just("content-type"),
        Just("accept"),
    ];
    let value = prop_oneof![Just(b"application/json".to_vec()), proptest::collection::vec(any::<u8>(), 0..80)];
    let headers = proptest::collection::vec((name, value), 0..4);
    (method, path(), body(), headers).prop_map(|(method, path, body, headers)| Sent { method, path, body, headers })
}

#[tokio::test(flavor = "multi_thread")]
async fn every_path_and_member_is_among_what_is_sent() {
    let world = World::new().await;
    let (_, document) = world.api.get("/openapi.json").await;
    shop_testing::hostile::is_complete(&document, &["/payments", "/users"], &PATHS, &MEMBERS);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_field_refuses_in_words_for_people() {
    let world = World::new().await;
    shop_testing::hostile::every_field(&world.api).await;
}

#[test]
fn no_request_makes_the_service_fail() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let world = runtime.block_on(World::new());
    let mut runner = TestRunner::new(Config { cases: 600, failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&sent(), |sent| {
        let mut request = world.api.request(sent.method, &sent.path).body(sent.body);
        if sent.headers.iter().all(|(name, _)| *name != "content-type") {
            request = request.header("content-type", "application/json");
        }
        for (name, value) in sent.headers {
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                request = request.header(HeaderName::from_static(name), value);
            }
        }
        let reply = runtime.block_on(world.api.send(request));
        prop_assert!(reply.status < 500, "{:?}", reply);
        prop_assert!(!reply.header("content-type").contains("html") || sent.path.starts_with("/docs"), "{:?}", reply);
        if reply.status >= 400 {
            prop_assert_eq!(reply.header("content-type"), "application/problem+json");
        }
        Ok(())
    });
    outcome.expect("no answer is a failure of ours");
    let alive = runtime.block_on(world.api.get("/health/live"));
    assert_eq!(alive.0, 200);
    drop(world);
}
