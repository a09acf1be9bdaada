//! How often one client may call: GCRA (governor) per address, in bounded memory.

use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::keyed::DefaultKeyedStateStore;
use governor::{Quota, RateLimiter};
use http::{HeaderName, HeaderValue};

use crate::config::RateLimit;

const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// More clients than this share one budget: an attacker with many addresses must not fill the memory.
const MOST_CLIENTS: usize = 1_000_000;

type Keyed<K> = RateLimiter<K, DefaultKeyedStateStore<K>, DefaultClock, StateInformationMiddleware>;

/// The limiter, shared by all workers.
pub(crate) struct Limiter {
    clients: Keyed<IpAddr>,
    clock: DefaultClock,
    policy: HeaderValue,
    /// How many calls are allowed at once.
    burst: u32,
    most_clients: usize,
}

/// What a client may still do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Go on; this many more at once.
    Allowed { remaining: u32, full_in: Duration },
    /// Come back after this time.
    Refused { retry_after: Duration },
}

impl Limiter {
    /// A limiter, unless it is switched off.
    pub(crate) fn new(settings: &RateLimit) -> Option<Self> {
        settings.enabled.then(|| Self::with_capacity(settings, MOST_CLIENTS))
    }

    fn with_capacity(settings: &RateLimit, most_clients: usize) -> Self {
        let window = settings.window.get();
        let per_call = (window / settings.requests.get()).max(Duration::from_nanos(1));
        let quota = Quota::with_period(per_call)
            .unwrap_or_else(|| Quota::per_second(NonZeroU32::MAX))
            .allow_burst(settings.burst);
        let seconds = window.as_secs().max(1);
        let policy = format!("\"client\";q={};w={seconds}", settings.requests);
        Self {
            clients: RateLimiter::dashmap(quota).with_middleware(),
            clock: DefaultClock::default(),
            policy: HeaderValue::from_str(&policy).unwrap_or_else(|_| HeaderValue::from_static("\"client\"")),
            burst: settings.burst.get(),
            most_clients,
        }
    }

    /// Takes one call off what `address` may do.
    pub(crate) fn check(&self, address: IpAddr) -> Verdict {
        let key = if self.clients.len() < self.most_clients { key(address) } else { IpAddr::V6(Ipv6Addr::UNSPECIFIED) };
        match self.clients.check_key(&key) {
            Ok(state) => {
                let remaining = state.remaining_burst_capacity();
                let missing = self.burst.saturating_sub(remaining);
                Verdict::Allowed { remaining, full_in: state.quota().replenish_interval() * missing }
            }
            Err(wait) => Verdict::Refused { retry_after: wait.wait_time_from(self.clock.now()) },
        }
    }

    /// The fields that tell a client where it stands (draft-ietf-httpapi-ratelimit-headers-10).
    pub(crate) fn headers(&self, verdict: Verdict) -> [(HeaderName, HeaderValue); 2] {
        let (remaining, until) = match verdict {
            Verdict::Allowed { remaining, full_in } => (remaining, full_in),
            Verdict::Refused { retry_after } => (0, retry_after),
        };
        let until = until.as_secs() + u64::from(until.subsec_nanos() > 0);
        let limit = HeaderValue::from_str(&format!("\"client\";r={remaining};t={until}"));
        [
            (RATE_LIMIT_POLICY, self.policy.clone()),
            (RATE_LIMIT, limit.unwrap_or_else(|_| HeaderValue::from_static("\"client\""))),
        ]
    }

    /// Clients with less than their full budget, or not yet forgotten.
    pub(crate) fn clients(&self) -> usize {
        self.clients.len()
    }

    /// Forgets clients whose budget is full again. Locks shard by shard; call it off the data path.
    pub(crate) fn forget_idle(&self) {
        self.clients.retain_recent();
        self.clients.shrink_to_fit();
    }
}

/// One household or server usually holds a whole IPv6 /64.
fn key(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limiter(most_clients: usize) -> Limiter {
        let settings = RateLimit {
            burst: NonZeroU32::new(3).expect("not zero"),
            window: shop_config::Duration::secs(3600),
            ..RateLimit::default()
        };
        Limiter::with_capacity(&settings, most_clients)
    }

    fn allowed(limiter: &Limiter, address: &str) -> bool {
        matches!(limiter.check(address.parse().expect("address")), Verdict::Allowed { .. })
    }

    #[test]
    fn each_client_has_a_burst_of_its_own() {
        let limiter = limiter(10);
        let calls: Vec<_> = (0..4).map(|_| allowed(&limiter, "1.1.1.1")).collect();
        assert_eq!(calls, [true, true, true, false]);
        assert!(allowed(&limiter, "2.2.2.2"));
    }

    #[test]
    fn an_ipv6_client_is_its_network() {
        let limiter = limiter(10);
        for host in 1..=3 {
            assert!(allowed(&limiter, &format!("2001:db8::{host}")));
        }
        assert!(!allowed(&limiter, "2001:db8::4"));
        assert!(allowed(&limiter, "2001:db8:0:1::4"));
    }

    #[test]
    fn too_many_clients_share_one_budget() {
        let limiter = limiter(2);
        assert!(allowed(&limiter, "1.1.1.1") && allowed(&limiter, "1.1.1.2"));
        let calls: Vec<_> = (0..4).map(|host| allowed(&limiter, &format!("2.2.2.{host}"))).collect();
        assert_eq!(calls, [true, true, true, false]);
        assert!(limiter.clients() <= 3);
    }

    #[test]
    fn the_fields_say_what_is_left_and_when_it_is_full() {
        let limiter = limiter(10);
        let verdict = limiter.check("1.1.1.1".parse().expect("address"));
        let [policy, limit] = limiter.headers(verdict);
        assert_eq!(policy.1, "\"client\";q=100;w=3600");
        assert_eq!(limit.1, "\"client\";r=2;t=36");
        let [_, limit] = limiter.headers(Verdict::Refused { retry_after: Duration::from_millis(1) });
        assert_eq!(limit.1, "\"client\";r=0;t=1");
    }
}
