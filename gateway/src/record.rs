//! One request from its head to the end of its answer: what is logged, counted and traced of it, once, however it ends.

pub(crate) mod asker;
pub(crate) mod trace;

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderName, HeaderValue, Method, StatusCode, Version};
use shop_clock::{Clock as _, SystemClock};
use shop_http1::Edit;
use shop_http1::fields::Fields as _;
use shop_http1::request_head::Parts;
use shop_telemetry::{Span, SpanKind, TraceParent, TraceState};

use self::asker::Asker;
use crate::message::reason::Reason;
use crate::message::request_id;
use crate::metrics::recent::Entry;
use crate::metrics::{RouteNumbers, ServiceMetrics};
use crate::routing::Backend;
use crate::server::Occupied;
use crate::state::State;
use crate::upstream::Caller;
use crate::upstream::body::Progress;

/// Longer methods are not logged: any token is one, up to the limit of a head.
const LONGEST_METHOD: usize = 20;
/// The route of requests without one. Paths themselves are logged only when somebody wants them: they name users.
const UNMATCHED: &str = "unmatched";
static TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
static TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// What logs call a route.
enum RouteName {
    /// One of the gateway's own.
    Own(&'static str),
    /// One of the settings.
    Set(Arc<RouteNumbers>),
}

impl RouteName {
    fn text(&self) -> &str {
        match self {
            Self::Own(name) => name,
            Self::Set(route) => &route.pattern,
        }
    }
}

/// What it took until the backend that answered had begun to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Waited {
    /// For a connection; none when one was open already.
    pub(crate) connect: Option<Duration>,
    /// From when the call went to this backend, connecting included, to the head of its answer.
    pub(crate) first_byte: Duration,
}

/// The record of one request. Dropped before [`RequestRecord::complete`], it says that the client left.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own, noted as it is seen")]
pub(crate) struct RequestRecord {
    state: Arc<State>,
    occupied: Occupied,
    /// Whose numbers it is counted in, once that is known.
    service: Option<Arc<ServiceMetrics>>,
    begun: Instant,
    method: Method,
    version: Version,
    route: RouteName,
    request_id: HeaderValue,
    asker: Asker,
    traceparent: HeaderValue,
    trace: TraceParent,
    /// Sent to the collector when it ends, if the trace is recorded.
    span: Span,
    backend: Option<Arc<Backend>>,
    /// None while no backend has answered.
    waited: Option<Waited>,
    upload: Option<Arc<Progress>>,
    status: Option<StatusCode>,
    grpc_status: Option<u8>,
    reason: Option<Reason>,
    sent: usize,
    /// Bytes that came through a tunnel, when it is one.
    received: u64,
    retries: u32,
    /// It lasts as long as the client likes.
    endless: bool,
    complete: bool,
    /// It did not leave whole, whatever became of it before.
    lost: bool,
    /// It broke off on its way here.
    broken: bool,
}

impl RequestRecord {
    /// Begins the record: request id and trace are taken from the request, or made. `encrypted`: it came over TLS.
    pub(crate) fn begin(state: &Arc<State>, occupied: Occupied, request: &Parts, encrypted: bool) -> Self {
        let headers = &request.headers;
        state.lifecycle.enter();
        let traceparent = headers.text(&TRACEPARENT);
        // Probes and scrapes come every few seconds for ever.
        let is_quiet = shop_telemetry::is_exporting() && crate::routing::operation::is_quiet(request.uri.path());
        let (mut span, trace) = if is_quiet {
            (Span::none(), shop_telemetry::pass_by(traceparent))
        } else {
            shop_telemetry::arrive(traceparent, SpanKind::Server, || trace::about(request, encrypted))
        };
        let (request_id, traceparent) = request_id::beside(&trace.text(), headers);
        if span.is_recorded() {
            span.set("shop.request.id", request_id.to_str().unwrap_or("-").to_owned());
        }
        Self {
            service: None,
            begun: Instant::now(),
            method: request.method.clone(),
            occupied,
            version: request.version,
            route: RouteName::Own(UNMATCHED),
            request_id,
            asker: Asker::default(),
            traceparent,
            trace,
            span,
            backend: None,
            waited: None,
            upload: None,
            status: None,
            grpc_status: None,
            reason: None,
            sent: 0,
            received: 0,
            retries: 0,
            endless: false,
            complete: false,
            lost: false,
            broken: false,
            state: Arc::clone(state),
        }
    }

    /// Who asked.
    pub(crate) fn asked_by(&mut self, asker: Asker) {
        self.asker = asker;
    }

    /// The request is for `route`, and counted with `service`'s; with the gateway's own while there is none.
    pub(crate) fn routed(&mut self, route: &Arc<RouteNumbers>, service: Option<&Arc<ServiceMetrics>>) {
        let own = &self.state.numbers.own;
        let service = Arc::clone(service.unwrap_or(own));
        self.belongs(RouteName::Set(Arc::clone(route)), service);
    }

    /// Of the services that its route leads to this one is asked.
    pub(crate) fn goes_to_service(&mut self, service: &Arc<ServiceMetrics>) {
        if self.service.as_ref().is_some_and(|known| Arc::ptr_eq(known, service)) {
            return;
        }
        service.active.inc();
        if let Some(known) = self.service.replace(Arc::clone(service)) {
            known.active.dec();
        }
    }

    /// The request is one of the gateway's own.
    pub(crate) fn own(&mut self, route: &'static str) {
        let own = Arc::clone(&self.state.numbers.own);
        self.belongs(RouteName::Own(route), own);
    }

    fn belongs(&mut self, route: RouteName, service: Arc<ServiceMetrics>) {
        let text = route.text();
        self.span.rename(|| format!("{} {text}", shop_http::method::verb(&self.method)).into());
        if self.span.is_recorded() {
            self.span.set("http.route", text.to_owned());
        }
        self.route = route;
        service.active.inc();
        self.service = Some(service);
    }

    /// Whose numbers it is counted in: the gateway's own, as long as it belongs to no service.
    fn counted(&self) -> &ServiceMetrics {
        self.service.as_ref().unwrap_or(&self.state.numbers.own)
    }

    /// The body to count.
    pub(crate) fn uploads(&mut self, progress: Option<Arc<Progress>>) {
        self.upload = progress;
    }

    /// Why the request's body broke off, if it did.
    pub(crate) fn upload_broke_off(&self) -> Option<Reason> {
        self.upload.as_ref()?.broken()
    }

    /// Whether the request's body, if it has one, came whole.
    pub(crate) fn is_upload_whole(&self) -> bool {
        self.upload.as_ref().is_none_or(|upload| upload.has_ended())
    }

    /// The request goes to `backend`.
    pub(crate) fn goes_to(&mut self, backend: &Arc<Backend>) {
        self.backend = Some(Arc::clone(backend));
    }

    /// It is answered by the backend that it went to last.
    pub(crate) fn waited(&mut self, waited: Waited) {
        self.waited = Some(waited);
    }

    /// The request goes out once more.
    pub(crate) fn retried(&mut self) {
        self.retries += 1;
        self.counted().retries.inc();
    }

    /// It does not, because the service's budget is used up.
    pub(crate) fn unaffordable(&self) {
        self.counted().unaffordable.inc();
    }

    /// The head of the answer.
    pub(crate) fn answered(&mut self, status: StatusCode, reason: Option<Reason>) {
        self.status = Some(status);
        self.reason = reason;
    }

    /// The outcome of a gRPC call.
    pub(crate) fn grpc_status(&mut self, status: Option<u8>) {
        self.grpc_status = status;
    }

    /// So many more bytes of the answer's body.
    pub(crate) fn sent(&mut self, bytes: usize) {
        self.sent += bytes;
    }

    /// So many bytes went through the tunnel: from the client, and to it.
    pub(crate) fn tunnelled(&mut self, received: u64, sent: u64) {
        self.received = received;
        self.sent = usize::try_from(sent).unwrap_or(usize::MAX);
    }

    /// Why the gateway cuts it now.
    pub(crate) fn cut_reason(&self) -> Reason {
        if self.state.lifecycle.is_draining() { Reason::Draining } else { Reason::ClientClosed }
    }

    /// The answer goes on until somebody has enough of it, so that its duration means nothing.
    pub(crate) fn goes_on(&mut self) {
        self.endless = true;
    }

    /// The answer is whole.
    pub(crate) fn complete(&mut self) {
        self.complete = true;
    }

    /// The answer broke off after its head. That is the reason, whatever else the client did not get.
    pub(crate) fn broke_off(&mut self, reason: Reason) {
        self.reason = Some(reason);
        self.complete = true;
        self.broken = true;
    }

    /// The client left before it took the last `bytes` of the answer.
    pub(crate) fn lost(&mut self, bytes: usize) {
        self.sent = self.sent.saturating_sub(bytes);
        self.lost = true;
    }

    /// When its head was there.
    pub(crate) fn begun(&self) -> Instant {
        self.begun
    }

    /// Requests of the same client that are not over, this one included.
    pub(crate) fn unfinished(&self) -> usize {
        self.occupied.unfinished()
    }

    /// Whose request it is.
    pub(crate) fn caller(&self) -> Arc<dyn Caller> {
        self.occupied.caller()
    }

    /// The id of the request.
    pub(crate) fn request_id(&self) -> &HeaderValue {
        &self.request_id
    }

    /// Ids that the backend is to know, in place of the client's. What other tracing systems said of the client's trace goes on
    /// with it.
    pub(crate) fn hand_on(&self, headers: &mut impl Edit) {
        if headers.has(&TRACESTATE)
            && TraceState::beside(headers.text(&TRACEPARENT), headers.values(&TRACESTATE)).is_none()
        {
            headers.remove_all(&TRACESTATE);
        }
        headers.copy(&shop_http::request_id::HEADER, &self.request_id);
        headers.copy(&TRACEPARENT, &self.traceparent);
    }

    /// The second part of the `traceparent` (W3C Trace Context).
    fn trace_id(&self) -> &str {
        self.traceparent.to_str().ok().and_then(|text| text.get(3..35)).unwrap_or_default()
    }

    /// Begins the span of a call to `backend`, the part of this request that it gets to know of.
    pub(crate) fn begin_call(&self, backend: &Backend, path: &str) -> Span {
        self.span.part_of(SpanKind::Client, || trace::call(&self.method, backend, path, self.retries))
    }

    /// The request in its trace, for what the gateway does by itself before it calls a backend.
    pub(crate) fn span(&self) -> &Span {
        &self.span
    }

    /// What people who watch are shown of a refusal.
    fn entry(&self, status: StatusCode, reason: Reason) -> Entry {
        Entry {
            at: shop_clock::millis(SystemClock.now()),
            service: self.counted().name.clone(),
            route: self.route.text().to_owned(),
            reason: reason.word(),
            status: status.as_u16(),
            backend: self.backend.as_ref().map(|backend| backend.label().to_owned()),
        }
    }

    fn log(&self, status: StatusCode, reason: Option<Reason>, took: Duration) {
        let (route, status) = (self.route.text(), status.as_u16());
        let method = Some(self.method.as_str()).filter(|method| method.len() <= LONGEST_METHOD).unwrap_or("OTHER");
        let duration_ms = shop_telemetry::millis(took);
        let mut digits = itoa::Buffer::new();
        let code = digits.format(status);
        macro_rules! line {
            ($level:expr) => {
                shop_telemetry::line!(
                    target: "http.access",
                    $level,
                    [method, " ", route, " ", code],
                    {
                        method = method,
                        route = route,
                        status = status,
                        duration_ms = duration_ms,
                        request_id = self.request_id.to_str().unwrap_or("-"),
                        trace_id = self.trace_id(),
                        backend = self.backend.as_ref().map(|backend| backend.label()),
                        connect_ms = self.waited.and_then(|waited| waited.connect).map(shop_telemetry::millis),
                        first_byte_ms = self.waited.map(|waited| shop_telemetry::millis(waited.first_byte)),
                        reason = reason.map(Reason::word),
                        grpc_status = self.grpc_status,
                        bytes_in = self.upload.as_ref().map_or(self.received, |upload| upload.bytes()),
                        bytes = self.sent,
                        retries = self.retries,
                        protocol = protocol(self.version),
                        client = self.asker.client(),
                        host = self.asker.host(),
                        path = self.asker.path(),
                        user_agent = self.asker.user_agent(),
                        client_certificate = self.asker.certificate(),
                    }
                )
            };
        }
        // Probes and scrapes come every few seconds for ever; they are worth a line only to somebody who looks for them.
        if crate::routing::operation::is_quiet(route) && (200..300).contains(&status) {
            line!(tracing::Level::DEBUG);
        } else {
            line!(tracing::Level::INFO);
        }
    }
}

/// As `Debug` writes it, which takes a formatter.
fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_11 => "HTTP/1.1",
        Version::HTTP_2 => "HTTP/2.0",
        _ => "-",
    }
}

impl Drop for RequestRecord {
    fn drop(&mut self) {
        let (status, reason) = if self.complete && (!self.lost || self.broken) {
            (self.status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), self.reason)
        } else {
            (Reason::ClientClosed.status(), self.reason.or(Some(Reason::ClientClosed)))
        };
        let now = Instant::now();
        let took = now.saturating_duration_since(self.begun);
        // How long a tunnel was open says nothing about speed either.
        let timed = !self.endless && status != StatusCode::SWITCHING_PROTOCOLS;
        self.counted().finished(&self.method, status, timed.then_some(took), reason, self.trace);
        if let RouteName::Set(route) = &self.route {
            route.finished(status, timed.then_some(took), reason);
        }
        if let Some(reason) = reason {
            self.state.numbers.recent.note(reason, now, || self.entry(status, reason));
        }
        if let Some(service) = &self.service {
            service.active.dec();
        }
        self.state.lifecycle.leave();
        trace::end(&mut self.span, status, self.grpc_status, reason);
        self.log(status, reason, took);
    }
}
