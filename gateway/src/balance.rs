//! Which backend takes the next call: the balancer and what it goes by, breakers, and how much may be tried again.

pub(crate) mod balancer;
pub(crate) mod breaker;
pub(crate) mod health;
pub(crate) mod latency;
pub(crate) mod outcome;
pub(crate) mod ramp;
pub(crate) mod record;
pub(crate) mod retry_budget;
pub(crate) mod rotation;
pub(crate) mod settings;
