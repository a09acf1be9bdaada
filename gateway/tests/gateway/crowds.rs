//! Too many clients: of one address, and in all.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use shop_testing::{Process, eventually, free_port};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use crate::support::{Running, Upstream, config};

const ASK: &str = "GET /api/products HTTP/1.1\r\nhost: a\r\n\r\n";
const SLOW: &str = "POST /api/products HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\n";

/// A client on this machine with an address of its own.
pub(crate) async fn from(last: u8, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind((IpAddr::V4(Ipv4Addr::new(127, 0, 0, last)), 0).into()).expect("binds");
    socket.connect(to).await.expect("connects")
}

/// What `client` is answered, to the end of the first read; nothing when the connection is closed.
async fn ask(client: &mut TcpStream, request: &str) -> String {
    let _ = client.write_all(request.as_bytes()).await;
    let mut answer = vec![0; 4096];
    let read = tokio::time::timeout(Duration::from_secs(10), client.read(&mut answer)).await.expect("in time");
    String::from_utf8_lossy(&answer[..read.unwrap_or(0)]).into_owned()
}

/// So many clients whose connections are kept after an answer.
async fn idle(count: usize, to: SocketAddr) -> Vec<TcpStream> {
    let mut clients = Vec::new();
    for _ in 0..count {
        let mut client = from(1, to).await;
        assert!(ask(&mut client, ASK).await.starts_with("HTTP/1.1 200 "));
        clients.push(client);
    }
    clients
}

/// Whether the gateway has closed it.
fn is_closed(client: &TcpStream) -> bool {
    match client.try_read(&mut [0; 1]) {
        Ok(size) => size == 0,
        Err(error) => error.kind() != std::io::ErrorKind::WouldBlock,
    }
}

fn shed(gateway: &Running, reason: &str) -> Option<f64> {
    gateway.metric(&format!("gateway_connections_shed_total{{reason=\"{reason}\"}}"))
}

#[tokio::test]
async fn one_address_has_no_more_connections_than_it_may_and_leaves_the_others_theirs() {
    let upstream = Upstream::echo().await;
    let mut settings = config(upstream.addr);
    settings.limits.connections_per_address = 3;
    let gateway = Running::start(settings.clone()).await;
    let mut kept = idle(3, gateway.addr).await;
    assert_eq!(ask(&mut from(1, gateway.addr).await, ASK).await, "");
    assert_eq!(shed(&gateway, "address"), Some(1.0));
    assert!(ask(&mut from(2, gateway.addr).await, ASK).await.starts_with("HTTP/1.1 200 "), "another address");
    assert!(ask(&mut kept[0], ASK).await.starts_with("HTTP/1.1 200 "), "what it has goes on");
    kept.pop();
    eventually!(ask(&mut from(1, gateway.addr).await, ASK).await.starts_with("HTTP/1.1 200 "));
    // A proxy speaks for many.
    settings.trusted_proxies = vec!["127.0.0.1".parse().expect("a network")];
    let gateway = Running::start(settings).await;
    idle(9, gateway.addr).await;
}

#[tokio::test]
async fn one_client_has_no_more_requests_under_way_than_it_may() {
    let upstream = Upstream::echo().await;
    let mut settings = config(upstream.addr);
    settings.limits.unfinished_per_address = 2;
    settings.trusted_proxies = vec!["127.0.0.9".parse().expect("a network")];
    let gateway = Running::start(settings).await;
    let active = r#"gateway_active_requests{service="product"}"#;
    let begin = async |last, head: &str| {
        let mut client = from(last, gateway.addr).await;
        client.write_all(head.as_bytes()).await.expect("writes");
        client
    };
    let (one, _two) = (begin(1, SLOW).await, begin(1, SLOW).await);
    // Of somebody else, through a proxy.
    let forwarded = "\r\nx-forwarded-for: 7.7.7.7\r\n\r\n";
    let through = SLOW.replace("\r\n\r\n", forwarded);
    let _others = (begin(9, &through).await, begin(9, &through).await);
    eventually!(gateway.metric(active) == Some(4.0));
    for (last, request) in [(1, ASK.to_owned()), (9, ASK.replace("\r\n\r\n", forwarded))] {
        let answer = ask(&mut from(last, gateway.addr).await, &request).await;
        assert!(answer.starts_with("HTTP/1.1 429 "), "{answer}");
        assert!(answer.contains("x-gateway-reason: too_many_unfinished\r\n"), "{answer}");
        assert!(answer.contains("retry-after: 1\r\n"), "{answer}");
    }
    for (last, request) in [(1, ASK.replace("/api/products", "/health/live")), (2, ASK.into()), (9, ASK.into())] {
        let answer = ask(&mut from(last, gateway.addr).await, &request).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{last}: {answer}");
    }
    // Over HTTP/2 too.
    let mut client = crate::support::http2(gateway.addr).await;
    let request = hyper::Request::get(format!("http://{}/api/products", gateway.addr));
    let answer = client.send_request(request.body(http_body_util::Full::default()).expect("a request")).await;
    assert_eq!(answer.expect("an answer").status(), 429);
    drop(one);
    eventually!(ask(&mut from(1, gateway.addr).await, ASK).await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn when_there_are_too_many_connections_those_that_were_idle_longest_make_room() {
    let upstream = Upstream::echo().await;
    let mut settings = config(upstream.addr);
    settings.limits.connections = 8;
    let gateway = Running::start(settings).await;
    let idle = idle(6, gateway.addr).await;
    // Served ones stay, and of those that wait, those are first that owe nothing.
    let (mut busy, mut late) = (from(1, gateway.addr).await, from(1, gateway.addr).await);
    busy.write_all(SLOW.as_bytes()).await.expect("writes");
    late.write_all(b"GET /api/products").await.expect("writes");
    eventually!(gateway.metric("gateway_client_connections") == Some(8.0));
    eventually!(gateway.metric(r#"gateway_active_requests{service="product"}"#) == Some(1.0));
    assert!(ask(&mut from(1, gateway.addr).await, ASK).await.starts_with("HTTP/1.1 200 "));
    eventually!(is_closed(&idle[0]));
    assert_eq!(shed(&gateway, "limit"), Some(1.0));
    assert!(idle[1..].iter().all(|client| !is_closed(client)));
    assert!(ask(&mut late, " HTTP/1.1\r\nhost: a\r\n\r\n").await.starts_with("HTTP/1.1 200 "));
    assert!(ask(&mut busy, "123456789").await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn those_that_say_nothing_make_room_and_those_being_served_do_not() {
    let upstream = Upstream::echo().await;
    let mut settings = config(upstream.addr);
    settings.limits.connections = 4;
    let gateway = Running::start(settings).await;
    let mut silent = Vec::new();
    for _ in 0..4 {
        silent.push(from(1, gateway.addr).await);
    }
    eventually!(gateway.metric("gateway_client_connections") == Some(4.0));
    let mut busy = Vec::new();
    for count in 1..=4 {
        let mut client = from(1, gateway.addr).await;
        client.write_all(SLOW.as_bytes()).await.expect("writes");
        busy.push(client);
        eventually!(gateway.metric(r#"gateway_active_requests{service="product"}"#) == Some(f64::from(count)));
        eventually!(gateway.metric("gateway_client_connections") == Some(4.0));
    }
    eventually!(silent.iter().all(is_closed));
    assert_eq!(ask(&mut from(1, gateway.addr).await, ASK).await, "", "nobody makes room");
    for client in &mut busy {
        assert!(ask(client, "123456789").await.starts_with("HTTP/1.1 200 "));
    }
}

#[tokio::test]
async fn when_descriptors_run_out_idle_connections_make_room() {
    let upstream = Upstream::echo().await;
    let port = free_port();
    let mut process = Process::new("gateway")
        .env("IDENTITY_MODE", "off")
        .env("RATE_LIMIT_ENABLED", "false")
        .env("PORT", port.to_string())
        .env("PRODUCT_SERVICE_URLS", format!("http://{}", upstream.addr));
    process.start(port).await;
    let to = SocketAddr::from(([127, 0, 0, 1], port));
    let pid = Pid::from_raw(i32::try_from(process.id()).expect("a pid")).expect("a pid");
    let open = std::fs::read_dir(format!("/proc/{}/fd", process.id())).expect("its files").count();
    let most = u64::try_from(open + 30).ok();
    prlimit(Some(pid), Resource::Nofile, Rlimit { current: most, maximum: most }).expect("fewer");
    let mut clients = Vec::new();
    for number in 0..100 {
        let mut client = from(1, to).await;
        let answer = ask(&mut client, ASK).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "client {number}: {answer}");
        clients.push(client);
    }
    let metrics = ask(&mut clients[99], "GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await;
    assert!(metrics.starts_with("HTTP/1.1 200 "), "{metrics}");
    assert!(process.output().contains("there are too many client connections (descriptors)"), "{}", process.output());
    assert!(process.stop().await.success());
}
