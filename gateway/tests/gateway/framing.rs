//! Requests that two readers could delimit differently: each is refused, or reaches the backend in one form.

use std::time::Duration;

use shop_testing::eventually;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::recorder::Recorder;
use crate::support::{Running, Upstream, read_head};

const GET: &str = "GET /api/products HTTP/1.1\r\nhost: a\r\n";
const POST: &str = "POST /api/products HTTP/1.1\r\nhost: a\r\n";
/// What a smuggler would like to be taken for a request of its own.
const SMUGGLED: &str = "GET /api/products/smuggled HTTP/1.1\r\nhost: a\r\n\r\n";

/// A request whose trailers are what the gateway says of it, and one more.
fn vouched() -> String {
    let names = [
        "x-forwarded-for",
        "x-forwarded-proto",
        "forwarded",
        "via",
        "x-request-id",
        "traceparent",
        "connection",
        "cookie",
        "proxy-authorization",
        "x",
    ];
    let trailers = names.map(|name| format!("{name}: y\r\n")).concat();
    let names = names.join(", ");
    format!("{POST}transfer-encoding: chunked\r\ntrailer: {names}\r\n\r\n1\r\na\r\n0\r\n{trailers}\r\n")
}

/// Sends `bytes`, reads until the gateway closes.
async fn send(gateway: &Running, bytes: impl AsRef<[u8]>) -> String {
    gateway.raw(bytes).await
}

#[track_caller]
fn assert_refused(name: &str, answer: &str, status: u16, reason: &str) {
    let head = answer.split("\r\n\r\n").next().unwrap_or_default().to_owned() + "\r\n";
    assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{name}: {answer:?}");
    assert!(head.contains("content-type: application/problem+json\r\n"), "{name}: {answer:?}");
    assert!(head.contains(&format!("x-gateway-reason: {reason}\r\n")), "{name}: {answer:?}");
    assert!(head.contains("connection: close\r\n") && head.contains("x-request-id: "), "{name}: {answer:?}");
    assert!(head.contains("x-content-type-options: nosniff\r\n"), "{name}: {answer:?}");
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{name}: {answer:?}");
    let body = answer.split_once("\r\n\r\n").expect("a body").1;
    let problem: serde_json::Value =
        serde_json::from_str(body).unwrap_or_else(|error| panic!("{name}: {error} {body}"));
    assert_eq!((&problem["code"], &problem["status"]), (&reason.into(), &status.into()), "{name}");
    assert!(head.contains(&format!("x-request-id: {}\r\n", problem["request_id"].as_str().expect("an id"))), "{name}");
}

/// Each of `table` is refused, and no backend sees it.
async fn all_refused(table: &[(&str, String)]) {
    let recorder = Recorder::start().await;
    let gateway = Running::before(recorder.upstream.addr).await;
    for (name, bytes) in table {
        let answer = send(&gateway, bytes).await;
        assert_refused(name, &answer, 400, "bad_request");
        assert_eq!(recorder.take(), [], "{name}");
    }
    let counted = gateway.metric(r#"gateway_refusals_total{reason="bad_request",service="gateway"}"#);
    assert_eq!(counted.map(|count| count.to_string()), Some(table.len().to_string()));
}

#[tokio::test]
async fn lengths_and_codings_with_two_readings_are_refused() {
    let chunked = "transfer-encoding: chunked\r\n";
    all_refused(&[
        ("length, then coding", format!("{POST}content-length: 5\r\n{chunked}\r\n0\r\n\r\n")),
        ("coding, then length", format!("{POST}{chunked}content-length: 5\r\n\r\n0\r\n\r\n")),
        ("no length, and coding", format!("{POST}content-length: 0\r\n{chunked}\r\n0\r\n\r\n")),
        ("two lengths that differ", format!("{POST}content-length: 1\r\ncontent-length: 2\r\n\r\nab")),
        ("two lengths that are equal", format!("{POST}content-length: 1\r\nContent-Length: 1\r\n\r\na")),
        ("a list of lengths", format!("{POST}content-length: 1, 1\r\n\r\na")),
        ("a list without space", format!("{POST}content-length: 5,5\r\n\r\nabcde")),
        ("a signed length", format!("{POST}content-length: +5\r\n\r\nabcde")),
        ("a negative length", format!("{POST}content-length: -5\r\n\r\nabcde")),
        ("two numbers", format!("{POST}content-length:  5 6\r\n\r\nabcde")),
        ("a hex length", format!("{POST}content-length: 0x5\r\n\r\nabcde")),
        ("hex digits", format!("{POST}content-length: a\r\n\r\n0123456789")),
        ("a fraction", format!("{POST}content-length: 5.0\r\n\r\nabcde")),
        ("an exponent", format!("{POST}content-length: 5e0\r\n\r\nabcde")),
        ("quotes", format!("{POST}content-length: \"5\"\r\n\r\nabcde")),
        ("an empty length", format!("{POST}content-length:\r\n\r\n")),
        ("a length over 64 bits", format!("{POST}content-length: 18446744073709551617\r\n\r\na")),
        ("a length that fills 64 bits", format!("{POST}content-length: 18446744073709551615\r\n\r\na")),
        ("other digits", format!("{POST}content-length: \u{0665}\r\n\r\nabcde")),
        ("a vertical tab in the length", format!("{POST}content-length: \x0b5\r\n\r\nabcde")),
        ("gzip", format!("{POST}transfer-encoding: gzip\r\n\r\n")),
        ("gzip, chunked", format!("{POST}transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n")),
        ("chunked, identity", format!("{POST}transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n")),
        ("identity", format!("{POST}transfer-encoding: identity\r\ncontent-length: 1\r\n\r\na")),
        ("chunked twice in a line", format!("{POST}transfer-encoding: chunked, chunked\r\n\r\n0\r\n\r\n")),
        ("chunked twice", format!("{POST}{chunked}{chunked}\r\n0\r\n\r\n")),
        ("chunked and identity", format!("{POST}{chunked}transfer-encoding: identity\r\n\r\n0\r\n\r\n")),
        ("identity and chunked", format!("{POST}transfer-encoding: identity\r\n{chunked}\r\n0\r\n\r\n")),
        ("xchunked", format!("{POST}transfer-encoding: xchunked\r\n\r\n0\r\n\r\n")),
        ("chunkedx", format!("{POST}transfer-encoding: chunkedx\r\n\r\n0\r\n\r\n")),
        ("a parameter", format!("{POST}transfer-encoding: chunked;q=1\r\n\r\n0\r\n\r\n")),
        ("an empty coding", format!("{POST}transfer-encoding:\r\n\r\n0\r\n\r\n")),
        ("an empty list item", format!("{POST}transfer-encoding: ,chunked\r\n\r\n0\r\n\r\n")),
        ("a quoted coding", format!("{POST}transfer-encoding: \"chunked\"\r\n\r\n0\r\n\r\n")),
        ("a vertical tab", format!("{POST}transfer-encoding: \x0bchunked\r\n\r\n0\r\n\r\n")),
        ("a form feed", format!("{POST}transfer-encoding: chunked\x0c\r\n\r\n0\r\n\r\n")),
        ("a no-break space", format!("{POST}transfer-encoding: chunked\u{a0}\r\n\r\n0\r\n\r\n")),
        ("a nul", format!("{POST}transfer-encoding: chunked\0\r\n\r\n0\r\n\r\n")),
        (
            "HTTP/1.0 with coding",
            "POST /api/products HTTP/1.0\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n".into(),
        ),
    ])
    .await;
}

#[tokio::test]
async fn lines_with_two_readings_are_refused() {
    all_refused(&[
        ("a folded line", format!("{GET}x: 1\r\n 2\r\n\r\n")),
        ("a folded coding", format!("{POST}transfer-encoding:\r\n chunked\r\n\r\n0\r\n\r\n")),
        ("a tab before the first header", "GET /api/products HTTP/1.1\r\n\thost: a\r\n\r\n".into()),
        ("a space before the first header", "GET /api/products HTTP/1.1\r\n host: a\r\n\r\n".into()),
        ("a folded request line", "GET /api/products\r\n HTTP/1.1\r\nhost: a\r\n\r\n".into()),
        ("a space before the colon", format!("{POST}content-length : 1\r\n\r\na")),
        ("a tab before the colon", format!("{POST}transfer-encoding\t: chunked\r\n\r\n0\r\n\r\n")),
        ("no colon", format!("{GET}content-length\r\n\r\n")),
        ("no name", format!("{GET}: 1\r\n\r\n")),
        ("a nul in a name", format!("{GET}x\0: 1\r\n\r\n")),
        ("a nul in a value", format!("{GET}x: \0\r\n\r\n")),
        ("a bare CR in a value", format!("{GET}x: 1\r2\r\n\r\n")),
        ("a bare CR for a line's end", format!("{GET}x: 1\rcontent-length: 1\r\n\r\n")),
        ("a bare CR before CRLF", format!("{GET}x: 1\r\r\n\r\n")),
        ("a bare LF for a line's end", format!("{GET}x: 1\ncontent-length: 1\r\n\r\n")),
        ("a bare LF after the request line", "GET /api/products HTTP/1.1\nhost: a\r\n\r\n".into()),
        ("a bare LF for the head's end", format!("{GET}\n")),
        ("bare LFs for the head's end", "GET /api/products HTTP/1.1\r\nhost: a\n\n".into()),
        ("bare LFs only", "GET /api/products HTTP/1.1\nhost: a\n\n".into()),
        ("CRLF, then a bare LF", format!("{GET}x: 1\r\n\n")),
        ("a bare LF before the request", format!("\n{GET}\r\n")),
        ("two empty lines before the request", format!("\r\n\r\n{GET}\r\n")),
        ("a delete", format!("{GET}x: \x7f\r\n\r\n")),
        ("an escape", format!("{GET}x: \x1b[2J\r\n\r\n")),
        ("HTTP/0.9", "GET /api/products\r\n".into()),
        ("HTTP/0.9 with a head", "GET /api/products\r\nhost: a\r\n\r\n".into()),
        ("HTTP/1.2", "GET /api/products HTTP/1.2\r\nhost: a\r\n\r\n".into()),
        ("HTTP/2.0", "GET /api/products HTTP/2.0\r\nhost: a\r\n\r\n".into()),
        ("http/1.1", "GET /api/products http/1.1\r\nhost: a\r\n\r\n".into()),
        ("HTTP/1.10", "GET /api/products HTTP/1.10\r\nhost: a\r\n\r\n".into()),
        ("two spaces", "GET  /api/products HTTP/1.1\r\nhost: a\r\n\r\n".into()),
        ("a tab", "GET\t/api/products HTTP/1.1\r\nhost: a\r\n\r\n".into()),
        ("a space in the target", "GET /api/pro ducts HTTP/1.1\r\nhost: a\r\n\r\n".into()),
        ("a space after the version", "GET /api/products HTTP/1.1 \r\nhost: a\r\n\r\n".into()),
        ("a space before the method", " GET /api/products HTTP/1.1\r\nhost: a\r\n\r\n".into()),
        ("a control character in the target", "GET /api/products\x01 HTTP/1.1\r\nhost: a\r\n\r\n".into()),
        ("a target that is no URI", "GET /api/products<> HTTP/1.1\r\nhost: a\r\n\r\n".into()),
        ("a target without a slash", "GET api/products HTTP/1.1\r\nhost: a\r\n\r\n".into()),
        ("an HTTP/2 preface without its rest", "PRI * HTTP/2.0\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n".into()),
        ("a TLS hello", "\x16\x03\x01\x02\0\x01\0\x01\u{fc}\x03\x03".into()),
    ])
    .await;
}

#[tokio::test]
async fn hosts_and_connections_with_two_readings_are_refused() {
    all_refused(&[
        ("no host", "GET /api/products HTTP/1.1\r\n\r\n".into()),
        ("no host, though the target has one", "GET http://a/api/products HTTP/1.1\r\n\r\n".into()),
        ("an empty host", "GET /api/products HTTP/1.1\r\nhost:\r\n\r\n".into()),
        ("two hosts", "GET /api/products HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n".into()),
        ("two hosts that are equal", "GET /api/products HTTP/1.1\r\nhost: a\r\nHost: a\r\n\r\n".into()),
        ("a host with a path", "GET /api/products HTTP/1.1\r\nhost: a/b\r\n\r\n".into()),
        ("a host with a user", "GET /api/products HTTP/1.1\r\nhost: a@b\r\n\r\n".into()),
        ("a list of hosts", "GET /api/products HTTP/1.1\r\nhost: a, b\r\n\r\n".into()),
        ("target and host disagree", "GET http://b/api/products HTTP/1.1\r\nhost: a\r\n\r\n".into()),
        ("their ports disagree", "GET http://a:80/api/products HTTP/1.1\r\nhost: a:81\r\n\r\n".into()),
        ("a user in the target", "GET http://b@a/api/products HTTP/1.1\r\nhost: b@a\r\n\r\n".into()),
        ("a target of another scheme", "GET ftp://a/api/products HTTP/1.1\r\nhost: a\r\n\r\n".into()),
        ("a connection that ends at the host", format!("{GET}connection: host\r\n\r\n")),
        (
            "a connection that ends at the length",
            format!("{POST}connection: close, Content-Length\r\ncontent-length: 1\r\n\r\na"),
        ),
        ("a connection that ends at the client", format!("{GET}connection: x-forwarded-for\r\n\r\n")),
        ("a second line does", format!("{GET}connection: close\r\nconnection: forwarded\r\n\r\n")),
    ])
    .await;
}

#[tokio::test]
async fn chunks_with_two_readings_are_refused() {
    let recorder = Recorder::start().await;
    let gateway = Running::before(recorder.upstream.addr).await;
    let head = format!("{POST}transfer-encoding: chunked\r\n\r\n");
    for (name, body) in [
        ("no size", "\r\n\r\n"),
        ("no number", "x\r\n\r\n"),
        ("a signed size", "+1\r\na\r\n0\r\n\r\n"),
        ("a negative size", "-1\r\na\r\n0\r\n\r\n"),
        ("a hex prefix", "0x1\r\na\r\n0\r\n\r\n"),
        ("a space before the size", " 1\r\na\r\n0\r\n\r\n"),
        ("a space after the size", "1 \r\na\r\n0\r\n\r\n"),
        ("a size over 64 bits", "10000000000000001\r\na\r\n0\r\n\r\n"),
        ("a bare LF after the size", "1\na\r\n0\r\n\r\n"),
        ("a bare CR after the size", "1\ra\r\n0\r\n\r\n"),
        ("a bare LF in an extension", "1;x\na\r\n0\r\n\r\n"),
        ("a bare CR in an extension", "1;x\ra\r\n0\r\n\r\n"),
        ("a nul in an extension", "1;\0\r\na\r\n0\r\n\r\n"),
        ("a chunk that is longer", "1\r\nab\r\n0\r\n\r\n"),
        ("a chunk that is shorter", "3\r\na\r\n0\r\n\r\n"),
        ("a bare LF after the data", "1\r\na\n0\r\n\r\n"),
        ("a bare LF for the end", "1\r\na\r\n0\r\n\n"),
        ("a bare LF in the trailers", "0\r\nx: 1\ny: 2\r\n\r\n"),
        ("a bare CR in the trailers", "0\r\nx: 1\ry: 2\r\n\r\n"),
        ("a nul in the trailers", "0\r\nx: \0\r\n\r\n"),
        ("a folded trailer", "0\r\nx: 1\r\n 2\r\n\r\n"),
        ("a trailer without a colon", "0\r\nx\r\n\r\n"),
        ("a trailer without a name", "0\r\n: x\r\n\r\n"),
    ] {
        let answer = send(&gateway, format!("{head}{body}{SMUGGLED}")).await;
        assert_refused(name, &answer, 400, "bad_request");
        assert_eq!(recorder.take(), [], "{name}");
    }
    let long = format!("{head}1;{}\r\na\r\n0\r\n\r\n", "x".repeat(20_000));
    assert_refused("a long extension", &send(&gateway, long).await, 400, "bad_request");
    let long = format!("{head}0\r\n{}\r\n", "x: y\r\n".repeat(20_000));
    assert_refused("endless trailers", &send(&gateway, long).await, 400, "bad_request");
}

#[tokio::test]
async fn what_is_merely_unusual_reaches_the_backend_in_one_form() {
    let recorder = Recorder::start().await;
    let gateway = Running::before(recorder.upstream.addr).await;
    let chunked = "transfer-encoding: chunked\r\n";
    for (name, bytes, body) in [
        ("an empty line before", format!("\r\n{GET}\r\n"), ""),
        ("space around a length", format!("{POST}content-length: \t1 \t\r\n\r\na"), "a"),
        ("leading zeros", format!("{POST}content-length: 0001\r\n\r\na"), "a"),
        ("an empty body", format!("{POST}content-length: 0\r\n\r\n"), ""),
        ("a body of a GET", format!("{GET}content-length: 3\r\n\r\nabc"), "abc"),
        ("chunks of a GET", format!("{GET}{chunked}\r\n3\r\nabc\r\n0\r\n\r\n"), "abc"),
        ("a coding in capitals", format!("{POST}TRANSFER-ENCODING: Chunked\r\n\r\n1\r\na\r\n0\r\n\r\n"), "a"),
        ("a tab before the coding", format!("{POST}transfer-encoding:\tchunked\r\n\r\n1\r\na\r\n0\r\n\r\n"), "a"),
        ("extensions", format!("{POST}{chunked}\r\n1;a=\"b;c\" ;d\r\na\r\n0;e\r\n\r\n"), "a"),
        ("sizes with zeros and letters", format!("{POST}{chunked}\r\n00A\r\n0123456789\r\n000\r\n\r\n"), "0123456789"),
        ("trailers", format!("{POST}{chunked}\r\n1\r\na\r\n0\r\ncontent-length: 9\r\nhost: b\r\nx: y\r\n\r\n"), "a"),
        (
            "announced trailers",
            format!(
                "{POST}{chunked}trailer: content-length, host, transfer-encoding, x\r\n\r\n1\r\na\r\n0\r\ncontent-length: 9\r\nhost: b\r\ntransfer-encoding: x\r\nx: y\r\n\r\n"
            ),
            "a",
        ),
        ("announced trailers that the gateway vouches for", vouched(), "a"),
        (
            "an upgrade to HTTP/2",
            format!("{GET}connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n\r\n"),
            "",
        ),
        (
            "an upgrade with a body",
            format!("{POST}connection: upgrade\r\nupgrade: h2c\r\ncontent-length: 3\r\n\r\nabc"),
            "abc",
        ),
        ("absolute form", "GET http://a/api/products HTTP/1.1\r\nhost: a\r\n\r\n".into(), ""),
        ("absolute form in capitals", "GET HTTP://A/api/products HTTP/1.1\r\nhost: a\r\n\r\n".into(), ""),
        ("HTTP/1.0", "GET /api/products HTTP/1.0\r\nconnection: keep-alive\r\n\r\n".into(), ""),
        (
            "HTTP/1.0 with a body",
            "POST /api/products HTTP/1.0\r\nconnection: keep-alive\r\ncontent-length: 3\r\n\r\nabc".into(),
            "abc",
        ),
        ("bytes over 127", format!("{GET}x: \u{fc}\r\n\r\n"), ""),
        (
            "an underscore",
            format!("{POST}content_length: 5\r\ntransfer_encoding: chunked\r\ncontent-length: 1\r\n\r\na"),
            "a",
        ),
    ] {
        // What follows shows where the gateway saw the end.
        let answer =
            send(&gateway, format!("{bytes}GET /api/products/next HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"))
                .await;
        let taken = recorder.take();
        assert_eq!(answer.matches(" 200 OK\r\n").count(), 2, "{name}: {answer}");
        let lines: Vec<_> = taken.iter().map(|seen| seen.line.split(' ').nth(1).expect("a target")).collect();
        assert_eq!(lines, ["/products", "/products/next"], "{name}");
        assert_eq!(String::from_utf8_lossy(&taken[0].body), body, "{name}");
        assert_eq!(taken[0].values("host").len(), 1, "{name}");
        assert!(taken[0].trailers.iter().all(|trailer| trailer == "x: y"), "{name}: {:?}", taken[0].trailers);
        assert_eq!((taken[0].values("upgrade"), taken[0].values("http2-settings")), (vec![], vec![]), "{name}");
    }
}

#[tokio::test]
async fn heads_over_the_limits_are_refused_in_words() {
    let recorder = Recorder::start().await;
    let gateway = Running::before(recorder.upstream.addr).await;
    let long = |size: usize| format!("{GET}connection: close\r\nx: {}\r\n\r\n", "x".repeat(size));
    assert!(send(&gateway, long(31 * 1024)).await.starts_with("HTTP/1.1 200"));
    assert_eq!(recorder.take().len(), 1);
    for (name, bytes) in [
        ("a little", long(33 * 1024)),
        ("much", long(500 * 1024)),
        ("in the target", format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "x".repeat(40_000))),
        ("in the method", "X".repeat(40_000)),
        ("in lines", format!("{GET}{}\r\n", "y: 1\r\n".repeat(200))),
        ("in empty values", format!("{GET}{}\r\n", "y:\r\n".repeat(9000))),
    ] {
        assert_refused(name, &send(&gateway, bytes).await, 431, "head_too_large");
        assert_eq!(recorder.take(), [], "{name}");
    }
    assert_eq!(gateway.metric(r#"gateway_refusals_total{reason="head_too_large",service="gateway"}"#), Some(6.0));
    let target = format!("GET /api/products/{} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n", "x".repeat(9000));
    let answer = send(&gateway, target).await;
    assert!(answer.starts_with("HTTP/1.1 414") && answer.contains("x-gateway-reason: uri_too_long"), "{answer}");
}

#[tokio::test]
async fn a_refusal_comes_after_the_answers_to_what_came_before() {
    let recorder = Recorder::start().await;
    let gateway = Running::before(recorder.upstream.addr).await;
    let good =
        format!("{POST}content-length: 3\r\n\r\nabc{POST}transfer-encoding: chunked\r\n\r\n2\r\nde\r\n0\r\n\r\n");
    let answer = send(&gateway, format!("{good}{good}GET nonsense\r\n\r\n{SMUGGLED}")).await;
    assert_eq!(answer.matches("HTTP/1.1 200 OK\r\n").count(), 4, "{answer}");
    let last = answer.rfind("HTTP/1.1 ").expect("answers");
    assert_refused("after four", &answer[last..], 400, "bad_request");
    let bodies: Vec<_> = recorder.take().into_iter().map(|seen| seen.body).collect();
    assert_eq!(bodies, [b"abc".to_vec(), b"de".to_vec(), b"abc".to_vec(), b"de".to_vec()]);
}

#[tokio::test]
async fn requests_in_single_bytes_are_served_alike() {
    let recorder = Recorder::start().await;
    let gateway = Running::before(recorder.upstream.addr).await;
    let bytes = format!(
        "{POST}content-length: 3\r\n\r\nabc{POST}transfer-encoding: chunked\r\n\r\n2;x\r\nde\r\n0\r\nx: y\r\n\r\n{GET}\r\n{GET}x: 1\n"
    );
    let mut stream = TcpStream::connect(gateway.addr).await.expect("connects");
    stream.set_nodelay(true).expect("a socket");
    let (mut reader, mut writer) = stream.split();
    let mut answer = String::new();
    let write = async {
        for byte in bytes.as_bytes() {
            writer.write_all(&[*byte]).await.expect("writes");
            tokio::task::yield_now().await;
        }
    };
    let (read, ()) = tokio::join!(reader.read_to_string(&mut answer), write);
    read.expect("reads");
    assert_eq!(answer.matches("HTTP/1.1 200 OK\r\n").count(), 3, "{answer}");
    assert_eq!(answer.matches("HTTP/1.1 400 ").count(), 1, "{answer}");
    let bodies: Vec<_> = recorder.take().into_iter().map(|seen| seen.body).collect();
    assert_eq!(bodies, [b"abc".to_vec(), b"de".to_vec(), Vec::new()]);
}

#[tokio::test]
async fn whoever_is_refused_gets_the_answer_though_it_has_more_to_say() {
    let recorder = Recorder::start().await;
    let gateway = Running::before(recorder.upstream.addr).await;
    let mut bytes = b"GET nonsense\r\n\r\n".to_vec();
    bytes.resize(200_000, b'x');
    assert_refused("with much to say", &send(&gateway, bytes).await, 400, "bad_request");
    eventually!(gateway.metric("gateway_client_connections") == Some(0.0));
}

#[tokio::test]
async fn bytes_ahead_of_a_101_go_into_the_tunnel_whatever_they_look_like() {
    for ahead in ["\u{1}\u{2}\n\n\0", SMUGGLED, "GET /half", "POST / HTTP/1.1\r\ncontent-length: 1, 2\r\n\r\n"] {
        let upstream = Upstream::raw(|mut stream| async move {
            let mut seen = read_head(&mut stream).await;
            let head = seen.windows(4).position(|end| end == b"\r\n\r\n").expect("a head") + 4;
            let _ = stream.write_all(b"HTTP/1.1 101 Switching\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n").await;
            loop {
                let _ = stream.write_all(seen.get(head..).unwrap_or_default()).await;
                seen.truncate(head);
                if stream.read_buf(&mut seen).await.unwrap_or(0) == 0 {
                    return;
                }
            }
        })
        .await;
        let gateway = Running::before(upstream.addr).await;
        let mut client = TcpStream::connect(gateway.addr).await.expect("connects");
        let wish = format!("{GET}connection: upgrade\r\nupgrade: echo\r\n\r\n{ahead}");
        client.write_all(wish.as_bytes()).await.expect("writes");
        let (mut answer, echo) = (Vec::new(), format!("\r\n\r\n{ahead}"));
        while !answer.ends_with(echo.as_bytes()) {
            let read = tokio::time::timeout(Duration::from_secs(10), client.read_buf(&mut answer)).await;
            assert!(matches!(read, Ok(Ok(1..))), "{ahead:?}: {}", String::from_utf8_lossy(&answer));
        }
        assert!(answer.starts_with(b"HTTP/1.1 101 "), "{ahead:?}");
    }
}

#[tokio::test]
async fn another_protocol_is_not_answered_in_http() {
    let recorder = Recorder::start().await;
    let gateway = Running::before(recorder.upstream.addr).await;
    for bytes in [
        "INVALID CONNECTION PREFACE\r\n\r\n",
        "OPTIONS rtsp://a/b RTSP/1.0\r\nCSeq: 1\r\n\r\n",
        "INVITE sip:a@b SIP/2.0\r\n",
    ] {
        assert_eq!(send(&gateway, bytes).await, "", "{bytes:?}");
    }
    let counted = gateway.metric(r#"gateway_refusals_total{reason="bad_request",service="gateway"}"#);
    assert_eq!((counted, recorder.take()), (Some(3.0), vec![]));
}
