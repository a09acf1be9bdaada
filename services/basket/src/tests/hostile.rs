//! Whatever is sent, the answer is one of ours: no panic, no 5xx, no HTML.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::*;

/// Every path of the service, as its document writes them.
const PATHS: [&str; 7] = [
    "/guests",
    "/baskets",
    "/baskets/{user_id}",
    "/baskets/{user_id}/items",
    "/baskets/{user_id}/items/{product_id}",
    "/baskets/{user_id}/merge",
    "/baskets/{user_id}/refresh",
];

/// Every member that a body may have; `any_body` makes bodies of them.
const MEMBERS: [&str; 4] = ["user_id", "product_id", "quantity", "guest_token"];

#[derive(Debug, Clone)]
struct Sent {
    method: Method,
    path: String,
    headers: Vec<(&'static str, String)>,
    body: Option<String>,
}

fn any_method() -> impl Strategy<Value = Method> {
    let methods =
        [Method::GET, Method::POST, Method::PUT, Method::DELETE, Method::PATCH, Method::OPTIONS, Method::HEAD];
    prop::sample::select(methods.to_vec())
}

/// Percent-encoded when need be, for a URL with anything else never reaches a server.
fn any_segment() -> impl Strategy<Value = String> {
    let encode = |bytes: Vec<u8>| bytes.iter().fold(String::new(), |text, byte| format!("{text}%{byte:02X}"));
    let encoded = prop::collection::vec(any::<u8>(), 0..6).prop_map(encode);
    prop_oneof![
        Just("baskets".to_owned()),
        Just("items".to_owned()),
        Just("ann".to_owned()),
        Just("1".to_owned()),
        "[A-Za-z0-9._@~-]{0,140}",
        any::<i128>().prop_map(|number| number.to_string()),
        encoded,
    ]
}

fn any_path() -> impl Strategy<Value = String> {
    let known = prop::sample::select(PATHS.to_vec())
        .prop_map(|path| path.replace("{user_id}", "ann").replace("{product_id}", "1"));
    let made = prop::collection::vec(any_segment(), 0..6).prop_map(|segments| format!("/{}", segments.join("/")));
    let query = prop_oneof![Just(String::new()), "\\?[a-z0-9=&%+]{0,30}"];
    (prop_oneof![known, made], query).prop_map(|(path, query)| path + &query)
}

fn any_body() -> impl Strategy<Value = String> {
    let number = || prop_oneof![any::<i64>().prop_map(|n| n.to_string()), Just("1e400".to_owned()), "[0-9.eE+-]{1,8}"];
    prop_oneof![
        (number(), number()).prop_map(|(id, units)| format!(r#"{{"product_id":{id},"quantity":{units}}}"#)),
        number().prop_map(|units| format!(r#"{{"quantity":{units}}}"#)),
        (prop::sample::select(MEMBERS.to_vec()), any::<String>())
            .prop_map(|(member, text)| serde_json::json!({ (member): text }).to_string()),
        "[\\[\\]{}\":,0-9a-z\\\\]{0,60}",
        any::<String>(),
        Just("[".repeat(5000)),
    ]
}

fn any_header() -> impl Strategy<Value = (&'static str, String)> {
    let name = prop::sample::select(vec![
        "if-match",
        "if-none-match",
        "idempotency-key",
        "x-request-id",
        "traceparent",
        "content-type",
        "accept",
        "content-encoding",
    ]);
    (name, prop_oneof!["[ -~]{0,300}", Just("\"v1\"".to_owned()), Just("application/json".to_owned())])
}

fn any_request() -> impl Strategy<Value = Sent> {
    let headers = prop::collection::vec(any_header(), 0..3);
    (any_method(), any_path(), headers, prop::option::of(any_body())).prop_map(|(method, path, headers, body)| Sent {
        method,
        path,
        headers,
        body,
    })
}

#[tokio::test]
async fn every_path_and_member_is_among_what_is_sent() {
    let document = Stage::new().await.get("/openapi.json").await.json();
    shop_testing::hostile::is_complete(&document, &["/baskets", "/guests"], &PATHS, &MEMBERS);
}

#[test]
fn whatever_is_sent_the_answer_is_one_of_ours() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let stage = runtime.block_on(Stage::new());
    let mut runner = TestRunner::new(Config { cases: 600, failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&any_request(), |sent| {
        let headers: Vec<_> = sent.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let call = stage.call(sent.method.clone(), &sent.path, &headers, sent.body.as_deref());
        let answer = runtime.block_on(call);
        prop_assert!(answer.status < 500, "{answer:?}");
        prop_assert!(sent.path.starts_with("/docs") || !answer.text.contains("<html"), "{answer:?}");
        if answer.status >= 400 {
            prop_assert_eq!(answer.kind.as_deref(), Some("application/problem+json"));
        }
        Ok(())
    });
    outcome.expect("every answer is one of ours");
}
