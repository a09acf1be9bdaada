//! Settings: which other sites may call, and what answers may be used for.

use http::{HeaderName, HeaderValue, Method};
use serde::{Deserialize, Serialize};
use shop_config::{Duration, Problems};

use crate::origins::AllowedOrigin;

/// Which other sites' pages may call the services and read the answers.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Cors {
    /// `https://shop.example`, `https://*.shop.example`, `null` or `*`. None, which is the default, switches all of this
    /// off: only one's own pages call.
    pub origins: Vec<AllowedOrigin>,
    /// Whether the browser may send cookies along; not together with `*` or `null`, which can be anybody.
    pub credentials: bool,
    /// Methods these pages may use; all that the services know.
    pub methods: Vec<String>,
    /// Request headers these pages may set; all that the services read.
    pub headers: Vec<String>,
    /// Answer headers these pages may read; all that the services and the gateway in front of them set.
    pub exposed_headers: Vec<String>,
    /// How long a browser may remember this; ten minutes, after which a change of the lists has reached everybody.
    pub max_age: Duration,
}

impl Default for Cors {
    fn default() -> Self {
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Self {
            origins: Vec::new(),
            credentials: false,
            methods: list(&["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]),
            headers: list(&[
                "authorization",
                "content-type",
                "idempotency-key",
                "if-match",
                "if-none-match",
                "traceparent",
                "tracestate",
                "x-api-key",
                "x-request-id",
            ]),
            exposed_headers: list(&[
                "allow",
                "content-location",
                "etag",
                "idempotency-replayed",
                "link",
                "location",
                "ratelimit",
                "ratelimit-policy",
                "retry-after",
                "www-authenticate",
                "x-gateway-reason",
                "x-request-id",
            ]),
            max_age: Duration::secs(600),
        }
    }
}

impl Cors {
    /// Finds wrong values.
    pub fn check(&self, problems: &mut Problems) {
        let anybody = self.origins.iter().any(|origin| !origin.is_named());
        problems.ensure(
            !(self.credentials && anybody),
            "origins",
            "* and null with cors.credentials would let any site act for the user; name the origins",
        );
        for method in &self.methods {
            let fine = Method::from_bytes(method.as_bytes()).is_ok() && *method == method.to_ascii_uppercase();
            problems.ensure(
                fine,
                "methods",
                format!("{method} is not a method in capital letters, as browsers want it"),
            );
        }
        for (key, names) in [("headers", &self.headers), ("exposed_headers", &self.exposed_headers)] {
            for name in names {
                let fine = HeaderName::from_bytes(name.as_bytes()).is_ok();
                problems.ensure(fine, key, format!("{name} is not the name of a header"));
            }
        }
        // With credentials browsers take the star for a name.
        let starred =
            [&self.methods, &self.headers, &self.exposed_headers].into_iter().flatten().any(|name| name == "*");
        problems.ensure(
            !(self.credentials && starred),
            "credentials",
            "* allows nothing with credentials; name what is",
        );
    }
}

/// What is different from [`Cors`] for some requests; what is not set is as it says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CorsChanges {
    /// Instead of [`Cors::origins`]; with an empty list only one's own pages call.
    pub origins: Option<Vec<AllowedOrigin>>,
    /// Instead of [`Cors::credentials`].
    pub credentials: Option<bool>,
    /// Instead of [`Cors::methods`].
    pub methods: Option<Vec<String>>,
    /// Instead of [`Cors::headers`].
    pub headers: Option<Vec<String>>,
    /// Instead of [`Cors::exposed_headers`].
    pub exposed_headers: Option<Vec<String>>,
    /// Instead of [`Cors::max_age`].
    pub max_age: Option<Duration>,
}

impl CorsChanges {
    /// `rules` with these changes.
    pub fn over(&self, rules: &Cors) -> Cors {
        let list = |own: &Option<Vec<String>>, all: &Vec<String>| own.as_ref().unwrap_or(all).clone();
        Cors {
            origins: self.origins.as_ref().unwrap_or(&rules.origins).clone(),
            credentials: self.credentials.unwrap_or(rules.credentials),
            methods: list(&self.methods, &rules.methods),
            headers: list(&self.headers, &rules.headers),
            exposed_headers: list(&self.exposed_headers, &rules.exposed_headers),
            max_age: self.max_age.unwrap_or(rules.max_age),
        }
    }
}

/// Refusing changes that another site's page makes a user's browser send.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Csrf {
    /// Off: services must tell by themselves.
    pub enabled: bool,
    /// Origins that may send changes without being able to read the answers, such as a payment provider's form.
    pub trusted_origins: Vec<AllowedOrigin>,
}

impl Default for Csrf {
    fn default() -> Self {
        Self { enabled: true, trusted_origins: Vec::new() }
    }
}

impl Csrf {
    /// Finds wrong values.
    pub fn check(&self, problems: &mut Problems) {
        let named = self.trusted_origins.iter().all(AllowedOrigin::is_named);
        problems.ensure(
            named,
            "trusted_origins",
            "* and null can be anybody; name the origins, or set csrf.enabled = false",
        );
    }
}

/// Headers that tell browsers to be careful with answers. An empty text leaves a header out.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SecurityHeaders {
    /// Off: answers keep the headers that backends gave them.
    pub enabled: bool,
    /// `Content-Security-Policy` of answers without one: data loads nothing and is shown in no frame.
    pub content_security_policy: String,
    /// `X-Frame-Options` of answers without one, for browsers that do not know `frame-ancestors`.
    pub frame_options: String,
    /// `Referrer-Policy` of answers without one: paths name users, so no other site learns them.
    pub referrer_policy: String,
    /// `Strict-Transport-Security` of answers that go out over TLS: a year. Subdomains are left to their owners.
    pub strict_transport_security: String,
    /// `Server` instead of the backends'; by default there is none, because it helps attackers only.
    pub server: String,
}

impl Default for SecurityHeaders {
    fn default() -> Self {
        Self {
            enabled: true,
            content_security_policy: "default-src 'none'; frame-ancestors 'none'".to_owned(),
            frame_options: "DENY".to_owned(),
            referrer_policy: "no-referrer".to_owned(),
            strict_transport_security: "max-age=31536000".to_owned(),
            server: String::new(),
        }
    }
}

impl SecurityHeaders {
    /// Finds wrong values.
    pub fn check(&self, problems: &mut Problems) {
        for (key, text) in [
            ("content_security_policy", &self.content_security_policy),
            ("frame_options", &self.frame_options),
            ("referrer_policy", &self.referrer_policy),
            ("strict_transport_security", &self.strict_transport_security),
            ("server", &self.server),
        ] {
            problems.ensure(HeaderValue::from_str(text).is_ok(), key, "has a character that a header cannot have");
        }
        let frames = matches!(self.frame_options.to_ascii_uppercase().as_str(), "" | "DENY" | "SAMEORIGIN");
        problems.ensure(frames, "frame_options", "use DENY, SAMEORIGIN or nothing");
        let hsts = &self.strict_transport_security;
        let aged = hsts.split(';').any(|part| part.trim().to_ascii_lowercase().starts_with("max-age="));
        problems.ensure(hsts.is_empty() || aged, "strict_transport_security", "must have max-age=seconds");
    }
}
