//! The gateway's own routes: health for probes and people, metrics for scrapers.

use bytes::Bytes;
use http::{HeaderMap, Method, Response, StatusCode, header};
use serde_json::{Value, json};
use shop_balance::Seen;
use shop_http::operations;

use crate::message::client::Audience;
use crate::message::headers::METHODS;
use crate::message::reason::Reason;
use crate::message::refusal::Refusal;
use crate::routing::operation::Operation;
use crate::routing::{Backend, Member, Service};
use crate::state::State;
use crate::state::generation::Generation;

/// The answer of an own route, as far as it is for this audience.
pub(crate) fn answer(
    operation: Operation,
    audience: Audience,
    method: &Method,
    headers: &HeaderMap,
    state: &State,
) -> Result<Response<Bytes>, Refusal> {
    if operation != Operation::Server && !matches!(*method, Method::GET | Method::HEAD) {
        return Err(Refusal::of_method(operation.path(), method, "GET, HEAD"));
    }
    Ok(match operation {
        Operation::Server => about_server(method)?,
        Operation::Health if audience == Audience::Operators => operations::json(&summary(state)),
        Operation::Health => operations::json(&json!({"status": status(state)})),
        Operation::Detailed => operations::json(&detailed(state)),
        Operation::Ready if state.lifecycle.is_draining() => operations::unready(&json!({"status": "draining"})),
        // Backends do not count: a gateway that cannot reach one still serves the others, and says 503 for that one.
        Operation::Live | Operation::Ready => operations::live(),
        Operation::Metrics => operations::metrics(&state.numbers.metrics.all, headers),
    })
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

/// The gateway in a word.
pub(crate) fn status(state: &State) -> &'static str {
    if state.lifecycle.is_draining() {
        return "draining";
    }
    let generation = state.settings.current();
    let fine = generation.table.services.iter().all(|service| !service.enabled || service_status(service) != "down");
    if fine { "up" } else { "degraded" }
}

/// `down` when every backend is down by checks or live traffic, `disabled` when it is switched off.
pub(crate) fn service_status(service: &Service) -> &'static str {
    if !service.enabled {
        return "disabled";
    }
    let states: Vec<_> = service.backends().map(|backend| backend.state()).collect();
    if states.iter().all(|seen| *seen == Seen::Down) {
        "down"
    } else if states.contains(&Seen::Up) {
        "up"
    } else {
        "unknown"
    }
}

fn by_service(generation: &Generation, tell: impl Fn(&Service) -> Value) -> Value {
    generation.table.services.iter().map(|service| (service.name.to_string(), tell(service))).collect()
}

fn summary(state: &State) -> Value {
    let services = by_service(&state.settings.current(), |service| {
        let backends: Value = service.backends().map(|backend| backend_summary(backend)).collect();
        json!({"status": service_status(service), "backends": backends})
    });
    json!({"status": status(state), "services": services})
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
    if let Some(why) = backend.ejected() {
        summary["ejected"] = why.word().into();
    }
    // What live traffic met is nearer to what callers meet; of a backend that nothing speaks against the latest check may tell.
    let error = if backend.health.last() == Seen::Down { backend.health.error() } else { checks.error };
    if backend.state() == Seen::Down || error.is_some() {
        summary["error"] = error.into();
    }
    summary
}

fn detailed(state: &State) -> Value {
    let generation = state.settings.current();
    let services = by_service(&generation, |service| {
        let list = |members: &[Member]| -> Value { members.iter().map(backend_detail).collect() };
        json!({
            "status": service_status(service),
            "enabled": service.enabled,
            "active_requests": service.metrics.active.get(),
            "backends": list(&service.http.members),
            "grpc_backends": list(&service.grpc.members),
        })
    });
    json!({
        "status": status(state),
        "version": env!("CARGO_PKG_VERSION"),
        "uptime_seconds": state.numbers.begun.elapsed().as_secs(),
        "workers": state.settings.workers,
        "active_requests": state.lifecycle.in_flight(),
        "client_connections": state.numbers.metrics.connections.get(),
        "rate_limited_clients": generation.limiter.as_ref().map(|limiter| limiter.clients()),
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
    detail["idle_connections"] = backend.endpoint.unused().into();
    detail
}
