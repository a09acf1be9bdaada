//! The clients: their settings, the producer that all share, and publishing with it.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use rdkafka::ClientConfig;
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::producer::Producer as _;
use rdkafka::types::RDKafkaErrorCode;
use shop_config::{Kafka, SaslMechanism};
use shop_events::{BusError, Message, RetryPolicy, Topic};
use shop_telemetry::Metrics;
use tokio::sync::{OnceCell, watch};
use tokio_util::sync::CancellationToken;

use crate::availability::{Availability, Producer};
use crate::counts::Counts;
use crate::unburied::Unburied;
use crate::{topics, wire};

/// As traces name it.
pub(crate) const SYSTEM: &str = "kafka";

/// How long [`Bus::check`] waits for a broker.
const CHECK: Duration = Duration::from_millis(900);

/// What publishing and all consumers share.
pub(crate) struct Link {
    pub(crate) settings: Kafka,
    pub(crate) client: ClientConfig,
    pub(crate) policy: RetryPolicy,
    pub(crate) counts: Counts,
    pub(crate) unburied: Unburied,
    pub(crate) availability: Availability,
    pub(crate) producer: RwLock<Producer>,
    pub(crate) topics: OnceCell<()>,
    /// How often clients had to be made anew.
    pub(crate) anew: watch::Sender<u64>,
    /// Whether nobody uses this any more.
    pub(crate) ended: CancellationToken,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.ended.cancel();
    }
}

impl Link {
    /// To the brokers of `settings`, which need not be there yet.
    pub(crate) fn open(
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
        Ok(Arc::new(Self {
            settings: settings.clone(),
            client,
            policy,
            counts: Counts::new(metrics),
            unburied: Unburied::default(),
            availability,
            producer: RwLock::new(producer),
            topics: OnceCell::new(),
            anew: watch::Sender::new(0),
            ended: CancellationToken::new(),
        }))
    }

    /// Makes the topics, once.
    pub(crate) async fn ready(&self) -> Result<(), BusError> {
        let ensured = self.topics.get_or_try_init(|| async {
            topics::ensure(&self.producer(), &self.client, &self.settings, &self.availability).await
        });
        ensured.await.map(drop)
    }

    /// The name a topic has on this bus.
    pub(crate) fn on_bus(&self, topic: &str) -> String {
        format!("{}{topic}", self.settings.topic_prefix)
    }

    /// Sends one message; returns when the brokers have it, or within twice the message timeout.
    pub(crate) async fn publish(&self, message: &Message) -> Result<(), BusError> {
        let patience = self.settings.message_timeout.get();
        within(patience, self.ready()).await.map_err(|error| self.availability.explain(error))?;
        let topic = self.on_bus(&message.topic);
        let producer = self.producer();
        let sent = producer.send(wire::record(&topic, message), patience).await;
        match sent {
            Ok(_) => {
                self.availability.found();
                Ok(())
            }
            Err((error, _)) => {
                self.renew(&producer);
                let waited = error.rdkafka_error_code() == Some(RDKafkaErrorCode::MessageTimedOut);
                let error = BusError::new(error);
                Err(if waited { self.availability.explain(error) } else { error })
            }
        }
    }

    /// Whether a broker answers; if not, why, as far as that is known.
    pub(crate) async fn check(&self) -> Result<(), BusError> {
        self.ask().await.map_err(|error| self.availability.explain(error))?;
        self.availability.is_together()?;
        self.unburied.check()
    }

    async fn ask(&self) -> Result<(), BusError> {
        // Without the topics, asking for one would make it with the broker's defaults.
        within(CHECK, self.ready()).await?;
        let (producer, topic) = (self.producer(), self.on_bus(Topic::Payment.as_str()));
        let asked =
            tokio::task::spawn_blocking(move || producer.client().fetch_metadata(Some(&topic), CHECK).map(drop));
        asked.await.map_err(BusError::new)?.map_err(BusError::new)
    }

    pub(crate) fn producer(&self) -> Producer {
        self.producer.read().clone()
    }

    /// Gives the producer the token that is there now.
    pub(crate) fn hand_on_token(&self) {
        self.availability.tokens().give(self.producer().client());
    }

    /// Has all clients made anew, if one can be made now; the producer that was used until then. Who sends by it goes on to the end,
    /// and consumers leave in order and come back.
    pub(crate) fn replace(&self) -> KafkaResult<Producer> {
        let fresh = producer(&self.client, &self.settings, &self.availability)?;
        let before = std::mem::replace(&mut *self.producer.write(), fresh);
        self.anew.send_modify(|times| *times += 1);
        Ok(before)
    }

    /// Replaces a producer that can no longer keep its promise of order: it refuses everything from then on.
    fn renew(&self, failed: &Producer) {
        let mut current = self.producer.write();
        if current.client().fatal_error().is_none() || failed.client().fatal_error().is_none() {
            return;
        }
        match producer(&self.client, &self.settings, &self.availability) {
            Ok(fresh) => {
                tracing::warn!("the kafka producer failed for good, another one takes over");
                *current = fresh;
            }
            Err(error) => tracing::error!(error = %error, "no other kafka producer could be made"),
        }
    }
}

pub(crate) async fn within<T>(
    patience: Duration,
    work: impl Future<Output = Result<T, BusError>>,
) -> Result<T, BusError> {
    tokio::time::timeout(patience, work).await.map_err(|_| BusError::new("no kafka broker answers"))?
}

/// What all clients share.
pub(crate) fn client(settings: &Kafka, client_id: &str) -> ClientConfig {
    let mut client = ClientConfig::new();
    client
        .set("bootstrap.servers", settings.brokers.join(","))
        .set("client.id", client_id)
        .set("socket.keepalive.enable", "true")
        .set("socket.nagle.disable", "true")
        // A broker that vanished without a word is left (the defaults wait for a minute, and for half of one).
        .set("socket.timeout.ms", "8000")
        .set("socket.connection.setup.timeout.ms", "3000")
        // A broker that comes back is found again within 2 s (the default waits up to 10 s).
        .set("reconnect.backoff.ms", "100")
        .set("reconnect.backoff.max.ms", "2000")
        // That a broker hung up is told there alone; see `Availability`.
        .set_log_level(RDKafkaLogLevel::Info);
    secure(&mut client, settings);
    client
}

/// How brokers are spoken to. Their certificates are always checked, names included: nothing here switches that off.
fn secure(client: &mut ClientConfig, settings: &Kafka) {
    let (protocol, tls, sasl) = (settings.security_protocol, &settings.tls, &settings.sasl);
    client.set("security.protocol", protocol.as_str());
    if protocol.is_encrypted() {
        // The library's own OpenSSL knows no authorities: this machine's are looked for where distributions have them.
        client.set("ssl.ca.location", tls.ca_file.as_ref().map_or("probe".into(), |file| file.to_string_lossy()));
        let pair = [("ssl.certificate.location", &tls.cert_file), ("ssl.key.location", &tls.key_file)];
        for (name, file) in pair.into_iter().filter_map(|(name, file)| Some((name, file.as_ref()?))) {
            client.set(name, file.to_string_lossy());
        }
        if !tls.key_password.is_empty() {
            client.set("ssl.key.password", tls.key_password.expose());
        }
    }
    if protocol.logs_in() {
        client.set("sasl.mechanism", sasl.mechanism.as_str());
        // Its tokens come while it runs; see `Tokens`.
        if sasl.mechanism != SaslMechanism::OauthBearer {
            client.set("sasl.username", &sasl.username).set("sasl.password", sasl.password.expose());
        }
    }
}

/// Our names in an error of the client library's, which has its own.
pub(crate) fn in_our_words(error: &KafkaError) -> String {
    let text = match error {
        KafkaError::ClientCreation(text) => text.clone(),
        other => other.to_string(),
    };
    [
        ("ssl.ca.location", "kafka.tls.ca_file"),
        ("ssl.certificate.location", "kafka.tls.cert_file"),
        ("ssl.key.location", "kafka.tls.key_file"),
        ("ssl.key.password", "kafka.tls.key_password"),
        ("sasl.mechanisms", "kafka.sasl.mechanism"),
        ("bootstrap.servers", "kafka.brokers"),
    ]
    .into_iter()
    .fold(text, |text, (theirs, ours)| text.replace(theirs, ours))
}

/// Idempotent, so that a retry inside the client neither doubles nor reorders; acknowledged by all replicas in sync,
/// so that what is acknowledged survives the leader.
pub(crate) fn producer(client: &ClientConfig, settings: &Kafka, availability: &Availability) -> KafkaResult<Producer> {
    let mut client = client.clone();
    client
        .set("enable.idempotence", "true")
        .set("acks", "all")
        // The brokers' own wait for their replicas; a request over the wire has as long.
        .set("request.timeout.ms", "5000")
        .set("message.timeout.ms", settings.message_timeout.get().as_millis().to_string())
        // Events of one key go one after the other: waiting to fill a batch would only slow them down.
        .set("linger.ms", "0");
    let producer = Producer::from_config_and_context(&client, availability.clone())?;
    availability.tokens().give(producer.client());
    Ok(producer)
}
