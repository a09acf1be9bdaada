//! The admin API: what it tells, and what it changes.

use std::sync::atomic::Ordering::SeqCst;

use http::Request;
use serde_json::{Value, json};
use shop_testing::eventually;
use tokio::io::AsyncWriteExt;
use tokio::sync::watch;

use crate::support::{Client, Mortal, Reply, Running, Upstream, backends, config, get, nobody, read_head};

/// A call as an operator on this machine makes it.
pub(crate) fn request(method: &str, path: &str, body: &str) -> Request<http_body_util::Full<bytes::Bytes>> {
    let request = Request::builder().method(method).uri(path).header("host", "localhost");
    let request = request.header("content-type", "application/json");
    request.body(bytes::Bytes::copy_from_slice(body.as_bytes()).into()).expect("a request")
}

impl Running {
    pub(crate) async fn admin(&self, method: &str, path: &str, body: &str) -> Reply {
        self.operate(request(method, path, body)).await
    }

    pub(crate) async fn told(&self, path: &str) -> Value {
        let reply = self.admin("GET", path, "").await;
        assert_eq!(reply.status(), 200, "{path}: {:?}", reply.body);
        assert_eq!(reply.header("cache-control"), Some("no-store"));
        reply.json()
    }

    async fn change(&self, method: &str, path: &str, body: &str) -> Value {
        let reply = self.admin(method, path, body).await;
        assert!(matches!(reply.status(), 200 | 201), "{method} {path}: {:?}", reply.body);
        assert!(reply.header("etag").is_some());
        reply.json()
    }
}

#[tokio::test]
async fn every_read_tells_what_it_is_for() {
    let upstream = Upstream::echo().await;
    let mut settings = config(upstream.addr);
    settings.services["basket"].urls = backends(&[nobody()]);
    settings.services["basket"].grpc_urls = backends(&[]);
    settings.services["notification"].enabled = false;
    settings.circuit_breaker.enabled = true;
    let gateway = Running::start(settings).await;
    gateway.get("/api/products").await;
    gateway.get("/api/baskets/u1").await;
    let url = format!("http://{}", upstream.addr);

    let status = gateway.told("/admin/status").await;
    assert_eq!((&status["revision"], &status["workers"], &status["state_kept"]), (&1.into(), &2.into(), &false.into()));
    assert_eq!((&status["needs_restart"], &status["last_reload"]), (&json!([]), &Value::Null));

    let services = gateway.told("/admin/services").await["services"].clone();
    let names: Vec<_> = services.as_array().expect("a list").iter().map(|service| &service["name"]).collect();
    assert_eq!(names, ["basket", "notification", "payment", "product"]);
    assert_eq!((&services[3]["status"], &services[0]["status"]), (&"up".into(), &"down".into()));
    assert_eq!((&services[1]["enabled"], &services[3]["strategy"]), (&false.into(), &"round_robin".into()));
    assert_eq!(
        services[2]["routes"],
        json!(["/shop.payment.v1.PaymentService/*", "/api/payments/*", "/api/webhooks/stripe", "/api/users/*"])
    );
    let backend = &services[3]["backends"][0];
    assert_eq!(
        (&backend["url"], &backend["source"], &backend["protocol"]),
        (&url.clone().into(), &"static".into(), &"http".into())
    );
    assert_eq!(gateway.told("/admin/services/product").await, services[3]);
    let path = format!("/admin/services/product/backends/{}?protocol=http", upstream.addr);
    assert_eq!(gateway.told(&path).await["url"], *url);

    let balancer = gateway.told("/admin/loadbalancer/product").await;
    assert_eq!((&balancer["strategy"], &balancer["http"][0]["standing"]), (&"round_robin".into(), &"first".into()));
    assert_eq!(gateway.told("/admin/loadbalancer/basket").await["http"][0]["standing"], "failed_lately");

    let breaker = gateway.told("/admin/circuitbreaker/basket").await;
    assert_eq!((&breaker["enabled"], &breaker["timeout"]), (&true.into(), &"30s".into()));
    assert_eq!(
        (&breaker["breakers"][0]["state"], &breaker["breakers"][0]["failures_in_a_row"]),
        (&"closed".into(), &1.into())
    );

    let settings = gateway.told("/admin/config").await;
    assert_eq!(settings["settings"]["services"]["product"]["urls"], json!([url]));
    assert_eq!(gateway.told("/admin/ratelimit").await["settings"]["requests"], 100);
    assert_eq!(gateway.told("/admin/changes").await, json!({"rate_limit": {}}));

    for (method, path, status, code) in [
        ("GET", "/admin/services/search", 404, "not_found"),
        ("GET", "/admin/services/product/backends/a:1", 404, "not_found"),
        ("GET", "/admin/nothing", 404, "no_route"),
        ("GET", "/admin/status?verbose=1", 400, "invalid_parameter"),
        ("POST", "/admin/status", 405, "method_refused"),
        ("GET", "/admin/explain", 400, "invalid_parameter"),
    ] {
        gateway.admin(method, path, "{}").await.refused(status, code);
    }
}

#[tokio::test]
async fn a_service_is_switched_off_and_on_and_balanced_differently() {
    let (one, two) = (Mortal::start(), Mortal::start());
    let mut settings = config(one.addr);
    settings.services["product"].urls = backends(&[one.addr, two.addr]);
    let gateway = Running::start(settings).await;
    let done = gateway.change("PUT", "/admin/services/product", r#"{"enabled": false}"#).await;
    let change = json!([{"key": "services.product.enabled", "before": true, "after": false}]);
    assert_eq!(done, json!({"dry_run": false, "revision": 2, "changed": change}));
    gateway.get("/api/products").await.refused(503, "service_disabled");
    assert_eq!(gateway.get("/api/baskets/u1").await.status(), 200);
    gateway.change("PUT", "/admin/services/product", r#"{"enabled": null, "strategy": "weighted_round_robin"}"#).await;
    let path = format!("/admin/services/product/backends/{}", two.addr);
    gateway.change("PUT", &path, r#"{"weight": 3}"#).await;
    let before = two.count();
    for _ in 0..8 {
        assert_eq!(gateway.get("/api/products").await.status(), 200);
    }
    assert_eq!(two.count() - before, 6, "three of four");
    assert_eq!(gateway.told("/admin/services/basket").await["strategy"], "round_robin");

    // New settings from outside leave what was changed here as it is.
    let mut settings = config(one.addr);
    settings.services["product"].urls = backends(&[one.addr, two.addr]);
    settings.limits.uri = 1000;
    gateway.handle.apply(settings).expect("good settings");
    assert_eq!(gateway.told("/admin/services/product").await["strategy"], "weighted_round_robin");
    let undone = gateway.change("DELETE", "/admin/changes", "").await;
    assert_eq!(undone["changed"].as_array().map(Vec::len), Some(2), "{undone}");
    assert_eq!(gateway.told("/admin/services/product").await["strategy"], "round_robin");
}

#[tokio::test]
async fn backends_come_and_go() {
    let (one, two) = (Mortal::start(), Mortal::start());
    let gateway = Running::before(one.addr).await;
    let body = json!({"url": format!("http://{}", two.addr), "weight": 2}).to_string();
    let reply = gateway.admin("POST", "/admin/services/product/backends", &body).await;
    assert_eq!(reply.status(), 201, "{:?}", reply.body);
    let place = reply.header("location").expect("a place").to_owned();
    let added = gateway.told(&place).await;
    assert_eq!((&added["source"], &added["weight"], &added["protocol"]), (&"admin".into(), &2.into(), &"http".into()));
    gateway.admin("POST", "/admin/services/product/backends", &body).await.refused(409, "already_exists");
    for _ in 0..4 {
        gateway.get("/api/products").await;
    }
    assert_eq!((one.count(), two.count()), (2, 2));

    let both = format!("/admin/services/product/backends/{}", one.addr);
    let ambiguous = gateway.admin("DELETE", &both, "").await;
    ambiguous.refused(422, "validation_failed");
    assert_eq!(ambiguous.json()["errors"][0]["field"], "protocol");
    gateway.change("DELETE", &format!("{both}?protocol=http"), "").await;
    for _ in 0..4 {
        gateway.get("/api/products").await;
    }
    assert_eq!((one.count(), two.count()), (2, 6));
    let last = gateway.admin("DELETE", &format!("{place}&dry_run=true"), "").await;
    last.refused(422, "validation_failed");
    assert_eq!(last.json()["errors"][0]["field"], "services.product.urls");
}

#[tokio::test]
async fn a_backend_that_was_removed_and_that_nobody_names_any_more_can_be_added() {
    let (one, two) = (Mortal::start(), Mortal::start());
    let mut settings = config(one.addr);
    settings.services["product"].urls = backends(&[one.addr, two.addr]);
    settings.services["product"].grpc_urls = backends(&[]);
    let gateway = Running::start(settings.clone()).await;
    gateway.change("DELETE", &format!("/admin/services/product/backends/{}", two.addr), "").await;
    settings.services["product"].urls = backends(&[one.addr]);
    gateway.handle.apply(settings).expect("good settings");
    let body = json!({"url": two.addr.to_string()}).to_string();
    let reply = gateway.admin("POST", "/admin/services/product/backends", &body).await;
    assert_eq!(reply.status(), 201, "{:?}", reply.body);
    assert_eq!(gateway.told(reply.header("location").expect("a place")).await["source"], "admin");
}

/// Answers when it is told to.
async fn on_command() -> (Upstream, watch::Sender<bool>) {
    let (tell, told) = watch::channel(false);
    let upstream = Upstream::raw(move |mut stream| {
        let mut told = told.clone();
        async move {
            read_head(&mut stream).await;
            told.wait_for(|told| *told).await.expect("the test runs");
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
        }
    })
    .await;
    (upstream, tell)
}

#[tokio::test]
async fn a_draining_backend_finishes_what_it_has_and_gets_nothing_new() {
    let (slow, tell) = on_command().await;
    let other = Mortal::start();
    let mut settings = config(slow.addr);
    settings.services["product"].grpc_urls = backends(&[]);
    let gateway = Running::start(settings).await;
    let mut client = Client::connect(gateway.addr).await;
    let running = tokio::spawn(async move { client.send(get("/api/products")).await });
    eventually!(slow.connections.load(SeqCst) == 1);
    let body = json!({"url": other.addr.to_string()}).to_string();
    gateway.change("POST", "/admin/services/product/backends", &body).await;
    let path = format!("/admin/services/product/backends/{}", slow.addr);
    gateway.change("PUT", &path, r#"{"draining": true}"#).await;
    let shown = gateway.told(&path).await;
    assert_eq!((&shown["draining"], &shown["active_requests"]), (&true.into(), &1.into()));
    for _ in 0..4 {
        assert_eq!(&gateway.get("/api/products").await.body[..], b"well");
    }
    assert_eq!(slow.connections.load(SeqCst), 1);
    tell.send(true).expect("the upstream waits");
    assert_eq!(&running.await.expect("no panic").expect("an answer").body[..], b"ok");
    eventually!(gateway.told(&path).await["active_requests"] == 0);
    gateway.change("PUT", &format!("/admin/services/product/backends/{}", other.addr), r#"{"draining": true}"#).await;
    gateway.get("/api/products").await.refused(503, "no_healthy_backend");
    assert_eq!(gateway.told("/admin/explain?path=/api/products").await["refused"]["reason"], "no_healthy_backend");
}

#[tokio::test]
async fn breakers_are_reset() {
    let mut settings = config(nobody());
    settings.circuit_breaker.enabled = true;
    let gateway = Running::start(settings).await;
    for _ in 0..5 {
        gateway.get("/api/products").await;
    }
    gateway.get("/api/products").await.refused(503, "breaker_open");
    let shown = gateway.told("/admin/circuitbreaker/product").await["breakers"][0].clone();
    assert_eq!((&shown["state"], &shown["times_opened"]), (&"open".into(), &1.into()));
    assert!(shown["tried_again_in_seconds"].as_f64().is_some_and(|left| (20.0..=30.0).contains(&left)), "{shown}");
    let backend = shown["url"].as_str().and_then(|url| url.strip_prefix("http://")).expect("an address");
    let explained = gateway.told("/admin/explain?path=/api/products").await;
    assert_eq!(
        (&explained["refused"]["reason"], &explained["backends"][0]["eligible"]),
        (&"breaker_open".into(), &false.into())
    );

    let path = format!("/admin/circuitbreaker/product/reset?backend={backend}&protocol=http");
    let tried = gateway.change("POST", &format!("{path}&dry_run=true"), "").await;
    assert_eq!((&tried["dry_run"], &tried["reset"][0]["before"]), (&true.into(), &"open".into()));
    gateway.get("/api/products").await.refused(503, "breaker_open");
    gateway.change("POST", &path, "").await;
    gateway.get("/api/products").await.refused(502, "connect_failed");
    let all = gateway.change("POST", "/admin/circuitbreaker/product/reset", "").await;
    assert_eq!(all["reset"].as_array().map(Vec::len), Some(2), "HTTP and gRPC");
    gateway.admin("POST", "/admin/circuitbreaker/product/reset?backend=a:1", "").await.refused(404, "not_found");
    let mut outdated = request("POST", &path, "");
    outdated.headers_mut().insert("if-match", "\"of-yesterday\"".parse().expect("a value"));
    for _ in 0..5 {
        gateway.get("/api/products").await;
    }
    gateway.operate(outdated).await.refused(412, "precondition_failed");
    gateway.get("/api/products").await.refused(503, "breaker_open");
}

#[tokio::test]
async fn the_rate_limit_is_changed_for_all_that_follows() {
    let upstream = Upstream::echo().await;
    let gateway = Running::before(upstream.addr).await;
    let body = r#"{"enabled": true, "requests": 1, "window": "1h", "burst": 2}"#;
    gateway.change("PUT", "/admin/ratelimit", body).await;
    assert_eq!(gateway.get("/api/products").await.status(), 200);
    assert_eq!(gateway.get("/api/products").await.status(), 200);
    gateway.get("/api/products").await.refused(429, "rate_limited");
    let limit = gateway.told("/admin/explain?path=/api/products&client=10.1.2.3").await["limit"].clone();
    assert_eq!(limit, json!({"counted": true, "policy": "\"client\";q=1;w=3600;burst=2", "client": "ip:10.1.2.3"}));
    gateway
        .change("PUT", "/admin/ratelimit", r#"{"enabled": null, "requests": null, "window": null, "burst": null}"#)
        .await;
    assert_eq!(gateway.get("/api/products").await.status(), 200);
}

#[tokio::test]
async fn trying_out_changes_nothing_and_what_is_wrong_is_named() {
    let upstream = Upstream::echo().await;
    let gateway = Running::before(upstream.addr).await;
    let tried = gateway.change("PUT", "/admin/services/product?dry_run=true", r#"{"enabled": false}"#).await;
    assert_eq!((&tried["dry_run"], &tried["revision"]), (&true.into(), &1.into()));
    assert_eq!(tried["changed"][0]["key"], "services.product.enabled");
    assert_eq!(gateway.told("/admin/services/product").await["enabled"], true);
    for (method, path, body, status, code, field) in [
        ("PUT", "/admin/services/product?dryrun=true", "{}", 400, "invalid_parameter", "dryrun"),
        ("PUT", "/admin/services/product?dry_run=1", "{}", 400, "invalid_parameter", "dry_run"),
        ("PUT", "/admin/services/product", r#"{"enable": false}"#, 422, "validation_failed", "enable"),
        ("PUT", "/admin/services/product", r#"{"strategy": "best"}"#, 422, "validation_failed", "strategy"),
        ("PUT", "/admin/services/product", "{", 400, "malformed_json", ""),
        ("PUT", "/admin/services/search", "{}", 404, "not_found", ""),
        ("POST", "/admin/services/product/backends", "{}", 422, "validation_failed", "url"),
        ("POST", "/admin/services/product/backends", r#"{"url": "ftp://a"}"#, 422, "validation_failed", "url"),
        (
            "POST",
            "/admin/services/product/backends",
            r#"{"url": "a:1", "weight": 0}"#,
            422,
            "validation_failed",
            "weight",
        ),
        ("PUT", "/admin/services/product/backends/a:1", r#"{"weight": 2}"#, 404, "not_found", ""),
        ("PUT", "/admin/ratelimit", r#"{"window": "0s"}"#, 422, "validation_failed", "rate_limit.window"),
        ("PUT", "/admin/ratelimit", r#"{"requests": 0}"#, 422, "validation_failed", "requests"),
    ] {
        let reply = gateway.admin(method, path, body).await;
        reply.refused(status, code);
        let found = reply.json()["errors"][0]["field"].as_str().unwrap_or_default().to_owned();
        assert_eq!(found, field, "{method} {path} {body}: {:?}", reply.body);
    }
    let mut form = request("PUT", "/admin/services/product", "enabled=false");
    form.headers_mut().insert("content-type", "application/x-www-form-urlencoded".parse().expect("a value"));
    gateway.operate(form).await.refused(415, "unsupported_media_type");
    let long = format!(r#"{{"enabled": {}false}}"#, " ".repeat(70_000));
    gateway.admin("PUT", "/admin/services/product", &long).await.refused(413, "body_too_large");
    assert_eq!(gateway.told("/admin/status").await["revision"], 1);
}

#[tokio::test]
async fn of_changes_to_the_same_state_one_wins() {
    let upstream = Upstream::echo().await;
    let gateway = Running::before(upstream.addr).await;
    let tag = gateway.admin("GET", "/admin/config", "").await.header("etag").expect("a tag").to_owned();
    let change = |weight: usize| {
        let body = json!({"url": format!("10.0.0.{weight}:1"), "weight": weight}).to_string();
        let mut request = request("POST", "/admin/services/product/backends", &body);
        request.headers_mut().insert("if-match", tag.parse().expect("a value"));
        gateway.operate(request)
    };
    let replies = futures_util::future::join_all((1..=8).map(change)).await;
    let statuses: Vec<_> = replies.iter().map(Reply::status).collect();
    assert_eq!(statuses.iter().filter(|status| **status == 201).count(), 1, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|status| **status == 412).count(), 7, "{statuses:?}");
    replies.iter().find(|reply| reply.status() == 412).expect("a loser").refused(412, "precondition_failed");
    assert_eq!(gateway.told("/admin/services/product").await["backends"].as_array().map(Vec::len), Some(2));

    // Without a condition all of them are made, one after the other.
    let add = |number: usize| {
        let body = json!({"url": format!("10.0.1.{number}:1")}).to_string();
        let gateway = &gateway;
        async move { gateway.admin("POST", "/admin/services/product/backends", &body).await.status() }
    };
    let statuses = futures_util::future::join_all((1..=8).map(add)).await;
    assert_eq!(statuses, [201; 8]);
    assert_eq!(gateway.told("/admin/services/product").await["backends"].as_array().map(Vec::len), Some(10));
}

#[tokio::test]
async fn it_is_explained_what_would_become_of_a_request() {
    let (well, ill) = (Mortal::start(), nobody());
    let mut settings = config(well.addr);
    settings.services["product"].urls = backends(&[ill, well.addr]);
    settings.services["notification"].enabled = false;
    settings.cors.origins = vec!["https://shop.example".parse().expect("an origin")];
    let gateway = Running::start(settings).await;
    for _ in 0..2 {
        gateway.get("/api/products").await;
    }
    let explained = gateway.told("/admin/explain?path=/api//products/./7&method=GET").await;
    assert_eq!(
        (&explained["normal_path"], &explained["path_at_backend"]),
        (&"/api/products/7".into(), &"/products/7".into())
    );
    assert_eq!(
        explained["route"],
        json!({"name": "products", "pattern": "/api/products/*", "service": "product", "protocol": "http"})
    );
    let order: Vec<_> =
        explained["backends"].as_array().expect("a list").iter().map(|one| one["url"].clone()).collect();
    assert_eq!(order, [format!("http://{}", well.addr), format!("http://{ill}")]);
    assert_eq!(explained["backends"][1]["standing"], "failed_lately");
    assert_eq!(explained["limit"], json!({"counted": false}));
    for (query, pointer, expected) in [
        ("path=/api/nothing", "/refused/reason", "no_route"),
        ("path=/api/%252e%252e/x", "/refused/reason", "bad_path"),
        ("path=/api/%2e%2e/x", "/refused/reason", "no_route"),
        ("path=/api/notifications", "/refused/reason", "service_disabled"),
        ("path=/health", "/route/answered_by", "gateway"),
        ("path=/shop.product.v1.ProductService/GetProduct", "/route/protocol", "grpc"),
        (
            "path=/api/products&method=POST&origin=https://evil.example",
            "/browser/csrf",
            "refused: cross_origin_refused",
        ),
        ("path=/api/products&method=POST&origin=https://shop.example", "/browser/csrf", "passes"),
        ("path=/api/products&origin=https://shop.example", "/browser/cors", "the page may read the answer"),
    ] {
        let explained = gateway.told(&format!("/admin/explain?{query}")).await;
        assert_eq!(explained.pointer(pointer), Some(&expected.into()), "{query}: {explained}");
    }
    gateway.admin("GET", "/admin/explain?path=/&client=me", "").await.refused(400, "invalid_parameter");
}
