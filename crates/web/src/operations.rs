//! The routes that operators ask ([`shop_http::operations`]).

use salvo::{Depot, FlowCtrl, Handler, Request, Response, Router, async_trait};
use shop_http::operations;
use shop_runtime::Health;
use shop_telemetry::Metrics;

use crate::answer::answer;

pub(crate) fn routes(health: Health, metrics: Metrics) -> Router {
    let summary = Router::with_path("health")
        .get(Summary(health.clone()))
        .push(Router::with_path("live").get(Live))
        .push(Router::with_path("ready").get(Ready(health)));
    Router::new().push(summary).push(Router::with_path("metrics").get(Scrape(metrics)))
}

struct Summary(Health);

struct Live;

struct Ready(Health);

struct Scrape(Metrics);

#[async_trait]
impl Handler for Summary {
    async fn handle(&self, _req: &mut Request, _depot: &mut Depot, res: &mut Response, _ctrl: &mut FlowCtrl) {
        answer(operations::health(&*self.0.report().await), res);
    }
}

#[async_trait]
impl Handler for Live {
    async fn handle(&self, _req: &mut Request, _depot: &mut Depot, res: &mut Response, _ctrl: &mut FlowCtrl) {
        answer(operations::live(), res);
    }
}

#[async_trait]
impl Handler for Ready {
    async fn handle(&self, _req: &mut Request, _depot: &mut Depot, res: &mut Response, _ctrl: &mut FlowCtrl) {
        answer(operations::ready(&*self.0.report().await), res);
    }
}

#[async_trait]
impl Handler for Scrape {
    async fn handle(&self, req: &mut Request, _depot: &mut Depot, res: &mut Response, _ctrl: &mut FlowCtrl) {
        answer(operations::metrics(&self.0, req.headers()), res);
    }
}
