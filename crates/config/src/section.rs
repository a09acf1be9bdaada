//! The sections services share. Each has public fields, a default with its reason, and a `check`.

pub(crate) mod database;
pub(crate) mod kafka;
pub(crate) mod log;
pub(crate) mod neighbour;
pub(crate) mod redis;
pub(crate) mod redis_url;
pub(crate) mod server;
pub(crate) mod url;
