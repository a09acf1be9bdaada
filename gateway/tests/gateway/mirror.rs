//! Copies of requests for another service, which the requests themselves never notice.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use bytes::Bytes;
use http::Response;
use http_body_util::{BodyExt as _, Full};
use parking_lot::Mutex;
use serde_json::{Value, json};
use shop_gateway::Config;
use shop_testing::eventually;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use crate::routes::{bare, problems};
use crate::support::{Client, Running, Upstream, echoed, get, nobody, read_head, request, service};

fn settings(one: std::net::SocketAddr, shadow: std::net::SocketAddr, mirror: &str) -> Config {
    let route = format!("path = '/api/*'\nrewrite = '/*'\nto = 'one'\nmirror = {mirror}");
    bare(&[("one", service(&[one])), ("shadow", service(&[shadow]))], &[("all", &route)])
}

/// Notes what it is asked, and answers with something that no client may see.
async fn noting() -> (Upstream, Arc<Mutex<Vec<Value>>>) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let notes = Arc::clone(&seen);
    let upstream = Upstream::serving(move |request| {
        let notes = Arc::clone(&notes);
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.expect("is whole").to_bytes();
            let pair = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
                json!([name.as_str(), String::from_utf8_lossy(value.as_bytes())])
            };
            notes.lock().push(json!({
                "method": head.method.as_str(),
                "target": head.uri.to_string(),
                "headers": head.headers.iter().map(pair).collect::<Value>(),
                "body": String::from_utf8_lossy(&body),
            }));
            Response::builder().status(500).body(Full::new(Bytes::from_static(b"shadow"))).expect("a response")
        }
    })
    .await;
    (upstream, seen)
}

fn noted(seen: &Mutex<Vec<Value>>) -> usize {
    seen.lock().len()
}

fn count(gateway: &Running, result: &str) -> Option<f64> {
    gateway.metric(&format!("gateway_mirrored_total{{result=\"{result}\",service=\"shadow\"}}"))
}

#[tokio::test]
async fn a_copy_is_the_same_request_under_another_host_and_its_answer_is_nobodys() {
    let one = Upstream::echo().await;
    let (shadow, seen) = noting().await;
    let gateway = Running::start(settings(one.addr, shadow.addr, "{ service = 'shadow' }")).await;
    let asked = request("PUT", "/api/items/7?a=b", "some text");
    let reply = gateway.send(asked).await;
    assert_eq!(reply.status(), 200);
    let original = reply.json();
    eventually!(noted(&seen) == 1);
    let copy = seen.lock().remove(0);
    for what in ["method", "target", "body"] {
        assert_eq!(copy[what], original[what], "{what}");
    }
    assert_eq!(
        (echoed(&original, "host"), echoed(&copy, "host")),
        (vec!["gw.test".into()], vec!["gw.test-shadow".into()])
    );
    for name in ["x-request-id", "x-forwarded-for", "x-forwarded-host", "forwarded", "content-length"] {
        assert_eq!(echoed(&copy, name), echoed(&original, name), "{name}");
    }
    // A body of unknown length, byte by byte.
    let mut stream = TcpStream::connect(gateway.addr).await.expect("connects");
    let head = "POST /api/chunks HTTP/1.1\r\nhost: a:80\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).await.expect("writes");
    for byte in b"piece by piece" {
        stream.write_all(&[b'1', b'\r', b'\n', *byte, b'\r', b'\n']).await.expect("writes");
    }
    stream.write_all(b"0\r\n\r\n").await.expect("writes");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    eventually!(noted(&seen) == 1);
    let copy = seen.lock().remove(0);
    assert_eq!((&copy["body"], echoed(&copy, "host")), (&json!("piece by piece"), vec!["a-shadow:80".into()]));
    assert_eq!((echoed(&copy, "content-length"), echoed(&copy, "transfer-encoding")), (vec!["14".into()], vec![]));
    gateway.get("/api/plain").await;
    eventually!(count(&gateway, "sent") == Some(3.0));
    assert_eq!(seen.lock()[0]["target"], "/plain");
    assert_eq!(one.requests.load(SeqCst), 3);
}

#[tokio::test]
async fn a_mirror_that_hangs_changes_nothing_and_no_more_than_some_wait_for_it() {
    let one = Upstream::echo().await;
    let most = Arc::new(AtomicUsize::new(0));
    let (release, held) = (Arc::new(Semaphore::new(0)), Arc::clone(&most));
    let waits = Arc::clone(&release);
    let shadow = Upstream::raw(move |mut stream| {
        let (held, waits) = (Arc::clone(&held), Arc::clone(&waits));
        async move {
            read_head(&mut stream).await;
            held.fetch_add(1, SeqCst);
            let _ = waits.acquire().await.expect("is open");
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await;
        }
    })
    .await;
    let gateway = Running::start(settings(one.addr, shadow.addr, "{ service = 'shadow' }")).await;
    let mut client = Client::connect(gateway.addr).await;
    for place in 0..100 {
        let reply = client.send(request("POST", "/api/x", format!("{place}"))).await.expect("an answer");
        assert_eq!((reply.status(), reply.json()["body"].clone()), (200, json!(place.to_string())));
    }
    assert_eq!(count(&gateway, "dropped"), Some(36.0));
    eventually!(most.load(SeqCst) == 64);
    assert_eq!(count(&gateway, "sent"), Some(0.0));
    release.add_permits(1000);
    eventually!(count(&gateway, "sent") == Some(64.0));
    // There is room again.
    client.send(get("/api/x")).await.expect("an answer");
    eventually!(count(&gateway, "sent") == Some(65.0));
    assert_eq!(count(&gateway, "dropped"), Some(36.0));
}

#[tokio::test]
async fn a_mirror_that_is_not_there_changes_nothing_and_large_bodies_are_not_copied() {
    let one = Upstream::echo().await;
    let gateway = Running::start(settings(one.addr, nobody(), "{ service = 'shadow' }")).await;
    assert_eq!(gateway.send(request("POST", "/api/x", "text")).await.json()["body"], "text");
    eventually!(count(&gateway, "failed") == Some(1.0));
    let (shadow, seen) = noting().await;
    let gateway = Running::start(settings(one.addr, shadow.addr, "{ service = 'shadow', body_limit = 4 }")).await;
    assert_eq!(gateway.send(request("POST", "/api/x", "12345")).await.json()["body"], "12345");
    assert_eq!(count(&gateway, "too_large"), Some(1.0));
    let mut stream = TcpStream::connect(gateway.addr).await.expect("connects");
    let chunked = "POST /api/x HTTP/1.1\r\nhost: a\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n\
                   3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n";
    stream.write_all(chunked.as_bytes()).await.expect("writes");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    assert!(answer.contains("abcdef"), "{answer}");
    eventually!(count(&gateway, "too_large") == Some(2.0));
    assert_eq!(gateway.send(request("POST", "/api/x", "1234")).await.json()["body"], "1234");
    eventually!(count(&gateway, "sent") == Some(1.0));
    assert_eq!(seen.lock()[0]["body"], "1234");
    assert_eq!(seen.lock().len(), 1);
}

#[tokio::test]
async fn a_part_of_the_requests_is_copied_and_settings_are_checked() {
    let one = Upstream::echo().await;
    let (shadow, seen) = noting().await;
    let gateway = Running::start(settings(one.addr, shadow.addr, "{ service = 'shadow', percent = 0 }")).await;
    for _ in 0..20 {
        gateway.get("/api/x").await;
    }
    let half = Running::start(settings(one.addr, shadow.addr, "{ service = 'shadow', percent = 50.0 }")).await;
    let mut client = Client::connect(half.addr).await;
    let mut asked = 0_u32;
    // Some are and some are not: by chance neither happens a hundred times in a row.
    while asked < 100 || count(&half, "sent") == Some(0.0) {
        client.send(get("/api/x")).await.expect("an answer");
        asked += 1;
    }
    assert!(count(&half, "sent") < Some(f64::from(asked)));
    assert_eq!(count(&gateway, "sent"), Some(0.0));
    assert!(seen.lock().len() < usize::try_from(asked).expect("few"));
    for (mirror, expected) in [
        ("{ service = 'three' }", "mirror.service"),
        ("{ service = 'two', body_limit = 2000000 }", "mirror.body_limit"),
    ] {
        let said = problems(&[("x", &format!("path = '/*'\nto = 'one'\nmirror = {mirror}"))]);
        assert!(said.contains(&format!("routes.x.{expected}")), "{said}");
    }
    for (route, expected) in [
        ("path = '/*'\nrespond = { body = 'x' }\nmirror = { service = 'two' }", "mirror"),
        ("grpc = 'a.B'\nto = 'one'\nmirror = { service = 'two' }", "mirror"),
    ] {
        let said = problems(&[("x", route)]);
        assert!(said.contains(&format!("routes.x.{expected}")), "{route}: {said}");
    }
}
