//! The gateway from outside, against real upstreams: well-behaved, slow, broken and hostile ones.

mod browser;
mod checks;
mod drain;
mod grpc;
mod hostile;
mod http;
mod own;
mod policy;
mod process;
mod reload;
mod retries;
mod settings;
mod support;
mod upgrade;
