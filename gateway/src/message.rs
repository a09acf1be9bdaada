//! What a proxy reads, writes and refuses in a message, whatever carries it.

pub(crate) mod client;
pub(crate) mod grpc;
pub(crate) mod headers;
pub(crate) mod outcome;
pub(crate) mod path;
pub(crate) mod reason;
pub(crate) mod refusal;
pub(crate) mod request_id;
pub(crate) mod upgrade;

/// What belongs to no service is counted under this name, which no service may have.
pub(crate) const OWN: &str = "gateway";
