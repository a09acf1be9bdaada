//! What browsers are told and refused: security headers, other sites' pages, forged changes.

use std::sync::atomic::Ordering::SeqCst;

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, Response};
use shop_gateway::Config;

use crate::support::{Reply, Running, Upstream, config, echoed, get, request};

const CSP: &str = "default-src 'none'; frame-ancestors 'none'";

fn with(mut request: Request<Full<Bytes>>, headers: &[(&'static str, &'static str)]) -> Request<Full<Bytes>> {
    for (name, value) in headers {
        request.headers_mut().append(*name, http::HeaderValue::from_static(value));
    }
    request
}

fn preflight(origin: &'static str, path: &str) -> Request<Full<Bytes>> {
    with(request("OPTIONS", path, ""), &[("origin", origin), ("access-control-request-method", "PUT")])
}

fn allowing(upstream: &Upstream, origins: &[&str], credentials: bool) -> Config {
    let mut settings = config(upstream.addr);
    settings.cors.origins = origins.iter().map(|origin| origin.parse().expect("an origin")).collect();
    settings.cors.credentials = credentials;
    settings
}

/// The headers that give other sites' pages permission.
fn permissions(reply: &Reply) -> Vec<&str> {
    let names = reply.head.headers.keys().map(http::HeaderName::as_str);
    names.filter(|name| name.starts_with("access-control-")).collect()
}

#[tokio::test]
async fn every_answer_tells_browsers_to_be_careful() {
    let upstream = Upstream::echo().await;
    let gateway = Running::before(upstream.addr).await;
    for (path, status) in
        [("/api/products", 200), ("/health", 200), ("/metrics", 404), ("/nowhere", 404), ("/api/products/%00", 400)]
    {
        let reply = gateway.get(path).await;
        assert_eq!(reply.status(), status, "{path}");
        for (name, value) in [
            ("x-content-type-options", Some("nosniff")),
            ("x-frame-options", Some("DENY")),
            ("referrer-policy", Some("no-referrer")),
            ("content-security-policy", Some(CSP)),
            ("x-xss-protection", Some("0")),
            ("strict-transport-security", None),
            ("server", None),
        ] {
            assert_eq!(reply.header(name), value, "{path} {name}");
        }
        assert_eq!(permissions(&reply), [""; 0], "{path}");
        assert_eq!(reply.header("vary"), None, "{path}");
    }
}

#[tokio::test]
async fn a_backends_page_keeps_its_policy_but_not_its_servers_name() {
    let upstream = Upstream::serving(|_| async {
        let mut response = Response::new(Full::new(Bytes::from("<html>")));
        for (name, value) in [
            ("content-security-policy", "default-src 'self'"),
            ("server", "salvo/1"),
            ("x-powered-by", "salvo"),
            ("strict-transport-security", "max-age=1"),
        ] {
            response.headers_mut().insert(name, http::HeaderValue::from_static(value));
        }
        response
    })
    .await;
    let reply = Running::before(upstream.addr).await.get("/api/products/docs").await;
    for (name, value) in [
        ("content-security-policy", Some("default-src 'self'")),
        ("x-frame-options", Some("DENY")),
        ("server", None),
        ("x-powered-by", None),
        ("strict-transport-security", None),
    ] {
        assert_eq!(reply.header(name), value, "{name}");
    }
    let mut settings = config(upstream.addr);
    settings.security_headers.enabled = false;
    let reply = Running::start(settings).await.get("/api/products/docs").await;
    assert_eq!((reply.header("server"), reply.header("x-frame-options")), (Some("salvo/1"), None));
}

#[tokio::test]
async fn only_a_trusted_proxys_word_makes_it_tls() {
    let upstream = Upstream::echo().await;
    let secure = || with(get("/api/products"), &[("x-forwarded-proto", "https")]);
    let reply = Running::before(upstream.addr).await.send(secure()).await;
    assert_eq!(reply.header("strict-transport-security"), None);
    let mut settings = config(upstream.addr);
    settings.trusted_proxies = vec!["127.0.0.0/8".parse().expect("a network")];
    let gateway = Running::start(settings).await;
    assert_eq!(gateway.send(secure()).await.header("strict-transport-security"), Some("max-age=31536000"));
    assert_eq!(gateway.get("/api/products").await.header("strict-transport-security"), None);
}

#[tokio::test]
async fn without_rules_nothing_is_said_to_other_sites() {
    let upstream = Upstream::echo().await;
    let gateway = Running::before(upstream.addr).await;
    let reply = gateway.send(preflight("https://a.example", "/api/products/7")).await;
    assert_eq!((reply.status(), permissions(&reply)), (200, vec![]), "the service is asked, and says nothing");
    assert_eq!(upstream.requests.load(SeqCst), 1);
}

#[tokio::test]
async fn a_listed_site_may_call_and_read() {
    let upstream = Upstream::echo().await;
    let gateway = Running::start(allowing(&upstream, &["https://a.example", "https://*.b.example"], true)).await;
    for origin in ["https://a.example", "https://x.b.example"] {
        let reply = gateway.send(preflight(origin, "/api/products/7")).await;
        assert_eq!((reply.status(), reply.body.len()), (204, 0));
        for (name, value) in [
            ("access-control-allow-origin", origin),
            ("access-control-allow-credentials", "true"),
            ("access-control-allow-methods", "GET, HEAD, POST, PUT, PATCH, DELETE"),
            ("access-control-max-age", "600"),
            ("vary", "origin, access-control-request-method, access-control-request-headers"),
        ] {
            assert_eq!(reply.header(name), Some(value), "{origin} {name}");
        }
        assert!(reply.header("access-control-allow-headers").is_some_and(|names| names.contains("idempotency-key")));
    }
    assert_eq!(upstream.requests.load(SeqCst), 0, "no backend is asked for permission");

    let call = [("origin", "https://a.example"), ("sec-fetch-site", "cross-site"), ("cookie", "session=1")];
    let reply = gateway.send(with(request("PUT", "/api/products/7", "{}"), &call)).await;
    assert_eq!(reply.status(), 200);
    assert_eq!(reply.header("access-control-allow-origin"), Some("https://a.example"));
    assert_eq!(reply.header("vary"), Some("origin"));
    assert!(reply.header("access-control-expose-headers").is_some_and(|names| names.contains("x-gateway-reason")));
    assert_eq!(echoed(&reply.json(), "cookie"), ["session=1"]);

    let reply = gateway.send(with(get("/nowhere"), &call)).await;
    reply.refused(404, "no_route");
    assert_eq!(reply.header("access-control-allow-origin"), Some("https://a.example"), "refusals can be read too");
}

#[tokio::test]
async fn a_site_that_is_not_listed_gets_no_permission() {
    let upstream = Upstream::echo().await;
    let gateway = Running::start(allowing(&upstream, &["https://a.example"], true)).await;
    for origin in ["https://evil.example", "https://a.example.evil.example", "http://a.example", "null"] {
        let reply = gateway.send(preflight(origin, "/api/products/7")).await;
        assert_eq!((reply.status(), permissions(&reply)), (204, vec![]), "{origin}");
        assert!(reply.header("vary").is_some_and(|names| names.starts_with("origin")));
        let reply = gateway.send(with(get("/api/products"), &[("origin", origin)])).await;
        assert_eq!((reply.status(), permissions(&reply)), (200, vec![]), "{origin}");
        assert_eq!(reply.header("vary"), Some("origin"));
    }
    let reply = gateway.operate(with(get("/metrics"), &[("origin", "https://a.example")])).await;
    assert_eq!((permissions(&reply), reply.header("vary")), (vec![], None), "own routes are not for other sites");
    gateway.operate(preflight("https://a.example", "/metrics")).await.refused(405, "method_refused");
}

#[tokio::test]
async fn the_gateway_speaks_for_backends_when_it_has_rules() {
    let upstream = Upstream::serving(|_| async {
        let mut response = Response::new(Full::new(Bytes::new()));
        for (name, value) in [("access-control-allow-origin", "*"), ("access-control-allow-credentials", "true")] {
            response.headers_mut().insert(name, http::HeaderValue::from_static(value));
        }
        response.headers_mut().insert("vary", http::HeaderValue::from_static("accept"));
        response
    })
    .await;
    let gateway = Running::start(allowing(&upstream, &["https://a.example"], false)).await;
    let reply = gateway.send(with(get("/api/products"), &[("origin", "https://a.example")])).await;
    assert_eq!(reply.header("access-control-allow-origin"), Some("https://a.example"));
    assert_eq!(reply.header("access-control-allow-credentials"), None);
    assert_eq!(reply.head.headers.get_all("vary").iter().collect::<Vec<_>>(), ["accept", "origin"]);
    let reply = gateway.send(with(get("/api/products"), &[("origin", "https://evil.example")])).await;
    assert_eq!(permissions(&reply), [""; 0]);
}

#[tokio::test]
async fn anybody_may_read_under_a_star_but_not_as_the_user() {
    let upstream = Upstream::echo().await;
    let gateway = Running::start(allowing(&upstream, &["*"], false)).await;
    let from = [("origin", "https://evil.example"), ("sec-fetch-site", "cross-site")];
    let reply = gateway.send(with(request("POST", "/api/baskets", "{}"), &from)).await;
    assert_eq!((reply.status(), reply.header("access-control-allow-origin")), (200, Some("*")));
    assert_eq!((reply.header("access-control-allow-credentials"), reply.header("vary")), (None, None));
    let as_user = with(request("POST", "/api/baskets", "{}"), &[("cookie", "session=1")]);
    gateway.send(with(as_user, &from)).await.refused(403, "cross_origin_refused");
}

#[tokio::test]
async fn a_change_that_another_site_sends_is_refused() {
    let upstream = Upstream::echo().await;
    let gateway = Running::before(upstream.addr).await;
    for headers in [
        &[("sec-fetch-site", "cross-site"), ("origin", "https://evil.example")][..],
        &[("sec-fetch-site", "same-site"), ("origin", "https://old.gw.test")],
        &[("origin", "https://evil.example")],
        &[("origin", "null")],
    ] {
        for method in ["POST", "PUT", "PATCH", "DELETE", "BREW"] {
            let reply = gateway.send(with(request(method, "/api/baskets/u1", ""), headers)).await;
            reply.refused(403, "cross_origin_refused");
            assert_eq!(permissions(&reply), [""; 0]);
        }
    }
    assert_eq!(upstream.requests.load(SeqCst), 0);
    let refusals = r#"gateway_refusals_total{reason="cross_origin_refused",service="gateway"}"#;
    shop_testing::eventually!(gateway.metric(refusals) == Some(20.0));
    for (method, headers) in [
        ("POST", &[][..]),
        ("POST", &[("sec-fetch-site", "same-origin"), ("origin", "http://gw.test")]),
        ("POST", &[("sec-fetch-site", "none")]),
        ("POST", &[("origin", "http://gw.test")]),
        ("GET", &[("sec-fetch-site", "cross-site")]),
        ("GET", &[("origin", "https://evil.example")]),
    ] {
        let reply = gateway.send(with(request(method, "/api/baskets/u1", ""), headers)).await;
        assert_eq!(reply.status(), 200, "{method} {headers:?}");
    }
}

#[tokio::test]
async fn the_name_a_trusted_proxy_was_asked_by_is_ours() {
    let upstream = Upstream::echo().await;
    let headers = [("origin", "https://shop.example"), ("x-forwarded-host", "shop.example")];
    let call = || with(request("POST", "/api/baskets", ""), &headers);
    Running::before(upstream.addr).await.send(call()).await.refused(403, "cross_origin_refused");
    let mut settings = config(upstream.addr);
    settings.trusted_proxies = vec!["127.0.0.0/8".parse().expect("a network")];
    let silent = Running::start(settings.clone()).await;
    silent.send(call()).await.refused(403, "cross_origin_refused");
    settings.trusted_headers.push("X-Forwarded-Host".parse().expect("a header of proxies"));
    assert_eq!(Running::start(settings).await.send(call()).await.status(), 200);
}

#[tokio::test]
async fn trusted_sites_send_changes_and_the_rule_can_be_switched_off() {
    let upstream = Upstream::echo().await;
    let form = || {
        let headers = [("sec-fetch-site", "cross-site"), ("origin", "https://pay.example"), ("cookie", "session=1")];
        with(request("POST", "/api/payments", ""), &headers)
    };
    let mut trusting = config(upstream.addr);
    trusting.csrf.trusted_origins = vec!["https://pay.example".parse().expect("an origin")];
    let mut off = config(upstream.addr);
    off.csrf.enabled = false;
    for settings in [trusting, off] {
        let reply = Running::start(settings).await.send(form()).await;
        assert_eq!((reply.status(), permissions(&reply)), (200, vec![]));
    }
}
