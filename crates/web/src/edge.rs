//! The way in and out of every request, top to bottom: id, trace, limits, the handler, one error form, log, metrics.

use std::borrow::Cow;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{FutureExt, StreamExt};
use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, LOCATION, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, Method, StatusCode, Version};
use salvo::{Depot, FlowCtrl, Handler, Request, Response, async_trait};
use shop_config::Http;
use shop_fault::{Fault, Kind};
use shop_http::{method, request_id};
use shop_identity::{Audit, Caller, Guard, Refusal, Rule};
use shop_runtime::Health;
use shop_telemetry::context::{self, RequestContext};
use shop_telemetry::{About, KeyValue, Span, SpanKind, TraceParent, TraceState};

use crate::extract::too_large;
use crate::metrics::{HttpMetrics, UNMATCHED};
use crate::precondition;
use crate::problem::{ErrorCode, fill_bare, render};
use crate::request_id::RequestId;

/// Client closed the connection before the answer (nginx's number; it never goes over the wire).
const CLIENT_GONE: StatusCode = match StatusCode::from_u16(499) {
    Ok(status) => status,
    Err(_) => StatusCode::BAD_REQUEST,
};

/// The most that is read of a body that nobody wanted, in bytes, and how long that may take: what clients have sent before they
/// hear of the refusal, and no more.
const DRAINED: usize = 64 * 1024;
const DRAINING: Duration = Duration::from_secs(1);

/// The parameter of paths that says whose something is.
const USER: &str = "user_id";

const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// The one hoop around everything.
pub(crate) struct Edge {
    metrics: Arc<HttpMetrics>,
    health: Health,
    guard: Guard,
    timeout: Duration,
    body_limit: usize,
}

impl Edge {
    pub(crate) fn new(metrics: Arc<HttpMetrics>, health: Health, guard: Guard, settings: &Http) -> Self {
        let body_limit = usize::try_from(settings.body_limit).unwrap_or(usize::MAX);
        Self { metrics, health, guard, timeout: settings.timeout.get(), body_limit }
    }

    /// Lets the caller in, if the operation is for him, runs the handler for him, and leaves a line for the audit of what may
    /// have changed something.
    async fn admit(&self, route: &str, req: &mut Request, depot: &mut Depot, res: &mut Response, ctrl: &mut FlowCtrl) {
        if route == UNMATCHED {
            return Caller::nobody().calls(self.run(req, depot, res, ctrl)).await;
        }
        let rule = self.guard.http(req.method().as_str(), route);
        let caller = match self.guard.admit(rule, req.headers()).await {
            Ok(caller) => caller,
            Err(refusal) => {
                ctrl.skip_rest();
                return refuse(refusal, req, res);
            }
        };
        let audit = (self.guard.is_on() && !req.method().is_safe()).then(|| {
            let operation = format!("{} {route}", req.method());
            let id = req.extensions().get::<RequestId>().map_or("-", RequestId::as_str);
            Audit::begin(caller.clone(), operation, req.uri().path().to_owned(), id)
        });
        match about_somebody_else(rule, &caller, req) {
            Some(fault) => {
                ctrl.skip_rest();
                render(&fault, req, res);
            }
            None => caller.calls(self.run(req, depot, res, ctrl)).await,
        }
        if let Some(audit) = audit {
            let made = res.headers().get(LOCATION).and_then(|made| made.to_str().ok());
            audit.end(res.status_code.unwrap_or(StatusCode::OK).as_str(), made);
        }
    }

    /// Runs the handler within its limits; whatever goes wrong is a problem afterwards.
    async fn run(&self, req: &mut Request, depot: &mut Depot, res: &mut Response, ctrl: &mut FlowCtrl) {
        if announced(req).is_some_and(|length| length > self.body_limit as u64) {
            ctrl.skip_rest();
            return render(&too_large(self.body_limit), req, res);
        }
        req.limit_body(self.body_limit);
        let handler = AssertUnwindSafe(ctrl.call_next(req, depot, res)).catch_unwind();
        let fault = match tokio::time::timeout(self.timeout, handler).await {
            Ok(Ok(_)) => {
                fill_bare(req, res);
                return precondition::judge(req, res);
            }
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
        let id = RequestId::of(req);
        let route = route(req);
        let caller = header(req, "traceparent");
        let (span, trace) = if shop_telemetry::is_exporting() && is_probe(&route) {
            (Span::none(), shop_telemetry::pass_by(caller))
        } else {
            shop_telemetry::arrive(caller, SpanKind::Server, || about(req, &route, &id))
        };
        let lines = req.headers().get_all(TRACESTATE).iter().map(HeaderValue::as_bytes);
        let state = TraceState::beside(caller, lines);
        let context = RequestContext::new(id.as_str(), trace).with_state(state);
        res.headers_mut().insert(request_id::HEADER, id.0.clone());
        let mut visit = Visit::new(self.metrics.clone(), req, route.clone(), &context, span);
        req.extensions_mut().insert(id);
        context::scope(context, self.admit(&route, req, depot, res, ctrl)).await;
        drain(req).await;
        // 304 has no content, and what the content's length would be is not known any more.
        if req.method() == Method::HEAD
            && res.status_code != Some(StatusCode::NOT_MODIFIED)
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

/// Reads what nobody read of a small body. The server closes a connection that has something left to read, and the kernel then
/// takes back an answer that is under way (RFC 9112, section 9.6): who sent a body and was refused would not hear why. One that
/// is long, or slow, or waits to be asked for, is not read: its connection is closed.
async fn drain(req: &mut Request) {
    let is_long = announced(req).is_some_and(|length| length > DRAINED as u64);
    if req.version() >= Version::HTTP_2 || is_long || req.headers().contains_key(EXPECT) {
        return;
    }
    let mut body = std::pin::pin!(req.take_body());
    let rest = async {
        let mut left = DRAINED;
        while let Some(Ok(frame)) = body.next().await {
            let Some(rest) = left.checked_sub(frame.data_ref().map_or(0, bytes::Bytes::len)) else { return };
            left = rest;
        }
    };
    // However that ends: there is nothing more to be done for him.
    let _ = tokio::time::timeout(DRAINING, rest).await;
}

/// Answers a caller who is not let in. What he sent is not read.
fn refuse(refusal: Refusal, req: &Request, res: &mut Response) {
    render(&refusal.into(), req, res);
    if let Some(challenge) = refusal.challenge() {
        res.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    }
}

/// Puts the caller's own name where the path says `me`. Of what belongs to somebody else whom he does not reach, he hears
/// what is heard of a user who has nothing.
fn about_somebody_else(rule: Option<&Rule>, caller: &Caller, req: &mut Request) -> Option<Fault> {
    let given = req.params().get(USER)?;
    let user = caller.named(Some(given)).unwrap_or(given).to_owned();
    let missing = rule.and_then(|rule| rule.missing).filter(|_| !caller.reaches(&user));
    let fault = missing.map(|missing| missing(&user));
    req.params_mut().insert(USER, user);
    fault
}

/// The template that matched, with a leading slash: what metrics and logs may be grouped by.
fn route(req: &Request) -> Cow<'static, str> {
    match req.matched_path() {
        "" if req.uri().path() == "/" => "/".into(),
        "" => UNMATCHED.into(),
        matched => format!("/{matched}").into(),
    }
}

/// Probes and scrapes come every few seconds and say nothing while they go well.
fn is_probe(route: &str) -> bool {
    route.starts_with("/health") || route == "/metrics"
}

/// The request's span. Without the query, in which people search for what is theirs.
fn about(req: &Request, route: &str, id: &RequestId) -> About {
    let authority = req.uri().authority().map(http::uri::Authority::as_str).or_else(|| header(req, "host"));
    let authority: Option<http::uri::Authority> = authority.and_then(|host| host.parse().ok());
    let mut attributes = vec![
        KeyValue::new("http.request.method", method::known(req.method())),
        KeyValue::new("url.scheme", "http"),
        KeyValue::new("url.path", req.uri().path().to_owned()),
        KeyValue::new("network.protocol.version", if req.version() == Version::HTTP_2 { "2" } else { "1.1" }),
        KeyValue::new("shop.request.id", id.as_str().to_owned()),
    ];
    if let Some(authority) = authority {
        attributes.push(KeyValue::new("server.address", authority.host().to_owned()));
        attributes.extend(authority.port_u16().map(|port| KeyValue::new("server.port", i64::from(port))));
    }
    let verb = method::verb(req.method());
    if route == UNMATCHED {
        return (verb.into(), attributes);
    }
    attributes.push(KeyValue::new("http.route", route.to_owned()));
    (format!("{verb} {route}").into(), attributes)
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
    trace: TraceParent,
    status: StatusCode,
    bytes: u64,
    span: Span,
}

impl Visit {
    fn new(
        metrics: Arc<HttpMetrics>,
        req: &Request,
        route: Cow<'static, str>,
        context: &RequestContext,
        span: Span,
    ) -> Self {
        metrics.in_flight.inc();
        Self {
            metrics,
            started: Instant::now(),
            method: req.method().clone(),
            route,
            request_id: context.request_id.clone(),
            trace: context.trace,
            status: CLIENT_GONE,
            bytes: 0,
            span,
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
        self.metrics.record(&self.method, &self.route, self.status, took, self.trace);
        let (method, status) = (self.method.as_str(), self.status.as_u16());
        self.span.set("http.response.status_code", i64::from(status));
        // A refusal is the client's mistake, not the service's.
        if self.status.is_server_error() || self.status == CLIENT_GONE {
            self.span.fail(status.to_string());
        }
        let duration_ms = shop_telemetry::millis(took);
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
                    trace_id = self.trace.text().trace_id(),
                    "{method} {} {status}",
                    self.route,
                )
            };
        }
        if is_probe(&self.route) && self.status.is_success() { log!(debug) } else { log!(info) }
    }
}
