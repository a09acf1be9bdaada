//! The gRPC side that services share: faults as statuses and back, calls to neighbours, the server.
//!
//! A service hands its generated servers to [`serve`] as [`Routes`](tonic::service::Routes); to call a neighbour it opens a
//! [`channel`], puts [`Outgoing`] on its client and wraps every call in [`call`].
//! Calls that may be repeats run in [`idempotency::Once`].

mod accept;
mod away;
mod call;
mod channel;
mod detached;
mod health;
pub mod idempotency;
mod incoming;
mod manners;
mod metrics;
mod one_message;
mod server;
mod status;

pub use away::away;
pub use call::call;
pub use channel::{Outgoing, channel};
pub use detached::detached;
pub use server::{Parts, serve};
pub use status::{fault, status};
