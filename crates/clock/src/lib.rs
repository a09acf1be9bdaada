//! Time and identity as parameters: nothing else in the suite reads the wall clock or makes an id. Chance that only spreads
//! things out is here too.

pub mod chance;

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use time::OffsetDateTime;
use uuid::{NoContext, Timestamp, Uuid};

/// Where the time and new ids come from.
pub trait Clock: Send + Sync {
    /// Now, UTC, whole milliseconds: what is stored and shown compares equal.
    fn now(&self) -> OffsetDateTime;

    /// A new `UUIDv7` (RFC 9562): unique, and sorted by time of making.
    fn new_id(&self) -> Uuid;
}

/// A clock that many share.
pub type SharedClock = Arc<dyn Clock>;

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the wall clock")]
    fn now(&self) -> OffsetDateTime {
        whole_millis(OffsetDateTime::now_utc())
    }

    #[expect(clippy::disallowed_methods, reason = "this is the one place that makes ids")]
    fn new_id(&self) -> Uuid {
        Uuid::now_v7()
    }
}

/// A clock that tests set; starts where it is told and moves only when told.
#[derive(Debug)]
pub struct ManualClock(Mutex<OffsetDateTime>);

impl ManualClock {
    /// A clock standing at `start`.
    pub fn at(start: OffsetDateTime) -> Self {
        Self(Mutex::new(whole_millis(start)))
    }

    /// Moves the clock on.
    pub fn advance(&self, by: Duration) {
        *self.0.lock() += by;
    }
}

impl Clock for ManualClock {
    fn now(&self) -> OffsetDateTime {
        whole_millis(*self.0.lock())
    }

    fn new_id(&self) -> Uuid {
        let now = self.now();
        let seconds = u64::try_from(now.unix_timestamp()).unwrap_or_default();
        Uuid::new_v7(Timestamp::from_unix(NoContext, seconds, now.nanosecond()))
    }
}

fn whole_millis(at: OffsetDateTime) -> OffsetDateTime {
    from_millis(millis(at))
}

/// Milliseconds since the Unix epoch, as the stores keep a time.
pub fn millis(at: OffsetDateTime) -> i64 {
    i64::try_from(at.unix_timestamp_nanos().div_euclid(1_000_000)).unwrap_or(i64::MAX)
}

/// The time of `millis` since the Unix epoch; clamps to the years 1–9999.
pub fn from_millis(millis: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(millis) * 1_000_000).unwrap_or(if millis < 0 {
        OffsetDateTime::UNIX_EPOCH
    } else {
        time::macros::datetime!(9999-12-31 23:59:59.999 UTC)
    })
}

/// RFC 3339 in UTC with milliseconds and `Z`: `2026-01-02T03:04:05.678Z`.
pub fn rfc3339(at: OffsetDateTime) -> String {
    let at = at.to_offset(time::UtcOffset::UTC);
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
        at.year(),
        u8::from(at.month()),
        at.day(),
        at.hour(),
        at.minute(),
        at.second(),
        at.millisecond()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_print_with_three_digits_and_z() {
        let at = time::macros::datetime!(2026-01-02 03:04:05.6789 +02:00);
        assert_eq!(rfc3339(at), "2026-01-02T01:04:05.678Z");
        assert_eq!(from_millis(millis(at)), whole_millis(at));
    }

    #[test]
    fn far_off_times_are_clamped_not_a_panic() {
        assert_eq!(rfc3339(from_millis(i64::MAX)), "9999-12-31T23:59:59.999Z");
        assert_eq!(rfc3339(from_millis(i64::MIN)), "1970-01-01T00:00:00.000Z");
    }

    #[test]
    fn a_manual_clock_moves_only_when_told() {
        let clock = ManualClock::at(time::macros::datetime!(2026-01-01 00:00 UTC));
        let before = clock.now();
        clock.advance(Duration::from_secs(90));
        assert_eq!(clock.now() - before, time::Duration::seconds(90));
        assert_eq!(clock.new_id().get_version_num(), 7);
    }
}
