//! What is counted of one route, for people who watch: the families of Prometheus know services only, so that their number stays
//! bounded.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use http::StatusCode;
use shop_telemetry::LATENCY_BUCKETS;

use super::Totals;
use crate::message::reason::Reason;

/// The numbers of one route. Generations of settings that have it share them.
pub(crate) struct RouteNumbers {
    /// As logs name it, such as `/api/products/*`.
    pub(crate) pattern: Box<str>,
    requests: AtomicU64,
    failed: AtomicU64,
    /// By bucket; the last is above all of them.
    durations: [AtomicU64; LATENCY_BUCKETS.len() + 1],
    /// By [`Reason::index`], once there was one: there may be ten thousand routes.
    refusals: OnceLock<Box<[AtomicU64; Reason::ALL.len()]>>,
}

impl RouteNumbers {
    /// Counts from now on.
    pub(crate) fn new(pattern: String) -> Self {
        Self {
            pattern: pattern.into(),
            requests: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            durations: [const { AtomicU64::new(0) }; LATENCY_BUCKETS.len() + 1],
            refusals: OnceLock::new(),
        }
    }

    /// Counts one finished request; `took` is none when how long it took says nothing about speed.
    pub(crate) fn finished(&self, status: StatusCode, took: Option<Duration>, reason: Option<Reason>) {
        self.requests.fetch_add(1, Relaxed);
        if status.is_server_error() {
            self.failed.fetch_add(1, Relaxed);
        }
        if let Some(took) = took {
            let seconds = took.as_secs_f64();
            self.durations[LATENCY_BUCKETS.partition_point(|bound| *bound < seconds)].fetch_add(1, Relaxed);
        }
        if let Some(reason) = reason {
            let refusals = self.refusals.get_or_init(|| Box::new([const { AtomicU64::new(0) }; Reason::ALL.len()]));
            refusals[reason.index()].fetch_add(1, Relaxed);
        }
    }

    /// All that was counted until now.
    pub(crate) fn totals(&self) -> Totals {
        let of = |counter: &AtomicU64| counter.load(Relaxed);
        let durations = self.durations.each_ref().map(of);
        let refusals = self.refusals.get().map(|refusals| Box::new(refusals.each_ref().map(of)));
        Totals::of_route(of(&self.requests), of(&self.failed), &durations, refusals)
    }
}
