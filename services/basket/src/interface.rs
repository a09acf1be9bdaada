//! The ways in: HTTP, gRPC and events, each a few lines from its wire to a command.

mod events;
mod fields;
mod grpc;
mod http;

pub(crate) use events::Clearing;
pub(crate) use grpc::BasketGrpc;
pub(crate) use http::{ABOUT, Api, routes};
