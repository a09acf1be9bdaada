//! How many retries a service may cost: a share of its calls, so that an outage is not multiplied.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::settings::Retries;

/// Calls and retries are forgotten over this time; as in Finagle.
const MEMORY: Duration = Duration::from_secs(10);

/// The budget of one service. A call costs one addition; all else is done when a retry is wanted, which is rare.
#[derive(Debug)]
pub struct RetryBudget {
    share: f64,
    least: f64,
    calls: AtomicU64,
    state: Mutex<State>,
}

/// Both numbers fade with [`MEMORY`]: at a steady rate they stand at ten seconds' worth.
#[derive(Debug)]
struct State {
    at: Instant,
    seen: u64,
    calls: f64,
    retries: f64,
}

impl RetryBudget {
    /// The budget that `settings` allow.
    pub fn new(settings: &Retries) -> Self {
        Self::new_at(settings, Instant::now())
    }

    fn new_at(settings: &Retries, now: Instant) -> Self {
        Self {
            share: f64::from(settings.budget_percent) / 100.0,
            least: f64::from(settings.least_per_second) * MEMORY.as_secs_f64(),
            calls: AtomicU64::new(0),
            state: Mutex::new(State { at: now, seen: 0, calls: 0.0, retries: 0.0 }),
        }
    }

    /// One more call.
    #[inline]
    pub fn call(&self) {
        self.calls.fetch_add(1, Relaxed);
    }

    /// Room for one more retry, if there is any; given back unless it is [spent](Reservation::spend).
    pub fn reserve(&self) -> Option<Reservation<'_>> {
        self.take_at(Instant::now()).then(|| Reservation(self))
    }

    fn take_at(&self, now: Instant) -> bool {
        let mut state = self.state.lock();
        state.advance(now, self.calls.load(Relaxed));
        let allowed = (self.share * state.calls).max(self.least);
        let granted = state.retries + 1.0 <= allowed;
        if granted {
            state.retries += 1.0;
        }
        granted
    }
}

/// Room for one retry.
#[derive(Debug)]
#[must_use = "what is not spent is given back"]
pub struct Reservation<'a>(&'a RetryBudget);

impl Reservation<'_> {
    /// The retry goes out.
    pub fn spend(self) {
        std::mem::forget(self);
    }
}

impl Drop for Reservation<'_> {
    /// No call went out, and none was paid for.
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.retries = (state.retries - 1.0).max(0.0);
    }
}

impl State {
    /// Fades what was, and adds the calls since, as if they had come evenly.
    fn advance(&mut self, now: Instant, calls: u64) {
        let passed = now.saturating_duration_since(self.at).as_secs_f64() / MEMORY.as_secs_f64();
        let keep = (-passed).exp();
        let new = f64::from(u32::try_from(calls.saturating_sub(self.seen)).unwrap_or(u32::MAX));
        let left_of_new = if passed > 0.0 { (1.0 - keep) / passed } else { 1.0 };
        self.calls = self.calls * keep + new * left_of_new;
        self.retries *= keep;
        self.seen = calls;
        self.at = self.at.max(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs `seconds` with so many calls each second, of which every one wants a retry; the retries granted.
    fn outage(budget: &RetryBudget, begun: Instant, seconds: u32, calls: u32) -> u32 {
        let step = |second: u32, call: u32| {
            budget.call();
            let at = f64::from(second) + f64::from(call) / f64::from(calls);
            u32::from(budget.take_at(begun + Duration::from_secs_f64(at)))
        };
        (0..seconds).flat_map(|second| (0..calls).map(move |call| (second, call))).map(|(s, c)| step(s, c)).sum()
    }

    #[test]
    fn a_busy_service_may_retry_a_fifth() {
        let begun = Instant::now();
        let budget = RetryBudget::new_at(&Retries::default(), begun);
        let granted = outage(&budget, begun, 100, 1000);
        let share = f64::from(granted) / 100_000.0;
        assert!((0.19..=0.2).contains(&share), "{share}");
    }

    #[test]
    fn a_quiet_service_may_retry_three_times_a_second() {
        let begun = Instant::now();
        let budget = RetryBudget::new_at(&Retries::default(), begun);
        assert!((0..30).all(|_| budget.take_at(begun)), "ten seconds' worth at once");
        assert!(!budget.take_at(begun));
        let later = begun + Duration::from_millis(1);
        let granted = outage(&budget, later, 100, 10);
        assert!((280..=310).contains(&granted), "{granted} in 100 s of 10 calls each");
    }

    #[test]
    fn what_does_not_go_out_costs_nothing() {
        let budget = RetryBudget::new(&Retries { least_per_second: 1, ..Retries::default() });
        for _ in 0..100 {
            assert!(budget.reserve().is_some());
        }
        let spent = (0..100).filter(|_| budget.reserve().map(Reservation::spend).is_some()).count();
        assert_eq!(spent, 10, "ten seconds' worth");
    }

    #[test]
    fn calls_of_long_ago_pay_for_nothing() {
        let begun = Instant::now();
        let settings = Retries { least_per_second: 0, ..Retries::default() };
        let budget = RetryBudget::new_at(&settings, begun);
        (0..10_000).for_each(|_| budget.call());
        assert!(budget.take_at(begun), "just now");
        assert!(!budget.take_at(begun + Duration::from_secs(200)));
        let quiet = RetryBudget::new_at(&settings, begun);
        assert!(!quiet.take_at(begun), "no calls, no retries");
    }

    #[test]
    fn calls_since_the_last_look_fade_as_if_they_had_come_evenly() {
        let begun = Instant::now();
        let budget = RetryBudget::new_at(&Retries { least_per_second: 0, ..Retries::default() }, begun);
        (0..10_000).for_each(|_| budget.call());
        let granted = (0..10_000).filter(|_| budget.take_at(begun + MEMORY)).count();
        // A fifth of what is left of ten thousand: all but an e-th of them.
        assert_eq!(granted, 1264);
    }
}
