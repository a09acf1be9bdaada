//! Request metrics with bounded labels: every handle is made once per route, method and status, then only counted.

use std::collections::HashMap;
use std::sync::OnceLock;
use std::time::Duration;

use http::{Method, StatusCode};
use prometheus::{IntCounter, IntCounterVec, IntGauge};
use salvo::Router;
use salvo::routing::FilterInfo;
use shop_http::method::{self, NAMES};
use shop_telemetry::{Histogram, Histograms, Metrics, TraceParent};

/// The route label of what no route matches: made-up paths must not make series.
pub(crate) const UNMATCHED: &str = "unmatched";

/// Statuses worth a ready handle; others are looked up.
const STATUSES: [u16; 25] = [
    200, 201, 202, 204, 302, 304, 307, 400, 401, 402, 403, 404, 405, 409, 412, 413, 415, 422, 428, 429, 499, 500, 502,
    503, 504,
];

/// The `http_server_*` metrics of one listener.
pub(crate) struct HttpMetrics {
    requests: IntCounterVec,
    duration: Histograms,
    errors: IntCounterVec,
    pub(crate) in_flight: IntGauge,
    routes: HashMap<String, Series>,
}

/// The handles of one route, one slot per method.
#[derive(Default)]
struct Series([OnceLock<Slot>; NAMES.len()]);

struct Slot {
    duration: Histogram,
    statuses: [OnceLock<IntCounter>; STATUSES.len()],
}

impl HttpMetrics {
    /// Makes the metrics, and room for every route in `tree`.
    pub(crate) fn new(metrics: &Metrics, tree: &Router) -> Self {
        let mut routes = HashMap::from([(UNMATCHED.to_owned(), Series::default())]);
        collect(tree, "", &mut routes);
        Self {
            requests: metrics.counters(
                "http_server_requests_total",
                "HTTP requests answered",
                &["method", "route", "status"],
            ),
            duration: metrics.histograms(
                "http_server_request_duration_seconds",
                "Time to answer an HTTP request",
                &["method", "route"],
            ),
            errors: metrics.counters(
                "http_server_errors_total",
                "HTTP requests answered with a problem, by its code",
                &["code"],
            ),
            in_flight: metrics.gauge("http_server_requests_in_flight", "HTTP requests being served"),
            routes,
        }
    }

    /// Counts one answered request; `route` is a template of the router or [`UNMATCHED`].
    pub(crate) fn record(&self, method: &Method, route: &str, status: StatusCode, took: Duration, trace: TraceParent) {
        let method = method::index(method);
        let duration = || self.duration.with_label_values(&[NAMES[method], route]);
        let count = || self.requests.with_label_values(&[NAMES[method], route, status.as_str()]);
        let Some(series) = self.routes.get(route) else {
            // A template the walk over the router could not foresee, such as one with a pattern in it.
            duration().observe_in(took.as_secs_f64(), trace);
            return count().inc();
        };
        let slot = series.0[method].get_or_init(|| Slot { duration: duration(), statuses: Default::default() });
        slot.duration.observe_in(took.as_secs_f64(), trace);
        match STATUSES.binary_search(&status.as_u16()) {
            Ok(index) => slot.statuses[index].get_or_init(count).inc(),
            Err(_) => count().inc(),
        }
    }

    /// Counts one problem by its code.
    pub(crate) fn error(&self, code: &str) {
        self.errors.with_label_values(&[code]).inc();
    }
}

/// The templates of all routes in `tree`, as the matched path of a request shows them, with a leading slash.
fn collect(tree: &Router, above: &str, routes: &mut HashMap<String, Series>) {
    let mut path = above.to_owned();
    for filter in tree.filters() {
        if let FilterInfo::Path(part) = filter.info() {
            let part = part.trim_matches('/');
            if !part.is_empty() {
                path.push('/');
                path.push_str(part);
            }
        }
    }
    if tree.goal.is_some() {
        routes.entry(if path.is_empty() { "/".to_owned() } else { path.clone() }).or_default();
    }
    for below in tree.routers() {
        collect(below, &path, routes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_sorted_for_the_search() {
        assert!(STATUSES.is_sorted());
    }

    #[test]
    fn made_up_methods_make_no_series() {
        let registry = Metrics::new("test");
        let router = Router::with_path("products/{id}").get(salvo::handler::empty());
        let metrics = HttpMetrics::new(&registry, &router);
        let (method, trace) = (Method::from_bytes(b"BREW").expect("a token"), TraceParent::random());
        metrics.record(&method, UNMATCHED, StatusCode::IM_A_TEAPOT, Duration::from_millis(1), trace);
        metrics.record(&Method::GET, "/products/{id}", StatusCode::OK, Duration::from_millis(1), trace);
        let text = registry.render();
        let total: Vec<&str> = text.lines().filter(|line| line.starts_with("http_server_requests_total")).collect();
        assert_eq!(
            total,
            [
                r#"http_server_requests_total{method="GET",route="/products/{id}",status="200"} 1"#,
                r#"http_server_requests_total{method="OTHER",route="unmatched",status="418"} 1"#,
            ]
        );
    }
}
