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

use std::error::Error;
use std::fmt;
use std::sync::LazyLock;

use crate::message::reason::Reason;

/// Why a body broke off; makes hyper close the connection or reset the stream, so that nobody takes half for whole.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Broken(pub(crate) Reason);

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.word())
    }
}

impl Error for Broken {
    /// hyper resets the stream with the code that it finds here: the backend hears of a client that left, not of a fault.
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        static CANCEL: LazyLock<h2::Error> = LazyLock::new(|| h2::Reason::CANCEL.into());
        (self.0 == Reason::ClientClosed).then(|| &*CANCEL as _)
    }
}
