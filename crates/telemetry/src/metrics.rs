//! A service's metrics, passed down rather than global, so that several services can share a process.

use std::any::Any;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus::core::{Collector, Desc};
use prometheus::proto::LabelPair;
use prometheus::{
    Gauge, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};

use crate::histogram::{Exemplars, Histogram, Histograms, LATENCY_BUCKETS};
use crate::{openmetrics, process};

/// The metrics of one service. Clones share them. Asking twice for the same name gives the same metric.
///
/// # Panics
///
/// The methods that make a metric panic when its name or a label is not one Prometheus takes: a mistake in the program.
#[derive(Clone)]
pub struct Metrics {
    registry: Registry,
    known: Arc<Mutex<HashMap<String, Box<dyn Any + Send>>>>,
    described: Arc<Mutex<Vec<Described>>>,
}

/// What a metric is, for those who read about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    /// Its name.
    pub name: String,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    /// Its labels.
    pub labels: Vec<String>,
    /// What it tells.
    pub help: String,
}

/// The last part of a name that every counter has.
const COUNTER: &str = "_total";

/// The media type of plain text.
const PLAIN: &str = "text/plain; version=0.0.4; charset=utf-8";

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Metrics {
    /// An own registry with the process's CPU, memory and file descriptors, and `build_info`.
    pub fn new(service: &str) -> Self {
        let metrics = Self { registry: Registry::new(), known: Arc::default(), described: Arc::default() };
        metrics.add(process::Process::new());
        let build = metrics.gauges("build_info", "Which build this is; always 1.", &["service", "version", "revision"]);
        let revision = option_env!("SHOP_REVISION").unwrap_or("unknown");
        build.with_label_values(&[service, env!("CARGO_PKG_VERSION"), revision]).set(1);
        metrics
    }

    /// All metrics there are, by name.
    pub fn described(&self) -> Vec<Described> {
        let mut all = self.described.lock().unwrap_or_else(PoisonError::into_inner).clone();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    /// Everything as whoever sent this `Accept` wants it, with its media type: `OpenMetrics` with examples, or plain text.
    pub fn render_for(&self, accept: &str) -> (&'static str, String) {
        if openmetrics::is_preferred(accept) {
            (openmetrics::CONTENT_TYPE, self.open())
        } else {
            (PLAIN, self.render())
        }
    }

    fn open(&self) -> String {
        let mut out = String::new();
        let written =
            openmetrics::write(&mut out, &self.registry.gather(), |name, labels| self.exemplars(name, labels));
        if let Err(error) = written {
            tracing::error!(%error, "metrics could not be written out");
        }
        out
    }

    /// The examples of a histogram.
    fn exemplars(&self, name: &str, labels: &[LabelPair]) -> Option<Arc<Exemplars>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let metric = known.get(name)?;
        if let Some(alone) = metric.downcast_ref::<Histogram>() {
            return Some(alone.exemplars());
        }
        metric.downcast_ref::<Histograms>()?.exemplars(labels)
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

    /// Durations in seconds, in [`LATENCY_BUCKETS`].
    pub fn histogram(&self, name: &str, help: &str) -> Histogram {
        self.shared_as(name, || prometheus::Histogram::with_opts(latency(name, help)), Histogram::new)
    }

    /// Durations in seconds per combination of labels, in [`LATENCY_BUCKETS`].
    pub fn histograms(&self, name: &str, help: &str, labels: &[&str]) -> Histograms {
        self.shared_as(name, || HistogramVec::new(latency(name, help), labels), |plain| Histograms::new(plain, labels))
    }

    /// The metric of this name, made and registered when it is the first time.
    fn shared<C, F>(&self, name: &str, make: F) -> C
    where
        C: Collector + Clone + 'static,
        F: FnOnce() -> prometheus::Result<C>,
    {
        self.shared_as(name, make, |plain| plain)
    }

    /// The same for a metric that we keep as another type than the registry does.
    fn shared_as<C, M, F>(&self, name: &str, make: F, keep: impl FnOnce(C) -> M) -> M
    where
        C: Collector + Clone + 'static,
        M: Clone + Send + 'static,
        F: FnOnce() -> prometheus::Result<C>,
    {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(metric) = known.get(name).and_then(|metric| metric.downcast_ref::<M>()) {
            return metric.clone();
        }
        let metric = make().expect("a metric's name and labels are such as Prometheus takes");
        self.add(metric.clone());
        let metric = keep(metric);
        known.insert(name.to_owned(), Box::new(metric.clone()));
        metric
    }

    /// Adds what is read when somebody asks for metrics.
    pub fn add(&self, collector: impl Collector + 'static) {
        let described: Vec<_> = collector.desc().into_iter().map(|desc| describe(desc, &collector)).collect();
        match self.registry.register(Box::new(collector)) {
            Ok(()) => self.described.lock().unwrap_or_else(PoisonError::into_inner).extend(described),
            Err(error) => tracing::error!(%error, "a metric will not be shown"),
        }
    }
}

/// What a collector's metric is. One without a child yet does not tell its kind; its name and its type do.
fn describe<C: Collector + 'static>(desc: &Desc, collector: &C) -> Described {
    let any: &dyn Any = collector;
    let kind = if desc.fq_name.ends_with(COUNTER) {
        "counter"
    } else if any.is::<HistogramVec>() || any.is::<prometheus::Histogram>() {
        "histogram"
    } else {
        "gauge"
    };
    let (name, labels) = (desc.fq_name.clone(), desc.variable_labels.clone());
    Described { name, kind, labels, help: desc.help.clone() }
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
            "log_lines_lost_total ",
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
