//! What every operation and every schema has to say.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use shop_identity::Mode;
use shop_testing::Api;

use super::Shop;

/// What is missing, each with where.
#[derive(Default)]
struct Missing(BTreeSet<String>);

impl Missing {
    fn unless(&mut self, holds: bool, place: &str, what: &str) {
        if !holds {
            self.0.insert(format!("{place}: {what}"));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn documents_leave_nothing_open() {
    let shop = Shop::start(Mode::Required).await;
    let mut missing = Missing::default();
    let mut ids: BTreeMap<String, &str> = BTreeMap::new();
    let mut names: BTreeMap<String, Value> = BTreeMap::new();
    for (service, base, _) in shop.services() {
        let (_, document) = Api::new(base).get("/openapi.json").await;
        missing.unless(document["openapi"] == "3.1.0", service, "is not OpenAPI 3.1");
        missing.unless(document["servers"][0]["url"].is_string(), service, "no server");
        missing.unless(document["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer", service, "no token");
        for (path, item) in members(&document["paths"]) {
            for (method, operation) in members(item) {
                let id = operation["operationId"].as_str().unwrap_or_default();
                let place = format!("{service} {method} {path}");
                missing.unless(is_camel(id), &place, "no operationId for a method of a client");
                missing.unless(ids.insert(id.to_owned(), service).is_none(), &place, "its operationId is taken");
                complete(&document, operation, &place, &mut missing);
            }
        }
        for (name, schema) in members(&document["components"]["schemas"]) {
            missing.unless(!name.contains('.'), name, "a name of Rust's");
            missing.unless(schema["description"].is_string(), name, "no description");
            bounded(schema, name, &mut missing);
            // One document is made of the four: what has the same name there is the same.
            let other = names.entry(name.clone()).or_insert_with(|| schema.clone());
            missing.unless(other == schema, name, "differs between two services");
        }
    }
    assert!(missing.0.is_empty(), "{:#?}", missing.0);
    assert!(ids.len() >= 30, "operations are missing: {ids:?}");
    shop.stop().await;
}

/// Summary, tag, parameters, responses and their forms.
fn complete(document: &Value, operation: &Value, place: &str, missing: &mut Missing) {
    missing.unless(operation["summary"].is_string(), place, "no summary");
    let tags = document["tags"].as_array().expect("tags");
    let is_told = tags.iter().any(|tag| tag["name"] == operation["tags"][0] && tag["description"].is_string());
    missing.unless(is_told, place, "no tag that is told about");
    for parameter in operation["parameters"].as_array().into_iter().flatten() {
        let place = format!("{place} {}", parameter["name"]);
        missing.unless(parameter["description"].is_string(), &place, "no description");
        bounded(&parameter["schema"], &place, missing);
    }
    if operation["requestBody"].is_object() {
        let schema = &operation["requestBody"]["content"]["application/json"]["schema"]["$ref"];
        missing.unless(schema.is_string(), place, "a body without a name");
    }
    let responses = &operation["responses"];
    missing.unless(responses["default"].is_null(), place, "any status at all");
    for status in expected(operation) {
        missing.unless(responses[status].is_object(), place, &format!("no {status}"));
    }
    for (status, response) in members(responses) {
        let place = format!("{place} {status}");
        missing.unless(response["description"].is_string(), &place, "no description");
        missing.unless(response["headers"]["X-Request-Id"].is_object(), &place, "no X-Request-Id");
        for (name, header) in members(&response["headers"]) {
            missing.unless(header["description"].is_string(), &format!("{place} {name}"), "no description");
            bounded(&header["schema"], &format!("{place} {name}"), missing);
        }
        let content = &response["content"];
        match status.as_bytes()[0] {
            b'2' if status != "204" => {
                let schema = &content["application/json"]["schema"]["$ref"];
                missing.unless(schema.is_string(), &place, "a body without a name");
            }
            b'4' | b'5' => {
                let schema = &content["application/problem+json"]["schema"]["$ref"];
                missing.unless(schema == "#/components/schemas/Problem", &place, "is no problem");
                missing.unless(members(content).count() == 1, &place, "another form of problems");
            }
            _ => missing.unless(content.is_null(), &place, "a body where there is none"),
        }
    }
}

/// The refusals that an operation cannot be without, by what it takes.
fn expected(operation: &Value) -> Vec<&'static str> {
    let parameters: Vec<_> = operation["parameters"].as_array().into_iter().flatten().collect();
    let has = |name: &str| parameters.iter().any(|parameter| parameter["name"] == name);
    let mut statuses = vec!["401", "413", "500", "503", "504"];
    if operation["security"][0] != json!({}) {
        statuses.push("403");
    }
    if parameters.iter().any(|parameter| parameter["in"] != "header") {
        statuses.push("400");
    }
    if operation["requestBody"].is_object() {
        statuses.extend(["400", "415", "422"]);
    }
    if has("If-Match") {
        statuses.push("412");
    }
    if has("Idempotency-Key") {
        statuses.extend(["400", "409", "422"]);
    }
    statuses
}

/// Every object is closed or open by its word, every number and string and array has bounds.
fn bounded(schema: &Value, place: &str, missing: &mut Missing) {
    if schema["$ref"].is_string() || schema["enum"].is_array() {
        return;
    }
    for key in ["oneOf", "anyOf", "allOf"] {
        for (index, one) in schema[key].as_array().into_iter().flatten().enumerate() {
            bounded(one, &format!("{place}/{key}{index}"), missing);
        }
    }
    if schema.get("default") == Some(&Value::Null) {
        missing.unless(false, place, "a default of null");
    }
    let has = |keys: &[&str]| keys.iter().any(|key| schema.get(key).is_some());
    for kind in kinds(schema) {
        match kind {
            "object" => missing.unless(has(&["additionalProperties"]), place, "neither closed nor open"),
            "string" => {
                missing.unless(has(&["maxLength", "pattern", "format"]), place, "a string of any form and length");
            }
            "array" => {
                missing.unless(has(&["maxItems"]), place, "an array of any length");
                bounded(&schema["items"], &format!("{place}[]"), missing);
            }
            "integer" | "number" => {
                missing.unless(has(&["minimum", "exclusiveMinimum"]), place, "no lowest number");
                missing.unless(has(&["maximum", "exclusiveMaximum"]), place, "no highest number");
            }
            _ => {}
        }
    }
    for (name, property) in members(&schema["properties"]) {
        let place = format!("{place}.{name}");
        missing.unless(property["description"].is_string(), &place, "no description");
        bounded(property, &place, missing);
    }
    if schema["additionalProperties"].is_object() {
        bounded(&schema["additionalProperties"], &format!("{place}.*"), missing);
    }
}

/// The types a schema names.
fn kinds(schema: &Value) -> Vec<&str> {
    match &schema["type"] {
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        kind => kind.as_str().into_iter().collect(),
    }
}

fn is_camel(id: &str) -> bool {
    id.starts_with(|first: char| first.is_ascii_lowercase()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

fn members(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}
