//! Circuit breakers: what they say, and how they are reset.

use std::sync::Arc;

use serde_json::{Value, json};

use super::input;
use crate::message::reason::Reason;
use crate::message::refusal::Refusal;
use crate::routing::{Cluster, Member, Service};
use crate::state::generation::Generation;
use shop_discovery::BackendUrl;
use shop_discovery::Protocol;

/// The breakers of a service.
pub(super) fn report(service: &Service, generation: &Generation) -> Value {
    let settings = &generation.config.circuit_breaker;
    let breakers: Value = of(service).map(|(cluster, member)| one(cluster, member)).collect();
    json!({
        "service": service.name,
        "enabled": settings.enabled,
        "max_requests": settings.max_requests,
        "interval": settings.interval,
        "timeout": settings.timeout,
        "breakers": breakers,
    })
}

fn of(service: &Service) -> impl Iterator<Item = (&Arc<Cluster>, &Member)> {
    service.clusters().into_iter().flat_map(|cluster| cluster.members.iter().map(move |member| (cluster, member)))
}

fn one(cluster: &Cluster, member: &Member) -> Value {
    let mut one = json!({"url": member.backend.label(), "protocol": cluster.protocol, "state": null});
    if let Some(breaker) = &member.breaker {
        let standing = breaker.standing();
        one["state"] = breaker.state().word().into();
        one["failures_in_a_row"] = standing.in_a_row.into();
        one["times_opened"] = standing.opened.into();
        one["trials_running"] = standing.on_trial.into();
        one["trials_passed"] = standing.passed.into();
        one["tried_again_in_seconds"] = standing.left.map(|left| left.as_secs_f64().ceil()).into();
    }
    one
}

/// Closes the breakers of a service, or of one backend; returns what was done, and each in words. A `dry_run` only tells.
pub(super) fn reset(
    generation: &Generation,
    service: &str,
    backend: Option<&BackendUrl>,
    protocol: Option<Protocol>,
    dry_run: bool,
) -> Result<(Value, Vec<String>), Refusal> {
    let service = input::service(generation, service)?;
    let chosen: Vec<_> = match backend {
        Some(url) => vec![input::find(service, url, protocol)?],
        None => of(service).filter(|(cluster, _)| protocol.is_none_or(|of| of == cluster.protocol)).collect(),
    };
    let mut lines = Vec::new();
    let mut list = Vec::new();
    for (cluster, member) in chosen {
        let Some(breaker) = &member.breaker else { continue };
        let (label, before) = (member.backend.label(), breaker.state().word());
        if !dry_run {
            breaker.reset();
        }
        lines.push(format!("{label}: {before} -> closed"));
        list.push(json!({"url": label, "protocol": cluster.protocol, "before": before, "after": "closed"}));
    }
    if list.is_empty() {
        let detail = format!("{} has no circuit breakers to reset: they are switched off", service.name);
        return Err(Refusal::new(Reason::NotFound, detail));
    }
    Ok((json!({"dry_run": dry_run, "reset": list}), lines))
}
