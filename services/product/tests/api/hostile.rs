//! Whatever comes in: no panic, no 5xx, no HTML, and every refusal a problem document.

use http::Method;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::Value;
use shop_testing::backend;
use shop_testing::hostile::{check, every_field};
use tokio::runtime::Runtime;

use crate::harness::{Running, desk, desk_with};

/// Requests per kind of hostility.
const CASES: u32 = 150;

/// Every path of the service, as its document writes them.
const PATHS: [&str; 4] =
    ["/products", "/products/{id}", "/products/{id}/stock-adjustments", "/products/{id}/stock-movements"];

/// Where bodies go to.
const TAKERS: [(Method, &str); 3] =
    [(Method::POST, "/products"), (Method::PUT, "/products/1"), (Method::POST, "/products/1/stock-adjustments")];

/// Every member that a body may have.
const MEMBERS: [&str; 10] = [
    "name",
    "description",
    "price",
    "currency",
    "stock_quantity",
    "category",
    "image_url",
    "delta",
    "reason",
    "reference",
];

/// Sends one request per generated value to a service of its own, on SQLite and on a real PostgreSQL.
fn assault<S: Strategy>(values: S, send: impl AsyncFn(&Running, S::Value) + Copy) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    besiege(&runtime, runtime.block_on(Running::start()), &values, send);
    if let Some(database) = runtime.block_on(backend::postgres()) {
        let folder = tempfile::tempdir().expect("a folder");
        besiege(&runtime, runtime.block_on(Running::start_on(&database.url(), folder)), &values, send);
    }
}

fn besiege<S: Strategy>(
    runtime: &Runtime,
    service: Running,
    values: &S,
    send: impl AsyncFn(&Running, S::Value) + Copy,
) {
    runtime.block_on(service.add(&desk()));
    let mut runner = TestRunner::new(Config { cases: CASES, failure_persistence: None, ..Config::default() });
    let done = runner.run(values, |value| {
        runtime.block_on(send(&service, value));
        Ok(())
    });
    done.expect("nothing breaks it");
    runtime.block_on(service.stop());
}

fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        Just(Value::from("\u{0}")),
        Just(Value::from("x".repeat(10_000))),
    ];
    leaf.prop_recursive(3, 24, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::hash_map(any::<String>(), inner, 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |encoded, byte| format!("{encoded}%{byte:02x}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_path_and_member_is_among_what_is_sent() {
    let service = Running::start().await;
    let (_, document) = service.api.get("/openapi.json").await;
    shop_testing::hostile::is_complete(&document, &["/products"], &PATHS, &MEMBERS);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_field_refuses_in_words_for_people() {
    let service = Running::start().await;
    service.add(&desk()).await;
    every_field(&service.api).await;
    service.stop().await;
}

#[test]
fn bodies_of_any_bytes() {
    let types = prop::sample::select(vec!["application/json", "text/plain", "application/json; charset=latin1", ""]);
    assault((any::<Vec<u8>>(), types), async |service, (body, content_type)| {
        for (method, path) in TAKERS {
            let request = service.api.request(method, path).header("content-type", content_type).body(body.clone());
            check(&service.api.send(request).await, path);
        }
    });
}

#[test]
fn products_with_a_field_of_any_kind() {
    let fields = [&MEMBERS[..], &["id", ""]].concat();
    assault((prop::sample::select(fields), json()), async |service, (field, value)| {
        let body = desk_with(&Value::Object([(field.to_owned(), value)].into_iter().collect()));
        for (method, path) in TAKERS {
            check(&service.api.send(service.api.request(method, path).json(&body)).await, &body.to_string());
        }
    });
}

#[test]
fn queries_of_any_text() {
    let names = ["limit", "cursor", "category", "q", "min_price", "max_price", "in_stock", "sort", "x"];
    let text = prop_oneof![any::<String>(), "[\"'()*:^{}&|!<>~%_ a-z0-9.-]{0,40}", "-?[0-9]{1,25}(\\.[0-9]{1,5})?"];
    let pairs = prop::collection::vec((prop::sample::select(names.to_vec()), text), 0..4);
    assault(pairs, async |service, pairs| {
        let pairs: Vec<_> = pairs.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
        let path = format!("/products?{}", pairs.join("&"));
        check(&service.api.send(service.api.request(Method::GET, &path)).await, &path);
    });
}

#[test]
fn searches_of_any_text() {
    assault("\\PC{0,60}", async |service, text| {
        let reply =
            service.api.send(service.api.request(Method::GET, &format!("/products?q={}", encoded(&text)))).await;
        assert_eq!(reply.status, 200, "{text:?}: {reply:?}");
    });
}

#[test]
fn ids_and_paths_of_any_text() {
    let id = prop_oneof![
        any::<String>().prop_map(|text| encoded(&text)),
        any::<i64>().prop_map(|id| id.to_string()),
        "[0-9]{1,30}"
    ];
    assault((id, 0..4_usize), async |service, (id, method)| {
        let method = [Method::GET, Method::DELETE, Method::PATCH, Method::POST][method].clone();
        let path = format!("/products/{id}");
        check(&service.api.send(service.api.request(method, &path)).await, &path);
    });
}

#[test]
fn headers_of_any_bytes() {
    let names =
        ["if-match", "if-none-match", "idempotency-key", "x-request-id", "traceparent", "accept", "content-type"];
    let value = prop::collection::vec(prop_oneof![0x20..=0x7e_u8, 0x80..=0xff_u8], 0..300);
    assault((prop::sample::select(names.to_vec()), value), async |service, (name, value)| {
        for (method, path) in [(Method::POST, "/products"), (Method::PUT, "/products/1"), (Method::GET, "/products/1")]
        {
            let request = service.api.request(method, path).json(&desk()).header(name, value.as_slice());
            check(&service.api.send(request).await, name);
        }
    });
}
