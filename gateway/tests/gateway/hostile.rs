//! Hostile clients: whatever they send, or do not, the gateway answers cleanly or closes, and the others do not notice.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, join_all};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use proptest::prelude::*;
use proptest::test_runner::{Config as Trials, TestRunner};
use shop_testing::eventually;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::frames::{DATA, END_HEADERS, END_STREAM, HEADERS, Peer, RST_STREAM, block, frame};
use crate::support::{Client, Running, Upstream, backends, config, get, http2, read_head, reset};

/// As long as an attack lasts at most.
const ATTACK: Duration = Duration::from_secs(3);
/// So many do the same at once.
const ATTACKERS: usize = 6;

#[tokio::test]
async fn methods_that_are_not_forwarded_are_refused() {
    let upstream = Upstream::echo().await;
    let gateway = Running::before(upstream.addr).await;
    for request in ["CONNECT a:80 HTTP/1.1\r\nhost: a:80\r\n\r\n", "TRACE /api/products HTTP/1.1\r\nhost: a\r\n\r\n"] {
        let answer = gateway.raw(request).await;
        assert!(answer.starts_with("HTTP/1.1 405 ") && answer.contains("method_refused"), "{request}: {answer}");
    }
    assert_eq!(upstream.requests.load(std::sync::atomic::Ordering::SeqCst), 0);
}

/// Bytes that look like a request in places, with any one place broken.
fn requests() -> impl Strategy<Value = Vec<u8>> {
    let method = prop_oneof!["GET|POST|PUT|HEAD|OPTIONS|DELETE", "[A-Z!#]{1,12}", any::<String>()];
    let path = prop_oneof![
        "/api/(products|baskets|users)(/[a-z0-9%./\\\\;?&=~-]{0,20}){0,4}",
        "/(health|metrics|admin)[/a-z%.]{0,20}",
        any::<String>(),
    ];
    let name = prop_oneof![
        "host|connection|te|transfer-encoding|content-length|expect|upgrade|forwarded|x-forwarded-for|x-request-id|traceparent|cookie",
        "[A-Za-z0-9_-]{1,12}",
        any::<String>(),
    ];
    let value = prop_oneof!["a|close|chunked|0|3|trailers|100-continue|h2c|[0-9a-f]{1,40}", any::<String>()];
    let header = (name, value).prop_map(|(name, value)| format!("{name}: {value}\r\n"));
    let body = prop_oneof![Just(Vec::new()), proptest::collection::vec(any::<u8>(), 0..64)];
    (method, path, proptest::collection::vec(header, 0..6), body).prop_map(|(method, path, headers, body)| {
        let head = format!("{method} {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{}\r\n", headers.concat());
        [head.into_bytes(), body].concat()
    })
}

#[test]
fn no_input_makes_the_gateway_fail() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let (_upstream, gateway) = runtime.block_on(async {
        let upstream = Upstream::echo().await;
        let mut settings = config(upstream.addr);
        // Requests that wait for more of themselves are given up on soon.
        settings.http.header_timeout = shop_config::Duration::millis(100);
        settings.limits.body_idle = shop_config::Duration::millis(100);
        let gateway = Running::start(settings).await;
        (upstream, gateway)
    });
    let trials = Trials { cases: 300, failure_persistence: None, ..Trials::default() };
    let check = TestRunner::new(trials).run(&requests(), |bytes| {
        let answer = runtime.block_on(gateway.raw(&bytes));
        prop_assert!(answer.is_empty() || answer.starts_with("HTTP/1."), "{answer}");
        for line in answer.lines().filter(|line| line.starts_with("HTTP/1.")) {
            prop_assert!(!line.contains(" 5"), "{line} for {}", String::from_utf8_lossy(&bytes));
        }
        prop_assert!(!answer.to_ascii_lowercase().contains("<html"));
        Ok(())
    });
    check.expect("no counterexample");
    let alive = runtime.block_on(gateway.get("/health/live"));
    assert_eq!(alive.status(), 200);
}

/// How many chunks a backend gets of a body that a client sends in chunks of `size`.
async fn chunks_of(size: usize) -> usize {
    const BODY: usize = 256 * 1024;
    let upstream = Upstream::raw(|mut stream| async move {
        let mut seen = read_head(&mut stream).await;
        while !seen.ends_with(b"\r\n0\r\n\r\n") && stream.read_buf(&mut seen).await.unwrap_or(0) > 0 {}
        let begin = seen.windows(4).position(|window| window == b"\r\n\r\n").expect("a head") + 4;
        let (mut rest, mut chunks, mut bytes) = (&seen[begin..], 0, 0);
        loop {
            let line = rest.windows(2).position(|window| window == b"\r\n").expect("a size");
            let text = std::str::from_utf8(&rest[..line]).expect("text");
            let size = usize::from_str_radix(text, 16).expect("a number");
            if size == 0 {
                break;
            }
            (chunks, bytes) = (chunks + 1, bytes + size);
            rest = &rest[line + 2 + size + 2..];
        }
        assert_eq!(bytes, BODY);
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{chunks}", chunks.to_string().len());
        let _ = stream.write_all(answer.as_bytes()).await;
    })
    .await;
    let gateway = Running::before(upstream.addr).await;
    let mut request =
        b"POST /api/products HTTP/1.1\r\nhost: a\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    let chunk = [format!("{size:x}\r\n").as_bytes(), &vec![b'x'; size], b"\r\n"].concat();
    request.extend(chunk.repeat(BODY / size));
    request.extend_from_slice(b"0\r\n\r\n");
    let answer = gateway.raw(request).await;
    answer.rsplit("\r\n").next().and_then(|count| count.parse().ok()).unwrap_or_else(|| panic!("{answer}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_in_chunks_of_one_byte_is_passed_on_in_few_pieces() {
    let (large, small) = (chunks_of(16 * 1024).await, chunks_of(1).await);
    assert!(small <= 3 * large, "{small} pieces of chunks of one byte, {large} of large ones");
}

/// More than sockets and the gateway hold together, when it is asked for a few times.
const MUCH: &[u8] = &[b'x'; 1024 * 1024];

/// A backend that is well: it takes bodies, and gives little, much, or something now and then without end.
async fn well() -> Upstream {
    Upstream::raw(|stream| async move {
        let service = service_fn(|request: Request<hyper::body::Incoming>| async move {
            let path = request.uri().path().to_owned();
            let _ = request.into_body().collect().await;
            let body: BoxBody<Bytes, Infallible> = match path.as_str() {
                "/products/large" => Full::new(Bytes::from_static(MUCH)).boxed(),
                "/products/endless" => {
                    let ticks = tokio::time::interval(Duration::from_millis(20));
                    BodyExt::boxed(StreamBody::new(futures_util::stream::unfold(ticks, |mut ticks| async move {
                        ticks.tick().await;
                        Some((Ok(Frame::data(Bytes::from_static(b"tick"))), ticks))
                    })))
                }
                _ => Full::new(Bytes::from_static(b"well")).boxed(),
            };
            Ok::<_, Infallible>(Response::new(body))
        });
        let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
    })
    .await
}

/// The same for gRPC: it answers when a call is whole.
async fn well_over_grpc() -> Upstream {
    Upstream::raw(|stream| async move {
        let service = service_fn(|request: Request<hyper::body::Incoming>| async move {
            let _ = request.into_body().collect().await;
            let answer = Response::builder().header("content-type", "application/grpc").header("grpc-status", "0");
            answer.body(Full::<Bytes>::default())
        });
        let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        let _ = server.serve_connection(TokioIo::new(stream), service).await;
    })
    .await
}

/// Asks again and again until it is told to stop; how often it was answered, and what was wrong with it.
async fn good(gateway: Arc<Running>, is_http2: bool, stop: Arc<AtomicBool>) -> (usize, Vec<String>) {
    let (mut answered, mut wrong) = (0, Vec::new());
    let mut pace = tokio::time::interval(Duration::from_millis(10));
    let (mut one, mut two) = (Client::connect(gateway.addr).await, http2(gateway.addr).await);
    while !stop.load(SeqCst) || answered == 0 && wrong.is_empty() {
        pace.tick().await;
        let result = if is_http2 {
            let request = Request::get(format!("http://{}/api/products", gateway.addr)).body(Full::default());
            match two.send_request(request.expect("a request")).await {
                Ok(answer) if answer.status() == 200 => {
                    answer.into_body().collect().await.map_err(|e| format!("{e:?}")).map(drop)
                }
                other => Err(format!("{other:?}")),
            }
        } else {
            match one.send(get("/api/products")).await {
                Ok(reply) if reply.status() == 200 => Ok(()),
                other => Err(format!("{:?}", other.map(|reply| (reply.status(), reply.body)))),
            }
        };
        match result {
            Ok(()) => answered += 1,
            Err(why) => {
                wrong.push(why);
                (one, two) = (Client::connect(gateway.addr).await, http2(gateway.addr).await);
            }
        }
    }
    (answered, wrong)
}

type Attack = fn(SocketAddr) -> BoxFuture<'static, ()>;

const POST: &str = "POST /api/products HTTP/1.1\r\nhost: a\r\n";
const LARGE: &str = "GET /api/products/large HTTP/1.1\r\nhost: a\r\n\r\n";

/// Says `begin`, then `piece` every so often, as long as it is heard.
async fn drips(addr: SocketAddr, begin: String, piece: &'static [u8], every: u64) {
    let mut client = TcpStream::connect(addr).await.expect("connects");
    let mut ticks = tokio::time::interval(Duration::from_millis(every));
    let _ = client.write_all(begin.as_bytes()).await;
    while client.write_all(piece).await.is_ok() {
        ticks.tick().await;
    }
}

/// Says `begin` and then nothing, and reads `at_once` bytes now and then, if any.
async fn waits(addr: SocketAddr, begin: String, at_once: usize) {
    let mut client = TcpStream::connect(addr).await.expect("connects");
    let _ = client.write_all(begin.as_bytes()).await;
    if at_once == 0 {
        return std::future::pending().await;
    }
    let mut room = vec![0; at_once];
    while client.read(&mut room).await.is_ok_and(|size| size > 0) {}
}

/// A client over HTTP/2 with a window for each stream.
async fn peer(addr: SocketAddr, window: u32) -> Peer {
    Peer::to(addr, &[&[0, 4][..], &window.to_be_bytes()].concat()).await
}

/// Begins uploads on so many streams.
async fn uploads(peer: &mut Peer, streams: u32, kind: &str) {
    let head = [(":method", "POST"), (":scheme", "http"), (":authority", "a")];
    let path =
        if kind.starts_with("application/grpc") { "/shop.product.v1.ProductService/Get" } else { "/api/products" };
    let head = block(&[&head[..], &[(":path", path), ("content-type", kind)]].concat());
    for number in 0..streams {
        peer.send(frame(HEADERS, END_HEADERS, 2 * number + 1, &head)).await;
    }
}

/// Asks for `path` on so many streams, and reads what comes if it `reads`.
async fn asks(addr: SocketAddr, window: u32, path: &str, reads: bool) {
    let mut peer = peer(addr, window).await;
    for number in 0..40 {
        peer.ask(2 * number + 1, path).await;
    }
    while reads && peer.frame().await.is_some() {}
    std::future::pending::<()>().await;
}

const ATTACKS: [(&str, Attack); 24] = [
    ("slow head", |addr| drips(addr, "GET /api/products HTTP/1.1\r\nx: ".into(), b"x", 40).boxed()),
    ("slow body", |addr| drips(addr, format!("{POST}content-length: 1000\r\n\r\n"), b"x", 40).boxed()),
    ("no body", |addr| waits(addr, format!("{POST}content-length: 1000\r\n\r\n"), 1).boxed()),
    ("no chunk", |addr| waits(addr, format!("{POST}transfer-encoding: chunked\r\n\r\n"), 1).boxed()),
    ("one-byte chunks", |addr| {
        waits(addr, format!("{POST}transfer-encoding: chunked\r\n\r\n{}0\r\n\r\n", "1\r\nx\r\n".repeat(50_000)), 1)
            .boxed()
    }),
    ("endless body", |addr| {
        drips(addr, format!("{POST}transfer-encoding: chunked\r\n\r\n"), b"8\r\nxxxxxxxx\r\n", 1).boxed()
    }),
    ("one-byte reads", |addr| waits(addr, LARGE.into(), 1).boxed()),
    ("never reading", |addr| waits(addr, LARGE.repeat(20), 0).boxed()),
    ("never reading own answers", |addr| {
        waits(addr, LARGE.replace("/api/products/large", "/metrics").repeat(100), 0).boxed()
    }),
    ("endless answer", |addr| waits(addr, LARGE.replace("large", "endless"), 64).boxed()),
    ("half close", |addr| {
        async move {
            for request in [LARGE.to_owned(), POST.to_owned(), format!("{POST}content-length: 1000\r\n\r\nx")] {
                let mut client = TcpStream::connect(addr).await.expect("connects");
                let _ = client.write_all(request.as_bytes()).await;
                let _ = client.shutdown().await;
                let _ = client.read_to_end(&mut Vec::new()).await;
            }
        }
        .boxed()
    }),
    ("resets", |addr| {
        async move {
            for _ in 0..50 {
                let mut client = TcpStream::connect(addr).await.expect("connects");
                let _ = client.write_all(LARGE.as_bytes()).await;
                let _ = client.read_u8().await;
                reset(client);
            }
        }
        .boxed()
    }),
    ("idle connections", |addr| {
        async move {
            let clients = (0..60).map(|_| TcpStream::connect(addr));
            let _clients = join_all(clients).await;
            std::future::pending::<()>().await;
        }
        .boxed()
    }),
    ("http2: no window", |addr| asks(addr, 0, "/api/products", true).boxed()),
    ("http2: no window for own answers", |addr| asks(addr, 0, "/metrics", true).boxed()),
    ("http2: a window of one byte", |addr| asks(addr, 1, "/api/products/large", true).boxed()),
    ("http2: never reading", |addr| asks(addr, 1 << 20, "/api/products/large", false).boxed()),
    ("http2: endless answers", |addr| asks(addr, 65_535, "/api/products/endless", true).boxed()),
    ("http2: no body", |addr| {
        async move {
            let mut peer = peer(addr, 65_535).await;
            uploads(&mut peer, 40, "application/json").await;
            while peer.frame().await.is_some() {}
        }
        .boxed()
    }),
    ("http2: no message", |addr| {
        async move {
            let mut peer = peer(addr, 65_535).await;
            uploads(&mut peer, 40, "application/grpc").await;
            while peer.frame().await.is_some() {}
        }
        .boxed()
    }),
    ("http2: one-byte frames", |addr| {
        async move {
            let mut peer = peer(addr, 65_535).await;
            uploads(&mut peer, 1, "application/json").await;
            for _ in 0..5000 {
                peer.send(frame(DATA, 0, 1, b"x")).await;
            }
            peer.send(frame(DATA, END_STREAM, 1, b"x")).await;
            while peer.frame().await.is_some() {}
        }
        .boxed()
    }),
    ("http2: slow bodies", |addr| {
        async move {
            let mut peer = peer(addr, 65_535).await;
            uploads(&mut peer, 20, "application/json").await;
            let mut ticks = tokio::time::interval(Duration::from_millis(40));
            while peer.send((0..20).flat_map(|number| frame(DATA, 0, 2 * number + 1, b"x")).collect()).await {
                ticks.tick().await;
            }
        }
        .boxed()
    }),
    ("http2: resets", |addr| {
        async move {
            let mut peer = peer(addr, 65_535).await;
            for number in 0..2000 {
                let is_heard = peer.ask(2 * number + 1, "/api/products/large").await
                    && peer.send(frame(RST_STREAM, 0, 2 * number + 1, &[0, 0, 0, 8])).await;
                if !is_heard {
                    break;
                }
            }
            while peer.frame().await.is_some() {}
        }
        .boxed()
    }),
    ("http2: half close", |addr| {
        async move {
            let mut peer = peer(addr, 65_535).await;
            peer.ask(1, "/api/products/large").await;
            let _ = peer.stream.shutdown().await;
            while peer.frame().await.is_some() {}
        }
        .boxed()
    }),
];

/// What is wrong after `attack` was made on a gateway with two backends that are well, while others ask it.
async fn under(name: &str, attack: Attack) -> Result<(), String> {
    let (one, two, three) = (well().await, well().await, well_over_grpc().await);
    let mut settings = config(one.addr);
    for service in [&mut settings.services.product, &mut settings.services.basket] {
        service.urls = backends(&[one.addr, two.addr]);
        service.grpc_urls = backends(&[three.addr]);
    }
    settings.circuit_breaker.enabled = true;
    for limit in [&mut settings.http.header_timeout, &mut settings.limits.body_idle, &mut settings.limits.write_stall] {
        *limit = shop_config::Duration::millis(500);
    }
    let gateway = Arc::new(Running::start(settings).await);
    let stop = Arc::new(AtomicBool::new(false));
    let good = [false, true].map(|is_http2| tokio::spawn(good(Arc::clone(&gateway), is_http2, Arc::clone(&stop))));
    let attackers = (0..ATTACKERS).map(|_| tokio::spawn(tokio::time::timeout(ATTACK, attack(gateway.addr))));
    for attacker in attackers.collect::<Vec<_>>() {
        let _ = attacker.await.map_err(|error| format!("{name}: {error}"))?;
    }
    stop.store(true, SeqCst);
    for good in good {
        let (answered, wrong) = good.await.map_err(|error| format!("{name}: {error}"))?;
        if !wrong.is_empty() {
            return Err(format!("{name}: beside {answered} good answers {wrong:?}"));
        }
    }
    let numbers = gateway.metrics.render();
    let opened = |line: &&str| line.starts_with("gateway_circuit_breaker_state{") && !line.ends_with(" 0");
    if let Some(line) = numbers.lines().find(opened) {
        return Err(format!("{name}: {line}"));
    }
    let busy = |line: &str| line.starts_with("gateway_active_requests{") && !line.ends_with(" 0");
    eventually!(!gateway.metrics.render().lines().any(busy));
    eventually!(gateway.metric("gateway_client_connections") == Some(0.0));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_one_client_does_the_others_do_not_notice() {
    let mut wrong = Vec::new();
    // Not all at once, or it is the machine that is slow.
    for some in ATTACKS.chunks(4) {
        let made = join_all(some.iter().map(|(name, attack)| under(name, *attack))).await;
        wrong.extend(made.into_iter().filter_map(Result::err));
    }
    assert_eq!(wrong, [""; 0]);
}

#[tokio::test]
async fn a_client_that_sends_nothing_more_after_its_request_gets_its_answer() {
    let upstream = Upstream::echo().await;
    let gateway = Running::before(upstream.addr).await;
    for request in [
        "GET /api/products HTTP/1.1\r\nhost: a\r\n\r\n",
        "POST /api/products HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nok",
        "POST /api/products HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    ] {
        let mut client = TcpStream::connect(gateway.addr).await.expect("connects");
        client.write_all(request.as_bytes()).await.expect("writes");
        client.shutdown().await.expect("ends");
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    }
    // Not one that breaks off.
    let mut client = TcpStream::connect(gateway.addr).await.expect("connects");
    client.write_all(b"POST /api/products HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nok").await.expect("writes");
    client.shutdown().await.expect("ends");
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.expect("an end");
    assert!(!answer.contains(" 200 "), "{answer}");
}

#[tokio::test]
async fn who_names_no_host_is_not_taken_for_this_machine() {
    let upstream = Upstream::echo().await;
    let gateway = Running::before(upstream.addr).await;
    let answer = gateway.raw("GET /admin/config HTTP/1.0\r\n\r\n").await;
    assert!(answer.contains(" 404 "), "{answer}");
    let answer = gateway.raw("GET /api/products HTTP/1.0\r\n\r\n").await;
    assert!(answer.contains(" 200 OK\r\n") && !answer.contains("localhost"), "{answer}");
}

#[tokio::test]
async fn names_with_underscores_pass_only_if_they_are_let_through() {
    let upstream = Upstream::echo().await;
    let mut settings = config(upstream.addr);
    for passes in [false, true] {
        settings.underscores_in_headers = passes;
        let gateway = Running::start(settings.clone()).await;
        let mut ask = get("/api/products");
        ask.headers_mut().insert("x_user", "1".parse().expect("a value"));
        let seen = gateway.send(ask).await.json();
        assert_eq!(!crate::support::echoed(&seen, "x_user").is_empty(), passes);
    }
}

#[tokio::test]
async fn the_size_of_a_chunk_has_no_more_digits_than_a_number() {
    let upstream = Upstream::echo().await;
    let gateway = Running::before(upstream.addr).await;
    for (zeros, status) in [(15, 200), (16, 400)] {
        let head = format!("{POST}connection: close\r\ntransfer-encoding: chunked\r\n\r\n");
        let answer = gateway.raw(format!("{head}{}1\r\nx\r\n0\r\n\r\n", "0".repeat(zeros))).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{zeros}: {answer}");
    }
}
