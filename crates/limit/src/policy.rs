//! One limit: for which calls it is, how it counts them, and how it is told to clients.

use std::time::Duration;

use http::{HeaderName, HeaderValue, Method};
use shop_http1::Edit;

use crate::rate::{Rate, Verdict};
use crate::settings::{RateLimit, RouteLimit};

static RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
static RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// The name of the limit for all that no other is for.
const DEFAULT: &str = "client";

/// The longest name with its quotes, `;r=` and `;t=` with ten and twenty digits; the settings see to it.
const FIELD: usize = 192;

/// One limit.
pub(crate) struct Policy {
    /// As clients see it.
    pub(crate) name: String,
    path: String,
    methods: Vec<Method>,
    /// Whether calls are counted at all.
    pub(crate) enabled: bool,
    pub(crate) rate: Rate,
    /// Tells its clients from those of other policies.
    pub(crate) number: u16,
    terms: HeaderValue,
}

impl Policy {
    /// The policies of `settings`, the most specific first, the last for everything.
    pub(crate) fn all(settings: &RateLimit) -> Vec<Self> {
        let anything = RouteLimit {
            path: "/".to_owned(),
            methods: Vec::new(),
            enabled: true,
            requests: None,
            window: None,
            burst: None,
        };
        let mut all: Vec<_> = settings.routes.iter().map(|route| Self::new(settings, route, route.name())).collect();
        // By path, the longest first; among equals those that ask for a method.
        all.sort_by_key(|policy| (std::cmp::Reverse(policy.path.len()), policy.methods.is_empty()));
        all.push(Self::new(settings, &anything, DEFAULT.to_owned()));
        for (policy, number) in all.iter_mut().zip(0..) {
            policy.number = number;
        }
        all
    }

    /// Name, calls, window and calls at once.
    pub(crate) fn words(&self) -> String {
        format!("{};burst={}", self.terms.to_str().unwrap_or_default(), self.rate.burst)
    }

    fn new(settings: &RateLimit, route: &RouteLimit, name: String) -> Self {
        let requests = route.requests.unwrap_or(settings.requests);
        let window = route.window.unwrap_or(settings.window).get();
        let terms = format!("\"{name}\";q={requests};w={}", window.as_secs().max(1));
        Self {
            path: route.path.trim_end_matches('/').to_owned(),
            methods: route.methods.iter().filter_map(|method| method.parse().ok()).collect(),
            enabled: route.enabled,
            rate: Rate {
                per_call: (window / requests.get()).max(Duration::from_nanos(1)),
                burst: route.burst.unwrap_or(settings.burst),
            },
            number: 0,
            terms: HeaderValue::from_str(&terms).unwrap_or_else(|_| HeaderValue::from_static("\"client\"")),
            name,
        }
    }

    /// Whether it is for such calls.
    pub(crate) fn fits(&self, method: &Method, path: &str) -> bool {
        let below = path.strip_prefix(self.path.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        below && (self.methods.is_empty() || self.methods.contains(method))
    }

    /// Tells a client where it stands (draft-ietf-httpapi-ratelimit-headers-10).
    pub(crate) fn tell(&self, verdict: Verdict, headers: &mut impl Edit) {
        let (remaining, until) = match verdict {
            Verdict::Allowed { remaining, full_in } => (remaining, full_in),
            Verdict::Refused { retry_after } => (0, retry_after),
        };
        let until = until.as_secs() + u64::from(until.subsec_nanos() > 0);
        let mut field = Field { bytes: [0; FIELD], len: 0 };
        let mut number = itoa::Buffer::new();
        field.push(b"\"");
        field.push(self.name.as_bytes());
        field.push(b"\";r=");
        field.push(number.format(remaining).as_bytes());
        field.push(b";t=");
        field.push(number.format(until).as_bytes());
        headers.copy(&RATE_LIMIT_POLICY, &self.terms);
        headers.put(&RATE_LIMIT, &field.bytes[..field.len]);
    }
}

/// A header's value while it is put together, without a place of its own on the heap.
struct Field {
    bytes: [u8; FIELD],
    len: usize,
}

impl Field {
    fn push(&mut self, part: &[u8]) {
        // Settings with names that do not fit are refused.
        if let Some(place) = self.bytes.get_mut(self.len..self.len + part.len()) {
            place.copy_from_slice(part);
            self.len += part.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;

    fn route(path: &str, methods: &[&str]) -> RouteLimit {
        let methods = methods.iter().map(|method| (*method).to_owned()).collect();
        let (path, requests) = (path.to_owned(), NonZeroU32::new(7));
        RouteLimit { path, methods, enabled: true, requests, window: None, burst: None }
    }

    fn told(policy: &Policy, verdict: Verdict) -> [(HeaderName, HeaderValue); 2] {
        let mut headers = http::HeaderMap::new();
        policy.tell(verdict, &mut headers);
        let told: Vec<_> = headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        told.try_into().expect("two")
    }

    #[test]
    fn the_most_specific_limit_is_the_one() {
        let routes = vec![
            route("/api", &[]),
            route("/api/payments", &[]),
            route("/api/payments", &["POST", "PUT"]),
            route("/api/baskets/", &[]),
            route("/shop.product.v1.ProductService", &[]),
        ];
        let policies = Policy::all(&RateLimit { routes, ..RateLimit::default() });
        for (method, path, name) in [
            ("GET", "/api/payments/7", "/api/payments"),
            ("POST", "/api/payments", "POST,PUT /api/payments"),
            ("PUT", "/api/payments/7", "POST,PUT /api/payments"),
            ("PUT", "/api/paymentsx", "/api"),
            ("GET", "/api/baskets/u1", "/api/baskets/"),
            ("GET", "/api/baskets", "/api/baskets/"),
            ("GET", "/api", "/api"),
            ("GET", "/apix", "client"),
            ("POST", "/shop.product.v1.ProductService/GetProduct", "/shop.product.v1.ProductService"),
            ("POST", "/shop.product.v1.ProductServiceX/GetProduct", "client"),
        ] {
            let found = policies.iter().find(|policy| policy.fits(&method.parse().expect("a method"), path));
            assert_eq!(found.map(|policy| policy.name.as_str()), Some(name), "{method} {path}");
        }
        let numbers: Vec<_> = policies.iter().map(|policy| policy.number).collect();
        assert_eq!(numbers, [0, 1, 2, 3, 4, 5]);
    }

    #[test]
    fn the_fields_say_what_is_left_and_when_it_is_full() {
        let mut settings = RateLimit { routes: vec![route("/api/payments", &["POST"])], ..RateLimit::default() };
        settings.window = shop_config::Duration::secs(3600);
        let policies = Policy::all(&settings);
        let full_in = Duration::from_secs(35) + Duration::from_nanos(1);
        let [policy, limit] = told(&policies[1], Verdict::Allowed { remaining: 2, full_in });
        assert_eq!((policy.0.as_str(), limit.0.as_str()), ("ratelimit-policy", "ratelimit"));
        assert_eq!(policy.1, "\"client\";q=100;w=3600");
        assert_eq!(limit.1, "\"client\";r=2;t=36");
        let [policy, limit] = told(&policies[0], Verdict::Refused { retry_after: Duration::from_millis(1) });
        assert_eq!(policy.1, "\"POST /api/payments\";q=7;w=3600");
        assert_eq!(limit.1, "\"POST /api/payments\";r=0;t=1");
    }

    #[test]
    fn the_longest_name_and_numbers_fit() {
        let path = format!("/{}", "x".repeat(127));
        let settings = RateLimit { routes: vec![route(&path, &[])], ..RateLimit::default() };
        let most = Verdict::Allowed { remaining: u32::MAX, full_in: Duration::from_secs(u64::MAX - 1) };
        let [_, limit] = told(&Policy::all(&settings)[0], most);
        assert_eq!(limit.1, format!("\"{path}\";r={};t={}", u32::MAX, u64::MAX - 1));
    }
}
