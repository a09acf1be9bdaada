//! Hostile and clumsy backends over HTTP/1.1: what their bytes become, and whether their connections are trusted again.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use bytes::Bytes;
use shop_testing::eventually;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{Client, Running, Upstream, config, get, read_head, request};

/// What a client is told of a backend's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    /// All of it.
    Whole(u16, &'static str),
    /// A refusal by the gateway.
    Refused(u16, &'static str),
    /// A head, and then the end of the connection; the reason is in metrics.
    Broken(&'static str),
}
use Told::{Broken, Refused, Whole};

const GOOD: &str = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ngood";

/// Answers the first request of each connection with `answer`, those after it well. Closes after the first if told to.
async fn answering(answer: &str, closes: bool) -> Upstream {
    let answer = Bytes::from(answer.to_owned());
    Upstream::raw(move |mut stream| {
        let answer = answer.clone();
        async move {
            read_head(&mut stream).await;
            if stream.write_all(&answer).await.is_err() || closes {
                let _ = stream.shutdown().await;
                let _ = stream.read_to_end(&mut Vec::new()).await;
                return;
            }
            while !read_head(&mut stream).await.is_empty() {
                let _ = stream.write_all(GOOD.as_bytes()).await;
            }
        }
    })
    .await
}

async fn one_worker(upstream: &Upstream) -> Running {
    let mut settings = config(upstream.addr);
    settings.workers = 1;
    settings.upstream.first_byte_timeout = shop_config::Duration::secs(5);
    Running::start(settings).await
}

/// What becomes of an answer, and whether its connection serves the next request.
async fn try_answer(name: &str, method: &str, answer: &str, closes: bool, told: Told, reused: bool) {
    let upstream = answering(answer, closes).await;
    let gateway = one_worker(&upstream).await;
    let got = gateway.try_send(request(method, "/api/products", "")).await;
    match told {
        Whole(status, body) => {
            let reply = got.unwrap_or_else(|error| panic!("{name}: {error}"));
            let lines =
                (reply.head.headers.get_all("content-length").iter().count(), reply.header("transfer-encoding"));
            assert!(lines.0 + usize::from(lines.1.is_some()) <= 1, "{name}: {lines:?}");
            assert_eq!((reply.status(), &*String::from_utf8_lossy(&reply.body)), (status, body), "{name}");
            assert_eq!(reply.header("x-gateway-reason"), None, "{name}");
        }
        Refused(status, code) => {
            let reply = got.unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!((reply.status(), reply.header("x-gateway-reason")), (status, Some(code)), "{name}");
            reply.refused(status, code);
        }
        Broken(_) => assert!(got.is_err(), "{name} looked whole"),
    }
    let reason = match told {
        Whole(..) => None,
        Refused(_, reason) | Broken(reason) => Some(reason),
    };
    if let Some(reason) = reason {
        let line = format!(r#"gateway_refusals_total{{reason="{reason}",service="product"}}"#);
        eventually!(gateway.metric(&line) == Some(1.0));
    }
    eventually!(gateway.metric(r#"gateway_active_requests{service="product"}"#) == Some(0.0));
    // The next client's answer is its own, whatever was left behind.
    let before = upstream.connections.load(SeqCst);
    let next = gateway.try_send(get("/api/products")).await;
    let same = upstream.connections.load(SeqCst) == before;
    assert_eq!(same, reused, "{name}: the connection was used again: {same}");
    if reused {
        assert_eq!(next.unwrap_or_else(|error| panic!("{name}: {error}")).body, "good", "{name}");
    }
}

#[tokio::test]
async fn whole_answers_pass_in_one_form_and_keep_their_connection() {
    for (name, method, answer, told) in [
        ("plain", "GET", GOOD, Whole(200, "good")),
        (
            "chunked",
            "GET",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4;x\r\ngood\r\n0\r\n\r\n",
            Whole(200, "good"),
        ),
        (
            "HTTP/1.0 kept alive",
            "GET",
            "HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 2\r\n\r\nok",
            Whole(200, "ok"),
        ),
        (
            "equal lengths",
            "GET",
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\nok",
            Whole(200, "ok"),
        ),
        ("no body", "GET", "HTTP/1.1 204 No Content\r\n\r\n", Whole(204, "")),
        ("length of a HEAD", "HEAD", "HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n", Whole(200, "")),
        ("length of a 304", "GET", "HTTP/1.1 304 Not Modified\r\ncontent-length: 7\r\n\r\n", Whole(304, "")),
        (
            "informational first",
            "GET",
            "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
            Whole(200, "ok"),
        ),
        (
            "an unasked 100",
            "GET",
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
            Whole(200, "ok"),
        ),
        ("a status nobody knows", "GET", "HTTP/1.1 299 \r\ncontent-length: 2\r\n\r\nok", Whole(299, "ok")),
    ] {
        try_answer(name, method, answer, false, told, true).await;
    }
}

#[tokio::test]
async fn answers_with_more_or_less_than_they_say_never_reach_another_client() {
    let poison = "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison";
    for (name, method, answer, told) in [
        (
            "more than its length",
            "GET",
            format!("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok{poison}"),
            Whole(200, "ok"),
        ),
        (
            "more than its chunks",
            "GET",
            format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n{poison}"),
            Whole(200, "ok"),
        ),
        ("a body after 204", "GET", format!("HTTP/1.1 204 No Content\r\n\r\n{poison}"), Whole(204, "")),
        (
            "a body after 304",
            "GET",
            format!("HTTP/1.1 304 Not Modified\r\ncontent-length: 6\r\n\r\n{poison}"),
            Whole(304, ""),
        ),
        ("a body after HEAD", "HEAD", format!("HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\n{poison}"), Whole(200, "")),
        ("a zero length", "GET", format!("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n{poison}"), Whole(200, "")),
        ("a line break", "GET", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok\r\n".to_owned(), Whole(200, "ok")),
    ] {
        try_answer(name, method, &answer, false, told, false).await;
    }
}

#[tokio::test]
async fn answers_that_end_with_their_connection_are_whole() {
    for (name, answer, told) in [
        ("HTTP/1.0", "HTTP/1.0 200 OK\r\n\r\nold", Whole(200, "old")),
        ("HTTP/1.1", "HTTP/1.1 200 OK\r\n\r\nok", Whole(200, "ok")),
        ("an empty one", "HTTP/1.1 200 OK\r\n\r\n", Whole(200, "")),
        ("said so", "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok", Whole(200, "ok")),
    ] {
        try_answer(name, "GET", answer, true, told, false).await;
    }
}

#[tokio::test]
async fn broken_answers_are_named_and_their_connection_is_not_used_again() {
    let reset = "upstream_reset";
    let invalid = Refused(502, "upstream_invalid");
    for (name, answer, told) in [
        ("nothing", "", Refused(502, reset)),
        ("half a status line", "HTTP/1.", Refused(502, reset)),
        ("half a head", "HTTP/1.1 200 OK\r\ncontent-le", Refused(502, reset)),
        ("only informational", "HTTP/1.1 103 Early Hints\r\n\r\n", Refused(502, reset)),
        ("less than its length", "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf", Broken(reset)),
        ("half a chunk", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhal", Broken(reset)),
        ("no last chunk", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n", Broken(reset)),
        (
            "half the trailers",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx: ",
            Broken(reset),
        ),
        ("a bad chunk", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n-1\r\nok\r\n0\r\n\r\n", Broken(reset)),
        ("a huge chunk", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\n", Broken(reset)),
        ("a longer chunk", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nok\r\n0\r\n\r\n", Broken(reset)),
        ("lengths that differ", "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nok", invalid),
        ("a signed length", "HTTP/1.1 200 OK\r\ncontent-length: +2\r\n\r\nok", invalid),
        ("a list of lengths", "HTTP/1.1 200 OK\r\ncontent-length: 2, 2\r\n\r\nok", invalid),
        (
            "length and coding",
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
            invalid,
        ),
        (
            "coding and length",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 2\r\n\r\n2\r\nok\r\n0\r\n\r\n",
            invalid,
        ),
        ("another coding", "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\nok", invalid),
        ("a coding before", "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", invalid),
        ("a coding after", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked, gzip\r\n\r\n2\r\nok\r\n0\r\n\r\n", invalid),
        ("coding in HTTP/1.0", "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", invalid),
        ("a folded line", "HTTP/1.1 200 OK\r\nx: 1\r\n 2\r\ncontent-length: 2\r\n\r\nok", invalid),
        ("a nul", "HTTP/1.1 200 OK\r\nx: \0\r\ncontent-length: 2\r\n\r\nok", invalid),
        ("a space before the colon", "HTTP/1.1 200 OK\r\ncontent-length : 2\r\n\r\nok", invalid),
        ("HTTP/2 in words", "HTTP/2 200\r\ncontent-length: 2\r\n\r\nok", invalid),
        ("HTTP/0.9", "<html>hello</html>\r\n\r\n", invalid),
        (
            "a switch nobody asked for",
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n",
            invalid,
        ),
    ] {
        // One that is not valid is given up whether or not its connection ends.
        let closes = told != invalid;
        try_answer(name, "GET", answer, closes, told, false).await;
    }
}

#[tokio::test]
async fn an_answer_that_has_no_body_and_two_lengths_does_not_leave_its_connection_to_others() {
    let two = "content-length: 1\r\ncontent-length: 2\r\n";
    let both = "content-length: 1\r\ntransfer-encoding: chunked\r\n";
    for (name, method, answer) in [
        ("two lengths for a HEAD", "HEAD", format!("HTTP/1.1 200 OK\r\n{two}\r\n")),
        ("length and coding for a HEAD", "HEAD", format!("HTTP/1.1 200 OK\r\n{both}\r\n")),
        ("two lengths of a 204", "GET", format!("HTTP/1.1 204 No Content\r\n{two}\r\n")),
        ("two lengths of a 304", "GET", format!("HTTP/1.1 304 Not Modified\r\n{two}\r\n")),
        ("length and coding of a 304", "GET", format!("HTTP/1.1 304 Not Modified\r\n{both}\r\n")),
        ("two zeros", "GET", "HTTP/1.1 200 OK\r\ncontent-length: 0\r\ncontent-length: 00\r\n\r\n".to_owned()),
    ] {
        let upstream = answering(&answer, false).await;
        let gateway = one_worker(&upstream).await;
        let reply = gateway.send(request(method, "/api/products", "")).await;
        assert_eq!((reply.status(), reply.header("x-gateway-reason")), (502, Some("upstream_invalid")), "{name}");
        gateway.get("/api/products").await;
        assert_eq!(upstream.connections.load(SeqCst), 2, "{name}");
    }
}

#[tokio::test]
async fn heads_of_answers_are_bounded() {
    let large = |size: usize| format!("HTTP/1.1 200 OK\r\nx: {}\r\ncontent-length: 2\r\n\r\nok", "x".repeat(size));
    try_answer("60 kB", "GET", &large(60_000), false, Whole(200, "ok"), true).await;
    try_answer("200 kB", "GET", &large(200_000), false, Refused(502, "upstream_invalid"), false).await;
    let lines = format!("HTTP/1.1 200 OK\r\n{}content-length: 2\r\n\r\nok", "x: y\r\n".repeat(101));
    try_answer("lines", "GET", &lines, false, Refused(502, "upstream_invalid"), false).await;
}

#[tokio::test]
async fn bytes_on_an_unused_connection_reach_nobody() {
    // The poison comes when the connection lies in the pool.
    let poisoned = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&poisoned);
    let upstream = Upstream::raw(move |mut stream| {
        let counter = Arc::clone(&counter);
        async move {
            read_head(&mut stream).await;
            let _ = stream.write_all(GOOD.as_bytes()).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison").await;
            counter.fetch_add(1, SeqCst);
            let _ = stream.read_to_end(&mut Vec::new()).await;
        }
    })
    .await;
    let gateway = one_worker(&upstream).await;
    let mut client = Client::connect(gateway.addr).await;
    for round in 1..=20 {
        let reply = client.send(request("POST", "/api/products", "")).await.expect("an answer");
        assert_eq!((reply.status(), &reply.body[..]), (200, &b"good"[..]), "round {round}");
        eventually!(poisoned.load(SeqCst) == round);
    }
    assert_eq!(upstream.connections.load(SeqCst), 20, "none was used again");
}

#[tokio::test]
async fn a_few_informational_answers_and_a_slow_head_are_borne() {
    let upstream = Upstream::raw(|mut stream| async move {
        read_head(&mut stream).await;
        let answer = format!("{}{GOOD}", "HTTP/1.1 102 Processing\r\n\r\n".repeat(10));
        let mut ticks = tokio::time::interval(Duration::from_millis(1));
        for byte in answer.as_bytes() {
            ticks.tick().await;
            let _ = stream.write_all(&[*byte]).await;
        }
        let _ = stream.read_to_end(&mut Vec::new()).await;
    })
    .await;
    let gateway = one_worker(&upstream).await;
    assert_eq!(gateway.get("/api/products").await.body, "good");
}
