//! New settings while the gateway runs.

use std::num::NonZeroU32;
use std::sync::atomic::Ordering::SeqCst;

use shop_testing::eventually;

use crate::support::{Client, Mortal, Running, Upstream, backends, config, get};

#[tokio::test]
async fn calls_go_to_the_new_backends_and_the_old_ones_connections_are_closed() {
    let (old, new) = (Upstream::echo().await, Mortal::start());
    let gateway = Running::before(old.addr).await;
    let mut client = Client::connect(gateway.addr).await;
    assert_eq!(client.send(get("/api/products")).await.expect("an answer").status(), 200);
    let label = format!(r#"gateway_upstream_connections_total{{backend="http://{}",service="product"}}"#, old.addr);
    assert_eq!(gateway.metric(&label), Some(1.0));

    let mut settings = config(old.addr);
    settings.services["product"].urls = backends(&[new.addr]);
    settings.services["product"].grpc_urls = backends(&[]);
    let applied = gateway.handle.apply(settings).expect("good settings");
    assert_eq!(applied.revision, 2);
    let changed: Vec<_> = applied.changed.iter().map(|change| change.key.as_str()).collect();
    assert_eq!(changed, ["services.product.grpc_urls", "services.product.urls"]);

    // The client's own connection goes on.
    assert_eq!(&client.send(get("/api/products")).await.expect("an answer").body[..], b"well");
    assert_eq!((new.count(), old.requests.load(SeqCst)), (1, 1));
    assert_eq!(gateway.metric(&label), None, "numbers of a backend that is gone are not shown");
    eventually!(old.open.load(SeqCst) == 0);
}

#[tokio::test]
async fn what_stays_keeps_its_connections_and_what_clients_have_used() {
    let upstream = Upstream::echo().await;
    let mut settings = config(upstream.addr);
    settings.rate_limit.enabled = true;
    settings.rate_limit.requests = NonZeroU32::MIN;
    settings.rate_limit.burst = NonZeroU32::MIN.saturating_add(1);
    let gateway = Running::start(settings.clone()).await;
    let mut client = Client::connect(gateway.addr).await;
    assert_eq!(client.send(get("/api/products")).await.expect("an answer").status(), 200);
    settings.services["product"].urls = format!("http://{};weight=7", upstream.addr).parse().expect("a list");
    settings.limits.uri = 100;
    gateway.handle.apply(settings.clone()).expect("good settings");
    assert_eq!(client.send(get("/api/products")).await.expect("an answer").status(), 200);
    assert_eq!(upstream.connections.load(SeqCst), 1, "the connection is used again");
    client.send(get("/api/products")).await.expect("an answer").refused(429, "rate_limited");
    client.send(get(&format!("/api/{}", "x".repeat(100)))).await.expect("an answer").refused(414, "uri_too_long");
    let detail = gateway.look("/health/detailed").await.json();
    assert_eq!(detail["services"]["product"]["backends"][0]["weight"], 7);
    settings.rate_limit.burst = NonZeroU32::MIN.saturating_add(9);
    gateway.handle.apply(settings).expect("good settings");
    assert_eq!(client.send(get("/api/products")).await.expect("an answer").status(), 200);
}

#[tokio::test]
async fn wrong_settings_change_nothing_and_fixed_ones_are_named() {
    let upstream = Upstream::echo().await;
    let gateway = Running::before(upstream.addr).await;
    let mut settings = config(upstream.addr);
    settings.services["basket"].urls = backends(&vec![upstream.addr; 1025]);
    settings.limits.uri = 0;
    let problems = gateway.handle.apply(settings).expect_err("wrong").to_string();
    assert!(problems.contains("services.basket.urls") && problems.contains("limits.uri"), "{problems}");
    assert_eq!(gateway.get("/api/products").await.status(), 200);

    let mut settings = config(upstream.addr);
    settings.http.port = 1;
    settings.admin.port = 2;
    settings.workers = 5;
    let applied = gateway.handle.apply(settings).expect("good settings");
    let keys: Vec<_> = applied.needs_restart.iter().map(|change| change.key.as_str()).collect();
    assert_eq!(keys, ["admin.port", "http.port", "workers"]);
    assert!(applied.changed.is_empty());
    assert_eq!(gateway.look("/health/detailed").await.json()["workers"], 2);
}

#[tokio::test]
async fn checks_follow_the_backends() {
    let (old, new) = (Mortal::start(), Mortal::start());
    let mut settings = config(old.addr);
    for service in ["basket", "payment", "notification"] {
        settings.services[service].enabled = false;
    }
    settings.services["product"].grpc_urls = backends(&[]);
    settings.health_check.enabled = true;
    settings.health_check.interval = shop_config::Duration::millis(20);
    let gateway = Running::start(settings.clone()).await;
    let state = async || gateway.look("/health").await.json()["services"]["product"]["backends"].clone();
    eventually!(state().await[0]["check"] == "healthy");
    new.ready.store(503, SeqCst);
    settings.services["product"].urls = backends(&[old.addr, new.addr]);
    gateway.handle.apply(settings.clone()).expect("good settings");
    eventually!(state().await[1]["check"] == "never_healthy");
    assert_eq!(state().await[0]["check"], "healthy");
    gateway.get("/api/products").await;
    gateway.get("/api/products").await;
    assert_eq!(new.count(), 0, "never seen well");
    settings.services["product"].urls = backends(&[new.addr]);
    gateway.handle.apply(settings.clone()).expect("good settings");
    let asked = old.checks.load(SeqCst);
    let since = new.checks.load(SeqCst);
    eventually!(new.checks.load(SeqCst) > since + 3);
    assert!(old.checks.load(SeqCst) <= asked + 1, "nobody asks who is gone");
    settings.health_check.enabled = false;
    gateway.handle.apply(settings).expect("good settings");
    assert_eq!(state().await[0]["state"], "unknown", "what was found is forgotten with the checks");
}
