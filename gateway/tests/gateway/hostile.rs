//! Hostile clients: whatever they send, the gateway answers cleanly or closes, and lives on.

use proptest::prelude::*;
use proptest::test_runner::{Config as Trials, TestRunner};

use crate::support::{Running, Upstream, config};

#[tokio::test]
async fn methods_that_are_not_forwarded_are_refused() {
    let upstream = Upstream::echo().await;
    let gateway = Running::before(upstream.addr).await;
    for request in ["CONNECT a:80 HTTP/1.1\r\nhost: a:80\r\n\r\n", "TRACE /api/products HTTP/1.1\r\nhost: a\r\n\r\n"] {
        let answer = gateway.raw(request).await;
        assert!(answer.starts_with("HTTP/1.1 405 ") && answer.contains("method_refused"), "{request}: {answer}");
    }
    assert_eq!(upstream.requests.load(std::sync::atomic::Ordering::SeqCst), 0);
}

/// Bytes that look like a request in places, with any one place broken.
fn requests() -> impl Strategy<Value = Vec<u8>> {
    let method = prop_oneof!["GET|POST|PUT|HEAD|OPTIONS|DELETE", "[A-Z!#]{1,12}", any::<String>()];
    let path = prop_oneof![
        "/api/(products|baskets|users)(/[a-z0-9%./\\\\;?&=~-]{0,20}){0,4}",
        "/(health|metrics|admin)[/a-z%.]{0,20}",
        any::<String>(),
    ];
    let name = prop_oneof![
        "host|connection|te|transfer-encoding|content-length|expect|upgrade|forwarded|x-forwarded-for|x-request-id|traceparent|cookie",
        "[A-Za-z0-9_-]{1,12}",
        any::<String>(),
    ];
    let value = prop_oneof!["a|close|chunked|0|3|trailers|100-continue|h2c|[0-9a-f]{1,40}", any::<String>()];
    let header = (name, value).prop_map(|(name, value)| format!("{name}: {value}\r\n"));
    let body = prop_oneof![Just(Vec::new()), proptest::collection::vec(any::<u8>(), 0..64)];
    (method, path, proptest::collection::vec(header, 0..6), body).prop_map(|(method, path, headers, body)| {
        let head = format!("{method} {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{}\r\n", headers.concat());
        [head.into_bytes(), body].concat()
    })
}

#[test]
fn no_input_makes_the_gateway_fail() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let (_upstream, gateway) = runtime.block_on(async {
        let upstream = Upstream::echo().await;
        let mut settings = config(upstream.addr);
        // Requests that wait for more of themselves are given up on soon.
        settings.http.header_timeout = shop_config::Duration::millis(100);
        settings.limits.body_idle = shop_config::Duration::millis(100);
        let gateway = Running::start(settings).await;
        (upstream, gateway)
    });
    let trials = Trials { cases: 300, failure_persistence: None, ..Trials::default() };
    let check = TestRunner::new(trials).run(&requests(), |bytes| {
        let answer = runtime.block_on(gateway.raw(&bytes));
        prop_assert!(answer.is_empty() || answer.starts_with("HTTP/1."), "{answer}");
        for line in answer.lines().filter(|line| line.starts_with("HTTP/1.")) {
            prop_assert!(!line.contains(" 5"), "{line} for {}", String::from_utf8_lossy(&bytes));
        }
        prop_assert!(!answer.to_ascii_lowercase().contains("<html"));
        Ok(())
    });
    check.expect("no counterexample");
    let alive = runtime.block_on(gateway.get("/health/live"));
    assert_eq!(alive.status(), 200);
}
