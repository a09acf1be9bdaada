//! The client against a double that remembers, and against Stripe's own checker of requests.

mod mock;
mod trouble;
mod way;

use std::time::Duration;

use shop_config::Secret;
use shop_stripe::{CaptureMethod, Client, Confirm, Error, Intent, NewIntent, NewRefund, Refund, StripeSettings};
use shop_telemetry::Metrics;
use shop_testing::Stripe;
use tokio::time::Instant;

/// A client of the double, and what it counts.
pub(crate) struct Shop {
    pub(crate) stripe: Stripe,
    pub(crate) client: Client,
    pub(crate) metrics: Metrics,
}

/// The settings of a client of what is at `url`. No breaker: what one call runs into says nothing of the next.
pub(crate) fn settings(url: String) -> StripeSettings {
    let mut settings = StripeSettings {
        secret_key: Secret::from(shop_testing::stripe::KEY),
        base_url: url,
        ..StripeSettings::default()
    };
    settings.circuit_breaker.enabled = false;
    settings
}

/// The time that a call may take.
pub(crate) fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

impl Shop {
    pub(crate) async fn open() -> Self {
        Self::with(|_| {}).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut StripeSettings)) -> Self {
        let stripe = Stripe::start().await;
        let mut settings = settings(stripe.url());
        change(&mut settings);
        let metrics = Metrics::new("test");
        let client = Client::open(&settings, &metrics).expect("a client");
        Self { stripe, client, metrics }
    }

    pub(crate) async fn create(&self, capture: CaptureMethod) -> Result<Intent, Error> {
        let metadata = [("payment", "p1")];
        let new = NewIntent { key: "open-p1", amount: 1000, currency: "USD", capture, metadata: &metadata };
        self.client.create(&new, soon()).await
    }

    pub(crate) async fn made(&self, capture: CaptureMethod) -> Intent {
        self.create(capture).await.expect("an intent")
    }

    pub(crate) async fn confirm(&self, intent: &Intent, attempt: u32, method: &str) -> Result<Intent, Error> {
        let key = format!("confirm-p1-{attempt}");
        let confirm = Confirm { key: &key, intent: &intent.id, method, return_url: "https://shop.example/back?p=p1" };
        self.client.confirm(&confirm, soon()).await
    }

    pub(crate) async fn paid(&self) -> Intent {
        let intent = self.made(CaptureMethod::Automatic).await;
        self.confirm(&intent, 1, "pm_card_visa").await.expect("paid")
    }

    pub(crate) async fn refund(&self, intent: &Intent, key: &str, amount: i64) -> Result<Refund, Error> {
        let metadata = [("refund", key)];
        self.client.refund(&NewRefund { key, intent: &intent.id, amount, metadata: &metadata }, soon()).await
    }

    /// What the metrics say of a call and an outcome.
    pub(crate) fn counted(&self, call: &str, outcome: &str) -> u64 {
        let line = format!("stripe_requests_total{{call=\"{call}\",outcome=\"{outcome}\"}} ");
        let text = self.metrics.render();
        text.lines().find_map(|found| found.strip_prefix(&line)).map_or(0, |count| count.parse().expect("a number"))
    }
}
