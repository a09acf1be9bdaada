//! Counting in this process: GCRA by governor.

use std::convert::Infallible;
use std::time::Duration;

use governor::clock::{Clock, DefaultClock, Reference};
use governor::middleware::StateInformationMiddleware;
use governor::nanos::Nanos;
use governor::state::StateStore;
use governor::{Quota, RateLimiter};

use crate::budgets::Budgets;
use crate::key::Key;
use crate::rate::{Rate, Verdict};

/// The calls of one policy.
pub(crate) struct LocalCounter<C: Clock = DefaultClock> {
    limiter: RateLimiter<Key, Budgets, C, StateInformationMiddleware>,
    budgets: Budgets,
    burst: u32,
    begun: C::Instant,
}

impl<C: Clock> LocalCounter<C> {
    /// Counts in `budgets`.
    pub(crate) fn new(rate: Rate, budgets: &Budgets, clock: C) -> Self {
        let quota = Quota::with_period(rate.per_call).unwrap_or_else(|| Quota::per_second(rate.burst));
        let begun = clock.now();
        let limiter = RateLimiter::new(quota.allow_burst(rate.burst), budgets.clone(), clock);
        Self { limiter, budgets: budgets.clone(), burst: rate.burst.get(), begun }
    }

    /// Takes one call off what `key` may do.
    pub(crate) fn check(&self, key: Key) -> Verdict {
        match self.limiter.check_key(&key) {
            Ok(state) => {
                let remaining = state.remaining_burst_capacity();
                let missing = self.burst.saturating_sub(remaining);
                Verdict::Allowed { remaining, full_in: state.quota().replenish_interval() * missing }
            }
            Err(wait) => Verdict::Refused { retry_after: wait.wait_time_from(self.limiter.clock().now()) },
        }
    }

    /// Takes the word of others that the budget of `key` is full no earlier than in this time.
    pub(crate) fn learn(&self, key: Key, full_in: Duration) {
        let full_at = self.now() + full_in;
        let later = |known: Option<Nanos>| Ok::<_, Infallible>(((), known.map_or(full_at, |known| known.max(full_at))));
        let Ok(()) = self.budgets.measure_and_replace(&key, later);
    }

    /// The time on the scale of [`Budgets`].
    pub(crate) fn now(&self) -> Nanos {
        self.limiter.clock().now().duration_since(self.begun)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::num::NonZeroU32;

    use governor::clock::FakeRelativeClock;
    use proptest::prelude::*;

    use super::*;
    use crate::model::{Bucket, Step, steps};

    fn cases() -> impl Strategy<Value = (u64, u32, Vec<Step>)> {
        (2_u64..10_000_000_000, 1_u32..20).prop_flat_map(|(token, burst)| (Just(token), Just(burst), steps(token)))
    }

    proptest! {
        #[test]
        fn every_verdict_is_that_of_a_bucket((token, burst, steps) in cases()) {
            let clock = FakeRelativeClock::default();
            let budgets = Budgets::new(1000);
            let per_call = Duration::from_nanos(token);
            let rate = Rate { per_call, burst: NonZeroU32::new(burst).expect("not zero") };
            let counter = LocalCounter::new(rate, &budgets, clock.clone());
            let mut buckets = [(); 4].map(|()| Bucket::new(token, burst));
            let mut now = 0;
            for step in steps {
                match step {
                    Step::Wait(nanos) => {
                        clock.advance(Duration::from_nanos(nanos));
                        now += u128::from(nanos);
                    }
                    Step::Forget => budgets.forget_full(counter.now()),
                    Step::Call { client, times } => {
                        let key = Key::of_address(Ipv4Addr::new(10, 0, 0, client).into());
                        for _ in 0..times {
                            let expected = match buckets[usize::from(client)].take(now) {
                                Ok(left) => {
                                    let remaining = u32::try_from(left).expect("fits");
                                    Verdict::Allowed { remaining, full_in: per_call * (burst - remaining) }
                                }
                                Err(missing) => {
                                    let missing = u64::try_from(missing).expect("fits");
                                    Verdict::Refused { retry_after: Duration::from_nanos(missing) }
                                }
                            };
                            prop_assert_eq!(counter.check(key), expected);
                        }
                    }
                }
            }
        }
    }
    #[test]
    fn what_others_counted_is_taken_over_and_never_in_a_clients_favour() {
        let (clock, budgets) = (FakeRelativeClock::default(), Budgets::new(1000));
        let per_call = Duration::from_secs(10);
        let rate = Rate { per_call, burst: NonZeroU32::new(3).expect("not zero") };
        let counter = LocalCounter::new(rate, &budgets, clock.clone());
        let key = Key::of_address(Ipv4Addr::LOCALHOST.into());
        clock.advance(Duration::from_secs(100));
        counter.learn(key, per_call * 2);
        assert_eq!(counter.check(key), Verdict::Allowed { remaining: 0, full_in: per_call * 3 });
        counter.learn(key, per_call);
        assert_eq!(counter.check(key), Verdict::Refused { retry_after: per_call });
    }
}
