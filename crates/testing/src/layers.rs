//! The rules of who may know whom inside a crate, checked on its source text: the layers of a service, the rooms of the
//! gateway.

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
            "shop_redis",
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
            "shop_redis",
            "shop_kafka",
        ],
    ),
    ("interface", &["infrastructure", "sqlx", "redis", "rdkafka", "reqwest", "shop_sql", "shop_redis", "shop_kafka"]),
    ("infrastructure", &["interface", "application", "rdkafka", "salvo", "shop_http", "shop_web", "shop_kafka"]),
];

/// The services' crates: none may know another.
const SERVICES: [&str; 4] = ["shop_product", "shop_basket", "shop_payment", "shop_notification"];

/// Panics with every place where a layer of the service in `crate_dir` knows what it must not. For a test:
/// `shop_testing::layers::check(env!("CARGO_MANIFEST_DIR"))`.
pub fn check(crate_dir: impl AsRef<Path>) {
    check_by(crate_dir.as_ref(), |room| {
        if room == "main" {
            return Vec::new();
        }
        let rule = RULES.iter().find(|(name, _)| *name == room);
        rule.map_or(&[][..], |(_, names)| names).iter().chain(&SERVICES).map(|name| (*name).to_owned()).collect()
    });
}

/// A folder (or file) at the root of a crate, and which others it may know.
pub type Room<'a> = (&'a str, &'a [&'a str]);

/// Panics with every place in the crate in `crate_dir` where one of its `rooms` knows another that it must not. They come in
/// reading order: each may know only such as follow it, so there is no circle. The root may know all of them.
pub fn check_rooms(crate_dir: impl AsRef<Path>, rooms: &[Room<'_>]) {
    for (place, (name, knows)) in rooms.iter().enumerate() {
        for known in *knows {
            let is_below = rooms[place + 1..].iter().any(|(below, _)| below == known);
            assert!(is_below, "`{name}` may not know `{known}`, which does not follow it");
        }
    }
    let must_not = |room: &str| -> Vec<String> {
        if ["lib", "main"].contains(&room) {
            return Vec::new();
        }
        let (_, knows) = rooms.iter().find(|(name, _)| *name == room).expect("every room has its place in the list");
        let others = rooms.iter().map(|(name, _)| *name).filter(|other| *other != room && !knows.contains(other));
        others.map(|other| format!("crate::{other}")).collect()
    };
    check_by(crate_dir.as_ref(), must_not);
}

/// Panics with every place where a room knows one of the names that it must not.
fn check_by(crate_dir: &Path, must_not: impl Fn(&str) -> Vec<String>) {
    let src = crate_dir.join("src");
    let mut wrong = Vec::new();
    let files = sources(&src);
    assert!(!files.is_empty(), "no sources in {}", src.display());
    for file in &files {
        let within = file.strip_prefix(&src).expect("is under src");
        let text = fs::read_to_string(file).expect("is readable");
        for name in violations(within, &text, &must_not) {
            wrong.push(format!("{} must not know `{name}`", within.display()));
        }
    }
    assert!(wrong.is_empty(), "layers are crossed:\n{}", wrong.join("\n"));
}

/// The forbidden names in one file, whose path starts at `src`.
fn violations(within: &Path, text: &str, must_not: impl Fn(&str) -> Vec<String>) -> BTreeSet<String> {
    let room = within.iter().next().and_then(|part| part.to_str()).unwrap_or("").trim_end_matches(".rs");
    let tokens = tokens(text);
    let known = known(&tokens, within.iter().count());
    must_not(room).into_iter().filter(|name| known.contains(name)).collect()
}

/// Every identifier; and as `crate::name` what is named from the root of the crate, by a file `depth` modules below it.
fn known(tokens: &[&str], depth: usize) -> BTreeSet<String> {
    let is_name = |token: &str| token.starts_with(|c: char| c.is_alphabetic() || c == '_');
    let mut found: BTreeSet<_> =
        tokens.iter().filter(|token| is_name(token)).map(|token| (*token).to_owned()).collect();
    for (place, _) in tokens.iter().enumerate() {
        let Some(mut rest) = from_root(&tokens[place..], depth) else { continue };
        if rest.first() != Some(&"{") {
            found.extend(rest.first().filter(|token| is_name(token)).map(|name| format!("crate::{name}")));
            continue;
        }
        // `use crate::{one, other::{…}}`: what stands first in each branch.
        let (mut open, mut is_first) = (0_usize, true);
        while let Some((token, after)) = rest.split_first() {
            match *token {
                "{" => open += 1,
                "}" => open -= 1,
                "," => is_first |= open == 1,
                name if is_first && open == 1 => {
                    found.insert(format!("crate::{name}"));
                    is_first = false;
                }
                _ => {}
            }
            if open == 0 {
                break;
            }
            rest = after;
        }
    }
    found
}

/// What follows `crate::`, or as many `super::` as lead to the root, if `tokens` begin so.
fn from_root<'a, 'b>(tokens: &'a [&'b str], depth: usize) -> Option<&'a [&'b str]> {
    match tokens {
        ["crate", "::", rest @ ..] => Some(rest),
        ["super", "::", rest @ ..] if depth == 1 => Some(rest),
        ["super", "::", rest @ ..] => from_root(rest, depth - 1).filter(|_| rest.first() == Some(&"super")),
        _ => None,
    }
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

/// Identifiers, `::`, braces and commas of the code, without comments, strings and the tests at the end of the file.
fn tokens(text: &str) -> Vec<&str> {
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or(text);
    let mut found = Vec::new();
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
            found.push(&rest[..length]);
            length
        } else if rest.starts_with("::") {
            found.push(&rest[..2]);
            2
        } else {
            if "{},".contains(first) {
                found.push(&rest[..1]);
            }
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

    fn layer(room: &str) -> Vec<String> {
        let rule = RULES.iter().find(|(name, _)| *name == room);
        rule.map_or(&[][..], |(_, names)| names).iter().chain(&SERVICES).map(|name| (*name).to_owned()).collect()
    }

    fn found(path: &str, text: &str) -> Vec<String> {
        violations(Path::new(path), text, layer).into_iter().collect()
    }

    fn rooms(texts: [(&str, &str); 2]) {
        let place = tempfile::tempdir().expect("a folder");
        fs::create_dir_all(place.path().join("src/upper")).expect("a folder");
        for (file, text) in texts {
            fs::write(place.path().join("src").join(file), text).expect("a file");
        }
        check_rooms(place.path(), &[("upper", &["lower"]), ("lower", &[])]);
    }

    #[test]
    fn a_room_knows_those_below_it() {
        rooms([("upper.rs", "use crate::lower::Thing;"), ("lower.rs", "fn f(upper: u8) { upper } // crate::upper")]);
        rooms([
            ("upper/one.rs", "use super::super::lower;"),
            ("lower.rs", "use std::upper; let a = \"crate::upper\";"),
        ]);
    }

    #[test]
    #[should_panic(expected = "lower.rs must not know `crate::upper`")]
    fn an_arrow_that_was_turned_is_seen() {
        rooms([("upper.rs", ""), ("lower.rs", "use crate::{other, lower::{Thing, a}, upper::Thing};")]);
    }

    #[test]
    #[should_panic(expected = "lower.rs must not know `crate::upper`")]
    fn a_path_within_the_code_is_an_arrow_too() {
        rooms([("upper.rs", ""), ("lower.rs", "fn f() { crate::upper::g() }")]);
    }

    #[test]
    #[should_panic(expected = "lower.rs must not know `crate::upper`")]
    fn the_way_round_by_super_leads_there_too() {
        rooms([("upper.rs", ""), ("lower.rs", "use super::upper;")]);
    }

    #[test]
    #[should_panic(expected = "which does not follow it")]
    fn a_list_that_looks_up_is_no_list() {
        check_rooms(".", &[("upper", &[]), ("lower", &["upper"])]);
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
