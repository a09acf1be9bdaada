//! A service's metrics, passed down rather than global, so that several services can share a process.

use prometheus::{Gauge, GaugeVec, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry};

/// Bounds in seconds for what a client waits for: from a cache's answer to a time-out.
pub const LATENCY_BUCKETS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// The metrics of one service. Clones share them. Asking twice for the same name gives the same metric.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Registry,
}

impl Metrics {
    /// An own registry with the process's CPU, memory and file descriptors, and `build_info`.
    pub fn new(_service: &str) -> Self {
        todo!()
    }

    /// The registry, for collectors of other kinds.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Everything in Prometheus' text format.
    pub fn render(&self) -> String {
        todo!()
    }

    /// A counter.
    pub fn counter(&self, _name: &str, _help: &str) -> IntCounter {
        todo!()
    }

    /// A counter per combination of labels. Resolve children once where labels are known beforehand.
    pub fn counters(&self, _name: &str, _help: &str, _labels: &[&str]) -> IntCounterVec {
        todo!()
    }

    /// A whole number that goes up and down.
    pub fn gauge(&self, _name: &str, _help: &str) -> IntGauge {
        todo!()
    }

    /// A whole number per combination of labels.
    pub fn gauges(&self, _name: &str, _help: &str, _labels: &[&str]) -> IntGaugeVec {
        todo!()
    }

    /// A number with fractions, such as an age in seconds.
    pub fn float_gauge(&self, _name: &str, _help: &str) -> Gauge {
        todo!()
    }

    /// A number with fractions per combination of labels.
    pub fn float_gauges(&self, _name: &str, _help: &str, _labels: &[&str]) -> GaugeVec {
        todo!()
    }

    /// Durations in seconds, in [`LATENCY_BUCKETS`].
    pub fn histogram(&self, _name: &str, _help: &str) -> Histogram {
        todo!()
    }

    /// Durations in seconds per combination of labels, in [`LATENCY_BUCKETS`].
    pub fn histograms(&self, _name: &str, _help: &str, _labels: &[&str]) -> HistogramVec {
        todo!()
    }
}
