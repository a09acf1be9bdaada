//! Composition: the service's router plus what every process answers, behind the one edge hoop.

use std::sync::Arc;

use salvo::catcher::Catcher;
use salvo::routing::{Filter, FilterInfo, filters};
use salvo::{Depot, FlowCtrl, Handler, Request, Response, Router, Service, async_trait};
use shop_config::Http;
use shop_identity::Guard;
use shop_runtime::Health;
use shop_telemetry::Metrics;

use crate::document::About;
use crate::edge::Edge;
use crate::metrics::HttpMetrics;
use crate::{docs, operations, problem};

/// What [`service`] needs beside the router.
#[derive(Clone)]
pub struct Parts {
    /// What the documentation says of the interface beside its operations.
    pub about: About,
    /// Where request metrics are registered, and what `/metrics` shows.
    pub metrics: Metrics,
    /// What `/health` and `/health/ready` ask.
    pub health: Health,
    /// What lets callers in.
    pub guard: Guard,
    /// Limits: body size and time.
    pub settings: Http,
}

/// The whole HTTP side of a process: `router`, `/health`, `/health/live`, `/health/ready`, `/metrics`,
/// `/openapi.json` and `/docs`, with uniform ids, logs, metrics, limits and errors around all of it.
///
/// A route of `router` wins over one of ours with the same path.
pub fn service(router: Router, parts: Parts) -> Service {
    let Parts { about, metrics, health, guard, settings } = parts;
    let docs = docs::routes(about, &guard, &router);
    let router = Router::new().push(router).push(operations::routes(health.clone(), metrics.clone())).push(docs);
    edged(router, &metrics, health, guard, &settings)
}

/// What probes and Prometheus ask, and nothing else: `/health`, `/health/live`, `/health/ready` and `/metrics`.
pub fn operations_service(parts: Parts) -> Service {
    let Parts { metrics, health, guard, settings, .. } = parts;
    edged(operations::routes(health.clone(), metrics.clone()), &metrics, health, guard, &settings)
}

/// Puts the edge around what `router` answers.
fn edged(mut router: Router, metrics: &Metrics, health: Health, guard: Guard, settings: &Http) -> Service {
    answer_head(&mut router);
    let measured = HttpMetrics::new(metrics, &router);
    Service::new(router).hoop(Edge::new(Arc::new(measured), health, guard, settings)).catcher(Catcher::new(Bare))
}

/// Lets every GET route answer HEAD too (RFC 9110, section 9.3.2); the server drops the body.
fn answer_head(router: &mut Router) {
    for filter in router.filters_mut() {
        if matches!(filter.info(), FilterInfo::Method(http::Method::GET)) {
            *filter = Box::new(filters::get().or(filters::head()));
        }
    }
    router.routers_mut().iter_mut().for_each(answer_head);
}

/// The last net: an error that got past the edge without a body.
struct Bare;

#[async_trait]
impl Handler for Bare {
    async fn handle(&self, req: &mut Request, _depot: &mut Depot, res: &mut Response, _ctrl: &mut FlowCtrl) {
        problem::fill_bare(req, res);
    }
}
