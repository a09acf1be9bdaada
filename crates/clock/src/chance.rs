//! Chance that is even enough to spread load and probes; nothing secret hangs on it.

use std::time::Duration;

/// A place below `count`; 0 when there is none.
#[inline]
pub fn below(count: usize) -> usize {
    if count == 0 { 0 } else { fastrand::usize(..count) }
}

/// From 0 to 1.
#[inline]
pub fn fraction() -> f64 {
    fastrand::f64()
}

/// `length`, up to a tenth more or less: what many processes do regularly does not come in step.
pub fn around(length: Duration) -> Duration {
    length.mul_f64(0.9 + 0.2 * fraction())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chance_reaches_every_place_and_leaves_none_out() {
        let mut seen = [0; 4];
        (0..4000).for_each(|_| seen[below(4)] += 1);
        assert!(seen.iter().all(|count| *count > 800), "{seen:?}");
        assert_eq!((below(0), below(1)), (0, 0));
    }

    #[test]
    fn around_is_a_tenth_more_or_less() {
        let second = Duration::from_secs(1);
        let all: Vec<_> = (0..1000).map(|_| around(second)).collect();
        assert!(all.iter().all(|length| (0.9..=1.1).contains(&length.as_secs_f64())));
        assert!(all.iter().any(|length| *length < second) && all.iter().any(|length| *length > second));
    }
}
