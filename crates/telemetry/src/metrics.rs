//! A service's metrics, passed down rather than global, so that several services can share a process.

use std::any::Any;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus::core::Collector;
use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
};

use crate::process;

/// Bounds in seconds for what a client waits for: from a cache's answer to a time-out.
pub const LATENCY_BUCKETS: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// The metrics of one service. Clones share them. Asking twice for the same name gives the same metric.
///
/// # Panics
///
/// The methods that make a metric panic when its name or a label is not one Prometheus takes: a mistake in the program.
#[derive(Clone)]
pub struct Metrics {
    registry: Registry,
    known: Arc<Mutex<HashMap<String, Box<dyn Any + Send>>>>,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Metrics {
    /// An own registry with the process's CPU, memory and file descriptors, and `build_info`.
    pub fn new(service: &str) -> Self {
        let metrics = Self { registry: Registry::new(), known: Arc::default() };
        metrics.add(process::Process::new());
        let build = metrics.gauges("build_info", "Which build this is; always 1.", &["service", "version", "revision"]);
        let revision = option_env!("SHOP_REVISION").unwrap_or("unknown");
        build.with_label_values(&[service, env!("CARGO_PKG_VERSION"), revision]).set(1);
        metrics
    }

    /// The registry, for collectors of other kinds.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Everything in Prometheus' text format.
    pub fn render(&self) -> String {
        let mut out = String::new();
        if let Err(error) = TextEncoder::new().encode_utf8(&self.registry.gather(), &mut out) {
            tracing::error!(%error, "metrics could not be written out");
        }
        out
    }

    /// A counter.
    pub fn counter(&self, name: &str, help: &str) -> IntCounter {
        self.shared(name, || IntCounter::new(name, help))
    }

    /// A counter per combination of labels. Resolve children once where labels are known beforehand.
    pub fn counters(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.shared(name, || IntCounterVec::new(Opts::new(name, help), labels))
    }

    /// A whole number that goes up and down.
    pub fn gauge(&self, name: &str, help: &str) -> IntGauge {
        self.shared(name, || IntGauge::new(name, help))
    }

    /// A whole number per combination of labels.
    pub fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        self.shared(name, || IntGaugeVec::new(Opts::new(name, help), labels))
    }

    /// A number with fractions, such as an age in seconds.
    pub fn float_gauge(&self, name: &str, help: &str) -> Gauge {
        self.shared(name, || Gauge::new(name, help))
    }

    /// A number with fractions per combination of labels.
    pub fn float_gauges(&self, name: &str, help: &str, labels: &[&str]) -> GaugeVec {
        self.shared(name, || GaugeVec::new(Opts::new(name, help), labels))
    }

    /// Durations in seconds, in [`LATENCY_BUCKETS`].
    pub fn histogram(&self, name: &str, help: &str) -> Histogram {
        self.shared(name, || Histogram::with_opts(latency(name, help)))
    }

    /// Durations in seconds per combination of labels, in [`LATENCY_BUCKETS`].
    pub fn histograms(&self, name: &str, help: &str, labels: &[&str]) -> HistogramVec {
        self.shared(name, || HistogramVec::new(latency(name, help), labels))
    }

    /// The metric of this name, made and registered when it is the first time.
    fn shared<C, F>(&self, name: &str, make: F) -> C
    where
        C: Collector + Clone + 'static,
        F: FnOnce() -> prometheus::Result<C>,
    {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(metric) = known.get(name).and_then(|metric| metric.downcast_ref::<C>()) {
            return metric.clone();
        }
        let metric = make().expect("a metric's name and labels are such as Prometheus takes");
        self.add(metric.clone());
        known.insert(name.to_owned(), Box::new(metric.clone()));
        metric
    }

    fn add(&self, collector: impl Collector + 'static) {
        if let Err(error) = self.registry.register(Box::new(collector)) {
            tracing::error!(%error, "a metric will not be shown");
        }
    }
}

fn latency(name: &str, help: &str) -> HistogramOpts {
    HistogramOpts::new(name, help).buckets(LATENCY_BUCKETS.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_starts_with_process_and_build() {
        let text = Metrics::new("basket").render();
        for start in [
            "build_info{revision=\"",
            "process_cpu_seconds_total ",
            "process_resident_memory_bytes ",
            "process_open_fds ",
            "process_max_fds ",
            "process_start_time_seconds ",
            "process_threads ",
        ] {
            assert!(text.lines().any(|line| line.starts_with(start)), "{start}\n{text}");
        }
        assert!(text.contains("service=\"basket\""));
    }

    #[test]
    fn the_same_name_is_the_same_metric() {
        let metrics = Metrics::new("basket");
        metrics.counter("orders_total", "Orders.").inc();
        metrics.clone().counter("orders_total", "Orders.").inc();
        assert!(metrics.render().contains("\norders_total 2\n"));
    }

    #[test]
    fn two_services_share_a_process_but_no_metric() {
        let (basket, payment) = (Metrics::new("basket"), Metrics::new("payment"));
        basket.gauge("depth", "Depth.").set(3);
        assert!(!payment.render().contains("depth"));
    }

    #[test]
    fn durations_are_counted_in_buckets() {
        let metrics = Metrics::new("basket");
        metrics.histograms("wait_seconds", "Wait.", &["route"]).with_label_values(&["/x"]).observe(0.003);
        assert!(metrics.render().contains("wait_seconds_bucket{route=\"/x\",le=\"0.005\"} 1"));
    }
}
