//! How much is allowed, and what is said of one call.

use std::num::NonZeroU32;
use std::time::Duration;

/// What a client may still do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Go on; this many more at once, and all that is allowed at once after this time.
    Allowed {
        /// Calls allowed at this very moment.
        remaining: u32,
        /// When as many are allowed as ever.
        full_in: Duration,
    },
    /// Come back after this time.
    Refused {
        /// Until one more call is allowed.
        retry_after: Duration,
    },
}

/// How much, how fast.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rate {
    /// The time that one call takes to be made good.
    pub(crate) per_call: Duration,
    /// Calls at once.
    pub(crate) burst: NonZeroU32,
}
