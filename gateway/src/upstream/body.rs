//! The bodies on their way: [`RequestBody`] from the client to a backend, [`Body`] from whoever answers to the client.

mod base64_text;
pub(crate) mod channel;
mod incoming;
mod kept;
mod request_body;
mod spilled;

pub(crate) use incoming::Incoming;
pub(crate) use kept::Kept;
pub(crate) use request_body::{Progress, RequestBody};

use crate::message::reason::Reason;

/// Why a body broke off; makes hyper close the connection or reset the stream, so that nobody takes half for whole.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("{}", .0.word())]
pub(crate) struct Broken(pub(crate) Reason);
