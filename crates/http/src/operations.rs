//! What an operator asks of every process: is it alive, is it ready, what does it count.

use bytes::Bytes;
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use serde::Serialize;
use shop_runtime::Report;
use shop_telemetry::Metrics;

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Every dependency's state; 200 also when one is down, so that people and dashboards can read it.
pub fn health(report: &Report) -> Response<Bytes> {
    json(report)
}

/// 200 as long as the process answers at all.
pub fn live() -> Response<Bytes> {
    response(JSON, r#"{"status":"up"}"#)
}

/// 503 while a dependency is down or the process drains: a load balancer sends its requests elsewhere.
pub fn ready(report: &Report) -> Response<Bytes> {
    if report.is_ready() { json(report) } else { unready(report) }
}

/// 503 with what is the matter, to be asked again in a second.
pub fn unready(state: &impl Serialize) -> Response<Bytes> {
    let mut response = json(state);
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

/// Prometheus text, or `OpenMetrics` with examples for who prefers that. Nobody keeps it (no-store), so that it need not
/// say what it varies by.
pub fn metrics(metrics: &Metrics, headers: &HeaderMap) -> Response<Bytes> {
    let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let (kind, text) = metrics.render_for(accept);
    response(HeaderValue::from_static(kind), text)
}

/// A state as JSON, which nobody keeps.
pub fn json(state: &impl Serialize) -> Response<Bytes> {
    response(JSON, serde_json::to_vec(state).unwrap_or_default())
}

fn response(kind: HeaderValue, body: impl Into<Bytes>) -> Response<Bytes> {
    let mut response = Response::new(body.into());
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
