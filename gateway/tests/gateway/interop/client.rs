//! The cases, asked by tonic's client.

use std::time::Duration;

use futures_util::{Stream, StreamExt as _, future, stream};
use http::uri::PathAndQuery;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::client::Grpc;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;

use super::messages::{
    EchoStatus, Empty, Payload, SimpleRequest, SimpleResponse, StreamingInputCallRequest, StreamingInputCallResponse,
    StreamingOutputCallRequest, StreamingOutputCallResponse,
};
use super::server::{INITIAL, TRAILING};

const SERVICE: &str = "grpc.testing.TestService";
/// What percent-encoding has to bring through (gRPC over HTTP/2, `grpc-message`).
const SPECIAL: &str = "\t\ntest with whitespace\r\nand Unicode BMP ☺ and non-BMP 😈\t\n";

/// Asks whom `channel` leads to.
#[derive(Clone)]
pub(super) struct Client(pub(super) Channel);

type Answers = Response<Streaming<StreamingOutputCallResponse>>;

fn path(service: &str, method: &str) -> PathAndQuery {
    format!("/{service}/{method}").parse().expect("a path")
}

/// The request of the cases with one large message.
fn large() -> SimpleRequest {
    SimpleRequest { response_size: 314_159, payload: Some(Payload::of(271_828)), response_status: None }
}

fn size(payload: Option<Payload>) -> usize {
    payload.map_or(0, |payload| payload.body.len())
}

/// With metadata that are to come back.
fn with_metadata<T>(mut request: Request<T>) -> Request<T> {
    let value = MetadataValue::from_static("test_initial_metadata_value");
    request.metadata_mut().insert(INITIAL, value);
    request.metadata_mut().insert_bin(TRAILING, MetadataValue::from_bytes(&[0xab; 3]));
    request
}

/// Which of both `metadata` have.
fn echoed(metadata: &MetadataMap) -> (bool, bool) {
    let initial = metadata.get(INITIAL).map(|value| value.as_bytes() == b"test_initial_metadata_value");
    let trailing = metadata.get_bin(TRAILING).and_then(|value| value.to_bytes().ok());
    (initial == Some(true), trailing.is_some_and(|value| *value == [0xab; 3]))
}

impl Client {
    /// Every case, all at once.
    pub(super) async fn every_case(&self) {
        // Boxed: all of them are some kilobytes.
        Box::pin(async {
            tokio::join!(
                self.empty_unary(),
                self.large_unary(),
                self.client_streaming(),
                self.server_streaming(),
                self.ping_pong(),
                self.empty_stream(),
                self.cancel_after_begin(),
                self.cancel_after_first_response(),
                self.timeout_on_sleeping_server(),
                self.status_code_and_message(),
                self.special_status_message(),
                self.unimplemented(SERVICE),
                self.unimplemented("grpc.testing.UnimplementedService"),
                self.custom_metadata(),
            );
        })
        .await;
    }

    async fn empty_unary(&self) {
        let codec = ProstCodec::<Empty, Empty>::default();
        let answer = self.ready().await.unary(Request::new(Empty {}), path(SERVICE, "EmptyCall"), codec).await;
        assert_eq!(answer.expect("empty_unary").into_inner(), Empty {});
    }

    async fn large_unary(&self) {
        let answer = self.simple(Request::new(large())).await.expect("large_unary");
        assert_eq!(size(answer.into_inner().payload), 314_159);
    }

    async fn client_streaming(&self) {
        let sizes = [27_182, 8, 1_828, 45_904];
        let requests = stream::iter(sizes.map(|size| StreamingInputCallRequest { payload: Some(Payload::of(size)) }));
        let answer = self.input(Request::new(requests)).await.expect("client_streaming");
        assert_eq!(answer.into_inner().aggregated_payload_size, 74_922);
    }

    async fn server_streaming(&self) {
        let sizes = [31_415, 9, 2_653, 58_979];
        let request = Request::new(StreamingOutputCallRequest::wanting(&sizes, 0));
        let call = self
            .ready()
            .await
            .server_streaming(request, path(SERVICE, "StreamingOutputCall"), ProstCodec::default())
            .await;
        let answers: Streaming<StreamingOutputCallResponse> = call.expect("server_streaming").into_inner();
        let sizes: Vec<_> = answers.map(|answer| size(answer.expect("an answer").payload)).collect().await;
        assert_eq!(sizes, [31_415, 9, 2_653, 58_979]);
    }

    async fn ping_pong(&self) {
        let (say, said) = mpsc::channel(1);
        let rounds = [(31_415, 27_182), (9, 8), (2_653, 1_828), (58_979, 45_904)];
        let ask = async |(wanted, own): (i32, usize)| {
            say.send(StreamingOutputCallRequest::wanting(&[wanted], own)).await.expect("it listens");
        };
        // Some servers begin their answer with its first message.
        ask(rounds[0]).await;
        let answers = self.full_duplex(Request::new(ReceiverStream::new(said))).await;
        let mut answers = answers.expect("ping_pong").into_inner();
        for (round, (wanted, _)) in rounds.into_iter().enumerate() {
            let answer = answers.message().await.expect("an answer").expect("not the end");
            assert_eq!(i32::try_from(size(answer.payload)), Ok(wanted));
            if let Some(next) = rounds.get(round + 1) {
                ask(*next).await;
            }
        }
        drop(say);
        assert_eq!(answers.message().await.expect("ping_pong"), None);
    }

    async fn empty_stream(&self) {
        let answers = self.full_duplex(Request::new(stream::empty())).await.expect("empty_stream");
        assert_eq!(answers.into_inner().message().await.expect("empty_stream"), None);
    }

    /// Who takes its call back hears nothing more of it, so that nothing is left to be compared here.
    pub(super) async fn cancel_after_begin(&self) {
        let (tell, mut told) = mpsc::channel(1);
        // Asked for the first message, it says that the call is on its way.
        let requests = stream::once(async move { tell.send(()).await }).filter_map(|_| future::pending());
        tokio::select! {
            answer = self.input(Request::new(requests)) => panic!("cancel_after_begin: {answer:?}"),
            begun = told.recv() => assert_eq!(begun, Some(())),
        }
    }

    pub(super) async fn cancel_after_first_response(&self) {
        let (say, said) = mpsc::channel(1);
        say.send(StreamingOutputCallRequest::wanting(&[31_415], 27_182)).await.expect("it listens");
        let mut answers = self.full_duplex(Request::new(ReceiverStream::new(said))).await.expect("begins").into_inner();
        let answer = answers.message().await.expect("cancel_after_first_response").expect("not the end");
        assert_eq!(size(answer.payload), 31_415);
        // hyper takes no call back of which there may be more to send.
        drop((answers, say));
    }

    /// A call that goes on until its time is over, and whose own side goes on after that.
    pub(super) async fn outlive(&self, time: Duration) {
        let requests = stream::iter([StreamingOutputCallRequest::wanting(&[1], 1)]).chain(stream::pending());
        let mut request = Request::new(requests);
        request.set_timeout(time);
        let mut answers = self.full_duplex(request).await.expect("begins").into_inner();
        assert!(answers.message().await.expect("an answer").is_some());
        let status = answers.message().await.expect_err("its time is over");
        assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
    }

    pub(super) async fn timeout_on_sleeping_server(&self) {
        let requests = stream::iter([StreamingOutputCallRequest::wanting(&[], 27_182)]).chain(stream::pending());
        let mut request = Request::new(requests);
        request.set_timeout(Duration::from_millis(1));
        let status = match self.full_duplex(request).await {
            Ok(mut answers) => answers.get_mut().message().await.expect_err("timeout_on_sleeping_server"),
            Err(status) => status,
        };
        // The latter when tonic's own clock is the first.
        assert!(matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled), "{status:?}");
    }

    async fn status_code_and_message(&self) {
        let wanted = EchoStatus { code: 2, message: "test status message".to_owned() };
        let status = Some(wanted.clone());
        let unary = self.simple(Request::new(SimpleRequest { response_status: status.clone(), ..large() })).await;
        let request = StreamingOutputCallRequest { response_status: status, ..StreamingOutputCallRequest::default() };
        let streamed = match self.full_duplex(Request::new(stream::iter([request]))).await {
            Ok(mut answers) => answers.get_mut().message().await.map(drop),
            Err(status) => Err(status),
        };
        for status in [unary.map(drop), streamed].map(|ended| ended.expect_err("status_code_and_message")) {
            assert_eq!((status.code(), status.message()), (Code::Unknown, &*wanted.message));
        }
    }

    async fn special_status_message(&self) {
        let response_status = Some(EchoStatus { code: 2, message: SPECIAL.to_owned() });
        let answer = self.simple(Request::new(SimpleRequest { response_status, ..SimpleRequest::default() })).await;
        let status = answer.expect_err("special_status_message");
        assert_eq!((status.code(), status.message()), (Code::Unknown, SPECIAL));
    }

    /// A method, or a whole service, that nobody has.
    async fn unimplemented(&self, service: &str) {
        let path = path(service, "UnimplementedCall");
        let mut grpc = self.ready().await;
        let answer = grpc.unary(Request::new(Empty {}), path, ProstCodec::<Empty, Empty>::default()).await;
        assert_eq!(answer.expect_err(service).code(), Code::Unimplemented, "{service}");
    }

    async fn custom_metadata(&self) {
        let answer = self.simple(with_metadata(Request::new(large()))).await.expect("custom_metadata");
        // Those before and after the answer are one in tonic.
        assert_eq!(echoed(answer.metadata()), (true, true));
        let one = stream::iter([StreamingOutputCallRequest::wanting(&[314_159], 271_828)]);
        let answers = self.full_duplex(with_metadata(Request::new(one))).await.expect("custom_metadata");
        assert_eq!(echoed(answers.metadata()), (true, false));
        let mut answers = answers.into_inner();
        let answer = answers.message().await.expect("an answer").expect("not the end");
        assert_eq!(size(answer.payload), 314_159);
        let trailers = answers.trailers().await.expect("custom_metadata").expect("trailers");
        assert_eq!(echoed(&trailers), (false, true));
    }

    async fn simple(&self, request: Request<SimpleRequest>) -> Result<Response<SimpleResponse>, Status> {
        self.ready().await.unary(request, path(SERVICE, "UnaryCall"), ProstCodec::default()).await
    }

    async fn input(
        &self,
        requests: Request<impl Stream<Item = StreamingInputCallRequest> + Send + 'static>,
    ) -> Result<Response<StreamingInputCallResponse>, Status> {
        let path = path(SERVICE, "StreamingInputCall");
        self.ready().await.client_streaming(requests, path, ProstCodec::default()).await
    }

    async fn full_duplex(
        &self,
        requests: Request<impl Stream<Item = StreamingOutputCallRequest> + Send + 'static>,
    ) -> Result<Answers, Status> {
        self.ready().await.streaming(requests, path(SERVICE, "FullDuplexCall"), ProstCodec::default()).await
    }

    async fn ready(&self) -> Grpc<Channel> {
        let mut grpc = Grpc::new(self.0.clone());
        grpc.ready().await.expect("a connection");
        grpc
    }
}
