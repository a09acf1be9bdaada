//! The way in and out of every request, top to bottom: id, trace, limits, the handler, one error form, log, metrics.

use std::borrow::Cow;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use http::header::{CONNECTION, CONTENT_LENGTH};
use http::{HeaderValue, Method, StatusCode, Version};
use salvo::{Depot, FlowCtrl, Handler, Request, Response, async_trait};
use shop_config::Http;
use shop_fault::{Fault, Kind};
use shop_runtime::Health;
use shop_telemetry::context::{self, RequestContext};
use tracing::{Instrument, Span};

use crate::extract::too_large;
use crate::metrics::{HttpMetrics, UNMATCHED};
use crate::problem::{ErrorCode, fill_bare, render};
use crate::request_id::{self, RequestId};

/// Client closed the connection before the answer (nginx's number; it never goes over the wire).
const CLIENT_GONE: StatusCode = match StatusCode::from_u16(499) {
    Ok(status) => status,
    Err(_) => StatusCode::BAD_REQUEST,
};

/// The one hoop around everything.
pub(crate) struct Edge {
    metrics: Arc<HttpMetrics>,
    health: Health,
    timeout: Duration,
    body_limit: usize,
}

impl Edge {
    pub(crate) fn new(metrics: Arc<HttpMetrics>, health: Health, settings: &Http) -> Self {
        let body_limit = usize::try_from(settings.body_limit).unwrap_or(usize::MAX);
        Self { metrics, health, timeout: settings.timeout.get(), body_limit }
    }

    /// Runs the handler within its limits; whatever goes wrong is a problem afterwards.
    async fn run(&self, req: &mut Request, depot: &mut Depot, res: &mut Response, ctrl: &mut FlowCtrl) {
        if announced(req).is_some_and(|length| length > self.body_limit as u64) {
            ctrl.skip_rest();
            return render(&too_large(self.body_limit).into(), req, res);
        }
        req.limit_body(self.body_limit);
        let handler = AssertUnwindSafe(ctrl.call_next(req, depot, res)).catch_unwind();
        let fault = match tokio::time::timeout(self.timeout, handler).await {
            Ok(Ok(_)) => return fill_bare(req, res),
            Ok(Err(panic)) => Fault::internal(format!("the handler panicked: {}", said(&*panic))),
            Err(_) => Fault::new(Kind::Timeout, "timeout", "the request took longer than this service allows"),
        };
        ctrl.skip_rest();
        render(&fault, req, res);
    }
}

#[async_trait]
impl Handler for Edge {
    async fn handle(&self, req: &mut Request, depot: &mut Depot, res: &mut Response, ctrl: &mut FlowCtrl) {
        let id = RequestId::of(req.headers());
        let route = route(req);
        let span = span(req, &route, &id);
        let context = RequestContext::new(id.as_str(), &span, header(req, "traceparent"));
        res.headers_mut().insert(request_id::HEADER, id.0.clone());
        let mut visit = Visit::new(self.metrics.clone(), req, route, &context);
        req.extensions_mut().insert(id);
        context::scope(context, self.run(req, depot, res, ctrl)).instrument(span.clone()).await;
        span.record("http.response.status_code", res.status_code.map_or(200, |status| status.as_u16()));
        if req.method() == Method::HEAD
            && let Some(size) = res.body.size()
        {
            res.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(size));
        }
        // HTTP/2 has a frame for it.
        if self.health.draining() && req.version() < Version::HTTP_2 {
            res.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        visit.answered(res);
    }
}

/// The template that matched, with a leading slash: what metrics and logs may be grouped by.
fn route(req: &Request) -> Cow<'static, str> {
    match req.matched_path() {
        "" if req.uri().path() == "/" => "/".into(),
        "" => UNMATCHED.into(),
        matched => format!("/{matched}").into(),
    }
}

/// Only an exporter wants the span; its target lets the subscriber switch it off at no cost.
fn span(req: &Request, route: &str, id: &RequestId) -> Span {
    tracing::info_span!(
        target: "shop::span",
        "http",
        otel.kind = "server",
        otel.name = %format_args!("{} {route}", req.method()),
        http.request.method = %req.method(),
        http.route = route,
        http.response.status_code = tracing::field::Empty,
        url.path = req.uri().path(),
        request_id = id.as_str(),
    )
}

/// The length the caller announces; a lie is caught when the body is read.
fn announced(req: &Request) -> Option<u64> {
    header(req, "content-length")?.parse().ok()
}

fn header<'a>(req: &'a Request, name: &str) -> Option<&'a str> {
    req.headers().get(name)?.to_str().ok()
}

fn said(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

/// One request in the books, by its route's template: the path itself may name a person.
/// Counted and logged when it is dropped, also when the client went away before the answer.
struct Visit {
    metrics: Arc<HttpMetrics>,
    started: Instant,
    method: Method,
    route: Cow<'static, str>,
    request_id: Arc<str>,
    trace_id: String,
    status: StatusCode,
    bytes: u64,
}

impl Visit {
    fn new(metrics: Arc<HttpMetrics>, req: &Request, route: Cow<'static, str>, context: &RequestContext) -> Self {
        metrics.in_flight.inc();
        Self {
            metrics,
            started: Instant::now(),
            method: req.method().clone(),
            route,
            request_id: context.request_id.clone(),
            trace_id: context.trace.trace_id(),
            status: CLIENT_GONE,
            bytes: 0,
        }
    }

    fn answered(&mut self, res: &Response) {
        self.status = res.status_code.unwrap_or(StatusCode::OK);
        self.bytes = res.body.size().unwrap_or_default();
        if let Some(ErrorCode(code)) = res.extensions.get() {
            self.metrics.error(code);
        }
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        let took = self.started.elapsed();
        self.metrics.in_flight.dec();
        self.metrics.record(&self.method, &self.route, self.status, took);
        let (method, status) = (self.method.as_str(), self.status.as_u16());
        let duration_ms = f64::from(u32::try_from(took.as_micros()).unwrap_or(u32::MAX)) / 1000.0;
        macro_rules! log {
            ($level:ident) => {
                tracing::$level!(
                    target: "http.access",
                    method,
                    route = &*self.route,
                    status,
                    duration_ms,
                    bytes = self.bytes,
                    request_id = &*self.request_id,
                    trace_id = self.trace_id,
                    "{method} {} {status}",
                    self.route,
                )
            };
        }
        // Probes and scrapes come every few seconds and say nothing while they go well.
        let is_probe = self.route.starts_with("/health") || self.route == "/metrics";
        if is_probe && self.status.is_success() { log!(debug) } else { log!(info) }
    }
}
