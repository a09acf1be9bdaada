//! `GET /admin/explain`: what would become of a request, without sending it, and why.

use std::net::{IpAddr, Ipv4Addr};

use http::{HeaderMap, HeaderValue, Method, Uri, header};
use serde_json::{Value, json};
use shop_browser::csrf::Sender;
use shop_browser::{Cors, cors};
use shop_http1::Headers;
use shop_limit::Call;

use super::dev_token;
use super::input::{self, Query};
use crate::docs;
use crate::message::path;
use crate::message::refusal::Refusal;
use crate::routing::operation::Operation;
use crate::routing::routes::{Deed, Route, Sharing};
use crate::routing::{Cluster, Member};
use crate::state::generation::Generation;
use shop_discovery::Protocol;

/// What a browser would name as host: nobody can say from here, and no page has it.
const HOST: &str = "this-gateway";
/// So many of the routes that were passed over are told of.
const MOST_OTHERS: usize = 20;

/// The question.
struct Imagined {
    method: Method,
    headers: HeaderMap,
    client: IpAddr,
    protocol: Option<Protocol>,
    host: HeaderValue,
    /// The path as it was asked for, with its query.
    uri: Uri,
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
    answer["browser"] = browser(generation, generation.cors.as_ref(), &asked);
    if let Some(route) = own_route(generation, &normal) {
        answer["route"] = json!({"pattern": route, "answered_by": "gateway"});
        return Ok(answer);
    }
    let headers = Headers::from(asked.headers.clone());
    let find = |protocol| {
        let is_asked = asked.protocol.is_none_or(|of| of == protocol);
        let is_grpc = protocol == Protocol::Grpc;
        let route = generation.table.find_for(is_grpc, &normal, &asked.host, &asked.method, &asked.uri, &headers);
        route.filter(|_| is_asked).map(|route| (route, protocol))
    };
    let found = find(Protocol::Http).or_else(|| find(Protocol::Grpc));
    answer["passed_over"] = passed_over(generation, &asked, &normal, found.map(|(route, _)| &**route));
    let Some((route, protocol)) = found else {
        answer["refused"] = json!({"reason": "no_route", "detail": format!("no route leads to {normal}")});
        return Ok(answer);
    };
    if let Sharing::Own(rules) = &route.cors {
        answer["browser"] = browser(generation, rules.as_deref(), &asked);
    }
    answer["limit"] = limit(generation, route.limit, &asked);
    routed(&mut answer, generation, route, &normal, &asked, protocol);
    Ok(answer)
}

fn routed(
    answer: &mut Value,
    generation: &Generation,
    route: &Route,
    path: &str,
    asked: &Imagined,
    protocol: Protocol,
) {
    answer["route"] = json!({"name": &*route.name, "pattern": route.numbers.pattern, "protocol": protocol});
    if let Some(access) = &route.access {
        answer["access"] = json!(access);
        if !access.admits(asked.client) {
            answer["refused"] = json!({"reason": "address_refused", "detail": "not for clients of this address"});
            return;
        }
    }
    match &route.deed {
        Deed::Redirect(redirect, _) => answer["redirect"] = json!(redirect),
        Deed::Respond(respond, _) => answer["respond"] = json!(respond),
        Deed::Ask(split) => {
            let to = split.shares().map(|(to, share)| json!({"service": &*to.service.name, "share": share}));
            answer["to"] = to.collect();
            answer["path_at_backend"] = route.target(path, &asked.uri).into();
            if let Some((to, _)) = split.shares().max_by(|(_, one), (_, other)| one.total_cmp(other)) {
                let (service, cluster) = (&to.service, &to.cluster);
                answer["route"]["service"] = json!(&*service.name);
                answer["strategy"] = json!(generation.config.balancer_of(&service.name).strategy);
                answer["backends"] = backends(cluster);
                if !service.enabled {
                    let detail = format!("the {} service is switched off", service.name);
                    answer["refused"] = json!({"reason": "service_disabled", "detail": detail});
                } else if let Some(reason) = cluster.refuses() {
                    answer["refused"] = json!({"reason": reason.word(), "detail": "no backend would take the call"});
                }
            }
        }
    }
}

/// Routes whose paths fit and that were not taken, each with why.
fn passed_over(generation: &Generation, asked: &Imagined, path: &str, taken: Option<&Route>) -> Value {
    let is_asked = |protocol| asked.protocol.is_none_or(|of| of == protocol);
    let routes = generation.config.routes.iter().filter(|(name, route)| {
        let fits = route.path().is_some_and(|pattern| pattern.fits(path));
        let is_taken = taken.is_some_and(|taken| *taken.name == ***name);
        fits && !is_taken && is_asked(route.protocol())
    });
    let host = asked.host.to_str().unwrap_or_default();
    let one = |(name, route): (&String, &crate::settings::Route)| {
        let list = |list: &[String]| list.join(", ");
        let hosts: Vec<_> = route.hosts.iter().map(ToString::to_string).collect();
        let why = if !route.enabled {
            "it is switched off".to_owned()
        } else if !route.hosts.is_empty() && !route.hosts.iter().any(|pattern| pattern.fits(host)) {
            format!("its hosts are {}", list(&hosts))
        } else if !route.methods.is_empty() && !route.methods.iter().any(|method| method == asked.method.as_str()) {
            format!("its methods are {}", list(&route.methods))
        } else if let Some((name, value)) = route.headers.iter().next().filter(|_| taken.is_none()) {
            format!("it asks for the header {name}: {value}")
        } else if let Some((name, value)) = route.query.iter().next().filter(|_| taken.is_none()) {
            format!("it asks for {name}={value} in the query")
        } else {
            "it asks for more, or the one that was taken is more particular".to_owned()
        };
        json!({"name": name, "pattern": route.pattern(), "why": why})
    };
    routes.take(MOST_OTHERS).map(|(name, route)| one((name, route))).collect()
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
    let host = HeaderValue::from_str(query.get("host").unwrap_or(HOST));
    let host = host.map_err(|_| input::invalid("host", "invalid", "is not a host"))?;
    // One that is no target has no normal form either, which is said.
    let uri = query.get("path").unwrap_or_default().parse().unwrap_or_default();
    Ok(Imagined { method, headers, client, protocol: query.protocol()?, host, uri })
}

/// What the `rules` for other sites' pages say to `origin`.
fn browser(generation: &Generation, rules: Option<&Cors>, asked: &Imagined) -> Value {
    let verdict = rules.map(|cors| cors.judge(&asked.headers));
    let cors = match &verdict {
        None => "off: pages of other sites may not read answers",
        Some(cors::Verdict::Unlisted) => "the origin is not listed",
        Some(cors::Verdict::Allowed { .. }) => "the page may read the answer",
    };
    let csrf = match &generation.csrf {
        None => "off",
        Some(csrf) => match csrf.judge(&asked.method, &asked.headers, HOST.as_bytes(), verdict.as_ref()) {
            Sender::Trusted => "passes",
            Sender::Foreign => "refused: cross_origin_refused",
        },
    };
    json!({"cors": cors, "csrf": csrf})
}

/// Which limit is for it, and as whom the client is counted; nothing is counted.
fn limit(generation: &Generation, policy: Option<u16>, asked: &Imagined) -> Value {
    let call = Call { policy, headers: &asked.headers, address: asked.client, subject: None };
    match generation.limiter.as_ref().and_then(|limiter| limiter.explain(&call)) {
        None => json!({"counted": false}),
        Some((policy, client)) => json!({"counted": true, "policy": policy, "client": client}),
    }
}
