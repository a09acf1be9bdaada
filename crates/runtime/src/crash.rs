//! Points at which a test lets the process die, to prove that nothing is lost.

/// Kills this process at once (`SIGKILL`) when `SHOP_CRASH_AT` is `name`, or `name:N` for the N-th time it is reached.
/// Empty without the cargo feature `crash-points`.
#[inline]
pub fn crash_point(_name: &str) {}
