//! What an operator asks of every process: is it alive, is it ready, what does it count.

use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, StatusCode};
use salvo::http::ResBody;
use salvo::{Depot, FlowCtrl, Handler, Request, Response, Router, async_trait};
use shop_runtime::Health;
use shop_telemetry::Metrics;

pub(crate) fn routes(health: Health, metrics: Metrics) -> Router {
    let summary = Router::with_path("health")
        .get(Summary(health.clone()))
        .push(Router::with_path("live").get(Live))
        .push(Router::with_path("ready").get(Ready(health)));
    Router::new().push(summary).push(Router::with_path("metrics").get(Scrape(metrics)))
}

/// Every dependency's state; 200 also when one is down, so that people and dashboards can read it.
struct Summary(Health);

/// 200 as long as the process answers at all.
struct Live;

/// 503 while a dependency is down or the process drains: a load balancer sends its requests elsewhere.
struct Ready(Health);

/// Prometheus text, or `OpenMetrics` with examples for who prefers that.
struct Scrape(Metrics);

#[async_trait]
impl Handler for Summary {
    async fn handle(&self, _req: &mut Request, _depot: &mut Depot, res: &mut Response, _ctrl: &mut FlowCtrl) {
        let report = self.0.report().await;
        json(res, StatusCode::OK, serde_json::to_vec(&*report).unwrap_or_default());
    }
}

#[async_trait]
impl Handler for Live {
    async fn handle(&self, _req: &mut Request, _depot: &mut Depot, res: &mut Response, _ctrl: &mut FlowCtrl) {
        json(res, StatusCode::OK, &br#"{"status":"up"}"#[..]);
    }
}

#[async_trait]
impl Handler for Ready {
    async fn handle(&self, _req: &mut Request, _depot: &mut Depot, res: &mut Response, _ctrl: &mut FlowCtrl) {
        let report = self.0.report().await;
        let body = serde_json::to_vec(&*report).unwrap_or_default();
        if report.is_ready() {
            return json(res, StatusCode::OK, body);
        }
        json(res, StatusCode::SERVICE_UNAVAILABLE, body);
        res.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
}

#[async_trait]
impl Handler for Scrape {
    async fn handle(&self, req: &mut Request, _depot: &mut Depot, res: &mut Response, _ctrl: &mut FlowCtrl) {
        let accept = req.headers().get(ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
        let (kind, text) = self.0.render_for(accept);
        let headers = res.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        res.body = ResBody::Once(text.into());
    }
}

fn json(res: &mut Response, status: StatusCode, body: impl Into<bytes::Bytes>) {
    let headers = res.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    res.status_code(status);
    res.body = ResBody::Once(body.into());
}
