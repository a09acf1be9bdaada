//! What a call that got no answer ran into, in words that tell nothing of the URL.

use std::io;

use hyper_util::client::legacy;

use super::super::error::{find, tls};
use super::connect::Trouble;
use crate::domain::Outcome;

/// The outcome of a call that failed with `error`. All of it may pass.
pub(super) fn of(error: &legacy::Error) -> Outcome {
    if let Some(trouble) = find::<Trouble>(error) {
        return connecting(trouble);
    }
    if let Some(error) = find::<rustls::Error>(error) {
        return Outcome::retry("tls_failed", format!("TLS failed: {}", tls(error)));
    }
    if find::<hyper::Error>(error).is_some_and(hyper::Error::is_parse) {
        return Outcome::retry("bad_answer", "the receiver's answer is not HTTP");
    }
    Outcome::retry("connection_lost", "the receiver closed the connection before it answered")
}

fn connecting(trouble: &Trouble) -> Outcome {
    match trouble {
        Trouble::Lookup(_) => Outcome::retry("lookup_failed", "the name could not be looked up"),
        Trouble::Refused => {
            Outcome::retry("address_refused", "the name leads to private, loopback or link-local addresses only")
        }
        Trouble::Slow => Outcome::retry("timeout", "no connection in time"),
        Trouble::Dial(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            Outcome::retry("connection_refused", "the receiver refused the connection")
        }
        Trouble::Dial(error) => Outcome::retry("unreachable", format!("no connection: {}", error.kind())),
    }
}
