//! Which backends of a list take calls, as their health checks see them.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use crate::backend_set::{BackendSet, WIDE};
use crate::health_record::Verdict;

/// Sets of backends in lists of any length.
type Places = BackendSet<WIDE>;

/// What calls read: who takes them first, and who only when nobody else is left.
#[derive(Debug)]
pub struct Availability {
    usable: [AtomicU64; WIDE],
    spare: [AtomicU64; WIDE],
    panics: AtomicBool,
}

/// What follows from the verdicts on all backends of a list.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Plan {
    usable: Places,
    spare: Places,
    /// So many are out that ejections are ignored.
    panics: bool,
}

impl Default for Availability {
    /// Before the first verdict everybody takes calls: a start refuses nothing.
    fn default() -> Self {
        let all = |bits| std::array::from_fn(|_| AtomicU64::new(bits));
        Self { usable: all(u64::MAX), spare: all(0), panics: AtomicBool::new(false) }
    }
}

impl Availability {
    /// Who takes calls, and who does when they all failed, of the first of the list that have room in `WORDS`, at most [`WIDE`].
    #[inline]
    pub fn get<const WORDS: usize>(&self) -> (BackendSet<WORDS>, BackendSet<WORDS>) {
        let read = |words: &[AtomicU64; WIDE]| BackendSet::from_words(|word| words[word].load(Relaxed));
        (read(&self.usable), read(&self.spare))
    }

    /// Works it out anew from what checks say of each; nothing for one that takes no part. Returns whether the panic rule applies
    /// now, when that has changed.
    pub fn update(&self, verdicts: impl Iterator<Item = Option<Verdict>>) -> Option<bool> {
        let plan = plan(verdicts);
        for (kept, new) in [(&self.usable, &plan.usable), (&self.spare, &plan.spare)] {
            kept.iter().zip(new.words()).for_each(|(kept, new)| kept.store(*new, Relaxed));
        }
        (self.panics.swap(plan.panics, Relaxed) != plan.panics).then_some(plan.panics)
    }
}

fn plan(verdicts: impl Iterator<Item = Option<Verdict>>) -> Plan {
    let [mut all, mut healthy, mut unknown, mut silent, mut declining] = [Places::EMPTY; 5];
    for (place, verdict) in verdicts.enumerate() {
        let Some(verdict) = verdict else { continue };
        all.insert(place);
        match verdict {
            Verdict::Healthy => healthy.insert(place),
            Verdict::Unknown => unknown.insert(place),
            Verdict::Silent => silent.insert(place),
            Verdict::Declines => declining.insert(place),
            Verdict::Never => {}
        }
    }
    if healthy.is_empty() {
        // Nobody is known to be well. To try is better than to refuse for certain.
        let usable = if unknown.is_empty() { all } else { unknown };
        return Plan { usable, spare: all.without(usable), panics: unknown.is_empty() && !all.is_empty() };
    }
    let out = all.without(healthy | unknown);
    let panics = !silent.is_empty() && 2 * out.len() >= all.len();
    // A backend's own word is kept even then: who drains must be left alone as long as another is well. And who was
    // never well has nothing to return to.
    let usable = if panics { healthy | silent } else { healthy };
    Plan { usable, spare: (silent | declining).without(usable), panics }
}

#[cfg(test)]
mod tests {
    use super::Verdict::{Declines as D, Healthy as H, Never as N, Silent as S, Unknown as U};
    use super::*;

    fn places(bits: u64) -> Places {
        BackendSet::from_words(|word| if word == 0 { bits } else { 0 })
    }

    #[test]
    fn verdicts_decide_who_takes_calls() {
        let table: [(&[Verdict], u64, u64, bool); 14] = [
            (&[], 0, 0, false),
            (&[U, U], 0b11, 0, false),
            (&[H, H, H], 0b111, 0, false),
            // Whoever was never seen well waits while another is.
            (&[U, H], 0b10, 0, false),
            (&[N, H, H], 0b110, 0, false),
            (&[N, H], 0b10, 0, false),
            (&[N, U], 0b10, 0b01, false),
            // One of three is out; it is still better than nothing.
            (&[H, S, H], 0b101, 0b010, false),
            (&[H, D, H], 0b101, 0b010, false),
            // Half or more are out: silence is ignored, a backend's own word is not.
            (&[H, S], 0b11, 0, true),
            (&[H, D], 0b01, 0b10, false),
            (&[H, S, D, N], 0b0011, 0b0100, true),
            // All are out.
            (&[S, D, N], 0b111, 0, true),
            (&[N], 0b1, 0, true),
        ];
        for (verdicts, usable, spare, panics) in table {
            let expected = Plan { usable: places(usable), spare: places(spare), panics };
            assert_eq!(plan(verdicts.iter().copied().map(Some)), expected, "{verdicts:?}");
        }
    }

    #[test]
    fn who_takes_no_part_is_not_counted() {
        let half_out = [Some(H), Some(H), Some(S), None].into_iter();
        assert_eq!(plan(half_out), Plan { usable: places(0b0011), spare: places(0b0100), panics: false });
        assert_eq!(plan([None, Some(S)].into_iter()), Plan { usable: places(0b10), spare: places(0), panics: true });
        assert_eq!(plan([None, None].into_iter()), Plan::default());
    }

    #[test]
    fn a_change_of_the_panic_rule_is_told_once() {
        let availability = Availability::default();
        assert_eq!(availability.update([H, H].into_iter().map(Some)), None);
        assert_eq!(availability.update([H, S].into_iter().map(Some)), Some(true));
        assert_eq!(availability.update([S, S].into_iter().map(Some)), None);
        assert_eq!(availability.update([H, H].into_iter().map(Some)), Some(false));
        assert_eq!(availability.get(), (places(0b11), Places::EMPTY));
    }

    #[test]
    fn verdicts_reach_the_end_of_a_long_list() {
        let availability = Availability::default();
        availability.update((0..200).map(|place| Some(if place == 150 { S } else { H })));
        let (usable, spare) = availability.get::<4>();
        assert_eq!((usable.len(), usable.has(150)), (199, false));
        assert_eq!(spare, BackendSet::one(150));
        assert_eq!(availability.get::<1>(), (BackendSet::first(64), BackendSet::EMPTY));
    }
}
