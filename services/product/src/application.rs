//! What can be done with the catalogue, each once: HTTP, gRPC and events all enter here.

mod commands;
mod queries;
mod seed;

pub(crate) use commands::Commands;
pub(crate) use queries::Queries;
pub(crate) use seed::seed;
