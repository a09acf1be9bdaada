//! Informational answers (1xx) of backends: handed on where HTTP has a place for them, and bounded.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use shop_testing::eventually;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{Running, Upstream, backends, config, get, read_head};

const HINT: &str = "HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\nconnection: x-hop\r\nx-hop: 1\r\n\r\n";
const GOOD: &str = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ngood";

/// Says `before` at once and the answer when the test says so.
async fn hinting(before: String) -> (Upstream, tokio::sync::watch::Sender<bool>) {
    let (go, wait) = tokio::sync::watch::channel(false);
    let upstream = Upstream::raw(move |mut stream| {
        let (before, mut wait) = (before.clone(), wait.clone());
        async move {
            while !read_head(&mut stream).await.is_empty() {
                let _ = stream.write_all(before.as_bytes()).await;
                let _ = wait.wait_for(|go| *go).await;
                let _ = stream.write_all(GOOD.as_bytes()).await;
            }
        }
    })
    .await;
    (upstream, go)
}

#[tokio::test]
async fn hints_reach_the_client_before_the_answer_is_there() {
    let (upstream, go) = hinting(format!("HTTP/1.1 100 Continue\r\n\r\n{HINT}HTTP/1.1 102 Processing\r\n\r\n")).await;
    let gateway = Running::before(upstream.addr).await;
    let mut client = TcpStream::connect(gateway.addr).await.expect("connects");
    let two = "GET /api/products HTTP/1.1\r\nhost: a\r\n\r\nGET /api/products HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    client.write_all(two.as_bytes()).await.expect("writes");
    let hints = "HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n";
    let mut early = vec![0; hints.len()];
    let read = tokio::time::timeout(Duration::from_secs(10), client.read_exact(&mut early)).await;
    assert!(matches!(read, Ok(Ok(_))), "no hint before the answer");
    assert_eq!(String::from_utf8_lossy(&early), hints);
    go.send_replace(true);
    let mut rest = String::new();
    client.read_to_string(&mut rest).await.expect("reads");
    let parts: Vec<_> = rest.split("HTTP/1.1 ").map(|part| part.split(' ').next().unwrap_or_default()).collect();
    assert_eq!(parts, ["", "200", "103", "102", "200"], "{rest}");
    assert!(rest.contains(&format!("good{hints}HTTP/1.1 200 ")), "{rest}");
}

#[tokio::test]
async fn hints_reach_the_client_from_the_connection_that_a_closed_one_is_replaced_by() {
    let connections = AtomicUsize::new(0);
    let upstream = Upstream::raw(move |mut stream| {
        let is_first = connections.fetch_add(1, SeqCst) == 0;
        async move {
            read_head(&mut stream).await;
            if is_first {
                let _ = stream.write_all(GOOD.as_bytes()).await;
                // Kept open until the next request is there, and closed instead of an answer.
                read_head(&mut stream).await;
                return;
            }
            let _ = stream.write_all(format!("{HINT}{GOOD}").as_bytes()).await;
        }
    })
    .await;
    let mut settings = config(upstream.addr);
    settings.workers = 1;
    let gateway = Running::start(settings).await;
    assert_eq!(gateway.get("/api/products").await.status(), 200);
    let told = gateway.raw("GET /api/products HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
    assert!(told.starts_with("HTTP/1.1 103 ") && told.contains("HTTP/1.1 200 "), "{told}");
    assert_eq!(upstream.connections.load(SeqCst), 2);
}

#[tokio::test]
async fn clients_without_a_place_for_hints_get_the_answer_alone() {
    let (upstream, go) = hinting(HINT.to_owned()).await;
    go.send_replace(true);
    let gateway = Running::before(upstream.addr).await;
    let old = gateway.raw("GET /api/products HTTP/1.0\r\n\r\n").await;
    assert!(old.starts_with("HTTP/1.0 200 ") && old.ends_with("good") && !old.contains("103 Early Hints"), "{old}");
    let stream = TcpStream::connect(gateway.addr).await.expect("connects");
    let executor = hyper_util::rt::TokioExecutor::new();
    let io = hyper_util::rt::TokioIo::new(stream);
    let (mut sender, connection) = hyper::client::conn::http2::handshake(executor, io).await.expect("shakes hands");
    tokio::spawn(connection);
    let mut request = get("/api/products");
    *request.uri_mut() = format!("http://{}/api/products", gateway.addr).parse().expect("a target");
    request.headers_mut().remove("host");
    let answer = sender.send_request(request).await.expect("an answer");
    assert_eq!(answer.status(), 200);
}

#[tokio::test]
async fn a_client_that_takes_nothing_costs_little_memory_and_gets_its_answers_in_order() {
    let large = "x".repeat(4 << 20);
    let upstream = Upstream::raw(move |mut stream| {
        let answer = format!("{}HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{large}", HINT.repeat(50), large.len());
        async move {
            while !read_head(&mut stream).await.is_empty() {
                if stream.write_all(answer.as_bytes()).await.is_err() {
                    return;
                }
            }
        }
    })
    .await;
    let gateway = Running::before(upstream.addr).await;
    let mut client = TcpStream::connect(gateway.addr).await.expect("connects");
    let one = "GET /api/products HTTP/1.1\r\nhost: a\r\n";
    let three = format!("{one}\r\n{one}\r\n{one}connection: close\r\n\r\n");
    client.write_all(three.as_bytes()).await.expect("writes");
    // The answers are many times larger than what fits between the two.
    eventually!(upstream.connections.load(SeqCst) == 1);
    let mut text = String::new();
    let read = tokio::time::timeout(Duration::from_secs(30), client.read_to_string(&mut text)).await;
    read.expect("it ends").expect("reads");
    // Between the bodies there are whole heads and nothing else.
    let bodies = text.split("\r\n\r\n").filter(|part| part.starts_with("xx")).count();
    assert_eq!(bodies, 3);
    for body in text.split("\r\n\r\n").filter_map(|part| part.strip_prefix("xx")) {
        let (run, rest) = body.split_at(body.find(|c| c != 'x').unwrap_or(body.len()));
        assert!(
            run.len() == (4 << 20) - 2 && (rest.is_empty() || rest.starts_with("HTTP/1.1 ")),
            "{} {rest:?}",
            run.len()
        );
    }
}

#[tokio::test]
async fn an_endless_storm_of_them_ends_the_call_and_hurts_nobody_else() {
    let storm = Upstream::raw(|mut stream| async move {
        read_head(&mut stream).await;
        let piece = HINT.repeat(1000);
        while stream.write_all(piece.as_bytes()).await.is_ok() {}
    })
    .await;
    let calm = Upstream::echo().await;
    let mut settings = config(storm.addr);
    settings.workers = 1;
    settings.services["basket"].urls = backends(&[calm.addr]);
    let gateway = Running::start(settings).await;
    let others = async {
        for _ in 0..20 {
            let answer = tokio::time::timeout(Duration::from_secs(10), gateway.get("/api/baskets/u1")).await;
            assert_eq!(answer.expect("in time").status(), 200);
        }
    };
    let old = "GET /api/products HTTP/1.0\r\n\r\n";
    let (stormy, ()) = tokio::join!(gateway.raw(old), others);
    assert!(stormy.starts_with("HTTP/1.0 502 ") && stormy.contains("upstream_invalid"), "{stormy}");
    let told = gateway.raw("GET /api/products HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
    assert!(told.starts_with("HTTP/1.1 103 ") && told.contains("HTTP/1.1 502 "), "{}", told.len());
    assert_eq!(told.matches("HTTP/1.1 103 ").count(), 100);
    eventually!(gateway.metric(r#"gateway_active_requests{service="product"}"#) == Some(0.0));
}
