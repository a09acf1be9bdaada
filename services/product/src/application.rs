//! What can be done with the catalogue, each once: HTTP, gRPC and events all enter here.

mod commands;
mod folding;
mod queries;
mod retention;
mod seed;
mod settlement;

pub(crate) use commands::Commands;
pub(crate) use folding::{fold, keep_folded};
pub(crate) use queries::Queries;
pub(crate) use retention::Retention;
pub(crate) use seed::seed;
pub(crate) use settlement::Settlements;
