//! What routes ask of their callers: where they come from, who they are, how often they call.

use std::sync::atomic::Ordering::SeqCst;

use serde_json::json;
use shop_config::Problems;
use shop_gateway::Config;
use shop_gateway::settings::Service;
use shop_testing::eventually;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::{Code, Request};

use crate::grpc::{backend, channel_to, number, twice};
use crate::identity::{required, token};
use crate::routes::{bare, problems};
use crate::support::{Running, Upstream, backends, service};

/// A gateway in front of `one`, with these routes, that believes this machine whose client it speaks for.
fn proxied(one: &Upstream, routes: &[(&str, &str)]) -> Config {
    let mut settings = bare(&[("one", service(&[one.addr]))], routes);
    settings.trusted_proxies = vec!["127.0.0.1".parse().expect("a range")];
    settings
}

#[tokio::test]
async fn a_route_is_for_clients_of_some_addresses_only() {
    let one = Upstream::echo().await;
    let routes = [
        ("all", "path = '/*'\nto = 'one'"),
        (
            "office",
            "path = '/office'\nto = 'one'\naccess = { allow = ['10.0.0.0/8', 'fd00::/8'], deny = ['10.6.0.0/16'] }",
        ),
        ("hidden", "path = '/hidden'\nto = 'one'\naccess = { deny = ['203.0.113.7'] }"),
        ("notice", "path = '/notice'\nrespond = { body = 'hello' }\naccess = { allow = ['10.0.0.0/8'] }"),
    ];
    let gateway = Running::start(proxied(&one, &routes)).await;
    let mut asked = 0;
    for (target, client, is_admitted) in [
        ("/office", "10.1.2.3", true),
        ("/office", "fd12::1", true),
        ("/office", "10.6.0.1", false),
        ("/office", "192.0.2.1", false),
        ("/office", "2001:db8::1", false),
        // Only the last hop is a proxy's word.
        ("/office", "10.1.2.3, 192.0.2.1", false),
        ("/hidden", "203.0.113.7", false),
        ("/hidden", "203.0.113.8", true),
        ("/other", "203.0.113.7", true),
        ("/notice", "192.0.2.1", false),
    ] {
        let reply = gateway.ask("GET", "x", target, &[("x-forwarded-for", client)]).await;
        if is_admitted {
            assert_eq!(reply.status(), 200, "{target} for {client}");
            asked += 1;
        } else {
            reply.refused(403, "address_refused");
            let said = String::from_utf8_lossy(&reply.body).into_owned();
            assert!(!said.contains("10.0.0.0"), "{said}");
        }
        assert_eq!(one.requests.load(SeqCst), asked, "{target} for {client}");
    }
    // Itself the client comes from 127.0.0.1.
    gateway.ask("GET", "x", "/office", &[]).await.refused(403, "address_refused");
    let explained = gateway.told("/admin/explain?path=/office&client=192.0.2.1").await;
    assert_eq!(explained["refused"]["reason"], "address_refused");
    assert_eq!(explained["access"]["allow"], json!(["10.0.0.0/8", "fd00::/8"]));
    let explained = gateway.told("/admin/explain?path=/office&client=10.0.0.1").await;
    assert_eq!((&explained["refused"], &explained["to"][0]["service"]), (&json!(null), &json!("one")));
}

#[tokio::test]
async fn a_route_wants_a_token_and_a_role() {
    let one = Upstream::echo().await;
    let routes = [
        ("all", "path = '/*'\nto = 'one'"),
        ("mine", "path = '/mine'\nto = 'one'\naccess = { require = 'token' }"),
        ("desk", "path = '/desk'\nto = 'one'\naccess = { require = 'token', roles = ['support', 'operator'] }"),
    ];
    let mut settings = bare(&[("one", service(&[one.addr]))], &routes);
    settings.identity = required();
    let gateway = Running::start(settings).await;
    let (ada, sam) = (token(json!({})), token(json!({"sub": "sam", "roles": ["support"]})));
    let mut asked = 0;
    for (target, shown, status, code, challenge) in [
        ("/open", None, 200, None, None),
        ("/open", Some(&ada), 200, None, None),
        ("/mine", None, 401, Some("token_missing"), Some("Bearer")),
        ("/mine", Some(&ada), 200, None, None),
        ("/desk", None, 401, Some("token_missing"), Some("Bearer")),
        ("/desk", Some(&ada), 403, Some("forbidden"), Some(r#"Bearer error="insufficient_scope""#)),
        ("/desk", Some(&sam), 200, None, None),
    ] {
        let bearer = shown.map(|token| format!("Bearer {token}"));
        let headers: Vec<_> = bearer.iter().map(|bearer| ("authorization", bearer.as_str())).collect();
        let reply = gateway.ask("GET", "x", target, &headers).await;
        assert_eq!(reply.status(), status, "{target} {shown:?}");
        assert_eq!((reply.header("x-gateway-reason"), reply.header("www-authenticate")), (code, challenge), "{target}");
        asked += usize::from(status == 200);
        assert_eq!(one.requests.load(SeqCst), asked, "{target} {shown:?}");
    }
    gateway.ask("GET", "x", "/mine", &[("authorization", "Bearer x")]).await.refused(401, "token_invalid");
}

#[tokio::test]
async fn a_route_of_grpc_asks_likewise() {
    let grpc = Service { grpc_urls: backends(&[backend().await]), ..Service::default() };
    let routes = [("one", "grpc = 'shop.product.v1.ProductService'\nto = 'one'\naccess = { require = 'token' }")];
    let mut settings = bare(&[("one", grpc)], &routes);
    settings.identity = required();
    let gateway = Running::start(settings).await;
    let mut client = channel_to(gateway.addr).await;
    let status = twice(&mut client, Request::new(number(21))).await.expect_err("no token");
    assert_eq!(status.code(), Code::Unauthenticated);
    let reason = status.metadata().get("x-gateway-reason").expect("a reason");
    assert_eq!(reason.to_str().expect("text"), "token_missing");
    let mut request = Request::new(number(21));
    let bearer = format!("Bearer {}", token(json!({})));
    request.metadata_mut().insert("authorization", bearer.parse().expect("a value"));
    assert_eq!(twice(&mut client, request).await.expect("an answer").into_inner(), number(42));
}

/// A limit of so many at once that nobody gets more of within a test.
fn few(burst: u32) -> String {
    format!("rate_limit = {{ requests = 10, window = '1h', burst = {burst} }}")
}

#[tokio::test]
async fn each_route_with_a_limit_has_a_budget_for_itself() {
    let one = Upstream::echo().await;
    let grpc = Service { grpc_urls: backends(&[backend().await]), ..Service::default() };
    let routes = [
        ("all", "path = '/*'\nto = 'one'".to_owned()),
        ("pay", format!("path = '/pay/*'\nmethods = ['POST', 'PUT']\nto = 'one'\n{}", few(1))),
        ("pay-eu", format!("path = '/pay/*'\nmethods = ['POST', 'PUT']\nhosts = ['eu']\nto = 'one'\n{}", few(2))),
        ("old", format!("path = '/old'\nredirect = {{ path = '/new' }}\n{}", few(1))),
        ("free", "path = '/free'\nto = 'one'\nrate_limit = { enabled = false }".to_owned()),
        ("grpc", format!("grpc = 'shop.product.v1.ProductService'\nto = 'grpc'\n{}", few(1))),
    ];
    let routes: Vec<_> = routes.iter().map(|(name, text)| (*name, text.as_str())).collect();
    let mut settings = bare(&[("one", service(&[one.addr])), ("grpc", grpc)], &routes);
    settings.rate_limit.enabled = true;
    settings.rate_limit.burst = 2.try_into().expect("not zero");
    settings.rate_limit.window = shop_config::Duration::secs(6000);
    let gateway = Running::start(settings).await;
    for (method, host, target, status, said) in [
        ("POST", "x", "/pay/7", 200, Some("\"POST,PUT /pay/*\";r=0;t=360")),
        ("PUT", "x", "/pay//x/../8", 429, Some("\"POST,PUT /pay/*\";r=0;t=360")),
        ("PUT", "eu", "/pay", 200, Some("\"POST,PUT /pay/*\";r=1;t=360")),
        ("POST", "eu", "/pay", 200, Some("\"POST,PUT /pay/*\";r=0;t=720")),
        ("POST", "eu", "/pay", 429, Some("\"POST,PUT /pay/*\";r=0;t=360")),
        ("GET", "x", "/pay/7", 200, Some("\"client\";r=1;t=60")),
        ("GET", "x", "/old", 308, Some("\"/old\";r=0;t=360")),
        ("GET", "x", "/old", 429, Some("\"/old\";r=0;t=360")),
        ("GET", "x", "/free", 200, None),
        ("GET", "x", "/free", 200, None),
        ("GET", "x", "/openapi.json", 200, Some("\"client\";r=0;t=120")),
        ("GET", "x", "/other", 429, Some("\"client\";r=0;t=60")),
    ] {
        let reply = gateway.ask(method, host, target, &[]).await;
        assert_eq!((reply.status(), reply.header("ratelimit")), (status, said), "{method} {host} {target}");
    }
    let mut client = channel_to(gateway.addr).await;
    assert_eq!(twice(&mut client, Request::new(number(21))).await.expect("an answer").into_inner(), number(42));
    let status = twice(&mut client, Request::new(number(21))).await.expect_err("once is all");
    assert_eq!(status.code(), Code::ResourceExhausted);

    let told = |query: &'static str| {
        let gateway = &gateway;
        async move { gateway.told(&format!("/admin/explain?client=192.0.2.7&path={query}")).await["limit"].clone() }
    };
    assert_eq!(told("/pay&method=PUT&host=eu").await["policy"], "\"POST,PUT /pay/*\";q=10;w=3600;burst=2");
    assert_eq!(told("/pay").await["policy"], "\"client\";q=100;w=6000;burst=2");
    assert_eq!(told("/free").await, json!({"counted": false}));
    let limits = gateway.told("/admin/ratelimit").await;
    assert_eq!(limits["routes"]["pay-eu"]["name"], "POST,PUT /pay/*");
    assert_eq!(limits["routes"]["free"]["settings"]["enabled"], false);
    assert_eq!(limits["routes"].as_object().map(serde_json::Map::len), Some(5));
}

#[tokio::test]
async fn budgets_stay_when_routes_without_a_limit_change() {
    let one = Upstream::echo().await;
    let limited = format!("path = '/a'\nto = 'one'\n{}", few(1));
    let mut settings = bare(&[("one", service(&[one.addr]))], &[("a", &limited)]);
    settings.rate_limit.enabled = true;
    let gateway = Running::start(settings).await;
    assert_eq!(gateway.ask("GET", "x", "/a", &[]).await.status(), 200);
    let body = r#"{"path": "/b", "to": "one"}"#;
    assert_eq!(gateway.admin("PUT", "/admin/routes/b", body).await.status(), 201);
    assert_eq!(gateway.ask("GET", "x", "/b", &[]).await.status(), 200);
    gateway.ask("GET", "x", "/a", &[]).await.refused(429, "rate_limited");
    let body = r#"{"path": "/b", "to": "one", "rate_limit": {"burst": 1}}"#;
    assert_eq!(gateway.admin("PUT", "/admin/routes/b", body).await.status(), 200);
    let reply = gateway.ask("GET", "x", "/b", &[]).await;
    assert_eq!((reply.status(), reply.header("ratelimit")), (200, Some("\"/b\";r=0;t=1")));
}

#[test]
fn limits_that_cannot_be_told_are_problems() {
    let long = format!("path = '/{}'\nto = 'one'\nrate_limit = {{}}", "x".repeat(128));
    for (route, key) in [
        ("path = '/a'\nto = 'one'\nrate_limit = { window = '0s' }", "routes.a.rate_limit.window"),
        (&long, "routes.a.rate_limit"),
    ] {
        let found = problems(&[("a", route)]);
        assert!(found.contains(key), "{route}: {found}");
    }
    let longest = format!("path = '/{}'\nto = 'one'\nrate_limit = {{}}", "x".repeat(127));
    assert!(!problems(&[("a", &longest)]).contains("rate_limit"));
}

#[tokio::test]
async fn only_a_route_that_buffers_keeps_a_slow_upload_from_its_backend() {
    let one = Upstream::echo().await;
    let routes = [("all", "path = '/*'\nto = 'one'"), ("form", "path = '/form'\nto = 'one'\nbuffer_request = true")];
    let gateway = Running::start(bare(&[("one", service(&[one.addr]))], &routes)).await;
    let mut slow = Vec::new();
    for path in ["/form", "/stream"] {
        let mut client = TcpStream::connect(gateway.addr).await.expect("connects");
        let head = format!("POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 2\r\n\r\na");
        client.write_all(head.as_bytes()).await.expect("writes");
        slow.push(client);
    }
    eventually!(gateway.metric(r#"gateway_active_requests{service="one"}"#) == Some(2.0));
    // What came first is still here when the other is through.
    for mut client in slow.into_iter().rev() {
        assert!(one.connections.load(SeqCst) <= 1, "the other one only");
        client.write_all(b"b").await.expect("writes");
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.expect("reads");
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains(r#""body":"ab""#), "{answer}");
    }
    assert_eq!(one.requests.load(SeqCst), 2);
}

#[test]
fn what_has_no_body_or_no_service_is_not_buffered() {
    for route in [
        "grpc = 'a.B'\nto = 'one'\nbuffer_request = true",
        "path = '/a'\nrespond = { body = 'x' }\nbuffer_request = true",
    ] {
        let found = problems(&[("a", route)]);
        assert!(found.contains("routes.a.buffer_request"), "{route}: {found}");
    }
}

/// A service that lets pages of `old.example` read its answers.
async fn sharing() -> Upstream {
    Upstream::serving(|_| async {
        let answer = http::Response::builder().header("access-control-allow-origin", "https://old.example");
        answer.body(http_body_util::Full::default()).expect("an answer")
    })
    .await
}

async fn shared(one: &Upstream) -> Running {
    let routes = [
        ("all", "path = '/*'\nto = 'one'\ncors = { origins = ['https://all.example'] }"),
        ("common", "path = '/common'\nto = 'one'"),
        ("open", "path = '/open/*'\nto = 'one'\ncors = { origins = ['*'], methods = ['GET'], max_age = '7s' }"),
        (
            "put",
            "path = '/open/*'\nto = 'one'\nmethods = ['PUT']\n\
                 cors = { origins = ['https://b.example'], credentials = true, headers = ['x-b'] }",
        ),
        ("closed", "path = '/closed'\nto = 'one'\ncors = { origins = [] }"),
    ];
    let mut settings = bare(&[("one", service(&[one.addr]))], &routes);
    settings.cors.origins = vec!["https://a.example".parse().expect("an origin")];
    settings.cors.exposed_headers = vec!["x-seen".to_owned()];
    Running::start(settings).await
}

#[tokio::test]
async fn a_route_says_which_pages_of_others_may_read_it() {
    let one = sharing().await;
    let gateway = shared(&one).await;
    for (method, target, origin, permitted, vary) in [
        ("GET", "/common", "https://a.example", Some("https://a.example"), Some("origin")),
        ("GET", "/common", "https://b.example", None, Some("origin")),
        ("GET", "/open/1", "https://z.example", Some("*"), None),
        ("GET", "/open/1", "https://a.example", Some("*"), None),
        ("PUT", "/open/1", "https://b.example", Some("https://b.example"), Some("origin")),
        ("GET", "/other", "https://all.example", Some("https://all.example"), Some("origin")),
        ("GET", "/other", "https://a.example", None, Some("origin")),
        // As without any rules, what the service says goes on.
        ("GET", "/closed", "https://a.example", Some("https://old.example"), None),
        ("GET", "/openapi.json", "https://a.example", Some("https://a.example"), Some("origin")),
        ("GET", "/openapi.json", "https://all.example", None, Some("origin")),
        ("GET", "/health", "https://all.example", None, None),
    ] {
        let reply = gateway.ask(method, "x", target, &[("origin", origin)]).await;
        assert_eq!(reply.status(), 200, "{method} {target}");
        assert_eq!(reply.header("access-control-allow-origin"), permitted, "{method} {target} for {origin}");
        let mut said = reply.head.headers.get_all("vary").iter().map(|vary| vary.to_str().expect("text"));
        let said = said.find(|vary| *vary == "origin");
        assert_eq!(said, vary, "{method} {target} for {origin}");
        let credentials = reply.header("access-control-allow-credentials");
        assert_eq!(credentials.is_some(), method == "PUT", "{method} {target} for {origin}");
        if target.starts_with("/open/") {
            assert_eq!(reply.header("access-control-expose-headers"), Some("x-seen"), "as everywhere");
        }
    }
    let explained = gateway.told("/admin/explain?path=/open/1&origin=https://z.example").await;
    assert_eq!(explained["browser"]["cors"], "the page may read the answer");
    let explained = gateway.told("/admin/explain?path=/closed&origin=https://a.example").await;
    assert_eq!(explained["browser"]["cors"], "off: pages of other sites may not read answers");
}

#[tokio::test]
async fn a_preflight_is_answered_by_the_route_of_what_it_asks_for() {
    let one = sharing().await;
    let gateway = shared(&one).await;
    for (target, wanted, origin, expected) in [
        ("/open/1", "GET", "https://b.example", [Some("*"), Some("GET"), None, Some("7")]),
        ("/open/1", "PUT", "https://b.example", [Some("https://b.example"), None, Some("x-b"), Some("600")]),
        ("/open/1", "PUT", "https://z.example", [None, None, None, None]),
        ("/common", "PUT", "https://a.example", [Some("https://a.example"), None, None, Some("600")]),
        ("/common", "no method", "https://b.example", [None, None, None, None]),
    ] {
        let asked = [("origin", origin), ("access-control-request-method", wanted)];
        let reply = gateway.ask("OPTIONS", "x", target, &asked).await;
        let [permitted, methods, headers, age] = expected;
        assert_eq!(
            (reply.status(), reply.header("access-control-allow-origin")),
            (204, permitted),
            "{target} {wanted}"
        );
        assert_eq!(reply.header("access-control-max-age"), age, "{target} {wanted}");
        for (name, expected) in [("access-control-allow-methods", methods), ("access-control-allow-headers", headers)] {
            // The rest is as everywhere, and long.
            assert!(
                expected.is_none() || reply.header(name) == expected,
                "{target} {wanted}: {:?}",
                reply.header(name)
            );
        }
    }
    assert_eq!(one.requests.load(SeqCst), 0);
    let asked = [("origin", "https://a.example"), ("access-control-request-method", "GET")];
    assert_eq!(gateway.ask("OPTIONS", "x", "/closed", &asked).await.status(), 200);
    assert_eq!(one.requests.load(SeqCst), 1, "it is for the service to say");
}

#[tokio::test]
async fn whose_pages_may_make_changes_is_for_the_route_to_say() {
    let one = sharing().await;
    let gateway = shared(&one).await;
    for (method, target, origin, status) in [
        ("POST", "/common", "https://a.example", 200),
        ("POST", "/closed", "https://a.example", 403),
        ("POST", "/other", "https://a.example", 403),
        ("POST", "/other", "https://all.example", 200),
        // Anybody's page may, without the user's name.
        ("POST", "/open/1", "https://z.example", 200),
        ("PUT", "/open/1", "https://z.example", 403),
    ] {
        let from = [("origin", origin), ("sec-fetch-site", "cross-site")];
        assert_eq!(gateway.ask(method, "x", target, &from).await.status(), status, "{method} {target} for {origin}");
    }
    let as_user = [("origin", "https://z.example"), ("sec-fetch-site", "cross-site"), ("cookie", "session=1")];
    gateway.ask("POST", "x", "/open/1", &as_user).await.refused(403, "cross_origin_refused");
}

#[test]
fn what_no_browser_takes_is_a_problem_of_the_route() {
    for (route, key) in [
        ("path = '/a'\nto = 'one'\ncors = { origins = ['*'], credentials = true }", "routes.a.cors.origins"),
        ("path = '/a'\nto = 'one'\ncors = { methods = ['get'] }", "routes.a.cors.methods"),
        ("grpc = 'a.B'\nto = 'one'\ncors = { origins = ['*'] }", "routes.a.cors"),
    ] {
        let found = problems(&[("a", route)]);
        assert!(found.contains(key), "{route}: {found}");
    }
}

#[test]
fn access_that_cannot_be_given_is_a_problem() {
    for (access, key) in [
        ("require = 'token'", "routes.a.access.require"),
        ("roles = ['support']", "routes.a.access.roles"),
        ("require = 'none', roles = ['support']", "routes.a.access.roles"),
    ] {
        let found = problems(&[("a", &format!("path = '/a'\nto = 'one'\naccess = {{ {access} }}"))]);
        assert!(found.contains(key), "{access}: {found}");
    }
    for access in ["roles = ['boss']", "allow = ['everybody']", "deny = ['10.0.0.0/33']", "require = 'yes'", "x = 1"] {
        let text = format!("path = '/a'\nto = 'one'\naccess = {{ {access} }}");
        assert!(toml::from_str::<shop_gateway::settings::Route>(&text).is_err(), "{access}");
    }
    let mut settings = bare(&[], &[("a", "path = '/a'\nrespond = { body = 'x' }\naccess = { require = 'token' }")]);
    settings.identity = required();
    let mut found = Problems::default();
    shop_config::Settings::check(&settings, &mut found);
    assert!(found.is_empty(), "{found}");
}
