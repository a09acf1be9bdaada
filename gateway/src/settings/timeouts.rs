//! Times that a service or a route has of its own.

use serde::{Deserialize, Serialize};
use shop_config::{Duration, Problems};

use super::Upstream;

/// How long the gateway waits for the backends of one service, or of one route; what is not set is as one step further out:
/// the route's is the service's, and the service's is that of `upstream`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Timeouts {
    /// Instead of [`Upstream::connect_timeout`].
    pub connect: Option<Duration>,
    /// Instead of [`Upstream::first_byte_timeout`].
    pub first_byte: Option<Duration>,
    /// Instead of [`Upstream::idle_timeout`]; 0 is no limit.
    pub idle: Option<Duration>,
    /// Instead of [`Upstream::total_timeout`]; 0 is no limit.
    pub total: Option<Duration>,
}

/// The times that are meant in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Times {
    /// To connect.
    pub(crate) connect: std::time::Duration,
    /// From the last byte of the request to the head of the answer.
    pub(crate) first_byte: std::time::Duration,
    /// The longest pause in an answer; none is no limit.
    pub(crate) idle: Option<std::time::Duration>,
    /// The whole exchange; none is no limit.
    pub(crate) total: Option<std::time::Duration>,
}

impl Timeouts {
    /// Finds wrong values.
    pub(super) fn check(&self, problems: &mut Problems) {
        for (key, value) in [("connect", self.connect), ("first_byte", self.first_byte)] {
            problems.ensure(value.is_none_or(|value| !value.is_zero()), key, "must be more than 0");
        }
    }
}

impl Times {
    /// What a route waits, its service, and everybody.
    pub(crate) fn of(route: &Timeouts, service: &Timeouts, upstream: &Upstream) -> Self {
        let some = |time: Duration| (!time.is_zero()).then(|| time.get());
        Self {
            connect: route.connect.or(service.connect).unwrap_or(upstream.connect_timeout).get(),
            first_byte: route.first_byte.or(service.first_byte).unwrap_or(upstream.first_byte_timeout).get(),
            idle: some(route.idle.or(service.idle).unwrap_or(upstream.idle_timeout)),
            total: some(route.total.or(service.total).unwrap_or(upstream.total_timeout)),
        }
    }
}
