//! A payment provider calls: to the payment service, to the byte, and by a limit of its own.

use std::num::NonZeroU32;

use crate::support::{Running, Upstream, config, echoed, request};

#[tokio::test]
async fn a_provider_that_calls_reaches_payments_with_what_it_signed() {
    let echo = Upstream::echo().await;
    let gateway = Running::start(config(echo.addr)).await;
    let body = "{ \"id\" : \"evt_\\u0031\",\n \"type\": \"x\" }";
    let mut call = request("POST", "/api/webhooks/stripe", body);
    call.headers_mut().insert("stripe-signature", http::HeaderValue::from_static("t=1,v1=a,v0=b"));
    let seen = gateway.send(call).await.json();
    assert_eq!((&seen["target"], &seen["body"]), (&"/webhooks/stripe".into(), &body.into()), "{seen}");
    assert_eq!(echoed(&seen, "stripe-signature"), ["t=1,v1=a,v0=b"]);
    for path in ["/api/webhooks", "/api/webhooks/stripes", "/api/webhooks/endpoints"] {
        assert_eq!(gateway.get(path).await.status(), 404, "{path}");
    }
}

#[tokio::test]
async fn a_provider_that_calls_is_not_counted_with_others() {
    let echo = Upstream::echo().await;
    let mut settings = config(echo.addr);
    settings.rate_limit.enabled = true;
    settings.rate_limit.requests = NonZeroU32::MIN;
    settings.rate_limit.burst = NonZeroU32::MIN;
    let gateway = Running::start(settings).await;
    for _ in 0..50 {
        assert_eq!(gateway.send(request("POST", "/api/webhooks/stripe", "{}")).await.status(), 200);
    }
    assert_eq!(gateway.get("/api/payments").await.status(), 200, "the budget of others is untouched");
    gateway.get("/api/payments").await.refused(429, "rate_limited");
}
