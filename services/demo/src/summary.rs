//! What is told at the end, for people and for programs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::Serialize;

use super::figures::Figures;
use super::tally::{Answers, Count, Purchases, Webhooks};

/// The whole play in numbers. What nobody told is null.
#[derive(Debug, Serialize)]
pub(super) struct Summary {
    /// How long it took.
    pub(super) seconds: f64,
    /// Calls.
    pub(super) requests: u64,
    /// Median of their latencies, in milliseconds.
    pub(super) p50_ms: f64,
    /// The 99th percentile.
    pub(super) p99_ms: f64,
    /// By class of status.
    pub(super) answers: Answers,
    /// By reason, of what did not go well.
    pub(super) reasons: BTreeMap<String, u64>,
    /// What became of shoppers' wishes.
    pub(super) purchases: Purchases,
    /// What the bank told the shop of buyers who confirmed there.
    pub(super) webhooks: Webhooks,
    /// Services whose breaker was seen open.
    pub(super) breakers_opened: BTreeSet<String>,
    /// Calls that the gateway repeated.
    pub(super) retries: Option<u64>,
    /// Events that waited.
    pub(super) outbox: Option<Outbox>,
    /// Notifications.
    pub(super) notifications: Option<Notifications>,
    /// The log of the services.
    pub(super) log: Option<PathBuf>,
}

/// Events that waited.
#[derive(Debug, Serialize)]
pub(super) struct Outbox {
    /// The most at once.
    pub(super) most: u64,
    /// At the end.
    pub(super) left: u64,
}

/// Notifications.
#[derive(Debug, Serialize)]
pub(super) struct Notifications {
    /// That were sent.
    pub(super) sent: u64,
    /// That wait.
    pub(super) pending: u64,
}

impl Summary {
    /// All of it.
    pub(super) fn new(count: Count, figures: Figures, log: Option<PathBuf>) -> Self {
        let millis = |took: std::time::Duration| (took.as_secs_f64() * 10_000.0).round() / 10.0;
        Self {
            seconds: (count.elapsed.as_secs_f64() * 10.0).round() / 10.0,
            requests: count.requests(),
            p50_ms: millis(count.overall.0),
            p99_ms: millis(count.overall.1),
            answers: count.answers,
            reasons: count.reasons,
            purchases: count.purchases,
            webhooks: count.webhooks,
            breakers_opened: figures.opened,
            retries: figures.retries,
            outbox: figures.outbox.map(|left| Outbox { most: figures.outbox_most, left }),
            notifications: figures.notified.map(|(sent, pending)| Notifications { sent, pending }),
            log,
        }
    }
}
