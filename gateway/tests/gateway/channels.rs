//! The HTTP/2 connections to a gRPC backend that calls share: as many as are needed, a few at most, and nobody in another's way.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http::{Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use shop_gateway::Config;
use shop_testing::eventually;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;

use crate::support::{Running, Upstream, config, http2};

/// A message of no bytes.
const EMPTY: &[u8] = &[0; 5];
/// What a call may take that is not in anybody's way.
const SOON: Duration = Duration::from_secs(20);

/// Answers each call when it is let go; those to `/shop.product.v1.ProductService/Endless` without end.
async fn backend(let_go: Arc<Semaphore>) -> Upstream {
    let requests = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&requests);
    let mut upstream = Upstream::raw(move |stream| {
        let (let_go, counted) = (Arc::clone(&let_go), Arc::clone(&counted));
        async move {
            let serve = hyper::service::service_fn(move |request: Request<Incoming>| {
                counted.fetch_add(1, SeqCst);
                let let_go = Arc::clone(&let_go);
                async move {
                    if !request.uri().path().ends_with("Endless") {
                        let_go.acquire().await.expect("open").forget();
                    }
                    Ok::<_, Infallible>(answer(request.uri().path().ends_with("Endless")))
                }
            });
            let mut server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            let _ = server.max_concurrent_streams(10_000).serve_connection(TokioIo::new(stream), serve).await;
        }
    })
    .await;
    upstream.requests = requests;
    upstream
}

fn answer(is_endless: bool) -> Response<BoxBody<Bytes, Infallible>> {
    let trailers =
        http::HeaderMap::from_iter([("grpc-status".parse().expect("a name"), "0".parse().expect("a value"))]);
    let body = if is_endless {
        let piece = Bytes::from(vec![0; 16 * 1024]);
        BodyExt::boxed(StreamBody::new(futures_util::stream::repeat_with(move || Ok(Frame::data(piece.clone())))))
    } else {
        let trailers = std::future::ready(Some(Ok(trailers)));
        Full::new(Bytes::from_static(EMPTY)).with_trailers(trailers).boxed()
    };
    Response::builder().header("content-type", "application/grpc").body(body).expect("an answer")
}

fn call(gateway: &Running, method: &str, deadline: Option<&str>) -> Request<Full<Bytes>> {
    let uri = format!("http://{}/shop.product.v1.ProductService/{method}", gateway.addr);
    let mut request = Request::post(uri).header("te", "trailers").header("content-type", "application/grpc");
    if let Some(deadline) = deadline {
        request = request.header("grpc-timeout", deadline);
    }
    request.body(Full::new(Bytes::from_static(EMPTY))).expect("a request")
}

/// One worker, as the connections are each worker's own.
fn alone(upstream: std::net::SocketAddr) -> Config {
    let mut settings = config(upstream);
    settings.workers = 1;
    settings
}

/// `count` calls that are with the backend, over as many connections as the gateway wants.
async fn waiting(gateway: &Running, count: usize) -> Vec<tokio::task::JoinHandle<u16>> {
    let mut calls = Vec::new();
    while calls.len() < count {
        let sender = http2(gateway.addr).await;
        for _ in 0..50.min(count - calls.len()) {
            let (mut sender, request) = (sender.clone(), call(gateway, "GetProduct", None));
            calls.push(tokio::spawn(async move {
                let response = sender.send_request(request).await.expect("an answer");
                let (head, body) = response.into_parts();
                body.collect().await.expect("whole");
                head.status.as_u16()
            }));
        }
    }
    calls
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_full_gets_another_beside_it() {
    let let_go = Arc::new(Semaphore::new(0));
    let upstream = backend(Arc::clone(&let_go)).await;
    let gateway = Running::start(alone(upstream.addr)).await;
    let calls = waiting(&gateway, 100).await;
    eventually!(upstream.requests.load(SeqCst) == 100);
    assert_eq!(upstream.connections.load(SeqCst), 1);
    let more = waiting(&gateway, 50).await;
    eventually!(upstream.requests.load(SeqCst) == 150);
    assert_eq!(upstream.connections.load(SeqCst), 2);
    let_go.add_permits(150);
    for call in calls.into_iter().chain(more) {
        assert_eq!(call.await.expect("no panic"), 200);
    }
    // What a rush has left is closed; one stays for whoever comes next.
    eventually!(upstream.open.load(SeqCst) == 1);
}

/// Answers each call with a head alone, and says with which code it ended when its client sends no more.
async fn told_of_ends() -> (Upstream, UnboundedReceiver<Option<h2::Reason>>) {
    let (say, said) = mpsc::unbounded_channel();
    let upstream = Upstream::raw(move |stream| {
        let say = say.clone();
        async move {
            let mut connection = h2::server::handshake(stream).await.expect("HTTP/2");
            while let Some(Ok((request, mut respond))) = connection.accept().await {
                let say = say.clone();
                tokio::spawn(async move {
                    let head = Response::builder().header("content-type", "application/grpc").body(()).expect("a head");
                    let _answer = respond.send_response(head, false).expect("is sent");
                    let mut body = request.into_body();
                    let ended = loop {
                        match body.data().await {
                            Some(Ok(data)) => body.flow_control().release_capacity(data.len()).expect("was read"),
                            Some(Err(error)) => break error.reason(),
                            None => break None,
                        }
                    };
                    say.send(ended).expect("somebody waits");
                });
            }
        }
    });
    (upstream.await, said)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_whose_time_is_over_is_cancelled_at_its_backend_which_is_no_fault() {
    let (upstream, mut said) = told_of_ends().await;
    let gateway = Running::start(alone(upstream.addr)).await;
    let stream = TcpStream::connect(gateway.addr).await.expect("connects");
    let (mut sender, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
    tokio::spawn(connection);
    let request = call(&gateway, "GetProduct", Some("500m")).map(drop);
    let (answer, mut open) = sender.send_request(request, false).expect("is sent");
    open.send_data(Bytes::from_static(EMPTY), false).expect("is sent");
    assert_eq!(answer.await.expect("an answer").status(), 200);
    let ended = timeout(SOON, said.recv()).await.expect("in time");
    assert_eq!(ended, Some(Some(h2::Reason::CANCEL)));
    drop(open);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_finds_no_place_is_told_so_and_the_next_one_is_served() {
    let let_go = Arc::new(Semaphore::new(0));
    let upstream = backend(Arc::clone(&let_go)).await;
    let mut settings = alone(upstream.addr);
    // What connecting 800 calls may take on a busy machine, and how long the last one waits for a place.
    settings.upstream.connect_timeout = shop_config::Duration::secs(3);
    settings.limits.unfinished_per_address = 10_000;
    let gateway = Running::start(settings).await;
    let calls = waiting(&gateway, 800).await;
    eventually!(upstream.requests.load(SeqCst) == 800);
    let mut sender = http2(gateway.addr).await;
    let refused = sender.send_request(call(&gateway, "GetProduct", None)).await.expect("an answer");
    assert_eq!(refused.headers()["x-gateway-reason"], "upstream_busy");
    assert_eq!(refused.headers()["grpc-status"], "14");
    assert_eq!((upstream.requests.load(SeqCst), upstream.connections.load(SeqCst)), (800, 8));
    let_go.add_permits(801);
    for call in calls {
        assert_eq!(call.await.expect("no panic"), 200);
    }
    let served = sender.send_request(call(&gateway, "GetProduct", None)).await.expect("an answer");
    assert!(!served.headers().contains_key("x-gateway-reason"), "{served:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_do_not_read_keep_nobody_else_from_reading() {
    let let_go = Arc::new(Semaphore::new(Semaphore::MAX_PERMITS));
    let upstream = backend(let_go).await;
    let gateway = Running::start(alone(upstream.addr)).await;
    let mut held = Vec::new();
    for _ in 0..30 {
        let mut sender = http2(gateway.addr).await;
        let response = sender.send_request(call(&gateway, "Endless", None)).await.expect("a head");
        held.push((sender, response));
    }
    let mut reader = http2(gateway.addr).await;
    let response = reader.send_request(call(&gateway, "Endless", None)).await.expect("a head");
    let (mut body, mut read) = (response.into_body(), 0);
    while read < 4 << 20 {
        let frame = timeout(SOON, body.frame()).await.expect("it goes on").expect("endless").expect("a piece");
        read += frame.data_ref().map_or(0, Bytes::len);
    }
    assert_eq!(upstream.connections.load(SeqCst), 1, "all over the same connection");
    drop(held);
}

/// An address whose queue of connections is full: it answers nothing, and refuses nothing.
async fn swallowing() -> (TcpListener, Vec<TcpStream>) {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(([127, 0, 0, 1], 0).into()).expect("binds");
    let listener = socket.listen(0).expect("listens");
    let addr = listener.local_addr().expect("bound");
    let mut queued = Vec::new();
    while let Ok(Ok(stream)) = timeout(Duration::from_millis(300), TcpStream::connect(addr)).await {
        queued.push(stream);
    }
    (listener, queued)
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_waits_for_the_attempts_of_others_to_connect() {
    let (listener, _queued) = swallowing().await;
    let mut settings = alone(listener.local_addr().expect("bound"));
    settings.upstream.connect_timeout = shop_config::Duration::secs(2);
    let gateway = Running::start(settings).await;
    let sender = http2(gateway.addr).await;
    let all = join_all((0..50).map(|n| {
        // Half of them are in a hurry.
        let (mut sender, request) = (sender.clone(), call(&gateway, "GetProduct", (n % 2 == 0).then_some("100m")));
        async move { sender.send_request(request).await.expect("an answer").headers()["x-gateway-reason"].clone() }
    }));
    // One attempt after the other, they would take a hundred seconds.
    let reasons = timeout(SOON, all).await.expect("nobody queues for attempts");
    for (n, reason) in reasons.iter().enumerate() {
        assert_eq!(reason, if n % 2 == 0 { "upstream_timeout" } else { "connect_failed" }, "{n}");
    }
}
