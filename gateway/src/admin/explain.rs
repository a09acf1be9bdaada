//! `GET /admin/explain`: what would become of a request, without sending it, and why.

use std::net::{IpAddr, Ipv4Addr};

use http::{HeaderMap, HeaderValue, Method, header};
use serde_json::{Value, json};
use shop_browser::cors;
use shop_browser::csrf::Sender;
use shop_limit::Call;

use super::dev_token;
use super::input::{self, Query};
use crate::docs;
use crate::message::path;
use crate::message::refusal::Refusal;
use crate::routing::operation::Operation;
use crate::routing::routes::Route;
use crate::routing::{Cluster, Member};
use crate::state::generation::Generation;
use shop_discovery::Protocol;

/// What a browser would name as host: nobody can say from here, and no page has it.
const HOST: &[u8] = b"this-gateway";

/// The question.
struct Imagined {
    method: Method,
    headers: HeaderMap,
    client: IpAddr,
    protocol: Option<Protocol>,
}

/// The answer.
pub(super) fn explain(generation: &Generation, query: &Query<'_>) -> Result<Value, Refusal> {
    let Some(target) = query.get("path") else {
        return Err(input::invalid("path", "missing", "is needed, such as /api/products/7"));
    };
    let asked = imagine(query)?;
    let raw = target.split('?').next().unwrap_or_default();
    let mut answer = json!({"method": asked.method.as_str(), "path": raw});
    let normal = match path::normalise(raw) {
        Ok(normal) => normal,
        Err(error) => {
            answer["refused"] = json!({"reason": "bad_path", "detail": error.to_string()});
            return Ok(answer);
        }
    };
    answer["normal_path"] = normal.as_ref().into();
    answer["browser"] = browser(generation, &asked);
    if let Some(route) = own_route(generation, &normal) {
        answer["route"] = json!({"pattern": route, "answered_by": "gateway"});
        return Ok(answer);
    }
    let grpc = generation.table.grpc(&normal).filter(|_| asked.protocol != Some(Protocol::Http));
    let http = generation.table.http(&normal).filter(|_| asked.protocol != Some(Protocol::Grpc));
    let (route, inner, protocol) = match (http, grpc) {
        (Some((route, inner)), _) => (route, inner, Protocol::Http),
        (None, Some(route)) => (route, &*normal, Protocol::Grpc),
        (None, None) => {
            answer["refused"] = json!({"reason": "no_route", "detail": format!("no route leads to {normal}")});
            return Ok(answer);
        }
    };
    answer["limit"] = limit(generation, &asked, &normal);
    routed(&mut answer, generation, route, inner, protocol);
    Ok(answer)
}

fn routed(answer: &mut Value, generation: &Generation, route: &Route, inner: &str, protocol: Protocol) {
    let service = &route.service;
    let cluster = service.cluster(protocol);
    answer["route"] = json!({"pattern": route.pattern, "service": service.name, "protocol": protocol});
    answer["path_at_backend"] = inner.into();
    answer["strategy"] = json!(generation.config.balancer_of(service.name).strategy);
    answer["backends"] = backends(cluster);
    if !service.enabled {
        let detail = format!("the {} service is switched off", service.name);
        answer["refused"] = json!({"reason": "service_disabled", "detail": detail});
    } else if let Some(reason) = cluster.refuses() {
        answer["refused"] = json!({"reason": reason.word(), "detail": "no backend would take the call"});
    }
}

/// In the order in which they would be tried; those that would not be tried come last.
fn backends(cluster: &Cluster) -> Value {
    let one = |(member, standing, breaker): (&Member, _, _)| {
        let why = match (standing, breaker) {
            ("draining", _) => Some("it is draining: it gets no new calls"),
            ("out", _) => Some("its health checks fail, and others are well"),
            (_, Some("open")) => Some("its circuit breaker is open"),
            ("failed_lately", _) => Some("it failed a moment ago: only when the others cannot take the call"),
            ("reserve", _) => Some("its health checks fail: only when nobody else is left"),
            _ => None,
        };
        let is_eligible = !matches!(standing, "draining" | "out") && breaker != Some("open");
        json!({
            "url": member.backend.label(),
            "eligible": is_eligible,
            "standing": standing,
            "circuit_breaker": breaker,
            "warmed_up": member.backend.warmth(),
            "why": why,
        })
    };
    cluster.outlook().into_iter().map(one).collect()
}

fn own_route(generation: &Generation, path: &str) -> Option<&'static str> {
    let docs = || docs::Route::find(generation, path).map(docs::Route::pattern);
    let dev_token = || dev_token::is_at(generation, path).then_some(dev_token::PATH);
    Operation::find(path).map(Operation::path).or_else(|| super::route(path)).or_else(dev_token).or_else(docs)
}

fn imagine(query: &Query<'_>) -> Result<Imagined, Refusal> {
    let method = query.get("method").unwrap_or("GET").to_ascii_uppercase().parse();
    let method = method.map_err(|_| input::invalid("method", "invalid", "is not a method"))?;
    let client = query.get("client").map_or(Ok(IpAddr::V4(Ipv4Addr::LOCALHOST)), str::parse);
    let client = client.map_err(|_| input::invalid("client", "invalid", "is not an address"))?;
    let mut headers = HeaderMap::new();
    if let Some(origin) = query.get("origin") {
        let origin = HeaderValue::from_str(origin);
        headers.insert(header::ORIGIN, origin.map_err(|_| input::invalid("origin", "invalid", "is not an origin"))?);
    }
    Ok(Imagined { method, headers, client, protocol: query.protocol()? })
}

/// What the rules for other sites' pages say to `origin`.
fn browser(generation: &Generation, asked: &Imagined) -> Value {
    let verdict = generation.cors.as_ref().map(|cors| cors.judge(&asked.headers));
    let cors = match &verdict {
        None => "off: pages of other sites may not read answers",
        Some(cors::Verdict::Unlisted) => "the origin is not listed",
        Some(cors::Verdict::Allowed { .. }) => "the page may read the answer",
    };
    let csrf = match &generation.csrf {
        None => "off",
        Some(csrf) => match csrf.judge(&asked.method, &asked.headers, HOST, verdict.as_ref()) {
            Sender::Trusted => "passes",
            Sender::Foreign => "refused: cross_origin_refused",
        },
    };
    json!({"cors": cors, "csrf": csrf})
}

/// Which limit is for it, and as whom the client is counted; nothing is counted.
fn limit(generation: &Generation, asked: &Imagined, path: &str) -> Value {
    let call = Call { method: &asked.method, path, headers: &asked.headers, address: asked.client, subject: None };
    match generation.limiter.as_ref().and_then(|limiter| limiter.explain(&call)) {
        None => json!({"counted": false}),
        Some((policy, client)) => json!({"counted": true, "policy": policy, "client": client}),
    }
}
