//! Settings, and counting in Redis, as the gateway uses them: by the public names alone.

mod redis;

use std::sync::Arc;

use http::HeaderMap;
use serde::Deserialize as _;
use serde::de::value::{Error, MapDeserializer};
use shop_config::{Duration, Problems};
use shop_limit::settings::{ApiKeys, ClientKey, RateLimit, RedisLimit, RouteLimit};
use shop_limit::{Call, Limiter, RoutePolicy, Unobserved};
use shop_telemetry::Span;

/// A SHA-256.
const HASH: &str = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";

/// What is found wrong: keys, and what is said.
fn problems(settings: &RateLimit) -> Vec<(String, String)> {
    let mut problems = Problems::default();
    settings.check(&mut problems);
    problems.iter().map(|problem| (problem.key.clone(), problem.message.clone())).collect()
}

/// The keys that are found wrong.
fn wrong(change: impl FnOnce(&mut RateLimit)) -> Vec<String> {
    let mut settings = RateLimit::default();
    change(&mut settings);
    problems(&settings).into_iter().map(|(key, _)| key).collect()
}

/// The limit of a route.
fn route(name: &str, limit: RouteLimit) -> RoutePolicy {
    RoutePolicy { route: name.trim_start_matches("GET /").to_owned(), name: name.to_owned(), limit }
}

/// The keys that are found wrong in the limit of a route of this name.
fn wrong_route(name: &str, limit: &RouteLimit) -> Vec<String> {
    let mut problems = Problems::default();
    limit.check(name, &mut problems);
    problems.iter().map(|problem| problem.key.clone()).collect()
}

const NONE: [&str; 0] = [];

#[tokio::test]
async fn a_call_is_explained_without_being_counted_and_a_full_budget_is_forgotten() {
    let off = route("GET /free", RouteLimit { enabled: false, ..RouteLimit::default() });
    let routes = [route("GET /api", RouteLimit::default()), off];
    let settings = RateLimit { window: Duration::millis(1), ..RateLimit::default() };
    let limiter = Limiter::new(&settings, &routes, Arc::new(Unobserved), None).expect("is on");
    let headers = HeaderMap::new();
    let call = |policy| {
        let address = "192.0.2.7".parse().expect("an address");
        Call { policy, headers: &headers, address, subject: None }
    };
    let told = |policy: &str| Some((policy.to_owned(), "ip:192.0.2.7".to_owned()));
    assert_eq!(limiter.explain(&call(Some(0))), told("\"GET /api\";q=100;w=1;burst=10"));
    assert_eq!(limiter.explain(&call(None)), told("\"client\";q=100;w=1;burst=10"));
    assert_eq!((limiter.explain(&call(Some(1))), limiter.clients()), (None, 0));
    assert!(limiter.check(&call(None), &Span::none()).await.is_some());
    assert_eq!(limiter.clients(), 1);
    shop_testing::eventually!({
        limiter.refresh();
        limiter.clients() == 0
    });
}

#[test]
fn the_defaults_are_a_hundred_a_minute_of_which_ten_at_once() {
    let settings = RateLimit::default();
    assert_eq!((settings.requests.get(), settings.window, settings.burst.get()), (100, Duration::secs(60), 10));
    assert_eq!(problems(&settings), []);
}

#[test]
fn numbers_are_found_wrong_by_their_keys_and_the_outermost_are_not_wrong() {
    assert_eq!(wrong(|settings| settings.window = Duration::secs(0)), ["window"]);
    assert_eq!(wrong(|settings| settings.window = Duration::millis(1)), NONE);
    assert_eq!(wrong(|settings| settings.max_clients = 999), ["max_clients"]);
    assert_eq!(wrong(|settings| settings.max_clients = 1000), NONE);
    let redis = |change: fn(&mut RedisLimit)| wrong(|settings| change(&mut settings.redis));
    assert_eq!(redis(|redis| redis.url = "redis://:secret@host:6379/0".into()), NONE);
    assert_eq!(redis(|redis| redis.url = "rediss://host".into()), NONE);
    assert_eq!(redis(|redis| redis.url = "http://host".into()), ["redis.url"]);
    assert_eq!(redis(|redis| redis.url = "redis://host:port".into()), ["redis.url"]);
    for (timeout, keys) in [
        (Duration::secs(0), &["redis.timeout"][..]),
        (Duration::millis(1), &[]),
        (Duration::secs(10), &[]),
        (Duration::secs(11), &["redis.timeout"]),
    ] {
        assert_eq!(wrong(|settings| settings.redis.timeout = timeout), keys, "{timeout:?}");
    }
}

#[test]
fn what_a_client_is_known_by_is_named_once_and_ends_with_its_address() {
    use ClientKey::{ApiKey, Ip, Subject};
    for (key, keys) in [
        (vec![Subject, Ip], &[][..]),
        (vec![], &["key"]),
        (vec![Subject], &["key"]),
        (vec![Ip, Subject], &["key"]),
        (vec![Subject, Subject, Ip], &["key"]),
        (vec![Ip, Ip], &["key"]),
        // Nobody has a key.
        (vec![ApiKey, Ip], &["api_keys.hashes"]),
    ] {
        assert_eq!(wrong(|settings| settings.key = key.clone()), keys, "{key:?}");
    }
}

#[test]
fn api_keys_are_named_by_hashes_here_or_in_a_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |text: &str| {
        let path = folder.path().join("keys");
        std::fs::write(&path, text).expect("writes");
        path
    };
    let keys = |used: bool, api_keys: ApiKeys| {
        let key = if used { vec![ClientKey::ApiKey, ClientKey::Ip] } else { vec![ClientKey::Ip] };
        let found = problems(&RateLimit { key, api_keys, ..RateLimit::default() });
        found.into_iter().map(|(key, message)| format!("{key}: {message}")).collect::<Vec<_>>()
    };
    let hashes = |all: &[&str]| all.iter().map(|hash| (*hash).to_owned()).collect::<Vec<_>>();
    let with = |all: &[&str]| ApiKeys { hashes: hashes(all), ..ApiKeys::default() };
    assert_eq!(keys(true, with(&[HASH, &HASH.to_uppercase()])), NONE);
    for bad in [&HASH[1..], &format!("{HASH}00"), &format!("+{}", &HASH[1..]), &format!("g{}", &HASH[1..]), ""] {
        let told = keys(true, with(&[HASH, bad]));
        assert_eq!(told, ["api_keys.hashes: number 2 is not a SHA-256 in 64 hexadecimal digits"], "{bad:?}");
    }
    let header = ApiKeys { header: "x api key".to_owned(), ..ApiKeys::default() };
    assert_eq!(keys(false, header), ["api_keys.header: is not the name of a header"]);
    let from = |text: &str| ApiKeys { file: Some(file(text)), ..ApiKeys::default() };
    assert_eq!(keys(true, from(&format!("# ours\n\n  {HASH}\n"))), NONE);
    let told = keys(true, from(&format!("# ours\n{HASH}\nnone\n")));
    assert_eq!(told, ["api_keys.file: line 3 is not a SHA-256 in 64 hexadecimal digits"]);
    assert_eq!(keys(false, from("none\n")), NONE, "nobody reads it");
    let missing = ApiKeys { file: Some(folder.path().join("missing")), ..ApiKeys::default() };
    assert!(keys(true, missing)[0].starts_with("api_keys.file: cannot be read: "));
}

#[test]
fn the_name_of_a_limit_can_be_written_in_a_field_and_its_window_is_more_than_nothing() {
    let limit = RouteLimit::default();
    assert_eq!(wrong_route("POST,PUT /api/payments/*", &limit), NONE);
    for name in ["/a\"", "/a\\", "/ä", "/a\n"] {
        assert_eq!(wrong_route(name, &limit), [""], "{name}");
    }
    assert_eq!(wrong_route(&"x".repeat(128), &limit), NONE);
    assert_eq!(wrong_route(&"x".repeat(129), &limit), [""]);
    let window = |window| RouteLimit { window: Some(window), ..RouteLimit::default() };
    assert_eq!(wrong_route("/api", &window(Duration::secs(0))), ["window"]);
    assert_eq!(wrong_route("/api", &window(Duration::millis(1))), NONE);
}

#[test]
fn a_route_is_on_and_as_the_others_unless_it_says_otherwise() {
    let settings: MapDeserializer<'_, _, Error> = MapDeserializer::new([("enabled", true)].into_iter());
    assert_eq!(RouteLimit::deserialize(settings).expect("a route"), RouteLimit::default());
}
