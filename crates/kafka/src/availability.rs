//! Whether brokers can be reached: told to the log when it changes, not on every attempt.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use rdkafka::ClientContext;
use rdkafka::client::OAuthToken;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError;
use rdkafka::producer::FutureProducer;
use rdkafka::types::RDKafkaErrorCode;
use shop_config::Kafka;
use shop_events::BusError;

use crate::probe;
use crate::tokens::Tokens;
use crate::trouble::{Trouble, encryption_wanted, login_wanted};

/// What the clients of one bus know of the brokers. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Availability(Arc<State>);

#[derive(Debug)]
struct State {
    settings: Kafka,
    away: AtomicBool,
    /// Whether a broker ever did what it was asked for: who hangs up then is on its way out, and not averse.
    met: AtomicBool,
    /// Whether somebody looks at a certificate just now.
    looking: AtomicBool,
    /// Why the brokers cannot be spoken to, as far as that is known and not over.
    trouble: Mutex<Option<String>>,
    /// Why a consumer is not let into its group, likewise.
    apart: Mutex<Option<String>>,
    /// Why there is no new token to log in with, likewise.
    tokenless: Mutex<Option<String>>,
    tokens: Tokens,
}

impl Availability {
    /// Of brokers that nobody has asked yet.
    pub(crate) fn of(settings: &Kafka) -> Self {
        Self(Arc::new(State {
            settings: settings.clone(),
            away: AtomicBool::new(false),
            met: AtomicBool::new(false),
            looking: AtomicBool::new(false),
            trouble: Mutex::default(),
            apart: Mutex::default(),
            tokenless: Mutex::default(),
            tokens: Tokens::default(),
        }))
    }

    /// A client did something that needs a broker.
    pub(crate) fn found(&self) {
        self.0.met.store(true, Ordering::Relaxed);
        let over = self.0.trouble.lock().take().is_some();
        if self.0.away.swap(false, Ordering::Relaxed) || over {
            tracing::info!("kafka can be reached again");
        }
    }

    /// A consumer is in its group.
    pub(crate) fn joined(&self) {
        if self.0.apart.lock().take().is_some() {
            tracing::info!("the consumer is in its group now");
        }
    }

    /// Whether consumers are let into their groups, as far as is known.
    pub(crate) fn is_together(&self) -> Result<(), BusError> {
        self.0.apart.lock().clone().map_or(Ok(()), |told| Err(BusError::new(told)))
    }

    /// What all clients log in with, where brokers want a token.
    pub(crate) fn tokens(&self) -> &Tokens {
        &self.0.tokens
    }

    /// There is a token that lives.
    pub(crate) fn has_token(&self) {
        if self.0.tokenless.lock().take().is_some() {
            tracing::info!("there are tokens for kafka again");
        }
    }

    /// There is no new one, and why.
    pub(crate) fn lacks_token(&self, why: String) {
        tell(&self.0.tokenless, "there is no new token for kafka", why);
    }

    /// Why brokers that were asked in vain cannot be spoken to, if that is known; else the error as it is. Who has no token does not
    /// come to speak at all.
    pub(crate) fn explain(&self, error: BusError) -> BusError {
        let known = self.0.tokenless.lock().clone().or_else(|| self.0.trouble.lock().clone());
        known.map_or(error, BusError::new)
    }

    fn note(&self, trouble: Trouble) {
        match trouble {
            Trouble::Told(told) => tell(&self.0.trouble, "kafka cannot be spoken to", told),
            Trouble::Token(told) => {
                tell(&self.0.trouble, "kafka cannot be spoken to", told);
                self.0.tokens.refuse();
            }
            // Why is told by who asks for it.
            Trouble::Tokenless => {}
            Trouble::Group(told) => tell(&self.0.apart, "events are not read", told),
            Trouble::Certificate(at) => self.look(move |settings| probe::certificate(&at, &settings.tls)),
            Trouble::HungUp(_) if self.0.met.load(Ordering::Relaxed) => {}
            Trouble::HungUp(at) => self.look(move |Kafka { security_protocol, .. }| {
                let wanted = if !security_protocol.is_encrypted() && probe::speaks_tls(&at) {
                    encryption_wanted
                } else {
                    login_wanted
                };
                wanted(&at, *security_protocol)
            }),
        }
    }

    /// Has a look, apart, for the client waits for its reports to be taken; one at a time.
    fn look(&self, look: impl FnOnce(&Kafka) -> String + Send + 'static) {
        if self.0.looking.swap(true, Ordering::Relaxed) {
            return;
        }
        let this = self.clone();
        let work = move || {
            tell(&this.0.trouble, "kafka cannot be spoken to", look(&this.0.settings));
            this.0.looking.store(false, Ordering::Relaxed);
        };
        // Where there is no thread to be had, the next report asks again.
        if std::thread::Builder::new().name("look".to_owned()).spawn(work).is_err() {
            self.0.looking.store(false, Ordering::Relaxed);
        }
    }

    /// A client reports an error; it goes on by itself.
    pub(crate) fn report(&self, error: &KafkaError, reason: &str) {
        if let Some(trouble) = Trouble::of(error.rdkafka_error_code(), reason, &self.0.settings) {
            tracing::debug!(error = %error, reason, "kafka connection");
            return self.note(trouble);
        }
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::AllBrokersDown) if !self.0.away.swap(true, Ordering::Relaxed) => {
                tracing::warn!(reason, "kafka cannot be reached: events wait in their outboxes, consumers stand still");
            }
            // News of single connections; what they lead to is logged where it is handled.
            Some(
                RDKafkaErrorCode::AllBrokersDown
                | RDKafkaErrorCode::BrokerTransportFailure
                | RDKafkaErrorCode::Resolve
                | RDKafkaErrorCode::OperationTimedOut,
            ) => tracing::debug!(error = %error, reason, "kafka connection"),
            _ => tracing::warn!(error = %error, reason, "kafka reports an error"),
        }
    }
}

/// Logged once, not on every attempt.
fn tell(slot: &Mutex<Option<String>>, what: &str, told: String) {
    let mut slot = slot.lock();
    if slot.as_ref() != Some(&told) {
        tracing::error!("{what}: {told}");
        *slot = Some(told);
    }
}

/// A producer that tells of them.
pub(crate) type Producer = FutureProducer<Availability>;

impl ClientContext for Availability {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    /// The library's own log lines: it tells every refused connection as an error, so they are for debugging. That a broker
    /// hangs up is told here alone.
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(target: "librdkafka", ?level, facility, "{message}");
        if let Some(trouble) = Trouble::of(None, message, &self.0.settings).filter(|_| facility == "FAIL") {
            self.note(trouble);
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.report(&error, reason);
    }

    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        self.0.tokens.answer().map_err(Into::into)
    }
}

/// For consumers that are in no group.
impl ConsumerContext for Availability {}
