//! Every header that the code reads or sets is known to the rules for other sites' pages, or is none of their business.

use std::collections::BTreeSet;
use std::path::Path;

use shop_gateway::settings::Cors;

/// Of no use to pages, or never in their hands; each line with its reason.
const OTHERS: [(&str, &[&str]); 8] = [
    ("pages may read them anyway", &["cache-control", "content-length", "content-type"]),
    (
        "browsers send them by themselves, or anybody may",
        &["accept", "accept-encoding", "cookie", "host", "origin", "sec-fetch-site", "user-agent"],
    ),
    (
        "of one connection, or of a message's form",
        &[
            "accept-ranges",
            "connection",
            "content-digest",
            "content-encoding",
            "content-md5",
            "content-range",
            "date",
            "digest",
            "expect",
            "http2-settings",
            "keep-alive",
            "max-forwards",
            "proxy-authorization",
            "proxy-connection",
            "repr-digest",
            "sec-websocket-accept",
            "sec-websocket-key",
            "te",
            "trailer",
            "transfer-encoding",
            "upgrade",
            "via",
        ],
    ),
    (
        "between proxies and services",
        &[
            "forwarded",
            "x-forwarded-for",
            "x-forwarded-host",
            "x-forwarded-port",
            "x-forwarded-prefix",
            "x-forwarded-proto",
            "x-real-ip",
        ],
    ),
    (
        "browsers act on them, pages do not",
        &[
            "content-security-policy",
            "referrer-policy",
            "refresh",
            "server",
            "set-cookie",
            "strict-transport-security",
            "vary",
            "x-content-type-options",
            "x-frame-options",
            "x-powered-by",
            "x-xss-protection",
        ],
    ),
    (
        "the rules themselves",
        &[
            "access-control-allow-credentials",
            "access-control-allow-headers",
            "access-control-allow-methods",
            "access-control-allow-origin",
            "access-control-expose-headers",
            "access-control-max-age",
            "access-control-request-method",
        ],
    ),
    (
        "of gRPC, and for pages in the body",
        &["grpc-message", "grpc-status", "grpc-status-details-bin", "grpc-timeout", "shop-service"],
    ),
    ("of notifications, to webhooks", &["webhook-id", "webhook-signature", "webhook-timestamp"]),
];

/// Where else than in services headers are read and written.
const PARTS: [&str; 7] =
    ["gateway", "crates/http", "crates/web", "crates/idempotency", "crates/http1", "crates/browser", "crates/limit"];

/// The names in `text`: made of a text, or the constants of `http::header`.
fn names_in(text: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for begin in ["HeaderName::from_static(\"", "add_header(\""] {
        names.extend(text.split(begin).skip(1).filter_map(|rest| rest.split('"').next()).map(str::to_owned));
    }
    let constant = |word: &str| {
        let is_one = word.len() > 1
            && word.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_');
        is_one.then(|| word.to_ascii_lowercase().replace('_', "-"))
    };
    for rest in text.split("header::").skip(1) {
        let list = match rest.strip_prefix('{') {
            Some(list) => list.split('}').next().unwrap_or_default(),
            None => rest.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).next().unwrap_or_default(),
        };
        names.extend(list.split(',').filter_map(|word| constant(word.trim())));
    }
    names
}

fn collect(folder: &Path, names: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect(&path, names);
        } else if path.extension().is_some_and(|extension| extension == "rs") && !path.ends_with("tests.rs") {
            let text = std::fs::read_to_string(&path).expect("text");
            names.extend(names_in(text.split("#[cfg(test)]").next().unwrap_or_default()));
        }
    }
}

#[test]
fn every_header_is_allowed_or_exposed_or_none_of_a_pages_business() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
    let mut found = BTreeSet::new();
    let services = ["product", "basket", "payment", "notification"].map(|service| format!("services/{service}"));
    for folder in services.iter().map(String::as_str).chain(PARTS) {
        collect(&root.join(folder).join("src"), &mut found);
    }
    let cors = Cors::default();
    let others: BTreeSet<_> = OTHERS.iter().flat_map(|(_, names)| names.iter().copied()).collect();
    for known in
        ["etag", "idempotency-key", "idempotency-replayed", "location", "retry-after", "x-api-key", "ratelimit"]
    {
        assert!(found.contains(known), "{known} is no longer found: does the search still see the code?");
    }
    let listed = |names: &[String], name: &str| names.iter().any(|listed| listed == name);
    let unknown: Vec<_> = found
        .iter()
        .filter(|name| {
            !listed(&cors.headers, name) && !listed(&cors.exposed_headers, name) && !others.contains(name.as_str())
        })
        .collect();
    assert!(unknown.is_empty(), "say in cors.headers, cors.exposed_headers or here what becomes of {unknown:?}");
    for (name, is_request) in [
        ("idempotency-key", true),
        ("if-match", true),
        ("if-none-match", true),
        ("authorization", true),
        ("content-type", true),
        ("traceparent", true),
        ("tracestate", true),
        ("x-request-id", true),
        ("x-api-key", true),
        ("allow", false),
        ("etag", false),
        ("idempotency-replayed", false),
        ("link", false),
        ("location", false),
        ("ratelimit", false),
        ("ratelimit-policy", false),
        ("retry-after", false),
        ("www-authenticate", false),
        ("x-gateway-reason", false),
        ("x-request-id", false),
    ] {
        let names = if is_request { &cors.headers } else { &cors.exposed_headers };
        assert!(listed(names, name), "{name}");
    }
}
