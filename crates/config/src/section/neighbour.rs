//! Another service that is called over gRPC.

use serde::{Deserialize, Serialize};

use crate::{Duration, Problems};

/// Where a neighbour is and how patient to be with it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Neighbour {
    /// Host and port, such as `localhost:50050`; `http://` in front is optional, `https://` is TLS, by the files of the section
    /// `tls`.
    pub url: String,
    /// Whom the certificate behind `https://` has to be for, instead of the host: another name, or the URI of a workload, such
    /// as `spiffe://shop/ns/default/sa/product`.
    pub server_name: Option<String>,
    /// Deadline of one call with all its retries.
    pub timeout: Duration,
    /// How often a call is repeated within its deadline while the neighbour is unavailable.
    pub retries: u32,
}

impl Neighbour {
    /// All defaults, at this address.
    pub fn at(url: impl Into<String>) -> Self {
        Self { url: url.into(), server_name: None, timeout: Duration::secs(2), retries: 2 }
    }

    /// The address with its scheme, as a gRPC client wants it.
    pub fn uri(&self) -> String {
        let url = self.url.trim().trim_end_matches('/');
        if url.contains("://") { url.to_owned() } else { format!("http://{url}") }
    }

    /// Whether it is called over TLS.
    pub fn is_encrypted(&self) -> bool {
        self.uri().starts_with("https://")
    }

    /// Refuses addresses no client could dial. `section` is the dotted key of this section.
    pub fn check(&self, section: &'static str, problems: &mut Problems) {
        let uri = self.uri();
        let authority = uri.strip_prefix("http://").or_else(|| uri.strip_prefix("https://")).unwrap_or_default();
        let port = authority.rsplit_once(':').map(|(host, port)| (!host.is_empty(), port.parse::<u16>()));
        problems.within(section, |p| {
            p.ensure(matches!(port, Some((true, Ok(1..)))), "url", "use host and port, such as localhost:50050");
            let unused = "has no effect without TLS: begin the url of that section with https://";
            p.ensure(self.server_name.is_none() || self.is_encrypted(), "server_name", unused);
            p.ensure(!self.timeout.is_zero(), "timeout", "must be more than 0");
            p.ensure(self.retries <= 10, "retries", "use at most 10");
        });
    }
}

impl Default for Neighbour {
    fn default() -> Self {
        Self::at("localhost:50050")
    }
}
