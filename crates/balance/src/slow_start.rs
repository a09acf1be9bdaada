//! Slow start: a backend that recovered has cold caches and empty pools, so its share of the calls grows over a while.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use shop_clock::chance;

/// The share it begins with: enough to warm up, little enough to fail unnoticed.
const LEAST: f64 = 0.1;

/// How much of its usual share one backend gets.
#[derive(Debug)]
pub struct SlowStart {
    base: Instant,
    /// Milliseconds.
    window: AtomicU64,
    /// 1 + milliseconds from `base` to the recovery; 0 when nothing is slowed down, which is nearly always.
    recovered: AtomicU64,
}

impl SlowStart {
    /// A full share from the start: who has just begun sees everybody for the first time.
    pub fn new(window: Duration) -> Self {
        let slow_start = Self { base: Instant::now(), window: AtomicU64::new(0), recovered: AtomicU64::new(0) };
        slow_start.set_window(window);
        slow_start
    }

    /// How long the share grows from now on; nothing gives all at once.
    pub fn set_window(&self, window: Duration) {
        self.window.store(u64::try_from(window.as_millis()).unwrap_or(u64::MAX), Relaxed);
    }

    fn window(&self) -> Duration {
        Duration::from_millis(self.window.load(Relaxed))
    }

    /// The backend recovered just now.
    pub fn begin(&self) {
        self.begin_at(Instant::now());
    }

    fn begin_at(&self, now: Instant) {
        if !self.window().is_zero() {
            let since = now.saturating_duration_since(self.base).as_millis();
            self.recovered.store(u64::try_from(since).unwrap_or(u64::MAX).saturating_add(1), Relaxed);
        }
    }

    /// From [`LEAST`] up to 1, in proportion to the time since the recovery.
    #[inline]
    pub fn share(&self) -> f64 {
        // The clock is read only while there is a slow_start.
        if self.recovered.load(Relaxed) == 0 { 1.0 } else { self.share_at(Instant::now()) }
    }

    /// Whether it takes a call that is its turn: always, except now and then while its share grows. Chance decides.
    #[inline]
    pub fn admit(&self) -> bool {
        let share = self.share();
        share >= 1.0 || chance::fraction() < share
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

    fn shares(slow_start: &SlowStart, at: impl IntoIterator<Item = u64>) -> Vec<f64> {
        let round = |share: f64| (share * 100.0).round() / 100.0;
        at.into_iter()
            .map(|seconds| round(slow_start.share_at(slow_start.base + Duration::from_secs(seconds))))
            .collect()
    }

    #[test]
    fn the_share_grows_in_proportion_and_then_stays_whole() {
        let slow_start = SlowStart::new(Duration::from_secs(10));
        assert_eq!(shares(&slow_start, [0, 100]), [1.0, 1.0], "nothing recovered yet");
        slow_start.begin_at(slow_start.base + Duration::from_secs(100));
        assert_eq!(shares(&slow_start, [100, 101, 102, 105, 109, 110, 111]), [0.1, 0.1, 0.2, 0.5, 0.9, 1.0, 1.0]);
        slow_start.begin_at(slow_start.base + Duration::from_secs(200));
        assert_eq!(shares(&slow_start, [200, 205, 300]), [0.1, 0.5, 1.0], "each recovery begins anew");
    }

    #[test]
    fn without_a_window_there_is_no_ramp() {
        let slow_start = SlowStart::new(Duration::ZERO);
        slow_start.begin_at(slow_start.base);
        assert_eq!(shares(&slow_start, [0, 1]), [1.0, 1.0]);
    }
}
