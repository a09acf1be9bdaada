//! Chance that is even enough to spread load and probes; nothing secret hangs on it.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// A place below `count`; 0 when there is none.
pub(crate) fn below(count: usize) -> usize {
    // Fresh keys each time: good enough here, and no further dependency.
    usize::try_from(RandomState::new().hash_one(0)).unwrap_or_default().checked_rem(count).unwrap_or_default()
}

/// From 0 to 1.
pub(crate) fn fraction() -> f64 {
    f64::from(u32::try_from(RandomState::new().hash_one(0) >> 32).unwrap_or_default()) / f64::from(u32::MAX)
}

/// `length`, up to a tenth more or less: what many gateways do regularly does not come in step.
pub(crate) fn around(length: Duration) -> Duration {
    length.mul_f64(0.9 + 0.2 * fraction())
}
