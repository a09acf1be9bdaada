//! Clients over HTTP/2 that do not open their windows, and what is known of an answer until it has left.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::Response;
use shop_testing::eventually;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::peer::{DATA, END_STREAM, PING, Peer, RST_STREAM, SETTINGS, WINDOW_UPDATE, frame};
use crate::support::{Running, Upstream, config, route};

pub(crate) const CANCEL: u8 = 8;
const CUT: &str = r#"gateway_connections_cut_total{reason="write_stalled"}"#;
const RESET: &str = "gateway_streams_reset_total";
const LARGE: usize = 1024 * 1024;

/// A window for each stream, as a setting.
pub(crate) fn window(size: u32) -> Vec<u8> {
    [&[0, 4][..], &size.to_be_bytes()].concat()
}

/// Gives what its path names: few bytes or many.
async fn upstream() -> Upstream {
    Upstream::serving(|request| async move {
        let size = if request.uri().path() == "/products/large" { LARGE } else { 2 };
        Response::new(Full::new(Bytes::from(vec![b'x'; size])))
    })
    .await
}

async fn impatient(upstream: &Upstream) -> Running {
    let mut settings = config(upstream.addr);
    settings.limits.write_stall = shop_config::Duration::millis(300);
    Running::start(settings).await
}

/// Requests in flight; none before the first.
fn active(gateway: &Running) -> Option<f64> {
    let of = |service| gateway.metric(&format!("gateway_active_requests{{service=\"{service}\"}}"));
    ["product", "gateway"].map(of).into_iter().flatten().reduce(|one, other| one + other)
}

/// Reads until `last` streams are reset or the connection ends; with which code they were, and the data of each.
async fn resets(peer: &mut Peer, most: usize) -> (BTreeMap<u32, u8>, usize) {
    let (mut resets, mut data) = (BTreeMap::new(), 0);
    let reading = async {
        while resets.len() < most
            && let Some((kind, flags, stream, payload)) = peer.frame().await
        {
            match kind {
                RST_STREAM => drop(resets.insert(stream, payload[3])),
                PING if flags & 1 == 0 => drop(peer.send(frame(PING, 1, 0, &payload)).await),
                DATA => data += payload.len(),
                _ => {}
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), reading).await.expect("it ends");
    (resets, data)
}

#[tokio::test]
async fn a_stream_whose_client_takes_nothing_is_reset_and_the_others_go_on() {
    let upstream = upstream().await;
    let gateway = impatient(&upstream).await;
    let mut peer = Peer::with_settings(&gateway, &window(0)).await;
    for (stream, path) in [(1, "/metrics"), (3, "/nowhere"), (5, "/api/products/large"), (7, "/api/products")] {
        peer.ask(stream, path).await;
    }
    let (codes, data) = resets(&mut peer, 4).await;
    assert_eq!(codes, [1, 3, 5, 7].map(|stream| (stream, CANCEL)).into());
    assert_eq!(data, 0);
    eventually!(active(&gateway) == Some(0.0));
    assert_eq!((gateway.metric(RESET), gateway.metric(CUT)), (Some(4.0), None));
    let left = r#"gateway_requests_total{method="GET",service="product",status="499"}"#;
    eventually!(gateway.metric(left) == Some(2.0));
    // It may have been a client that was busy elsewhere.
    peer.send(frame(SETTINGS, 0, 0, &window(65_535))).await;
    peer.ask(9, "/api/products").await;
    let answered = async {
        loop {
            let (kind, flags, stream, payload) = peer.frame().await.expect("the connection lives");
            if (kind, stream) == (DATA, 9) && flags & END_STREAM != 0 {
                return payload;
            }
        }
    };
    let answered = tokio::time::timeout(Duration::from_secs(10), answered).await.expect("an answer");
    assert_eq!(&answered[..], b"xx");
}

#[tokio::test]
async fn a_client_that_takes_the_first_byte_and_no_other_is_no_better_off() {
    let upstream = upstream().await;
    let gateway = impatient(&upstream).await;
    // Of a large answer, the stream is reset: its end is not handed over before the rest was taken.
    let mut peer = Peer::with_settings(&gateway, &window(1)).await;
    peer.ask(1, "/api/products/large").await;
    let (codes, data) = resets(&mut peer, 1).await;
    assert_eq!((codes, data), (BTreeMap::from([(1, CANCEL)]), 1));
    // A small one is all on its way: only the connection can be closed.
    let mut peer = Peer::with_settings(&gateway, &window(1)).await;
    peer.ask(1, "/api/products").await;
    let (codes, data) = resets(&mut peer, 1).await;
    assert_eq!((codes, data), (BTreeMap::new(), 1));
    eventually!(gateway.metric(CUT) == Some(1.0));
    eventually!(active(&gateway) == Some(0.0));
    let left = r#"gateway_requests_total{method="GET",service="product",status="499"}"#;
    eventually!(gateway.metric(left) == Some(2.0));
}

#[tokio::test]
async fn a_large_answer_comes_whole_over_http2() {
    let upstream = upstream().await;
    let gateway = impatient(&upstream).await;
    let mut client = crate::support::http2(gateway.addr).await;
    for path in ["/api/products/large", "/api/products", "/api/products/large"] {
        let ask = hyper::Request::get(format!("http://{}{path}", gateway.addr)).body(Full::default());
        let answer = client.send_request(ask.expect("a request")).await.expect("an answer");
        let body = http_body_util::BodyExt::collect(answer.into_body()).await.expect("whole").to_bytes();
        assert_eq!(body.len(), if path.ends_with("large") { LARGE } else { 2 });
    }
    let answered = r#"gateway_requests_total{method="GET",service="product",status="200"}"#;
    eventually!(gateway.metric(answered) == Some(3.0));
}

/// A client over HTTP/1.1 with more answers due than its socket and the gateway's hold; and how many were sent whole.
async fn choking(gateway: &Running) -> (TcpStream, Option<f64>) {
    let mut client = TcpStream::connect(gateway.addr).await.expect("connects");
    client.write_all(&b"GET /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(400)).await.expect("writes");
    let (mut sent, mut times) = (None, 0);
    eventually!({
        let now = gateway.metric(OWN);
        times = if now > Some(0.0) && now == sent { times + 1 } else { 0 };
        sent = now;
        times > 10
    });
    (client, sent)
}

const OWN: &str = r#"gateway_requests_total{method="GET",service="gateway",status="200"}"#;

#[tokio::test]
async fn an_answer_that_has_not_left_is_in_flight_and_has_the_whole_grace() {
    let gateway = Running::before(crate::support::nobody()).await;
    let (mut client, sent) = choking(&gateway).await;
    assert_eq!(active(&gateway), Some(1.0));
    gateway.shutdown.soft.cancel();
    let mut ended = gateway.ended;
    let early = tokio::time::timeout(Duration::from_millis(1500), &mut ended).await;
    assert!(early.is_err(), "the gateway waits for it");
    let mut answers = Vec::new();
    client.read_to_end(&mut answers).await.expect("an end, not a reset");
    ended.await.expect("no panic").expect("ends well");
    let heads = String::from_utf8_lossy(&answers).matches("HTTP/1.1 200 OK\r\n").count();
    assert!(u32::try_from(heads).ok().map(f64::from) > sent, "{heads} after {sent:?}");
    let mut rest = &answers[..];
    while !rest.is_empty() {
        let head = rest.windows(4).position(|window| window == b"\r\n\r\n").expect("a head") + 4;
        let text = String::from_utf8_lossy(&rest[..head]).to_ascii_lowercase();
        let length = text.lines().find_map(|line| line.strip_prefix("content-length: ")).expect("a length");
        rest = rest.get(head + length.parse::<usize>().expect("a number")..).expect("every answer is whole");
    }
}

#[tokio::test]
async fn who_leaves_before_the_end_of_an_answer_of_one_piece_is_noted_as_gone() {
    let gateway = Running::before(crate::support::nobody()).await;
    let (client, sent) = choking(&gateway).await;
    drop(client);
    eventually!(active(&gateway) == Some(0.0));
    let gone = r#"gateway_requests_total{method="GET",service="gateway",status="499"}"#;
    assert_eq!((gateway.metric(OWN), gateway.metric(gone)), (sent, Some(1.0)));
}

#[tokio::test]
async fn an_answer_over_http2_that_waits_for_its_client_has_the_whole_grace() {
    let upstream = upstream().await;
    let gateway = Running::before(upstream.addr).await;
    let mut peer = Peer::with_settings(&gateway, &window(1)).await;
    peer.ask(1, "/api/products").await;
    while peer.frame().await.expect("a frame").0 != DATA {}
    assert_eq!(active(&gateway), Some(1.0));
    gateway.shutdown.soft.cancel();
    let mut ended = gateway.ended;
    let early = tokio::time::timeout(Duration::from_millis(1500), &mut ended).await;
    assert!(early.is_err(), "the gateway waits for it");
    peer.send(frame(WINDOW_UPDATE, 0, 1, &1_u32.to_be_bytes())).await;
    while peer.frame().await.is_some_and(|(kind, flags, ..)| (kind, flags & END_STREAM) != (DATA, END_STREAM)) {}
    let ended = tokio::time::timeout(Duration::from_secs(10), ended).await;
    ended.expect("in time").expect("no panic").expect("ends well");
}

/// Gives a little every so often: `pieces` of them.
async fn trickling(every: u64, pieces: usize) -> Upstream {
    Upstream::raw(move |mut stream| async move {
        crate::support::read_head(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await;
        let mut ticks = tokio::time::interval(Duration::from_millis(every));
        for _ in 0..pieces {
            ticks.tick().await;
            if stream.write_all(b"1\r\nx\r\n").await.is_err() {
                return;
            }
        }
        let _ = stream.write_all(b"0\r\n\r\n").await;
    })
    .await
}

#[tokio::test]
async fn a_route_with_times_of_its_own_may_stream_for_as_long_as_it_likes() {
    let upstream = trickling(300, 5).await;
    let mut settings = config(upstream.addr);
    settings.upstream.idle_timeout = shop_config::Duration::millis(100);
    settings.upstream.total_timeout = shop_config::Duration::millis(700);
    for (name, path, timeouts) in [
        ("products", "/api/products/*", "idle = '0s'"),
        ("events", "/api/products/events/*", "idle = '0s', total = '0s'"),
        ("few", "/api/products/events/few/*", "idle = '100ms', total = '0s'"),
    ] {
        let text = format!("path = '{path}'\nto = 'product'\ntimeouts = {{ {timeouts} }}");
        settings.routes.insert(name.to_owned(), route(&text));
    }
    let gateway = Running::start(settings.clone()).await;
    for (path, is_whole) in [
        ("/api/products/events", true),
        ("/api/products/events/7", true),
        ("/api/products/eventsource", false),
        ("/api/products/events/few", false),
        ("/api/baskets/1", false),
    ] {
        let answer = gateway.try_send(crate::support::get(path)).await;
        assert_eq!(answer.is_ok_and(|reply| &reply.body[..] == b"xxxxx"), is_whole, "{path}");
    }
}

#[tokio::test]
async fn a_client_that_takes_an_answer_byte_by_byte_has_the_time_of_the_exchange_and_no_more() {
    let upstream = upstream().await;
    let mut settings = config(upstream.addr);
    settings.upstream.total_timeout = shop_config::Duration::secs(1);
    let gateway = Running::start(settings).await;
    let mut peer = Peer::with_settings(&gateway, &window(1)).await;
    peer.ask(1, "/api/products/large").await;
    let opening = async {
        loop {
            match peer.frame().await.expect("the connection lives") {
                (RST_STREAM, _, 1, code) => return code[3],
                (DATA, ..) => drop(peer.send(frame(WINDOW_UPDATE, 0, 1, &1_u32.to_be_bytes())).await),
                _ => {}
            }
        }
    };
    assert_eq!(tokio::time::timeout(Duration::from_secs(10), opening).await, Ok(CANCEL));
    let mut client = TcpStream::connect(gateway.addr).await.expect("connects");
    client.write_all(&b"GET /api/products/large HTTP/1.1\r\nhost: a\r\n\r\n".repeat(20)).await.expect("writes");
    let mut ticks = tokio::time::interval(Duration::from_millis(20));
    let reading = async {
        while client.read_u8().await.is_ok() {
            ticks.tick().await;
        }
    };
    let cut =
        async { eventually!(gateway.metric(r#"gateway_connections_cut_total{reason="answer_timeout"}"#) == Some(1.0)) };
    tokio::select! {
        () = reading => {}
        () = cut => {}
    }
    eventually!(active(&gateway) == Some(0.0));
    assert_eq!(gateway.look("/health").await.json()["services"]["product"]["status"], "up");
}
