//! The bus, as services see it.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use shop_config::Kafka;
use shop_events::{Bus, BusError, Message, RetryPolicy, Subscription};
use shop_telemetry::Metrics;
use tokio_util::sync::CancellationToken;

use crate::client::{Link, SYSTEM};
use crate::consumer;
use crate::files::Files;
use crate::keeper;
use crate::letters::KafkaLetters;

/// Events over Kafka. Clones share the producer.
#[derive(Clone)]
pub struct KafkaBus(Arc<Link>);

impl KafkaBus {
    /// A bus over the brokers of `settings`, which need not be there yet. `client_id` names this process to them
    /// unless the settings do.
    pub fn open(settings: &Kafka, client_id: &str, metrics: &Metrics) -> anyhow::Result<Arc<Self>> {
        Self::with_policy(settings, client_id, metrics, RetryPolicy::default())
    }

    /// The same with a retry policy of one's own.
    pub fn with_policy(
        settings: &Kafka,
        client_id: &str,
        metrics: &Metrics,
        policy: RetryPolicy,
    ) -> anyhow::Result<Arc<Self>> {
        // Before the library reads them, so that no change is missed.
        let files = Files::of(settings);
        let link = Link::open(settings, client_id, metrics, policy)?;
        keeper::start(&link, files)?;
        Ok(Arc::new(Self(link)))
    }

    /// The dead letters of these topics: of `groups`, without the installation's prefix.
    pub fn letters(&self, groups: &[&str]) -> KafkaLetters {
        KafkaLetters::new(self.0.clone(), groups)
    }
}

#[async_trait]
impl Bus for KafkaBus {
    async fn publish(&self, message: &Message) -> Result<(), BusError> {
        self.0.publish(message).await
    }

    fn subscribe(&self, subscription: Subscription, stop: CancellationToken) -> BoxFuture<'static, ()> {
        consumer::run(self.0.clone(), subscription, stop).boxed()
    }

    async fn check(&self) -> Result<(), BusError> {
        self.0.check().await
    }

    fn system(&self) -> &'static str {
        SYSTEM
    }
}

impl std::fmt::Debug for KafkaBus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaBus").field("brokers", &self.0.settings.brokers).finish_non_exhaustive()
    }
}
