//! What waits for buyers, banks and the shop itself, as gauges: every replica shows the same.

use std::sync::Arc;
use std::time::Duration;

use prometheus::{IntGauge, IntGaugeVec};
use shop_clock::{SharedClock, chance};
use shop_fault::Fault;
use shop_runtime::CancellationToken;
use shop_telemetry::Metrics;

use crate::domain::{Status, Waits};

/// Between two looks; alerts wait for minutes.
const EVERY: Duration = Duration::from_secs(15);
/// Time enough to capture what lapses, on a working day.
const SOON: Duration = Duration::from_hours(24);
/// What is told of refunds.
const REFUND: &str = "refund";

/// Looks for what waits, and shows it.
pub(crate) struct Waiting {
    waits: Arc<dyn Waits>,
    clock: SharedClock,
    count: IntGaugeVec,
    oldest: IntGaugeVec,
    lapsing: IntGauge,
}

impl Waiting {
    pub(crate) fn new(waits: Arc<dyn Waits>, clock: SharedClock, metrics: &Metrics) -> Self {
        let count = "Payments that wait, by their status, and refunds that are not over.";
        let oldest = "How long the longest of them has waited, in seconds.";
        let lapsing = "Authorised payments that the provider lets go of within a day.";
        Self {
            waits,
            clock,
            count: metrics.gauges("payments_waiting", count, &["what"]),
            oldest: metrics.gauges("payments_waiting_oldest_seconds", oldest, &["what"]),
            lapsing: metrics.gauge("payments_lapsing", lapsing),
        }
    }

    /// Looks now and then until `stop`.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let looking = async {
            loop {
                self.look().await;
                tokio::time::sleep(chance::around(EVERY)).await;
            }
        };
        stop.run_until_cancelled(looking).await;
    }

    async fn look(&self) {
        let now = self.clock.now();
        let found = match self.waits.waiting(now + SOON).await {
            Ok(found) => found,
            Err(error) => return tracing::debug!(cause = ?Fault::from(error), "what waits is not to be seen now"),
        };
        let statuses = [Status::Processing, Status::RequiresAction, Status::Authorised].map(Status::as_str);
        for what in statuses.into_iter().chain([REFUND]) {
            let wait = found.iter().find(|wait| wait.what == what);
            let since = wait.and_then(|wait| wait.since).map_or(0, |since| (now - since).whole_seconds().max(0));
            self.count.with_label_values(&[what]).set(wait.map_or(0, |wait| wait.count));
            self.oldest.with_label_values(&[what]).set(since);
        }
        self.lapsing.set(found.iter().map(|wait| wait.lapsing).sum());
    }
}
