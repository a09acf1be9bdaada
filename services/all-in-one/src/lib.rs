//! Every service and the gateway in one process: what `cargo run` starts and what the system tests drive.

mod between;
mod config;
mod doors;
mod service;
mod suite;
mod variables;

pub use between::Between;
pub use config::{BusKind, Config};
pub use service::Service;
pub use suite::{Addresses, Suite, groups};
