//! How quick a backend has been lately: a moving average that jumps to every peak and forgets within seconds (the
//! "peak EWMA" of Finagle), times the calls in flight.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// After this long without news, about a third of a peak is left.
const MEMORY: Duration = Duration::from_secs(10);
/// What a failure counts as, however quick it was: a backend that refuses at once must not look like the fastest.
const FAILURE: Duration = Duration::from_secs(5);

/// The average of one backend.
#[derive(Debug)]
pub struct PeakEwma(Mutex<State>);

#[derive(Debug)]
struct State {
    seconds: f64,
    at: Instant,
}

impl Default for PeakEwma {
    /// Nothing is known: as good as the best.
    fn default() -> Self {
        Self(Mutex::new(State { seconds: 0.0, at: Instant::now() }))
    }
}

impl PeakEwma {
    /// A call took this long to be answered, or failed.
    pub fn observe(&self, took: Duration, success: bool) {
        let took = if success { took } else { took.max(FAILURE) };
        self.observe_at(took.as_secs_f64(), Instant::now());
    }

    fn observe_at(&self, seconds: f64, now: Instant) {
        let mut state = self.0.lock();
        if seconds > state.seconds {
            state.seconds = seconds;
        } else {
            let keep = state.decay(now);
            state.seconds = state.seconds * keep + seconds * (1.0 - keep);
        }
        state.at = now;
    }

    /// The average now, in milliseconds.
    pub fn millis(&self) -> f64 {
        let state = self.0.lock();
        (state.seconds * state.decay(Instant::now()) * 1e5).round() / 100.0
    }

    /// What one more call would cost here.
    pub fn load(&self, in_flight: usize) -> f64 {
        self.load_at(in_flight, Instant::now())
    }

    fn load_at(&self, in_flight: usize, now: Instant) -> f64 {
        let state = self.0.lock();
        // Without traffic the average fades too, so that a backend that was slow once gets another chance. A floor of
        // a microsecond lets the calls in flight decide among backends of which nothing is known.
        let seconds = (state.seconds * state.decay(now)).max(1e-6);
        seconds * f64::from(u32::try_from(in_flight).unwrap_or(u32::MAX).saturating_add(1))
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
    fn a_peak_counts_at_once_and_fades() {
        let begun = Instant::now();
        let after = |seconds| begun + Duration::from_secs(seconds);
        let average = PeakEwma::default();
        average.observe_at(0.010, begun);
        average.observe_at(1.0, begun);
        assert!((average.load_at(0, begun) - 1.0).abs() < 1e-9);
        average.observe_at(0.010, after(10));
        let faded = average.load_at(0, after(10));
        assert!((0.3..0.4).contains(&faded), "{faded}");
        assert!(average.load_at(0, after(100)) < 0.001);
    }

    #[test]
    fn calls_in_flight_multiply_and_failures_are_slow() {
        let begun = Instant::now();
        let average = PeakEwma::default();
        assert!(average.load_at(3, begun) > average.load_at(2, begun));
        average.observe(Duration::from_millis(1), false);
        assert!(average.load(0) > 4.0);
    }
}
