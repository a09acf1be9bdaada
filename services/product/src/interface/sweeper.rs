//! Looks for reservations that nothing is heard of at regular times, from start to stop.

use std::time::Duration;

use prometheus::IntCounterVec;
use shop_clock::chance;
use shop_fault::Fault;
use shop_runtime::CancellationToken;
use shop_telemetry::Metrics;

use crate::application::Settlements;

/// Starts the rounds.
pub(crate) struct Sweeper {
    settlements: Settlements,
    interval: Duration,
    settled: IntCounterVec,
}

impl Sweeper {
    /// A round every `interval`.
    pub(crate) fn new(settlements: Settlements, interval: Duration, metrics: &Metrics) -> Self {
        let help = "Reservations older than a buyer has to pay that payment was asked about, by what came of it: sold, released, \
                    unknown (no such payment), left (still open), failed.";
        let settled = metrics.counters("product_reservations_overdue_total", help, &["outcome"]);
        // From the start, so that an alarm sees the first one as a rise.
        for outcome in ["sold", "released", "unknown", "left", "failed"] {
            settled.with_label_values(&[outcome]);
        }
        Self { settlements, interval, settled }
    }

    /// Looks regularly until `stop`. A round may be left anywhere: what it did not settle is still held.
    pub(crate) async fn run(self, stop: CancellationToken) {
        stop.run_until_cancelled(self.go()).await;
    }

    async fn go(&self) {
        loop {
            // Not at once: the others start at this moment, too, and events that wait are on their way.
            tokio::time::sleep(chance::around(self.interval)).await;
            match self.settlements.round().await {
                Ok(found) => {
                    for (outcome, count) in [
                        ("sold", found.sold),
                        ("released", found.released),
                        ("unknown", found.unknown),
                        ("left", found.left),
                        ("failed", found.failed),
                    ] {
                        self.settled.with_label_values(&[outcome]).inc_by(count);
                    }
                }
                Err(error) => {
                    tracing::warn!(cause = ?Fault::from(error), "could not ask payment about old reservations, trying later");
                }
            }
        }
    }
}
