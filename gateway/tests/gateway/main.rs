//! The gateway from outside, against real upstreams: well-behaved, slow, broken and hostile ones.

mod backends;
mod browser;
mod checks;
mod conversations;
mod discovery;
mod drain;
mod follow;
mod frames;
mod framing;
mod grpc;
mod h2spec;
mod hostile;
mod http;
mod informational;
mod own;
mod policy;
mod process;
mod recorder;
mod reload;
mod retries;
mod settings;
mod support;
mod tls;
mod together;
mod upgrade;
