//! `If-Match` and `If-None-Match` (RFC 9110, section 13) on every operation that a service describes of itself.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::Value;

use crate::{Api, Reply};

/// An operation that would succeed if it was asked for.
#[derive(Debug)]
pub struct Operation<'a> {
    /// Its method.
    pub method: Method,
    /// Its path as the service describes it, such as `/things/{id}`.
    pub path: &'a str,
    /// The path of something that is there.
    pub target: String,
    /// The body, if it takes one.
    pub body: Option<Value>,
}

impl<'a> Operation<'a> {
    /// `method` on `path`, at `target`, without a body.
    pub fn new(method: Method, path: &'a str, target: impl Into<String>) -> Self {
        Self { method, path, target: target.into(), body: None }
    }

    /// The same with a body.
    #[must_use]
    pub fn with(self, body: Value) -> Self {
        Self { body: Some(body), ..self }
    }
}

/// Panics unless every operation honours both headers: a read answers 304 to who has it and 412 to who wants another
/// state, a change is 412 and changes nothing. `operations` must be all that the service describes.
pub async fn every_operation(api: &Api, operations: &[Operation<'_>]) {
    let (_, document) = api.get("/openapi.json").await;
    assert_eq!(named(operations), described(&document), "every operation is asked");
    let reads: Vec<_> = operations.iter().filter(|operation| operation.method == Method::GET).collect();
    let mut before = Vec::new();
    for read in &reads {
        before.push(judged_read(api, read).await);
    }
    for change in operations.iter().filter(|operation| operation.method != Method::GET) {
        for (name, value, status, code) in [
            ("if-match", "\"nope\"", 412, "precondition_failed"),
            ("if-match", "W/\"v1\", \"v99\"", 412, "precondition_failed"),
            ("if-none-match", "*", 412, "precondition_failed"),
            ("if-match", "nope", 400, "invalid_if_match"),
            ("if-none-match", "\"a\" \"b\"", 400, "invalid_if_none_match"),
        ] {
            let reply = ask(api, change, &[(name, value)]).await;
            let code_sent = reply.json()["code"].clone();
            assert_eq!((reply.status, code_sent), (status, code.into()), "{change:?} {name}: {value}: {reply:?}");
        }
    }
    for (read, was) in reads.iter().zip(before) {
        assert_eq!(ask(api, read, &[]).await.header("etag"), was, "{read:?} is as it was");
    }
}

/// What a read answers to each form; its entity tag, empty when it has none.
async fn judged_read(api: &Api, read: &Operation<'_>) -> String {
    let whole = ask(api, read, &[]).await;
    assert_eq!(whole.status, 200, "{read:?}: {whole:?}");
    let tag = whole.header("etag").to_owned();
    let mut table = vec![
        ("if-none-match", "*".to_owned(), 304),
        ("if-none-match", "\"nope\"".to_owned(), 200),
        ("if-match", "*".to_owned(), 200),
        ("if-match", "\"nope\"".to_owned(), 412),
        ("if-match", "nope".to_owned(), 400),
        ("if-none-match", "nope".to_owned(), 400),
    ];
    if !tag.is_empty() {
        table.extend([
            ("if-none-match", tag.clone(), 304),
            ("if-none-match", format!("W/{tag}"), 304),
            ("if-none-match", format!("\"nope\", {tag}"), 304),
            ("if-match", format!("\"nope\", {tag}"), 200),
            ("if-match", format!("W/{tag}"), 412),
        ]);
    }
    for (name, value, status) in table {
        let reply = ask(api, read, &[(name, &value)]).await;
        assert_eq!(reply.status, status, "{read:?} {name}: {value}: {reply:?}");
        if status == 304 {
            assert_eq!((reply.header("etag"), reply.text.as_str()), (tag.as_str(), ""), "{read:?}");
        }
    }
    tag
}

async fn ask(api: &Api, operation: &Operation<'_>, headers: &[(&str, &str)]) -> Reply {
    let mut request = api.request(operation.method.clone(), &operation.target);
    if let Some(body) = &operation.body {
        request = request.json(body);
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    api.send(request).await
}

fn named(operations: &[Operation<'_>]) -> BTreeSet<String> {
    operations.iter().map(|operation| format!("{} {}", operation.method, operation.path)).collect()
}

fn described(document: &Value) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (path, operations) in document["paths"].as_object().expect("paths") {
        found.extend(
            operations
                .as_object()
                .expect("operations")
                .keys()
                .map(|method| format!("{} {path}", method.to_uppercase())),
        );
    }
    found
}
