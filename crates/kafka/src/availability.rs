//! Whether brokers can be reached: told to the log when it changes, not on every attempt.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::producer::FutureProducer;
use rdkafka::types::RDKafkaErrorCode;

/// What the clients of one bus know of the brokers. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Availability {
    away: Arc<AtomicBool>,
}

impl Availability {
    /// A client did something that needs a broker.
    pub(crate) fn found(&self) {
        if self.away.swap(false, Ordering::Relaxed) {
            tracing::info!("kafka can be reached again");
        }
    }

    /// A client reports an error; it goes on by itself.
    pub(crate) fn report(&self, error: &KafkaError, reason: &str) {
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::AllBrokersDown) if !self.away.swap(true, Ordering::Relaxed) => {
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

/// A producer that tells of them.
pub(crate) type Producer = FutureProducer<Availability>;

/// The client library's own log lines: it tells every refused connection as an error, so they are for debugging.
pub(crate) fn log(level: RDKafkaLogLevel, facility: &str, message: &str) {
    tracing::debug!(target: "librdkafka", ?level, facility, "{message}");
}

impl ClientContext for Availability {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.report(&error, reason);
    }
}
