//! Hostile clients: whatever they send, the gateway answers cleanly or closes, and lives on.

use proptest::prelude::*;
use proptest::test_runner::{Config as Trials, TestRunner};

use crate::support::{Running, Upstream, config};

#[tokio::test]
async fn ambiguous_requests_are_refused_or_forwarded_in_one_form() {
    let upstream = Upstream::echo().await;
    let gateway = Running::before(upstream.addr).await;
    let refused = [
        ("two hosts", "GET /api/products HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n"),
        ("no host", "GET /api/products HTTP/1.1\r\n\r\n"),
        ("bad host", "GET /api/products HTTP/1.1\r\nhost: a b\r\n\r\n"),
        ("target and host disagree", "GET http://b/api/products HTTP/1.1\r\nhost: a\r\n\r\n"),
        ("two lengths", "POST /api/products HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab"),
        ("length list", "POST /api/products HTTP/1.1\r\nhost: a\r\ncontent-length: 1, 1\r\n\r\na"),
        ("signed length", "POST /api/products HTTP/1.1\r\nhost: a\r\ncontent-length: +1\r\n\r\na"),
        ("negative length", "POST /api/products HTTP/1.1\r\nhost: a\r\ncontent-length: -1\r\n\r\n"),
        ("hex length", "POST /api/products HTTP/1.1\r\nhost: a\r\ncontent-length: 0x1\r\n\r\na"),
        ("other coding", "POST /api/products HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip\r\n\r\n"),
        ("coding after chunked", "POST /api/products HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked, gzip\r\n\r\n"),
        ("vertical tab", "POST /api/products HTTP/1.1\r\nhost: a\r\ntransfer-encoding: \x0bchunked\r\n\r\n0\r\n\r\n"),
        ("1.0 with chunked", "POST /api/products HTTP/1.0\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
        ("folded line", "GET /api/products HTTP/1.1\r\nhost: a\r\nx: 1\r\n 2\r\n\r\n"),
        ("space before colon", "GET /api/products HTTP/1.1\r\nhost : a\r\n\r\n"),
        ("nul in value", "GET /api/products HTTP/1.1\r\nhost: a\r\nx: \0\r\n\r\n"),
        ("bare cr in value", "GET /api/products HTTP/1.1\r\nhost: a\r\nx: 1\r2\r\n\r\n"),
        ("no version", "GET /api/products\r\n\r\n"),
        ("space in target", "GET /api/pro ducts HTTP/1.1\r\nhost: a\r\n\r\n"),
        ("connect", "CONNECT a:80 HTTP/1.1\r\nhost: a:80\r\n\r\n"),
        ("trace", "TRACE /api/products HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"),
        ("bad chunk size", "POST /api/products HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nx\r\n\r\n"),
        (
            "huge chunk size",
            "POST /api/products HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
        ),
        ("garbage", "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\r\n\r\n"),
    ];
    for (name, bytes) in refused {
        // Where the connection would stay open, an end of input closes it.
        let bytes = bytes.replacen("host: a\r\n", "host: a\r\nconnection: close\r\n", 1);
        let answer = gateway.raw(bytes).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{name}: {answer}");
        assert!(!answer.to_ascii_lowercase().contains("<html"), "{name}: {answer}");
    }
    let both = "POST /api/products HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 3\r\n\
                transfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\nGET /api/admin HTTP/1.1\r\nhost: a\r\n\r\n";
    let answer = gateway.raw(both).await;
    let one_form = answer.starts_with("HTTP/1.1 200") && answer.contains(r#""body":"x""#);
    assert!(answer.starts_with("HTTP/1.1 400") || one_form, "{answer}");
    assert!(!answer.contains(r#""content-length","3""#) && answer.matches("HTTP/1.1").count() == 1, "{answer}");
}

#[tokio::test]
async fn a_head_over_the_limit_is_refused_and_one_below_it_is_not() {
    let upstream = Upstream::echo().await;
    let gateway = Running::before(upstream.addr).await;
    let head = |size: usize| {
        format!("GET /api/products HTTP/1.1\r\nhost: a\r\nconnection: close\r\nx: {}\r\n\r\n", "x".repeat(size))
    };
    assert!(gateway.raw(head(31 * 1024)).await.starts_with("HTTP/1.1 200"));
    assert!(gateway.raw(head(33 * 1024)).await.starts_with("HTTP/1.1 431"));
    assert!(gateway.raw(head(500 * 1024)).await.starts_with("HTTP/1.1 431"));
    let many = "y: 1\r\n".repeat(200);
    let answer = gateway.raw(format!("GET /api/products HTTP/1.1\r\nhost: a\r\n{many}\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
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
