//! Who may call the admin API.

use crate::admin::request;
use crate::support::{Reply, Running, Upstream, config, get, nobody};

const TOKEN: &str = "correct-horse-battery";

async fn with_token() -> Running {
    let mut settings = config(nobody());
    settings.admin.token = TOKEN.into();
    settings.cors.origins = vec!["https://shop.example".parse().expect("an origin")];
    Running::start(settings).await
}

async fn status(gateway: &Running, headers: &[(&'static str, &str)]) -> Reply {
    let mut request = request("GET", "/admin/status", "");
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().expect("a value"));
    }
    gateway.operate(request).await
}

#[tokio::test]
async fn with_a_token_set_everybody_must_show_it() {
    let gateway = with_token().await;
    let none = status(&gateway, &[]).await;
    none.refused(401, "admin_unauthorized");
    assert_eq!(none.header("www-authenticate"), Some("Bearer realm=\"admin\""));
    let wrong = status(&gateway, &[("authorization", "Bearer wrong")]).await;
    wrong.refused(401, "admin_unauthorized");
    assert!(wrong.header("www-authenticate").is_some_and(|value| value.contains("invalid_token")));
    gateway.admin("GET", "/admin/nothing", "").await.refused(401, "admin_unauthorized");

    let bearer = format!("Bearer {TOKEN}");
    // From anywhere, through any proxy, by any name.
    let headers = [("authorization", bearer.as_str()), ("x-forwarded-for", "9.9.9.9"), ("host", "gw.example")];
    let well = status(&gateway, &headers).await;
    assert_eq!((well.status(), well.header("cache-control")), (200, Some("no-store")));
    let page = status(&gateway, &[("authorization", &bearer), ("origin", "https://shop.example")]).await;
    assert!(page.header("access-control-allow-origin").is_none(), "not even pages that may call services");
    let shown = status(&gateway, &[("authorization", &bearer)]).await;
    assert!(!String::from_utf8_lossy(&shown.body).contains(TOKEN));
    let mut settings = request("GET", "/admin/config", "");
    settings.headers_mut().insert("authorization", bearer.parse().expect("a value"));
    let settings = gateway.operate(settings).await;
    assert_eq!(settings.json()["settings"]["admin"]["token"], "***");
}

#[tokio::test]
async fn who_guesses_the_token_is_slowed_down_and_who_has_it_is_not() {
    let gateway = with_token().await;
    for _ in 0..10 {
        status(&gateway, &[("authorization", "Bearer wrong")]).await.refused(401, "admin_unauthorized");
    }
    let blocked = status(&gateway, &[("authorization", "Bearer wrong")]).await;
    blocked.refused(429, "rate_limited");
    assert!(blocked.header("retry-after").is_some());
    let right = status(&gateway, &[("authorization", &format!("Bearer {TOKEN}"))]).await;
    assert_eq!(right.status(), 200, "from the same address");
    status(&gateway, &[("authorization", "Bearer wrong")]).await.refused(429, "rate_limited");
}

#[tokio::test]
async fn a_token_that_can_be_guessed_is_not_found_by_going_on() {
    let mut settings = config(nobody());
    settings.admin.token = "short".into();
    let gateway = Running::start(settings).await;
    for _ in 0..10 {
        status(&gateway, &[("authorization", "Bearer wrong")]).await.refused(401, "admin_unauthorized");
    }
    status(&gateway, &[("authorization", "Bearer short")]).await.refused(429, "rate_limited");
}

#[tokio::test]
async fn without_a_token_only_this_machine_may_call_and_nobody_through_it() {
    let gateway = Running::before(nobody()).await;
    assert_eq!(status(&gateway, &[]).await.status(), 200);
    for headers in [
        [("x-forwarded-for", "127.0.0.1")],
        [("forwarded", "for=127.0.0.1")],
        [("via", "1.1 proxy")],
        [("host", "rebound.example")],
    ] {
        status(&gateway, &headers).await.refused(403, "admin_forbidden");
    }
}

/// What the clients' port answers to somebody on this machine.
async fn nearby(gateway: &Running, path: &str, headers: &[(&'static str, &str)]) -> Reply {
    let mut request = request("GET", path, "");
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().expect("a value"));
    }
    gateway.send(request).await
}

#[tokio::test]
async fn clients_are_told_whether_the_gateway_is_well_and_nothing_else() {
    let mut settings = config(nobody());
    settings.admin.token = TOKEN.into();
    let gateway = Running::start(settings).await;
    for path in ["/metrics", "/health/detailed", "/admin", "/admin/status", "/admin/ui", "/admin/nothing"] {
        gateway.get(path).await.refused(404, "no_route");
        let token = [("authorization", "Bearer correct-horse-battery"), ("host", "gw.test")];
        nearby(&gateway, path, &token).await.refused(404, "no_route");
    }
    gateway.get("/api/products").await.refused(502, "connect_failed");
    assert_eq!(gateway.get("/health").await.json(), serde_json::json!({"status": "up"}));
    for path in ["/health/live", "/health/ready"] {
        assert_eq!(gateway.get(path).await.json(), serde_json::json!({"status": "up"}), "{path}");
    }
}

#[tokio::test]
async fn on_the_clients_port_this_machine_sees_more_and_needs_the_token_for_the_rest() {
    let gateway = with_token().await;
    let bearer = format!("Bearer {TOKEN}");
    let token = [("authorization", bearer.as_str())];
    for path in ["/metrics", "/health/detailed"] {
        assert_eq!(nearby(&gateway, path, &[]).await.status(), 200, "{path}");
    }
    assert_eq!(nearby(&gateway, "/admin/status", &token).await.status(), 200);
    nearby(&gateway, "/admin/status", &[]).await.refused(401, "admin_unauthorized");
    for path in ["/metrics", "/admin/status"] {
        let through = [("authorization", bearer.as_str()), ("x-forwarded-for", "9.9.9.9")];
        nearby(&gateway, path, &through).await.refused(404, "no_route");
    }

    // A proxy on this machine may say nothing of itself: without a token there is nothing to be had by way of it.
    let open = Running::before(nobody()).await;
    nearby(&open, "/admin/status", &[]).await.refused(403, "admin_forbidden");
    assert_eq!(open.admin("GET", "/admin/status", "").await.status(), 200, "on their own listener");

    let mut settings = config(nobody());
    settings.admin.token = TOKEN.into();
    settings.admin.on_client_port = false;
    let apart = Running::start(settings).await;
    for path in ["/metrics", "/health/detailed", "/admin/status"] {
        nearby(&apart, path, &token).await.refused(404, "no_route");
    }
}

#[tokio::test]
async fn the_listener_of_operators_leads_to_no_service() {
    let upstream = Upstream::echo().await;
    let gateway = Running::before(upstream.addr).await;
    for path in ["/api/products", "/docs", "/openapi.json", "/nowhere"] {
        gateway.operate(get(path)).await.refused(404, "no_route");
    }
    assert_eq!(upstream.requests.load(std::sync::atomic::Ordering::SeqCst), 0);
    assert_eq!(gateway.look("/health").await.json()["services"]["product"]["status"], "unknown");
}

#[tokio::test]
async fn another_sites_page_changes_nothing_whatever_the_settings_for_services_say() {
    let mut settings = config(nobody());
    settings.csrf.enabled = false;
    settings.cors.origins = vec!["https://shop.example".parse().expect("an origin")];
    let gateway = Running::start(settings).await;
    for (name, value) in
        [("sec-fetch-site", "cross-site"), ("sec-fetch-site", "same-site"), ("origin", "https://shop.example")]
    {
        let mut request = request("PUT", "/admin/services/product", r#"{"enabled": false}"#);
        request.headers_mut().insert(name, value.parse().expect("a value"));
        gateway.operate(request).await.refused(403, "cross_origin_refused");
    }
    let mut preflight = request("OPTIONS", "/admin/services/product", "");
    preflight.headers_mut().insert("origin", "https://shop.example".parse().expect("a value"));
    preflight.headers_mut().insert("access-control-request-method", "PUT".parse().expect("a value"));
    let reply = gateway.operate(preflight).await;
    reply.refused(405, "method_refused");
    assert!(reply.header("access-control-allow-origin").is_none());
}
