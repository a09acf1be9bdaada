//! One limit: how it counts calls, and how it is told to clients.

use std::time::Duration;

use http::{HeaderName, HeaderValue};
use shop_http1::Edit;

use crate::rate::{Rate, Verdict};
use crate::settings::{RateLimit, RouteLimit};

static RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
static RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// The name of the limit for all that no other is for.
const DEFAULT: &str = "client";

/// The longest name with its quotes, `;r=` and `;t=` with ten and twenty digits; the settings see to it.
const FIELD: usize = 192;

/// The limit of a route, and how it is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoutePolicy {
    /// The route's name in settings, which no other has: processes that count together know the policy by it.
    pub route: String,
    /// As clients see it, such as `POST /api/payments/*`.
    pub name: String,
    /// Its limit.
    pub limit: RouteLimit,
}

/// One limit.
pub(crate) struct Policy {
    /// As clients see it.
    pub(crate) name: String,
    /// As processes that count together know it.
    pub(crate) key: String,
    /// Whether calls are counted at all.
    pub(crate) enabled: bool,
    pub(crate) rate: Rate,
    /// Tells its clients from those of other policies.
    pub(crate) number: u16,
    terms: HeaderValue,
}

impl Policy {
    /// The policies of `routes` in their order, then that for everything else.
    pub(crate) fn all(settings: &RateLimit, routes: &[RoutePolicy]) -> Vec<Self> {
        let of_routes = routes.iter().map(|route| {
            let key = format!("route:{}", route.route);
            Self::new(settings, &route.limit, route.name.clone(), key)
        });
        let everything = Self::new(settings, &RouteLimit::default(), DEFAULT.to_owned(), DEFAULT.to_owned());
        let mut all: Vec<_> = of_routes.chain([everything]).collect();
        for (policy, number) in all.iter_mut().zip(0..) {
            policy.number = number;
        }
        all
    }

    /// Name, calls, window and calls at once.
    pub(crate) fn words(&self) -> String {
        format!("{};burst={}", self.terms.to_str().unwrap_or_default(), self.rate.burst)
    }

    fn new(settings: &RateLimit, limit: &RouteLimit, name: String, key: String) -> Self {
        let requests = limit.requests.unwrap_or(settings.requests);
        let window = limit.window.unwrap_or(settings.window).get();
        let terms = format!("\"{name}\";q={requests};w={}", window.as_secs().max(1));
        Self {
            key,
            enabled: limit.enabled,
            rate: Rate {
                per_call: (window / requests.get()).max(Duration::from_nanos(1)),
                burst: limit.burst.unwrap_or(settings.burst),
            },
            number: 0,
            terms: HeaderValue::from_str(&terms).unwrap_or_else(|_| HeaderValue::from_static("\"client\"")),
            name,
        }
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

    fn route(name: &str) -> RoutePolicy {
        let limit = RouteLimit { requests: NonZeroU32::new(7), ..RouteLimit::default() };
        RoutePolicy { route: "payments".to_owned(), name: name.to_owned(), limit }
    }

    fn told(policy: &Policy, verdict: Verdict) -> [(HeaderName, HeaderValue); 2] {
        let mut headers = http::HeaderMap::new();
        policy.tell(verdict, &mut headers);
        let told: Vec<_> = headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        told.try_into().expect("two")
    }

    #[test]
    fn the_limit_for_everything_is_the_last_and_shares_no_key_with_a_route_of_its_name() {
        let routes = [RoutePolicy { route: DEFAULT.to_owned(), ..route("/api/*") }, route("/api/payments")];
        let policies = Policy::all(&RateLimit::default(), &routes);
        let told: Vec<_> =
            policies.iter().map(|policy| (policy.number, policy.name.as_str(), policy.key.as_str())).collect();
        let expected = [(0, "/api/*", "route:client"), (1, "/api/payments", "route:payments"), (2, "client", "client")];
        assert_eq!(told, expected);
    }

    #[test]
    fn the_fields_say_what_is_left_and_when_it_is_full() {
        let settings = RateLimit { window: shop_config::Duration::secs(3600), ..RateLimit::default() };
        let policies = Policy::all(&settings, &[route("POST /api/payments")]);
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
        let settings = RateLimit::default();
        let most = Verdict::Allowed { remaining: u32::MAX, full_in: Duration::from_secs(u64::MAX - 1) };
        let [_, limit] = told(&Policy::all(&settings, &[route(&path)])[0], most);
        assert_eq!(limit.1, format!("\"{path}\";r={};t={}", u32::MAX, u64::MAX - 1));
    }
}
