//! Settings of the access log.

use serde::{Deserialize, Serialize};

/// What the line of a request says of who asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AccessLog {
    /// The client's address by default: without it nobody finds out who floods. The others are personal data sooner than of
    /// use every day: paths name users.
    pub fields: Vec<AccessField>,
}

/// Something of a request that says who asked, and for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AccessField {
    /// The client's address, as `trusted_proxies` tell it.
    Client,
    /// The host that it asked for.
    Host,
    /// The path, without the query.
    Path,
    /// What it calls itself.
    UserAgent,
    /// What certificate it showed to a listener that asks for one: fingerprint, subject and names.
    ClientCertificate,
}

impl Default for AccessLog {
    fn default() -> Self {
        Self { fields: vec![AccessField::Client] }
    }
}
