//! What the limiter is asked about.

use std::net::IpAddr;

use shop_http1::fields::Fields;

/// What of a request matters.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// The place of its route's policy among those that the limiter was made with; none where the limit of everything counts.
    pub policy: Option<u16>,
    /// Among them what the client is known by.
    pub headers: &'a dyn Fields,
    /// The client's.
    pub address: IpAddr,
    /// Who it is, if that is known to be true.
    pub subject: Option<Subject<'a>>,
}

/// Somebody whom an issuer of tokens knows.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// Who says so.
    pub issuer: &'a str,
    /// Whom it means: somebody else than another issuer's of that name.
    pub name: &'a str,
}
