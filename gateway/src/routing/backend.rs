//! One backend: its connections and all that is known about it, for as long as settings name it.

use std::sync::Arc;
use std::time::Duration;

use shop_balance::breaker::Rules;
use shop_balance::settings::HealthCheck;
use shop_balance::{
    Breaker, Ejected, HealthRecord, Outlier, PassiveHealth, PeakEwma, Seen, SlowStart, Trouble, Verdict,
};

use super::{Place, Site};
use crate::message::reason::Reason;
use crate::metrics::BackendMetrics;
use crate::settings::backend_spec::BackendSpec;
use crate::upstream::{Endpoint, Tls};
use shop_discovery::Protocol;

/// One backend. Generations of settings that name it share it.
pub(crate) struct Backend {
    pub(crate) endpoint: Arc<Endpoint>,
    /// What it speaks.
    pub(crate) protocol: Protocol,
    pub(crate) metrics: BackendMetrics,
    /// What live traffic tells.
    pub(crate) health: PassiveHealth,
    /// What checks tell.
    pub(crate) checks: HealthRecord,
    /// How it does beside the others of its cluster.
    pub(super) outlier: Outlier,
    slow_start: Arc<SlowStart>,
    pub(crate) latency: PeakEwma,
}

impl Backend {
    /// A backend of which nothing is known yet.
    pub(super) fn new(
        service: &str,
        spec: &BackendSpec,
        protocol: Protocol,
        tls: Option<&Arc<Tls>>,
        slow_start: Duration,
        site: &Site<'_>,
    ) -> Self {
        let label = spec.label();
        let metrics = site.metrics.backend(service, &label);
        let (opened, reused) = (metrics.opened.clone(), metrics.reused.clone());
        Self {
            endpoint: Endpoint::new((spec.host.clone(), spec.port), label, tls.cloned(), opened, reused, site.workers),
            health: PassiveHealth::default(),
            checks: HealthRecord::default(),
            outlier: Outlier::default(),
            slow_start: Arc::new(SlowStart::new(slow_start)),
            latency: PeakEwma::default(),
            metrics,
            protocol,
        }
    }

    /// A closed breaker for it.
    pub(super) fn new_breaker(&self, rules: Rules) -> Arc<Breaker> {
        let gauge = self.metrics.breaker.clone();
        Breaker::new(rules, self.label(), Arc::clone(&self.slow_start), move |state| gauge.set(i64::from(state as u8)))
    }

    /// How long its share grows after it recovered.
    pub(super) fn grow_within(&self, slow_start: Duration) {
        self.slow_start.set_window(slow_start);
    }

    /// `http://host:port`, or `https://host:port`.
    pub(crate) fn label(&self) -> &str {
        self.endpoint.label()
    }

    /// Where it is.
    pub(crate) fn address(&self) -> (&str, u16) {
        self.endpoint.address()
    }

    /// How much of its usual share it gets while it warms up, from 0 to 1.
    pub(crate) fn warmth(&self) -> f64 {
        (self.slow_start.share() * 100.0).round() / 100.0
    }

    /// Calls that it has not finished.
    pub(crate) fn in_flight(&self) -> usize {
        self.endpoint.in_flight()
    }

    /// Counts a call until the guard is dropped, which is when the answer's body has ended.
    pub(crate) fn begin(self: &Arc<Self>, place: Option<Place>) -> InFlight {
        self.endpoint.enter();
        InFlight { backend: Arc::clone(self), _place: place }
    }

    /// Whether it takes a call that is its turn: always, except now and then while it warms up, when chance decides.
    pub(super) fn admit(&self) -> bool {
        self.slow_start.admit()
    }

    /// It answered.
    pub(crate) fn answered(&self) {
        match self.health.note(Seen::Up, None) {
            Seen::Up => return,
            // No news: it was never down.
            Seen::Never => {}
            Seen::Down => tracing::info!(backend = self.label(), "backend is up"),
        }
        self.show();
    }

    /// It could not be reached, or broke off.
    pub(crate) fn failed(&self, reason: Reason, detail: &str) {
        if self.health.note(Seen::Down, Some(detail)) != Seen::Down {
            self.show();
            tracing::warn!(backend = self.label(), reason = reason.word(), error = detail, "backend is down");
        }
    }

    /// Notes what a check found; returns whether that changed the verdict.
    pub(super) fn checked(&self, outcome: Result<(), Trouble>, settings: &HealthCheck) -> bool {
        if outcome.is_ok() {
            self.health.forgive();
        }
        let (before, after) = self.checks.note(outcome, settings);
        self.show();
        if before == after {
            return false;
        }
        let error = self.checks.report().error;
        match (before, after) {
            (Verdict::Unknown, Verdict::Healthy) => tracing::debug!(backend = self.label(), "backend is healthy"),
            (_, Verdict::Healthy) => {
                if before != Verdict::Never {
                    self.slow_start.begin();
                }
                tracing::info!(backend = self.label(), "backend is healthy");
            }
            // Others may still be starting.
            (_, Verdict::Never) => tracing::info!(backend = self.label(), error, "backend is not healthy yet"),
            _ => tracing::warn!(backend = self.label(), error, "backend fails its health checks"),
        }
        true
    }

    /// Why it is ejected, if it is.
    pub(crate) fn ejected(&self) -> Option<Ejected> {
        self.outlier.ejected()
    }

    /// It is ejected, or back.
    pub(super) fn compared(&self, ejected: Option<Ejected>) {
        self.show();
        let backend = self.label();
        if let Some(why) = ejected {
            tracing::warn!(backend, reason = why.word(), "backend is ejected: it does worse than the others");
        } else {
            self.slow_start.begin();
            tracing::info!(backend, "backend is back: its ejection is over");
        }
    }

    /// Nobody compares it with others any more.
    pub(super) fn forget_outlier(&self) {
        if self.outlier.ejected().is_some() {
            self.outlier.forget();
            self.show();
        }
    }

    /// How it looks, by checks, live traffic and beside the others: each can speak against it.
    pub(crate) fn state(&self) -> Seen {
        if self.ejected().is_some() {
            return Seen::Down;
        }
        match (self.checks.verdict(), self.health.last()) {
            (verdict, _) if verdict.is_bad() => Seen::Down,
            (_, Seen::Down) => Seen::Down,
            (Verdict::Healthy, _) | (_, Seen::Up) => Seen::Up,
            _ => Seen::Never,
        }
    }

    fn show(&self) {
        self.metrics.health.set(i64::from(self.state() != Seen::Down));
    }
}

/// A call to a backend that is not over.
pub(crate) struct InFlight {
    backend: Arc<Backend>,
    /// Its place among the calls of the service, where those are limited.
    _place: Option<Place>,
}

impl InFlight {
    /// The backend.
    pub(crate) fn backend(&self) -> &Arc<Backend> {
        &self.backend
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.backend.endpoint.leave();
    }
}
