//! One generation of everything that settings decide. A request works with one from beginning to end; a change makes a
//! new one beside it and swaps.

use std::sync::Arc;
use std::time::Duration;

use crate::metrics::Metrics;
use crate::routing::routes::Table;
use crate::routing::{Backend, Service, Site};
use crate::settings::Config;
use crate::settings::desired::Merged;
use crate::state::guard::Guard;
use shop_browser::{Cors, Csrf, SecurityHeaders};
use shop_discovery::Protocol;
use shop_identity::Identity;
use shop_limit::Limiter;

/// One generation.
pub(crate) struct Generation {
    /// Counts generations, from 1.
    pub(crate) revision: u64,
    pub(crate) config: Arc<Config>,
    pub(crate) table: Arc<Table>,
    pub(crate) limiter: Option<Arc<Limiter>>,
    pub(crate) security: Option<SecurityHeaders>,
    pub(crate) cors: Option<Cors>,
    pub(crate) csrf: Option<Csrf>,
    /// Whose tokens are good.
    pub(crate) identity: Identity,
    /// Who may call the admin API.
    pub(crate) guard: Guard,
}

impl Generation {
    /// The generation after the `previous` one, if there is one. What both want alike goes on: backends with their connections,
    /// breakers and health, the limiter with what clients have used, counters.
    pub(crate) fn new(previous: Option<&Self>, site: &Site<'_>, identity: Identity) -> Self {
        let config = site.merged.config.clone();
        let table = Table::new(site, previous.map(|previous| &*previous.table));
        let same_limits = previous.filter(|previous| {
            previous.config.rate_limit == config.rate_limit && previous.table.limits == table.limits
        });
        let generation = Self {
            revision: previous.map_or(1, |previous| previous.revision + 1),
            limiter: if let Some(previous) = same_limits {
                previous.limiter.clone()
            } else {
                let previous = previous.and_then(|previous| previous.limiter.as_deref());
                Limiter::new(&config.rate_limit, &table.limits, site.metrics.limiter(), previous).map(Arc::new)
            },
            table: Arc::new(table),
            security: SecurityHeaders::new(&config.security_headers),
            cors: Cors::new(&config.cors),
            csrf: Csrf::new(&config.csrf),
            guard: Guard::new(&config.admin, &identity),
            identity,
            config,
        };
        let services = generation.table.services.iter();
        services.flat_map(|service| service.clusters()).for_each(|cluster| cluster.forget_checks());
        generation
    }

    /// Whether it has the backends of `merged`, each as it is desired there.
    pub(crate) fn is_made_of(&self, merged: &Merged) -> bool {
        self.table.services.iter().all(|service| {
            Protocol::ALL.into_iter().all(|of| service.cluster(of).specs() == merged.specs(&service.name, of))
        })
    }

    /// All backends.
    pub(crate) fn backends(&self) -> impl Iterator<Item = &Arc<Backend>> {
        self.table.services.iter().flat_map(|service| service.backends())
    }

    /// Closes connections of `worker` to those who are called that are unused for longer than `idle`.
    pub(crate) fn sweep(&self, worker: usize, idle: Duration) {
        self.backends().for_each(|backend| backend.endpoint.sweep(worker, idle));
        self.table.authorities.iter().for_each(|authority| authority.endpoint.sweep(worker, idle));
    }

    /// Lets go of the backends, and the servers that are asked, that `next` does not have, with their connections and their numbers.
    pub(crate) fn retire(&self, next: &Self, metrics: &Metrics) {
        for service in &self.table.services {
            let stays = |backend: &Arc<Backend>| next.backends().any(|other| Arc::ptr_eq(other, backend));
            for backend in service.backends().filter(|backend| !stays(backend)) {
                backend.endpoint.retire();
                // The same address may stay as a backend of the other protocol; numbers go by address.
                let namesake = |other: &Service| {
                    other.name == service.name && other.backends().any(|other| other.label() == backend.label())
                };
                if !next.table.services.iter().any(|other| namesake(other)) {
                    metrics.forget_backend(&service.name, backend.label());
                }
            }
        }
        for authority in &self.table.authorities {
            let endpoint = &authority.endpoint;
            if !next.table.authorities.iter().any(|other| Arc::ptr_eq(other, authority)) {
                endpoint.retire();
            }
            // Called by other settings it is another, with the same numbers.
            if !next.table.authorities.iter().any(|other| other.endpoint.label() == endpoint.label()) {
                metrics.forget_authority(endpoint.label());
            }
        }
    }
}
