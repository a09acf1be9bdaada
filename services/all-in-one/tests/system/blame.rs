//! One caller's trouble stays that caller's: whoever asks again and again, or sends what cannot be read, shuts nobody out.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper_util::rt::{TokioExecutor, TokioIo};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::shop::{Answer, Shop};

/// Settings of a shop by default, but for the rate: the situations come from one client address.
async fn shop() -> Shop {
    Shop::embedded().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_customer_whose_payment_is_not_settled_may_ask_at_will() {
    // The provider takes two seconds, and has them; nobody else settles the payment meanwhile.
    let shop = Shop::embedded_with(|config| {
        config.payment.provider.timeout = shop_config::Duration::secs(20);
        config.payment.recovery.settle_after = shop_config::Duration::secs(120);
    })
    .await;
    let product = shop.product("Sofa", "20.00", 9).await;
    shop.add("slow", product, 1).await;
    let payment = shop.checkout("slow").await;
    let path = format!("/api/payments/{}/process", payment["id"].as_str().expect("an id"));
    let ask = || shop.keyed(&path, "slow-1", json!({"payment_token": "tok_slow"}));
    // The customer leaves, and asks again and again.
    let _ = tokio::time::timeout(Duration::from_millis(300), ask()).await;
    let (mut heard, mut unsettled, mut ticks) = (Vec::new(), 0, tokio::time::interval(Duration::from_millis(20)));
    loop {
        ticks.tick().await;
        let answer = ask().await;
        let other = shop.call(Method::GET, "/api/payments?user_id=other", Value::Null).await;
        assert_eq!(other.status, 200, "after {heard:?}: {other:?}");
        if answer.status == 200 {
            break assert_eq!(answer.json["status"], "completed");
        }
        assert_eq!(answer.status, 409, "after {heard:?}: {answer:?}");
        // The first request goes on without its customer, and has the key as long.
        assert_eq!(answer.code(), "idempotency_in_flight", "{answer:?}");
        assert!(answer.header("retry-after").is_some(), "{answer:?}");
        let unkeyed = shop.process(&payment, "tok_slow").await;
        if unkeyed.json["payment_status"] != "completed" {
            assert_eq!((unkeyed.status, unkeyed.code()), (409, "payment_unsettled"), "{unkeyed:?}");
            assert!(unkeyed.header("retry-after").is_some(), "{unkeyed:?}");
            unsettled += 1;
        }
        heard.push(answer.code().to_owned());
        assert!(heard.len() < 2000, "the provider answers in the end");
    }
    assert!(unsettled >= 5 && heard.len() >= 5, "five in a row open a breaker: {unsettled}, {heard:?}");
    shop.stop().await;
}

/// A call over HTTP/2 of these bytes; its `grpc-status`, wherever it is, and what else was said.
async fn grpc(shop: &Shop, path: &str, headers: &[(&str, &str)], body: Bytes) -> (Option<String>, String) {
    let addr = shop.at.gateway.expect("a gateway");
    let stream = TcpStream::connect(addr).await.expect("connects");
    let shaken = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
    let (mut sender, connection) = shaken.expect("shakes hands");
    tokio::spawn(connection);
    let mut request = Request::post(format!("http://{addr}{path}")).header("te", "trailers");
    if !headers.iter().any(|(name, _)| *name == "content-type") {
        request = request.header("content-type", "application/grpc");
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = sender.send_request(request.body(Full::new(body)).expect("a request")).await.expect("an answer");
    let (head, body) = answer.into_parts();
    let trailers = body.collect().await.ok().and_then(|body| body.trailers().cloned()).unwrap_or_default();
    let status = head.headers.get("grpc-status").or_else(|| trailers.get("grpc-status"));
    let status = status.map(|status| status.to_str().expect("text").to_owned());
    assert!(!head.headers.contains_key("x-fault-scope") && !trailers.contains_key("x-fault-scope"), "{head:?}");
    (status, format!("{head:?} {trailers:?}"))
}

const GET_PRODUCT: &str = "/shop.product.v1.ProductService/GetProduct";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_cannot_be_read_is_its_callers_fault_however_often_it_comes() {
    let shop = shop().await;
    let product = shop.product("Bell", "3.00", 9).await;
    let whole = |id: i64| Bytes::from(vec![0, 0, 0, 0, 2, 8, u8::try_from(id).expect("small")]);
    let large = {
        let mut large = vec![0, 0, 0x60, 0, 0];
        large.resize(0x60_0005, b'x');
        Bytes::from(large)
    };
    let plain: &[(&str, &str)] = &[];
    let forms: [Form; 14] = [
        ("no field of protobuf", plain, Bytes::from_static(&[0, 0, 0, 0, 2, 0xff, 0xff]), &["3"]),
        ("no message", plain, Bytes::new(), &["3"]),
        ("half a head", plain, Bytes::from_static(&[0, 0, 0]), &["3"]),
        ("half a message", plain, Bytes::from_static(&[0, 0, 0, 0, 9, 8]), &["3"]),
        ("compressed, and nobody said how", plain, Bytes::from_static(&[1, 0, 0, 0, 2, 8, 1]), &["3"]),
        ("a flag that is none", plain, Bytes::from_static(&[7, 0, 0, 0, 2, 8, 1]), &["3"]),
        (
            "a second message that is none",
            plain,
            Bytes::from_static(&[0, 0, 0, 0, 2, 8, 1, 0, 0, 0, 0, 1, 0xff]),
            &["3"],
        ),
        ("two messages", plain, Bytes::from_static(&[0, 0, 0, 0, 2, 8, 1, 0, 0, 0, 0, 2, 8, 1]), &["3"]),
        ("too large", plain, large, &["8"]),
        ("JSON", &[("content-type", "application/grpc+json")], Bytes::from_static(b"\0\0\0\0\x09{\"id\":12}"), &["3"]),
        ("an encoding nobody knows", &[("grpc-encoding", "tea")], whole(product), &["12"]),
        ("a timeout that is none", &[("grpc-timeout", "soon")], whole(product), &["3"]),
        ("metadata that is not base64", &[("x-tea-bin", "%%%")], whole(product), &["0", "3"]),
        ("a method that is none", &[("x", "y")], whole(product), &["0", "3"]),
    ];
    for (what, headers, body, expected) in forms {
        for _ in 0..6 {
            let (status, said) = grpc(&shop, GET_PRODUCT, headers, body.clone()).await;
            assert!(status.as_deref().is_some_and(|status| expected.contains(&status)), "{what}: {said}");
            assert!(!said.contains("breaker_open"), "{what}: {said}");
        }
        let (status, said) = grpc(&shop, GET_PRODUCT, plain, whole(product)).await;
        assert_eq!(status.as_deref(), Some("0"), "others are served after {what}: {said}");
    }
    let garbage = Bytes::from_static(&[0, 0, 0, 0, 2, 0xff, 0xff]);
    for _ in 0..50 {
        grpc(&shop, GET_PRODUCT, plain, garbage.clone()).await;
    }
    assert_eq!(grpc(&shop, GET_PRODUCT, plain, whole(product)).await.0.as_deref(), Some("0"));
    shop.stop().await;
}

/// What is sent: its name, headers and bytes; and the statuses it may get.
type Form<'a> = (&'a str, &'a [(&'a str, &'a str)], Bytes, &'a [&'a str]);

/// One request with this head over HTTP/1.1; everything that comes back.
async fn raw(shop: &Shop, request: String) -> String {
    let mut client = TcpStream::connect(shop.at.gateway.expect("a gateway")).await.expect("connects");
    client.write_all(request.as_bytes()).await.expect("writes");
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.expect("reads");
    answer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_that_the_gateway_takes_its_services_take_too() {
    let shop = shop().await;
    let addr = shop.at.gateway.expect("a gateway");
    for count in 90..=101 {
        // `Host` and `Connection` are lines too.
        let more: Vec<_> = (0..count - 2).map(|number| format!("x-{number}: 1\r\n")).collect();
        let more = more.concat();
        let answer =
            raw(&shop, format!("GET /api/products HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{more}\r\n")).await;
        let expected = if count <= 100 { "HTTP/1.1 200 " } else { "HTTP/1.1 431 " };
        assert!(answer.starts_with(expected), "{count}: {answer}");
        assert_eq!(answer.contains("x-gateway-reason: head_too_large"), count > 100, "{count}: {answer}");

        let stream = TcpStream::connect(addr).await.expect("connects");
        let shaken = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
        let (mut sender, connection) = shaken.expect("shakes hands");
        tokio::spawn(connection);
        let mut request = Request::get(format!("http://{addr}/api/products"));
        for number in 0..count {
            request = request.header(format!("x-{number}"), "1");
        }
        let answer = sender.send_request(request.body(Full::<Bytes>::default()).expect("a request")).await;
        let status = answer.expect("an answer").status().as_u16();
        assert_eq!(status, if count <= 100 { 200 } else { 431 }, "{count} over HTTP/2");
    }
    // As many bytes as the gateway takes, and a host as long as it takes: backends get it three times.
    let host = format!("{}.example", "a".repeat(252));
    let line = format!("x: {}\r\n", "y".repeat(32 * 1024 - host.len() - 80));
    let answer =
        raw(&shop, format!("GET /api/products HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n{line}\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    shop.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_problem_names_what_the_client_asked_for() {
    let shop = shop().await;
    let missing = |answer: &Answer| answer.json["instance"].clone();
    let answer = shop.call(Method::GET, "/api/products/999999", Value::Null).await;
    assert_eq!((answer.status, missing(&answer)), (404, json!("/api/products/999999")));
    let answer = shop.call(Method::GET, "/api/products/1/nowhere", Value::Null).await;
    assert_eq!((answer.status, missing(&answer)), (404, json!("/api/products/1/nowhere")));
    assert_eq!(answer.json["detail"], "nothing is at /api/products/1/nowhere");
    // The gateway says what it cut off, not the client.
    let evil = "GET /api/products/999999 HTTP/1.1\r\nhost: a\r\nconnection: close\r\nx-forwarded-prefix: /evil\r\n\r\n";
    let answer = raw(&shop, evil.to_owned()).await;
    assert!(answer.contains(r#""instance":"/api/products/999999""#), "{answer}");
    let direct = shop_testing::Api::new(shop.at.product.expect("a product service"));
    let (_, problem) = direct.get("/products/999999").await;
    assert_eq!(problem["instance"], "/products/999999");
    shop.stop().await;
}
