//! Slow start: a backend that recovered has cold caches and empty pools, so its share of the calls grows over a while.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// The share it begins with: enough to warm up, little enough to fail unnoticed.
const LEAST: f64 = 0.1;

/// How much of its usual share one backend gets.
pub(crate) struct Ramp {
    base: Instant,
    /// Milliseconds.
    window: AtomicU64,
    /// 1 + milliseconds from `base` to the recovery; 0 when there is nothing to ramp, which is nearly always.
    recovered: AtomicU64,
}

impl Ramp {
    /// A full share from the start: a gateway that has just begun sees everybody for the first time.
    pub(crate) fn new(window: Duration) -> Self {
        let ramp = Self { base: Instant::now(), window: AtomicU64::new(0), recovered: AtomicU64::new(0) };
        ramp.set_window(window);
        ramp
    }

    /// How long the share grows from now on; nothing gives all at once.
    pub(crate) fn set_window(&self, window: Duration) {
        self.window.store(u64::try_from(window.as_millis()).unwrap_or(u64::MAX), Relaxed);
    }

    fn window(&self) -> Duration {
        Duration::from_millis(self.window.load(Relaxed))
    }

    /// The backend recovered just now.
    pub(crate) fn begin(&self) {
        self.begin_at(Instant::now());
    }

    fn begin_at(&self, now: Instant) {
        if !self.window().is_zero() {
            let since = now.saturating_duration_since(self.base).as_millis();
            self.recovered.store(u64::try_from(since).unwrap_or(u64::MAX).saturating_add(1), Relaxed);
        }
    }

    /// From [`LEAST`] up to 1, in proportion to the time since the recovery.
    pub(crate) fn share(&self) -> f64 {
        // The clock is read only while there is a ramp.
        if self.recovered.load(Relaxed) == 0 { 1.0 } else { self.share_at(Instant::now()) }
    }

    fn share_at(&self, now: Instant) -> f64 {
        let recovered = self.recovered.load(Relaxed);
        let Some(since) = recovered.checked_sub(1) else { return 1.0 };
        let elapsed = now.saturating_duration_since(self.base + Duration::from_millis(since));
        let window = self.window();
        if elapsed >= window {
            // Unless it fell and recovered again in between.
            let _ = self.recovered.compare_exchange(recovered, 0, Relaxed, Relaxed);
            return 1.0;
        }
        (elapsed.as_secs_f64() / window.as_secs_f64()).max(LEAST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(ramp: &Ramp, at: impl IntoIterator<Item = u64>) -> Vec<f64> {
        let round = |share: f64| (share * 100.0).round() / 100.0;
        at.into_iter().map(|seconds| round(ramp.share_at(ramp.base + Duration::from_secs(seconds)))).collect()
    }

    #[test]
    fn the_share_grows_in_proportion_and_then_stays_whole() {
        let ramp = Ramp::new(Duration::from_secs(10));
        assert_eq!(shares(&ramp, [0, 100]), [1.0, 1.0], "nothing recovered yet");
        ramp.begin_at(ramp.base + Duration::from_secs(100));
        assert_eq!(shares(&ramp, [100, 101, 102, 105, 109, 110, 111]), [0.1, 0.1, 0.2, 0.5, 0.9, 1.0, 1.0]);
        ramp.begin_at(ramp.base + Duration::from_secs(200));
        assert_eq!(shares(&ramp, [200, 205, 300]), [0.1, 0.5, 1.0], "each recovery begins anew");
    }

    #[test]
    fn without_a_window_there_is_no_ramp() {
        let ramp = Ramp::new(Duration::ZERO);
        ramp.begin_at(ramp.base);
        assert_eq!(shares(&ramp, [0, 1]), [1.0, 1.0]);
    }
}
