//! How reading settings again went, for metrics and for `/admin/status`.

use parking_lot::Mutex;
use serde::Serialize;
use shop_clock::{Clock as _, SystemClock};

use crate::metrics::Metrics;

/// How the latest reload went.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Latest {
    /// RFC 3339.
    at: String,
    result: &'static str,
    /// What was wrong; empty when nothing was.
    problems: Vec<String>,
}

/// What is remembered of reloads.
#[derive(Default)]
pub(crate) struct Reloads {
    latest: Mutex<Option<Latest>>,
    needs_restart: Mutex<Vec<String>>,
}

impl Reloads {
    /// Settings were read for the first time.
    pub(crate) fn new(metrics: &Metrics) -> Self {
        metrics.reloaded.set(now().unix_timestamp());
        for result in ["applied", "unchanged", "refused"] {
            metrics.reloads.with_label_values(&[result]);
        }
        Self::default()
    }

    /// Settings were read; `applied` says whether anything was different.
    pub(super) fn succeeded(&self, applied: bool, needs_restart: Vec<String>, metrics: &Metrics) {
        metrics.reloaded.set(now().unix_timestamp());
        *self.needs_restart.lock() = needs_restart;
        self.note(if applied { "applied" } else { "unchanged" }, Vec::new(), metrics);
    }

    /// Settings were wrong.
    pub(super) fn failed(&self, problems: Vec<String>, metrics: &Metrics) {
        self.note("refused", problems, metrics);
    }

    fn note(&self, result: &'static str, problems: Vec<String>, metrics: &Metrics) {
        metrics.reloads.with_label_values(&[result]).inc();
        *self.latest.lock() = Some(Latest { at: shop_clock::rfc3339(now()), result, problems });
    }

    /// The latest, if there was one.
    pub(crate) fn latest(&self) -> Option<Latest> {
        self.latest.lock().clone()
    }

    /// Keys whose new value holds from the next start on.
    pub(crate) fn needs_restart(&self) -> Vec<String> {
        self.needs_restart.lock().clone()
    }
}

fn now() -> time::OffsetDateTime {
    SystemClock.now()
}
