//! What can be done with notifications, each once: HTTP, events and the worker all enter here.

mod commands;
mod delivery;
mod queries;

pub(crate) use commands::{Commands, Rules};
pub(crate) use delivery::{Configured, Delivered, Delivery, Limits};
pub(crate) use queries::Queries;
