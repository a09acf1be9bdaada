//! The events of the suite, their wire form, and the bus they travel on.
//!
//! A producer writes an [`Envelope`] to its outbox in the transaction of the change; a relay hands the
//! [`Message`] to a [`Bus`]; a [`Handler`] applies it once, by event id. Kafka is one bus (`shop-kafka`), the
//! [`MemoryBus`] of a single process another.

mod bus;
mod catalogue;
mod delivery;
mod envelope;
mod gathering;
mod letter_files;
mod letters;
mod memory;

pub use bus::{BoxError, Bus, BusError, HandleError, Handler, Subscription};
pub use catalogue::{
    BasketCleared, BasketLine, Event, Item, PaymentActionRequired, PaymentAuthorised, PaymentCancelled,
    PaymentCompleted, PaymentDisputed, PaymentExpired, PaymentFailed, PaymentRefundFailed, PaymentRefunded,
    StockOperation, StockUpdated, Topic, UserErased,
};
pub use delivery::{Delivery, REPLAY_FOR, RetryPolicy, deliver, deliver_all};
pub use envelope::{Context, DecodeError, Envelope, Message};
pub use letter_files::LetterFiles;
pub use letters::{GIVEN_UP, Letter, LetterState, Letters, Origin, REPLAY_WITHIN, TooOld};
pub use memory::MemoryBus;
