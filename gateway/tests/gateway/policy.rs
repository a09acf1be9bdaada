//! The rate limit and the circuit breaker, seen by a client.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use bytes::Bytes;
use http_body_util::Full;
use hyper::Response;
use shop_gateway::settings::{ClientKey, RouteLimit, Strategy};
use shop_testing::eventually;

use crate::support::{Running, Upstream, backends, config, get, nobody, request, route};

#[tokio::test]
async fn a_client_over_its_rate_is_told_when_to_come_back() {
    let upstream = Upstream::echo().await;
    let mut settings = config(upstream.addr);
    settings.rate_limit.enabled = true;
    settings.rate_limit.burst = NonZeroU32::new(3).expect("not zero");
    settings.rate_limit.window = shop_config::Duration::secs(6000);
    let gateway = Running::start(settings).await;
    for left in ["2", "1", "0"] {
        let reply = gateway.get("/api/products").await;
        assert_eq!(reply.status(), 200);
        assert_eq!(reply.header("ratelimit-policy"), Some("\"client\";q=100;w=6000"));
        assert!(reply.header("ratelimit").is_some_and(|limit| limit.starts_with(&format!("\"client\";r={left};t="))));
    }
    let reply = gateway.get("/api/products").await;
    reply.refused(429, "rate_limited");
    assert_eq!(reply.header("retry-after"), Some("60"));
    for free in ["/health", "/health/ready", "/health/live"] {
        assert_eq!(gateway.get(free).await.status(), 200, "{free} is not counted");
    }
}

#[tokio::test]
async fn a_route_has_a_limit_of_its_own_and_a_known_key_a_budget_wherever_it_comes_from() {
    let upstream = Upstream::echo().await;
    let mut settings = config(upstream.addr);
    let limit = &mut settings.rate_limit;
    limit.enabled = true;
    limit.burst = NonZeroU32::new(2).expect("not zero");
    limit.window = shop_config::Duration::secs(6000);
    limit.key = vec![ClientKey::ApiKey, ClientKey::Ip];
    // SHA-256 of `secret`.
    limit.api_keys.hashes = vec!["2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b".to_owned()];
    let post = "path = '/api/payments/*'\nrewrite = '/payments/*'\nto = 'payment'\nmethods = ['POST']\n\
                rate_limit = { requests = 10, window = '1h', burst = 1 }";
    settings.routes.insert("pay".to_owned(), route(post));
    let notifications = settings.routes.get_mut("notifications").expect("is there");
    notifications.rate_limit = Some(Box::new(RouteLimit { enabled: false, ..RouteLimit::default() }));
    let gateway = Running::start(settings).await;
    let reply = gateway.send(request("POST", "/api/payments//x/../", "")).await;
    assert_eq!((reply.status(), reply.header("ratelimit")), (200, Some("\"POST /api/payments/*\";r=0;t=360")));
    assert_eq!(reply.header("ratelimit-policy"), Some("\"POST /api/payments/*\";q=10;w=3600"));
    let reply = gateway.send(request("POST", "/api/payments/7", "")).await;
    reply.refused(429, "rate_limited");
    assert_eq!(reply.header("retry-after"), Some("360"));
    for _ in 0..4 {
        let reply = gateway.get("/api/notifications").await;
        assert_eq!((reply.status(), reply.header("ratelimit")), (200, None));
    }
    let with_key = |key: &str| {
        let mut call = get("/api/payments");
        call.headers_mut().insert("x-api-key", key.parse().expect("a value"));
        call
    };
    for (key, status) in [
        ("invented", 200),
        ("secret", 200),
        ("invented too", 200),
        ("invented as well", 429),
        ("secret", 200),
        ("secret", 429),
    ] {
        assert_eq!(gateway.send(with_key(key)).await.status(), status, "{key}");
    }
}

#[tokio::test]
async fn a_failing_backend_is_left_alone_and_tried_again() {
    let broken = Arc::new(AtomicBool::new(true));
    let is_broken = Arc::clone(&broken);
    let upstream = Upstream::serving(move |_| {
        let status = if is_broken.load(SeqCst) { 503 } else { 200 };
        async move { Response::builder().status(status).body(Full::new(Bytes::new())).expect("an answer") }
    })
    .await;
    let mut settings = config(upstream.addr);
    settings.circuit_breaker.enabled = true;
    settings.circuit_breaker.max_requests = NonZeroU32::new(2).expect("not zero");
    settings.circuit_breaker.timeout = shop_config::Duration::millis(300);
    let gateway = Running::start(settings).await;
    for _ in 0..3 {
        assert_eq!(gateway.get("/api/products").await.status(), 503, "the backend's own answer");
    }
    gateway.get("/api/products").await.refused(503, "breaker_open");
    let state = format!(r#"gateway_circuit_breaker_state{{backend="http://{}",service="product"}}"#, upstream.addr);
    assert_eq!(gateway.metric(&state), Some(2.0));
    assert_eq!(gateway.get("/api/users/u1").await.status(), 503, "other services are not concerned");
    broken.store(false, SeqCst);
    eventually!(gateway.get("/api/products").await.status() == 200);
    assert_eq!(gateway.metric(&state), Some(1.0), "one success of two");
    assert_eq!(gateway.get("/api/products").await.status(), 200);
    assert_eq!(gateway.metric(&state), Some(0.0));
}

#[tokio::test]
async fn a_backend_that_cannot_be_reached_opens_its_breaker() {
    let mut settings = config(nobody());
    settings.circuit_breaker.enabled = true;
    let gateway = Running::start(settings).await;
    for _ in 0..3 {
        gateway.get("/api/products").await.refused(502, "connect_failed");
    }
    let reply = gateway.get("/api/products").await;
    reply.refused(503, "breaker_open");
    assert!(reply.header("retry-after").is_some());
}

#[tokio::test]
async fn each_strategy_reaches_every_backend_and_weights_count() {
    let (one, two) = (Upstream::echo().await, Upstream::echo().await);
    for strategy in [
        Strategy::RoundRobin,
        Strategy::LeastConnections,
        Strategy::WeightedRoundRobin,
        Strategy::Random,
        Strategy::P2cEwma,
    ] {
        let mut settings = config(one.addr);
        settings.load_balancer.strategy = strategy;
        settings.services["product"].urls =
            format!("http://{};weight=3,http://{}", one.addr, two.addr).parse().expect("two backends");
        let gateway = Running::start(settings).await;
        let before = (one.requests.load(SeqCst), two.requests.load(SeqCst));
        for _ in 0..40 {
            assert_eq!(gateway.get("/api/products").await.status(), 200);
        }
        let served = (one.requests.load(SeqCst) - before.0, two.requests.load(SeqCst) - before.1);
        assert_eq!(served.0 + served.1, 40);
        match strategy {
            Strategy::WeightedRoundRobin => assert_eq!(served, (30, 10)),
            Strategy::RoundRobin | Strategy::LeastConnections => assert_eq!(served, (20, 20), "{strategy:?}"),
            // Chance passes one by forty times in a row once in a trillion runs.
            Strategy::Random => assert!(served.0 > 0 && served.1 > 0, "{served:?}"),
            // The latter has tests of its own.
            Strategy::P2cEwma | Strategy::ConsistentHash => {}
        }
    }
}

#[tokio::test]
async fn the_slow_backend_gets_less_under_p2c_ewma() {
    let quick = Upstream::echo().await;
    let slow = Upstream::serving(|_| async {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        Response::new(Full::new(Bytes::new()))
    })
    .await;
    let mut settings = config(quick.addr);
    settings.load_balancer.strategy = Strategy::P2cEwma;
    settings.services["product"].urls = backends(&[quick.addr, slow.addr]);
    let gateway = Running::start(settings).await;
    for _ in 0..40 {
        assert_eq!(gateway.get("/api/products").await.status(), 200);
    }
    let (quick, slow) = (quick.requests.load(SeqCst), slow.requests.load(SeqCst));
    assert!(slow <= 2, "{slow} of {} went to the slow one", quick + slow);
}

#[tokio::test]
async fn without_balancing_the_first_backend_gets_everything_it_can_take() {
    let (one, two) = (Upstream::echo().await, Upstream::echo().await);
    let mut settings = config(one.addr);
    settings.load_balancer.enabled = false;
    settings.services["product"].urls = backends(&[one.addr, two.addr]);
    let gateway = Running::start(settings).await;
    for _ in 0..10 {
        gateway.get("/api/products").await;
    }
    assert_eq!((one.requests.load(SeqCst), two.requests.load(SeqCst)), (10, 0));
}
