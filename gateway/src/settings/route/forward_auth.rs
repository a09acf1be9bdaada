//! Asking another server whether a request may go on.

use http::{HeaderName, Uri, header};
use serde::{Deserialize, Serialize};
use shop_config::{Duration, Problems};

use super::header_rules;
use crate::message::client::is_claim;

/// Whom to ask whether a request may go on, before its body is read: a `GET` without a body that says in `X-Forwarded-Method`,
/// `-Proto`, `-Host`, `-Uri` and `-For` what was asked for. With a status from 200 to 299 the request goes on; any other answer
/// is the client's. Without an answer nothing goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ForwardAuth {
    /// Where to ask: `http://auth:9000/verify`.
    pub url: String,
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
        let uri = self.uri();
        let is_url = uri.as_ref().is_some_and(|uri| {
            let is_bare = uri.authority().is_some_and(|authority| !authority.as_str().contains('@'));
            uri.scheme_str() == Some("http") && is_bare
        });
        problems.ensure(is_url && !self.url.contains('#'), "url", "use http://host:port/path");
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

    /// Where to ask, if it is a URL; checked before.
    pub(crate) fn uri(&self) -> Option<Uri> {
        self.url.parse().ok()
    }

    /// Names out of [`Self::headers`] or [`Self::request_headers`]; checked before.
    pub(crate) fn names(names: &[String]) -> Vec<HeaderName> {
        names.iter().filter_map(|name| name.parse().ok()).collect()
    }
}
