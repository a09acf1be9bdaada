//! Connections that become something else: web sockets through a real library on both sides, and abuse of the way there.

use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use shop_testing::{Process, eventually, free_port};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, accept_async, connect_async};

use crate::support::{Mortal, Running, Upstream, config, read_head, request, reset};

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Sends every message back.
pub(crate) async fn echo() -> Upstream {
    Upstream::raw(|stream| async move {
        let Ok(mut socket) = accept_async(stream).await else { return };
        while let Some(Ok(message)) = socket.next().await {
            if (message.is_text() || message.is_binary()) && socket.send(message).await.is_err() {
                return;
            }
        }
    })
    .await
}

async fn open(gateway: &Running) -> Socket {
    let address = format!("ws://{}/api/notifications/live?since=7", gateway.addr);
    let (socket, answer) = connect_async(address).await.expect("upgrades");
    assert!(answer.headers().contains_key("x-request-id"));
    socket
}

async fn returns(socket: &mut Socket, message: Message) {
    socket.send(message.clone()).await.expect("sends");
    assert_eq!(socket.next().await.expect("open").expect("a message"), message);
}

/// A handshake by hand, with `more` headers.
fn handshake(more: &str) -> String {
    format!(
        "GET /api/notifications/live HTTP/1.1\r\nhost: gw.test\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: {}\r\n{more}\r\n",
        generate_key()
    )
}

/// Accepts whatever is asked and echoes bytes.
pub(crate) async fn switcher(answer: &'static str) -> Upstream {
    Upstream::raw(move |mut stream| async move {
        let seen = read_head(&mut stream).await;
        let _ = stream.write_all(answer.as_bytes()).await;
        // What came right behind the head belongs to the tunnel too.
        let end = seen.windows(4).position(|window| window == b"\r\n\r\n").map_or(seen.len(), |place| place + 4);
        let _ = stream.write_all(&seen[end..]).await;
        let (mut read, mut write) = stream.split();
        let _ = tokio::io::copy(&mut read, &mut write).await;
        let _ = write.write_all(b"end").await;
        let _ = write.shutdown().await;
    })
    .await
}

const SWITCHED: &str = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";

#[tokio::test]
async fn a_websocket_carries_messages_both_ways_until_it_is_closed() {
    let backend = echo().await;
    let gateway = Running::before(backend.addr).await;
    let mut socket = open(&gateway).await;
    returns(&mut socket, Message::text("grüß Gott")).await;
    returns(&mut socket, Message::binary((0..=255).collect::<Vec<u8>>())).await;
    returns(&mut socket, Message::binary(vec![7; 5 << 20])).await;
    socket.send(Message::Ping("a".into())).await.expect("sends");
    assert_eq!(socket.next().await.expect("open").expect("a message"), Message::Pong("a".into()));
    assert_eq!(gateway.metric("gateway_active_requests{service=\"notification\"}"), Some(1.0));
    socket.close(None).await.expect("closes");
    assert!(matches!(socket.next().await, Some(Ok(Message::Close(_)))));
    assert!(socket.next().await.is_none(), "the backend closed");
    drop(socket);
    eventually!(gateway.metric("gateway_active_requests{service=\"notification\"}") == Some(0.0));
    let counted = "gateway_requests_total{method=\"GET\",service=\"notification\",status=\"101\"}";
    assert_eq!(gateway.metric(counted), Some(1.0));
    let took = "gateway_request_duration_seconds_count{method=\"GET\",service=\"notification\"}";
    assert_eq!(gateway.metric(took), Some(0.0), "a tunnel's life is no latency");
    eventually!(gateway.metric("gateway_client_connections") == Some(0.0));
}

#[tokio::test]
async fn both_sides_may_send_much_at_once() {
    const COUNT: u32 = 200;
    let backend = Upstream::raw(|stream| async move {
        let (mut send, mut receive) = accept_async(stream).await.expect("a handshake").split();
        let sending = tokio::spawn(async move {
            for _ in 0..COUNT {
                send.send(Message::binary(vec![1; 64 * 1024])).await.expect("sends");
            }
            send
        });
        let mut bytes = 0;
        while bytes < COUNT as usize * 64 * 1024 {
            bytes += receive.next().await.expect("open").expect("a message").len();
        }
        let mut send = sending.await.expect("no panic");
        send.send(Message::text(bytes.to_string())).await.expect("sends");
    })
    .await;
    let gateway = Running::before(backend.addr).await;
    let (mut send, mut receive) = open(&gateway).await.split();
    let sending = tokio::spawn(async move {
        for _ in 0..COUNT {
            send.send(Message::binary(vec![2; 64 * 1024])).await.expect("sends");
        }
        send
    });
    let mut bytes = 0;
    loop {
        match receive.next().await.expect("open").expect("a message") {
            Message::Text(total) => {
                assert_eq!(total.as_str(), (COUNT * 64 * 1024).to_string());
                break;
            }
            message => bytes += message.len(),
        }
    }
    assert_eq!(bytes, COUNT as usize * 64 * 1024);
    drop(sending.await.expect("no panic"));
}

#[tokio::test]
async fn what_a_client_sends_before_the_101_reaches_the_backend_and_its_end_does_not_cut_the_answer() {
    let backend = switcher(SWITCHED).await;
    let gateway = Running::before(backend.addr).await;
    // Neither what looks like a request nor what looks like none is read as one.
    for (count, early) in [(1, "GET /api/products HTTP/1.1\r\n\r\n"), (2, "\u{1}\u{5}\n : \0")] {
        let mut client = TcpStream::connect(gateway.addr).await.expect("connects");
        client.write_all(format!("{}{early}", handshake("")).as_bytes()).await.expect("writes");
        client.shutdown().await.expect("half closes");
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.expect("reads to the end");
        let (head, rest) = answer.split_once("\r\n\r\n").expect("a head");
        assert!(head.starts_with("HTTP/1.1 101 Switching Protocols"), "{head}");
        assert!(head.contains("connection: upgrade") && head.contains("upgrade: websocket"), "{head}");
        assert_eq!(rest, format!("{early}end"));
        assert_eq!(backend.connections.load(SeqCst), count, "one request each");
    }
}

#[tokio::test]
async fn the_backend_is_asked_for_one_protocol_or_none() {
    let backend = Upstream::echo().await;
    let gateway = Running::before(backend.addr).await;
    let wish = "connection: keep-alive, upgrade\r\nupgrade: websocket\r\n";
    for (name, version, headers, body, passed) in [
        ("plain", "1.1", wish, "", true),
        ("HTTP/1.0", "1.0", wish, "", false),
        ("a body", "1.1", &format!("{wish}content-length: 2\r\n")[..], "ab", false),
        ("a chunked body", "1.1", &format!("{wish}transfer-encoding: chunked\r\n")[..], "2\r\nab\r\n0\r\n\r\n", false),
        (
            "h2c",
            "1.1",
            "connection: upgrade, http2-settings\r\nhttp2-settings: AAMAAABk\r\nupgrade: h2c\r\n",
            "",
            false,
        ),
        ("h2c among others", "1.1", "connection: upgrade\r\nupgrade: websocket, h2c\r\n", "", false),
        ("h2c on a second line", "1.1", &format!("{wish}upgrade: h2c\r\n")[..], "", false),
        ("not named by Connection", "1.1", "upgrade: websocket\r\n", "", false),
    ] {
        // The second request shows that the connection goes on after an ordinary answer, at the right byte.
        let first = format!("GET /api/products/1 HTTP/{version}\r\nhost: a\r\n{headers}\r\n{body}");
        let second = "GET /api/products/2 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
        let answer = gateway.raw(format!("{first}{second}")).await;
        let seen = answer.split_once('{').expect(name).1;
        assert_eq!(seen.contains(r#"["upgrade","websocket"]"#), passed, "{name}: {answer}");
        assert_eq!(seen.contains(r#"["connection","upgrade"]"#), passed, "{name}: {answer}");
        assert!(!seen.contains("h2c") && !seen.contains("http2-settings"), "{name}: {answer}");
        assert_eq!(answer.matches("HTTP/1.").count(), 2, "{name}: {answer}");
    }
}

#[tokio::test]
async fn a_refused_upgrade_is_an_ordinary_answer_and_the_connection_goes_on() {
    let backend = Upstream::serving(|request| async move {
        let status = if request.headers().contains_key("upgrade") { 426 } else { 200 };
        let mut answer = http::Response::new(request.uri().path().to_owned().into());
        *answer.status_mut() = http::StatusCode::from_u16(status).expect("a status");
        answer
    })
    .await;
    let mut settings = config(backend.addr);
    settings.workers = 1;
    let gateway = Running::start(settings).await;
    // A proxy that took any answer for a tunnel would hand the second request to the backend, past all its rules.
    let second = "GET /api/products/../../admin HTTP/1.1\r\nhost: gw.test\r\n\r\n";
    let third = "GET /api/products/3 HTTP/1.1\r\nhost: gw.test\r\nconnection: close\r\n\r\n";
    let answer = gateway.raw(format!("{}{second}{third}", handshake(""))).await;
    let statuses: Vec<_> = answer.split("HTTP/1.1 ").skip(1).map(|rest| &rest[..3]).collect();
    assert_eq!(statuses, ["426", "404", "200"], "{answer}");
    assert!(answer.contains("no_route"), "the gateway's own rules are asked: {answer}");
    let address = format!("ws://{}/api/notifications/live", gateway.addr);
    match connect_async(address).await {
        Err(Error::Http(answer)) => assert_eq!(answer.status(), 426),
        other => panic!("{other:?}"),
    }
    let opened = backend.connections.load(SeqCst);
    for _ in 0..4 {
        gateway.raw(handshake("connection: close\r\n")).await;
    }
    assert_eq!(backend.connections.load(SeqCst), opened, "the backend's connections are used again");
}

#[tokio::test]
async fn a_101_that_was_not_asked_for_is_no_answer() {
    for (answer, asked) in [
        (SWITCHED, false),
        ("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n", true),
        ("HTTP/1.1 101 Switching Protocols\r\n\r\n", true),
    ] {
        let backend = switcher(answer).await;
        let gateway = Running::before(backend.addr).await;
        let mut wish = request("GET", "/api/products", "");
        if asked {
            wish.headers_mut().insert("connection", "upgrade".parse().expect("a value"));
            wish.headers_mut().insert("upgrade", "websocket".parse().expect("a value"));
        }
        gateway.send(wish).await.refused(502, "upstream_invalid");
    }
}

#[tokio::test]
async fn a_backend_that_dies_ends_its_tunnels_and_no_others() {
    let backend = Upstream::raw(|stream| async move {
        let mut socket = accept_async(stream).await.expect("a handshake");
        while let Some(Ok(message)) = socket.next().await {
            if message == Message::text("die") {
                return reset(socket.into_inner());
            }
            let _ = socket.send(message).await;
        }
    })
    .await;
    let gateway = Running::before(backend.addr).await;
    let (mut one, mut other) = (open(&gateway).await, open(&gateway).await);
    one.send(Message::text("die")).await.expect("sends");
    let end = tokio::time::timeout(Duration::from_secs(5), one.next()).await.expect("soon");
    assert!(matches!(end, Some(Err(_))), "no close frame was sent: {end:?}");
    returns(&mut other, Message::text("alive")).await;
    eventually!(gateway.metric("gateway_active_requests{service=\"notification\"}") == Some(1.0));
    let refused = "gateway_refusals_total{reason=\"upstream_reset\",service=\"notification\"}";
    assert_eq!(gateway.metric(refused), Some(1.0));
}

#[tokio::test]
async fn a_silent_tunnel_is_closed_and_one_that_talks_is_not() {
    let backend = echo().await;
    let mut settings = config(backend.addr);
    settings.upstream.tunnel_idle = shop_config::Duration::millis(400);
    // Neither ends a tunnel.
    settings.upstream.total_timeout = shop_config::Duration::millis(300);
    settings.upstream.idle_timeout = shop_config::Duration::millis(100);
    let gateway = Running::start(settings).await;
    let (mut silent, mut lively) = (open(&gateway).await, open(&gateway).await);
    let begun = std::time::Instant::now();
    let talk = async {
        while begun.elapsed() < Duration::from_millis(900) {
            returns(&mut lively, Message::text("still here")).await;
            tokio::task::yield_now().await;
        }
    };
    let (end, ()) = tokio::join!(silent.next(), talk);
    assert!(matches!(end, Some(Err(_))), "{end:?}");
    assert!(begun.elapsed() >= Duration::from_millis(390), "{:?}", begun.elapsed());
    returns(&mut lively, Message::text("and here")).await;
    let refused = "gateway_refusals_total{reason=\"tunnel_idle\",service=\"notification\"}";
    assert_eq!(gateway.metric(refused), Some(1.0));
}

#[tokio::test]
async fn after_one_side_has_ended_the_other_may_not_be_silent_for_long() {
    let backend = Upstream::raw(|mut stream| async move {
        read_head(&mut stream).await;
        let _ = stream.write_all(SWITCHED.as_bytes()).await;
        let _ = stream.read_to_end(&mut Vec::new()).await;
        std::future::pending::<()>().await;
    })
    .await;
    let mut settings = config(backend.addr);
    settings.upstream.idle_timeout = shop_config::Duration::millis(200);
    let gateway = Running::start(settings).await;
    let mut client = TcpStream::connect(gateway.addr).await.expect("connects");
    client.write_all(handshake("").as_bytes()).await.expect("writes");
    assert!(read_head(&mut client).await.starts_with(b"HTTP/1.1 101"));
    client.shutdown().await.expect("half closes");
    let read = tokio::time::timeout(Duration::from_secs(5), client.read_to_end(&mut Vec::new())).await;
    assert_eq!(read.expect("soon").expect("reads"), 0);
}

#[tokio::test]
async fn the_least_busy_backend_is_the_one_without_tunnels() {
    let (one, other) = (echo().await, echo().await);
    let mut settings = config(one.addr);
    settings.services["notification"].urls = crate::support::backends(&[one.addr, other.addr]);
    settings.load_balancer.strategy = shop_gateway::settings::Strategy::LeastConnections;
    let gateway = Running::start(settings).await;
    let mut sockets = Vec::new();
    for _ in 0..6 {
        sockets.push(open(&gateway).await);
    }
    assert_eq!((one.connections.load(SeqCst), other.connections.load(SeqCst)), (3, 3));
}

#[tokio::test]
async fn tunnels_live_through_the_drain_and_are_cut_at_its_end() {
    let backend = echo().await;
    let gateway = Running::before(backend.addr).await;
    let mut socket = open(&gateway).await;
    gateway.shutdown.soft.cancel();
    eventually!(gateway.get("/health/ready").await.status() == 503);
    returns(&mut socket, Message::text("still here")).await;
    assert!(!gateway.ended.is_finished());
    gateway.shutdown.hard.cancel();
    let end = tokio::time::timeout(Duration::from_secs(5), socket.next()).await.expect("soon");
    assert!(matches!(end, Some(Err(_))), "{end:?}");
    gateway.ended.await.expect("no panic").expect("ends well");
}

#[tokio::test]
async fn a_drain_ends_with_the_last_tunnel() {
    let backend = echo().await;
    let gateway = Running::before(backend.addr).await;
    let mut socket = open(&gateway).await;
    gateway.shutdown.soft.cancel();
    eventually!(gateway.get("/health/ready").await.status() == 503);
    socket.close(None).await.expect("closes");
    while socket.next().await.is_some() {}
    drop(socket);
    let ended = tokio::time::timeout(Duration::from_secs(5), gateway.ended).await;
    ended.expect("soon").expect("no panic").expect("ends well");
}

#[tokio::test]
async fn another_sites_page_opens_no_websocket() {
    let backend = echo().await;
    let gateway = Running::before(backend.addr).await;
    let answer = gateway.raw(handshake("origin: https://evil.example\r\nconnection: close\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 403") && answer.contains("cross_origin_refused"), "{answer}");
    assert_eq!(backend.connections.load(SeqCst), 0);
}

#[tokio::test]
async fn a_backend_that_cannot_be_reached_is_passed_over() {
    let (mut dead, alive) = (Mortal::start(), echo().await);
    dead.kill();
    let mut settings = config(alive.addr);
    settings.services["notification"].urls = crate::support::backends(&[dead.addr, alive.addr]);
    let gateway = Running::start(settings).await;
    for _ in 0..3 {
        returns(&mut open(&gateway).await, Message::text("here")).await;
    }
}

#[tokio::test]
async fn the_access_log_says_what_went_through_a_tunnel() {
    let backend = switcher(SWITCHED).await;
    let port = free_port();
    let mut process = Process::new("gateway")
        .env("IDENTITY_MODE", "off")
        .env("PORT", port.to_string())
        .env("ADMIN_PORT", "0")
        .env("LOG_FORMAT", "json")
        .env("SHOP_STOP__GRACE", "1s")
        .env("NOTIFICATION_SERVICE_URLS", format!("http://{}", backend.addr));
    process.start(port).await;
    let dial = || async {
        let mut client = TcpStream::connect(("127.0.0.1", port)).await.expect("connects");
        client.write_all(handshake("").as_bytes()).await.expect("writes");
        client.write_all(b"12345").await.expect("writes");
        let mut answer = read_head(&mut client).await;
        while !answer.ends_with(b"12345") {
            assert!(client.read_buf(&mut answer).await.expect("reads") > 0, "too early an end");
        }
        client
    };
    let mut first = dial().await;
    first.shutdown().await.expect("half closes");
    first.read_to_end(&mut Vec::new()).await.expect("reads");
    let _second = dial().await;
    let ended = process.stop().await;
    assert!(ended.success(), "{ended}\n{}", process.output());
    let output = process.output();
    let lines: Vec<serde_json::Value> = output
        .lines()
        .filter(|line| line.contains("/api/notifications/*"))
        .map(|line| serde_json::from_str(line).expect("json"))
        .collect();
    let told = |line: &serde_json::Value| {
        let text = line.to_string();
        ["\"status\":101", "\"bytes_in\":5", "\"reason\":\"draining\"", "\"bytes\":8"].map(|word| text.contains(word))
    };
    assert_eq!(lines.len(), 2, "{output}");
    assert_eq!(told(&lines[0]), [true, true, false, true], "{}", lines[0]);
    assert_eq!(told(&lines[1]), [true, true, true, false], "{}", lines[1]);
}
