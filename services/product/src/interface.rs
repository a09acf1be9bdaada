//! The three doors: HTTP, gRPC, events. Each turns what it gets into a command or a query and the answer back.

pub(crate) mod events;
pub(crate) mod grpc;
pub(crate) mod http;
mod listing;
mod view;
