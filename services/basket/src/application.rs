//! What can be done with baskets: HTTP, gRPC and events enter here.

mod commands;
mod queries;

pub(crate) use commands::{AddItem, Commands, Merge, Refreshed, SetQuantity, Subtract, Target};
pub(crate) use queries::Queries;
