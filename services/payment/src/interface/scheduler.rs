//! Looks for what recovery has to do at regular times, from start to stop.
//!
//! Expiry has a loop of its own, and of what has to ask the provider several are under way at a time: nothing waits for an
//! answer that does not come.

use std::time::Duration;

use prometheus::IntCounterVec;
use shop_clock::chance;
use shop_fault::Fault;
use shop_runtime::CancellationToken;
use shop_telemetry::Metrics;
use tokio::task::{JoinError, JoinSet};

use crate::application::{Attempt, Recovery};
use crate::domain::Error;

/// Calls of the provider under way at a time, each with a deadline: with all of them hanging, one more is tried every second.
const UNDER_WAY: usize = 16;

/// Starts the rounds.
pub(crate) struct Scheduler {
    recovery: Recovery,
    interval: Duration,
    recovered: IntCounterVec,
}

impl Scheduler {
    /// A look of either kind every `interval`.
    pub(crate) fn new(recovery: Recovery, interval: Duration, metrics: &Metrics) -> Self {
        let help =
            "Payments taken further that nobody asked about: expired, settled after a crash or a lost reply, refunds.";
        let recovered = metrics.counters("payment_recovered_total", help, &["what"]);
        Self { recovery, interval, recovered }
    }

    /// Looks at once, then regularly, until `stop`. Anything may be left anywhere: what is not finished is due again.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let asked = async {
            self.count("settled", self.recovery.at_start().await);
        };
        stop.run_until_cancelled(async { tokio::join!(asked, self.expire(), self.settle()) }).await;
    }

    async fn expire(&self) {
        loop {
            self.count("expired", self.recovery.expire().await);
            tokio::time::sleep(chance::around(self.interval)).await;
        }
    }

    async fn settle(&self) {
        let mut under_way = JoinSet::new();
        loop {
            for left in self.recovery.claim(UNDER_WAY - under_way.len()).await.unwrap_or_else(failed) {
                let recovery = self.recovery.clone();
                under_way.spawn(async move { recovery.attempt(left).await });
            }
            if under_way.len() < UNDER_WAY {
                tokio::time::sleep(chance::around(self.interval)).await;
            } else {
                // There may be more of it, for the first that is free.
                self.note(under_way.join_next().await.as_ref());
            }
            while let Some(ended) = under_way.try_join_next() {
                self.note(Some(&ended));
            }
        }
    }

    fn note(&self, ended: Option<&Result<Attempt, JoinError>>) {
        let what = match ended {
            Some(Ok(Attempt::Settled)) => "settled",
            Some(Ok(Attempt::PaidBack)) => "refunds",
            Some(Ok(Attempt::Later | Attempt::Waiting | Attempt::Looked) | Err(_)) | None => return,
        };
        self.recovered.with_label_values(&[what]).inc();
    }

    fn count(&self, what: &str, done: Result<u64, Error>) {
        self.recovered.with_label_values(&[what]).inc_by(done.unwrap_or_else(failed));
    }
}

fn failed<T: Default>(error: Error) -> T {
    tracing::warn!(cause = ?Fault::from(error), "could not look for payments left behind, trying later");
    T::default()
}
