//! The gateway's own routes.

use shop_testing::eventually;

use crate::support::{Running, Upstream, config, nobody, request};

#[tokio::test]
async fn health_tells_how_each_backend_was_last_seen() {
    let upstream = Upstream::echo().await;
    let mut settings = config(upstream.addr);
    settings.services["basket"].urls = crate::support::backends(&[nobody()]);
    settings.services["notification"].enabled = false;
    let gateway = Running::start(settings).await;
    let before = gateway.look("/health").await.json();
    assert_eq!((&before["status"], &before["services"]["product"]["status"]), (&"up".into(), &"unknown".into()));
    gateway.get("/api/products").await;
    gateway.get("/api/baskets/u1").await;
    let after = gateway.look("/health").await.json();
    let product = &after["services"]["product"]["backends"][0];
    assert_eq!((&product["state"], &product["url"]), (&"up".into(), &format!("http://{}", upstream.addr).into()));
    let basket = &after["services"]["basket"]["backends"][0];
    assert_eq!(basket["state"], "down");
    assert!(basket["error"].as_str().is_some_and(|error| error.contains("refused")), "{basket}");
    assert_eq!(after["services"]["notification"]["status"], "disabled");
    let detailed = gateway.look("/health/detailed").await.json();
    assert_eq!(detailed["services"]["product"]["backends"][0]["idle_connections"], 1);
    assert_eq!(detailed["workers"], 2);
}

#[tokio::test]
async fn live_and_ready_say_up_and_metrics_count() {
    let upstream = Upstream::echo().await;
    let gateway = Running::before(upstream.addr).await;
    for path in ["/health/live", "/health/ready"] {
        let reply = gateway.get(path).await;
        assert_eq!((reply.status(), &reply.json()["status"]), (200, &"up".into()), "{path}");
    }
    gateway.get("/api/products").await;
    gateway.get("/nowhere").await;
    eventually!(gateway.metric(r#"gateway_requests_total{method="GET",service="product",status="200"}"#) == Some(1.0));
    let reply = gateway.look("/metrics").await;
    assert!(reply.header("content-type").is_some_and(|kind| kind.starts_with("text/plain")));
    let text = String::from_utf8(reply.body.to_vec()).expect("text");
    for line in [
        r#"gateway_requests_total{method="GET",service="gateway",status="404"} 1"#,
        r#"gateway_refusals_total{reason="no_route",service="gateway"} 1"#,
        r#"gateway_request_duration_seconds_count{method="GET",service="product"} 1"#,
        r#"gateway_active_requests{service="product"} 0"#,
        "gateway_backend_health{",
        "gateway_circuit_breaker_state{",
        "gateway_upstream_connections_total{",
        "process_cpu_seconds_total",
    ] {
        assert!(text.contains(line), "no {line} in\n{text}");
    }
}

#[tokio::test]
async fn own_routes_take_get_and_head_only() {
    let gateway = Running::before(nobody()).await;
    let reply = gateway.send(request("POST", "/health", "")).await;
    reply.refused(405, "method_refused");
    assert_eq!(reply.header("allow"), Some("GET, HEAD"));
    let head = gateway.operate(request("HEAD", "/metrics", "")).await;
    assert!(head.status() == 200 && head.body.is_empty());
}
