//! gRPC through the gateway, with a stock client and server.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::StreamExt;
use http::uri::PathAndQuery;
use hyper_util::rt::{TokioExecutor, TokioIo};
pub(crate) use shop_proto::product::v1::GetProductRequest as Number;
use shop_testing::eventually;
use tokio::net::{TcpListener, TcpStream};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service};
use tonic::metadata::MetadataValue;
use tonic::server::{NamedService, StreamingService, UnaryService};
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Code, Request, Response, Status, Streaming};

use crate::support::{Running, Upstream, config, nobody, reset};

pub(crate) type Codec = tonic_prost::ProstCodec<Number, Number>;
type Numbers = Pin<Box<dyn futures_util::Stream<Item = Result<Number, Status>> + Send>>;

pub(crate) fn number(id: i64) -> Number {
    Number { id }
}

/// `Twice` doubles, `Fail` fails with details and metadata, `Count` streams up to the number, `Sum` adds up, `Chat`
/// doubles each as it comes, `Break` streams one and then hangs.
#[derive(Clone)]
struct Arithmetic;

impl NamedService for Arithmetic {
    const NAME: &'static str = "shop.product.v1.ProductService";
}

impl Service<http::Request<Body>> for Arithmetic {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let mut grpc = tonic::server::Grpc::new(Codec::default());
        let method = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
        Box::pin(async move {
            Ok(match method.as_str() {
                "Twice" | "Fail" => grpc.unary(Unary(method == "Fail"), request).await,
                _ => grpc.streaming(Stream(method), request).await,
            })
        })
    }
}

struct Unary(bool);

impl UnaryService<Number> for Unary {
    type Response = Number;
    type Future = Ready<Result<Response<Number>, Status>>;

    fn call(&mut self, request: Request<Number>) -> Self::Future {
        if self.0 {
            let mut status = Status::with_details(Code::FailedPrecondition, "späť", vec![1, 2, 3].into());
            status.metadata_mut().insert("x-why", MetadataValue::from_static("because"));
            return ready(Err(status));
        }
        let mut response = Response::new(number(request.get_ref().id * 2));
        for name in ["te", "x-request-id", "x-forwarded-for", "traceparent", "tracestate"] {
            if let Some(value) = request.metadata().get(name) {
                response
                    .metadata_mut()
                    .append("seen", format!("{name}={}", value.to_str().expect("text")).parse().expect("value"));
            }
        }
        ready(Ok(response))
    }
}

struct Stream(String);

impl StreamingService<Number> for Stream {
    type Response = Number;
    type ResponseStream = Numbers;
    type Future = BoxFuture<Response<Numbers>, Status>;

    fn call(&mut self, request: Request<Streaming<Number>>) -> Self::Future {
        let method = self.0.clone();
        let mut input = request.into_inner();
        Box::pin(async move {
            Ok(Response::new(match method.as_str() {
                "Count" => {
                    let last = input.message().await?.unwrap_or_default().id;
                    let end = Status::out_of_range("that was all");
                    let items = (1..=last).map(|id| Ok(number(id))).chain([Err(end)]);
                    Box::pin(tokio_stream::iter(items)) as Numbers
                }
                "Sum" => {
                    let mut sum = 0;
                    while let Some(next) = input.message().await? {
                        sum += next.id;
                    }
                    Box::pin(tokio_stream::iter([Ok(number(sum))]))
                }
                "Chat" => Box::pin(input.map(|next| next.map(|next| number(next.id * 2)))),
                _ => Box::pin(tokio_stream::iter([Ok(number(1))]).chain(futures_util::stream::pending())),
            }))
        })
    }
}

/// A gRPC backend.
pub(crate) async fn backend() -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let addr = listener.local_addr().expect("bound");
    tokio::spawn(Server::builder().add_service(Arithmetic).serve_with_incoming(TcpListenerStream::new(listener)));
    addr
}

async fn channel(gateway: &Running) -> tonic::client::Grpc<Channel> {
    channel_to(gateway.addr).await
}

pub(crate) async fn channel_to(addr: std::net::SocketAddr) -> tonic::client::Grpc<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{addr}")).expect("an address");
    let mut client = tonic::client::Grpc::new(endpoint.connect().await.expect("connects"));
    client.ready().await.expect("ready");
    client
}

pub(crate) fn method(name: &str) -> PathAndQuery {
    format!("/shop.product.v1.ProductService/{name}").parse().expect("a path")
}

pub(crate) async fn twice(
    client: &mut tonic::client::Grpc<Channel>,
    request: Request<Number>,
) -> Result<Response<Number>, Status> {
    client.ready().await.expect("ready");
    client.unary(request, method("Twice"), Codec::default()).await
}

fn reason(status: &Status) -> Option<&str> {
    status.metadata().get("x-gateway-reason").map(|value| value.to_str().expect("text"))
}

#[tokio::test]
async fn a_unary_call_and_its_metadata_pass() {
    let gateway = Running::before(backend().await).await;
    let mut client = channel(&gateway).await;
    let mut request = Request::new(number(21));
    for (name, value) in [
        ("x-request-id", "my-id"),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"),
        ("tracestate", "rojo=1"),
    ] {
        request.metadata_mut().insert(name, MetadataValue::from_static(value));
    }
    let response = twice(&mut client, request).await.expect("an answer");
    assert_eq!(response.get_ref().id, 42);
    assert_eq!(response.metadata().get("x-request-id").map(MetadataValue::as_bytes), Some(&b"my-id"[..]));
    let seen: Vec<_> = response.metadata().get_all("seen").iter().map(|seen| seen.to_str().expect("text")).collect();
    assert_eq!(seen[..3], ["te=trailers", "x-request-id=my-id", "x-forwarded-for=127.0.0.1"]);
    assert!(seen[3].starts_with("traceparent=00-0af7651916cd43dd8448eb211c80319c-"));
    assert_eq!(seen[4..], ["tracestate=rojo=1"]);
}

#[tokio::test]
async fn a_call_from_another_sites_page_is_refused() {
    let gateway = Running::before(backend().await).await;
    let mut client = channel(&gateway).await;
    let response = twice(&mut client, Request::new(number(1))).await.expect("no browser");
    assert!(response.metadata().get("x-frame-options").is_none(), "headers for browsers are of no use here");
    for (name, value) in [("sec-fetch-site", "cross-site"), ("origin", "https://evil.example")] {
        let mut request = Request::new(number(1));
        request.metadata_mut().insert(name, MetadataValue::from_static(value));
        let status = twice(&mut client, request).await.expect_err(name);
        assert_eq!((status.code(), reason(&status)), (Code::PermissionDenied, Some("cross_origin_refused")));
    }
}

#[tokio::test]
async fn a_status_passes_with_its_message_details_and_metadata() {
    let gateway = Running::before(backend().await).await;
    let mut client = channel(&gateway).await;
    let status = client.unary(Request::new(number(1)), method("Fail"), Codec::default()).await.expect_err("fails");
    assert_eq!((status.code(), status.message(), status.details()), (Code::FailedPrecondition, "späť", &[1, 2, 3][..]));
    assert_eq!(status.metadata().get("x-why").map(MetadataValue::as_bytes), Some(&b"because"[..]));
    assert_eq!(reason(&status), None);
}

#[tokio::test]
async fn every_kind_of_stream_passes() {
    let gateway = Running::before(backend().await).await;
    let mut client = channel(&gateway).await;
    let call = client.server_streaming(Request::new(number(5000)), method("Count"), Codec::default());
    let mut counted = call.await.expect("a stream").into_inner();
    for expected in 1..=5000 {
        assert_eq!(counted.message().await.expect("a message").map(|next| next.id), Some(expected));
    }
    let end: Status = counted.message().await.expect_err("a status in the trailers");
    assert_eq!((end.code(), end.message()), (Code::OutOfRange, "that was all"));

    client.ready().await.expect("ready");
    let numbers = tokio_stream::iter((1..=1000).map(number));
    let sum = client.client_streaming(Request::new(numbers), method("Sum"), Codec::default()).await;
    assert_eq!(sum.expect("an answer").get_ref().id, 500_500);

    client.ready().await.expect("ready");
    let (say, said) = tokio::sync::mpsc::channel(1);
    let call = client.streaming(Request::new(ReceiverStream::new(said)), method("Chat"), Codec::default());
    let mut heard = call.await.expect("a stream").into_inner();
    for id in 1..=50 {
        say.send(number(id)).await.expect("the call is open");
        assert_eq!(heard.message().await.expect("an answer").map(|next| next.id), Some(id * 2));
    }
    drop(say);
    assert_eq!(heard.message().await.expect("an end"), None);
}

#[tokio::test]
async fn calls_share_one_connection_per_worker() {
    let backend = backend().await;
    let gateway = Running::before(backend).await;
    let client = channel(&gateway).await;
    let calls = (0..50).map(|id| {
        let mut client = client.clone();
        async move { twice(&mut client, Request::new(number(id))).await.expect("an answer").get_ref().id }
    });
    let answers = futures_util::future::join_all(calls).await;
    assert_eq!(answers, (0..50).map(|id| id * 2).collect::<Vec<_>>());
    let label = format!(r#"gateway_upstream_connections_total{{backend="http://{backend}",service="product"}}"#);
    assert_eq!(gateway.metric(&label), Some(1.0));
}

#[tokio::test]
async fn the_gateways_own_failures_are_statuses() {
    let gateway = Running::before(nobody()).await;
    let mut client = channel(&gateway).await;
    let status = twice(&mut client, Request::new(number(1))).await.expect_err("nobody there");
    assert_eq!((status.code(), reason(&status)), (Code::Unavailable, Some("connect_failed")));
    client.ready().await.expect("ready");
    let unknown = PathAndQuery::from_static("/other.v1.Service/Call");
    let status =
        client.unary::<_, Number, _>(Request::new(number(1)), unknown, Codec::default()).await.expect_err("no route");
    assert_eq!((status.code(), reason(&status)), (Code::Unimplemented, Some("no_route")));

    let resetting = Upstream::raw(|stream| async move {
        stream.readable().await.expect("bytes");
        reset(stream);
    })
    .await;
    let gateway = Running::before(resetting.addr).await;
    let mut client = channel(&gateway).await;
    let status = twice(&mut client, Request::new(number(1))).await.expect_err("reset");
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    assert!(matches!(reason(&status), Some("connect_failed" | "upstream_reset")), "{status:?}");
}

#[tokio::test]
async fn a_switched_off_or_limited_service_is_a_status_too() {
    let mut settings = config(backend().await);
    settings.services["product"].enabled = false;
    let gateway = Running::start(settings).await;
    let mut client = channel(&gateway).await;
    let status = twice(&mut client, Request::new(number(1))).await.expect_err("off");
    assert_eq!((status.code(), reason(&status)), (Code::Unavailable, Some("service_disabled")));

    let mut settings = config(backend().await);
    settings.rate_limit.enabled = true;
    settings.rate_limit.burst = std::num::NonZeroU32::MIN;
    let gateway = Running::start(settings).await;
    let mut client = channel(&gateway).await;
    twice(&mut client, Request::new(number(1))).await.expect("the first");
    let status = twice(&mut client, Request::new(number(1))).await.expect_err("the second");
    assert_eq!((status.code(), reason(&status)), (Code::ResourceExhausted, Some("rate_limited")));
}

#[tokio::test]
async fn a_deadline_is_kept_before_the_head_and_in_the_middle_of_a_stream() {
    let silent = Upstream::raw(|stream| async move {
        let service =
            hyper::service::service_fn(|_| std::future::pending::<Result<http::Response<Body>, Infallible>>());
        let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        let _ = server.serve_connection(TokioIo::new(stream), service).await;
    })
    .await;
    let gateway = Running::before(silent.addr).await;
    // Not tonic's client: until the head comes it has a timer of its own, which would hide the gateway's.
    let stream = TokioIo::new(TcpStream::connect(gateway.addr).await.expect("connects"));
    let shaken = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await;
    let (mut sender, connection) = shaken.expect("shakes hands");
    tokio::spawn(connection);
    let request = http::Request::post(format!("http://{}/shop.product.v1.ProductService/Any", gateway.addr))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("grpc-timeout", "200m")
        .body(Body::empty())
        .expect("a request");
    let answer = tokio::time::timeout(Duration::from_secs(10), sender.send_request(request)).await;
    let answer = answer.expect("in time").expect("an answer");
    let header = |name| answer.headers().get(name).map(|value| value.to_str().expect("text"));
    assert_eq!((answer.status().as_u16(), header("grpc-status")), (200, Some("4")));
    assert_eq!(header("x-gateway-reason"), Some("upstream_timeout"));

    let with_deadline = |id| {
        let mut request = Request::new(number(id));
        request.metadata_mut().insert("grpc-timeout", MetadataValue::from_static("200m"));
        request
    };
    let gateway = Running::before(backend().await).await;
    let mut client = channel(&gateway).await;
    let stream = client.server_streaming::<_, Number, _>(with_deadline(1), method("Break"), Codec::default());
    let mut stream = stream.await.expect("a stream").into_inner();
    assert_eq!(stream.message().await.expect("the first").map(|next| next.id), Some(1));
    let status = tokio::time::timeout(Duration::from_secs(10), stream.message()).await.expect("in time");
    let status = status.expect_err("too late");
    assert_eq!((status.code(), reason(&status)), (Code::DeadlineExceeded, Some("upstream_timeout")));
}

#[tokio::test]
async fn a_backend_that_restarts_is_found_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let addr = listener.local_addr().expect("bound");
    let stop = Arc::new(tokio::sync::Notify::new());
    let serve = |listener, stop: Arc<tokio::sync::Notify>| {
        let incoming = TcpListenerStream::new(listener);
        let server = Server::builder().add_service(Arithmetic);
        tokio::spawn(async move { server.serve_with_incoming_shutdown(incoming, stop.notified()).await })
    };
    let first = serve(listener, Arc::clone(&stop));
    let gateway = Running::before(addr).await;
    let mut client = channel(&gateway).await;
    twice(&mut client, Request::new(number(1))).await.expect("an answer");
    stop.notify_one();
    first.await.expect("no panic").expect("stops");
    let listener = eventually!(TcpListener::bind(addr).await);
    let _second = serve(listener, stop);
    let answer = twice(&mut client, Request::new(number(2))).await.expect("an answer from the second");
    assert_eq!(answer.get_ref().id, 4);
}

#[tokio::test]
async fn a_stream_in_flight_is_finished_while_draining() {
    let gateway = Running::before(backend().await).await;
    let mut client = channel(&gateway).await;
    let (say, said) = tokio::sync::mpsc::channel(1);
    let call = client.streaming(Request::new(ReceiverStream::new(said)), method("Chat"), Codec::default());
    let mut heard = call.await.expect("a stream").into_inner();
    gateway.shutdown.soft.cancel();
    eventually!(gateway.get("/health/ready").await.status() == 503);
    say.send(number(4)).await.expect("the call is open");
    let next: Option<Number> = heard.message().await.expect("an answer");
    assert_eq!(next.map(|next| next.id), Some(8));
    drop(say);
    assert_eq!(heard.message().await.expect("an end"), None);
    drop((client, heard));
    gateway.ended.await.expect("no panic").expect("ends well");
}
