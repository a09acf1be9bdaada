//! Cross-origin resource sharing (the Fetch standard, section 3.3): which other sites' pages may call, decided and answered
//! here, so that backends need not know.

use std::sync::LazyLock;

use bytes::Bytes;
use http::header;
use http::{HeaderValue, Method, Response, StatusCode};
use shop_http1::Edit;
use shop_http1::fields::{Fields, Names};

use crate::origins::{AllowedOrigin, Known, Origin, Origins};
use crate::settings;

/// The route of preflights, as logs name it.
pub const PREFLIGHT: &str = "cors_preflight";

const ORIGIN: HeaderValue = HeaderValue::from_static("origin");
/// All that an answer to a preflight might depend on, for caches on the way.
const PREFLIGHT_VARY: HeaderValue =
    HeaderValue::from_static("origin, access-control-request-method, access-control-request-headers");

/// What a backend may not say when a proxy speaks for it: two of a kind, and browsers refuse the answer.
static OURS: LazyLock<Names> = LazyLock::new(|| {
    Names::new(vec![
        header::ACCESS_CONTROL_ALLOW_ORIGIN,
        header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
        header::ACCESS_CONTROL_ALLOW_METHODS,
        header::ACCESS_CONTROL_ALLOW_HEADERS,
        header::ACCESS_CONTROL_EXPOSE_HEADERS,
        header::ACCESS_CONTROL_MAX_AGE,
    ])
});

/// The rules, with every header of an answer ready to be copied.
#[derive(Debug)]
pub struct Cors {
    origins: Origins,
    credentials: bool,
    methods: Option<HeaderValue>,
    headers: Option<HeaderValue>,
    exposed: Option<HeaderValue>,
    max_age: HeaderValue,
}

/// What the rules say about one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The origin is not in the list, or there is none: the answer carries no permission.
    Unlisted,
    /// The page may read the answer.
    Allowed {
        /// As `Access-Control-Allow-Origin` repeats it; a star when everybody may.
        origin: HeaderValue,
        /// Whether the origin is known by name.
        known: Known,
    },
}

impl Cors {
    /// The rules of `settings`; none when no origin is listed.
    pub fn new(settings: &settings::Cors) -> Option<Self> {
        if settings.origins.is_empty() {
            return None;
        }
        let origins = Origins::new(&settings.origins);
        Some(Self {
            // The check of the settings refuses this pair; here it cannot even be expressed.
            credentials: settings.credentials && settings.origins.iter().all(AllowedOrigin::is_named),
            origins,
            methods: list(&settings.methods),
            headers: list(&settings.headers),
            exposed: list(&settings.exposed_headers),
            max_age: HeaderValue::from(settings.max_age.get().as_secs()),
        })
    }

    /// Judges a request by its `Origin`.
    pub fn judge(&self, headers: &impl Fields) -> Verdict {
        let Origin::One(origin) = Origin::of(headers) else { return Verdict::Unlisted };
        let Some(known) = self.origins.find(origin) else { return Verdict::Unlisted };
        let origin =
            if self.origins.is_open() { Ok(HeaderValue::from_static("*")) } else { HeaderValue::from_bytes(origin) };
        origin.map_or(Verdict::Unlisted, |origin| Verdict::Allowed { origin, known })
    }

    /// The answer to a preflight, without a backend; [`Cors::write`] adds what every answer has.
    pub fn preflight(&self, verdict: &Verdict) -> Response<Bytes> {
        let mut response = Response::new(Bytes::new());
        *response.status_mut() = StatusCode::NO_CONTENT;
        let headers = response.headers_mut();
        headers.insert(header::VARY, PREFLIGHT_VARY);
        if matches!(verdict, Verdict::Allowed { .. }) {
            if let Some(methods) = &self.methods {
                headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods.clone());
            }
            if let Some(names) = &self.headers {
                headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, names.clone());
            }
            headers.insert(header::ACCESS_CONTROL_MAX_AGE, self.max_age.clone());
        }
        response
    }

    /// Writes the permission, or that there might have been one for another origin.
    pub fn write(&self, verdict: Verdict, headers: &mut impl Edit) {
        if !self.origins.is_open() && !headers.values(&header::VARY).any(names_origin) {
            headers.add(header::VARY, ORIGIN);
        }
        let Verdict::Allowed { origin, .. } = verdict else { return };
        headers.set(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        if self.credentials {
            headers.set(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
        if let Some(exposed) = &self.exposed {
            headers.set(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed.clone());
        }
    }
}

/// Takes what a backend says about other origins off its answer.
pub fn overrule(headers: &mut impl Edit) {
    headers.remove_each(&OURS);
}

/// Whether a browser asks before it sends the request proper.
pub fn is_preflight(method: &Method, headers: &impl Fields) -> bool {
    *method == Method::OPTIONS && headers.has(&header::ORIGIN) && headers.has(&header::ACCESS_CONTROL_REQUEST_METHOD)
}

fn names_origin(vary: &[u8]) -> bool {
    vary.split(|byte| *byte == b',').any(|name| name.trim_ascii().eq_ignore_ascii_case(b"origin"))
}

/// A list on one line; none when it is empty.
fn list(names: &[String]) -> Option<HeaderValue> {
    HeaderValue::from_str(&names.join(", ")).ok().filter(|line| !line.is_empty())
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderName};

    use super::*;

    fn cors(origins: &[&str], credentials: bool) -> Cors {
        let origins = origins.iter().map(|origin| origin.parse().unwrap()).collect();
        Cors::new(&settings::Cors { origins, credentials, ..settings::Cors::default() }).expect("on")
    }

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    /// The permission for a page of `origin`.
    fn granted(cors: &Cors, origin: &'static str) -> HeaderMap {
        let mut answer = HeaderMap::new();
        cors.write(cors.judge(&headers(&[("origin", origin)])), &mut answer);
        answer
    }

    #[test]
    fn without_origins_there_are_no_rules() {
        assert!(Cors::new(&settings::Cors::default()).is_none());
    }

    #[test]
    fn a_listed_origin_is_repeated_and_no_other() {
        let cors = cors(&["https://a.example", "https://*.b.example"], true);
        for (origin, allowed) in [
            ("https://a.example", true),
            ("https://x.b.example", true),
            ("https://b.example", false),
            ("https://evil.example", false),
            ("null", false),
        ] {
            let answer = granted(&cors, origin);
            let repeated = answer.get("access-control-allow-origin").map(HeaderValue::as_bytes);
            assert_eq!(repeated, allowed.then_some(origin.as_bytes()), "{origin}");
            assert_eq!(answer.contains_key("access-control-allow-credentials"), allowed, "{origin}");
            assert_eq!(answer.contains_key("access-control-expose-headers"), allowed, "{origin}");
            assert_eq!(answer["vary"], "origin", "{origin}");
        }
    }

    #[test]
    fn a_star_is_answered_with_a_star_and_never_with_credentials() {
        for origins in [&["*"][..], &["*", "https://a.example"], &["null", "*"]] {
            // As if the check of the settings had been left out.
            let cors = cors(origins, true);
            for origin in ["https://a.example", "https://evil.example", "null"] {
                let answer = granted(&cors, origin);
                assert_eq!(answer["access-control-allow-origin"], "*", "{origin}");
                assert!(!answer.contains_key("access-control-allow-credentials"), "{origin}");
                assert!(!answer.contains_key("vary"), "the same for everybody");
            }
        }
        let answer = granted(&cors(&["null"], true), "null");
        assert_eq!(answer["access-control-allow-origin"], "null");
        assert!(!answer.contains_key("access-control-allow-credentials"));
    }

    #[test]
    fn two_origins_are_none() {
        let cors = cors(&["https://a.example"], false);
        let mut two = headers(&[("origin", "https://a.example")]);
        two.append("origin", HeaderValue::from_static("https://a.example"));
        assert_eq!(cors.judge(&two), Verdict::Unlisted);
        assert_eq!(cors.judge(&HeaderMap::new()), Verdict::Unlisted);
    }

    #[test]
    fn a_preflight_has_both_headers() {
        let table = [
            (Method::OPTIONS, &[("origin", "x"), ("access-control-request-method", "PUT")][..], true),
            (Method::OPTIONS, &[("access-control-request-method", "PUT")], false),
            (Method::OPTIONS, &[("origin", "x")], false),
            (Method::POST, &[("origin", "x"), ("access-control-request-method", "PUT")], false),
        ];
        for (method, pairs, expected) in table {
            assert_eq!(is_preflight(&method, &headers(pairs)), expected, "{method} {pairs:?}");
        }
    }

    #[test]
    fn a_vary_of_the_backends_is_kept() {
        let cors = cors(&["https://a.example"], false);
        for (vary, expected) in
            [("accept", &["accept", "origin"][..]), ("accept, Origin", &["accept, Origin"]), ("*", &["*", "origin"])]
        {
            let mut answer = headers(&[("vary", vary)]);
            cors.write(Verdict::Unlisted, &mut answer);
            assert_eq!(answer.get_all("vary").iter().collect::<Vec<_>>(), expected);
        }
    }
}
