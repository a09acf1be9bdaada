//! The bus, as services see it.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use parking_lot::RwLock;
use shop_config::Kafka;
use shop_events::{Bus, BusError, Message, RetryPolicy, Subscription};
use shop_telemetry::Metrics;
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;

use crate::availability::Availability;
use crate::client::{Link, SYSTEM, client, in_our_words, producer};
use crate::consumer;
use crate::counts::Counts;
use crate::letters::KafkaLetters;
use crate::unburied::Unburied;

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
        let client_id = if settings.client_id.is_empty() { client_id } else { &settings.client_id };
        let client = client(settings, client_id);
        let availability = Availability::of(settings);
        let producer = producer(&client, settings, &availability)
            .map_err(|error| anyhow::anyhow!("a setting of kafka is unusable: {}", in_our_words(&error)))?;
        let counts = Counts::new(metrics);
        let (settings, producer, topics) = (settings.clone(), RwLock::new(producer), OnceCell::new());
        let unburied = Unburied::default();
        Ok(Arc::new(Self(Arc::new(Link {
            settings,
            client,
            policy,
            counts,
            unburied,
            availability,
            producer,
            topics,
        }))))
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
