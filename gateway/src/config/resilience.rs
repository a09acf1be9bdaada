//! Settings for backends that fail: health checks.

use std::num::NonZeroU32;

use http::uri::PathAndQuery;
use serde::{Deserialize, Serialize};
use shop_config::{Duration, Problems};

/// Asking backends whether they take calls.
#[derive(Debug, Clone, Serialize, Deserialize)]
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
    pub(super) fn check(&self, problems: &mut Problems) {
        let is_path = self.path.starts_with('/') && self.path.parse::<PathAndQuery>().is_ok();
        problems.ensure(is_path, "path", "write a path such as /health/ready");
        problems.ensure(self.interval >= Duration::millis(10), "interval", "must be at least 10ms");
        problems.ensure(!self.timeout.is_zero(), "timeout", "must be more than 0");
    }
}
