//! Cross-site request forgery: a change that another site's page makes a user's browser send is refused.
//!
//! Browsers say where a request comes from, in `Sec-Fetch-Site` (Fetch Metadata) or at least in `Origin`; so neither tokens
//! nor cookies of ours are needed. The idea is that of Go's `http.CrossOriginProtection` and of Filippo Valsorda's
//! "Cross-Site Request Forgery" (2025). Who says neither is no browser, and has no user's cookies to abuse.

use http::uri::Authority;
use http::{HeaderName, Method, header};
use shop_http1::fields::{self, Fields};

use crate::cors::Verdict;
use crate::origins::{Known, Origin, Origins};
use crate::settings;

static SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Whose request it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sender {
    /// One of our own pages, the user, a trusted site, or no browser at all; or it changes nothing.
    Trusted,
    /// A page of another site: to be refused.
    Foreign,
}

/// The rule.
#[derive(Debug)]
pub struct Csrf {
    trusted: Origins,
}

impl Csrf {
    /// The rule, unless it is switched off.
    pub fn new(settings: &settings::Csrf) -> Option<Self> {
        settings.enabled.then(|| Self { trusted: Origins::new(&settings.trusted_origins) })
    }

    /// Judges who makes a change. `host` is what the browser knows us as; `cors` what the list of origins says.
    pub fn judge(&self, method: &Method, headers: &impl Fields, host: &[u8], cors: Option<&Verdict>) -> Sender {
        if is_safe(method, headers) || is_same_origin(headers, host) || self.is_trusted(headers, cors) {
            Sender::Trusted
        } else {
            Sender::Foreign
        }
    }

    fn is_trusted(&self, headers: &impl Fields, cors: Option<&Verdict>) -> bool {
        if let Origin::One(origin) = Origin::of(headers)
            && self.trusted.find(origin).is_some()
        {
            return true;
        }
        match cors {
            Some(Verdict::Allowed { known: Known::Named, .. }) => true,
            // Anybody may call, but not in the user's name.
            Some(Verdict::Allowed { known: Known::Anybody, .. }) => !has_ambient_credentials(headers),
            Some(Verdict::Unlisted) | None => false,
        }
    }
}

/// Requests that change nothing. A handshake for another protocol is not among them: no browser asks before it opens a
/// WebSocket to another site.
fn is_safe(method: &Method, headers: &impl Fields) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS) && !headers.has(&header::UPGRADE)
}

/// Whether the request comes from our own pages, from the user, or from no browser at all.
fn is_same_origin(headers: &impl Fields, host: &[u8]) -> bool {
    let mut sites = headers.values(&SEC_FETCH_SITE).peekable();
    if sites.peek().is_some() {
        // `same-site` is not enough: a forgotten subdomain is another's soon.
        return sites.all(|site| matches!(site, b"same-origin" | b"none"));
    }
    match Origin::of(headers) {
        Origin::Absent => true,
        Origin::One(origin) => is_host_of(origin, host),
        Origin::Many => false,
    }
}

/// Compares hosts and ports only: behind a proxy that ends TLS, the scheme may be any.
fn is_host_of(origin: &[u8], host: &[u8]) -> bool {
    let Some((scheme, ours)) = fields::text(origin).and_then(|origin| origin.split_once("://")) else { return false };
    let Some(host) = fields::text(host) else { return false };
    if ours.eq_ignore_ascii_case(host) {
        return true;
    }
    // Browsers leave default ports out, other clients may not.
    let default = match scheme {
        "http" => 80,
        "https" => 443,
        _ => return false,
    };
    let split = |address: &str| {
        let address: Authority = address.parse().ok()?;
        Some((address.host().to_ascii_lowercase(), address.port_u16().unwrap_or(default)))
    };
    split(ours).is_some_and(|ours| split(host) == Some(ours))
}

/// Whether the browser itself adds something that says who the user is. A bearer token is not among them: only a page
/// that has it can send it.
fn has_ambient_credentials(headers: &impl Fields) -> bool {
    let is_bearer = |value: &[u8]| value.get(..7).is_some_and(|word| word.eq_ignore_ascii_case(b"bearer "));
    headers.has(&header::COOKIE) || !headers.values(&header::AUTHORIZATION).all(is_bearer)
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};

    use super::*;

    type Pairs = &'static [(&'static str, &'static str)];

    fn verdict(trusted: &[&str], method: &Method, host: &'static str, pairs: Pairs, cors: Option<&Verdict>) -> bool {
        let trusted_origins = trusted.iter().map(|origin| origin.parse().unwrap()).collect();
        let csrf = Csrf::new(&settings::Csrf { enabled: true, trusted_origins }).expect("on");
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        csrf.judge(method, &headers, host.as_bytes(), cors) == Sender::Trusted
    }

    #[test]
    fn only_changes_from_other_sites_are_refused() {
        let table: &[(Pairs, bool)] = &[
            (&[], true),
            (&[("sec-fetch-site", "same-origin")], true),
            (&[("sec-fetch-site", "none")], true),
            (&[("sec-fetch-site", "same-site")], false),
            (&[("sec-fetch-site", "cross-site")], false),
            (&[("sec-fetch-site", "something-new")], false),
            (&[("sec-fetch-site", "")], false),
            (&[("sec-fetch-site", "same-origin"), ("sec-fetch-site", "cross-site")], false),
            // Fetch Metadata is the better witness: a proxy may have changed the host.
            (&[("sec-fetch-site", "same-origin"), ("origin", "https://public.example")], true),
            (&[("sec-fetch-site", "cross-site"), ("origin", "https://gw.example")], false),
            (&[("origin", "https://gw.example")], true),
            (&[("origin", "http://gw.example")], true),
            (&[("origin", "https://gw.example:443")], true),
            (&[("origin", "https://gw.example:8443")], false),
            (&[("origin", "https://evil.example")], false),
            (&[("origin", "https://gw.example.evil.example")], false),
            (&[("origin", "https://sub.gw.example")], false),
            (&[("origin", "ftp://gw.example:21")], false),
            (&[("origin", "gw.example")], false),
            (&[("origin", "null")], false),
            (&[("origin", "")], false),
            (&[("origin", "https://gw.example"), ("origin", "https://gw.example")], false),
        ];
        for (pairs, expected) in table {
            for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
                assert_eq!(verdict(&[], &method, "gw.example", pairs, None), *expected, "{method} {pairs:?}");
            }
            for method in [Method::GET, Method::HEAD, Method::OPTIONS] {
                assert!(verdict(&[], &method, "gw.example", pairs, None), "{method} {pairs:?}");
            }
        }
    }

    #[test]
    fn default_ports_and_letter_case_make_no_difference() {
        let table: &[(&str, Pairs, bool)] = &[
            ("GW.example:443", &[("origin", "https://gw.example")], true),
            ("gw.example:80", &[("origin", "http://gw.example")], true),
            ("gw.example:80", &[("origin", "https://gw.example")], false),
            ("gw.example:8083", &[("origin", "http://gw.example:8083")], true),
            ("gw.example:8083", &[("origin", "http://gw.example")], false),
            ("[::1]:8083", &[("origin", "http://[::1]:8083")], true),
            ("[::1]", &[("origin", "http://[::1]:80")], true),
        ];
        for (host, pairs, expected) in table {
            assert_eq!(verdict(&[], &Method::POST, host, pairs, None), *expected, "{host} {pairs:?}");
        }
    }

    #[test]
    fn a_handshake_for_another_protocol_counts_as_a_change() {
        let handshake: Pairs = &[("upgrade", "websocket"), ("origin", "https://evil.example")];
        assert!(!verdict(&[], &Method::GET, "gw.example", handshake, None));
        assert!(verdict(&[], &Method::GET, "evil.example", handshake, None));
        assert!(verdict(&[], &Method::GET, "gw.example", &[("upgrade", "h2c")], None));
    }

    #[test]
    fn trusted_and_allowed_origins_pass() {
        let cross: Pairs = &[("sec-fetch-site", "cross-site"), ("origin", "https://pay.example")];
        let post = |trusted: &[&str], pairs, cors| verdict(trusted, &Method::POST, "gw.example", pairs, cors);
        assert!(post(&["https://pay.example"], cross, None));
        assert!(!post(&["https://*.pay.example"], cross, None));
        let named = Verdict::Allowed { origin: HeaderValue::from_static("https://pay.example"), known: Known::Named };
        assert!(post(&[], cross, Some(&named)));
        assert!(!post(&[], cross, Some(&Verdict::Unlisted)));
    }

    #[test]
    fn anybody_may_call_but_not_in_the_users_name() {
        let anybody = Verdict::Allowed { origin: HeaderValue::from_static("*"), known: Known::Anybody };
        let table: &[(Pairs, bool)] = &[
            (&[("sec-fetch-site", "cross-site"), ("origin", "https://a.example")], true),
            (&[("origin", "https://a.example"), ("authorization", "Bearer t")], true),
            (&[("origin", "https://a.example"), ("authorization", "Basic eDp5")], false),
            (&[("origin", "https://a.example"), ("cookie", "session=1")], false),
        ];
        for (pairs, expected) in table {
            let passed = verdict(&[], &Method::POST, "gw.example", pairs, Some(&anybody));
            assert_eq!(passed, *expected, "{pairs:?}");
        }
    }
}
