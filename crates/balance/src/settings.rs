//! Settings: which backend is next, and what happens to those that fail.

use std::num::NonZeroU32;

use http::uri::PathAndQuery;
use serde::{Deserialize, Serialize};
use shop_config::{Duration, Problems};

use crate::breaker::Rules;

/// Asking backends whether they take calls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HealthCheck {
    /// Off: only live traffic tells.
    pub enabled: bool,
    /// Where HTTP backends are asked; gRPC backends are asked by `grpc.health.v1`.
    pub path: String,
    /// From one check to the next, a tenth more or less by chance. With [`HealthCheck::fall`], a silent backend is out
    /// within 15 s; live traffic notices far sooner.
    pub interval: Duration,
    /// For the whole check, connecting included; a healthy service answers within milliseconds.
    pub timeout: Duration,
    /// Good checks in a row that bring a backend back: one may be luck.
    pub rise: NonZeroU32,
    /// Silent checks in a row that take a backend out: one or two may be a lost packet or a pause.
    pub fall: NonZeroU32,
}

impl Default for HealthCheck {
    fn default() -> Self {
        Self {
            enabled: true,
            path: "/health/ready".to_owned(),
            interval: Duration::secs(5),
            timeout: Duration::secs(2),
            rise: NonZeroU32::MIN.saturating_add(1),
            fall: NonZeroU32::MIN.saturating_add(2),
        }
    }
}

impl HealthCheck {
    /// Finds wrong values.
    pub fn check(&self, problems: &mut Problems) {
        let is_path = self.path.starts_with('/') && self.path.parse::<PathAndQuery>().is_ok();
        problems.ensure(is_path, "path", "write a path such as /health/ready");
        problems.ensure(self.interval >= Duration::millis(10), "interval", "must be at least 10ms");
        problems.ensure(!self.timeout.is_zero(), "timeout", "must be more than 0");
    }
}

/// Sending a call once more when a backend failed it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retries {
    /// Off: a call goes out again only if nothing of it was sent, or if nobody can tell.
    pub enabled: bool,
    /// How often one call goes out again; two get past a bad backend and a bad moment.
    pub attempts: u32,
    /// Most retries in percent of all calls of a service over ten seconds: an outage costs the backends a fifth more, no
    /// multiple.
    pub budget_percent: u32,
    /// Retries per second that are always allowed, so that a quiet service has any.
    pub least_per_second: u32,
    /// Largest body kept for a retry, in bytes; orders and forms fit, uploads do not.
    pub body_limit: usize,
    /// A backend that says `Retry-After` is not asked again when it wants more than this, else not before.
    pub longest_wait: Duration,
}

impl Default for Retries {
    fn default() -> Self {
        Self {
            enabled: true,
            attempts: 2,
            budget_percent: 20,
            least_per_second: 3,
            body_limit: 64 * 1024,
            longest_wait: Duration::secs(1),
        }
    }
}

impl Retries {
    /// Finds wrong values.
    pub fn check(&self, problems: &mut Problems) {
        problems.ensure((1..=10).contains(&self.attempts), "attempts", "use 1 to 10, or set enabled = false");
        problems.ensure(self.budget_percent <= 100, "budget_percent", "use at most 100: more multiplies an outage");
        problems.ensure(self.body_limit <= 1024 * 1024, "body_limit", "use at most 1048576 bytes: they are held");
    }
}

/// Keeping calls away from backends that fail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CircuitBreaker {
    /// Off: every backend is always tried.
    pub enabled: bool,
    /// Calls let through at once to find out whether a backend has recovered.
    pub max_requests: NonZeroU32,
    /// Window over which the share of failures is judged.
    pub interval: Duration,
    /// How long a backend is left alone before it is tried again; grows with each failed trial.
    pub timeout: Duration,
}

impl Default for CircuitBreaker {
    fn default() -> Self {
        Self {
            enabled: true,
            max_requests: NonZeroU32::MIN.saturating_add(9),
            interval: Duration::secs(60),
            timeout: Duration::secs(30),
        }
    }
}

impl CircuitBreaker {
    /// Finds wrong values.
    pub fn check(&self, problems: &mut Problems) {
        problems.ensure(self.interval >= Duration::secs(1), "interval", "must be at least 1s");
        problems.ensure(!self.timeout.is_zero(), "timeout", "must be more than 0");
    }

    /// The numbers of a breaker, if there is to be one.
    pub fn rules(&self) -> Option<Rules> {
        let Self { enabled, max_requests, interval, timeout } = self;
        enabled.then(|| Rules { trials: max_requests.get(), window: interval.get(), open_for: timeout.get() })
    }
}

/// Ejecting backends that do worse than the others of their list, in Envoy's words. Off while neither `success_rate` nor `latency`
/// is set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OutlierDetection {
    /// By so many percentage points more of its calls may one fail than the median of the others, from 1 to 100.
    pub success_rate: Option<NonZeroU32>,
    /// So many times as long as the median of the others may one take on average, and 5 ms longer; at least 2.
    pub latency: Option<NonZeroU32>,
    /// Over which they are compared; Envoy's default.
    pub interval: Duration,
    /// Calls of a backend in an interval without which it is not compared; Envoy's default.
    pub min_requests: NonZeroU32,
    /// Most ejected at a time, in percent of the list; one may always be. Envoy's default.
    pub max_ejected: u32,
    /// How long one is away the first time; twice as long the second, and so on up to five minutes. Envoy's default.
    pub ejection_time: Duration,
}

impl Default for OutlierDetection {
    fn default() -> Self {
        Self {
            success_rate: None,
            latency: None,
            interval: Duration::secs(10),
            min_requests: NonZeroU32::MIN.saturating_add(99),
            max_ejected: 10,
            ejection_time: Duration::secs(30),
        }
    }
}

impl OutlierDetection {
    /// Whether anything is compared.
    pub const fn is_on(&self) -> bool {
        self.success_rate.is_some() || self.latency.is_some()
    }

    /// Finds wrong values.
    pub fn check(&self, problems: &mut Problems) {
        let points = self.success_rate.is_none_or(|points| points.get() <= 100);
        problems.ensure(points, "success_rate", "use 1 to 100 percentage points");
        let times = self.latency.is_none_or(|times| times.get() >= 2);
        problems.ensure(times, "latency", "use 2 or more: somebody is always the slowest");
        problems.ensure(self.interval >= Duration::millis(10), "interval", "must be at least 10ms");
        problems.ensure(self.max_ejected <= 100, "max_ejected", "use at most 100 percent");
        problems.ensure(!self.ejection_time.is_zero(), "ejection_time", "must be more than 0");
    }
}

/// Sharing calls among the backends of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LoadBalancer {
    /// Off: the first backend gets every call, the others only what it cannot take.
    pub enabled: bool,
    /// Which backend is next.
    pub strategy: Strategy,
    /// How long the share of a backend that recovered grows to its full size; 0 gives it at once. Ten seconds fill the
    /// caches and pools of most services.
    pub slow_start: Duration,
}

impl Default for LoadBalancer {
    fn default() -> Self {
        Self { enabled: true, strategy: Strategy::RoundRobin, slow_start: Duration::secs(10) }
    }
}

/// Which backend is next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// Each in turn.
    RoundRobin,
    /// The one with the fewest calls in flight.
    LeastConnections,
    /// Each in turn, as often as its weight says, evenly spread.
    WeightedRoundRobin,
    /// Any.
    Random,
    /// The better of two by recent latency.
    P2cEwma,
    /// The one that the call's key belongs to, see [`Hash`].
    ConsistentHash,
}

/// What of a call says which backend it belongs to: one of these.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Hash {
    /// A header, such as `x-user`.
    pub header: Option<String>,
    /// A cookie. A client that has none is given one.
    pub cookie: Option<String>,
    /// The client's address, of IPv6 the /64.
    pub address: bool,
}

impl Hash {
    /// Finds wrong values, for the section that it is in.
    pub fn check(&self, problems: &mut Problems) {
        let Self { header, cookie, address } = self;
        let named = usize::from(header.is_some()) + usize::from(cookie.is_some()) + usize::from(*address);
        problems.ensure(named == 1, "hash", "name one of header, cookie and address = true");
        // The name of a cookie is a token (RFC 6265, section 4.1.1), as that of a header is.
        let is_token =
            |name: &Option<String>| name.as_ref().is_none_or(|name| http::HeaderName::try_from(name).is_ok());
        problems.ensure(is_token(header), "hash.header", "is no name of a header");
        problems.ensure(is_token(cookie), "hash.cookie", "is no name of a cookie");
    }
}
