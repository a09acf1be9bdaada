//! Which backends of a list take calls, as their health checks see them. One bit per backend; lists are at most [`MOST`] long.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use crate::balance::record::Verdict;

/// Places in a list, one bit each.
pub(crate) type Places = u64;

/// Longest list.
pub(crate) const MOST: usize = Places::BITS as usize;

/// What calls read: who takes them first, and who only when nobody else is left.
pub(crate) struct Rotation {
    usable: AtomicU64,
    spare: AtomicU64,
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

impl Rotation {
    /// Before the first verdict everybody takes calls: a start refuses nothing.
    pub(crate) const fn new() -> Self {
        Self { usable: AtomicU64::new(Places::MAX), spare: AtomicU64::new(0), panics: AtomicBool::new(false) }
    }

    /// Who takes calls, and who does when they all failed.
    pub(crate) fn get(&self) -> (Places, Places) {
        (self.usable.load(Relaxed), self.spare.load(Relaxed))
    }

    /// Works it out anew from what checks say of each; nothing for one that takes no part. Returns whether the panic rule applies now, when that has changed.
    pub(crate) fn update(&self, verdicts: impl Iterator<Item = Option<Verdict>>) -> Option<bool> {
        let plan = plan(verdicts);
        self.usable.store(plan.usable, Relaxed);
        self.spare.store(plan.spare, Relaxed);
        (self.panics.swap(plan.panics, Relaxed) != plan.panics).then_some(plan.panics)
    }
}

fn plan(verdicts: impl Iterator<Item = Option<Verdict>>) -> Plan {
    let (mut all, mut healthy, mut unknown, mut silent, mut declining) = (0, 0, 0, 0, 0);
    for (place, verdict) in verdicts.take(MOST).enumerate() {
        let Some(verdict) = verdict else { continue };
        let bit: Places = 1 << place;
        all |= bit;
        match verdict {
            Verdict::Healthy => healthy |= bit,
            Verdict::Unknown => unknown |= bit,
            Verdict::Silent => silent |= bit,
            Verdict::Declines => declining |= bit,
            Verdict::Never => {}
        }
    }
    if healthy == 0 {
        // Nobody is known to be well. To try is better than to refuse for certain.
        let usable = if unknown == 0 { all } else { unknown };
        return Plan { usable, spare: all & !usable, panics: unknown == 0 && all != 0 };
    }
    let out = all & !healthy & !unknown;
    let panics = silent != 0 && 2 * out.count_ones() >= all.count_ones();
    // A backend's own word is kept even then: who drains must be left alone as long as another is well. And who was
    // never well has nothing to return to.
    let usable = if panics { healthy | silent } else { healthy };
    Plan { usable, spare: (silent | declining) & !usable, panics }
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
            assert_eq!(plan(verdicts.iter().copied().map(Some)), Plan { usable, spare, panics }, "{verdicts:?}");
        }
    }

    #[test]
    fn who_takes_no_part_is_not_counted() {
        let half_out = [Some(H), Some(H), Some(S), None].into_iter();
        assert_eq!(plan(half_out), Plan { usable: 0b0011, spare: 0b0100, panics: false });
        assert_eq!(plan([None, Some(S)].into_iter()), Plan { usable: 0b10, spare: 0, panics: true });
        assert_eq!(plan([None, None].into_iter()), Plan::default());
    }

    #[test]
    fn a_change_of_the_panic_rule_is_told_once() {
        let rotation = Rotation::new();
        assert_eq!(rotation.update([H, H].into_iter().map(Some)), None);
        assert_eq!(rotation.update([H, S].into_iter().map(Some)), Some(true));
        assert_eq!(rotation.update([S, S].into_iter().map(Some)), None);
        assert_eq!(rotation.update([H, H].into_iter().map(Some)), Some(false));
        assert_eq!(rotation.get(), (0b11, 0));
    }
}
