//! Calls that belong to a backend by a header, a cookie or an address; and lists that are longer than a word has bits.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::Full;
use hyper::Response;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use shop_config::Settings as _;
use shop_gateway::Config;
use shop_gateway::settings::{Hash, Service, Strategy};
use tokio::net::TcpListener;

use crate::support::{Reply, Running, Upstream, config, get, nobody};

/// Servers at many addresses and one port, each of which says its address.
struct Many {
    port: u16,
    _upstream: Upstream,
}

impl Many {
    async fn start() -> Self {
        let listener = TcpListener::bind("0.0.0.0:0").await.expect("binds");
        let port = listener.local_addr().expect("bound").port();
        let upstream = Upstream::on(listener, |stream| async move {
            let address = stream.local_addr().expect("connected").ip().to_string();
            let service = service_fn(move |_| {
                let body = Full::new(Bytes::from(address.clone()));
                async move { Ok::<_, std::convert::Infallible>(Response::new(body)) }
            });
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
        Self { port, _upstream: upstream }
    }

    fn url(&self, number: usize) -> String {
        format!("http://127.0.{}.{}:{}", number / 250, number % 250 + 1, self.port)
    }

    fn urls(&self, count: usize) -> Vec<String> {
        (0..count).map(|number| self.url(number)).collect()
    }
}

/// The product service at these addresses.
fn settings(urls: &[String], hash: impl Into<Option<Hash>>) -> Config {
    let hash = hash.into();
    let mut settings = config(nobody());
    let strategy = hash.is_some().then_some(Strategy::ConsistentHash);
    settings.services["product"] =
        Service { urls: urls.join(",").parse().expect("urls"), strategy, hash, ..Service::default() };
    settings
}

fn by_header() -> Hash {
    Hash { header: Some("x-user".to_owned()), ..Hash::default() }
}

fn by_cookie() -> Hash {
    Hash { cookie: Some("at".to_owned()), ..Hash::default() }
}

async fn ask(gateway: &Running, headers: &[(&'static str, &str)]) -> Reply {
    let mut request = get("/api/products");
    for (name, value) in headers {
        request.headers_mut().append(*name, value.parse().expect("a value"));
    }
    let reply = gateway.send(request).await;
    assert_eq!(reply.status(), 200);
    reply
}

fn text(reply: &Reply) -> String {
    String::from_utf8(reply.body.to_vec()).expect("text")
}

/// Whose each of some users are.
async fn owners(gateway: &Running) -> BTreeMap<usize, String> {
    let mut owners = BTreeMap::new();
    for user in 0..60 {
        owners.insert(user, text(&ask(gateway, &[("x-user", &format!("user-{user}"))]).await));
    }
    owners
}

#[tokio::test]
async fn a_user_stays_with_a_backend_and_only_those_of_one_that_leaves_move() {
    let many = Many::start().await;
    let mut urls = many.urls(5);
    let gateway = Running::start(settings(&urls, by_header())).await;
    let before = owners(&gateway).await;
    assert_eq!(before.values().collect::<BTreeSet<_>>().len(), 5, "each has some: {before:?}");
    assert_eq!(owners(&gateway).await, before);
    // Another gateway that was told of them in another order knows the same.
    urls.reverse();
    let other = Running::start(settings(&urls, by_header())).await;
    assert_eq!(owners(&other).await, before);

    let left = "127.0.0.3";
    let stays = |(user, owner): (&usize, &String)| owner == &before[user] || before[user] == left;
    for gone in ["draining", "gone"] {
        let mut urls = many.urls(5);
        if gone == "draining" {
            urls[2].push_str(";draining");
        } else {
            drop(urls.remove(2));
        }
        gateway.handle.apply(settings(&urls, by_header())).expect("applies");
        let after = owners(&gateway).await;
        assert!(after.values().all(|owner| owner != left) && after.iter().all(stays), "{gone}: {after:?}");
    }
    gateway.handle.apply(settings(&many.urls(5), by_header())).expect("applies");
    assert_eq!(owners(&gateway).await, before);
}

#[tokio::test]
async fn who_cannot_be_reached_is_passed_over_for_the_same_other() {
    let many = Many::start().await;
    let mut urls = many.urls(3);
    // Nobody listens there, and its place in the order is as good as any.
    urls.push(format!("http://{}", nobody()));
    let gateway = Running::start(settings(&urls, by_header())).await;
    let before = owners(&gateway).await;
    assert_eq!(owners(&gateway).await, before);
    // As if it were not there at all.
    let without = Running::start(settings(&many.urls(3), by_header())).await;
    assert_eq!(owners(&without).await, before);
}

#[tokio::test]
async fn a_call_without_a_key_goes_to_whose_turn_it_is() {
    let many = Many::start().await;
    let gateway = Running::start(settings(&many.urls(3), by_header())).await;
    let mut seen = Vec::new();
    for _ in 0..6 {
        seen.push(text(&ask(&gateway, &[("x-user", "")]).await));
    }
    assert_eq!(seen, ["127.0.0.1", "127.0.0.2", "127.0.0.3"].repeat(2));
}

#[tokio::test]
async fn a_client_without_the_cookie_gets_one_that_keeps_it_where_it_was() {
    let many = Many::start().await;
    let mut settings = settings(&many.urls(8), by_cookie());
    settings.trusted_proxies = vec!["127.0.0.1".parse().expect("a network")];
    let gateway = Running::start(settings).await;
    let mut owners = BTreeSet::new();
    for number in 0..40 {
        let proto = if number % 2 == 0 { "https" } else { "http" };
        let first = ask(&gateway, &[("x-forwarded-proto", proto), ("cookie", "other=1")]).await;
        let given = first.header("set-cookie").expect("a cookie").to_owned();
        let (pair, rest) = given.split_once("; ").expect("attributes");
        assert!(rest.starts_with("Path=/; HttpOnly; SameSite=Lax"), "{given}");
        assert_eq!(rest.ends_with("; Secure"), proto == "https", "{given}");
        owners.insert(text(&first));
        for _ in 0..3 {
            let again = ask(&gateway, &[("cookie", &format!("other=1; {pair}"))]).await;
            assert_eq!((text(&again), again.header("set-cookie")), (text(&first), None));
        }
    }
    assert!(owners.len() > 4, "{owners:?}");
}

#[tokio::test]
async fn a_client_is_known_by_its_address() {
    let many = Many::start().await;
    let mut settings = settings(&many.urls(8), Hash { address: true, ..Hash::default() });
    settings.trusted_proxies = vec!["127.0.0.1".parse().expect("a network")];
    let gateway = Running::start(settings).await;
    let mut owners = BTreeSet::new();
    for last in 1..40 {
        let address = format!("203.0.113.{last}");
        let first = text(&ask(&gateway, &[("x-forwarded-for", &address)]).await);
        assert_eq!(text(&ask(&gateway, &[("x-forwarded-for", &address)]).await), first);
        owners.insert(first);
    }
    assert!(owners.len() > 4, "{owners:?}");
}

#[tokio::test]
async fn a_list_of_hundreds_is_used_to_its_end() {
    let many = Many::start().await;
    let count = 300;
    let mut settings = settings(&many.urls(count), None);
    let gateway = Running::start(settings.clone()).await;
    for strategy in [Strategy::RoundRobin, Strategy::LeastConnections, Strategy::WeightedRoundRobin] {
        settings.services["product"].strategy = Some(strategy);
        gateway.handle.apply(settings.clone()).expect("applies");
        let mut seen = BTreeSet::new();
        for _ in 0..count {
            seen.insert(text(&ask(&gateway, &[]).await));
        }
        assert_eq!(seen.len(), count, "{strategy:?}");
    }
}

#[tokio::test]
async fn of_hundreds_the_only_one_that_listens_is_found() {
    let many = Many::start().await;
    let dead: SocketAddr = nobody();
    let mut urls: Vec<_> = (1..=129).map(|last| format!("http://127.0.1.{last}:{}", dead.port())).collect();
    urls.push(many.url(0));
    let gateway = Running::start(settings(&urls, by_header())).await;
    for user in ["ada", "bea"] {
        assert_eq!(text(&ask(&gateway, &[("x-user", user)]).await), "127.0.0.1");
    }
    assert_eq!(text(&ask(&gateway, &[]).await), "127.0.0.1");
}

#[test]
fn what_cannot_be_hashed_is_refused_by_key() {
    for (service, key, words) in [
        ("strategy = \"consistent_hash\"", "services.search.hash", "header, cookie or address"),
        ("hash = {}", "services.search.hash", "name one of"),
        ("hash = { header = \"a\", address = true }", "services.search.hash", "name one of"),
        ("hash = { header = \"a b\" }", "services.search.hash.header", "no name"),
        ("hash = { cookie = \"a;b\" }", "services.search.hash.cookie", "no name"),
        ("retries = { attempts = 11 }", "services.search.retries.attempts", "use 1 to 10"),
        ("circuit_breaker = { timeout = \"0s\" }", "services.search.circuit_breaker.timeout", "more than 0"),
        ("health_check = { path = \"x\" }", "services.search.health_check.path", "write a path"),
    ] {
        let mut settings = config(nobody());
        let text = format!("urls = [\"http://a:1\"]\n{service}");
        settings.services.insert("search", toml::from_str(&text).expect("a service"));
        let mut problems = shop_config::Problems::default();
        settings.check(&mut problems);
        let found = problems.iter().any(|problem| problem.key == key && problem.message.contains(words));
        assert!(found, "{service}: {problems}");
    }
    let mut settings = config(nobody());
    settings.load_balancer.strategy = Strategy::ConsistentHash;
    let mut problems = shop_config::Problems::default();
    settings.check(&mut problems);
    assert!(problems.to_string().contains("load_balancer.strategy"), "{problems}");
}
