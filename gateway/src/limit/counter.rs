//! Counting in this process: GCRA by governor.

use governor::clock::{Clock, DefaultClock, Reference};
use governor::middleware::StateInformationMiddleware;
use governor::nanos::Nanos;
use governor::{Quota, RateLimiter};

use super::budgets::Budgets;
use super::caller::Key;
use super::policy::{Rate, Verdict};

/// The calls of one policy.
pub(crate) struct Counter<C: Clock = DefaultClock> {
    limiter: RateLimiter<Key, Budgets, C, StateInformationMiddleware>,
    burst: u32,
    begun: C::Instant,
}

impl<C: Clock> Counter<C> {
    /// Counts in `budgets`.
    pub(crate) fn new(rate: Rate, budgets: &Budgets, clock: C) -> Self {
        let quota = Quota::with_period(rate.per_call).unwrap_or_else(|| Quota::per_second(rate.burst));
        let begun = clock.now();
        let limiter = RateLimiter::new(quota.allow_burst(rate.burst), budgets.clone(), clock);
        Self { limiter, burst: rate.burst.get(), begun }
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

    /// The time on the scale of [`Budgets`].
    pub(crate) fn now(&self) -> Nanos {
        self.limiter.clock().now().duration_since(self.begun)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::num::NonZeroU32;
    use std::time::Duration;

    use governor::clock::FakeRelativeClock;
    use proptest::prelude::*;

    use super::*;

    /// The same limit in other words: a bucket that a token's worth of time drips into.
    struct Bucket {
        token: u128,
        size: u128,
        level: u128,
        at: u128,
    }

    impl Bucket {
        fn new(token: u64, tokens: u32) -> Self {
            let token = u128::from(token);
            Self { token, size: token * u128::from(tokens), level: token * u128::from(tokens), at: 0 }
        }

        fn take(&mut self, now: u128) -> Result<u128, u128> {
            self.level = self.size.min(self.level + now - self.at);
            self.at = now;
            if self.level < self.token {
                return Err(self.token - self.level);
            }
            self.level -= self.token;
            Ok(self.level / self.token)
        }
    }

    /// A step of a client, or the housekeeping.
    #[derive(Debug, Clone)]
    enum Step {
        Wait(u64),
        Call { client: u8, times: u8 },
        Forget,
    }

    fn steps(token: u64) -> impl Strategy<Value = Vec<Step>> {
        // Also just before, at and just after the moment that a token is there.
        let edges = [1, token / 2, token - 1, token, token + 1, 3 * token, 100 * token];
        let step = prop_oneof![
            3 => prop::sample::select(edges.to_vec()).prop_map(|wait| Step::Wait(wait.max(1))),
            2 => (1..2 * token).prop_map(Step::Wait),
            6 => (0_u8..4, 1_u8..8).prop_map(|(client, times)| Step::Call { client, times }),
            1 => Just(Step::Forget),
        ];
        prop::collection::vec(step, 0..120)
    }

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
            let counter = Counter::new(rate, &budgets, clock.clone());
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
}
