//! What the gateway says about itself. Made anew for each question, from the same values that calls are judged by.

use serde_json::{Map, Value, json};

use super::input;
use crate::admin::operations;
use crate::message::refusal::Refusal;
use crate::routing::{Cluster, Member, Service};
use crate::settings::Route;
use crate::settings::backend_spec::Source;
use crate::settings::overrides::Overrides;
use crate::state::State;
use crate::state::generation::Generation;
use shop_discovery::Protocol;

/// `GET /admin/status`.
pub(crate) fn status(state: &State, generation: &Generation) -> Value {
    json!({
        "status": operations::status(state),
        "version": env!("CARGO_PKG_VERSION"),
        "revision": generation.revision,
        "uptime_seconds": state.numbers.begun.elapsed().as_secs(),
        "workers": state.settings.workers,
        "active_requests": state.lifecycle.in_flight(),
        "client_connections": state.numbers.metrics.connections.get(),
        "last_reload": state.settings.reloads.latest(),
        "needs_restart": state.settings.reloads.needs_restart(),
        "state_kept": state.settings.file.is_some(),
    })
}

/// `GET /admin/services`.
pub(super) fn services(generation: &Generation) -> Value {
    let services: Value = generation.table.services.iter().map(|one| service(one, generation)).collect();
    json!({"revision": generation.revision, "services": services})
}

/// `GET /admin/routes`.
pub(super) fn routes(state: &State, generation: &Generation) -> Value {
    let overrides = state.settings.overrides();
    let routes = generation.config.routes.iter();
    let routes: Value = routes.map(|(name, settings)| one_route(name, settings, &overrides)).collect();
    json!({"revision": generation.revision, "routes": routes})
}

/// `GET /admin/routes/{route}`.
pub(super) fn route(state: &State, generation: &Generation, name: &str) -> Result<Value, Refusal> {
    Ok(one_route(name, input::route(generation, name)?, &state.settings.overrides()))
}

fn one_route(name: &str, settings: &Route, overrides: &Overrides) -> Value {
    let source = if overrides.routes.contains_key(name) { Source::Admin } else { Source::Static };
    json!({"name": name, "pattern": settings.pattern(), "source": source, "settings": settings})
}

/// `GET /admin/services/{service}`.
pub(crate) fn service(service: &Service, generation: &Generation) -> Value {
    let list = |cluster: &Cluster| -> Value {
        cluster.members.iter().map(|member| backend(cluster.protocol, member)).collect()
    };
    json!({
        "name": &*service.name,
        "enabled": service.enabled,
        "status": operations::service_status(service),
        "strategy": generation.config.balancer_of(&service.name).strategy,
        "active_requests": service.metrics.active.get(),
        "routes": generation.table.patterns(&service.name),
        "backends": list(&service.http),
        "grpc_backends": list(&service.grpc),
    })
}

/// `GET /admin/services/{service}/backends/{backend}`.
pub(crate) fn backend(protocol: Protocol, member: &Member) -> Value {
    let mut detail = operations::backend_detail(member);
    detail["protocol"] = json!(protocol);
    detail
}

/// `GET /admin/loadbalancer/{service}`.
pub(super) fn balancer(service: &Service, generation: &Generation) -> Value {
    let settings = generation.config.balancer_of(&service.name);
    json!({
        "service": &*service.name,
        "enabled": settings.enabled,
        "strategy": settings.strategy,
        "slow_start": settings.slow_start,
        "http": cluster(&service.http),
        "grpc": cluster(&service.grpc),
    })
}

fn cluster(cluster: &Cluster) -> Value {
    let all: i64 = cluster.members.iter().filter(|member| !member.draining).map(|member| member.weight).sum();
    let one = |(member, standing): (&Member, &'static str)| {
        let backend = &member.backend;
        json!({
            "url": backend.label(),
            "source": member.source,
            "weight": member.weight,
            "of_all_weights": all,
            "draining": member.draining,
            "active_requests": backend.in_flight(),
            "standing": standing,
            "warmed_up": backend.warmth(),
            "latency_ms": backend.latency.millis(),
        })
    };
    cluster.members.iter().zip(cluster.standings()).map(one).collect()
}

/// `GET /admin/ratelimit`.
pub(super) fn limits(generation: &Generation) -> Value {
    let clients = generation.limiter.as_ref().map(|limiter| limiter.clients());
    let of_routes = generation.table.limits.iter();
    let of_routes: Map<_, _> =
        of_routes.map(|own| (own.route.clone(), json!({"name": own.name, "settings": own.limit}))).collect();
    json!({"settings": generation.config.rate_limit, "routes": of_routes, "clients": clients})
}

/// `GET /admin/config`: secrets mask themselves.
pub(super) fn config(state: &State, generation: &Generation) -> Value {
    json!({
        "revision": generation.revision,
        "settings": *generation.config,
        "needs_restart": state.settings.reloads.needs_restart(),
    })
}

/// `GET /admin/changes`.
pub(crate) fn changes(state: &State) -> Value {
    json!(*state.settings.overrides())
}
