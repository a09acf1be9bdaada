//! The gateway's own routes: health for probes and people, metrics for scrapers.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use serde_json::{Value, json};
use shop_balance::Seen;

use crate::message::reason::Reason;
use crate::message::refusal::Refusal;
use crate::services::{Backend, Member, Service};
use crate::state::shared::Shared;

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// The target of `OPTIONS` that means the server itself (RFC 9110, section 9.3.7), and its route, as logs name it.
pub(crate) const SERVER: &str = "*";

/// Methods that services may be asked by.
pub(crate) const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");

/// An own route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Own {
    /// `/health`: how each backend was last seen.
    Health,
    /// `/health/detailed`: the same with everything there is to say.
    Detailed,
    /// `/health/ready`: whether to send requests here.
    Ready,
    /// `/health/live`: whether to leave the process running.
    Live,
    /// `/metrics`: Prometheus text, or `OpenMetrics` with examples for who prefers that.
    Metrics,
    /// `*`: what the server itself can do, whichever resources there are.
    Server,
}

impl Own {
    /// The own route at `path`.
    pub(crate) fn find(path: &str) -> Option<Self> {
        Some(match path {
            "/health" => Self::Health,
            "/health/detailed" => Self::Detailed,
            "/health/ready" => Self::Ready,
            "/health/live" => Self::Live,
            "/metrics" => Self::Metrics,
            SERVER => Self::Server,
            _ => return None,
        })
    }

    /// Its path.
    pub(crate) const fn path(self) -> &'static str {
        match self {
            Self::Health => "/health",
            Self::Detailed => "/health/detailed",
            Self::Ready => "/health/ready",
            Self::Live => "/health/live",
            Self::Metrics => "/metrics",
            Self::Server => SERVER,
        }
    }

    /// The answer.
    pub(crate) fn answer(
        self,
        method: &Method,
        headers: &HeaderMap,
        shared: &Shared,
    ) -> Result<Response<Bytes>, Refusal> {
        if self != Self::Server && !matches!(*method, Method::GET | Method::HEAD) {
            return Err(Refusal::new(Reason::MethodRefused, format!("{} does not take {method}", self.path()))
                .header(header::ALLOW, HeaderValue::from_static("GET, HEAD")));
        }
        Ok(match self {
            Self::Server => about_server(method)?,
            Self::Health => page(StatusCode::OK, &summary(shared)),
            Self::Detailed => page(StatusCode::OK, &detailed(shared)),
            Self::Ready if shared.is_draining() => {
                let mut response = page(StatusCode::SERVICE_UNAVAILABLE, &json!({"status": "draining"}));
                response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
                response
            }
            // Backends do not count: a gateway that cannot reach one still serves the others, and says 503 for that one.
            Self::Live | Self::Ready => page(StatusCode::OK, &json!({"status": "up"})),
            Self::Metrics => {
                let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
                // Nobody keeps it (no-store), so that it need not say what it varies by.
                let (kind, text) = shared.metrics.all.render_for(accept);
                answer(StatusCode::OK, HeaderValue::from_static(kind), text)
            }
        })
    }
}

/// What any resource may be asked.
fn about_server(method: &Method) -> Result<Response<Bytes>, Refusal> {
    if *method != Method::OPTIONS {
        let detail = format!("{method} needs a path; only OPTIONS is about the server itself");
        return Err(Refusal::new(Reason::BadPath, detail));
    }
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response.headers_mut().insert(header::ALLOW, METHODS);
    Ok(response)
}

/// Whether `route` is asked every few seconds by machines.
pub(crate) fn is_quiet(route: &str) -> bool {
    Own::find(route).is_some()
}

fn page(status: StatusCode, body: &Value) -> Response<Bytes> {
    answer(status, JSON, body.to_string())
}

fn answer(status: StatusCode, content_type: HeaderValue, body: String) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The gateway in a word.
pub(crate) fn status(shared: &Shared) -> &'static str {
    if shared.is_draining() {
        return "draining";
    }
    let fine =
        shared.live().table.services().iter().all(|service| !service.enabled || service_status(service) != "down");
    if fine { "up" } else { "degraded" }
}

/// `down` when every backend is down by checks or live traffic, `disabled` when it is switched off.
pub(crate) fn service_status(service: &Service) -> &'static str {
    if !service.enabled {
        return "disabled";
    }
    let mut backends = service.backends().map(|backend| backend.state()).peekable();
    if backends.peek().is_none() {
        return "down";
    }
    let states: Vec<_> = backends.collect();
    if states.iter().all(|seen| *seen == Seen::Down) {
        "down"
    } else if states.contains(&Seen::Up) {
        "up"
    } else {
        "unknown"
    }
}

fn summary(shared: &Shared) -> Value {
    let live = shared.live();
    let services: serde_json::Map<_, _> = live
        .table
        .services()
        .iter()
        .map(|service| {
            let backends: Vec<_> = service.backends().map(|backend| backend_summary(backend)).collect();
            (service.name.to_owned(), json!({"status": service_status(service), "backends": backends}))
        })
        .collect();
    json!({"status": status(shared), "services": services})
}

fn backend_summary(backend: &Backend) -> Value {
    let mut summary = json!({"url": backend.label(), "state": backend.state().word()});
    let checks = backend.checks.report();
    if let Some(age) = backend.health.age() {
        summary["seen_seconds_ago"] = age.as_secs().into();
    }
    if let Some(age) = checks.age {
        summary["check"] = checks.verdict.word().into();
        summary["checked_seconds_ago"] = age.as_secs().into();
    }
    if backend.state() == Seen::Down {
        // What live traffic met is nearer to what callers meet.
        let error = if backend.health.last() == Seen::Down { backend.health.error() } else { checks.error };
        summary["error"] = error.into();
    }
    summary
}

fn detailed(shared: &Shared) -> Value {
    let live = shared.live();
    let services: serde_json::Map<_, _> = live
        .table
        .services()
        .iter()
        .map(|service| {
            let list = |members: &[Member]| -> Value { members.iter().map(backend_detail).collect() };
            let detail = json!({
                "status": service_status(service),
                "enabled": service.enabled,
                "active_requests": service.metrics.active.get(),
                "backends": list(service.http.members()),
                "grpc_backends": list(service.grpc.members()),
            });
            (service.name.to_owned(), detail)
        })
        .collect();
    json!({
        "status": status(shared),
        "version": env!("CARGO_PKG_VERSION"),
        "uptime_seconds": shared.begun.elapsed().as_secs(),
        "workers": shared.workers,
        "active_requests": shared.in_flight(),
        "client_connections": shared.metrics.connections.get(),
        "rate_limited_clients": live.limiter.as_ref().map(|limiter| limiter.clients()),
        "services": services,
    })
}

/// A backend with everything there is to say.
pub(crate) fn backend_detail(member: &Member) -> Value {
    let backend = &member.backend;
    let mut detail = backend_summary(backend);
    detail["weight"] = member.weight.into();
    detail["draining"] = member.draining.into();
    detail["source"] = json!(member.source);
    detail["active_requests"] = backend.in_flight().into();
    detail["circuit_breaker"] = member.breaker.as_ref().map(|breaker| breaker.state().word()).into();
    let pooled: usize = backend.pools.iter().map(crate::upstream::Pool::len).sum();
    let open = backend.channels.iter().filter(|channel| channel.is_open()).count();
    detail["idle_connections"] = (pooled + open).into();
    detail
}
