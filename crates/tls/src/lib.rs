//! TLS between programs: certificates and keys in files, read again when they change, and what its failures mean.
//!
//! A [`Server`] shakes hands with clients, a [`Client`] with servers, and [`TlsSettings`] are for a service that does both.
//! [`Trouble`] is what went wrong, in words that are the same everywhere.

mod authorities;
mod certificate;
mod client;
mod connector;
mod name;
mod server;
mod settings;
mod trouble;
mod watch;

pub use authorities::{AuthoritiesFile, UnusableAuthorities};
pub use certificate::{Certificate, Files, Pair, Unusable};
pub use client::{Client, ClientFiles, ClientTls, Credentials, Unfit};
pub use connector::{Connector, Encrypted};
pub use name::{InvalidName, Name};
pub use server::{Clients, NoServer, Server};
pub use settings::TlsSettings;
pub use tokio_rustls::server::TlsStream;
pub use trouble::{Peer, Trouble};
pub use watch::watch;

/// HTTP/2, as ALPN names it (RFC 7301).
pub const H2: &[u8] = b"h2";

/// HTTP/1.1, as ALPN names it.
pub const HTTP_1_1: &[u8] = b"http/1.1";
