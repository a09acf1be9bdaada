//! What one caller does or asks for is not held against a backend that others need.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use shop_gateway::Config;
use shop_testing::eventually;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::metadata::MetadataValue;
use tonic::{Code, Status};

use crate::grpc::{Codec, Number, channel_to, method, number};
use crate::support::{Running, Upstream, backends, config, get, http2, request};

/// As often as an impatient customer asks.
const OFTEN: usize = 50;

fn guarded(upstream: SocketAddr) -> Config {
    let mut settings = config(upstream);
    settings.circuit_breaker.enabled = true;
    settings.retries.enabled = true;
    settings
}

/// Answers with the status and the scope in the path, `/products/503/request`; 200 to any other.
async fn by_path() -> Upstream {
    Upstream::serving(|request| async move {
        let mut answer = Response::new(Full::new(Bytes::from_static(b"{}")));
        let words: Vec<_> = request.uri().path().split('/').collect();
        if let [_, _, status, scope] = words[..] {
            *answer.status_mut() = status.parse().expect("a status");
            answer.headers_mut().insert("retry-after", HeaderValue::from_static("1"));
            if scope != "none" {
                answer.headers_mut().insert("x-fault-scope", HeaderValue::try_from(scope).expect("a value"));
            }
        }
        answer
    })
    .await
}

#[tokio::test]
async fn a_failure_of_one_request_is_asked_for_as_often_as_somebody_likes() {
    let upstream = by_path().await;
    let gateway = Running::start(guarded(upstream.addr)).await;
    for (path, status) in
        [("503/request", 503), ("504/request", 504), ("500/none", 500), ("501/none", 501), ("507/request", 507)]
    {
        for asked in 0..OFTEN {
            let mut ask = request("POST", &format!("/api/products/{path}"), "{}");
            ask.headers_mut().insert("idempotency-key", HeaderValue::from_static("k"));
            let before = upstream.requests.load(SeqCst);
            let reply = gateway.send(ask).await;
            assert_eq!((reply.status(), reply.header("x-gateway-reason")), (status, None), "{path}, {asked} times");
            assert_eq!(reply.header("x-fault-scope"), None, "it is between backend and gateway");
            assert_eq!(upstream.requests.load(SeqCst) - before, 1, "the gateway does not ask by itself");
        }
        assert_eq!(gateway.get("/api/products").await.status(), 200, "others are served after {path}");
    }
}

#[tokio::test]
async fn a_failure_of_the_service_opens_the_breaker() {
    for path in ["503/service", "503/none", "502/none", "504/none", "500/service"] {
        let upstream = by_path().await;
        let mut settings = guarded(upstream.addr);
        settings.retries.enabled = false;
        let gateway = Running::start(settings).await;
        for _ in 0..3 {
            assert_eq!(gateway.get(&format!("/api/products/{path}")).await.header("x-gateway-reason"), None);
        }
        gateway.get("/api/products").await.refused(503, "breaker_open");
    }
}

/// A gRPC backend that answers with the status in the method's name: `Head14` in the head alone, `Trailers14` behind a
/// message, `Request14` and `Service14` with their scope, `Http503` in HTTP, `Never` not at all.
async fn by_method() -> Upstream {
    Upstream::raw(|stream| async move {
        let service = hyper::service::service_fn(|request: Request<Incoming>| async move {
            let name = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
            let place = name.find(|letter: char| letter.is_ascii_digit()).unwrap_or(name.len());
            let (word, number) = name.split_at(place);
            // Who has not heard all of a call has not had its chance.
            let _ = request.into_body().collect().await;
            if word == "Never" {
                std::future::pending::<()>().await;
            }
            let mut status = HeaderMap::new();
            status.insert(
                "grpc-status",
                HeaderValue::try_from(if number.is_empty() { "0" } else { number }).expect("a value"),
            );
            let scope = word.to_ascii_lowercase();
            if ["request", "service"].contains(&scope.as_str()) {
                status.insert("x-fault-scope", HeaderValue::try_from(scope).expect("a value"));
            }
            let body = |bytes: &'static [u8]| Full::new(Bytes::from_static(bytes));
            let mut answer: Response<BoxBody<Bytes, Infallible>> = match word {
                "Trailers" | "Request" | "Service" | "Twice" => {
                    Response::new(body(b"\0\0\0\0\0").with_trailers(async { Some(Ok(status)) }).boxed())
                }
                "Http" => {
                    let mut answer = Response::new(body(b"").boxed());
                    *answer.status_mut() = number.parse().expect("a status");
                    answer
                }
                _ => {
                    let mut answer = Response::new(body(b"").boxed());
                    answer.headers_mut().extend(status);
                    answer
                }
            };
            answer.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
            Ok::<_, Infallible>(answer)
        });
        let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        let _ = server.serve_connection(TokioIo::new(stream), service).await;
    })
    .await
}

/// An answer of a gRPC backend: `status` in the head, or none and a body that never comes.
fn spoken(status: Option<&'static str>) -> Response<BoxBody<Bytes, Infallible>> {
    let mut answer = match status {
        Some(_) => Response::new(Full::default().boxed()),
        None => Response::new(StreamBody::new(futures_util::stream::pending()).boxed()),
    };
    answer.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    answer
        .headers_mut()
        .extend(status.map(|status| (HeaderName::from_static("grpc-status"), HeaderValue::from_static(status))));
    answer
}

/// A gRPC backend that answers with what `speak` makes of a call.
async fn speaking<F>(speak: impl Fn(Request<Incoming>) -> F + Send + Sync + 'static) -> Upstream
where
    F: Future<Output = Response<BoxBody<Bytes, Infallible>>> + Send + 'static,
{
    let speak = Arc::new(speak);
    Upstream::raw(move |stream| {
        let speak = Arc::clone(&speak);
        let service = hyper::service::service_fn(move |request| {
            let answer = speak(request);
            async move { Ok::<_, Infallible>(answer.await) }
        });
        async move {
            let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            let _ = server.serve_connection(TokioIo::new(stream), service).await;
        }
    })
    .await
}

async fn call(gateway: &Running, name: &str, timeout: Option<&'static str>) -> Result<(), Status> {
    let mut client = channel_to(gateway.addr).await;
    let mut request = tonic::Request::new(number(1));
    if let Some(timeout) = timeout {
        request.metadata_mut().insert("grpc-timeout", MetadataValue::from_static(timeout));
    }
    client.unary::<_, Number, _>(request, method(name), Codec::default()).await.map(drop)
}

fn reason(status: &Status) -> Option<&str> {
    status.metadata().get("x-gateway-reason").and_then(|reason| reason.to_str().ok())
}

#[tokio::test]
async fn a_grpc_status_that_speaks_of_the_call_shuts_nobody_out() {
    let upstream = by_method().await;
    let gateway = Running::start(guarded(upstream.addr)).await;
    let codes = (2..=16).filter(|code| ![4, 14].contains(code));
    let names = codes.flat_map(|code| [format!("Head{code}"), format!("Trailers{code}")]);
    for name in names.chain(["Request14", "Request4", "Http415", "Http404"].map(str::to_owned)) {
        for _ in 0..6 {
            let status = call(&gateway, &name, None).await.expect_err("fails");
            assert_eq!(reason(&status), None, "{name}: {status:?}");
            assert!(status.metadata().get("x-fault-scope").is_none(), "{name}: {status:?}");
        }
        call(&gateway, "Twice", None).await.unwrap_or_else(|status| panic!("after {name}: {status:?}"));
    }
}

#[tokio::test]
async fn a_grpc_status_that_speaks_of_the_backend_opens_the_breaker() {
    for name in ["Head14", "Trailers14", "Head4", "Service13", "Http503"] {
        let upstream = by_method().await;
        let gateway = Running::start(guarded(upstream.addr)).await;
        for _ in 0..3 {
            let status = call(&gateway, name, None).await.expect_err("fails");
            assert_eq!(reason(&status), None, "{name}: {status:?}");
        }
        let status = call(&gateway, "Twice", None).await.expect_err("open");
        assert_eq!((status.code(), reason(&status)), (Code::Unavailable, Some("breaker_open")), "{name}");
    }
}

#[tokio::test]
async fn a_callers_own_deadline_says_nothing_about_the_backend() {
    let upstream = by_method().await;
    let gateway = Running::start(guarded(upstream.addr)).await;
    for name in ["Head4", "Trailers4", "Never"] {
        for _ in 0..6 {
            call(&gateway, name, Some("150m")).await.expect_err("too late");
        }
        call(&gateway, "Twice", None).await.unwrap_or_else(|status| panic!("after {name}: {status:?}"));
    }
    // In the middle of a stream.
    let gateway = Running::start(guarded(crate::grpc::backend().await)).await;
    for _ in 0..6 {
        let mut client = channel_to(gateway.addr).await;
        let mut request = tonic::Request::new(number(1));
        request.metadata_mut().insert("grpc-timeout", MetadataValue::from_static("400m"));
        let stream = client.server_streaming::<_, Number, _>(request, method("Break"), Codec::default()).await;
        // On a busy machine the client's own timer may be first.
        let Ok(stream) = stream else { continue };
        let mut stream = stream.into_inner();
        while stream.message().await.is_ok() {}
    }
    call(&gateway, "Twice", None).await.expect("others are served");
    assert_eq!(gateway.look("/health").await.json()["services"]["product"]["status"], "up");
}

/// A backend as ours are: whoever has not sent all of its body in a tenth of a second is answered 504, and that is said of the
/// service. While it is `ill` it fails everything else.
async fn impatient(ill: Arc<AtomicBool>, uploads: Arc<AtomicUsize>) -> Upstream {
    Upstream::serving(move |request| {
        let (ill, uploads) = (Arc::clone(&ill), Arc::clone(&uploads));
        async move {
            let mut answer = Response::new(Full::new(Bytes::from_static(b"{}")));
            let is_upload = request.method() == "POST";
            uploads.fetch_add(usize::from(is_upload), SeqCst);
            let patience = if ill.load(SeqCst) { Duration::from_mins(1) } else { Duration::from_millis(100) };
            let whole = tokio::time::timeout(patience, request.into_body().collect()).await;
            if whole.is_err() || ill.load(SeqCst) && !is_upload {
                *answer.status_mut() = StatusCode::GATEWAY_TIMEOUT;
                answer.headers_mut().insert("x-fault-scope", HeaderValue::from_static("service"));
            }
            answer
        }
    })
    .await
}

/// Sends some of a body and waits for the answer.
async fn upload_slowly(addr: SocketAddr) -> String {
    let mut client = TcpStream::connect(addr).await.expect("connects");
    let some = b"POST /api/products HTTP/1.1\r\nhost: a\r\ncontent-length: 1000\r\n\r\n{";
    client.write_all(some).await.expect("writes");
    String::from_utf8_lossy(&crate::support::read_head(&mut client).await).into_owned()
}

#[tokio::test]
async fn ten_slow_uploads_take_the_service_from_nobody() {
    let upstream = impatient(Arc::default(), Arc::default()).await;
    let gateway = Running::start(guarded(upstream.addr)).await;
    let answers = futures_util::future::join_all((0..10).map(|_| upload_slowly(gateway.addr))).await;
    for answer in answers {
        assert!(answer.starts_with("HTTP/1.1 504 ") && !answer.contains("x-gateway-reason"), "{answer}");
    }
    assert_eq!(gateway.get("/api/products").await.status(), 200);
    let state = format!(r#"gateway_circuit_breaker_state{{backend="http://{}",service="product"}}"#, upstream.addr);
    assert_eq!(gateway.metric(&state), Some(0.0));
}

#[tokio::test]
async fn calls_without_their_message_take_the_service_from_nobody() {
    let upstream = speaking(|request| async move {
        let body = tokio::time::timeout(Duration::from_millis(100), request.into_body().collect()).await;
        spoken(Some(if body.is_ok() { "0" } else { "4" }))
    })
    .await;
    let gateway = Running::start(guarded(upstream.addr)).await;
    for _ in 0..6 {
        let mut client = channel_to(gateway.addr).await;
        let nothing = tokio_stream::pending::<Number>();
        let answer =
            client.client_streaming::<_, _, Number, _>(tonic::Request::new(nothing), method("Sum"), Codec::default());
        let status = answer.await.expect_err("too slow");
        assert_eq!((status.code(), reason(&status)), (Code::DeadlineExceeded, None));
    }
    let status = call(&gateway, "Sum", None).await.expect_err("no message in the answer");
    assert_eq!(reason(&status), None, "{status:?}");
}

#[tokio::test]
async fn slow_uploads_do_not_keep_a_backend_out_that_has_recovered() {
    for trials in [1, 2] {
        let (ill, uploads) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicUsize::new(0)));
        let upstream = impatient(Arc::clone(&ill), Arc::clone(&uploads)).await;
        let mut settings = guarded(upstream.addr);
        settings.retries.enabled = false;
        settings.circuit_breaker.max_requests = trials.try_into().expect("not none");
        settings.circuit_breaker.timeout = shop_config::Duration::millis(100);
        let gateway = Running::start(settings).await;
        for _ in 0..3 {
            assert_eq!(gateway.get("/api/products").await.status(), 504);
        }
        gateway.get("/api/products").await.refused(503, "breaker_open");
        let (answered, addr) = (Arc::new(AtomicUsize::new(0)), gateway.addr);
        let upload = || {
            let answered = Arc::clone(&answered);
            tokio::spawn(async move {
                upload_slowly(addr).await;
                answered.fetch_add(1, SeqCst);
            })
        };
        if trials > 1 {
            eventually!({
                upload();
                uploads.load(SeqCst) > 0
            });
        }
        let before = answered.load(SeqCst);
        (0..10).for_each(|_| drop(upload()));
        eventually!(answered.load(SeqCst) >= before + 9);
        ill.store(false, SeqCst);
        for _ in 0..trials {
            assert_eq!(gateway.get("/api/products").await.status(), 200, "with {trials} trials");
        }
        let state = format!(r#"gateway_circuit_breaker_state{{backend="http://{}",service="product"}}"#, upstream.addr);
        assert_eq!(gateway.metric(&state), Some(0.0), "with {trials} trials");
    }
}

#[tokio::test]
async fn a_small_upload_is_a_trial_like_any_other() {
    let (ill, uploads) = (Arc::new(AtomicBool::new(true)), Arc::default());
    let upstream = impatient(Arc::clone(&ill), uploads).await;
    let mut settings = guarded(upstream.addr);
    settings.retries.enabled = false;
    settings.circuit_breaker.max_requests = std::num::NonZeroU32::MIN;
    settings.circuit_breaker.timeout = shop_config::Duration::millis(100);
    let gateway = Running::start(settings).await;
    for _ in 0..3 {
        assert_eq!(gateway.get("/api/products").await.status(), 504);
    }
    ill.store(false, SeqCst);
    eventually!(gateway.send(request("POST", "/api/products", "{}")).await.status() == 200);
    assert_eq!(gateway.get("/api/products").await.status(), 200, "its success closed the breaker");
}

/// Product reads what it is sent before a backend hears of it.
fn buffering(upstream: SocketAddr, folder: Option<&std::path::Path>) -> Config {
    let mut settings = guarded(upstream);
    settings.routes.get_mut("products").expect("is there").buffer_request = true;
    settings.buffer_request.memory = 1000;
    settings.buffer_request.folder = folder.map(std::path::Path::to_owned);
    settings
}

#[tokio::test]
async fn a_buffered_upload_arrives_whole_over_both_versions() {
    let (upstream, folder) = (Upstream::echo().await, tempfile::tempdir().expect("a folder"));
    for folder in [None, Some(folder.path())] {
        let gateway = Running::start(buffering(upstream.addr, folder)).await;
        for size in [1, 1000, 1001, 300_000] {
            let text: String =
                (0..size).map(|place| char::from(b'a' + u8::try_from(place % 26).expect("small"))).collect();
            let reply = gateway.send(request("POST", "/api/products", text.clone())).await;
            assert_eq!((reply.status(), &reply.json()["body"]), (200, &text.as_str().into()), "{size} over HTTP/1.1");
            let mut client = http2(gateway.addr).await;
            let answer = client
                .send_request(request("PUT", "http://gw.test/api/products/1", text.clone()))
                .await
                .expect("an answer");
            let body = answer.into_body().collect().await.expect("whole").to_bytes();
            let seen: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
            assert_eq!(seen["body"], text.as_str(), "{size} over HTTP/2");
            let (half, rest) = text.split_at(size / 2);
            let chunk = |text: &str| format!("{:x}\r\n{text}\r\n", text.len());
            let chunks: String = [half, rest].into_iter().filter(|text| !text.is_empty()).map(chunk).collect();
            let head =
                "POST /api/products HTTP/1.1\r\nhost: a\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n";
            let answer = gateway.raw(format!("{head}{chunks}0\r\n\r\n")).await;
            assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains(&text), "{size} in chunks: {answer:.200}");
        }
    }
    assert_eq!(folder.path().read_dir().expect("is there").count(), 0, "the files have no names");
}

#[tokio::test]
async fn a_slow_upload_that_is_buffered_costs_no_backend_anything() {
    let (upstream, folder) = (Upstream::echo().await, tempfile::tempdir().expect("a folder"));
    let gateway = Running::start(buffering(upstream.addr, Some(folder.path()))).await;
    let mut client = TcpStream::connect(gateway.addr).await.expect("connects");
    let head = "PUT /api/products/1 HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 5001\r\n\r\n";
    client.write_all(format!("{head}{}", "x".repeat(5000)).as_bytes()).await.expect("writes");
    let bytes = r#"gateway_active_requests{service="product"}"#;
    eventually!(gateway.metric(bytes) == Some(1.0));
    assert_eq!(gateway.get("/api/baskets").await.status(), 200, "others are served");
    assert_eq!(upstream.connections.load(SeqCst), 1, "that one only");
    client.write_all(b"x").await.expect("writes");
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.expect("reads");
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains(&"x".repeat(5001)), "{answer:.200}");
}

#[tokio::test]
async fn what_cannot_be_buffered_is_refused_and_held_against_nobody() {
    let upstream = Upstream::echo().await;
    let folder = tempfile::tempdir().expect("a folder");
    let missing = folder.path().join("missing");
    let mut settings = buffering(upstream.addr, Some(&missing));
    settings.upstream.total_timeout = shop_config::Duration::millis(200);
    let gateway = Running::start(settings).await;
    for _ in 0..6 {
        let reply = gateway.send(request("POST", "/api/products", vec![b'x'; 300_000])).await;
        reply.refused(503, "gateway_exhausted");
        assert_eq!(reply.header("retry-after"), Some("1"));
    }
    let answer = trickle(&gateway).await;
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("x-gateway-reason: body_timeout"), "{answer}");
    assert_eq!(upstream.requests.load(SeqCst), 0);
    assert_eq!(gateway.get("/api/products").await.status(), 200);
}

/// A call of a client that has little time.
async fn hurried(gateway: &Running, timeout: &'static str) -> [Option<String>; 2] {
    let mut ask = request("POST", &format!("http://gw.test{}", method("Twice")), &b"\0\0\0\0\0"[..]);
    ask.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    ask.headers_mut().insert("grpc-timeout", HeaderValue::from_static(timeout));
    let answer = http2(gateway.addr).await.send_request(ask).await.expect("an answer");
    let header = |name| answer.headers().get(name).map(|value| value.to_str().expect("text").to_owned());
    ["grpc-status", "x-gateway-reason"].map(header)
}

#[tokio::test]
async fn callers_who_leave_no_time_to_connect_open_nothing() {
    let upstream = by_method().await;
    let gateway = Running::start(guarded(upstream.addr)).await;
    for _ in 0..6 {
        // Over loopback there may be a connection, and an answer, even so.
        let [status, reason] = hurried(&gateway, "1n").await;
        assert!(status.is_none_or(|status| status == "4"), "{reason:?}");
    }
    call(&gateway, "Twice", None).await.expect("others are served");

    // A queue of connections that is full: the next one waits.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
    socket2::SockRef::from(&listener).listen(0).expect("listens");
    let addr = listener.local_addr().expect("bound");
    let _first = TcpStream::connect(addr).await.expect("fills the queue");
    let gateway = Running::start(guarded(addr)).await;
    for _ in 0..6 {
        let said = hurried(&gateway, "50m").await;
        assert_eq!(said.each_ref().map(Option::as_deref), [Some("4"), Some("upstream_timeout")]);
    }
    let state = format!(r#"gateway_circuit_breaker_state{{backend="http://{addr}",service="product"}}"#);
    assert_eq!(gateway.metric(&state), Some(0.0));
    let health = gateway.look("/health").await.json();
    assert_eq!(health["services"]["product"]["status"], "unknown", "nobody could tell");
}

#[tokio::test]
async fn streams_without_end_hold_no_trial() {
    let ill = Arc::new(AtomicBool::new(true));
    let is_ill = Arc::clone(&ill);
    let upstream = speaking(move |request| {
        let is_endless = request.uri().path().ends_with("/Watch");
        let status = if is_ill.load(SeqCst) { Some("14") } else { (!is_endless).then_some("0") };
        async move {
            let _ = request.into_body().collect().await;
            spoken(status)
        }
    })
    .await;
    let mut settings = guarded(upstream.addr);
    settings.circuit_breaker.max_requests = 3.try_into().expect("not none");
    settings.circuit_breaker.timeout = shop_config::Duration::millis(100);
    let gateway = Running::start(settings).await;
    for _ in 0..3 {
        call(&gateway, "Watch", None).await.expect_err("ill");
    }
    ill.store(false, SeqCst);
    // Each holds its stream open until the end of the test.
    let mut streams = Vec::new();
    eventually!({
        let mut client = channel_to(gateway.addr).await;
        let stream =
            client.server_streaming::<_, Number, _>(tonic::Request::new(number(1)), method("Watch"), Codec::default());
        streams.extend(stream.await);
        streams.len() == 4
    });
    let state = format!(r#"gateway_circuit_breaker_state{{backend="http://{}",service="product"}}"#, upstream.addr);
    assert_eq!(gateway.metric(&state), Some(0.0), "three signs of life are enough");
}

#[tokio::test]
async fn a_stream_of_events_that_is_silent_is_not_held_against_its_backend_and_half_an_answer_is() {
    let upstream = Upstream::raw(|mut stream| async move {
        let head = crate::support::read_head(&mut stream).await;
        let length = if head.starts_with(b"GET /products/events ") { "" } else { "content-length: 100\r\n" };
        let _ = stream.write_all(format!("HTTP/1.1 200 OK\r\n{length}\r\ndata: 1\n\n").as_bytes()).await;
        let _ = stream.read_to_end(&mut Vec::new()).await;
    })
    .await;
    let mut settings = guarded(upstream.addr);
    settings.upstream.idle_timeout = shop_config::Duration::millis(100);
    let gateway = Running::start(settings).await;
    for (path, status) in [("events", "up"), ("half", "down")] {
        assert!(gateway.try_send(get(&format!("/api/products/{path}"))).await.is_err(), "{path} breaks off");
        let health = gateway.look("/health").await.json();
        assert_eq!(health["services"]["product"]["backends"][0]["state"], status, "after {path}");
    }
}

#[tokio::test]
async fn a_new_backend_that_hangs_gets_its_share_of_the_calls_and_no_more() {
    let known = Upstream::echo().await;
    let hangs = Upstream::serving(|_| std::future::pending()).await;
    let mut settings = config(known.addr);
    settings.load_balancer.strategy = shop_gateway::settings::Strategy::P2cEwma;
    let gateway = Running::start(settings.clone()).await;
    assert_eq!(gateway.get("/api/products").await.status(), 200);
    settings.services["product"].urls = backends(&[known.addr, hangs.addr]);
    gateway.handle.apply(settings).expect("applies");
    let asked = || known.requests.load(SeqCst) + hangs.requests.load(SeqCst);
    for _ in 0..40 {
        let (before, addr) = (asked(), gateway.addr);
        tokio::spawn(async move {
            let mut client = crate::support::Client::connect(addr).await;
            let _ = client.send(get("/api/products")).await;
        });
        eventually!(asked() > before);
        // Until whoever can be answered has been.
        let hanging = u32::try_from(hangs.requests.load(SeqCst)).expect("few");
        eventually!(gateway.metric(r#"gateway_active_requests{service="product"}"#) == Some(f64::from(hanging)));
    }
    assert_eq!(hangs.requests.load(SeqCst), 1);
}

/// Sends a body that does not end, until the gateway answers.
async fn trickle(gateway: &Running) -> String {
    let mut client = TcpStream::connect(gateway.addr).await.expect("connects");
    let head = b"POST /api/products HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
    client.write_all(head).await.expect("writes");
    let (mut from, mut to) = client.into_split();
    let writing = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(20));
        while to.write_all(b"1\r\nx\r\n").await.is_ok() {
            ticks.tick().await;
        }
        std::future::pending::<()>().await;
    };
    let mut answer = String::new();
    tokio::select! {
        _ = from.read_to_string(&mut answer) => answer,
        () = writing => unreachable!("it goes on"),
    }
}

#[tokio::test]
async fn a_body_that_trickles_in_for_too_long_is_the_clients_fault() {
    let upstream = Upstream::echo().await;
    let mut settings = guarded(upstream.addr);
    settings.upstream.total_timeout = shop_config::Duration::millis(200);
    let gateway = Running::start(settings).await;
    for _ in 0..6 {
        let answer = trickle(&gateway).await;
        assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("x-gateway-reason: body_timeout"), "{answer}");
    }
    assert_eq!(gateway.get("/api/products").await.status(), 200);
}

#[tokio::test]
async fn an_exchange_that_takes_too_long_as_a_whole_is_held_against_nobody() {
    // As if its client took it slowly: something always moves, and in the end the time is over.
    let upstream = Upstream::raw(|mut stream| async move {
        let head = crate::support::read_head(&mut stream).await;
        if !head.starts_with(b"GET /products/trickles ") {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await;
            return;
        }
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
        let mut ticks = tokio::time::interval(Duration::from_millis(10));
        while stream.write_all(b"x").await.is_ok() {
            ticks.tick().await;
        }
    })
    .await;
    let mut settings = guarded(upstream.addr);
    settings.upstream.total_timeout = shop_config::Duration::millis(200);
    let gateway = Running::start(settings).await;
    for _ in 0..6 {
        assert!(gateway.try_send(get("/api/products/trickles")).await.is_err(), "it breaks off");
    }
    assert_eq!(gateway.get("/api/products").await.status(), 200, "others are served");
    assert_eq!(gateway.look("/health").await.json()["services"]["product"]["status"], "up");
}

#[tokio::test]
async fn a_client_says_neither_scope_nor_who_it_is() {
    let upstream = Upstream::echo().await;
    let claims =
        ["x-real-ip", "x-forwarded-port", "x-forwarded-server", "x-original-url", "x-envoy-internal", "true-client-ip"];
    let spelt = ["x_real_ip", "x_forwarded_for"];
    let sent = || {
        let mut sent = get("/api/products");
        for name in claims.into_iter().chain(spelt).chain(["x-fault-scope", "x-kept"]) {
            sent.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from_static("6.6.6.6"));
        }
        sent
    };
    for (trusted, expected) in [(None, 0), (Some("127.0.0.0/8"), 1)] {
        let mut settings = config(upstream.addr);
        settings.trusted_proxies = trusted.iter().map(|network| network.parse().expect("a network")).collect();
        settings.trusted_headers = claims.iter().map(|name| name.parse().expect("a header of proxies")).collect();
        let seen = Running::start(settings).await.send(sent()).await.json();
        for name in claims {
            assert_eq!(crate::support::echoed(&seen, name).len(), expected, "{name} of {trusted:?}");
        }
        for name in spelt.into_iter().chain(["x-fault-scope"]) {
            assert_eq!(crate::support::echoed(&seen, name), [""; 0], "{name} of {trusted:?}");
        }
        assert_eq!(crate::support::echoed(&seen, "x-kept"), ["6.6.6.6"]);
    }
}

#[tokio::test]
async fn an_address_of_the_backends_leads_through_the_gateway_and_shows_nothing_of_it() {
    let upstream = Upstream::serving(|request| async move {
        let text =
            |value: Option<&HeaderValue>| value.and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
        let host = text(request.headers().get("host"));
        let own = text(request.headers().get("x-own"));
        let mut answer = Response::new(Full::new(Bytes::new()));
        *answer.status_mut() = StatusCode::CREATED;
        let headers = answer.headers_mut();
        for (name, address) in [
            ("location", format!("http://{host}/products/5")),
            ("content-location", format!("http://{own}/products/5?x=1")),
            ("link", format!("<http://{own}/products?cursor=2>; rel=\"next\"")),
            ("refresh", format!("1; url=http://{own}/products/5")),
        ] {
            headers.insert(name, HeaderValue::try_from(address).expect("a value"));
        }
        answer
    })
    .await;
    let gateway = Running::before(upstream.addr).await;
    let mut ask = request("POST", "/api/products", "{}");
    ask.headers_mut().insert("x-own", HeaderValue::try_from(upstream.addr.to_string()).expect("a value"));
    let reply = gateway.send(ask).await;
    for (name, expected) in [
        ("location", "/api/products/5"),
        ("content-location", "/api/products/5?x=1"),
        ("link", "</api/products?cursor=2>; rel=\"next\""),
        ("refresh", "1; url=/api/products/5"),
    ] {
        assert_eq!(reply.header(name), Some(expected), "{name}");
    }
}

#[tokio::test]
async fn over_http2_as_many_lines_are_taken_as_over_http1() {
    // Not hyper's server, which stops at a hundred, those that the gateway adds included.
    let upstream = Upstream::saying("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let gateway = Running::before(upstream.addr).await;
    let mut client = http2(gateway.addr).await;
    for (lines, status) in [(100, 200), (101, 431), (500, 431)] {
        let mut ask = Request::get(format!("http://{}/api/products", gateway.addr));
        for number in 0..lines {
            ask = ask.header(format!("x-{number}"), "1");
        }
        let answer = client.send_request(ask.body(Full::default()).expect("a request")).await.expect("an answer");
        let reason = answer.headers().get("x-gateway-reason").map(|reason| reason.to_str().expect("text").to_owned());
        assert_eq!(answer.status().as_u16(), status, "{lines}");
        assert_eq!(reason.as_deref(), (status == 431).then_some("head_too_large"), "{lines}");
    }
}

#[tokio::test]
async fn options_of_a_star_is_about_the_gateway_itself() {
    let upstream = Upstream::echo().await;
    let gateway = Running::before(upstream.addr).await;
    let answer = gateway.raw("OPTIONS * HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 204 "), "{answer}");
    assert!(answer.contains("allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n"), "{answer}");
    let answer = gateway.raw("GET * HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("x-gateway-reason: bad_path"), "{answer}");
    assert!(answer.contains("only OPTIONS"), "{answer}");
    assert_eq!(upstream.requests.load(SeqCst), 0, "no backend is asked");
}

#[tokio::test]
async fn a_character_that_no_target_may_have_is_named() {
    let upstream = Upstream::echo().await;
    let gateway = Running::before(upstream.addr).await;
    for (target, detail, instance) in [
        ("/api/products?q=\"tea\"", "send it as %22", "/api/products"),
        ("/api/products?q=<b", "send it as %3C", "/api/products"),
        ("/api/products?q=a>b", "send it as %3E", "/api/products"),
        ("/api/pro<ducts?q=1", "send it as %3C", "/api/pro%3Cducts"),
        ("/api/`x`", "send it as %60", "/api/%60x%60"),
        ("http://a/api/products?q=<b", "send it as %3C", "/api/products"),
    ] {
        let answer = gateway.raw(format!("GET {target} HTTP/1.1\r\nhost: a\r\n\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{target}: {answer}");
        let problem: serde_json::Value =
            serde_json::from_str(answer.split_once("\r\n\r\n").expect("a body").1).expect("json");
        assert_eq!((&problem["code"], &problem["instance"]), (&"bad_request".into(), &instance.into()), "{target}");
        assert!(problem["detail"].as_str().is_some_and(|said| said.contains(detail)), "{target}: {problem}");
    }
    // What is wrong elsewhere names the path too.
    let answer = gateway.raw("GET /api/products HTTP/1.1\r\nhost: a\r\ncontent-length: x\r\n\r\n").await;
    assert!(answer.contains(r#""instance":"/api/products""#), "{answer}");
    // What browsers send as it is, is taken.
    for target in ["/api/products?q=a|b", "/api/products?q={a}^`b`", "/api/products?q=\\a", "/api/products?q=caf\u{e9}"]
    {
        let answer = gateway.raw(format!("GET {target} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{target}: {answer}");
    }
}

#[tokio::test]
async fn a_customer_who_asks_at_once_from_many_places_shuts_nobody_out() {
    let upstream = by_path().await;
    let gateway = Arc::new(Running::start(guarded(upstream.addr)).await);
    let calls = (0..OFTEN).map(|_| gateway.get("/api/products/503/request"));
    let replies = futures_util::future::join_all(calls).await;
    assert!(replies.iter().all(|reply| reply.header("x-gateway-reason").is_none()));
    eventually!(gateway.get("/api/products").await.status() == 200);
    let state = format!(r#"gateway_circuit_breaker_state{{backend="http://{}",service="product"}}"#, upstream.addr);
    assert_eq!(gateway.metric(&state), Some(0.0));
}
