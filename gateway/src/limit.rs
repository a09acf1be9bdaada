//! How often one client may call: a budget per client and policy.

mod budgets;
mod caller;
mod counter;
mod file;
mod policy;

pub(crate) use policy::Verdict;

use std::net::IpAddr;

use governor::clock::DefaultClock;
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use self::budgets::Budgets;
use self::caller::Callers;
use self::counter::Counter;
use self::policy::Policy;
use crate::config::RateLimit;

/// The limiter, shared by all workers.
pub(crate) struct Limiter {
    callers: Callers,
    /// The most specific first; the last is for everything.
    policies: Vec<(Policy, Counter)>,
    budgets: Budgets,
}

/// What of a request matters.
#[derive(Clone, Copy)]
pub(crate) struct Call<'a> {
    pub(crate) method: &'a Method,
    /// In its normal form.
    pub(crate) path: &'a str,
    pub(crate) headers: &'a HeaderMap,
    /// The client's.
    pub(crate) address: IpAddr,
}

/// What the limiter says, and what the client is told.
pub(crate) struct Ruling {
    pub(crate) verdict: Verdict,
    pub(crate) fields: [(HeaderName, HeaderValue); 2],
}

impl Limiter {
    /// A limiter, unless it is switched off.
    pub(crate) fn new(settings: &RateLimit) -> Option<Self> {
        if !settings.enabled {
            return None;
        }
        let budgets = Budgets::new(settings.max_clients);
        let clock = DefaultClock::default();
        let counted = |policy: Policy| {
            let counter = Counter::new(policy.rate, &budgets, clock.clone());
            (policy, counter)
        };
        let policies = Policy::all(settings).into_iter().map(counted).collect();
        Some(Self { callers: Callers::new(settings), policies, budgets })
    }

    /// Takes one call off what the client may do. None when such calls are not counted.
    pub(crate) fn check(&self, call: &Call<'_>) -> Option<Ruling> {
        let (policy, counter) = self.policies.iter().find(|(policy, _)| policy.fits(call.method, call.path))?;
        if !policy.enabled {
            return None;
        }
        let key = self.callers.of(call.headers, call.address).below(policy.number);
        let verdict = counter.check(key);
        Some(Ruling { verdict, fields: policy.fields(verdict) })
    }

    /// Budgets that are not full, or not yet forgotten. Call it off the data path.
    pub(crate) fn clients(&self) -> usize {
        self.budgets.len()
    }

    /// Forgets clients whose budget is full again, and reads files again that changed. Call it off the data path.
    pub(crate) fn refresh(&self) {
        // The last counter began last: by its time no other's budget is forgotten too early.
        if let Some((_, counter)) = self.policies.last() {
            self.budgets.forget_full(counter.now());
        }
        self.callers.refresh();
    }
}

#[cfg(test)]
mod tests;
