//! What operations have in common: headers, and the refusals that belong to what an operation takes.

use serde_json::{Value, json};
use shop_idempotency::MAX_KEY;

/// `*`, or entity tags with commas between, where empty elements count for nothing (RFC 9110, sections 5.6.1.2, 8.8.3 and
/// 13.1). Its length is that of a head at most.
const TAGS: &str = concat!(
    r"^[ \t,]*(\*[ \t,]*|",
    r#"(W/)?"[!#-~\u0080-\u00ff]*"([ \t]*,[ \t,]*(W/)?"[!#-~\u0080-\u00ff]*")*[ \t,]*"#,
    r")?$"
);

/// The headers that requests may have, by name: where they are taken, what they mean.
fn request_header(method: &str, name: &str) -> Option<(&'static str, Value)> {
    let tags = || json!({"type": "string", "pattern": TAGS, "examples": ["\"v3\""]});
    let key = || {
        json!({"type": "string", "minLength": 1, "maxLength": MAX_KEY, "pattern": "^[!-~]([ -~]*[!-~])?$",
            "examples": ["8f14e45f-ceea-467a-9a36-dcf0a6f1c3e1"]})
    };
    Some(match name {
        "If-Match" => ("Only if it still has one of these ETags; otherwise 412", tags()),
        "If-None-Match" if method == "get" => ("The ETags that the caller has; 304 if one is current", tags()),
        "If-None-Match" => ("Only if it has none of these ETags; otherwise 412", tags()),
        "Idempotency-Key" => ("A repeat with the same key gets the first answer, for a day", key()),
        _ => return None,
    })
}

/// Something that an operation takes or is.
#[derive(Clone, Copy)]
enum Given {
    Always,
    Parameter,
    Cursor,
    Body,
    Key,
    Version,
    OtherVersion,
}

/// The refusals that belong to it, with their codes.
const REFUSALS: [(Given, u16, &str); 16] = [
    (Given::Parameter, 400, "invalid_parameter"),
    (Given::Cursor, 400, "invalid_cursor"),
    (Given::Version, 400, "invalid_if_match"),
    (Given::OtherVersion, 400, "invalid_if_none_match"),
    (Given::Body, 400, "malformed_json"),
    (Given::Key, 400, "invalid_idempotency_key"),
    (Given::Key, 409, "idempotency_in_flight"),
    (Given::Version, 412, "precondition_failed"),
    (Given::Always, 413, "body_too_large"),
    (Given::Body, 415, "unsupported_media_type"),
    (Given::Body, 415, "unsupported_content_encoding"),
    (Given::Body, 422, "validation_failed"),
    (Given::Key, 422, "idempotency_key_reused"),
    (Given::Always, 500, "internal"),
    (Given::Always, 503, "store_unavailable"),
    (Given::Always, 504, "timeout"),
];

impl Given {
    fn to(self, operation: &Value) -> bool {
        match self {
            Self::Always => true,
            Self::Parameter => parameters(operation).any(|(place, _)| place != "header"),
            Self::Cursor => parameters(operation).any(|(_, name)| name == "cursor"),
            Self::Body => operation.get("requestBody").is_some(),
            Self::Key => parameters(operation).any(|(_, name)| name == "Idempotency-Key"),
            Self::Version => parameters(operation).any(|(_, name)| name == "If-Match"),
            Self::OtherVersion => parameters(operation).any(|(_, name)| name == "If-None-Match"),
        }
    }
}

/// Adds to an operation what it shares with others.
pub(super) fn complete(method: &str, operation: &mut Value) {
    without_empty_success(operation);
    let preconditions: &[&str] = match method {
        "get" if tagged(operation, "200") => {
            operation["responses"]["304"] = json!({"description": "It still has the version of If-None-Match"});
            &["If-None-Match"]
        }
        "get" => &[],
        _ => &["If-Match", "If-None-Match"],
    };
    for name in preconditions {
        let parameter = json!({"name": name, "in": "header", "required": false});
        match operation["parameters"].as_array_mut() {
            Some(parameters) => parameters.push(parameter),
            None => operation["parameters"] = json!([parameter]),
        }
    }
    let refusals: Vec<_> = REFUSALS.iter().filter(|(given, ..)| given.to(operation)).collect();
    for (_, status, code) in refusals {
        let response = &mut operation["responses"][status.to_string()];
        let said = response["description"].as_str().map_or_else(String::new, |said| format!("{said}, "));
        response["description"] = format!("{said}`{code}`").into();
    }
    for parameter in operation["parameters"].as_array_mut().into_iter().flatten() {
        let name = parameter["name"].as_str().unwrap_or_default();
        if let Some((description, schema)) = request_header(method, name) {
            (parameter["description"], parameter["schema"]) = (description.into(), schema);
        } else if parameter["in"] == "path" {
            id_in_path(parameter);
        }
    }
    headers(operation);
}

/// Ids that stores count up from 1, and what an id in a path stands for.
fn id_in_path(parameter: &mut Value) {
    if parameter["schema"]["type"] == "integer" {
        parameter["schema"]["minimum"] = 1.into();
        parameter["schema"]["maximum"] = i64::MAX.into();
    }
    if parameter["description"].is_null() {
        let description = match parameter["name"].as_str() {
            Some("user_id") => "Whose",
            Some("product_id") => "Which product",
            _ => "Which one",
        };
        parameter["description"] = description.into();
    }
}

/// A method that answers nothing by its type has a 200 for it; what it says itself counts.
fn without_empty_success(operation: &mut Value) {
    let Some(responses) = operation["responses"].as_object_mut() else { return };
    let others = responses.keys().any(|status| status.starts_with('2') && status != "200");
    if others && responses.get("200").is_some_and(|ok| ok.get("content").is_none()) {
        responses.remove("200");
    }
}

/// What is told once and kept nowhere, so that it has no version.
const TOLD_ONCE: [&str; 2] = ["Guest", "UserData"];

/// Whether this answer is a single thing, which has a version: not a page of them, and not nothing.
fn tagged(operation: &Value, status: &str) -> bool {
    let schema = &operation["responses"][status]["content"]["application/json"]["schema"]["$ref"];
    let name = schema.as_str().and_then(|path| path.rsplit('/').next());
    name.is_some_and(|name| !name.ends_with("Page") && !TOLD_ONCE.contains(&name))
}

/// The headers and the form of every response.
fn headers(operation: &mut Value) {
    let replays = Given::Key.to(operation);
    let statuses: Vec<String> =
        operation["responses"].as_object().into_iter().flat_map(|all| all.keys().cloned()).collect();
    for status in statuses {
        let versioned = status == "304" || (status.starts_with('2') && tagged(operation, &status));
        let response = &mut operation["responses"][&status];
        let mut put = |name: &str, description: &str, required: bool, schema: Value| {
            let header = json!({"description": description, "required": required, "schema": schema});
            response["headers"][name] = header;
        };
        let id = json!({"type": "string", "pattern": "^[!-~]+$", "minLength": 1, "maxLength": 128});
        put("X-Request-Id", "The caller's id of the request, or one made for it", true, id);
        if versioned {
            put("ETag", "Its version", true, json!({"type": "string", "pattern": "^\"v[0-9]+\"$", "maxLength": 24}));
        }
        if status == "201" {
            let schema = json!({"type": "string", "format": "uri-reference", "maxLength": 2048});
            put("Location", "Where it is", true, schema);
        }
        if replays && !status.starts_with('5') {
            let schema = json!({"type": "string", "enum": ["true"]});
            put("Idempotency-Replayed", "On an answer that is given again", false, schema);
        }
        if status == "401" {
            let schema = json!({"type": "string", "pattern": "^Bearer", "maxLength": 256});
            put("WWW-Authenticate", "What to send, and what was wrong with it (RFC 6750)", true, schema);
        }
        if matches!(status.as_str(), "409" | "429" | "503") {
            let schema = json!({"type": "integer", "minimum": 1, "maximum": 3600});
            put("Retry-After", "Seconds to wait before the next try", status != "409", schema);
        }
        if status.starts_with(['4', '5']) {
            response["content"] =
                json!({"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}});
        }
    }
}

/// Place and name of each parameter.
fn parameters(operation: &Value) -> impl Iterator<Item = (&str, &str)> {
    let all = operation.get("parameters").and_then(Value::as_array);
    all.into_iter().flatten().filter_map(|one| Some((one["in"].as_str()?, one["name"].as_str()?)))
}
