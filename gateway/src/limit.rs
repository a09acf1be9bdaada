//! How often one client may call: a budget per client and policy.

mod budgets;
mod caller;
mod cluster;
mod counter;
mod file;
#[cfg(test)]
mod model;
mod policy;
pub(crate) mod settings;
mod token;

pub(crate) use cluster::Metrics;
pub(crate) use policy::Verdict;
pub(crate) use token::keys;

use std::net::IpAddr;
use std::sync::Arc;

use governor::clock::DefaultClock;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use shop_telemetry::Span;

use self::budgets::Budgets;
use self::caller::Callers;
use self::cluster::Cluster;
use self::counter::Counter;
use self::policy::Policy;
use crate::limit::settings::RateLimit;
use crate::state::shared::Shared;

/// The limiter, shared by all workers.
pub(crate) struct Limiter {
    callers: Callers,
    /// The most specific first; the last is for everything.
    policies: Vec<(Policy, Counter)>,
    budgets: Budgets,
    /// Who counts, unless this process does by itself.
    cluster: Option<Cluster>,
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
    /// A limiter in place of the `previous` one, unless it is switched off.
    pub(crate) fn new(settings: &RateLimit, metrics: Metrics, previous: Option<&Self>) -> Option<Self> {
        if let Some(cluster) = previous.and_then(|previous| previous.cluster.as_ref()) {
            cluster.replace();
        }
        if !settings.enabled {
            metrics.counts_nowhere();
            return None;
        }
        let budgets = Budgets::new(settings.max_clients);
        let clock = DefaultClock::default();
        let counted = |policy: Policy| {
            let counter = Counter::new(policy.rate, &budgets, clock.clone());
            (policy, counter)
        };
        let policies = Policy::all(settings).into_iter().map(counted).collect();
        metrics.counts_in_redis(false);
        let cluster = (!settings.redis.url.is_empty()).then(|| Cluster::new(&settings.redis, metrics)).transpose();
        let cluster = cluster.unwrap_or_else(|error| {
            tracing::error!(%error, "rate_limit.redis.url cannot be used: this gateway counts clients' calls by itself");
            None
        });
        Some(Self { callers: Callers::new(settings, &budgets), policies, budgets, cluster })
    }

    /// Takes one call off what the client may do, as a part of `request`. None when such calls are not counted.
    pub(crate) async fn check(&self, call: &Call<'_>, request: &Span) -> Option<Ruling> {
        let (policy, counter) = self.policies.iter().find(|(policy, _)| policy.fits(call.method, call.path))?;
        if !policy.enabled {
            return None;
        }
        let key = self.callers.of(call.headers, call.address).below(policy.number);
        let verdict = match &self.cluster {
            None => counter.check(key),
            // Boxed: without Redis, calls shall not carry the room for it.
            Some(cluster) => Box::pin(cluster.check(policy, counter, key, request)).await,
        };
        Some(Ruling { verdict, fields: policy.fields(verdict) })
    }

    /// Which policy such a call falls under, as clients are told it, and whose budget it costs. Nothing is counted. None
    /// when such calls are not.
    pub(crate) fn explain(&self, call: &Call<'_>) -> Option<(String, String)> {
        let (policy, _) = self.policies.iter().find(|(policy, _)| policy.fits(call.method, call.path))?;
        let client = self.callers.of(call.headers, call.address);
        policy.enabled.then(|| (policy.words(), client.to_string()))
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

/// Keeps connected to Redis, whatever generation is in force, until dropped.
pub(crate) async fn run(shared: &Shared) {
    let mut changes = shared.changes();
    loop {
        changes.mark_unchanged();
        let limiter = shared.live().limiter.clone();
        let keep = async {
            match limiter.as_deref().and_then(|limiter: &Limiter| limiter.cluster.as_ref()) {
                Some(cluster) => cluster.keep().await,
                None => std::future::pending().await,
            }
        };
        let replaced = async {
            let is_same = |now: Option<&Arc<Limiter>>| now.map(Arc::as_ptr) == limiter.as_ref().map(Arc::as_ptr);
            // The sender is as old as `shared`.
            while changes.changed().await.is_ok() && is_same(shared.live().limiter.as_ref()) {}
        };
        tokio::select! {
            () = keep => {}
            () = replaced => {}
        }
    }
}

#[cfg(test)]
mod tests;
