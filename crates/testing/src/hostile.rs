//! Hostile values in every field and parameter of every operation that a service describes of itself.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::Value;

use crate::{Api, Reply};

/// What stands in a path or a query in place of what belongs there, escaped for a URL.
const TEXTS: [&str; 22] = [
    "%20",
    "%00",
    "%ff",
    "%2B1",
    "+1",
    "01",
    "1.0",
    "-1",
    "0",
    "1e400",
    "%D9%A3",
    "99999999999999999999",
    "x",
    "null",
    "true",
    "a%2Fb",
    "a;b",
    "%7Ba%7D",
    "%E2%80%AE",
    "018f3d6ea7c47d10b2f3a4b5c6d7e8f9",
    "%7B018f3d6e-a7c4-7d10-b2f3-a4b5c6d7e8f9%7D",
    "urn:uuid:018f3d6e-a7c4-7d10-b2f3-a4b5c6d7e8f9",
];

/// What stands in a body in place of a value, as JSON.
pub const VALUES: [&str; 20] = [
    "null",
    "true",
    "-1",
    "0",
    "1.5",
    "1e400",
    "-0",
    "99999999999999999999",
    "4294967296",
    r#""""#,
    r#"" ""#,
    r#""x""#,
    r#""-1""#,
    r#""\u0000""#,
    r#""\ud800""#,
    "[]",
    "[[]]",
    "[{}]",
    "{}",
    r#"{"a":{"b":1}}"#,
];

/// Words that belong to the language the services are written in, not to the one their clients read.
const RUST: [&str; 32] = [
    "invalid type",
    "invalid value",
    "invalid length",
    "invalid digit",
    "too large to fit",
    "expected ",
    "missing field",
    "unknown field",
    "unknown variant",
    "duplicate field",
    "floating point",
    "struct ",
    "enum ",
    "tuple",
    "newtype",
    "variant",
    "sequence",
    "a map",
    "u8",
    "u16",
    "u32",
    "u64",
    "i32",
    "i64",
    "f64",
    "usize",
    "Option",
    "Some(",
    "Err(",
    "ParseInt",
    "Utf8Error",
    "1 fields",
];

/// Sends each hostile value to each place of each operation. Panics when an answer is a failure of the service, is no
/// problem document although it refuses, or speaks of Rust. Returns how many requests were refused.
pub async fn every_field(api: &Api) -> usize {
    let (status, document) = api.get("/openapi.json").await;
    assert_eq!(status, 200, "the service describes itself");
    let mut refused = 0;
    for (path, operations) in document["paths"].as_object().expect("paths") {
        for (method, operation) in operations.as_object().expect("operations") {
            let method: Method = method.to_uppercase().parse().expect("a method");
            for (target, body) in requests(&document, path, operation) {
                let mut request = api.request(method.clone(), &target);
                if let Some(body) = &body {
                    request = request.header("content-type", "application/json").body(body.clone());
                }
                let reply = api.send(request).await;
                check(&reply, &format!("{method} {target} {}", body.unwrap_or_default()));
                refused += usize::from(reply.status >= 400);
            }
        }
    }
    assert!(refused > 0, "something is refused");
    refused
}

/// Holds lists written by hand to what the service describes of itself: `paths` to every path it has under one of `roots`, as
/// the document writes them, and `members` to every member of their bodies. Panics with what is missing or no longer there.
pub fn is_complete(document: &Value, roots: &[&str], paths: &[&str], members: &[&str]) {
    let (mut known_paths, mut known_members) = (BTreeSet::new(), BTreeSet::new());
    for (path, operations) in document["paths"].as_object().expect("paths") {
        if !roots.iter().any(|root| path.starts_with(root)) {
            continue;
        }
        known_paths.insert(path.as_str());
        for operation in operations.as_object().expect("operations").values() {
            known_members.extend(fields(document, &operation["requestBody"]["content"]["application/json"]["schema"]));
        }
    }
    assert_eq!(paths.iter().copied().collect::<BTreeSet<_>>(), known_paths, "the paths that hostile requests go to");
    let members: BTreeSet<_> = members.iter().map(|member| (*member).to_owned()).collect();
    assert_eq!(members, known_members, "the members that hostile bodies have");
}

/// Targets and bodies for one operation.
fn requests(document: &Value, path: &str, operation: &Value) -> Vec<(String, Option<String>)> {
    let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
    let named = |place: &str| -> Vec<String> {
        let here = parameters.iter().filter(|parameter| parameter["in"] == place);
        here.filter_map(|parameter| parameter["name"].as_str().map(str::to_owned)).collect()
    };
    let (in_path, in_query) = (named("path"), named("query"));
    let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
    let fields = fields(document, schema);
    let plain = in_path.iter().fold(path.to_owned(), |path, name| path.replace(&format!("{{{name}}}"), "1"));
    let mut made = Vec::new();
    for text in TEXTS {
        for name in &in_path {
            let target = path.replace(&format!("{{{name}}}"), text);
            let target = in_path.iter().fold(target, |path, name| path.replace(&format!("{{{name}}}"), "1"));
            made.push((target, schema.is_object().then(|| "{}".to_owned())));
        }
        for name in in_query.iter().map(String::as_str).chain(["x"]) {
            made.push((format!("{plain}?{name}={text}"), schema.is_object().then(|| "{}".to_owned())));
        }
    }
    for name in fields.iter().map(String::as_str).chain(["x"]) {
        for value in VALUES {
            made.push((plain.clone(), Some(format!("{{\"{name}\":{value}}}"))));
        }
        made.push((plain.clone(), Some(format!("{{\"{name}\":\"a\",\"{name}\":\"a\"}}"))));
        made.push((plain.clone(), Some(format!("{{\"{name}\":{}{}}}", "[".repeat(300), "]".repeat(300)))));
    }
    made
}

/// The members of a body's schema, through references.
fn fields(document: &Value, schema: &Value) -> Vec<String> {
    if let Some(name) = schema["$ref"].as_str().and_then(|reference| reference.strip_prefix("#/components/schemas/")) {
        return fields(document, &document["components"]["schemas"][name]);
    }
    schema["properties"].as_object().map(|members| members.keys().cloned().collect()).unwrap_or_default()
}

/// Panics unless this is an answer that a client can be given, whatever it sent.
#[track_caller]
pub fn check(reply: &Reply, what: &str) {
    assert!(reply.status < 500, "{what}: {reply:?}");
    assert!(!reply.header("content-type").contains("html"), "{what}: {reply:?}");
    if reply.status < 400 {
        return;
    }
    assert_eq!(reply.header("content-type"), "application/problem+json", "{what}: {reply:?}");
    let problem = reply.json();
    assert!(problem["code"].is_string(), "{what}: {reply:?}");
    let errors = problem["errors"].as_array().cloned().unwrap_or_default();
    let said = errors.iter().map(|error| &error["message"]).chain([&problem["detail"], &problem["title"]]);
    for text in said.filter_map(Value::as_str) {
        assert_for_people(text, what);
    }
}

/// Panics when `text` speaks of Rust.
#[track_caller]
pub fn assert_for_people(text: &str, what: &str) {
    for word in RUST {
        let found = text.match_indices(word).any(|(at, _)| {
            // A word of its own: `u8` is one, that of a hash is not.
            let before = text[..at].chars().next_back();
            let after = text[at + word.len()..].chars().next();
            let apart = |c: Option<char>| !c.is_some_and(char::is_alphanumeric);
            apart(before) && (!word.ends_with(char::is_alphanumeric) || apart(after))
        });
        assert!(!found, "{what}: `{word}` in {text:?}");
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    #[should_panic(expected = "`u32`")]
    fn a_message_with_rust_in_it_is_found() {
        assert_for_people("must be u32", "a field");
    }

    #[test]
    fn words_for_people_are_fine() {
        assert_for_people("must be a whole number from 0 to 4294967295, not fu32 or u328", "a field");
    }

    #[test]
    fn every_place_is_tried() {
        let document = json!({"components": {"schemas": {"New": {"properties": {"name": {}}}}}});
        let operation = json!({
            "parameters": [{"in": "path", "name": "id"}, {"in": "query", "name": "limit"}],
            "requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/New"}}}},
        });
        let made = requests(&document, "/things/{id}", &operation);
        for (target, body) in
            [("/things/%2B1", "{}"), ("/things/1?limit=%ff", "{}"), ("/things/1", r#"{"name":1e400}"#)]
        {
            assert!(made.contains(&(target.to_owned(), Some(body.to_owned()))), "{target} {body}");
        }
    }
}
