//! Passive health: what live traffic tells about a backend.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// A backend that just failed is passed over for this long while another is fit.
const PASS_OVER: Duration = Duration::from_secs(5);

/// How a backend was last seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Seen {
    /// Not tried yet.
    Never = 0,
    /// It answered.
    Up = 1,
    /// It could not be reached, or broke off.
    Down = 2,
}

impl Seen {
    /// The state as health pages name it.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Never => "unknown",
            Self::Up => "up",
            Self::Down => "down",
        }
    }

    const fn from_u8(value: u8) -> Self {
        match value {
            0 => Self::Never,
            1 => Self::Up,
            _ => Self::Down,
        }
    }
}

/// What live traffic tells about a backend.
pub(crate) struct Health {
    begun: Instant,
    seen: AtomicU8,
    /// Milliseconds from `begun`.
    at: AtomicU64,
    error: Mutex<Option<String>>,
}

impl Health {
    /// Nothing was seen yet.
    pub(crate) fn new() -> Self {
        Self { begun: Instant::now(), seen: AtomicU8::new(0), at: AtomicU64::new(0), error: Mutex::new(None) }
    }

    /// Notes what was seen and returns what was seen before.
    pub(crate) fn seen(&self, seen: Seen, error: Option<&str>) -> Seen {
        let now = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        // Every call of every worker comes by: written only when it changes, so that they do not wait for each other.
        if self.at.load(Relaxed) != now {
            self.at.store(now, Relaxed);
        }
        if let Some(error) = error {
            *self.error.lock() = Some(error.to_owned());
        }
        if self.last() == seen {
            return seen;
        }
        Seen::from_u8(self.seen.swap(seen as u8, Relaxed))
    }

    /// How the backend was last seen.
    pub(crate) fn last(&self) -> Seen {
        Seen::from_u8(self.seen.load(Relaxed))
    }

    /// How long ago that was; none when it was never tried.
    pub(crate) fn age(&self) -> Option<Duration> {
        let at = Duration::from_millis(self.at.load(Relaxed));
        (self.last() != Seen::Never).then(|| self.begun.elapsed().saturating_sub(at))
    }

    /// The latest failure, also when it is over.
    pub(crate) fn error(&self) -> Option<String> {
        self.error.lock().clone()
    }

    /// It passed a check: a failure that is no longer held against it is forgotten.
    pub(crate) fn forgive(&self) {
        if self.last() == Seen::Down && self.is_fit() {
            self.seen(Seen::Up, None);
        }
    }

    /// Whether to prefer this backend over one that failed a moment ago.
    pub(crate) fn is_fit(&self) -> bool {
        self.last() != Seen::Down || self.age().is_none_or(|age| age >= PASS_OVER)
    }
}
