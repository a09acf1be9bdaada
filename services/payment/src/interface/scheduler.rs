//! Starts a round of recovery and expiry at regular times, from start to stop.

use std::time::Duration;

use prometheus::IntCounterVec;
use shop_fault::Fault;
use shop_runtime::CancellationToken;
use shop_telemetry::Metrics;

use crate::application::{Recovered, Recovery};
use crate::domain::Error;

/// Starts the rounds.
pub(crate) struct Scheduler {
    recovery: Recovery,
    interval: Duration,
    recovered: IntCounterVec,
}

impl Scheduler {
    /// One round every `interval`.
    pub(crate) fn new(recovery: Recovery, interval: Duration, metrics: &Metrics) -> Self {
        let help =
            "Payments taken further that nobody asked about: expired, settled after a crash or a lost reply, refunds.";
        let recovered = metrics.counters("payment_recovered_total", help, &["what"]);
        Self { recovery, interval, recovered }
    }

    /// Looks at once, then regularly, until `stop`. A round may be left anywhere: what it did not finish is still due.
    pub(crate) async fn run(self, stop: CancellationToken) {
        stop.run_until_cancelled(self.go()).await;
    }

    async fn go(&self) {
        self.note(self.recovery.at_start().await);
        loop {
            self.note(self.recovery.round().await);
            tokio::time::sleep(self.interval).await;
        }
    }

    fn note(&self, round: Result<Recovered, Error>) {
        match round {
            Ok(done) => {
                for (what, count) in [("expired", done.expired), ("settled", done.settled), ("refunds", done.refunds)] {
                    self.recovered.with_label_values(&[what]).inc_by(count);
                }
            }
            Err(error) => {
                tracing::warn!(cause = ?Fault::from(error), "could not look for payments left behind, trying later");
            }
        }
    }
}
