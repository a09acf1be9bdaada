//! The latest refusals, for people who watch. Counters count all of them; here is what a few of each kind looked like.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use parking_lot::Mutex;
use serde::Serialize;

use crate::message::reason::Reason;

/// Noted of one reason in one second: what a person can read. Under a flood the rest costs one relaxed load each.
const A_SECOND: u64 = 4;
/// Kept of one reason, so that a flood of one kind leaves the others in sight.
const KEPT: usize = 16;
/// The bits of a gate that count; those above are the second.
const COUNT_BITS: u32 = 8;

/// What a request was refused with: nothing of it says who asked, or for what exactly.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Entry {
    /// When, in milliseconds since 1970.
    pub(crate) at: i64,
    pub(crate) service: String,
    pub(crate) route: String,
    pub(crate) reason: &'static str,
    pub(crate) status: u16,
    /// Where it had gone, if it had.
    pub(crate) backend: Option<String>,
}

/// The latest refusals of each reason.
pub(crate) struct Recent {
    begun: Instant,
    lanes: [Lane; Reason::ALL.len()],
}

#[derive(Default)]
struct Lane {
    /// The latest second in which something was noted, and how much.
    gate: AtomicU64,
    entries: Mutex<VecDeque<Entry>>,
}

impl Recent {
    /// None yet.
    pub(crate) fn new(begun: Instant) -> Self {
        Self { begun, lanes: std::array::from_fn(|_| Lane::default()) }
    }

    /// A request was refused `now`; `entry` is made only if it is noted.
    pub(crate) fn note(&self, reason: Reason, now: Instant, entry: impl FnOnce() -> Entry) {
        let Some(lane) = self.lanes.get(reason.index()) else { return };
        let second = (now.saturating_duration_since(self.begun).as_secs() + 1) << COUNT_BITS;
        let room = |gate: u64| match gate.checked_sub(second) {
            Some(count) if count >= A_SECOND => None,
            Some(_) => Some(gate + 1),
            None => Some(second + 1),
        };
        if lane.gate.fetch_update(Relaxed, Relaxed, room).is_err() {
            return;
        }
        let entry = entry();
        let mut entries = lane.entries.lock();
        if entries.len() == KEPT {
            entries.pop_front();
        }
        entries.push_back(entry);
    }

    /// Up to `most` of them, the latest first.
    pub(crate) fn latest(&self, most: usize) -> Vec<Entry> {
        let mut all: Vec<_> = self.lanes.iter().flat_map(|lane| lane.entries.lock().clone()).collect();
        // Of the same millisecond, those of one reason stay in their order.
        all.reverse();
        all.sort_by_key(|entry| std::cmp::Reverse(entry.at));
        all.truncate(most);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn entry(at: i64, reason: Reason) -> Entry {
        Entry {
            at,
            service: "product".to_owned(),
            route: "/".to_owned(),
            reason: reason.word(),
            status: 503,
            backend: None,
        }
    }

    #[test]
    fn a_flood_of_one_kind_is_sampled_and_hides_no_other() {
        let begun = Instant::now();
        let recent = Recent::new(begun);
        recent.note(Reason::BreakerOpen, begun, || entry(0, Reason::BreakerOpen));
        for number in 0..100_000_u32 {
            let now = begun + Duration::from_millis(u64::from(number));
            recent.note(Reason::RateLimited, now, || entry(i64::from(number), Reason::RateLimited));
        }
        let latest = recent.latest(100);
        assert_eq!(latest.len(), KEPT + 1);
        assert_eq!(latest.last().map(|entry| entry.reason), Some("breaker_open"));
        let times: Vec<_> = latest.iter().take(5).map(|entry| entry.at).collect();
        assert_eq!(times, [99_003, 99_002, 99_001, 99_000, 98_003], "the first four of a second, the latest first");
        assert_eq!(recent.latest(3).len(), 3);
    }

    #[test]
    fn what_is_not_noted_is_not_made() {
        let begun = Instant::now();
        let recent = Recent::new(begun);
        let mut made = 0;
        for _ in 0..1000 {
            recent.note(Reason::NoRoute, begun, || {
                made += 1;
                entry(0, Reason::NoRoute)
            });
        }
        assert_eq!(made, A_SECOND);
    }

    #[test]
    fn a_late_one_of_the_second_before_takes_no_room_of_this_one() {
        let begun = Instant::now();
        let recent = Recent::new(begun);
        recent.note(Reason::NoRoute, begun + Duration::from_secs(1), || entry(1000, Reason::NoRoute));
        // Its clock was read before, its turn came after.
        recent.note(Reason::NoRoute, begun, || entry(0, Reason::NoRoute));
        recent.note(Reason::NoRoute, begun + Duration::from_secs(1), || entry(1001, Reason::NoRoute));
        assert!(recent.latest(9).len() >= 2);
    }
}
