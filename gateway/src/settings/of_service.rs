//! What a service says of sections that hold for all: value by value, and what it does not say is as it is for all.

use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};
use shop_balance::settings::{CircuitBreaker, HealthCheck, Retries};
use shop_config::{Duration, Problems};

/// More than any machine has descriptors for.
const MOST_REQUESTS: u32 = 1_000_000;

/// How many calls there may be to one service at a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServiceLimits {
    /// Calls whose answers have not ended, over HTTP and over gRPC each; over HTTP/1.1 that is as many connections in use. No
    /// limit by default.
    pub max_requests: Option<NonZeroU32>,
    /// Calls that wait for one of those to end, for `timeouts.connect` at most; beyond, they are refused at once. A hundred: enough
    /// for a rush of a moment, and what waits longer than that has nobody who still wants it.
    pub max_waiting: u32,
}

impl Default for ServiceLimits {
    fn default() -> Self {
        Self { max_requests: None, max_waiting: 100 }
    }
}

impl ServiceLimits {
    /// Finds wrong values.
    pub(super) fn check(&self, problems: &mut Problems) {
        let fits = self.max_requests.is_none_or(|most| most.get() <= MOST_REQUESTS);
        problems.ensure(fits, "max_requests", format!("use at most {MOST_REQUESTS}, or leave it out for no limit"));
    }
}

/// Makes a section of which each value may be missing.
macro_rules! sections {
    ($($(#[doc = $doc:literal])+ $name:ident of $whole:ident as $section:literal { $($field:ident: $type:ty,)+ })+) => {$(
        $(#[doc = $doc])+
        #[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct $name {
            $(#[doc = concat!("Instead of `", $section, ".", stringify!($field), "`.")] pub $field: Option<$type>,)+
        }

        impl $name {
            /// What is meant in the end.
            pub(crate) fn over(&self, all: &$whole) -> $whole {
                $whole { $($field: self.$field.clone().unwrap_or_else(|| all.$field.clone()),)+ }
            }
        }
    )+};
}

sections! {
    /// Keeping calls away from backends of one service that fail.
    ServiceBreaker of CircuitBreaker as "circuit_breaker" {
        enabled: bool,
        max_requests: NonZeroU32,
        interval: Duration,
        timeout: Duration,
    }

    /// Sending a call of one service once more when a backend failed it.
    ServiceRetries of Retries as "retries" {
        enabled: bool,
        attempts: u32,
        budget_percent: u32,
        least_per_second: u32,
        body_limit: usize,
        longest_wait: Duration,
    }

    /// Asking the backends of one service whether they take calls.
    ServiceHealthCheck of HealthCheck as "health_check" {
        enabled: bool,
        path: String,
        interval: Duration,
        timeout: Duration,
        rise: NonZeroU32,
        fall: NonZeroU32,
    }
}
