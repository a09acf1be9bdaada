//! One backend that is to be there, and who named it.

use std::num::NonZeroU16;

use serde::Serialize;
use shop_discovery::BackendUrl;

/// Who named a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Source {
    /// Files, variables and flags.
    Static,
    /// Names that were resolved.
    Dns,
    /// Files that list them.
    File,
    /// The admin API.
    Admin,
}

/// One backend that is desired.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BackendSpec {
    /// Name or address; an IPv6 address without its brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// It is called over TLS.
    pub(crate) tls: bool,
    pub(crate) weight: NonZeroU16,
    pub(crate) draining: bool,
    pub(crate) source: Source,
}

impl BackendSpec {
    pub(crate) fn new(url: &BackendUrl, source: Source) -> Self {
        Self {
            host: url.host.clone(),
            port: url.port,
            tls: url.tls,
            weight: url.weight,
            draining: url.draining,
            source,
        }
    }

    /// As settings write it.
    pub(super) fn url(&self) -> BackendUrl {
        BackendUrl {
            host: self.host.clone(),
            port: self.port,
            tls: self.tls,
            weight: self.weight,
            draining: self.draining,
        }
    }

    /// Whether it is at the same address.
    pub(crate) fn is_at(&self, url: &BackendUrl) -> bool {
        (&self.host, self.port) == (&url.host, url.port)
    }

    /// `http://host:port`, or `https://host:port`.
    pub(crate) fn label(&self) -> String {
        self.url().to_string()
    }
}
