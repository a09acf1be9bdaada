//! Asking another server whether a request may go on.

use http::{HeaderName, Uri, header};
use serde::{Deserialize, Serialize};
use shop_config::{Duration, Problems};
use shop_tls::ClientTls;

use super::header_rules;
use crate::message::client::is_claim;

/// Whom to ask whether a request may go on, before its body is read: a `GET` without a body that says in `X-Forwarded-Method`,
/// `-Proto`, `-Host`, `-Uri` and `-For` what was asked for. With a status from 200 to 299 the request goes on; any other answer
/// is the client's. Without an answer nothing goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ForwardAuth {
    /// Where to ask: `http://auth:9000/verify`, or `https://` for a server that is called over TLS.
    pub url: String,
    /// How it is called over TLS; without this section by the authorities that the system trusts.
    pub tls: Option<Box<ClientTls>>,
    /// The longest wait for the whole answer, connecting included.
    pub timeout: Duration,
    /// Headers of the answer that are set on the request, in place of what the client says there: it can say nothing in any of them.
    pub headers: Vec<String>,
    /// Headers of the request that go along; what says who the client is, by default.
    pub request_headers: Vec<String>,
}

impl Default for ForwardAuth {
    fn default() -> Self {
        Self {
            url: String::new(),
            tls: None,
            // Signing in is not among what is asked for, only looking it up.
            timeout: Duration::secs(5),
            headers: Vec::new(),
            request_headers: [header::AUTHORIZATION, header::COOKIE].map(|name| name.to_string()).into(),
        }
    }
}

impl ForwardAuth {
    /// Finds wrong values.
    pub(super) fn check(&self, problems: &mut Problems) {
        let uri = self.uri().filter(|uri| uri.authority().is_some_and(|authority| !authority.as_str().contains('@')));
        let scheme = uri.as_ref().and_then(Uri::scheme_str);
        let is_url = matches!(scheme, Some("http" | "https")) && !self.url.contains('#');
        problems.ensure(is_url, "url", "use http://host:port/path, or https://");
        if let Some(tls) = &self.tls {
            problems.ensure(scheme != Some("http"), "url", "is in cleartext, and tls says how it is called over TLS");
            problems.within("tls", |p| tls.check(p));
        }
        if let Some(host) = uri.as_ref().and_then(|uri| host(uri)).filter(|_| scheme == Some("https")) {
            // A workload is called by its host all the same.
            let name = self.tls.as_ref().and_then(|tls| tls.server_name.as_ref());
            let is_named = name.is_some_and(|name| matches!(name.parse(), Ok(shop_tls::Name::Host(_))));
            let detail = format!("no certificate can be for {host}; set tls.server_name");
            problems.ensure(is_named || host.parse::<shop_tls::Name>().is_ok(), "url", detail);
        }
        let longest = Duration::secs(60);
        let is_time = !self.timeout.is_zero() && self.timeout <= longest;
        problems.ensure(is_time, "timeout", "use more than 0, and 60s at most: the client waits for it");
        for (key, names) in [("headers", &self.headers), ("request_headers", &self.request_headers)] {
            for (index, name) in names.iter().enumerate() {
                header_rules::check_name(&format!("{key}.{index}"), name, problems);
                let is_claim = key == "request_headers" && is_claim(name.to_ascii_lowercase().as_bytes());
                let detail = format!("{name} says who asks, and a client could write anything there");
                problems.ensure(!is_claim, &format!("{key}.{index}"), detail);
            }
        }
    }

    /// Whether the files that it names can be used.
    pub(super) fn check_files(&self, problems: &mut Problems) {
        if let Some(tls) = &self.tls {
            problems.within("tls", |p| tls.check_files(p));
        }
    }

    /// Where to ask, if it is a URL; checked before.
    pub(crate) fn uri(&self) -> Option<Uri> {
        self.url.parse().ok()
    }

    /// Names out of [`Self::headers`] or [`Self::request_headers`]; checked before.
    pub(crate) fn names(names: &[String]) -> Vec<HeaderName> {
        names.iter().filter_map(|name| name.parse().ok()).collect()
    }
}

/// The host of `uri`, an address of IPv6 without its brackets.
pub(crate) fn host(uri: &Uri) -> Option<&str> {
    let host = uri.host()?;
    Some(host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host))
}
