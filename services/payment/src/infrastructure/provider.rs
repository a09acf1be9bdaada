//! A provider with a deadline and a clock on every call.

use std::future::Future;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use shop_money::Money;
use shop_telemetry::{Histograms, Metrics};

use crate::config::ProviderSettings;
use crate::domain::{Charge, Intent, Paid, Payback, Provider, ProviderError, Reference, Verdict};

/// Bounds how long a call may take and measures how long it took.
pub(super) struct Watched<P> {
    inner: P,
    timeout: Duration,
    seconds: Histograms,
}

impl<P> Watched<P> {
    pub(super) fn new(inner: P, settings: &ProviderSettings, metrics: &Metrics) -> Self {
        let help = "How long the payment provider took to answer, in seconds.";
        let seconds = metrics.histograms("payment_provider_duration_seconds", help, &["call", "outcome"]);
        Self { inner, timeout: settings.timeout.get(), seconds }
    }

    async fn watch<T>(
        &self,
        call: &str,
        work: impl Future<Output = Result<T, ProviderError>> + Send,
        outcome: impl Fn(&T) -> &'static str,
    ) -> Result<T, ProviderError> {
        let started = Instant::now();
        let answer = match tokio::time::timeout(self.timeout, work).await {
            Ok(answer) => answer,
            Err(_) => Err(ProviderError(format!("nothing came within {:?}", self.timeout))),
        };
        let label = answer.as_ref().map_or("lost", &outcome);
        self.seconds.with_label_values(&[call, label]).observe(started.elapsed().as_secs_f64());
        answer
    }
}

const fn label(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Approved { .. } => "approved",
        Verdict::Authorised { .. } => "authorised",
        Verdict::ActionRequired { .. } => "action_required",
        Verdict::Pending => "pending",
        Verdict::Declined { .. } => "declined",
        Verdict::Voided => "voided",
    }
}

#[async_trait]
impl<P: Provider> Provider for Watched<P> {
    fn accepts(&self, amount: Money) -> Result<(), String> {
        self.inner.accepts(amount)
    }

    async fn open(&self, intent: &Intent) -> Result<Reference, ProviderError> {
        self.watch("open", self.inner.open(intent), |_| "opened").await
    }

    async fn charge(&self, charge: &Charge) -> Result<Verdict, ProviderError> {
        self.watch("charge", self.inner.charge(charge), label).await
    }

    async fn find(&self, reference: &Reference, attempt: u32) -> Result<Option<Verdict>, ProviderError> {
        let label = |found: &Option<Verdict>| found.as_ref().map_or("unknown", label);
        self.watch("find", self.inner.find(reference, attempt), label).await
    }

    async fn capture(&self, reference: &Reference, amount: Money) -> Result<Verdict, ProviderError> {
        self.watch("capture", self.inner.capture(reference, amount), label).await
    }

    async fn void(&self, reference: &Reference) -> Result<Verdict, ProviderError> {
        self.watch("void", self.inner.void(reference), label).await
    }

    async fn refund(&self, payback: &Payback) -> Result<Paid, ProviderError> {
        let label = |paid: &Paid| match paid {
            Paid::Back => "paid_back",
            Paid::Pending => "pending",
            Paid::Refused => "refused",
        };
        self.watch("refund", self.inner.refund(payback), label).await
    }
}
