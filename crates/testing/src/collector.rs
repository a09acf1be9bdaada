//! A collector of traces: a real receiver of OTLP over gRPC, and the tree that the spans it got make.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

/// Takes spans as long as it lives.
#[derive(Debug)]
pub struct Collector {
    endpoint: String,
    spans: Arc<Mutex<Vec<Traced>>>,
    serving: tokio::task::JoinHandle<()>,
}

/// A span that arrived.
#[derive(Debug, Clone)]
pub struct Traced {
    /// The process it came from (`service.name`).
    pub service: String,
    /// What else its process said of itself.
    pub resource: HashMap<String, String>,
    /// Its name.
    pub name: String,
    /// `SERVER`, `CLIENT`, `PRODUCER`, `CONSUMER` or `INTERNAL`.
    pub kind: String,
    /// Its trace, in hexadecimal.
    pub trace: String,
    /// Its id, in hexadecimal.
    pub id: String,
    /// The span above it, in hexadecimal; empty when there is none.
    pub parent: String,
    /// Its attributes, as text.
    pub attributes: HashMap<String, String>,
    /// Whether it says that it failed.
    pub failed: bool,
    /// Its beginning and end, in nanoseconds since 1970.
    pub time: (u64, u64),
}

impl Traced {
    /// An attribute, empty when it is missing.
    #[must_use]
    pub fn get(&self, name: &str) -> &str {
        self.attributes.get(name).map_or("", String::as_str)
    }
}

impl Collector {
    /// Listens on a port of its own.
    #[expect(clippy::disallowed_methods, reason = "serves until the test drops it")]
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let endpoint = format!("http://{}", listener.local_addr().expect("is bound"));
        let spans = Arc::<Mutex<Vec<Traced>>>::default();
        let service = TraceServiceServer::new(Receiver(spans.clone()));
        let server = tonic::transport::Server::builder().add_service(service);
        let serving = tokio::spawn(async move {
            server.serve_with_incoming(TcpListenerStream::new(listener)).await.expect("the collector serves");
        });
        Self { endpoint, spans, serving }
    }

    /// Where to send spans.
    #[must_use]
    pub fn endpoint(&self) -> String {
        self.endpoint.clone()
    }

    /// What came since the last time, to be forgotten here.
    pub fn take(&self) -> Vec<Traced> {
        std::mem::take(&mut *self.spans.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What came so far.
    #[must_use]
    pub fn spans(&self) -> Vec<Traced> {
        self.spans.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

struct Receiver(Arc<Mutex<Vec<Traced>>>);

#[tonic::async_trait]
impl TraceService for Receiver {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        for resource in request.into_inner().resource_spans {
            let about = attributes(resource.resource.map(|resource| resource.attributes).unwrap_or_default());
            for span in resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                let kind = SpanKind::try_from(span.kind).map(|kind| kind.as_str_name()).unwrap_or_default();
                let traced = Traced {
                    service: about.get("service.name").cloned().unwrap_or_default(),
                    resource: about.clone(),
                    name: span.name,
                    kind: kind.trim_start_matches("SPAN_KIND_").to_owned(),
                    trace: hex(&span.trace_id),
                    id: hex(&span.span_id),
                    parent: hex(&span.parent_span_id),
                    attributes: attributes(span.attributes),
                    failed: span.status.is_some_and(|status| status.code() == StatusCode::Error),
                    time: (span.start_time_unix_nano, span.end_time_unix_nano),
                };
                self.0.lock().unwrap_or_else(PoisonError::into_inner).push(traced);
            }
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn attributes(list: Vec<KeyValue>) -> HashMap<String, String> {
    list.into_iter().map(|attribute| (attribute.key, text(attribute.value))).collect()
}

fn text(value: Option<AnyValue>) -> String {
    match value.and_then(|value| value.value) {
        Some(any_value::Value::StringValue(text)) => text,
        Some(any_value::Value::IntValue(number)) => number.to_string(),
        Some(any_value::Value::BoolValue(truth)) => truth.to_string(),
        Some(any_value::Value::DoubleValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    }
}

/// One line a span, indented below its parent, in the order of their beginnings; for people who look at a failed test.
#[must_use]
pub fn tree(spans: &[Traced]) -> String {
    fn below(spans: &[Traced], parent: &str, depth: usize, out: &mut String) {
        let mut children: Vec<_> = spans.iter().filter(|span| span.parent == parent).collect();
        children.sort_by_key(|span| span.time);
        for span in children {
            let failed = if span.failed { " FAILED" } else { "" };
            // Writing to a String cannot fail.
            let _ =
                writeln!(out, "{:depth$}{} {} ({}){failed}", "", span.kind, span.name, span.service, depth = depth * 2);
            below(spans, &span.id, depth + 1, out);
        }
    }
    let mut out = String::new();
    let mut tops: Vec<&str> = spans.iter().map(|span| &*span.parent).collect();
    tops.retain(|parent| !spans.iter().any(|span| span.id == *parent));
    tops.sort_unstable();
    tops.dedup();
    for top in tops {
        let _ = writeln!(out, "below {}:", if top.is_empty() { "nothing" } else { top });
        below(spans, top, 1, &mut out);
    }
    out
}
