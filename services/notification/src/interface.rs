//! The ways in: HTTP, gRPC and events, each a few lines from its wire to a command, and the worker that sends what is due.

mod access;
mod events;
mod grpc;
mod http;
mod view;
mod worker;

use shop_clock::SharedClock;
use shop_idempotency::Keys;

use crate::application::{Commands, Queries};

pub(crate) use access::ACCESS;
pub(crate) use events::{GROUPS, subscriptions};
pub(crate) use grpc::PersonalGrpc;
pub(crate) use http::{ABOUT, routes};
pub(crate) use worker::Worker;

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
}
