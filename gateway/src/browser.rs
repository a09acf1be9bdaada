//! What a page in a browser may do: cross-origin requests, forged ones, and the headers that tell browsers to take care.

pub(crate) mod cors;
pub(crate) mod csrf;
pub(crate) mod origin;
pub(crate) mod origins;
pub(crate) mod security;
pub(crate) mod settings;
