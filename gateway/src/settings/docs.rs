//! Settings of the reference.

use serde::{Deserialize, Serialize};
use shop_config::{Duration, Problems};

/// The reference of the whole API, at `/docs` and `/openapi.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Docs {
    /// Off: both paths are none of the gateway's.
    pub enabled: bool,
    /// Where each service has a description of its own, an OpenAPI 3.1 document in JSON.
    pub path: String,
    /// How long all services together may take to tell; they answer from memory, so who takes longer is in trouble.
    pub timeout: Duration,
    /// How long what they told is believed. A description changes with a release only; a minute is soon enough for that.
    pub max_age: Duration,
}

impl Default for Docs {
    fn default() -> Self {
        Self {
            enabled: true,
            path: "/openapi.json".to_owned(),
            timeout: Duration::secs(2),
            max_age: Duration::secs(60),
        }
    }
}

impl Docs {
    pub(super) fn check(&self, problems: &mut Problems) {
        let is_path = self.path.starts_with('/') && self.path.parse::<http::uri::PathAndQuery>().is_ok();
        problems.ensure(is_path, "path", "must be a path such as /openapi.json");
        problems.ensure(!self.timeout.is_zero(), "timeout", "must be more than 0");
        problems.ensure(!self.max_age.is_zero(), "max_age", "must be more than 0");
    }
}
