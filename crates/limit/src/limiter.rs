//! The limiter as a whole: policies, who calls, and who counts.

use std::sync::Arc;

use governor::clock::DefaultClock;
use shop_http1::Edit;
use shop_telemetry::Span;
use tokio::sync::watch;

use crate::budgets::Budgets;
use crate::call::Call;
use crate::caller::Callers;
use crate::local::LocalCounter;
use crate::policy::{Policy, RoutePolicy};
use crate::rate::Verdict;
use crate::redis::RedisCounter;
use crate::settings::RateLimit;
use crate::{Counting, SharedObserver};

/// The limiter, shared by all threads.
pub struct Limiter {
    callers: Callers,
    /// Those of routes, then that for everything else.
    policies: Vec<(Policy, LocalCounter)>,
    budgets: Budgets,
    /// Who counts, unless this process does by itself.
    redis: Option<RedisCounter>,
}

/// What the limiter says.
#[derive(Debug, Clone, Copy)]
pub struct Ruling {
    /// Whether the call may go on.
    pub verdict: Verdict,
    /// The place of the policy.
    policy: usize,
}

impl Limiter {
    /// A limiter in place of the `previous` one, unless it is switched off. Calls name the policies of `routes` by their places.
    pub fn new(
        settings: &RateLimit,
        routes: &[RoutePolicy],
        observer: SharedObserver,
        previous: Option<&Self>,
    ) -> Option<Self> {
        if let Some(redis) = previous.and_then(|previous| previous.redis.as_ref()) {
            redis.replace();
        }
        if !settings.enabled {
            observer.counting(Counting::Nowhere);
            return None;
        }
        let budgets = Budgets::new(settings.max_clients);
        let clock = DefaultClock::default();
        let counted = |policy: Policy| {
            let counter = LocalCounter::new(policy.rate, &budgets, clock.clone());
            (policy, counter)
        };
        let policies = Policy::all(settings, routes).into_iter().map(counted).collect();
        observer.counting(Counting::Local);
        let redis = (!settings.redis.url.is_empty()).then(|| RedisCounter::new(&settings.redis, observer)).transpose();
        let redis = redis.unwrap_or_else(|error| {
            tracing::error!(%error, "rate_limit.redis.url cannot be used: this process counts clients' calls by itself");
            None
        });
        Some(Self { callers: Callers::new(settings), policies, budgets, redis })
    }

    /// Takes one call off what the client may do, as a part of `request`. None when such calls are not counted.
    pub async fn check(&self, call: &Call<'_>, request: &Span) -> Option<Ruling> {
        let place = self.place(call)?;
        let (policy, counter) = self.policies.get(place)?;
        let key = self.callers.of(call).below(policy.number);
        let verdict = match &self.redis {
            None => counter.check(key),
            // Boxed: without Redis, calls shall not carry the room for it.
            Some(redis) => Box::pin(redis.check(policy, counter, key, request)).await,
        };
        Some(Ruling { verdict, policy: place })
    }

    /// Tells the client of a `ruling` of this limiter, with `RateLimit-Policy` and `RateLimit`.
    pub fn tell(&self, ruling: &Ruling, headers: &mut impl Edit) {
        if let Some((policy, _)) = self.policies.get(ruling.policy) {
            policy.tell(ruling.verdict, headers);
        }
    }

    /// Which policy such a call falls under, as clients are told it, and whose budget it costs. Nothing is counted. None
    /// when such calls are not.
    pub fn explain(&self, call: &Call<'_>) -> Option<(String, String)> {
        let (policy, _) = self.policies.get(self.place(call)?)?;
        Some((policy.words(), self.callers.of(call).to_string()))
    }

    /// Where what counts such a call is, if anything does.
    fn place(&self, call: &Call<'_>) -> Option<usize> {
        let last = self.policies.len().checked_sub(1)?;
        let place = call.policy.map_or(last, |place| usize::from(place).min(last));
        self.policies.get(place).filter(|(policy, _)| policy.enabled).map(|_| place)
    }

    /// Budgets that are not full, or not yet forgotten. Call it off the data path.
    pub fn clients(&self) -> usize {
        self.budgets.len()
    }

    /// Forgets clients whose budget is full again, and reads files again that changed. Call it off the data path.
    pub fn refresh(&self) {
        // The last counter began last: by its time no other's budget is forgotten too early.
        if let Some((_, counter)) = self.policies.last() {
            self.budgets.forget_full(counter.now());
        }
        self.callers.refresh();
    }
}

/// Keeps connected to Redis, whichever limiter is the `current` one, until dropped. `changes` tells when it may be another.
pub async fn run<T>(mut changes: watch::Receiver<T>, current: impl Fn() -> Option<Arc<Limiter>>) {
    loop {
        changes.mark_unchanged();
        let limiter = current();
        let keep = async {
            match limiter.as_deref().and_then(|limiter: &Limiter| limiter.redis.as_ref()) {
                Some(redis) => redis.keep().await,
                None => std::future::pending().await,
            }
        };
        let replaced = async {
            let is_same =
                |now: Option<Arc<Limiter>>| now.as_ref().map(Arc::as_ptr) == limiter.as_ref().map(Arc::as_ptr);
            loop {
                if changes.changed().await.is_err() {
                    // Nobody is left to replace it.
                    return std::future::pending().await;
                }
                if !is_same(current()) {
                    return;
                }
            }
        };
        tokio::select! {
            () = keep => {}
            () = replaced => {}
        }
    }
}

#[cfg(test)]
mod tests;
