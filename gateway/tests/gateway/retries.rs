//! Calls that go out once more, and those that must not.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response};
use shop_gateway::Config;

use crate::support::{Running, Upstream, backends, config, nobody, read_head, request};

fn repeating(addrs: &[SocketAddr]) -> Config {
    let mut settings = config(addrs[0]);
    settings.services["product"].urls = backends(addrs);
    settings.load_balancer.enabled = false;
    settings.retries.enabled = true;
    settings
}

/// Answers `status` to the first `failures` requests, with further headers, then 200 with the body it got.
async fn failing(status: u16, failures: usize, header: Option<(&'static str, &'static str)>) -> Upstream {
    let seen = Arc::new(AtomicUsize::new(0));
    Upstream::serving(move |request| {
        let fails = seen.fetch_add(1, SeqCst) < failures;
        async move {
            let body = request.into_body().collect().await.expect("a body").to_bytes();
            let mut answer = Response::new(Full::new(if fails { Bytes::from_static(b"failed") } else { body }));
            if fails {
                *answer.status_mut() = http::StatusCode::from_u16(status).expect("a status");
                let header = header.into_iter();
                answer.headers_mut().extend(
                    header.map(|(name, value)| {
                        (http::HeaderName::from_static(name), http::HeaderValue::from_static(value))
                    }),
                );
            }
            answer
        }
    })
    .await
}

fn keyed(method: &str, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    let mut request = request(method, "/api/products", body);
    request.headers_mut().insert("idempotency-key", http::HeaderValue::from_static("k1"));
    request
}

fn count(upstream: &Upstream) -> usize {
    upstream.requests.load(SeqCst)
}

#[tokio::test]
async fn a_failed_call_goes_to_another_backend_first() {
    for status in [502, 503, 504] {
        let (bad, well) = (failing(status, 100, None).await, failing(status, 0, None).await);
        let gateway = Running::start(repeating(&[bad.addr, well.addr])).await;
        for method in ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"] {
            let before = (count(&bad), count(&well));
            assert_eq!(gateway.send(request(method, "/api/products", "")).await.status(), 200, "{method} {status}");
            assert_eq!((count(&bad) - before.0, count(&well) - before.1), (1, 1), "{method} {status}");
        }
        assert_eq!(gateway.metric(r#"gateway_retries_total{service="product"}"#), Some(5.0));
    }
}

#[tokio::test]
async fn the_only_backend_is_asked_again_a_moment_later() {
    let upstream = failing(503, 2, None).await;
    let gateway = Running::start(repeating(&[upstream.addr])).await;
    assert_eq!(gateway.get("/api/products").await.status(), 200);
    assert_eq!(count(&upstream), 3);
    let upstream = failing(503, 3, None).await;
    let gateway = Running::start(repeating(&[upstream.addr])).await;
    let reply = gateway.get("/api/products").await;
    assert_eq!((reply.status(), reply.header("x-gateway-reason")), (503, None), "the backend's own words");
    assert_eq!((&reply.body[..], count(&upstream)), (&b"failed"[..], 3), "two attempts more");
}

#[tokio::test]
async fn a_body_goes_out_again_when_it_is_small_and_the_call_has_a_key() {
    let (bad, well) = (failing(503, 100, None).await, failing(503, 0, None).await);
    let gateway = Running::start(repeating(&[bad.addr, well.addr])).await;
    let reply = gateway.send(keyed("POST", "an order")).await;
    assert_eq!((reply.status(), &reply.body[..]), (200, &b"an order"[..]));
    let reply = gateway.send(request("PUT", "/api/products", "x".repeat(64 * 1024))).await;
    assert_eq!((reply.status(), reply.body.len()), (200, 64 * 1024));
    let reply = gateway.raw(
        "POST /api/products HTTP/1.1\r\nhost: a\r\nconnection: close\r\nidempotency-key: k2\r\n\
         transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n",
    );
    let reply = reply.await;
    assert!(reply.starts_with("HTTP/1.1 200") && reply.ends_with("abcdef"), "{reply}");
    let before = count(&bad);
    assert_eq!(gateway.send(request("POST", "/api/products", "")).await.status(), 503, "no key");
    assert_eq!(gateway.send(request("PATCH", "/api/products", "{}")).await.status(), 503, "no key");
    assert_eq!(gateway.send(keyed("POST", "x".repeat(64 * 1024 + 1))).await.status(), 503, "too large");
    assert_eq!((count(&bad) - before, count(&well)), (3, 3));
}

#[tokio::test]
async fn a_reset_is_repeated_a_time_out_is_not() {
    let resets = Upstream::raw(|mut stream| async move {
        read_head(&mut stream).await;
    })
    .await;
    let well = failing(503, 0, None).await;
    let gateway = Running::start(repeating(&[resets.addr, well.addr])).await;
    assert_eq!(gateway.get("/api/products").await.status(), 200);
    assert_eq!((resets.connections.load(SeqCst), count(&well)), (1, 1));
    let hangs = Upstream::raw(|mut stream| async move {
        read_head(&mut stream).await;
        std::future::pending::<()>().await;
    })
    .await;
    let mut settings = repeating(&[hangs.addr, well.addr]);
    settings.upstream.first_byte_timeout = shop_config::Duration::millis(100);
    let gateway = Running::start(settings).await;
    gateway.get("/api/products").await.refused(504, "upstream_timeout");
    assert_eq!((hangs.connections.load(SeqCst), count(&well)), (1, 1));
}

#[tokio::test]
async fn a_backend_that_asks_for_time_gets_it() {
    let upstream = failing(503, 100, Some(("retry-after", "2"))).await;
    let gateway = Running::start(repeating(&[upstream.addr])).await;
    let reply = gateway.get("/api/products").await;
    assert_eq!((reply.status(), reply.header("retry-after"), count(&upstream)), (503, Some("2"), 1));
    let upstream = failing(503, 1, Some(("retry-after", "1"))).await;
    let gateway = Running::start(repeating(&[upstream.addr])).await;
    let begun = std::time::Instant::now();
    assert_eq!(gateway.get("/api/products").await.status(), 200);
    assert!(begun.elapsed().as_millis() >= 1000);
}

#[tokio::test]
async fn what_a_backend_said_is_worth_more_than_that_another_is_gone() {
    let upstream = failing(503, 100, None).await;
    let gateway = Running::start(repeating(&[upstream.addr, nobody()])).await;
    let reply = gateway.get("/api/products").await;
    assert_eq!((reply.status(), reply.header("x-gateway-reason")), (503, None));
    assert_eq!(&reply.body[..], b"failed");
}

/// The other backend is known to be ill: nobody may take it for a reason not to ask the good one again.
#[tokio::test]
async fn beside_a_backend_whose_breaker_is_open_the_good_one_is_asked_again() {
    let bad = failing(503, 100_000, None).await;
    // Fails the first call that it gets after the breaker of the other is open, and none before or after.
    let fails_next = Arc::new(AtomicUsize::new(0));
    let fails = Arc::clone(&fails_next);
    let good = Upstream::serving(move |_| {
        let fails = fails.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok();
        async move {
            let mut answer = Response::new(Full::new(Bytes::from_static(b"well")));
            if fails {
                *answer.status_mut() = http::StatusCode::SERVICE_UNAVAILABLE;
            }
            answer
        }
    })
    .await;
    let mut settings = repeating(&[bad.addr, good.addr]);
    settings.circuit_breaker.enabled = true;
    let gateway = Running::start(settings).await;
    let breaker = format!(r#"gateway_circuit_breaker_state{{backend="http://{}",service="product"}}"#, bad.addr);
    while gateway.metric(&breaker) != Some(2.0) {
        assert_eq!(gateway.get("/api/products").await.status(), 200);
    }
    let retries = || gateway.metric(r#"gateway_retries_total{service="product"}"#);
    let (calls, before) = ((count(&bad), count(&good)), retries());
    fails_next.store(1, SeqCst);
    let reply = gateway.get("/api/products").await;
    assert_eq!((reply.status(), &reply.body[..]), (200, &b"well"[..]));
    assert_eq!((count(&bad) - calls.0, count(&good) - calls.1), (0, 2), "the breaker stays respected");
    assert_eq!(retries(), before.map(|before| before + 1.0));
}

#[tokio::test]
async fn an_outage_is_not_multiplied() {
    let upstream = failing(503, 100_000, None).await;
    let gateway = Running::start(repeating(&[upstream.addr])).await;
    let calls = 300;
    let all = (0..calls).map(|_| gateway.get("/api/products"));
    let replies = futures_util::future::join_all(all).await;
    assert!(replies.iter().all(|reply| reply.status() == 503));
    // A fifth, or three a second for ten seconds: whichever is more.
    let retries = count(&upstream) - calls;
    assert!((30..=70).contains(&retries), "{retries} of {calls}");
    let left_undone = gateway.metric(r#"gateway_retry_budget_exhausted_total{service="product"}"#);
    assert!(left_undone > Some(200.0), "{left_undone:?}");
}
