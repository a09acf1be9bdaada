//! Where the tokens come from that brokers are shown.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use url::{Host, Url};

use super::pem::pem;
use crate::{Problems, Secret, read_text};

/// Where tokens come from, with `OAUTHBEARER`: a provider, which is asked as a client with a secret (RFC 6749, section 4.4), or a
/// file that somebody else keeps fresh.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SaslOauth {
    /// The provider's token endpoint.
    pub token_url: String,
    /// What it calls this client.
    pub client_id: String,
    /// That client's secret.
    pub client_secret: Secret,
    /// What to ask for, words with spaces between; the provider's default when empty.
    pub scope: String,
    /// Whom the token is to be for, with providers that want to be told (`audience`); not sent when empty.
    pub audience: String,
    /// Certificates of the authorities that the endpoint's may be from, in PEM, instead of those that this machine knows and the
    /// public ones.
    pub ca_file: Option<PathBuf>,
    /// A file with the token itself, a JWT, read again when it changes: Kubernetes' projected service account token.
    pub token_file: Option<PathBuf>,
}

impl SaslOauth {
    pub(super) fn check(&self, is_wanted: bool, problems: &mut Problems) {
        if !is_wanted {
            let message = "has no effect with this mechanism; set the mechanism of that section to OAUTHBEARER";
            return problems.useless("oauth", message);
        }
        problems.within("oauth", |p| match &self.token_file {
            Some(file) => {
                p.ensure(self.token_url.is_empty(), "token_file", "use one of token_url and token_file");
                if let Err(error) = read_text(file) {
                    p.add("token_file", format!("{} cannot be read: {error}", file.display()));
                }
                for key in ["client_id", "client_secret", "scope", "audience", "ca_file"] {
                    p.useless(key, "has no effect with token_file: nobody is asked for a token");
                }
            }
            None => self.check_endpoint(p),
        });
    }

    fn check_endpoint(&self, p: &mut Problems) {
        let given = !self.token_url.is_empty();
        p.ensure(given, "token_url", "name the provider's token endpoint, or a file with a token in token_file");
        p.ensure(!given || is_safe(&self.token_url), "token_url", "use https://…; http:// only on loopback");
        p.ensure(!self.client_id.is_empty(), "client_id", "say what the provider calls this client");
        p.ensure(!self.client_secret.is_empty(), "client_secret", "give that client's secret");
        if self.token_url.starts_with("http:") {
            p.useless("ca_file", "has no effect where the endpoint is asked without TLS");
        }
        pem(self.ca_file.as_deref(), "ca_file", &["BEGIN CERTIFICATE"], p);
    }
}

/// Whether a secret can be sent there: nobody can read it on the way.
fn is_safe(url: &str) -> bool {
    let Ok(url) = Url::parse(url) else { return false };
    let is_here = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => return false,
    };
    // Who asks is said in the head, and the rest of a URL is for everybody to read.
    let is_bare = url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
    is_bare && (url.scheme() == "https" || url.scheme() == "http" && is_here)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_goes_only_where_nobody_reads_it_on_the_way() {
        for (url, expected) in [
            ("https://id.example/realms/shop/token", true),
            ("https://id.example/token?tenant=a", true),
            ("http://127.0.0.1:8080/token", true),
            ("http://localhost/token", true),
            ("http://[::1]/token", true),
            ("http://id.example/token", false),
            ("https://shop:secret@id.example/token", false),
            ("https://id.example/token#a", false),
            ("ftp://127.0.0.1/token", false),
            ("id.example/token", false),
            ("https://", false),
        ] {
            assert_eq!(is_safe(url), expected, "{url}");
        }
    }
}
