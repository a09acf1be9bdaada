//! Ends: everything accepted is finished, readiness says so, and the port is free afterwards.

use std::time::Duration;

use shop_gateway::Gateway;
use shop_runtime::Shutdown;
use shop_testing::eventually;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::watch;

use crate::frames::GOAWAY;
use crate::peer::{HEADERS, PING, Peer, frame};
use crate::support::{Client, Running, Upstream, config, get, nobody, read_head};

/// Answers when it is told to.
async fn on_command() -> (Upstream, watch::Sender<bool>) {
    let (tell, told) = watch::channel(false);
    let upstream = Upstream::raw(move |mut stream| {
        let mut told = told.clone();
        async move {
            read_head(&mut stream).await;
            told.wait_for(|told| *told).await.expect("the test runs");
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
        }
    })
    .await;
    (upstream, tell)
}

#[tokio::test]
async fn a_request_in_flight_is_finished_while_readiness_says_503() {
    let (upstream, tell) = on_command().await;
    let gateway = Running::before(upstream.addr).await;
    let mut client = Client::connect(gateway.addr).await;
    let mut idle = Client::connect(gateway.addr).await;
    assert_eq!(idle.send(get("/health/ready")).await.expect("an answer").status(), 200);
    let running = tokio::spawn(async move { client.send(get("/api/products")).await });
    eventually!(upstream.connections.load(std::sync::atomic::Ordering::SeqCst) == 1);

    gateway.shutdown.soft.cancel();
    let ready = eventually!(Some(gateway.get("/health/ready").await).filter(|ready| ready.status() == 503));
    assert_eq!(ready.json()["status"], "draining");
    eventually!(idle.send(get("/health/live")).await.is_err());
    gateway.get("/api/products").await.refused(503, "draining");
    assert!(!gateway.ended.is_finished(), "one request is still running");

    tell.send(true).expect("the upstream waits");
    let reply = running.await.expect("no panic").expect("an answer");
    assert_eq!((reply.status(), &reply.body[..]), (200, &b"ok"[..]));
    let addr = gateway.addr;
    gateway.ended.await.expect("no panic").expect("ends well");
    assert!(tokio::net::TcpStream::connect(addr).await.is_err(), "the port is free");
}

#[tokio::test]
async fn everything_is_still_served_during_the_drain_delay() {
    let upstream = Upstream::echo().await;
    let mut settings = config(upstream.addr);
    settings.drain_delay = shop_config::Duration::secs(2);
    let gateway = Running::start(settings).await;
    let mut kept = Client::connect(gateway.addr).await;
    assert_eq!(kept.send(get("/api/products")).await.expect("an answer").header("connection"), None);
    gateway.shutdown.soft.cancel();
    eventually!(gateway.get("/health/ready").await.status() == 503);
    assert_eq!(gateway.get("/api/products").await.status(), 200);
    let last = kept.send(get("/api/products")).await.expect("an answer");
    assert_eq!((last.status(), last.header("connection")), (200, Some("close")), "it leaves with an answer");
    gateway.ended.await.expect("no panic").expect("ends well");
}

#[tokio::test]
async fn who_comes_over_http2_during_the_drain_delay_is_told_with_its_first_answer() {
    let upstream = Upstream::echo().await;
    let mut settings = config(upstream.addr);
    settings.drain_delay = shop_config::Duration::secs(10);
    let gateway = Running::start(settings).await;
    gateway.shutdown.soft.cancel();
    eventually!(gateway.get("/health/ready").await.status() == 503);
    let mut peer = Peer::client(TcpStream::connect(gateway.addr).await.expect("connects"), &[]).await;
    // All that it had to say before has come when it answers this.
    peer.send(frame(PING, 0, 0, &[7; 8])).await;
    loop {
        match peer.frame().await.expect("a frame") {
            (PING, 1, ..) => break,
            (kind, ..) => assert_ne!(kind, GOAWAY, "before it has asked"),
        }
    }
    peer.ask(1, "/api/products").await;
    let (mut is_answered, mut is_told) = (false, false);
    while !(is_answered && is_told) {
        match peer.frame().await.expect("a frame") {
            (HEADERS, _, 1, payload) => is_answered = payload[0] == 0x88,
            (GOAWAY, ..) => is_told = true,
            _ => {}
        }
    }
    gateway.shutdown.hard.cancel();
    gateway.ended.await.expect("no panic").expect("ends well");
}

#[tokio::test]
async fn the_hard_stop_ends_what_is_still_running() {
    let (upstream, _tell) = on_command().await;
    let gateway = Running::before(upstream.addr).await;
    let mut client = Client::connect(gateway.addr).await;
    let running = tokio::spawn(async move { client.send(get("/api/products")).await });
    eventually!(upstream.connections.load(std::sync::atomic::Ordering::SeqCst) == 1);
    gateway.shutdown.hard.cancel();
    let ended = tokio::time::timeout(Duration::from_secs(10), gateway.ended).await;
    ended.expect("in time").expect("no panic").expect("ends well");
    assert!(running.await.expect("no panic").is_err());
}

#[tokio::test]
async fn a_port_that_is_taken_is_an_error_that_names_it() {
    let gateway = Running::before(nobody()).await;
    let mut settings = config(nobody());
    settings.http.port = gateway.addr.port();
    let refused = async |settings| {
        let built = Gateway::build(settings, shop_telemetry::Metrics::new("gateway"), &Shutdown::new()).await;
        built.err().expect("refused").to_string()
    };
    let message = refused(settings.clone()).await;
    assert!(message.contains(&gateway.addr.port().to_string()) && message.contains("http.port (PORT)"), "{message}");
    (settings.http.port, settings.admin.port) = (0, gateway.operators.port());
    let message = refused(settings).await;
    assert!(message.contains("admin.port (ADMIN_PORT)"), "{message}");
}
