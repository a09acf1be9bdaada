//! Headers that tell browsers to be careful with an answer.

use http::HeaderValue;
use http::header::{self, HeaderName};
use shop_http1::Edit;
use shop_http1::Lines;
use shop_http1::fields::Names;

use crate::settings;

const X_POWERED_BY: HeaderName = HeaderName::from_static("x-powered-by");

/// Those that are no defaults.
static OTHERS: [HeaderName; 5] = [
    header::X_CONTENT_TYPE_OPTIONS,
    header::X_XSS_PROTECTION,
    header::STRICT_TRANSPORT_SECURITY,
    header::SERVER,
    X_POWERED_BY,
];

/// The headers, ready to be copied.
#[derive(Debug)]
pub struct SecurityHeaders {
    /// A backend that knows better keeps its own: a page needs another policy than data.
    defaults: Vec<(HeaderName, HeaderValue)>,
    hsts: Option<HeaderValue>,
    server: Option<HeaderValue>,
    /// All that are written or taken away.
    names: Names,
    /// What an answer gets that has none of them, in cleartext and over TLS.
    usual: [Lines; 2],
}

impl SecurityHeaders {
    /// The headers of `settings`, unless they are switched off.
    pub fn new(settings: &settings::SecurityHeaders) -> Option<Self> {
        let value = |text: &str| HeaderValue::from_str(text).ok().filter(|value| !value.is_empty());
        let defaults = [
            (header::CONTENT_SECURITY_POLICY, &settings.content_security_policy),
            (header::X_FRAME_OPTIONS, &settings.frame_options),
            (header::REFERRER_POLICY, &settings.referrer_policy),
        ];
        let names = defaults.iter().map(|(name, _)| name.clone());
        let names = Names::new(names.chain(OTHERS.iter().cloned()).collect());
        settings.enabled.then(|| {
            let mut headers = Self {
                defaults: defaults.into_iter().filter_map(|(name, text)| Some((name, value(text)?))).collect(),
                hsts: value(&settings.strict_transport_security),
                server: value(&settings.server),
                names,
                usual: Default::default(),
            };
            headers.usual = [false, true].map(|secure| {
                let mut lines = Lines::new();
                headers.write_each(&mut lines, secure);
                lines
            });
            headers
        })
    }

    /// Writes them; `secure` says whether the client's connection is TLS.
    pub fn write(&self, headers: &mut impl Edit, secure: bool) {
        if headers.has_none(&self.names) {
            headers.add_all(&self.usual[usize::from(secure)]);
        } else {
            self.write_each(headers, secure);
        }
    }

    fn write_each(&self, headers: &mut impl Edit, secure: bool) {
        for (name, value) in &self.defaults {
            if !headers.has(name) {
                headers.add(name.clone(), value.clone());
            }
        }
        headers.set(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        // The filters this controlled leaked what pages contain; browsers that still have one shall not use it.
        headers.set(header::X_XSS_PROTECTION, HeaderValue::from_static("0"));
        // Over cleartext anybody on the way could write it, so it must not be there (RFC 6797, section 7.2).
        replace(headers, header::STRICT_TRANSPORT_SECURITY, self.hsts.as_ref().filter(|_| secure));
        replace(headers, header::SERVER, self.server.as_ref());
        headers.remove_all(&X_POWERED_BY);
    }
}

fn replace(headers: &mut impl Edit, name: HeaderName, value: Option<&HeaderValue>) {
    match value {
        Some(value) => headers.set(name, value.clone()),
        None => headers.remove_all(&name),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;

    fn written(
        settings: &settings::SecurityHeaders,
        own: &[(&'static str, &'static str)],
        secure: bool,
    ) -> Vec<(String, String)> {
        let mut headers = HeaderMap::new();
        for (name, value) in own {
            headers.append(*name, HeaderValue::from_static(value));
        }
        if let Some(security) = SecurityHeaders::new(settings) {
            security.write(&mut headers, secure);
        }
        let text = |value: &HeaderValue| value.to_str().unwrap().to_owned();
        let mut pairs: Vec<_> = headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
        pairs.sort_unstable();
        pairs
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    const CSP: (&str, &str) = ("content-security-policy", "default-src 'none'; frame-ancestors 'none'");
    const REFERRER: (&str, &str) = ("referrer-policy", "no-referrer");
    const NOSNIFF: (&str, &str) = ("x-content-type-options", "nosniff");
    const FRAME: (&str, &str) = ("x-frame-options", "DENY");
    const XSS: (&str, &str) = ("x-xss-protection", "0");
    const HSTS: (&str, &str) = ("strict-transport-security", "max-age=31536000");

    #[test]
    fn an_answer_without_them_gets_them_all() {
        let settings = settings::SecurityHeaders::default();
        assert_eq!(written(&settings, &[], false), pairs(&[CSP, REFERRER, NOSNIFF, FRAME, XSS]));
        assert_eq!(written(&settings, &[], true), pairs(&[CSP, REFERRER, HSTS, NOSNIFF, FRAME, XSS]));
    }

    #[test]
    fn a_backends_policy_stays_and_what_weakens_goes() {
        let own = [
            ("content-security-policy", "default-src 'self'"),
            ("x-frame-options", "SAMEORIGIN"),
            ("x-content-type-options", "none"),
            ("x-xss-protection", "1"),
            ("strict-transport-security", "max-age=1"),
            ("server", "salvo/1"),
            ("x-powered-by", "PHP/5"),
        ];
        let csp = ("content-security-policy", "default-src 'self'");
        let frame = ("x-frame-options", "SAMEORIGIN");
        let settings = settings::SecurityHeaders::default();
        assert_eq!(written(&settings, &own, false), pairs(&[csp, REFERRER, NOSNIFF, frame, XSS]));
        assert_eq!(written(&settings, &own, true), pairs(&[csp, REFERRER, HSTS, NOSNIFF, frame, XSS]));
    }

    #[test]
    fn settings_change_them_or_leave_them_out() {
        let settings = settings::SecurityHeaders {
            content_security_policy: String::new(),
            frame_options: "SAMEORIGIN".to_owned(),
            referrer_policy: String::new(),
            strict_transport_security: String::new(),
            server: "shop".to_owned(),
            ..settings::SecurityHeaders::default()
        };
        let expected = [("server", "shop"), NOSNIFF, ("x-frame-options", "SAMEORIGIN"), XSS];
        assert_eq!(written(&settings, &[("server", "salvo/1")], true), pairs(&expected));
        let off = settings::SecurityHeaders { enabled: false, ..settings::SecurityHeaders::default() };
        assert_eq!(written(&off, &[("server", "salvo/1")], true), pairs(&[("server", "salvo/1")]));
    }
}
