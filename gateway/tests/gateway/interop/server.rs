//! `grpc.testing.TestService`, by tonic.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::{Context, Poll};

use futures_util::{Stream, StreamExt as _, stream};
use http_body::Frame;
use http_body_util::BodyExt as _;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service};
use tonic::server::{Grpc, NamedService};
use tonic::transport::Server;
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;
use tower::service_fn;

use super::messages::{
    EchoStatus, Empty, Payload, SimpleRequest, SimpleResponse, StreamingInputCallRequest, StreamingInputCallResponse,
    StreamingOutputCallRequest, StreamingOutputCallResponse,
};

/// Metadata that comes back, before the answer and after it.
pub(super) const INITIAL: &str = "x-grpc-test-echo-initial";
pub(super) const TRAILING: &str = "x-grpc-test-echo-trailing-bin";

type Outputs = Pin<Box<dyn Stream<Item = Result<StreamingOutputCallResponse, Status>> + Send>>;

/// Serves it for as long as the test lasts.
pub(super) async fn start() -> SocketAddr {
    start_counting().await.0
}

/// The same, with the number of calls that are not over.
pub(super) async fn start_counting() -> (SocketAddr, impl Fn() -> usize) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let addr = listener.local_addr().expect("bound");
    let service = TestService { calls: Arc::default() };
    let calls = Arc::clone(&service.calls);
    tokio::spawn(Server::builder().add_service(service).serve_with_incoming(TcpListenerStream::new(listener)));
    (addr, move || calls.load(SeqCst))
}

#[derive(Clone)]
struct TestService {
    /// Those that are not over.
    calls: Arc<AtomicUsize>,
}

/// A call, until it is dropped.
struct Call(Arc<AtomicUsize>);

impl Call {
    fn begin(calls: &Arc<AtomicUsize>) -> Self {
        calls.fetch_add(1, SeqCst);
        Self(Arc::clone(calls))
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

impl NamedService for TestService {
    const NAME: &'static str = "grpc.testing.TestService";
}

impl Service<http::Request<Body>> for TestService {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let [initial, trailing] = [INITIAL, TRAILING].map(|name| request.headers().get(name).cloned());
        let call = Call::begin(&self.calls);
        Box::pin(async move {
            let mut response = answer(request).await;
            if let Some(value) = initial {
                response.headers_mut().insert(INITIAL, value);
            }
            // tonic has no word for metadata after a call that went well.
            let add = move |frame: Frame<_>| match (frame.into_trailers(), &trailing, &call) {
                (Ok(mut trailers), Some(value), _) => {
                    trailers.insert(TRAILING, value.clone());
                    Frame::trailers(trailers)
                }
                (Ok(trailers), None, _) => Frame::trailers(trailers),
                (Err(frame), ..) => frame,
            };
            Ok(response.map(|body| Body::new(body.map_frame(add))))
        })
    }
}

async fn answer(request: http::Request<Body>) -> http::Response<Body> {
    let method = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
    match method.as_str() {
        "EmptyCall" => {
            let empty = service_fn(|_: Request<Empty>| async { Ok(Response::new(Empty {})) });
            Grpc::new(ProstCodec::default()).unary(empty, request).await
        }
        "UnaryCall" => Grpc::new(ProstCodec::default()).unary(service_fn(unary), request).await,
        "StreamingOutputCall" => Grpc::new(ProstCodec::default()).server_streaming(service_fn(output), request).await,
        "StreamingInputCall" => Grpc::new(ProstCodec::default()).client_streaming(service_fn(input), request).await,
        "FullDuplexCall" => Grpc::new(ProstCodec::default()).streaming(service_fn(full_duplex), request).await,
        _ => Status::unimplemented(method).into_http(),
    }
}

async fn unary(request: Request<SimpleRequest>) -> Result<Response<SimpleResponse>, Status> {
    let SimpleRequest { response_size, response_status, .. } = request.into_inner();
    as_wanted(response_status)?;
    Ok(Response::new(SimpleResponse { payload: Some(payload(response_size)?) }))
}

async fn output(request: Request<StreamingOutputCallRequest>) -> Result<Response<Outputs>, Status> {
    Ok(Response::new(Box::pin(stream::iter(outputs(request.into_inner())))))
}

async fn input(
    request: Request<Streaming<StreamingInputCallRequest>>,
) -> Result<Response<StreamingInputCallResponse>, Status> {
    let (mut requests, mut size) = (request.into_inner(), 0);
    while let Some(request) = requests.message().await? {
        size += request.payload.map_or(0, |payload| payload.body.len());
    }
    let aggregated_payload_size = i32::try_from(size).map_err(|_| Status::out_of_range("that is too much"))?;
    Ok(Response::new(StreamingInputCallResponse { aggregated_payload_size }))
}

async fn full_duplex(request: Request<Streaming<StreamingOutputCallRequest>>) -> Result<Response<Outputs>, Status> {
    let answers = request.into_inner().flat_map(|request| stream::iter(request.map_or_else(|s| vec![Err(s)], outputs)));
    Ok(Response::new(Box::pin(answers)))
}

/// The answers to one message; with an error the call ends. No case wants pauses between them.
fn outputs(request: StreamingOutputCallRequest) -> Vec<Result<StreamingOutputCallResponse, Status>> {
    if let Err(status) = as_wanted(request.response_status) {
        return vec![Err(status)];
    }
    let one = |size| Ok(StreamingOutputCallResponse { payload: Some(payload(size)?) });
    request.response_parameters.iter().map(|wanted| one(wanted.size)).collect()
}

fn payload(size: i32) -> Result<Payload, Status> {
    usize::try_from(size).map(Payload::of).map_err(|_| Status::invalid_argument("a size is not negative"))
}

fn as_wanted(status: Option<EchoStatus>) -> Result<(), Status> {
    match status {
        Some(EchoStatus { code, message }) if code != 0 => Err(Status::new(Code::from(code), message)),
        _ => Ok(()),
    }
}
