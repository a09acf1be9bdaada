//! HTTP/1.1 on the wire (RFC 9112): what reading and writing have in common on clients' and on backends' connections.

pub(crate) mod answer;
#[cfg(test)]
mod beside;
pub(crate) mod decoder;
pub(crate) mod fields;
pub(crate) mod outgoing;
pub(crate) mod request_head;
#[cfg(test)]
mod request_tests;
pub(crate) mod response_head;
#[cfg(test)]
mod response_tests;
pub(crate) mod room;

/// Why what came is not valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Invalid(pub(crate) &'static str);
