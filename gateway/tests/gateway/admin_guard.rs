//! Who may call the admin API.

use crate::admin::request;
use crate::support::{Reply, Running, config, nobody};

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
    gateway.send(request).await
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
    let settings = gateway.send(settings).await;
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
        gateway.send(request).await.refused(403, "cross_origin_refused");
    }
    let mut preflight = request("OPTIONS", "/admin/services/product", "");
    preflight.headers_mut().insert("origin", "https://shop.example".parse().expect("a value"));
    preflight.headers_mut().insert("access-control-request-method", "PUT".parse().expect("a value"));
    let reply = gateway.send(preflight).await;
    reply.refused(405, "method_refused");
    assert!(reply.header("access-control-allow-origin").is_none());
}
