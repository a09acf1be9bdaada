//! The ways in: HTTP and gRPC, each a few lines from its wire to a command, and the scheduler of what nobody asks for.

mod access;
mod canonical;
mod grpc;
mod http;
mod personal;
mod reconcile;
mod scheduler;
mod settlement;
mod view;
mod waits;
mod webhooks;

use shop_clock::SharedClock;
use shop_idempotency::Keys;
use shop_runtime::Tasks;

use crate::application::{Commands, Personal, Queries};

pub(crate) use access::ACCESS;
pub(crate) use grpc::PaymentGrpc;
pub(crate) use http::{ABOUT, routes};
pub use reconcile::ReconcileFlags;
pub(crate) use scheduler::Scheduler;
pub(crate) use settlement::SettlementGrpc;
pub(crate) use waits::Waiting;
pub(crate) use webhooks::Webhooks;

/// What the handlers work with.
#[derive(Clone)]
#[expect(unreachable_pub, reason = "the handlers that `craft` makes of the methods are public")]
pub struct Api {
    /// Changes.
    pub(crate) commands: Commands,
    /// Questions.
    pub(crate) queries: Queries,
    /// Providers that call.
    pub(crate) webhooks: Webhooks,
    /// What is known of persons.
    pub(crate) personal: Personal,
    /// The answers to repeated requests.
    pub(crate) keys: Keys,
    /// Makes ids for requests without a key.
    pub(crate) clock: SharedClock,
    /// Where commands run that must not end half way.
    pub(crate) tasks: Tasks,
}
