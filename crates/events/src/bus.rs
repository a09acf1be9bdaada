//! What a bus is, and what it asks of those who apply its events.

use std::error::Error;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use shop_fault::Fault;
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
    /// Something is broken that people mend, such as a table in the middle of a change: tried for minutes, then dead-lettered.
    #[error("{0}")]
    Internal(BoxError),
    /// This event cannot take effect: tried a few times more, then dead-lettered.
    #[error("{0}")]
    Rejected(BoxError),
}

impl HandleError {
    /// What a fault means for the event: a store that is away comes back, a defect may be mended, a rule stays what it is.
    pub fn of(fault: impl Into<Fault>) -> Self {
        let fault = fault.into();
        match fault.kind() {
            kind if kind.is_passing() => Self::Transient(fault.into()),
            kind if kind.is_server() => Self::Internal(fault.into()),
            _ => Self::Rejected(fault.into()),
        }
    }
}

/// Applies events. Each must take effect once per [`Envelope::id`], however often it is delivered. Where an envelope says which
/// request it came from, its trace is that of applying it.
#[async_trait]
pub trait Handler: Send + Sync {
    /// Applies one event; returns when the effect is durable.
    async fn handle(&self, envelope: &Envelope) -> Result<(), HandleError>;

    /// How many events it takes at once, when so many wait.
    fn at_once(&self) -> usize {
        1
    }

    /// Applies events that wait together, in their order, such as in one transaction. An error says nothing of any of them: each
    /// is handled alone then, and those that took effect nevertheless are known by their ids.
    async fn handle_all(&self, envelopes: &[Envelope]) -> Result<(), HandleError> {
        for envelope in envelopes {
            self.handle(envelope).await?;
        }
        Ok(())
    }
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
