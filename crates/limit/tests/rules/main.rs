//! Settings, and counting in Redis, as the gateway uses them: by the public names alone.

mod redis;

use std::sync::Arc;

use http::{HeaderMap, Method};
use serde::Deserialize as _;
use serde::de::value::{Error, MapDeserializer};
use shop_config::{Duration, Problems};
use shop_limit::settings::{ApiKeys, ClientKey, RateLimit, RedisLimit, RouteLimit};
use shop_limit::{Call, Limiter, Unobserved};
use shop_telemetry::Span;

/// A SHA-256.
const HASH: &str = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";

/// What is found wrong: keys, and what is said.
fn problems(settings: &RateLimit) -> Vec<(String, String)> {
    let mut problems = Problems::default();
    settings.check(|path| path.starts_with('/') && !path.contains("//"), &mut problems);
    problems.iter().map(|problem| (problem.key.clone(), problem.message.clone())).collect()
}

/// The keys that are found wrong.
fn wrong(change: impl FnOnce(&mut RateLimit)) -> Vec<String> {
    let mut settings = RateLimit::default();
    change(&mut settings);
    problems(&settings).into_iter().map(|(key, _)| key).collect()
}

fn route(path: &str, methods: &[&str]) -> RouteLimit {
    let methods = methods.iter().map(|method| (*method).to_owned()).collect();
    RouteLimit { path: path.to_owned(), methods, enabled: true, requests: None, window: None, burst: None }
}

const NONE: [&str; 0] = [];

#[tokio::test]
async fn a_call_is_explained_without_being_counted_and_a_full_budget_is_forgotten() {
    let off = RouteLimit { enabled: false, ..route("/free", &[]) };
    let window = Duration::millis(1);
    let settings = RateLimit { routes: vec![route("/api", &["GET"]), off], window, ..RateLimit::default() };
    let limiter = Limiter::new(&settings, Arc::new(Unobserved), None).expect("is on");
    let headers = HeaderMap::new();
    let call = |path| {
        let address = "192.0.2.7".parse().expect("an address");
        Call { method: &Method::GET, path, headers: &headers, address, subject: None }
    };
    let told = |policy: &str| Some((policy.to_owned(), "ip:192.0.2.7".to_owned()));
    assert_eq!(limiter.explain(&call("/api/a")), told("\"GET /api\";q=100;w=1;burst=10"));
    assert_eq!(limiter.explain(&call("/")), told("\"client\";q=100;w=1;burst=10"));
    assert_eq!((limiter.explain(&call("/free")), limiter.clients()), (None, 0));
    assert!(limiter.check(&call("/"), &Span::none()).await.is_some());
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
fn a_route_is_a_path_in_its_normal_form_with_methods_in_capital_letters() {
    let wrong = |route: RouteLimit| wrong(|settings| settings.routes = vec![route]);
    assert_eq!(wrong(route("/api/payments", &["POST", "PUT"])), NONE);
    for path in ["api", "/api//payments", "/api payments", "/a\"", "/a\\", "/a?b", "/a#b", "/ä"] {
        assert_eq!(wrong(route(path, &[])), ["routes.0.path"], "{path}");
    }
    assert_eq!(wrong(route("/api", &["post"])), ["routes.0.methods"]);
    assert_eq!(wrong(route("/api", &["PO ST"])), ["routes.0.methods"]);
    // Methods and their spaces are of the name.
    assert_eq!(wrong(route(&format!("/{}", "x".repeat(127)), &[])), NONE);
    assert_eq!(wrong(route(&format!("/{}", "x".repeat(128)), &[])), ["routes.0.path"]);
    assert_eq!(wrong(route(&format!("/{}", "x".repeat(123)), &["GET"])), NONE);
    assert_eq!(wrong(route(&format!("/{}", "x".repeat(124)), &["GET"])), ["routes.0.path"]);
    assert_eq!(wrong(RouteLimit { window: Some(Duration::secs(0)), ..route("/api", &[]) }), ["routes.0.window"]);
    assert_eq!(wrong(RouteLimit { window: Some(Duration::millis(1)), ..route("/api", &[]) }), NONE);
}

#[test]
fn routes_of_one_name_are_there_once() {
    let routes = vec![route("/api", &[]), route("/api", &["GET"]), route("/api", &["GET"])];
    let found = problems(&RateLimit { routes, ..RateLimit::default() });
    assert_eq!(found, [("routes.2.path".to_owned(), "GET /api is there twice".to_owned())]);
}

#[test]
fn a_route_is_on_and_as_the_others_unless_it_says_otherwise() {
    let settings: MapDeserializer<'_, _, Error> = MapDeserializer::new([("path", "/api")].into_iter());
    assert_eq!(RouteLimit::deserialize(settings).expect("a route"), route("/api", &[]));
}
