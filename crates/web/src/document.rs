//! The OpenAPI document of a service: what its routes say, and what they all have in common, said once.

mod callers;
mod common;
mod straight;

use salvo::Router;
use salvo::oapi::OpenApi;
use serde_json::{Map, Value, json};
use shop_identity::Guard;

/// What the document says of a service beside its operations.
#[derive(Debug, Clone, Copy)]
pub struct About {
    /// The title of the interface.
    pub title: &'static str,
    /// The groups its operations are in, each with what it is about.
    pub tags: &'static [(&'static str, &'static str)],
}

/// What holds for every operation.
const DESCRIPTION: &str = "\
Fields that are not described here are refused. Errors are `application/problem+json` (RFC 9457) with a stable `code`. \
Amounts are decimal numbers with exactly the digits that their currency has; as input, strings are taken too. Times are \
RFC 3339 in UTC. Lists come in pages: `next_cursor` leads to the one after. A request with an `Idempotency-Key` can be \
sent again without a second effect.";

/// The document of `router`, into which `guard` lets callers, as JSON.
pub(crate) fn of(about: About, guard: &Guard, router: &Router) -> String {
    let made = OpenApi::new(about.title, env!("CARGO_PKG_VERSION")).merge_router(router);
    let mut document = serde_json::to_value(made).unwrap_or_default();
    document["info"]["description"] = DESCRIPTION.into();
    document["info"]["license"] = json!({"name": "MIT OR Apache-2.0", "identifier": env!("CARGO_PKG_LICENSE")});
    document["servers"] = json!([{"url": "/"}]);
    document["tags"] = about.tags.iter().map(|(name, text)| json!({"name": name, "description": text})).collect();
    if guard.is_on() {
        document["components"]["securitySchemes"] = callers::scheme();
    }
    for (path, item) in document["paths"].as_object_mut().into_iter().flatten() {
        for (method, operation) in item.as_object_mut().into_iter().flatten() {
            if guard.is_on() {
                callers::tell(guard.http(&method.to_uppercase(), path), operation);
            }
            common::complete(method, operation);
            for parameter in operation["parameters"].as_array_mut().into_iter().flatten() {
                straight::schema(&mut parameter["schema"]);
            }
            for response in members(&mut operation["responses"]) {
                contents(response);
            }
            contents(&mut operation["requestBody"]);
        }
    }
    for schema in members(&mut document["components"]["schemas"]) {
        straight::schema(schema);
    }
    without_nothing(&mut document);
    document.to_string()
}

fn contents(holder: &mut Value) {
    for content in holder.get_mut("content").map(members).into_iter().flatten() {
        straight::schema(&mut content["schema"]);
    }
}

/// Takes out what asking for an absent member has put in.
fn without_nothing(document: &mut Value) {
    for item in members(&mut document["paths"]) {
        for operation in members(item) {
            if let Some(fields) = operation.as_object_mut() {
                fields.retain(|_, value| !value.is_null());
            }
        }
    }
}

/// The values of an object; none of anything else.
fn members(value: &mut Value) -> impl Iterator<Item = &mut Value> {
    value.as_object_mut().into_iter().flat_map(Map::values_mut)
}
