//! The ways in: HTTP, gRPC and events, each a few lines from its wire to a command.

mod access;
mod events;
mod fields;
mod grpc;
mod guests;
mod http;

use shop_clock::SharedClock;
use shop_idempotency::Keys;
use shop_identity::Identity;

use crate::application::{Commands, Queries};

pub(crate) use access::ACCESS;
pub(crate) use events::{GROUPS, subscriptions};
pub(crate) use grpc::BasketGrpc;
pub(crate) use http::{ABOUT, routes};

/// What the handlers work with.
#[derive(Clone)]
#[expect(unreachable_pub, reason = "the handlers that `craft` makes of the methods are public")]
pub struct Api {
    /// Changes.
    pub(crate) commands: Commands,
    /// Questions.
    pub(crate) queries: Queries,
    /// The answers to repeated requests.
    pub(crate) keys: Keys,
    /// Makes ids for requests without a key.
    pub(crate) clock: SharedClock,
    /// Makes guests, and knows them again.
    pub(crate) identity: Identity,
}
