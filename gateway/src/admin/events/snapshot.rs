//! One snapshot: what the admin API tells of services and backends, with rates and durations of the last seconds.

use std::sync::Arc;

use serde_json::{Value, json};
use shop_clock::{Clock as _, SystemClock};

use super::window::Window;
use crate::admin::report;
use crate::message::reason::Reason;
use crate::metrics::Totals;
use crate::routing::routes::Route;
use crate::routing::{Cluster, Service};
use crate::state::State;
use crate::state::generation::Generation;

/// Refusals shown: a screen or two.
const REFUSALS: usize = 60;

/// Routes shown.
const ROUTES: usize = 100;

/// The state now, with what the `window` saw.
pub(super) fn make(state: &State, generation: &Generation, window: &Window) -> Value {
    let services = generation.table.services.iter().enumerate();
    let services: Value = services.map(|(place, one)| service(one, generation, window, place)).collect();
    let all = window.all();
    let mut snapshot = report::status(state, generation);
    snapshot["at"] = shop_clock::millis(SystemClock.now()).into();
    snapshot["etag"] = state.settings.etag(generation.revision).into();
    snapshot["window_seconds"] = window.length().map(|length| length.as_secs_f64().round()).into();
    write(&mut snapshot, &all, window);
    snapshot["refused_by_reason"] = by_reason(&all, window);
    snapshot["refusals"] = json!(state.numbers.recent.latest(REFUSALS));
    snapshot["services"] = services;
    snapshot["routes"] = routes(generation, window);
    snapshot
}

/// The busiest routes.
fn routes(generation: &Generation, window: &Window) -> Value {
    let seen = generation.table.routes.iter().filter_map(|route| Some((route, window.of_route(route)?)));
    let mut busy: Vec<_> = seen.filter(|(_, totals)| totals.requests > 0).collect();
    busy.sort_by_key(|(_, totals)| std::cmp::Reverse(totals.requests));
    let one = |(route, totals): (&Arc<Route>, Totals)| {
        let services: Vec<_> = route.destinations().map(|to| to.service.name.to_string()).collect();
        let mut snapshot = json!({"name": &*route.name, "pattern": route.numbers.pattern, "services": services});
        write(&mut snapshot, &totals, window);
        snapshot["refused_by_reason"] = by_reason(&totals, window);
        snapshot
    };
    busy.into_iter().take(ROUTES).map(one).collect()
}

fn service(service: &Arc<Service>, generation: &Generation, window: &Window, place: usize) -> Value {
    let mut snapshot = report::service(service, generation);
    let seen = window.of(place).unwrap_or(Totals::NONE);
    write(&mut snapshot, &seen, window);
    snapshot["refused_by_reason"] = by_reason(&seen, window);
    let clusters: Vec<_> = service.clusters().into_iter().flat_map(|cluster| members(cluster, window)).collect();
    if let Some(fields) = snapshot.as_object_mut() {
        // All of them are in one list here.
        fields.remove("grpc_backends");
    }
    snapshot["backends"] = clusters.into();
    snapshot
}

fn members<'a>(cluster: &'a Cluster, window: &'a Window) -> impl Iterator<Item = Value> + 'a {
    cluster.members.iter().zip(cluster.standings()).map(|(member, standing)| {
        let backend = &member.backend;
        let mut snapshot = report::backend(cluster.protocol, member);
        snapshot["standing"] = standing.into();
        snapshot["requests_per_second"] = window.sent(backend).into();
        snapshot["latency_ms"] = backend.latency.millis().into();
        snapshot["warmed_up"] = backend.warmth().into();
        if let Some(breaker) = &member.breaker {
            let standing = breaker.standing();
            snapshot["failures_in_a_row"] = standing.in_a_row.into();
            snapshot["tried_again_in_seconds"] = standing.left.map(|left| left.as_secs_f64().ceil()).into();
        }
        snapshot
    })
}

fn write(snapshot: &mut Value, seen: &Totals, window: &Window) {
    snapshot["requests_per_second"] = window.rate(seen.requests).into();
    snapshot["failed_per_second"] = window.rate(seen.failed).into();
    snapshot["refused_per_second"] = window.rate(seen.refused()).into();
    snapshot["retried_per_second"] = window.rate(seen.retries).into();
    let millis = |share| seen.quantile(share).map(|millis| (millis * 100.0).round() / 100.0);
    snapshot["p50_ms"] = millis(0.5).into();
    snapshot["p99_ms"] = millis(0.99).into();
}

/// The reasons there were, by second.
fn by_reason(all: &Totals, window: &Window) -> Value {
    let counts = Reason::ALL.into_iter().map(|reason| (reason, all.refusals(reason)));
    let seen = counts.filter(|(_, count)| *count > 0);
    seen.map(|(reason, count)| (reason.word(), window.rate(count))).collect()
}
