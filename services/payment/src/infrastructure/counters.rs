//! What became of payments, of their refunds and of their disputes, counted.

use prometheus::IntCounterVec;
use shop_telemetry::Metrics;

use crate::domain::{DisputeOutcome, Payment, Refund, RefundStatus, Status};

/// A dispute that the bank has not decided.
const OPEN: &str = "open";

/// Counts what was committed.
pub(super) struct Counters {
    payments: IntCounterVec,
    refunds: IntCounterVec,
    disputes: IntCounterVec,
}

/// What a change made of what lies beside a payment.
#[derive(Debug, Default)]
pub(super) struct Beside {
    /// The statuses that refunds came into.
    refunds: Vec<&'static str>,
    /// How its dispute stands, if that is new.
    dispute: Option<&'static str>,
}

impl Beside {
    pub(super) fn of(before: &Payment, after: &Payment) -> Self {
        let was = |refund: &Refund| before.refund(refund.id).map(|known| known.status);
        let moved = after.refunds.iter().filter(|refund| was(refund) != Some(refund.status));
        let stands = |payment: &Payment| {
            payment.dispute.as_ref().map(|dispute| dispute.outcome.map_or(OPEN, DisputeOutcome::as_str))
        };
        let dispute = stands(after).filter(|now| stands(before) != Some(now));
        Self { refunds: moved.map(|refund| refund.status.as_str()).collect(), dispute }
    }
}

impl Counters {
    pub(super) fn new(metrics: &Metrics) -> Self {
        let disputes = "Disputes of payments, by how they stand: open, won, lost.";
        let counters = Self {
            payments: metrics.counters("payments_total", "Payments that came into a status.", &["status"]),
            refunds: metrics.counters("payment_refunds_total", "Refunds that came into a status.", &["status"]),
            disputes: metrics.counters("payment_disputes_total", disputes, &["outcome"]),
        };
        // Alerts look for the first one, too, which is none more than nothing.
        for status in RefundStatus::ALL.map(RefundStatus::as_str) {
            counters.refunds.with_label_values(&[status]);
        }
        for outcome in [OPEN].into_iter().chain(DisputeOutcome::ALL.map(DisputeOutcome::as_str)) {
            counters.disputes.with_label_values(&[outcome]);
        }
        counters
    }

    /// A payment came into this status.
    pub(super) fn entered(&self, status: Status) {
        self.payments.with_label_values(&[status.as_str()]).inc();
    }

    pub(super) fn beside(&self, beside: &Beside) {
        for status in &beside.refunds {
            self.refunds.with_label_values(&[status]).inc();
        }
        if let Some(outcome) = beside.dispute {
            self.disputes.with_label_values(&[outcome]).inc();
        }
    }
}
