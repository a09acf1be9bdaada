//! Services and routes as settings have them: what each field does, and what is refused.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::SeqCst;

use bytes::Bytes;
use http_body_util::Full;
use serde_json::Value;
use shop_config::{Problems, Settings};
use shop_gateway::Config;
use shop_gateway::settings::Service;
use shop_testing::eventually;
use tonic::Request;

use crate::grpc::{Codec, backend, channel_to, number, twice};
use crate::support::{Client, Mortal, Reply, Running, Upstream, backends, config, echoed, route, service};

/// A gateway without the suite's table, with these services and routes.
pub(crate) fn bare(services: &[(&str, Service)], routes: &[(&str, &str)]) -> Config {
    let mut settings = config(([127, 0, 0, 1], 1).into());
    settings.suite = false;
    settings.services = shop_gateway::settings::Services::default();
    settings.routes = BTreeMap::new();
    for (name, service) in services {
        settings.services.insert(*name, service.clone());
    }
    for (name, text) in routes {
        settings.routes.insert((*name).to_owned(), route(text));
    }
    settings
}

pub(crate) fn ask(method: &str, host: &str, target: &str, headers: &[(&str, &str)]) -> http::Request<Full<Bytes>> {
    let mut request = http::Request::builder().method(method).uri(target).header("host", host);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Full::default()).expect("a request")
}

impl Running {
    pub(crate) async fn ask(&self, method: &str, host: &str, target: &str, headers: &[(&str, &str)]) -> Reply {
        self.send(ask(method, host, target, headers)).await
    }
}

/// What is wrong with these routes beside the services `one` and `two`.
pub(crate) fn problems(routes: &[(&str, &str)]) -> String {
    let url = service(&[([127, 0, 0, 1], 1).into()]);
    let settings = bare(&[("one", url.clone()), ("two", url)], routes);
    let mut problems = Problems::default();
    settings.check(&mut problems);
    problems.to_string()
}

#[tokio::test]
async fn each_condition_and_each_change_of_a_route_counts() {
    let (one, two) = (Upstream::echo().await, Upstream::echo().await);
    let routes = [
        ("all", "path = '/*'\nto = 'one'"),
        ("search", "path = '/search/*'\nrewrite = '/*'\nto = 'two'"),
        ("search-v2", "path = '/search/*'\nrewrite = '/v2/*'\nto = 'two'\nheaders = { x-beta = '1' }"),
        ("search-draft", "path = '/search/*'\nrewrite = '/draft/*'\nto = 'two'\nquery = { draft = 'yes' }"),
        ("search-put", "path = '/search/*'\nrewrite = '/put/*'\nto = 'two'\nmethods = ['PUT', 'PATCH']"),
        ("orders", "path = '/users/{id}/orders'\nrewrite = '/orders/of/{id}'\nto = 'two'"),
        ("shop", "path = '/*'\nhosts = ['shop.example']\nrewrite = '/shop/*'\nto = 'two'"),
        ("shops", "path = '/*'\nhosts = ['*.shop.example']\nrewrite = '/shops/*'\nto = 'two'"),
        ("eu", "path = '/*'\nhosts = ['*.eu.shop.example', 'other.example']\nrewrite = '/eu/*'\nto = 'two'"),
        ("off", "path = '/off/*'\nenabled = false\nto = 'two'"),
    ];
    let gateway = Running::start(bare(&[("one", service(&[one.addr])), ("two", service(&[two.addr]))], &routes)).await;
    for (method, host, target, headers, expected) in [
        ("GET", "x", "/", &[][..], ("one", "/")),
        ("GET", "x", "/a/b?c=d", &[], ("one", "/a/b?c=d")),
        ("GET", "x", "/search", &[], ("two", "/")),
        ("GET", "x", "/search/", &[], ("two", "/")),
        ("GET", "x", "/search/a?b", &[], ("two", "/a?b")),
        ("GET", "x", "/searching", &[], ("one", "/searching")),
        ("GET", "x", "/search/a", &[("x-beta", "1")], ("two", "/v2/a")),
        ("GET", "x", "/search/a", &[("x-beta", "2")], ("two", "/a")),
        ("GET", "x", "/search/a", &[("x-beta", "1"), ("x-beta", "2")], ("two", "/a")),
        ("GET", "x", "/search/a?draft=yes", &[], ("two", "/draft/a?draft=yes")),
        ("GET", "x", "/search/a?draft=yes&draft=no", &[], ("two", "/a?draft=yes&draft=no")),
        ("PUT", "x", "/search/a", &[], ("two", "/put/a")),
        ("PATCH", "x", "/search/a", &[("x-beta", "1")], ("two", "/put/a")),
        ("GET", "x", "/users/7/orders", &[], ("two", "/orders/of/7")),
        ("GET", "x", "/users/a%2Fb/orders", &[], ("two", "/orders/of/a%2Fb")),
        ("GET", "x", "/users/7/orders/1", &[], ("one", "/users/7/orders/1")),
        ("GET", "shop.example", "/search", &[], ("two", "/shop/search")),
        ("GET", "Shop.Example:8083", "/a", &[], ("two", "/shop/a")),
        ("GET", "de.shop.example", "/a", &[], ("two", "/shops/a")),
        ("GET", "de.eu.shop.example", "/a", &[], ("two", "/eu/a")),
        ("GET", "eu.shop.example", "/a", &[], ("two", "/shops/a")),
        ("GET", "other.example", "/a", &[], ("two", "/eu/a")),
        ("GET", "notshop.example", "/a", &[], ("one", "/a")),
        ("GET", "x", "/off/a", &[], ("one", "/off/a")),
    ] {
        let before = [&one, &two].map(|upstream| upstream.requests.load(SeqCst));
        let reply = gateway.ask(method, host, target, headers).await;
        assert_eq!(reply.status(), 200, "{method} {host} {target}: {:?}", reply.body);
        let after = [&one, &two].map(|upstream| upstream.requests.load(SeqCst));
        let name = if after[0] > before[0] { "one" } else { "two" };
        assert_eq!(
            (name, reply.json()["target"].as_str().expect("a target")),
            expected,
            "{method} {host} {target} {headers:?}"
        );
    }
}

#[tokio::test]
async fn a_route_changes_headers_both_ways_and_bounds_bodies() {
    let one = Upstream::echo().await;
    let old =
        Upstream::saying("HTTP/1.1 200 OK\r\nx-old: 1\r\nx-added: 0\r\nserver: x\r\ncontent-length: 0\r\n\r\n").await;
    let rules = "response_headers = { set = { server = 'shop' }, add = { x-added = 'yes' }, remove = ['x-old'] }";
    let all = format!(
        "path = '/api/*'\nrewrite = '/*'\nto = 'one'\nbody_limit = 4\n{rules}\n\
         request_headers = {{ set = {{ x-set = 'new' }}, add = {{ x-add = 'more' }}, remove = ['x-secret'] }}"
    );
    let olds = format!("path = '/old'\nto = 'old'\n{rules}");
    let services = [("one", service(&[one.addr])), ("old", service(&[old.addr]))];
    let gateway = Running::start(bare(&services, &[("all", &all), ("old", &olds)])).await;
    let said = [("x-set", "old"), ("x-add", "some"), ("x-secret", "s"), ("x-kept", "k")];
    let reply = gateway.ask("GET", "x", "/api/a", &said).await;
    let seen = reply.json();
    assert_eq!(echoed(&seen, "x-set"), ["new"]);
    assert_eq!(echoed(&seen, "x-add"), ["some", "more"]);
    assert_eq!(echoed(&seen, "x-kept"), ["k"]);
    assert_eq!(echoed(&seen, "x-forwarded-prefix"), ["/api"]);
    assert!(echoed(&seen, "x-secret").is_empty());
    let reply = gateway.ask("GET", "x", "/old", &[]).await;
    let added: Vec<_> = reply.head.headers.get_all("x-added").iter().map(http::HeaderValue::as_bytes).collect();
    assert_eq!((reply.header("server"), reply.header("x-old"), added), (Some("shop"), None, vec![&b"0"[..], b"yes"]));
    let large = crate::support::request("POST", "/api/a", "12345");
    let refused = gateway.send(large).await;
    refused.refused(413, "body_too_large");
    assert_eq!(refused.header("x-added"), Some("yes"), "the gateway's own answers too");
    let small = crate::support::request("POST", "/api/a", "1234");
    assert_eq!(gateway.send(small).await.json()["body"], "1234");
}

#[tokio::test]
async fn a_route_may_redirect_or_be_the_answer() {
    let folder = tempfile::tempdir().expect("a folder");
    let page = folder.path().join("page.html");
    std::fs::write(&page, "<h1>closed</h1>").expect("written");
    let with_file = format!(
        "path = '/closed/*'\nrespond = {{ status = 503, body_file = '{}', content_type = 'text/html' }}",
        page.display()
    );
    let routes = [
        ("old", "path = '/old/*'\nredirect = { path = '/new/*', status = 301 }"),
        ("host", "path = '/host/*'\nredirect = { host = 'new.example', scheme = 'https' }"),
        ("port", "path = '/port'\nredirect = { port = 8443, scheme = 'https', status = 307 }"),
        ("user", "path = '/u/{id}'\nredirect = { path = '/users/{id}/profile' }"),
        ("root", "path = '/root/*'\nredirect = { path = '/*' }"),
        ("robots", "path = '/robots.txt'\nrespond = { body = 'User-agent: *' }"),
        ("gone", "path = '/gone'\nrespond = { status = 410 }"),
        ("closed", with_file.as_str()),
    ];
    let gateway = Running::start(bare(&[], &routes)).await;
    for (target, status, location) in [
        ("/old/a?b=c", 301, "/new/a?b=c"),
        ("/old", 301, "/new"),
        ("/host/a", 308, "https://new.example/host/a"),
        ("/port", 307, "https://shop.example:8443/port"),
        ("/u/7", 308, "/users/7/profile"),
        ("/root", 308, "/"),
        ("/root/a", 308, "/a"),
    ] {
        let reply = gateway.ask("GET", "shop.example:8083", target, &[]).await;
        assert_eq!((reply.status(), reply.header("location")), (status, Some(location)), "{target}");
    }
    for (target, status, kind, body) in [
        ("/robots.txt", 200, Some("text/plain; charset=utf-8"), "User-agent: *"),
        ("/gone", 410, None, ""),
        ("/closed/a", 503, Some("text/html"), "<h1>closed</h1>"),
    ] {
        let reply = gateway.ask("GET", "x", target, &[]).await;
        assert_eq!(
            (reply.status(), reply.header("content-type"), &reply.body[..]),
            (status, kind, body.as_bytes()),
            "{target}"
        );
        assert!(reply.header("x-gateway-reason").is_none());
    }
    let head = gateway.ask("HEAD", "x", "/robots.txt", &[]).await;
    assert_eq!((head.header("content-length"), head.body.len()), (Some("13"), 0));
    gateway.ask("GET", "x", "/", &[]).await.refused(404, "no_route");
    assert_eq!(gateway.ask("GET", "x", "/health", &[]).await.status(), 200);
}

#[tokio::test]
async fn grpc_methods_have_routes_of_their_own() {
    let (stable, canary) = (backend().await, backend().await);
    let grpc = |addr| Service { grpc_urls: backends(&[addr]), ..Service::default() };
    let routes = [
        ("all", "grpc = 'shop.product.v1.ProductService'\nto = 'stable'"),
        ("one", "grpc = 'shop.product.v1.ProductService/Twice'\nto = 'canary'\nheaders = { x-canary = '1' }"),
    ];
    let gateway = Running::start(bare(&[("stable", grpc(stable)), ("canary", grpc(canary))], &routes)).await;
    let mut client = channel_to(gateway.addr).await;
    let calls = |service: &str| {
        let line = format!(r#"gateway_requests_total{{method="POST",service="{service}",status="200"}}"#);
        gateway.metric(&line).unwrap_or_default()
    };
    assert_eq!(twice(&mut client, Request::new(number(21))).await.expect("an answer").into_inner(), number(42));
    assert_eq!((calls("stable"), calls("canary")), (1.0, 0.0));
    let mut request = Request::new(number(21));
    request.metadata_mut().insert("x-canary", "1".parse().expect("a value"));
    assert_eq!(twice(&mut client, request).await.expect("an answer").into_inner(), number(42));
    eventually!((calls("stable"), calls("canary")) == (1.0, 1.0));
    let unknown = "/shop.product.v1.StockService/Twice".parse().expect("a path");
    client.ready().await.expect("ready");
    let refused = client.unary(Request::new(number(1)), unknown, Codec::default()).await.expect_err("no route");
    assert_eq!(
        refused.metadata().get("x-gateway-reason").map(tonic::metadata::MetadataValue::as_bytes),
        Some(&b"no_route"[..])
    );
}

#[tokio::test]
async fn what_a_service_waits_is_its_own_and_its_routes() {
    let slow = Upstream::serving(|_| async {
        tokio::time::sleep(std::time::Duration::from_secs(5)).await;
        http::Response::default()
    })
    .await;
    let mut hasty = service(&[slow.addr]);
    hasty.timeouts.first_byte = Some(shop_config::Duration::millis(100));
    let routes = [
        ("hasty", "path = '/hasty'\nto = 'hasty'"),
        ("whole", "path = '/whole'\nto = 'patient'\ntimeouts = { total = '100ms' }"),
        ("patient", "path = '/patient'\nto = 'hasty'\ntimeouts = { first_byte = '20s' }"),
    ];
    let gateway = Running::start(bare(&[("hasty", hasty), ("patient", service(&[slow.addr]))], &routes)).await;
    for path in ["/hasty", "/whole"] {
        gateway.ask("GET", "x", path, &[]).await.refused(504, "upstream_timeout");
    }
    assert_eq!(gateway.ask("GET", "x", "/patient", &[]).await.status(), 200);
}

#[tokio::test]
async fn calls_are_shared_by_weight() {
    let (most, few, none) = (Mortal::start(), Mortal::start(), Mortal::start());
    let services = [("most", service(&[most.addr])), ("few", service(&[few.addr])), ("none", service(&[none.addr]))];
    let routes = [("all", "path = '/*'\nto = ['most;weight=95', 'few;weight=5', 'none;weight=0']")];
    let gateway = Running::start(bare(&services, &routes)).await;
    let mut client = Client::connect(gateway.addr).await;
    for _ in 0..2000 {
        assert_eq!(client.send(ask("GET", "x", "/", &[])).await.expect("an answer").status(), 200);
    }
    // Three standard deviations of 2000 draws are 1.5 per cent.
    let share = few.count() * 1000 / 2000;
    assert!((35..=65).contains(&share), "{share} of 1000");
    assert_eq!((most.count() + few.count(), none.count()), (2000, 0));
}

#[tokio::test]
async fn a_path_that_some_read_as_a_guarded_one_is_no_way_around() {
    let one = Upstream::echo().await;
    let routes = [
        ("site", "path = '/*'\nto = 'one'"),
        ("admin", "path = '/@admin/*'\nto = 'one'\naccess = { allow = ['192.0.2.1'] }"),
        ("purge", "path = '/things:purge'\nto = 'one'\naccess = { allow = ['192.0.2.1'] }"),
        ("cafe", "path = '/caf%C3%A9/*'\nto = 'one'\naccess = { allow = ['192.0.2.1'] }"),
        ("open", "path = '/open/*'\nto = 'one'"),
    ];
    let gateway = Running::start(bare(&[("one", service(&[one.addr]))], &routes)).await;
    for (target, status, code) in [
        ("/@admin/users", 403, "address_refused"),
        ("/%40admin/users", 400, "bad_path"),
        ("/@admin%2Fusers", 400, "bad_path"),
        ("/@admin;a/users", 400, "bad_path"),
        ("/things%3Apurge", 400, "bad_path"),
        ("/things:purge;x=1", 400, "bad_path"),
        ("/caf%c3%a9/x", 403, "address_refused"),
        ("/caf%C3%A9;/x", 400, "bad_path"),
    ] {
        gateway.ask("GET", "x", target, &[]).await.refused(status, code);
    }
    for target in ["/open/a%2Fb", "/open/a;b", "/%40other", "/x%3Ay"] {
        assert_eq!(gateway.ask("GET", "x", target, &[]).await.json()["target"], target);
    }
}

#[tokio::test]
async fn a_file_that_is_gone_holds_up_no_change_and_cannot_be_named_by_the_admin_api() {
    let one = Upstream::echo().await;
    let folder = tempfile::tempdir().expect("a folder");
    let page = folder.path().join("page.html");
    std::fs::write(&page, "closed").expect("written");
    let closed = format!("path = '/closed'\nrespond = {{ status = 503, body_file = '{}' }}", page.display());
    let gateway = Running::start(bare(&[("one", service(&[one.addr]))], &[("closed", &closed)])).await;
    std::fs::remove_file(&page).expect("removed");
    let urls = format!(r#"{{"urls": ["http://{}"]}}"#, one.addr);
    assert_eq!(gateway.admin("PUT", "/admin/services/two", &urls).await.status(), 201);
    let reply = gateway.ask("GET", "x", "/closed", &[]).await;
    assert_eq!((reply.status(), &reply.body[..]), (503, &b"closed"[..]));
    for file in ["/etc/hostname", "/proc/self/environ", "/dev/zero"] {
        let body = format!(r#"{{"path": "/x", "respond": {{"body_file": "{file}"}}}}"#);
        gateway.admin("PUT", "/admin/routes/x", &body).await.refused(422, "validation_failed");
    }
}

#[tokio::test]
async fn who_was_at_one_of_two_services_stays_there() {
    let (one, two) = (Mortal::start(), Mortal::start());
    let services = [("one", service(&[one.addr])), ("two", service(&[two.addr]))];
    let routes = [
        ("user", "path = '/user'\nto = 'one, two'\nhash = { header = 'x-user' }"),
        ("cookie", "path = '/cookie'\nto = 'one, two'\nhash = { cookie = 'side' }"),
    ];
    let gateway = Running::start(bare(&services, &routes)).await;
    let side = async |target: &str, headers: &[(&str, &str)]| {
        let before = one.count();
        let reply = gateway.ask("GET", "x", target, headers).await;
        assert_eq!(reply.status(), 200);
        (one.count() > before, reply.header("set-cookie").map(str::to_owned))
    };
    let mut sides = [0, 0];
    for user in 0..40 {
        let user = user.to_string();
        let (is_one, _) = side("/user", &[("x-user", &user)]).await;
        sides[usize::from(is_one)] += 1;
        assert_eq!(side("/user", &[("x-user", &user)]).await, (is_one, None), "{user}");
    }
    assert!(sides.iter().all(|count| *count > 5), "both have some: {sides:?}");
    for _ in 0..10 {
        let (is_one, cookie) = side("/cookie", &[]).await;
        let cookie = cookie.expect("a cookie");
        assert!(cookie.starts_with("side=") && cookie.ends_with("; Path=/; HttpOnly; SameSite=Lax"), "{cookie}");
        let (pair, _) = cookie.split_once(';').expect("attributes");
        assert_eq!(side("/cookie", &[("cookie", pair)]).await, (is_one, None));
    }
}

#[test]
fn two_routes_that_no_rule_tells_apart_are_named() {
    for (first, second, is_ambiguous) in [
        ("path = '/a/*'", "path = '/a/*'", true),
        ("path = '/a/{x}'", "path = '/a/{y}'", true),
        ("path = '/a/*'", "path = '/a'", false),
        ("path = '/a/*'", "path = '/a/{x}/*'", false),
        ("path = '/a'", "path = '/a'\nhosts = ['x']", false),
        ("path = '/a'\nhosts = ['x', 'y']", "path = '/a'\nhosts = ['y', 'z']", true),
        ("path = '/a'\nhosts = ['x']", "path = '/a'\nhosts = ['*.x']", false),
        ("path = '/a'\nmethods = ['GET']", "path = '/a'\nmethods = ['POST']", false),
        ("path = '/a'\nmethods = ['GET', 'PUT']", "path = '/a'\nmethods = ['POST', 'PUT']", true),
        ("path = '/a'\nmethods = ['GET']", "path = '/a'", false),
        ("path = '/a'\nheaders = { x = '1' }", "path = '/a'\nheaders = { x = '2' }", false),
        ("path = '/a'\nheaders = { x = '1' }", "path = '/a'\nheaders = { X = '2' }", false),
        ("path = '/a'\nheaders = { x = '1' }", "path = '/a'\nheaders = { y = '1' }", true),
        ("path = '/a'\nheaders = { x = '1', y = '1' }", "path = '/a'\nheaders = { y = '1' }", false),
        ("path = '/a'\nquery = { q = '1' }", "path = '/a'\nquery = { q = '2' }", false),
        ("path = '/a'\nquery = { q = '1' }", "path = '/a'\nquery = { r = '2' }", true),
        ("grpc = 'a.B'", "grpc = 'a.B'", true),
        ("grpc = 'a.B'", "grpc = 'a.B/C'", false),
        ("grpc = 'a.B'", "path = '/a.B/{method}'", false),
        ("path = '/a'\nenabled = false", "path = '/a'", false),
    ] {
        let (first, second) = (format!("{first}\nto = 'one'"), format!("{second}\nto = 'one'"));
        let said = problems(&[("first", &first), ("second", &second)]);
        assert_eq!(
            said.contains("second and first are for the same requests"),
            is_ambiguous,
            "{first} | {second}: {said}"
        );
        assert_eq!(said.is_empty(), !is_ambiguous, "{first} | {second}: {said}");
    }
}

#[test]
fn what_makes_no_sense_in_a_route_is_refused_by_its_key() {
    for (text, key, message) in [
        ("to = 'one'", "path", "set one of path and grpc"),
        ("path = '/a'\ngrpc = 'a.B'\nto = 'one'", "path", "set one of path and grpc"),
        ("path = '/a'", "to", "set one of to, redirect and respond"),
        ("path = '/a'\nto = 'one'\nredirect = { path = '/b' }", "to", "set one of to, redirect and respond"),
        ("path = '/a'\nto = 'three'", "to.0", "there is no service three; there are one, two"),
        ("path = '/a'\nto = 'one, one'", "to.1", "is there twice"),
        ("path = '/a'\nto = 'one;weight=0'", "to", "needs a weight above 0"),
        ("path = '/a'\nto = 'one'\nhash = { address = true }", "hash", "is for routes to several services"),
        ("path = '/a'\nto = 'one, two'\nhash = {}", "hash", "name one of header, cookie and address"),
        ("path = '/a%40b'\nto = 'one'\naccess = { allow = ['10.0.0.0/8'] }", "path", "is read in two ways"),
        ("path = '/health'\nto = 'one'", "path", "/health is the gateway's own"),
        ("path = '/admin/*'\nto = 'one'", "path", "/admin is the gateway's own"),
        ("path = '/a'\nmethods = ['get']\nto = 'one'", "methods.0", "is not a method in capital letters"),
        ("path = '/a'\nmethods = ['CONNECT']\nto = 'one'", "methods.0", "CONNECT has no path"),
        ("path = '/a'\nheaders = { 'x y' = '1' }\nto = 'one'", "headers.x y", "is not the name of a header"),
        ("path = '/a'\nquery = { '' = '1' }\nto = 'one'", "query", "needs a name"),
        ("path = '/a'\nrewrite = '/{id}'\nto = 'one'", "rewrite", "the route's path has no {id}"),
        ("path = '/a'\nrewrite = '/b/*'\nto = 'one'", "rewrite", "there is nothing below it"),
        ("path = '/a'\nrewrite = '/b'\nredirect = { path = '/c' }", "rewrite", "is for routes to a service"),
        ("grpc = 'a.B'\nmethods = ['GET']\nto = 'one'", "methods", "this route is for gRPC"),
        ("grpc = 'a.B'\nbody_limit = 1\nto = 'one'", "body_limit", "this route is for gRPC"),
        ("path = '/a'\nredirect = { status = 200, path = '/b' }", "redirect.status", "use 301"),
        ("path = '/a'\nredirect = {}", "redirect", "leads to where it comes from"),
        ("path = '/a'\nredirect = { host = 'a b' }", "redirect.host", "is not a host"),
        ("path = '/a'\nredirect = { scheme = 'ftp' }", "redirect.scheme", "use http or https"),
        ("path = '/a'\nrespond = { status = 100 }", "respond.status", "use 200 to 599"),
        ("path = '/a'\nrespond = { status = 204, body = 'x' }", "respond.body", "has no body"),
        ("path = '/a'\nrespond = { body_file = '/nowhere/x' }", "respond.body_file", "No such file"),
        (
            "path = '/a'\nto = 'one'\nrequest_headers = { set = { host = 'x' } }",
            "request_headers.set.host",
            "own affair",
        ),
        ("path = '/a'\nto = 'one'\nresponse_headers = { remove = ['é'] }", "response_headers.remove.0", "not the name"),
        ("path = '/a'\nto = 'one'\ntimeouts = { first_byte = '0s' }", "timeouts.first_byte", "must be more than 0"),
    ] {
        let said = problems(&[("it", text)]);
        assert!(said.contains(&format!("routes.it.{key}: ")) && said.contains(message), "{text}: {said}");
    }
    assert!(problems(&[("Bad Name", "path = '/a'\nto = 'one'")]).contains("is no name for a route"));
}

#[tokio::test]
async fn a_fifth_a_sixth_and_a_hundredth_service_come_while_load_runs() {
    let upstream = Upstream::echo().await;
    let mut settings = bare(&[("one", service(&[upstream.addr]))], &[("one", "path = '/one/*'\nto = 'one'")]);
    let gateway = Running::start(settings.clone()).await;
    let (stop, addr) = (tokio_util::sync::CancellationToken::new(), gateway.addr);
    let load = tokio::spawn({
        let stop = stop.clone();
        async move {
            let (mut client, mut calls) = (Client::connect(addr).await, 0);
            while !stop.is_cancelled() {
                let reply = client.send(ask("GET", "x", "/one/a", &[])).await.expect("an answer");
                assert_eq!(reply.status(), 200);
                calls += 1;
            }
            calls
        }
    });
    // By reload.
    settings.services.insert("five", service(&[upstream.addr]));
    settings.routes.insert("five".to_owned(), route("path = '/five/*'\nto = 'five'"));
    gateway.ask("GET", "x", "/five/a", &[]).await.refused(404, "no_route");
    gateway.handle.apply(settings.clone()).expect("taken");
    assert_eq!(gateway.ask("GET", "x", "/five/a", &[]).await.status(), 200);
    // By the admin API.
    for number in 6..=100 {
        let (service, route) = (format!("/admin/services/s{number}"), format!("/admin/routes/r{number}"));
        let urls = format!(r#"{{"urls": ["http://{}"]}}"#, upstream.addr);
        assert_eq!(gateway.admin("PUT", &service, &urls).await.status(), 201);
        let body = format!(r#"{{"path": "/s{number}/*", "to": "s{number}"}}"#);
        let tried = gateway.admin("PUT", &format!("{route}?dry_run=true"), &body).await;
        assert_eq!((tried.status(), tried.json()["dry_run"].as_bool()), (200, Some(true)));
        gateway.ask("GET", "x", &format!("/s{number}/a"), &[]).await.refused(404, "no_route");
        assert_eq!(gateway.admin("PUT", &route, &body).await.status(), 201);
        assert_eq!(gateway.ask("GET", "x", &format!("/s{number}/a"), &[]).await.status(), 200);
    }
    let explained = gateway.told("/admin/explain?path=/s100/a?b").await;
    assert_eq!((&explained["route"]["name"], &explained["route"]["service"]), (&"r100".into(), &"s100".into()));
    assert_eq!(explained["path_at_backend"], "/s100/a?b");
    let routes = gateway.told("/admin/routes").await;
    let of = |name: &str| -> Value {
        let list = routes["routes"].as_array().expect("a list");
        list.iter().find(|route| route["name"] == name).expect("it is there").clone()
    };
    assert_eq!((&of("five")["source"], &of("r7")["source"]), (&"static".into(), &"admin".into()));
    // What the admin API made survives a reload, and is undone by it.
    gateway.handle.apply(settings).expect("taken");
    assert_eq!(gateway.ask("GET", "x", "/s7/a", &[]).await.status(), 200);
    gateway.admin("DELETE", "/admin/services/s7", "").await.refused(422, "validation_failed");
    assert_eq!(gateway.admin("DELETE", "/admin/routes/r7", "").await.status(), 200);
    assert_eq!(gateway.admin("DELETE", "/admin/services/s7", "").await.status(), 200);
    gateway.ask("GET", "x", "/s7/a", &[]).await.refused(404, "no_route");
    gateway.admin("DELETE", "/admin/services/one", "").await.refused(409, "already_exists");
    gateway
        .admin("PUT", "/admin/services/one", &format!(r#"{{"urls": ["http://{addr}"]}}"#))
        .await
        .refused(409, "already_exists");
    assert_eq!(gateway.admin("DELETE", "/admin/changes", "").await.status(), 200);
    gateway.ask("GET", "x", "/s100/a", &[]).await.refused(404, "no_route");
    stop.cancel();
    assert!(load.await.expect("no failure") > 0);
    eventually!(gateway.metric(r#"gateway_active_requests{service="one"}"#) == Some(0.0));
}

#[tokio::test]
async fn an_explanation_says_why_the_others_were_passed_over() {
    let upstream = Upstream::echo().await;
    let routes = [
        ("all", "path = '/*'\nto = 'one'"),
        ("host", "path = '/a/*'\nhosts = ['shop.example']\nto = 'one'"),
        ("put", "path = '/a/*'\nmethods = ['PUT']\nto = 'one'"),
        ("off", "path = '/a/b'\nenabled = false\nto = 'one'"),
        ("taken", "path = '/a/*'\nto = 'one'"),
        ("elsewhere", "path = '/b/*'\nto = 'one'"),
    ];
    let gateway = Running::start(bare(&[("one", service(&[upstream.addr]))], &routes)).await;
    let explained = gateway.told("/admin/explain?path=/a/b").await;
    assert_eq!(explained["route"]["name"], "taken", "{explained}");
    let why: BTreeMap<_, _> = explained["passed_over"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|one| (one["name"].as_str().expect("a name"), one["why"].as_str().expect("a reason")))
        .collect();
    assert_eq!(why.keys().copied().collect::<Vec<_>>(), ["all", "host", "off", "put"]);
    assert_eq!((why["host"], why["put"]), ("its hosts are shop.example", "its methods are PUT"));
    assert_eq!(why["off"], "it is switched off");
    let other = gateway.told("/admin/explain?path=/a/b&host=shop.example").await;
    assert_eq!(other["route"]["name"], "host");
}

#[test]
fn the_suites_table_can_be_left_out() {
    let load = |text: &str| {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), format!("identity.mode = 'off'\n{text}")).expect("written");
        let sources = shop_config::Sources { files: vec![file.path().to_owned()], ..shop_config::Sources::default() };
        shop_config::load::<Config>(&sources).map(|loaded| loaded.settings).map_err(|problems| problems.to_string())
    };
    let names = |config: &Config| {
        let services: Vec<_> = config.services.iter().map(|(name, _)| name.to_owned()).collect();
        (services.join(" "), config.routes.len())
    };
    let more = "[services.search]\nurls = ['http://search:9200']\n[routes.search]\npath = '/search/*'\nto = 'search'\n";
    let with = load(more).expect("good");
    assert_eq!(names(&with), ("basket notification payment product search".to_owned(), 11));
    assert_eq!(with.services["search"].urls.0.len(), 1);
    let without = load(&format!("suite = false\n{more}")).expect("good");
    assert_eq!(names(&without), ("search".to_owned(), 1));
    let of_a_provider = |config: &Config| Some(config.routes.get("stripe-webhooks")?.rate_limit.as_ref()?.burst?.get());
    assert_eq!((of_a_provider(&with), of_a_provider(&without)), (Some(300), None));
    let moved = load("[routes.products]\npath = '/shop/*'\n[services.product]\nurls = ['http://p:1']").expect("good");
    let products = &moved.routes["products"];
    assert_eq!(products.path.as_ref().map(ToString::to_string).as_deref(), Some("/shop/*"));
    assert_eq!((products.to.0[0].service.as_str(), moved.services["product"].grpc_urls.0.len()), ("product", 1));
    let wrong = load("[routes.search]\npath = '/search/*'\nto = 'search'\n[routes.x]\npth = '/a'").expect_err("bad");
    assert!(wrong.contains("routes.x.pth") && wrong.contains("is not a setting"), "{wrong}");
}
