//! What consumers count.

use prometheus::{IntCounterVec, IntGaugeVec};
use shop_events::Delivery;
use shop_telemetry::Metrics;

/// The metrics of all consumers of a process.
pub(crate) struct Counts {
    pub(crate) lag: IntGaugeVec,
    pub(crate) dead: IntCounterVec,
    pub(crate) refused: IntCounterVec,
    pub(crate) unburied: IntGaugeVec,
    pub(crate) passed_over: IntCounterVec,
}

impl Counts {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        let counters = |name, help| metrics.counters(name, help, &["group", "topic"]);
        Self {
            lag: metrics.gauges(
                "kafka_consumer_lag",
                "Messages of a partition this process reads that did not take effect yet.",
                &["group", "topic", "partition"],
            ),
            dead: counters("kafka_dead_letters_total", "Messages given up on and moved to the dead-letter topic."),
            refused: counters(
                "kafka_dead_letters_refused_total",
                "Attempts to move a message to the dead-letter topic that failed.",
            ),
            unburied: metrics.gauges(
                "kafka_dead_letters_waiting",
                "Messages that the dead-letter topic does not take: what comes after them with the same key waits.",
                &["group", "topic"],
            ),
            passed_over: counters(
                "kafka_events_passed_over_total",
                "Events of a type that this program does not know: those of a newer program, or of a stranger.",
            ),
        }
    }

    /// Counts a delivery that is over.
    pub(crate) fn settled(&self, delivery: &Delivery, group: &str, topic: &str) {
        if matches!(delivery, Delivery::Unknown(_)) {
            self.passed_over.with_label_values(&[group, topic]).inc();
        }
    }
}
