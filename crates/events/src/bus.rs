//! What a bus is, and the one loop that delivers a message to a handler.

use std::error::Error;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use shop_fault::Fault;
use shop_telemetry::Span;
use tokio_util::sync::CancellationToken;

use crate::{Envelope, Message, Topic};

/// Any error, for logs.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// The bus did not take a message; it stays in the outbox.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct BusError(pub BoxError);

impl BusError {
    /// A bus error with this text or cause.
    pub fn new(cause: impl Into<BoxError>) -> Self {
        Self(cause.into())
    }
}

/// Why an event did not take effect.
#[derive(Debug, thiserror::Error)]
pub enum HandleError {
    /// Something we depend on is down: tried again for as long as it takes.
    #[error("{0}")]
    Transient(BoxError),
    /// This event cannot take effect: tried a few times more, then dead-lettered.
    #[error("{0}")]
    Rejected(BoxError),
}

impl HandleError {
    /// What a fault means for the event: a store that is away comes back; anything else is for people to look at.
    pub fn of(fault: impl Into<Fault>) -> Self {
        let fault = fault.into();
        if fault.kind().is_passing() { Self::Transient(fault.into()) } else { Self::Rejected(fault.into()) }
    }
}

/// Applies events. Each must take effect once per [`Envelope::id`], however often it is delivered.
#[async_trait]
pub trait Handler: Send + Sync {
    /// Applies one event; returns when the effect is durable.
    async fn handle(&self, envelope: &Envelope) -> Result<(), HandleError>;
}

/// Who wants which events.
#[derive(Clone)]
pub struct Subscription {
    /// Consumers of one group share the work.
    pub group: String,
    /// What to read.
    pub topics: Vec<Topic>,
    /// Who applies it.
    pub handler: Arc<dyn Handler>,
}

/// Carries messages from outboxes to handlers, at least once, in order per key.
#[async_trait]
pub trait Bus: Send + Sync {
    /// Hands over one message; `Ok` means it will not be lost.
    async fn publish(&self, message: &Message) -> Result<(), BusError>;

    /// Registers a subscription at once; the future drives it until `stop`, then leaves cleanly.
    fn subscribe(&self, subscription: Subscription, stop: CancellationToken) -> BoxFuture<'static, ()>;

    /// Whether the bus can be reached.
    async fn check(&self) -> Result<(), BusError>;

    /// What kind of bus it is, as traces name it (`messaging.system`).
    fn system(&self) -> &'static str {
        "memory"
    }
}

/// How often and how fast a delivery is tried again.
#[derive(Debug, Clone, Copy)]
pub struct RetryPolicy {
    /// Attempts for an event that is [`HandleError::Rejected`].
    pub attempts: u32,
    /// Pause after the first failure; doubles from there.
    pub first: Duration,
    /// The longest pause.
    pub longest: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        // Five attempts ride out a lost race; a store that is down is retried for as long as it takes.
        Self { attempts: 5, first: Duration::from_millis(50), longest: Duration::from_secs(5) }
    }
}

/// What became of a delivery.
#[derive(Debug, PartialEq, Eq)]
pub enum Delivery {
    /// The effect is durable.
    Done,
    /// It never will be; the reason goes to the dead-letter topic.
    Dead(String),
    /// Told to stop before it was settled: deliver it again later.
    Stopped,
}

impl Delivery {
    /// Tells the span of the work how it ended.
    pub fn tell(&self, span: &mut Span) {
        match self {
            Self::Done => {}
            Self::Dead(_) => span.fail("dead_letter"),
            Self::Stopped => span.fail("stopped"),
        }
    }
}

/// Delivers `message` to `handler`: retries what may pass, gives up on what cannot, stops when told to.
pub async fn deliver(
    handler: &dyn Handler,
    message: &Message,
    policy: RetryPolicy,
    stop: &CancellationToken,
) -> Delivery {
    let envelope = match Envelope::decode(message) {
        Ok(envelope) => envelope,
        Err(error) => return Delivery::Dead(error.to_string()),
    };
    let mut rejections = 0;
    let mut pause = policy.first;
    loop {
        // A handler that panics refuses this one event; it must not take the consumer of all others along.
        let outcome = AssertUnwindSafe(handler.handle(&envelope)).catch_unwind().await;
        let outcome = outcome.unwrap_or_else(|_| Err(HandleError::Rejected("the handler panicked".into())));
        let event_id = tracing::field::display(envelope.id);
        match outcome {
            Ok(()) => {
                let kind = envelope.event.event_type();
                tracing::debug!(event.id = event_id, event.kind = kind, "event took effect");
                return Delivery::Done;
            }
            Err(HandleError::Transient(error)) => {
                tracing::warn!(event.id = event_id, error = %error, "event waits for a dependency, trying again");
            }
            Err(HandleError::Rejected(error)) => {
                rejections += 1;
                if rejections >= policy.attempts {
                    return Delivery::Dead(error.to_string());
                }
                tracing::warn!(event.id = event_id, error = %error, "event was rejected, trying again");
            }
        }
        if unless(stop, tokio::time::sleep(pause)).await.is_none() {
            return Delivery::Stopped;
        }
        pause = (pause * 2).min(policy.longest);
    }
}

/// Runs `future` unless `stop` comes first.
async fn unless<F: Future>(stop: &CancellationToken, future: F) -> Option<F::Output> {
    tokio::select! {
        biased;
        () = stop.cancelled() => None,
        output = future => Some(output),
    }
}
