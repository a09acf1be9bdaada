//! The three doors: HTTP, events, and the rounds that send what is due.

pub(crate) mod events;
pub(crate) mod http;
mod rounds;
mod view;

pub(crate) use rounds::Rounds;
