//! What a service has counted, read back: two readings make rates and quantiles of the time between.

use std::sync::OnceLock;

use prometheus::core::Metric as _;
use shop_http::method::NAMES;
use shop_telemetry::LATENCY_BUCKETS;

use super::ServiceMetrics;
use crate::message::reason::Reason;

/// By [`Reason::index`]; none when there were none, for there may be ten thousand routes.
pub(super) type Refusals = Option<Box<[u64; Reason::ALL.len()]>>;

/// The numbers of a service at one moment, or the difference of two.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) requests: u64,
    /// Of these, answered with a status from 500.
    pub(crate) failed: u64,
    pub(crate) retries: u64,
    refusals: Refusals,
    /// Up to each bound of [`LATENCY_BUCKETS`], those below the one before it not included.
    durations: [u64; LATENCY_BUCKETS.len()],
    /// Above the last of them.
    endless: u64,
}

impl Totals {
    /// Nothing.
    pub(crate) const NONE: Self =
        Self { requests: 0, failed: 0, retries: 0, refusals: None, durations: [0; LATENCY_BUCKETS.len()], endless: 0 };

    /// Those of a route; the last of the durations are above all bounds.
    pub(super) fn of_route(
        requests: u64,
        failed: u64,
        durations: &[u64; LATENCY_BUCKETS.len() + 1],
        refusals: Refusals,
    ) -> Self {
        let mut totals = Self { requests, failed, refusals, ..Self::NONE };
        totals.endless = durations[LATENCY_BUCKETS.len()];
        totals.durations.copy_from_slice(&durations[..LATENCY_BUCKETS.len()]);
        totals
    }

    /// What was counted after `earlier`.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        let mut since = self.clone();
        since.each(earlier, |count, before| *count = count.saturating_sub(before));
        since
    }

    /// Adds those of another service.
    pub(crate) fn add(&mut self, other: &Self) {
        self.each(other, |count, more| *count += more);
    }

    fn each(&mut self, other: &Self, change: impl Fn(&mut u64, u64)) {
        change(&mut self.requests, other.requests);
        change(&mut self.failed, other.failed);
        change(&mut self.retries, other.retries);
        change(&mut self.endless, other.endless);
        let all = |counts: &mut [u64], others: &[u64]| {
            counts.iter_mut().zip(others).for_each(|(count, by)| change(count, *by));
        };
        all(&mut self.durations, &other.durations);
        if let Some(others) = &other.refusals {
            let counts = self.refusals.get_or_insert_with(|| Box::new([0; Reason::ALL.len()]));
            all(&mut **counts, &**others);
        }
    }

    /// Refusals for this reason.
    pub(crate) fn refusals(&self, reason: Reason) -> u64 {
        self.refusals.as_ref().map_or(0, |counts| counts[reason.index()])
    }

    /// Refusals of whatever reason.
    pub(crate) fn refused(&self) -> u64 {
        self.refusals.iter().flat_map(|counts| counts.iter()).sum()
    }

    /// How long the given share of requests took at most, in milliseconds; none when there were none. Within a bucket they
    /// are taken to be spread evenly, as Prometheus does; what is above the last bound counts as that.
    pub(crate) fn quantile(&self, share: f64) -> Option<f64> {
        let count = |number: u64| f64::from(u32::try_from(number).unwrap_or(u32::MAX));
        let all = count(self.durations.iter().sum::<u64>() + self.endless);
        if all == 0.0 {
            return None;
        }
        let (mut below, mut lower) = (0.0, 0.0);
        for (bound, inside) in LATENCY_BUCKETS.iter().zip(&self.durations) {
            let inside = count(*inside);
            if inside > 0.0 && below + inside >= share * all {
                let part = (share * all - below) / inside;
                return Some((lower + (bound - lower) * part) * 1000.0);
            }
            (below, lower) = (below + inside, *bound);
        }
        Some(lower * 1000.0)
    }
}

impl ServiceMetrics {
    /// All that was counted until now. It looks at hundreds of places: once a second, not once a request.
    pub(crate) fn totals(&self) -> Totals {
        let mut totals = Totals::NONE;
        let counts = self.counts.iter().filter_map(OnceLock::get).flat_map(|of_method| of_method.iter().enumerate());
        for (status, counter) in counts.filter_map(|(status, counter)| Some((status, counter.get()?))) {
            totals.requests += counter.get();
            // They begin with status 100.
            if status >= 400 {
                totals.failed += counter.get();
            }
        }
        totals.retries = self.retries.get();
        totals.refusals = Some(Box::new(self.refusals.each_ref().map(prometheus::IntCounter::get)));
        for histogram in self.durations.iter().take(NAMES.len()) {
            let metric = histogram.plain().metric();
            let seen = metric.get_histogram();
            let mut below = 0;
            for (bucket, count) in seen.get_bucket().iter().zip(&mut totals.durations) {
                *count += bucket.cumulative_count().saturating_sub(below);
                below = bucket.cumulative_count();
            }
            totals.endless += seen.get_sample_count().saturating_sub(below);
        }
        totals
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::{Method, StatusCode};
    use shop_telemetry::TraceParent;

    use super::*;
    use crate::metrics::Metrics;

    fn service() -> ServiceMetrics {
        Metrics::new(shop_telemetry::Metrics::new("gateway")).service("product")
    }

    #[test]
    fn what_is_counted_is_read_back() {
        let (service, trace) = (service(), TraceParent::random());
        let count = |status, millis, reason| {
            service.finished(&Method::GET, status, Some(Duration::from_millis(millis)), reason, trace);
        };
        count(StatusCode::OK, 1, None);
        count(StatusCode::NOT_FOUND, 2, None);
        let before = service.totals();
        count(StatusCode::SERVICE_UNAVAILABLE, 3, Some(Reason::BreakerOpen));
        service.finished(&Method::PUT, StatusCode::OK, Some(Duration::from_mins(1)), None, trace);
        service.finished(&Method::PUT, StatusCode::OK, None, None, trace);
        let (all, since) = (service.totals(), service.totals().since(&before));
        assert_eq!((all.requests, all.failed, all.refused()), (5, 1, 1));
        assert_eq!((since.requests, since.failed, since.refusals(Reason::BreakerOpen)), (3, 1, 1));
        assert_eq!((since.durations.iter().sum::<u64>(), since.endless), (1, 1));
        let mut twice = since.clone();
        twice.add(&since);
        assert_eq!((twice.requests, twice.endless, twice.refused()), (6, 2, 2));
    }

    #[test]
    fn quantiles_are_found_within_their_buckets() {
        let mut totals = Totals::NONE;
        assert_eq!(totals.quantile(0.5), None);
        totals.durations[1] = 100;
        assert_eq!(totals.quantile(0.5), Some(1.75), "in the middle of 1 ms to 2.5 ms");
        assert_eq!(totals.quantile(1.0), Some(2.5));
        totals.durations[4] = 1;
        assert_eq!(totals.quantile(0.99).map(f64::round), Some(2.0));
        totals.endless = 1000;
        assert_eq!(totals.quantile(0.99), Some(10_000.0), "as far as the buckets go");
    }
}
