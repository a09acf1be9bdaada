//! How quick a backend has been lately: a moving average that jumps to every peak and forgets within seconds (the
//! "peak EWMA" of Finagle).

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// After this long without news, about a third of a peak is left.
const MEMORY: Duration = Duration::from_secs(10);
/// After this long nothing is known any more: what is left of an average, a twentieth, would make whoever was quiet the quickest.
const FORGOTTEN: Duration = Duration::from_secs(30);
/// What a failure counts as, however quick it was: a backend that refuses at once must not look like the fastest.
const FAILURE: Duration = Duration::from_secs(5);

/// The average of one backend.
#[derive(Debug, Default)]
pub struct PeakEwma(Mutex<Option<State>>);

#[derive(Debug)]
struct State {
    seconds: f64,
    at: Instant,
}

impl PeakEwma {
    /// A call took this long to be answered, or failed.
    pub fn observe(&self, took: Duration, success: bool) {
        let took = if success { took } else { took.max(FAILURE) };
        self.observe_at(took.as_secs_f64(), Instant::now());
    }

    fn observe_at(&self, seconds: f64, now: Instant) {
        let mut state = self.0.lock();
        let seconds = match &*state {
            Some(before) if seconds <= before.seconds => {
                let keep = before.decay(now);
                before.seconds * keep + seconds * (1.0 - keep)
            }
            _ => seconds,
        };
        *state = Some(State { seconds, at: now });
    }

    /// The average now, in milliseconds; 0 when nothing is known.
    pub fn millis(&self) -> f64 {
        (self.seconds().unwrap_or_default() * 1e5).round() / 100.0
    }

    /// The average now, in seconds; none when nothing is known, or was forgotten.
    pub fn seconds(&self) -> Option<f64> {
        self.seconds_at(Instant::now())
    }

    fn seconds_at(&self, now: Instant) -> Option<f64> {
        let state = self.0.lock();
        let state = state.as_ref().filter(|state| now.saturating_duration_since(state.at) < FORGOTTEN)?;
        // Without traffic the average fades too, so that a backend that was slow once gets another chance.
        Some(state.seconds * state.decay(now))
    }
}

impl State {
    /// The share of the average that is left at `now`.
    fn decay(&self, now: Instant) -> f64 {
        (-now.saturating_duration_since(self.at).as_secs_f64() / MEMORY.as_secs_f64()).exp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peak_counts_at_once_and_fades_until_it_is_forgotten() {
        let begun = Instant::now();
        let after = |seconds| begun + Duration::from_secs(seconds);
        let average = PeakEwma::default();
        assert_eq!((average.seconds_at(begun), average.millis()), (None, 0.0), "nothing is known");
        average.observe_at(0.010, begun);
        average.observe_at(1.0, begun);
        assert!(average.seconds_at(begun).is_some_and(|seconds| (seconds - 1.0).abs() < 1e-9));
        average.observe_at(0.010, after(10));
        let faded = average.seconds_at(after(10));
        assert!(faded.is_some_and(|faded| (0.3..0.4).contains(&faded)), "{faded:?}");
        assert!(average.seconds_at(after(39)).is_some_and(|seconds| seconds < 0.05));
        assert_eq!(average.seconds_at(after(40)), None);
    }

    #[test]
    fn what_is_quicker_is_taken_in_by_as_much_as_was_forgotten_meanwhile() {
        let begun = Instant::now();
        let average = PeakEwma::default();
        average.observe_at(1.0, begun);
        average.observe_at(0.5, begun + MEMORY);
        let keep = (-1.0_f64).exp();
        let seconds = average.seconds_at(begun + MEMORY).expect("just now");
        assert!((seconds - (keep + 0.5 * (1.0 - keep))).abs() < 1e-9, "{seconds}");
    }

    #[test]
    fn failures_are_slow() {
        let average = PeakEwma::default();
        average.observe(Duration::from_millis(1), false);
        assert!(average.seconds().is_some_and(|seconds| seconds > 4.0));
    }
}
