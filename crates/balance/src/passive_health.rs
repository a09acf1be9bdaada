//! Passive health: what live traffic tells about a backend.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// A backend that just failed is passed over for this long while another is fit.
const PASS_OVER: Duration = Duration::from_secs(5);

/// How a backend was last seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Seen {
    /// Not tried yet.
    Never = 0,
    /// It answered.
    Up = 1,
    /// It could not be reached, or broke off.
    Down = 2,
}

impl Seen {
    /// The state in a word.
    pub const fn word(self) -> &'static str {
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
#[derive(Debug)]
pub struct PassiveHealth {
    begun: Instant,
    seen: AtomicU8,
    /// Milliseconds from `begun`.
    at: AtomicU64,
    error: Mutex<Option<String>>,
}

impl Default for PassiveHealth {
    /// Nothing was seen yet.
    fn default() -> Self {
        Self { begun: Instant::now(), seen: AtomicU8::new(0), at: AtomicU64::new(0), error: Mutex::new(None) }
    }
}

impl PassiveHealth {
    /// Notes what was seen and returns what was seen before.
    pub fn note(&self, seen: Seen, error: Option<&str>) -> Seen {
        let now = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        // Every call of every thread comes by: written only when it changes, so that they do not wait for each other.
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
    #[inline]
    pub fn last(&self) -> Seen {
        Seen::from_u8(self.seen.load(Relaxed))
    }

    /// How long ago that was; none when it was never tried.
    pub fn age(&self) -> Option<Duration> {
        let at = Duration::from_millis(self.at.load(Relaxed));
        (self.last() != Seen::Never).then(|| self.begun.elapsed().saturating_sub(at))
    }

    /// The latest failure, also when it is over.
    pub fn error(&self) -> Option<String> {
        self.error.lock().clone()
    }

    /// It passed a check: a failure that is no longer held against it is forgotten.
    pub fn forgive(&self) {
        if self.last() == Seen::Down && self.is_fit() {
            self.note(Seen::Up, None);
        }
    }

    /// Whether to prefer this backend over one that failed a moment ago.
    #[inline]
    pub fn is_fit(&self) -> bool {
        self.last() != Seen::Down || self.age().is_none_or(|age| age >= PASS_OVER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_held_against_it_until_it_answers() {
        let health = PassiveHealth::default();
        assert_eq!((health.last(), health.age(), health.is_fit()), (Seen::Never, None, true));
        assert_eq!(health.note(Seen::Down, Some("refused")), Seen::Never);
        assert!(!health.is_fit() && health.age().is_some());
        health.forgive();
        assert_eq!(health.last(), Seen::Down, "a moment ago is too early");
        assert_eq!(health.note(Seen::Up, None), Seen::Down);
        assert!(health.is_fit());
        assert_eq!(health.error().as_deref(), Some("refused"), "still to be seen");
    }

    #[test]
    fn a_check_forgives_what_was_some_seconds_ago_and_each_word_is_of_its_moment() {
        let begun = Instant::now().checked_sub(PASS_OVER * 2).expect("the machine is older than that");
        let health = PassiveHealth { begun, seen: AtomicU8::new(Seen::Down as u8), ..PassiveHealth::default() };
        assert!(health.is_fit() && health.age().is_some_and(|age| age >= PASS_OVER * 2));
        health.forgive();
        assert_eq!(health.last(), Seen::Up);
        assert!(health.age().is_some_and(|age| age < PASS_OVER), "that was just now");
    }
}
