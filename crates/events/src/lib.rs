//! The events of the suite, their wire form, and the bus they travel on.
//!
//! A producer writes an [`Envelope`] to its outbox in the transaction of the change; a relay hands the
//! [`Message`] to a [`Bus`]; a [`Handler`] applies it once, by event id. Kafka is one bus (`shop-kafka`), the
//! [`MemoryBus`] of a single process another.

mod bus;
mod catalogue;
mod envelope;
mod memory;

pub use bus::{BoxError, Bus, BusError, Delivery, HandleError, Handler, RetryPolicy, Subscription, deliver};
pub use catalogue::{
    BasketCleared, BasketLine, Event, Item, PaymentCompleted, PaymentFailed, PaymentRefunded, StockOperation,
    StockUpdated, Topic,
};
pub use envelope::{Context, DecodeError, Envelope, Message};
pub use memory::MemoryBus;
