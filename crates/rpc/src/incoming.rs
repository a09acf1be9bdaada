//! The way in and out of every call, top to bottom: id, trace, deadline, the method, one error form, log, metrics.

use std::collections::HashSet;
use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use shop_clock::{Clock, SystemClock};
use shop_fault::{Fault, Kind};
use shop_identity::{Audit, Guard};
use shop_runtime::CancellationToken;
use shop_telemetry::context::{self, RequestContext};
use shop_telemetry::{About, KeyValue, Span, SpanKind, TraceParent, TraceState};
use tokio::time::{Instant, timeout_at};
use tonic::body::Body;
use tonic::{Code, Status};
use tower::{Layer, Service};

use crate::call::with_deadline;
use crate::manners::{self, Deadline};
use crate::metrics::{RpcMetrics, UNMATCHED, name};
use crate::one_message::OneMessage;
use crate::status;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Longest request id taken from a caller; longer ones would bloat every log line.
const MAX_ID: usize = 128;

/// Puts [`Incoming`] around the routes.
#[derive(Clone)]
pub(crate) struct IncomingLayer {
    pub(crate) metrics: Arc<RpcMetrics>,
    /// Lets callers in.
    pub(crate) guard: Guard,
    /// Methods that take one message.
    pub(crate) unary: Arc<HashSet<String>>,
    /// Deadline of calls that bring none; theirs is never longer than this.
    pub(crate) timeout: Duration,
    /// Ends what still runs: tonic's own stop would wait for it.
    pub(crate) hard: CancellationToken,
}

impl<S> Layer<S> for IncomingLayer {
    type Service = Incoming<S>;

    fn layer(&self, inner: S) -> Incoming<S> {
        Incoming { layer: self.clone(), inner }
    }
}

/// The one layer around everything.
#[derive(Clone)]
pub(crate) struct Incoming<S> {
    layer: IncomingLayer,
    inner: S,
}

impl<S> Service<Request<Body>> for Incoming<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        // The clone is the one to leave behind: only `self.inner` is known to be ready.
        let next = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, next);
        let id = request_id(request.headers());
        let caller = header(request.headers(), "traceparent");
        let (span, trace) = if shop_telemetry::is_exporting() && is_probe(request.uri().path()) {
            (Span::none(), shop_telemetry::pass_by(caller))
        } else {
            shop_telemetry::arrive(caller, SpanKind::Server, || {
                about(&request, self.layer.metrics.method(request.uri().path()), text(&id))
            })
        };
        let lines = request.headers().get_all(TRACESTATE).iter().map(HeaderValue::as_bytes);
        let state = TraceState::beside(caller, lines);
        let context = RequestContext::new(text(&id), trace).with_state(state);
        let deadline = Deadline::of(request.headers(), self.layer.timeout);
        let refusal = manners::refusal(request.headers());
        let mut visit = Visit::new(self.layer.metrics.clone(), &request, &context, span);
        let hard = self.layer.hard.clone();
        let (guard, path) = (self.layer.guard.clone(), request.uri().path().to_owned());
        // What no service tells of is not there, whatever the routes have.
        let is_known = self.layer.metrics.method(&path) != UNMATCHED || path.starts_with("/grpc.");
        let audited = guard.is_on() && is_known && !is_read(&path);
        let request =
            if self.layer.unary.contains(request.uri().path()) { request.map(OneMessage::of) } else { request };
        let work = async move {
            let call = async {
                if let Some(refusal) = refusal {
                    return Ok(refusal);
                }
                if !is_known {
                    return Ok(Status::unimplemented("").into_http());
                }
                let caller = match guard.admit(guard.grpc(&path), request.headers()).await {
                    Ok(caller) => caller,
                    Err(refusal) => return Ok(refuse(refusal.into())),
                };
                let audit = audited.then(|| {
                    let id = context::with(|context| context.request_id.clone());
                    let operation = path.trim_start_matches('/').to_owned();
                    Audit::begin(caller.clone(), operation, String::new(), id.as_deref().unwrap_or("-"))
                });
                let answer = caller.calls(inner.call(request)).await.map(manners::put_right);
                if let (Some(audit), Ok(answer)) = (audit, &answer) {
                    let code = Status::from_header_map(answer.headers()).map_or(Code::Ok, |said| said.code());
                    audit.end(name(code), None);
                }
                answer
            };
            let answer = tokio::select! {
                answer = timeout_at(deadline.at, AssertUnwindSafe(call).catch_unwind()) => answer,
                () = hard.cancelled() => Ok(Ok(Ok(refuse(Fault::new(Kind::Unavailable, "stopping", "the service stops"))))),
            };
            let mut response = match answer {
                Ok(Ok(Ok(response))) => response,
                Ok(Err(panic)) => refuse(Fault::internal(format!("the method panicked: {}", said(&*panic)))),
                Err(_) => refuse(deadline.fault()),
            };
            visit.answered(&response);
            response.headers_mut().insert(REQUEST_ID, id);
            Ok(response)
        };
        Box::pin(context::scope(context, with_deadline(deadline.at, work)))
    }
}

/// Whether a method only reads, as their names say (`GetBasket`), or belongs to every server.
fn is_read(path: &str) -> bool {
    path.starts_with("/grpc.") || path.rsplit('/').next().is_some_and(|method| method.starts_with("Get"))
}

/// Probes come every few seconds and say nothing while they go well.
fn is_probe(method: &str) -> bool {
    method.starts_with("/grpc.health.")
}

/// The call's span; `method` is the path, or what stands for those that no service has.
fn about(request: &Request<Body>, method: &str, id: &str) -> About {
    let method = match method.trim_start_matches('/') {
        UNMATCHED => "_OTHER",
        method => method,
    };
    let mut attributes = vec![
        KeyValue::new("rpc.system.name", "grpc"),
        KeyValue::new("rpc.method", method.to_owned()),
        KeyValue::new("shop.request.id", id.to_owned()),
    ];
    if let Some(authority) = request.uri().authority() {
        attributes.push(KeyValue::new("server.address", authority.host().to_owned()));
        attributes.extend(authority.port_u16().map(|port| KeyValue::new("server.port", i64::from(port))));
    }
    let name = if method == "_OTHER" { "grpc".into() } else { method.to_owned().into() };
    (name, attributes)
}

/// Whether a server that answers so has failed (semantic conventions for gRPC); other codes are the caller's mistakes.
fn is_failure(code: Code) -> bool {
    matches!(
        code,
        Code::Unknown
            | Code::DeadlineExceeded
            | Code::Unimplemented
            | Code::Internal
            | Code::Unavailable
            | Code::DataLoss
    )
}

fn refuse(fault: Fault) -> Response<Body> {
    status(fault).into_http()
}

fn said(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

/// The caller's id if it is 1–128 visible ASCII characters and sent once, else a new `UUIDv7`.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    let mut sent = headers.get_all(REQUEST_ID).iter();
    match (sent.next(), sent.next()) {
        (Some(value), None)
            if (1..=MAX_ID).contains(&value.len()) && value.as_bytes().iter().all(u8::is_ascii_graphic) =>
        {
            value.clone()
        }
        _ => HeaderValue::try_from(SystemClock.new_id().to_string()).unwrap_or_else(|_| HeaderValue::from_static("-")),
    }
}

fn text(value: &HeaderValue) -> &str {
    value.to_str().unwrap_or("-")
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// One call in the books: counted and logged when it is dropped, also when the caller went away before the answer.
struct Visit {
    metrics: Arc<RpcMetrics>,
    started: Instant,
    path: String,
    request_id: Arc<str>,
    trace: TraceParent,
    code: Code,
    span: Span,
}

impl Visit {
    fn new(metrics: Arc<RpcMetrics>, request: &Request<Body>, context: &RequestContext, span: Span) -> Self {
        metrics.in_flight.inc();
        Self {
            metrics,
            started: Instant::now(),
            path: request.uri().path().to_owned(),
            request_id: context.request_id.clone(),
            trace: context.trace,
            code: Code::Cancelled,
            span,
        }
    }

    /// A failed call has its status in the head; a head without one means that messages follow.
    fn answered(&mut self, response: &Response<Body>) {
        self.code = Status::from_header_map(response.headers()).map_or(Code::Ok, |status| status.code());
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        let took = self.started.elapsed();
        self.metrics.in_flight.dec();
        self.metrics.record(&self.path, self.code, took, self.trace);
        let (method, code) = (self.metrics.method(&self.path), name(self.code));
        self.span.set("rpc.response.status_code", code);
        if is_failure(self.code) {
            self.span.fail(code);
        }
        let duration_ms = shop_telemetry::millis(took);
        macro_rules! log {
            ($level:ident) => {
                tracing::$level!(
                    target: "rpc.access",
                    method,
                    code,
                    duration_ms,
                    request_id = &*self.request_id,
                    trace_id = self.trace.text().trace_id(),
                    "{method} {code}",
                )
            };
        }
        if self.code == Code::Ok && is_probe(method) { log!(debug) } else { log!(info) }
    }
}
