//! Spans on their way to a collector, in a process of their own since the subscriber is the process's.

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::trace::v1::Span;
use shop_config::{Log, Otel};
use shop_telemetry::{RequestContext, context};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};
use tracing::Instrument as _;

const CALLER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

struct Collector(mpsc::UnboundedSender<Span>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let scopes = request.into_inner().resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
        for span in scopes.flat_map(|scope| scope.spans) {
            self.0.send(span).map_err(|_| Status::aborted("the test is over"))?;
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callers_trace_goes_on_and_reaches_the_collector_before_the_process_ends() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let endpoint = format!("http://{}", listener.local_addr().expect("bound"));
    let (sender, mut spans) = mpsc::unbounded_channel();
    let server = tonic::transport::Server::builder()
        .add_service(TraceServiceServer::new(Collector(sender)))
        .serve_with_incoming(TcpListenerStream::new(listener));
    let serving = async {
        server.await.expect("the collector serves");
    };

    let test = async {
        let otel = Otel { endpoint: Some(endpoint), ..Otel::default() };
        let guard = shop_telemetry::init("basket", &Log::default(), &otel).expect("telemetry starts");

        let span = tracing::info_span!(target: "shop_test", "request", route = "/x");
        let request = RequestContext::new("r-1", &span, Some(CALLER));
        let handed_on = context::scope(request.clone(), async { shop_telemetry::traceparent() }.instrument(span)).await;
        assert_eq!(handed_on, Some(request.traceparent()));
        assert_eq!(request.trace.trace_id(), "0af7651916cd43dd8448eb211c80319c");

        guard.shutdown().await;
        let exported = spans.recv().await.expect("a span arrives");
        assert_eq!(exported.name, "request");
        assert_eq!(exported.trace_id, 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c_u128.to_be_bytes());
        assert_eq!(exported.parent_span_id, 0xb7ad_6b71_6920_3331_u64.to_be_bytes());
        assert_eq!(exported.span_id, hex(&request.traceparent()[36..52]));
    };
    tokio::select! {
        () = serving => {}
        () = test => {}
    }
}

fn hex(text: &str) -> [u8; 8] {
    u64::from_str_radix(text, 16).expect("hexadecimal").to_be_bytes()
}
