//! Which backends of a list take calls, as their health checks see them. One bit per backend; lists are at most [`MOST`] long.

use std::ops::{BitAnd, BitOr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use crate::health_record::Verdict;

/// Longest list.
pub const MOST: usize = u64::BITS as usize;

/// Some of the backends of a list, by their places in it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BackendSet(u64);

impl BackendSet {
    /// None.
    pub const EMPTY: Self = Self(0);

    /// The first `count` places, at most [`MOST`].
    #[inline]
    pub const fn first(count: usize) -> Self {
        if count >= MOST { Self(u64::MAX) } else { Self((1 << count) - 1) }
    }

    /// One place; none beyond [`MOST`].
    #[inline]
    pub const fn one(place: usize) -> Self {
        if place < MOST { Self(1 << place) } else { Self(0) }
    }

    /// Whether it is none.
    #[inline]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// How many.
    #[inline]
    pub const fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// Whether the backend at `place` is one of them.
    #[inline]
    pub const fn has(self, place: usize) -> bool {
        self.0 & Self::one(place).0 != 0
    }

    /// Adds the backend at `place`.
    #[inline]
    pub const fn insert(&mut self, place: usize) {
        self.0 |= Self::one(place).0;
    }

    /// Takes out the backend at `place`.
    #[inline]
    pub const fn remove(&mut self, place: usize) {
        self.0 &= !Self::one(place).0;
    }

    /// Those that are not among `others`.
    #[inline]
    #[must_use]
    pub const fn without(self, others: Self) -> Self {
        Self(self.0 & !others.0)
    }

    /// The place of the `n`-th, from 0; [`MOST`] when there is none.
    #[inline]
    pub const fn nth(self, mut n: usize) -> usize {
        let mut left = self.0;
        while n > 0 {
            left &= left.wrapping_sub(1);
            n -= 1;
        }
        left.trailing_zeros() as usize
    }

    /// Their places, the lowest first.
    pub fn iter(self) -> impl Iterator<Item = usize> {
        (0..MOST).filter(move |place| self.has(*place))
    }
}

impl BitAnd for BackendSet {
    type Output = Self;

    #[inline]
    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl BitOr for BackendSet {
    type Output = Self;

    #[inline]
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl FromIterator<usize> for BackendSet {
    fn from_iter<I: IntoIterator<Item = usize>>(places: I) -> Self {
        places.into_iter().fold(Self::EMPTY, |all, place| all | Self::one(place))
    }
}

/// What calls read: who takes them first, and who only when nobody else is left.
#[derive(Debug)]
pub struct Availability {
    usable: AtomicU64,
    spare: AtomicU64,
    panics: AtomicBool,
}

/// What follows from the verdicts on all backends of a list.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Plan {
    usable: BackendSet,
    spare: BackendSet,
    /// So many are out that ejections are ignored.
    panics: bool,
}

impl Default for Availability {
    /// Before the first verdict everybody takes calls: a start refuses nothing.
    fn default() -> Self {
        Self { usable: AtomicU64::new(u64::MAX), spare: AtomicU64::new(0), panics: AtomicBool::new(false) }
    }
}

impl Availability {
    /// Who takes calls, and who does when they all failed.
    #[inline]
    pub fn get(&self) -> (BackendSet, BackendSet) {
        (BackendSet(self.usable.load(Relaxed)), BackendSet(self.spare.load(Relaxed)))
    }

    /// Works it out anew from what checks say of each; nothing for one that takes no part. Returns whether the panic rule applies
    /// now, when that has changed.
    pub fn update(&self, verdicts: impl Iterator<Item = Option<Verdict>>) -> Option<bool> {
        let plan = plan(verdicts);
        self.usable.store(plan.usable.0, Relaxed);
        self.spare.store(plan.spare.0, Relaxed);
        (self.panics.swap(plan.panics, Relaxed) != plan.panics).then_some(plan.panics)
    }
}

fn plan(verdicts: impl Iterator<Item = Option<Verdict>>) -> Plan {
    let [mut all, mut healthy, mut unknown, mut silent, mut declining] = [BackendSet::EMPTY; 5];
    for (place, verdict) in verdicts.take(MOST).enumerate() {
        let Some(verdict) = verdict else { continue };
        let one = BackendSet::one(place);
        all = all | one;
        match verdict {
            Verdict::Healthy => healthy = healthy | one,
            Verdict::Unknown => unknown = unknown | one,
            Verdict::Silent => silent = silent | one,
            Verdict::Declines => declining = declining | one,
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
            let expected = Plan { usable: BackendSet(usable), spare: BackendSet(spare), panics };
            assert_eq!(plan(verdicts.iter().copied().map(Some)), expected, "{verdicts:?}");
        }
    }

    #[test]
    fn who_takes_no_part_is_not_counted() {
        let half_out = [Some(H), Some(H), Some(S), None].into_iter();
        assert_eq!(plan(half_out), Plan { usable: BackendSet(0b0011), spare: BackendSet(0b0100), panics: false });
        assert_eq!(
            plan([None, Some(S)].into_iter()),
            Plan { usable: BackendSet(0b10), spare: BackendSet(0), panics: true }
        );
        assert_eq!(plan([None, None].into_iter()), Plan::default());
    }

    #[test]
    fn a_change_of_the_panic_rule_is_told_once() {
        let availability = Availability::default();
        assert_eq!(availability.update([H, H].into_iter().map(Some)), None);
        assert_eq!(availability.update([H, S].into_iter().map(Some)), Some(true));
        assert_eq!(availability.update([S, S].into_iter().map(Some)), None);
        assert_eq!(availability.update([H, H].into_iter().map(Some)), Some(false));
        assert_eq!(availability.get(), (BackendSet(0b11), BackendSet::EMPTY));
    }

    #[test]
    fn places_are_counted_from_the_lowest_bit() {
        let set: BackendSet = [4, 5, 7].into_iter().collect();
        assert_eq!((0..3).map(|n| set.nth(n)).collect::<Vec<_>>(), [4, 5, 7]);
        assert_eq!((set.iter().collect::<Vec<_>>(), set.len()), (vec![4, 5, 7], 3));
        assert!(set.has(5) && !set.has(6) && !set.has(64) && BackendSet::one(64).is_empty());
        assert_eq!((BackendSet::first(64).len(), BackendSet::first(0)), (64, BackendSet::EMPTY));
    }
}
