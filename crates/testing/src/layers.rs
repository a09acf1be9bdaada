//! The rule of who may know whom inside a service, checked on its source text.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// A layer, the folder (or file) it lives in, and the names that must not occur there.
const RULES: [(&str, &[&str]); 4] = [
    (
        "domain",
        &[
            "application",
            "interface",
            "infrastructure",
            "tokio",
            "sqlx",
            "redis",
            "rdkafka",
            "salvo",
            "hyper",
            "tonic",
            "prost",
            "reqwest",
            "shop_proto",
            "shop_config",
            "shop_telemetry",
            "shop_runtime",
            "shop_http",
            "shop_web",
            "shop_rpc",
            "shop_sql",
            "shop_kafka",
        ],
    ),
    (
        "application",
        &[
            "interface",
            "infrastructure",
            "sqlx",
            "redis",
            "rdkafka",
            "salvo",
            "hyper",
            "tonic",
            "prost",
            "reqwest",
            "shop_proto",
            "shop_http",
            "shop_web",
            "shop_rpc",
            "shop_sql",
            "shop_kafka",
        ],
    ),
    ("interface", &["infrastructure", "sqlx", "redis", "rdkafka", "reqwest", "shop_sql", "shop_kafka"]),
    ("infrastructure", &["interface", "application", "rdkafka", "salvo", "shop_http", "shop_web", "shop_kafka"]),
];

/// The services' crates: none may know another.
const SERVICES: [&str; 4] = ["shop_product", "shop_basket", "shop_payment", "shop_notification"];

/// Panics with every place where a layer of the service in `crate_dir` knows what it must not. For a test:
/// `shop_testing::layers::check(env!("CARGO_MANIFEST_DIR"))`.
pub fn check(crate_dir: impl AsRef<Path>) {
    let src = crate_dir.as_ref().join("src");
    let mut wrong = Vec::new();
    let files = sources(&src);
    assert!(!files.is_empty(), "no sources in {}", src.display());
    for file in &files {
        let within = file.strip_prefix(&src).expect("is under src");
        let text = fs::read_to_string(file).expect("is readable");
        for name in violations(within, &text) {
            wrong.push(format!("{} must not know `{name}`", within.display()));
        }
    }
    assert!(wrong.is_empty(), "layers are crossed:\n{}", wrong.join("\n"));
}

/// The forbidden names in one file, whose path starts at `src`.
fn violations(within: &Path, text: &str) -> BTreeSet<String> {
    let layer = within.iter().next().and_then(|part| part.to_str()).unwrap_or("").trim_end_matches(".rs");
    if layer == "main" {
        return BTreeSet::new();
    }
    let forbidden = RULES.iter().find(|(name, _)| *name == layer).map_or(&[][..], |(_, names)| names);
    let known = identifiers(text);
    forbidden.iter().chain(&SERVICES).filter(|name| known.contains(**name)).map(|name| (*name).to_owned()).collect()
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("is a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// Every identifier of the code, without comments, strings and the tests at the end of the file.
fn identifiers(text: &str) -> BTreeSet<&str> {
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or(text);
    let mut found = BTreeSet::new();
    let mut rest = code;
    while let Some(first) = rest.chars().next() {
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if let Some(length) = raw_string(rest) {
            length
        } else if first == '"' {
            string(rest)
        } else if first == '\'' {
            character(rest)
        } else if first.is_alphabetic() || first == '_' {
            let length = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            found.insert(&rest[..length]);
            length
        } else {
            first.len_utf8()
        };
        rest = &rest[length..];
    }
    found
}

/// The length of a string literal at the start of `text`.
fn string(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            '"' if !escaped => return at + 1,
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    text.len()
}

/// The length of a raw string literal at the start of `text`, if there is one.
fn raw_string(text: &str) -> Option<usize> {
    let after = text.strip_prefix("br").or_else(|| text.strip_prefix('r'))?;
    let hashes = after.len() - after.trim_start_matches('#').len();
    let body = after[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let start = text.len() - body.len();
    Some(body.find(&end).map_or(text.len(), |at| start + at + end.len()))
}

/// The length of a character literal, or of the quote of a lifetime.
fn character(text: &str) -> usize {
    let mut chars = text.char_indices().skip(1);
    match (chars.next(), chars.next()) {
        (Some((_, '\\')), Some((at, c))) => {
            let from = at + c.len_utf8();
            from + text[from..].find('\'').map_or(0, |end| end + 1)
        }
        (Some(_), Some((at, '\''))) => at + 1,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> Vec<String> {
        violations(Path::new(path), text).into_iter().collect()
    }

    #[test]
    fn a_layer_that_reaches_too_far_is_named() {
        let text = "use crate::{domain::Basket, infrastructure::redis::RedisBaskets};";
        assert_eq!(found("application/commands.rs", text), ["infrastructure", "redis"]);
        assert_eq!(found("interface/http.rs", text), ["infrastructure", "redis"]);
        assert_eq!(found("infrastructure/redis.rs", text), Vec::<String>::new());
        assert_eq!(found("lib.rs", text), Vec::<String>::new());
        assert_eq!(found("domain.rs", "fn f() { sqlx::query(\"\") }"), ["sqlx"]);
        assert_eq!(found("lib.rs", "use shop_basket::Basket;"), ["shop_basket"]);
    }

    #[test]
    fn words_and_tests_are_no_code() {
        let text = "// sqlx\nlet a = (\"sqlx \\\" tokio\", r#\"salvo\"#, '\"', b'\\'', '\\\\');\n#[cfg(test)]\nmod tests { use tokio; }";
        assert_eq!(found("domain/basket.rs", text), Vec::<String>::new());
        assert_eq!(found("domain/basket.rs", "fn f<'a>(x: &'a str) { tokio::spawn(x) }"), ["tokio"]);
    }
}
