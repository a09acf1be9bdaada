//! Compressed answers: which are, how their heads say so, and that they come piece by piece.

use std::convert::Infallible;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use shop_testing::eventually;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_stream::wrappers::ReceiverStream;

use crate::routes::{bare, problems};
use crate::support::{Reply, Running, Upstream, http2, read_head, service};

const TEXT: &str = "path = '/*'\nto = 'one'\ncompress = true";
const CODINGS: [&str; 3] = ["gzip", "br", "zstd"];

/// Undoes a coding piece by piece.
enum Decoder {
    Gzip(flate2::write::GzDecoder<Vec<u8>>),
    Brotli(Box<brotli::DecompressorWriter<Vec<u8>>>),
    Zstd(zstd::stream::write::Decoder<'static, Vec<u8>>),
}

impl Decoder {
    fn of(coding: &str) -> Self {
        match coding {
            "gzip" => Self::Gzip(flate2::write::GzDecoder::new(Vec::new())),
            "br" => Self::Brotli(Box::new(brotli::DecompressorWriter::new(Vec::new(), 4096))),
            _ => Self::Zstd(zstd::stream::write::Decoder::new(Vec::new()).expect("a decoder")),
        }
    }

    /// All so far.
    fn feed(&mut self, piece: &[u8]) -> Vec<u8> {
        match self {
            Self::Gzip(decoder) => {
                decoder.write_all(piece).expect("gzip");
                decoder.flush().expect("gzip");
                decoder.get_ref().clone()
            }
            Self::Brotli(decoder) => {
                decoder.write_all(piece).expect("brotli");
                decoder.flush().expect("brotli");
                decoder.get_ref().clone()
            }
            Self::Zstd(decoder) => {
                decoder.write_all(piece).expect("zstd");
                decoder.flush().expect("zstd");
                decoder.get_ref().clone()
            }
        }
    }

    /// All of a whole body.
    fn whole(coding: &str, body: &[u8]) -> Vec<u8> {
        match coding {
            // Its checksum and length are looked at in the end only.
            "gzip" => {
                let mut decoder = flate2::write::GzDecoder::new(Vec::new());
                decoder.write_all(body).expect("gzip");
                decoder.finish().expect("a whole body")
            }
            "br" => {
                let mut text = Vec::new();
                brotli::BrotliDecompress(&mut &body[..], &mut text).expect("a whole body");
                text
            }
            _ => zstd::decode_all(body).expect("a whole body"),
        }
    }
}

fn prose(size: usize) -> Bytes {
    let words = ["basket ", "product ", "payment ", "seven ", "of ", "\n"];
    let text: String = (0..=size / 2).map(|place| words[place * place % 11 % words.len()]).collect();
    Bytes::from(text).slice(..size)
}

/// Asks over a new connection, with these headers.
fn ask(method: &str, target: &str, headers: &[(&str, &str)]) -> Request<Full<Bytes>> {
    let mut request = Request::builder().method(method).uri(target).header("host", "gw.test");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Full::default()).expect("a request")
}

/// Says what a request's `x-say` lines ask for: `status: 404`, `size: 100` or headers. An answer of HTML with 20 000 bytes
/// otherwise.
async fn obedient() -> Upstream {
    Upstream::serving(|request| async move {
        let mut response = Response::new(Full::new(prose(20_000)));
        response.headers_mut().insert("content-type", "text/html; charset=utf-8".parse().expect("a value"));
        for line in request.headers().get_all("x-say") {
            let (name, value) = line.to_str().expect("text").split_once(": ").expect("a pair");
            match name {
                "status" => *response.status_mut() = value.parse().expect("a status"),
                "size" => *response.body_mut() = Full::new(prose(value.parse().expect("a size"))),
                name => {
                    let name: http::HeaderName = name.parse().expect("a name");
                    response.headers_mut().insert(name, value.parse().expect("a value"));
                }
            }
        }
        if [204, 304].contains(&response.status().as_u16()) {
            *response.body_mut() = Full::default();
        }
        response
    })
    .await
}

async fn running(upstream: &Upstream, route: &str) -> Running {
    Running::start(bare(&[("one", service(&[upstream.addr]))], &[("all", route)])).await
}

fn said<'a>(accept: &'a str, lines: &[&'a str]) -> Vec<(&'static str, &'a str)> {
    let lines = lines.iter().map(|line| ("x-say", *line));
    [("accept-encoding", accept)].into_iter().chain(lines).collect()
}

impl Reply {
    fn is_compressed(&self) -> bool {
        self.header("content-encoding").is_some()
    }
}

#[tokio::test]
async fn an_answer_is_compressed_as_the_client_likes_and_says_so() {
    let upstream = obedient().await;
    let gateway = running(&upstream, TEXT).await;
    let lines = ["etag: \"v1\"", "accept-ranges: bytes", "vary: origin"];
    for coding in CODINGS {
        let first = gateway.send(ask("GET", "/", &said(coding, &lines))).await;
        let mut client = http2(gateway.addr).await;
        let mut request = ask("GET", "http://gw.test/", &said(coding, &lines));
        request.headers_mut().remove("host");
        let (head, body) = client.send_request(request).await.expect("an answer").into_parts();
        let body = body.collect().await.expect("is whole").to_bytes();
        for reply in [first, Reply { head, trailers: None, body }] {
            assert_eq!(reply.status(), 200);
            assert_eq!(reply.header("content-encoding"), Some(coding));
            assert!(reply.body.len() < 10_000, "{coding}: {}", reply.body.len());
            assert_eq!(Decoder::whole(coding, &reply.body), prose(20_000), "{coding}");
            assert_eq!(reply.header("etag"), Some("W/\"v1\""));
            assert_eq!(reply.header("accept-ranges"), None);
            assert_eq!(reply.header("content-length"), None);
            let vary: Vec<_> = reply.head.headers.get_all("vary").iter().collect();
            assert_eq!(vary, ["origin", "accept-encoding"]);
        }
    }
    let head = gateway.send(ask("HEAD", "/", &said("br", &lines))).await;
    assert_eq!((head.header("content-encoding"), head.header("etag")), (Some("br"), Some("W/\"v1\"")));
    assert_eq!((head.header("content-length"), head.body.len()), (None, 0));
    let large = gateway.send(ask("GET", "/", &said("br", &["size: 3000000"]))).await;
    assert_eq!(Decoder::whole("br", &large.body), prose(3_000_000));
}

#[tokio::test]
async fn what_is_not_to_be_compressed_comes_as_it_is() {
    let upstream = obedient().await;
    let gateway = running(&upstream, TEXT).await;
    for (lines, varies) in [
        (&["content-type: image/png"][..], false),
        (&["size: 1023"], false),
        (&["content-encoding: br"], false),
        (&["content-encoding: identity"], false),
        (&["cache-control: public, No-Transform"], false),
        (&["cache-control: max-age=1, private"], false),
        (&["cache-control: private=\"x-name\""], false),
        (&["set-cookie: a=b"], false),
        (&["repr-digest: sha-256=:AA==:"], false),
        (&["content-md5: AA=="], false),
        (&["status: 206", "content-range: bytes 0-19999/30000"], false),
        (&["status: 204"], false),
        (&["status: 205"], false),
        (&["status: 304"], false),
    ] {
        let mut lines = lines.to_vec();
        lines.push("etag: \"v1\"");
        let reply = gateway.send(ask("GET", "/", &said("gzip, br, zstd", &lines))).await;
        let own = lines.iter().find_map(|line| line.strip_prefix("content-encoding: "));
        assert_eq!(reply.header("content-encoding"), own, "{lines:?}");
        assert_eq!(reply.header("etag"), Some("\"v1\""), "{lines:?}");
        assert_eq!(reply.header("vary").is_some(), varies, "{lines:?}");
        if reply.status() == 200 {
            assert_eq!(reply.header("content-length"), Some(&*reply.body.len().to_string()), "{lines:?}");
        }
    }
    for accept in ["", "identity", "gzip;q=0", "deflate"] {
        let reply = gateway.send(ask("GET", "/", &said(accept, &[]))).await;
        assert_eq!((reply.is_compressed(), reply.body.len()), (false, 20_000), "{accept}");
        assert_eq!(reply.header("vary"), Some("accept-encoding"), "another client gets another answer");
    }
    let asked = [("accept-encoding", "gzip"), ("cache-control", "no-transform")];
    assert!(!gateway.send(ask("GET", "/", &asked)).await.is_compressed());
    for (lines, coding) in [(&["size: 1024"][..], Some("gzip")), (&["status: 404"], Some("gzip"))] {
        let reply = gateway.send(ask("GET", "/", &said("gzip", lines))).await;
        assert_eq!(reply.header("content-encoding"), coding, "{lines:?}");
    }
}

#[tokio::test]
async fn a_client_that_is_told_it_has_the_latest_hears_the_name_it_knows() {
    let upstream = obedient().await;
    let gateway = running(&upstream, TEXT).await;
    for (has, told, vary) in
        [("W/\"v1\"", "W/\"v1\"", true), ("\"v1\"", "\"v1\"", false), ("\"v2\", W/\"v1\"", "W/\"v1\"", true)]
    {
        let mut headers = said("gzip", &["status: 304", "etag: \"v1\""]);
        headers.push(("if-none-match", has));
        let reply = gateway.send(ask("GET", "/", &headers)).await;
        assert_eq!((reply.status(), reply.header("etag")), (304, Some(told)), "{has}");
        assert_eq!(reply.header("vary").is_some(), vary, "{has}");
    }
}

#[tokio::test]
async fn a_route_says_whether_what_and_with_secrets() {
    let upstream = obedient().await;
    let routes = [
        ("off", "path = '/off'\nto = 'one'"),
        ("no", "path = '/no'\nto = 'one'\ncompress = false"),
        ("secrets", "path = '/secrets'\nto = 'one'\ncompress = { secrets = true }"),
        ("types", "path = '/types'\nto = 'one'\ncompress = { types = ['image/*'] }"),
        (
            "asked",
            "path = '/asked'\nto = 'one'\ncompress = true\nrequest_headers = { remove = ['accept-encoding'] }\n\
             response_headers = { remove = ['cache-control'] }",
        ),
    ];
    let gateway = Running::start(bare(&[("one", service(&[upstream.addr]))], &routes)).await;
    for (target, line, expected) in [
        ("/off", "server: x", false),
        ("/no", "server: x", false),
        ("/secrets", "set-cookie: a=b", true),
        ("/secrets", "cache-control: private", true),
        ("/secrets", "cache-control: no-transform", false),
        ("/types", "server: x", false),
        ("/types", "content-type: image/bmp", true),
        // What the client takes is for it to say, whatever the service hears.
        ("/asked", "cache-control: private", true),
    ] {
        let reply = gateway.send(ask("GET", target, &said("gzip", &[line]))).await;
        assert_eq!(reply.is_compressed(), expected, "{target} {line}");
        if !expected {
            assert_eq!(reply.header("vary"), None, "{target} {line}");
        }
    }
    for (route, expected) in [
        ("path = '/*'\nto = 'one'\ncompress = { types = ['text'] }", "compress.types.0"),
        ("path = '/*'\nto = 'one'\ncompress = { types = [] }", "compress.types"),
        ("path = '/*'\nrespond = { body = 'x' }\ncompress = true", "compress"),
        ("grpc = 'a.B'\nto = 'one'\ncompress = true", "compress"),
    ] {
        let problems = problems(&[("x", route)]);
        assert!(problems.contains(&format!("routes.x.{expected}")), "{route}: {problems}");
    }
}

/// A server whose answers are what comes by `pieces`, of the type of events.
async fn live(pieces: tokio::sync::mpsc::Receiver<Result<Frame<Bytes>, Infallible>>) -> Upstream {
    let pieces = Arc::new(std::sync::Mutex::new(Some(pieces)));
    Upstream::raw(move |stream| {
        let pieces = Arc::clone(&pieces);
        let service = service_fn(move |_: Request<Incoming>| {
            let pieces = pieces.lock().expect("whole").take().expect("asked once");
            let mut response = Response::new(StreamBody::new(ReceiverStream::new(pieces)));
            response.headers_mut().insert("content-type", "text/event-stream".parse().expect("a value"));
            response.headers_mut().insert("trailer", "x-sum".parse().expect("a value"));
            async move { Ok::<_, Infallible>(response) }
        });
        async move {
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        }
    })
    .await
}

#[tokio::test]
async fn an_event_is_there_before_the_next_and_trailers_come_behind() {
    for coding in CODINGS {
        let (sender, pieces) = tokio::sync::mpsc::channel(1);
        let upstream = live(pieces).await;
        let gateway = running(&upstream, TEXT).await;
        let stream = TcpStream::connect(gateway.addr).await.expect("connects");
        let (mut client, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("shakes hands");
        tokio::spawn(connection);
        let answer = client.send_request(ask("GET", "/", &[("accept-encoding", coding), ("te", "trailers")])).await;
        let mut answer = answer.expect("an answer");
        assert_eq!(answer.headers()["content-encoding"], coding);
        let mut decoder = Decoder::of(coding);
        let mut expected = Vec::new();
        for number in 0..5 {
            let event = format!("data: {number}\n\n");
            expected.extend_from_slice(event.as_bytes());
            sender.send(Ok(Frame::data(event.into()))).await.expect("is wanted");
            let mut seen = Vec::new();
            while seen.len() < expected.len() {
                let next = tokio::time::timeout(Duration::from_secs(10), answer.frame()).await;
                let frame = next.expect("the event comes before the next").expect("more").expect("no error");
                seen = decoder.feed(&frame.into_data().expect("data"));
            }
            assert_eq!(seen, expected, "{coding}");
        }
        let trailers = http::HeaderMap::from_iter([("x-sum".parse().expect("a name"), "5".parse().expect("a value"))]);
        sender.send(Ok(Frame::trailers(trailers))).await.expect("is wanted");
        drop(sender);
        let end = answer.collect().await.expect("is whole");
        assert_eq!(end.trailers().expect("trailers")["x-sum"], "5");
    }
}

#[tokio::test]
async fn who_reads_nothing_holds_up_the_backend_and_an_answer_cut_short_is_not_whole() {
    let written = Arc::new(AtomicUsize::new(0));
    let stalled = Arc::new(AtomicUsize::new(0));
    let (counter, stalls) = (Arc::clone(&written), Arc::clone(&stalled));
    let upstream = Upstream::raw(move |mut stream| {
        let (counter, stalls) = (Arc::clone(&counter), Arc::clone(&stalls));
        async move {
            let head = read_head(&mut stream).await;
            let answer = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 1000000000\r\n\r\n";
            stream.write_all(answer.as_bytes()).await.expect("writes");
            if head.starts_with(b"GET /cut") {
                let _ = stream.write_all(&prose(100_000)).await;
                return;
            }
            // Nothing that could be compressed.
            let noise: Vec<u8> = (0..64 * 1024).map(|_| fastrand::u8(..)).collect();
            loop {
                match tokio::time::timeout(Duration::from_secs(1), stream.write(&noise)).await {
                    Ok(Ok(size)) => counter.fetch_add(size, SeqCst),
                    Ok(Err(_)) => return,
                    Err(_) => stalls.fetch_add(1, SeqCst),
                };
            }
        }
    })
    .await;
    let gateway = running(&upstream, TEXT).await;
    for coding in CODINGS {
        let mut cut = TcpStream::connect(gateway.addr).await.expect("connects");
        let request = format!("GET /cut HTTP/1.1\r\nhost: a\r\naccept-encoding: {coding}\r\n\r\n");
        cut.write_all(request.as_bytes()).await.expect("writes");
        let mut answer = Vec::new();
        let _ = cut.read_to_end(&mut answer).await;
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 200"), "{coding}");
        assert!(!answer.ends_with(b"\r\n0\r\n\r\n"), "{coding}: half an answer is not a whole one");
    }
    let mut idle = TcpStream::connect(gateway.addr).await.expect("connects");
    idle.write_all(b"GET / HTTP/1.1\r\nhost: a\r\naccept-encoding: zstd\r\n\r\n").await.expect("writes");
    eventually!(stalled.load(SeqCst) > 1);
    assert!(written.load(SeqCst) < 64 << 20, "{}", written.load(SeqCst));
}

#[tokio::test]
async fn a_client_that_leaves_an_answer_is_seen() {
    let upstream = obedient().await;
    let gateway = running(&upstream, TEXT).await;
    let mut client = TcpStream::connect(gateway.addr).await.expect("connects");
    let request = "GET / HTTP/1.1\r\nhost: a\r\naccept-encoding: gzip\r\nx-say: size: 30000000\r\n\r\n";
    client.write_all(request.as_bytes()).await.expect("writes");
    read_head(&mut client).await;
    drop(client);
    let line = "gateway_requests_total{method=\"GET\",service=\"one\",status=\"499\"}";
    eventually!(gateway.metric(line) == Some(1.0));
}
