//! Answers as HTTP/1.1 clients get them: heads, where bodies end, and what becomes of the connection.

use shop_testing::eventually;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{Running, Upstream, config, nobody, read_head};

/// Whether the connection can be used for another request.
#[derive(Debug, PartialEq, Eq)]
enum Then {
    Kept,
    Closed,
}
use Then::{Closed, Kept};

const GET: &str = "GET /api/products HTTP/1.1\r\nhost: a\r\n";
const HEAD: &str = "HEAD /api/products HTTP/1.1\r\nhost: a\r\n";
const OLD: &str = "GET /api/products HTTP/1.0\r\nhost: a\r\n";

const SIZED: &str = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ngood";
const CHUNKED: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x, y\r\n\r\n2\r\ngo\r\n2\r\nod\r\n0\r\nx: 1\r\nz: 1\r\n\r\n";
const OPEN: &str = "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\ngood";
const LENGTH: &str = "\r\ncontent-length: 4\r\n";
const CHUNKS: &str = "\r\ntransfer-encoding: chunked\r\n";
const CLOSE: &str = "\r\nconnection: close\r\n";
const KEEP: &str = "\r\nconnection: keep-alive\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\n";
const OLD_OK: &str = "HTTP/1.0 200 OK\r\n";

/// Request line and host, more lines, what the backend says, and at the client: the status line, lines that must be there,
/// parts that must not, what follows the head, and then.
type Row = (
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static [&'static str],
    &'static [&'static str],
    &'static str,
    Then,
);

const TABLE: [Row; 17] = [
    ("a length", GET, "", SIZED, OK, &[LENGTH], &[CHUNKS, "\r\nconnection"], "good", Kept),
    ("a last request", GET, "connection: x, Close\r\n", SIZED, OK, &[LENGTH, CLOSE], &[], "good", Closed),
    (
        "chunks",
        GET,
        "",
        CHUNKED,
        OK,
        &[CHUNKS],
        &["content-length", "trailer:"],
        "2\r\ngo\r\n2\r\nod\r\n0\r\n\r\n",
        Kept,
    ),
    (
        "trailers, of those announced",
        GET,
        "te: trailers\r\nconnection: te\r\n",
        CHUNKED,
        OK,
        &[CHUNKS],
        &["content-length"],
        "2\r\ngo\r\n2\r\nod\r\n0\r\nx: 1\r\n\r\n",
        Kept,
    ),
    ("to the end", GET, "", OPEN, OK, &[CHUNKS], &[CLOSE], "4\r\ngood\r\n0\r\n\r\n", Kept),
    ("an old client", OLD, "", SIZED, OLD_OK, &[LENGTH], &["\r\nconnection"], "good", Closed),
    ("one that keeps", OLD, "connection: keep-alive\r\n", SIZED, OLD_OK, &[LENGTH, KEEP], &[], "good", Kept),
    (
        "one that keeps, of chunks",
        OLD,
        "connection: keep-alive\r\n",
        CHUNKED,
        OLD_OK,
        &[],
        &[CHUNKS, KEEP, "content-length"],
        "good",
        Closed,
    ),
    ("a head", HEAD, "", "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n", OK, &[LENGTH], &[CHUNKS], "", Kept),
    (
        "a head of chunks",
        HEAD,
        "",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
        OK,
        &[],
        &["content-length"],
        "",
        Kept,
    ),
    (
        "nothing",
        GET,
        "",
        "HTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 204 No Content\r\n",
        &[],
        &["content-length", CHUNKS],
        "",
        Kept,
    ),
    (
        "nothing of a length",
        GET,
        "",
        "HTTP/1.1 204 No Content\r\ncontent-length: 4\r\n\r\n",
        "HTTP/1.1 204 No Content\r\n",
        &[],
        &["content-length", CHUNKS],
        "",
        Kept,
    ),
    (
        "what did not change",
        GET,
        "if-none-match: x\r\n",
        "HTTP/1.1 304 Not Modified\r\ncontent-length: 4\r\n\r\n",
        "HTTP/1.1 304 Not Modified\r\n",
        &[LENGTH],
        &[CHUNKS],
        "",
        Kept,
    ),
    (
        "an empty body",
        GET,
        "",
        "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
        OK,
        &["\r\ncontent-length: 0\r\n"],
        &[CHUNKS],
        "",
        Kept,
    ),
    (
        "words of its own",
        GET,
        "",
        "HTTP/1.1 200 Fine by me\r\ncontent-length: 4\r\n\r\ngood",
        "HTTP/1.1 200 Fine by me\r\n",
        &[LENGTH],
        &[],
        "good",
        Kept,
    ),
    (
        "a rare status",
        GET,
        "",
        "HTTP/1.1 299\r\ncontent-length: 4\r\n\r\ngood",
        "HTTP/1.1 299 \r\n",
        &[LENGTH],
        &[],
        "good",
        Kept,
    ),
    (
        "a date of its own",
        GET,
        "",
        "HTTP/1.1 200 OK\r\ndate: Sun, 06 Nov 1994 08:49:37 GMT\r\ncontent-length: 4\r\n\r\ngood",
        OK,
        &["\r\ndate: Sun, 06 Nov 1994 08:49:37 GMT\r\n"],
        &[],
        "good",
        Kept,
    ),
];

#[tokio::test]
async fn have_one_end_and_leave_the_connection_as_they_say() {
    for (name, request, more, wire, status, lines, absent, body, then) in TABLE {
        let upstream = Upstream::saying(wire).await;
        let gateway = Running::before(upstream.addr).await;
        let answer = gateway
            .raw(format!("{request}{more}\r\nGET /health/live HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"))
            .await;
        let (head, rest) = answer.split_once("\r\n\r\n").expect("a head");
        let head = format!("{head}\r\n");
        assert!(head.starts_with(status), "{name}: {answer}");
        assert_eq!(head.matches("\r\ndate: ").count(), 1, "{name}: {answer}");
        assert!(lines.iter().all(|line| head.contains(line)), "{name}: {answer}");
        assert!(!absent.iter().any(|part| head.contains(part)), "{name}: {answer}");
        let next = rest.strip_prefix(body).unwrap_or_else(|| panic!("{name}: {answer}"));
        let seen =
            if next.starts_with("HTTP/1.1 200 OK\r\n") && next.ends_with(r#"{"status":"up"}"#) { Kept } else { Closed };
        assert_eq!(seen, then, "{name}: {answer}");
        assert!(seen == Kept || next.is_empty(), "{name}: {answer}");
        let left = gateway.metric(r#"gateway_refusals_total{reason="client_closed",service="product"}"#);
        assert_eq!(left.filter(|count| *count > 0.0), None, "{name}");
    }
}

#[tokio::test]
async fn of_the_gateway_itself_have_their_length_also_without_their_body() {
    let gateway = Running::before(nobody()).await;
    let two = "HEAD /health/live HTTP/1.1\r\nhost: a\r\n\r\nGET /health/live HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    let answer = gateway.raw(two).await;
    assert_eq!(answer.matches("\r\ncontent-length: 15\r\n").count(), 2, "{answer}");
    assert_eq!(answer.matches(r#"{"status":"up"}"#).count(), 1, "{answer}");
    let left = gateway.metric(r#"gateway_refusals_total{reason="client_closed",service="gateway"}"#);
    assert_eq!(left.filter(|count| *count > 0.0), None);
}

/// The gateway refuses before it has read the body.
const UNREAD: &str = "POST /nothing/here HTTP/1.1\r\nhost: a\r\ncontent-length: 300000\r\n";

#[tokio::test]
async fn to_a_body_that_nobody_reads_say_that_the_connection_ends() {
    let gateway = Running::before(nobody()).await;
    // All of it is sent before the answer is read: a connection that is reset would lose the answer.
    let answer = gateway.raw([format!("{UNREAD}\r\n").into_bytes(), vec![b'x'; 300_000]].concat()).await;
    assert!(answer.starts_with("HTTP/1.1 404 ") && answer.contains("\r\nconnection: close\r\n"), "{answer}");
    assert!(answer.ends_with('}'), "{answer}");
    eventually!(gateway.metric("gateway_client_connections") == Some(0.0));
    // A small one that has come is thrown away.
    let small = "POST /nothing/here HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n";
    let answer = gateway.raw(format!("{small}GET /health/live HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 404 ") && answer.contains("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert_eq!(answer.matches("\r\nconnection: close\r\n").count(), 1, "{answer}");
}

#[tokio::test]
async fn to_a_client_that_waits_to_send_its_body_come_without_a_100_when_nobody_wants_it() {
    let gateway = Running::before(nobody()).await;
    let answer = gateway.raw(format!("{UNREAD}expect: 100-continue\r\n\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 404 ") && answer.contains("\r\nconnection: close\r\n"), "{answer}");
}

#[tokio::test]
async fn of_a_backend_that_takes_the_body_later_are_not_followed_by_a_100() {
    let upstream = Upstream::raw(|mut stream| async move {
        // It does not even wait for the head.
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nearly").await;
        let _ = stream.read_to_end(&mut Vec::new()).await;
    })
    .await;
    let gateway = Running::before(upstream.addr).await;
    let mut client = TcpStream::connect(gateway.addr).await.expect("connects");
    let head = "POST /api/products HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n";
    client.write_all(head.as_bytes()).await.expect("writes");
    let mut answer = read_head(&mut client).await;
    while !answer.ends_with(b"early") {
        assert!(client.read_buf(&mut answer).await.expect("reads") > 0, "{}", String::from_utf8_lossy(&answer));
    }
    let answer = String::from_utf8_lossy(&answer);
    // One that was told to go on may; any other need not, so that nobody knows what would come next.
    let was_told = answer.starts_with("HTTP/1.1 100 Continue\r\n\r\n");
    assert!(was_told || answer.contains("\r\nconnection: close\r\n"), "{answer}");
    client.write_all(b"okGET /health/live HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.expect("writes");
    let mut next = String::new();
    client.read_to_string(&mut next).await.expect("reads");
    assert_eq!(next.starts_with("HTTP/1.1 200 ") && next.ends_with(r#"{"status":"up"}"#), was_told, "{next}");
    assert!(was_told || next.is_empty(), "{next}");
}

#[tokio::test]
async fn to_a_small_body_that_nobody_reads_keep_the_connection() {
    let gateway = Running::before(nobody()).await;
    let mut client = TcpStream::connect(gateway.addr).await.expect("connects");
    // Many clients send head and body apart.
    client.write_all(b"POST /nothing/here HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\n").await.expect("writes");
    let answer = read_head(&mut client).await;
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.starts_with("HTTP/1.1 404 ") && !answer.contains("\r\nconnection: close\r\n"), "{answer}");
    client.write_all(b"lostGET /health/live HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.expect("writes");
    let mut next = String::new();
    client.read_to_string(&mut next).await.expect("reads");
    assert!(next.contains("HTTP/1.1 200 OK\r\n") && next.ends_with(r#"{"status":"up"}"#), "{next}");
}

#[tokio::test]
async fn that_break_off_never_look_whole_to_a_client_that_knows_no_chunks() {
    let upstream = Upstream::raw(|mut stream| async move {
        read_head(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n").await;
    })
    .await;
    let gateway = Running::before(upstream.addr).await;
    let mut client = TcpStream::connect(gateway.addr).await.expect("connects");
    client.write_all(b"GET /api/products HTTP/1.0\r\nhost: a\r\n\r\n").await.expect("writes");
    let ended = client.read_to_end(&mut Vec::new()).await;
    assert_eq!(ended.map_err(|error| error.kind()), Err(std::io::ErrorKind::ConnectionReset));
}

#[tokio::test]
async fn a_client_that_takes_its_answer_slowly_gets_all_of_it() {
    const SIZE: usize = 24 << 20;
    let upstream = Upstream::raw(|mut stream| async move {
        read_head(&mut stream).await;
        let _ = stream.write_all(format!("HTTP/1.1 200 OK\r\ncontent-length: {SIZE}\r\n\r\n").as_bytes()).await;
        let _ = stream.write_all(&vec![b'x'; SIZE]).await;
    })
    .await;
    let mut settings = config(upstream.addr);
    settings.limits.write_stall = shop_config::Duration::millis(500);
    let gateway = Running::start(settings).await;
    let mut client = TcpStream::connect(gateway.addr).await.expect("connects");
    client.write_all(b"GET /api/products HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.expect("writes");
    let (mut taken, mut room) = (0, vec![0; 256 << 10]);
    let mut pace = tokio::time::interval(std::time::Duration::from_millis(25));
    loop {
        // Slower than the backend all the time, and never for long.
        pace.tick().await;
        match client.read(&mut room).await.expect("not cut") {
            0 => break,
            size => taken += size,
        }
    }
    assert!(taken > SIZE, "{taken}");
    assert_eq!(gateway.metric(r#"gateway_connections_cut_total{reason="write_stalled"}"#), None);
}

#[tokio::test]
async fn a_client_that_refuses_to_read_and_stays_is_closed_in_time() {
    let mut settings = config(nobody());
    settings.http.header_timeout = shop_config::Duration::millis(200);
    let gateway = Running::start(settings).await;
    let mut client = TcpStream::connect(gateway.addr).await.expect("connects");
    client.write_all(format!("{UNREAD}\r\n").as_bytes()).await.expect("writes");
    let answer = read_head(&mut client).await;
    assert!(answer.starts_with(b"HTTP/1.1 404 "), "{}", String::from_utf8_lossy(&answer));
    // Neither more of the body nor an end comes from here.
    eventually!(gateway.metric("gateway_client_connections") == Some(0.0));
    assert_eq!(gateway.metric(r#"gateway_connections_cut_total{reason="head_timeout"}"#), None);
}

#[tokio::test]
async fn the_begin_of_a_request_behind_another_has_no_more_time_than_any() {
    let upstream = Upstream::echo().await;
    let mut settings = config(upstream.addr);
    settings.http.header_timeout = shop_config::Duration::millis(200);
    settings.http.idle_timeout = shop_config::Duration::secs(60);
    let gateway = Running::start(settings).await;
    // Both come at once; nothing of the second comes after the first answer.
    let answer = gateway.raw("GET /api/products HTTP/1.1\r\nhost: a\r\n\r\nGET /api/pro").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    eventually!(gateway.metric(r#"gateway_connections_cut_total{reason="head_timeout"}"#) == Some(1.0));
}

#[tokio::test]
async fn a_body_that_outlasts_its_answer_is_followed_by_the_next_request() {
    let upstream = Upstream::raw(|mut stream| async move {
        read_head(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nearly").await;
        let _ = stream.read_to_end(&mut Vec::new()).await;
    })
    .await;
    let gateway = Running::before(upstream.addr).await;
    let mut client = TcpStream::connect(gateway.addr).await.expect("connects");
    let head = "POST /api/products HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\n01234";
    client.write_all(head.as_bytes()).await.expect("writes");
    let mut answer = read_head(&mut client).await;
    while !answer.ends_with(b"early") {
        assert!(client.read_buf(&mut answer).await.expect("reads") > 0, "{}", String::from_utf8_lossy(&answer));
    }
    client.write_all(b"56789GET /health/live HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.expect("writes");
    let mut next = String::new();
    client.read_to_string(&mut next).await.expect("reads");
    assert!(next.starts_with("HTTP/1.1 200 ") && next.ends_with(r#"{"status":"up"}"#), "{next}");
}
