//! HTTP/2 frame by frame: hostile gRPC backends, and clients whose heads no library would send.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use shop_testing::eventually;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

use crate::peer::{DATA, END_HEADERS, END_STREAM, HEADERS, PING, PREFACE, Peer, RST_STREAM, SETTINGS, block, frame};
use crate::recorder::Recorder;
use crate::support::{Running, Upstream, config, reset};

pub(crate) const GOAWAY: u8 = 7;

impl Peer {
    /// As a server, after the client's preface and the settings of both.
    async fn server(stream: TcpStream) -> Self {
        let mut peer = Self { stream, read: BytesMut::new() };
        while peer.read.len() < PREFACE.len() && peer.more().await.is_ok() {}
        let _ = peer.read.split_to(PREFACE.len().min(peer.read.len()));
        peer.send(frame(SETTINGS, 0, 0, &[])).await;
        peer
    }

    async fn of(gateway: &Running) -> Self {
        Self::with_settings(gateway, &[]).await
    }

    /// A client of `gateway` with settings of its own, as they are on the wire.
    pub(crate) async fn with_settings(gateway: &Running, settings: &[u8]) -> Self {
        Self::client(TcpStream::connect(gateway.addr).await.expect("connects"), settings).await
    }

    /// Asks for `path`, without a body.
    pub(crate) async fn ask(&mut self, stream: u32, path: &str) -> bool {
        let head = block(&[(":method", "GET"), (":scheme", "http"), (":path", path), (":authority", "a")]);
        self.send(frame(HEADERS, END_HEADERS | END_STREAM, stream, &head)).await
    }

    /// The stream of the next whole call.
    pub(crate) async fn call(&mut self) -> Option<u32> {
        loop {
            let (_, flags, stream, _) = self.frame().await.filter(|frame| frame.0 <= HEADERS || frame.2 == 0)?;
            if stream != 0 && flags & END_STREAM != 0 {
                return Some(stream);
            }
        }
    }

    /// A good answer on `stream`.
    pub(crate) async fn answer(&mut self, stream: u32) -> bool {
        let head = block(&[(":status", "200"), ("content-type", "application/grpc")]);
        let end = block(&[("grpc-status", "0")]);
        let frames = [
            frame(HEADERS, END_HEADERS, stream, &head),
            frame(DATA, 0, stream, b"\0\0\0\0\x02ok"),
            frame(HEADERS, END_HEADERS | END_STREAM, stream, &end),
        ];
        self.send(frames.concat()).await
    }
}

/// A backend that does what `serve` says on each connection.
pub(crate) async fn backend<F>(serve: impl Fn(Peer) -> F + Clone + Send + Sync + 'static) -> Upstream
where
    F: Future<Output = ()> + Send + 'static,
{
    Upstream::raw(move |stream| {
        let serve = serve.clone();
        async move { serve(Peer::server(stream).await).await }
    })
    .await
}

/// What a gRPC client is told: status, reason, and whether the message came.
pub(crate) type Told = (Option<String>, Option<String>, bool);

/// Clients of the gateway.
pub(crate) struct Caller(hyper::client::conn::http2::SendRequest<Full<Bytes>>, String);

impl Caller {
    pub(crate) async fn connect(gateway: &Running) -> Self {
        let stream = TcpStream::connect(gateway.addr).await.expect("connects");
        let io = TokioIo::new(stream);
        let (sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.expect("shakes hands");
        tokio::spawn(connection);
        Self(sender, gateway.addr.to_string())
    }

    pub(crate) async fn call(&mut self, timeout: &str) -> Told {
        let request = hyper::Request::post(format!("http://{}/shop.product.v1.ProductService/Call", self.1))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("grpc-timeout", timeout)
            .body(Full::new(Bytes::from_static(b"\0\0\0\0\x02hi")))
            .expect("a request");
        let answer = self.0.send_request(request).await.expect("an answer");
        assert_eq!(answer.status(), 200);
        let (head, body) = answer.into_parts();
        let body = body.collect().await.expect("trailers, not a reset");
        let word = |name: &str| {
            let trailers = body.trailers().and_then(|trailers| trailers.get(name));
            let value = head.headers.get(name).or(trailers)?;
            Some(value.to_str().expect("text").to_owned())
        };
        let (status, reason) = (word("grpc-status"), word("x-gateway-reason"));
        (status, reason, &body.to_bytes()[..] == b"\0\0\0\0\x02ok")
    }
}

pub(crate) async fn gateway(upstream: &Upstream) -> Running {
    let mut settings = config(upstream.addr);
    settings.workers = 1;
    Running::start(settings).await
}

pub(crate) fn good() -> Told {
    (Some("0".into()), None, true)
}

pub(crate) fn refused(status: u8, reason: &str) -> Told {
    (Some(status.to_string()), Some(reason.into()), false)
}

#[tokio::test]
async fn a_graceful_goaway_costs_no_call() {
    // Every connection says after its first answer that it goes, as a backend does that restarts.
    let upstream = backend(|mut peer| async move {
        while let Some(stream) = peer.call().await {
            let last = [&stream.to_be_bytes()[..], &[0; 4]].concat();
            peer.answer(stream).await;
            peer.send(frame(GOAWAY, 0, 0, &last)).await;
        }
    })
    .await;
    let gateway = gateway(&upstream).await;
    let mut caller = Caller::connect(&gateway).await;
    for round in 0..20 {
        assert_eq!(caller.call("10S").await, good(), "round {round}");
    }
    assert!(upstream.connections.load(SeqCst) >= 10, "their connections are replaced");
}

#[tokio::test]
async fn calls_that_a_backend_did_not_touch_go_out_again_once() {
    let goaway = frame(GOAWAY, 0, 0, &[0, 0, 0, 0, 0, 0, 0, 2]);
    let refused_stream = |stream| frame(RST_STREAM, 0, stream, &[0, 0, 0, 7]);
    for (name, untouched) in [("goaway", goaway.clone()), ("refused", refused_stream(1))] {
        // The first connection takes nothing, those after it everything.
        let first = Arc::new(AtomicBool::new(true));
        let bytes = untouched.clone();
        let upstream = backend(move |mut peer| {
            let (first, bytes) = (Arc::clone(&first), bytes.clone());
            async move {
                while let Some(stream) = peer.call().await {
                    if first.swap(false, SeqCst) {
                        peer.send(bytes.clone()).await;
                    } else {
                        peer.answer(stream).await;
                    }
                }
            }
        })
        .await;
        let before = gateway(&upstream).await;
        assert_eq!(Caller::connect(&before).await.call("10S").await, good(), "{name}");
        // None of them is tried for ever.
        let upstream = backend(move |mut peer| {
            let bytes = untouched.clone();
            async move {
                while peer.call().await.is_some() {
                    peer.send(bytes.clone()).await;
                }
            }
        })
        .await;
        let before = gateway(&upstream).await;
        assert_eq!(Caller::connect(&before).await.call("10S").await, refused(14, "upstream_reset"), "{name}");
        assert_eq!(upstream.connections.load(SeqCst), 2, "{name}");
    }
}

#[tokio::test]
async fn a_goaway_in_the_middle_a_reset_and_a_broken_connection_are_upstream_reset() {
    // It may have been acted on: the backend does not take it back.
    let upstream = backend(|mut peer| async move {
        if let Some(stream) = peer.call().await {
            let last = [&stream.to_be_bytes()[..], &[0, 0, 0, 2]].concat();
            peer.send(frame(GOAWAY, 0, 0, &last)).await;
        }
    })
    .await;
    let before = gateway(&upstream).await;
    assert_eq!(Caller::connect(&before).await.call("10S").await, refused(14, "upstream_reset"));
    assert_eq!(upstream.connections.load(SeqCst), 1);

    let upstream = backend(|mut peer| async move {
        while let Some(stream) = peer.call().await {
            peer.send(frame(RST_STREAM, 0, stream, &[0, 0, 0, 2])).await;
        }
    })
    .await;
    let before = gateway(&upstream).await;
    let mut caller = Caller::connect(&before).await;
    assert_eq!(caller.call("10S").await, refused(14, "upstream_reset"));
    assert_eq!(caller.call("10S").await, refused(14, "upstream_reset"));
    assert_eq!(upstream.connections.load(SeqCst), 1, "a reset call leaves the connection to the others");

    let upstream = backend(|mut peer| async move {
        peer.call().await;
        reset(peer.stream);
    })
    .await;
    let before = gateway(&upstream).await;
    assert_eq!(Caller::connect(&before).await.call("10S").await, refused(14, "upstream_reset"));
    eventually!(before.metric(r#"gateway_refusals_total{reason="upstream_reset",service="product"}"#) == Some(1.0));
}

#[tokio::test]
async fn an_answer_reset_in_the_middle_ends_with_trailers_that_say_so() {
    let upstream = backend(|mut peer| async move {
        while let Some(stream) = peer.call().await {
            let head = block(&[(":status", "200"), ("content-type", "application/grpc")]);
            peer.send(frame(HEADERS, END_HEADERS, stream, &head)).await;
            peer.send(frame(DATA, 0, stream, b"\0\0\0\0\x09half")).await;
            peer.send(frame(RST_STREAM, 0, stream, &[0, 0, 0, 2])).await;
        }
    })
    .await;
    let gateway = gateway(&upstream).await;
    let mut caller = Caller::connect(&gateway).await;
    for _ in 0..3 {
        assert_eq!(caller.call("10S").await, refused(14, "upstream_reset"));
    }
    assert_eq!(upstream.connections.load(SeqCst), 1);
    eventually!(gateway.metric(r#"gateway_refusals_total{reason="upstream_reset",service="product"}"#) == Some(3.0));
    eventually!(gateway.metric(r#"gateway_active_requests{service="product"}"#) == Some(0.0));
}

#[tokio::test]
async fn answers_that_are_not_http2_are_refused_and_floods_are_borne() {
    let upper = block(&[(":status", "200"), ("X-Upper", "1")]);
    let none = block(&[("content-type", "application/grpc")]);
    let hop = block(&[(":status", "200"), ("connection", "close")]);
    for head in [upper, none, hop] {
        let upstream = backend(move |mut peer| {
            let head = head.clone();
            async move {
                while let Some(stream) = peer.call().await {
                    peer.send(frame(HEADERS, END_HEADERS, stream, &head)).await;
                }
            }
        })
        .await;
        let gateway = gateway(&upstream).await;
        let told = Caller::connect(&gateway).await.call("10S").await;
        assert!(told == refused(14, "upstream_reset") || told == refused(13, "upstream_invalid"), "{told:?}");
    }
    let upstream = backend(|mut peer| async move {
        while let Some(stream) = peer.call().await {
            let flood = [frame(SETTINGS, 0, 0, &[]), frame(PING, 0, 0, &[0; 8])].concat().repeat(2000);
            peer.send(flood).await;
            peer.answer(stream).await;
        }
    })
    .await;
    let gateway = gateway(&upstream).await;
    let mut caller = Caller::connect(&gateway).await;
    let told = caller.call("10S").await;
    // h2 may call it abuse and close, or bear it; in no case does the gateway suffer.
    assert!(told == good() || told == refused(14, "upstream_reset"), "{told:?}");
    assert_eq!(gateway.get("/health/live").await.status(), 200);
}

#[tokio::test]
async fn a_backend_that_says_nothing_is_given_up_on_when_the_call_is_due() {
    let upstream = Upstream::raw(|mut stream| async move {
        let _ = stream.read_to_end(&mut Vec::new()).await;
    })
    .await;
    let gateway = gateway(&upstream).await;
    let mut caller = Caller::connect(&gateway).await;
    assert_eq!(caller.call("200m").await, refused(4, "upstream_timeout"));
    eventually!(gateway.metric(r#"gateway_active_requests{service="product"}"#) == Some(0.0));
    // A server that speaks HTTP/1.1 only, as a wrong port does.
    let upstream = Upstream::saying("HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n").await;
    let gateway = self::gateway(&upstream).await;
    assert_eq!(Caller::connect(&gateway).await.call("10S").await, refused(14, "upstream_reset"));
}

/// What becomes of a request with this head and body over HTTP/2.
async fn becomes(gateway: &Running, head: &[u8], data: Option<&[u8]>) -> &'static str {
    let mut peer = Peer::of(gateway).await;
    let end = if data.is_none() { END_STREAM } else { 0 };
    peer.send(frame(HEADERS, END_HEADERS | end, 1, head)).await;
    if let Some(data) = data {
        peer.send(frame(DATA, END_STREAM, 1, data)).await;
    }
    let watched = async {
        while let Some((kind, _, stream, payload)) = peer.frame().await {
            match kind {
                RST_STREAM if stream == 1 => return if payload[3] == 1 { "reset" } else { "reset otherwise" },
                GOAWAY => return "goaway",
                // `:status 200` and `400` are in the static table.
                HEADERS if payload[0] == 0x88 => return "answered",
                HEADERS if payload[0] == 0x8c => return "refused",
                HEADERS => return "answered otherwise",
                _ => {}
            }
        }
        "closed"
    };
    tokio::time::timeout(Duration::from_secs(10), watched).await.unwrap_or("nothing")
}

#[tokio::test]
async fn http2_heads_with_two_readings_are_reset_or_refused() {
    let recorder = Recorder::start().await;
    let gateway = Running::before(recorder.upstream.addr).await;
    let method = (":method", "POST");
    let (scheme, path, host) = ((":scheme", "http"), (":path", "/api/products"), (":authority", "a"));
    let good = [method, scheme, path, host];
    let with = |more: &[(&'static str, &'static str)]| block(&[&good[..], more].concat());
    for (name, head, data, expected) in [
        ("good", with(&[]), None, "answered"),
        ("good with a body", with(&[("content-length", "3")]), Some(&b"abc"[..]), "answered"),
        ("no method", block(&[scheme, path, host]), None, "reset"),
        ("no scheme", block(&[method, path, host]), None, "reset"),
        ("no path", block(&[method, scheme, host]), None, "reset"),
        ("an empty path", block(&[method, scheme, (":path", ""), host]), None, "reset"),
        ("two paths", block(&[method, scheme, path, path, host]), None, "reset"),
        ("two methods", block(&[method, method, scheme, path, host]), None, "reset"),
        ("two authorities", block(&[method, scheme, path, host, host]), None, "reset"),
        ("a pseudo-header of an answer", with(&[(":status", "200")]), None, "reset"),
        ("one that nobody knows", with(&[(":x", "1")]), None, "reset"),
        ("one after the others", block(&[method, scheme, path, ("x", "1"), host]), None, "reset"),
        ("a request in the method", block(&[(":method", "GET / HTTP/1.1\r\nx: y"), scheme, path, host]), None, "reset"),
        ("a request in the path", block(&[method, scheme, (":path", "/ HTTP/1.1\r\nx: y"), host]), None, "reset"),
        ("a space in the path", block(&[method, scheme, (":path", "/api/products x"), host]), None, "reset"),
        ("a path without a slash", block(&[method, scheme, (":path", "api/products"), host]), None, "reset"),
        ("a line in the authority", block(&[method, scheme, path, (":authority", "a\r\nx: y")]), None, "reset"),
        ("capitals in a name", with(&[("X-Upper", "1")]), None, "reset"),
        ("a line in a name", with(&[("x: y\r\nz", "1")]), None, "reset"),
        ("a colon in a name", with(&[("x:y", "1")]), None, "reset"),
        ("a line in a value", with(&[("x", "1\r\ncontent-length: 5")]), None, "reset"),
        ("a nul in a value", with(&[("x", "\0")]), None, "reset"),
        ("a transfer coding", with(&[("transfer-encoding", "chunked")]), Some(b"0\r\n\r\n"), "reset"),
        ("connection", with(&[("connection", "close")]), None, "reset"),
        ("keep-alive", with(&[("keep-alive", "1")]), None, "reset"),
        ("upgrade", with(&[("upgrade", "h2c")]), None, "reset"),
        ("proxy-connection", with(&[("proxy-connection", "close")]), None, "reset"),
        ("te other than trailers", with(&[("te", "gzip")]), None, "reset"),
        ("an empty length", with(&[("content-length", "")]), Some(b""), "answered"),
        ("a length and an empty one", with(&[("content-length", "0"), ("content-length", "")]), Some(b""), "answered"),
        ("an empty length without a body", with(&[("content-length", "")]), None, "answered"),
        ("equal lengths", with(&[("content-length", "3"), ("content-length", "3")]), Some(b"abc"), "answered"),
        ("less data than the length", with(&[("content-length", "5")]), Some(b"abc"), "reset"),
        ("more data than the length", with(&[("content-length", "2")]), Some(b"abc"), "reset"),
        ("no data for a length", with(&[("content-length", "5")]), None, "reset"),
        ("lengths that differ", with(&[("content-length", "3"), ("content-length", "4")]), Some(b"abc"), "reset"),
        ("a signed length", with(&[("content-length", "+3")]), Some(b"abc"), "reset"),
        ("host and authority disagree", with(&[("host", "b")]), None, "refused"),
        ("two hosts", with(&[("host", "a"), ("host", "a")]), None, "refused"),
        ("a user", block(&[method, scheme, path, (":authority", "b@a")]), None, "refused"),
        ("neither host nor authority", block(&[method, scheme, path]), None, "refused"),
        ("another scheme", block(&[method, (":scheme", "ftp"), path, host]), None, "refused"),
    ] {
        let became = becomes(&gateway, &head, data).await;
        let allowed = [expected, if expected == "reset" { "goaway" } else { expected }];
        assert!(allowed.contains(&became), "{name}: {became}");
        let seen = recorder.take();
        assert_eq!(seen.len(), usize::from(expected == "answered"), "{name}: {seen:?}");
    }
}
