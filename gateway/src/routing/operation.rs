//! The gateway's own routes: health for probes and people, metrics for scrapers.

/// The target of `OPTIONS` that means the server itself (RFC 9110, section 9.3.7), and its route, as logs name it.
pub(crate) const SERVER: &str = "*";

/// An own route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    /// `/health`: whether the gateway is well; for operators also how each backend was last seen.
    Health,
    /// `/health/detailed`: the same with everything there is to say, for operators.
    Detailed,
    /// `/health/ready`: whether to send requests here.
    Ready,
    /// `/health/live`: whether to leave the process running.
    Live,
    /// `/metrics`: Prometheus text, or `OpenMetrics` with examples for who prefers that; for operators.
    Metrics,
    /// `*`: what the server itself can do, whichever resources there are.
    Server,
}

impl Operation {
    /// The own route at `path`.
    pub(crate) fn find(path: &str) -> Option<Self> {
        Some(match path {
            "/health" => Self::Health,
            "/health/detailed" => Self::Detailed,
            "/health/ready" => Self::Ready,
            "/health/live" => Self::Live,
            "/metrics" => Self::Metrics,
            SERVER => Self::Server,
            _ => return None,
        })
    }

    /// Whether it is for operators alone: it tells of backends, versions and traffic.
    pub(crate) const fn is_for_operators(self) -> bool {
        matches!(self, Self::Detailed | Self::Metrics)
    }

    /// Its path.
    pub(crate) const fn path(self) -> &'static str {
        match self {
            Self::Health => "/health",
            Self::Detailed => "/health/detailed",
            Self::Ready => "/health/ready",
            Self::Live => "/health/live",
            Self::Metrics => "/metrics",
            Self::Server => SERVER,
        }
    }
}

/// Whether `route` is asked every few seconds by machines.
pub(crate) fn is_quiet(route: &str) -> bool {
    Operation::find(route).is_some()
}
