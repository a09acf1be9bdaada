//! The settings that a cluster is made of.

use shop_balance::settings::{CircuitBreaker, Hash, HealthCheck, LoadBalancer, OutlierDetection, Retries, Strategy};
use shop_discovery::Protocol;

use crate::settings::backend_spec::BackendSpec;
use crate::settings::desired::Merged;
use crate::settings::{ClientTls, ServiceLimits};

/// The settings that a cluster is made of.
#[derive(PartialEq)]
pub(super) struct MadeOf {
    pub(super) specs: Vec<BackendSpec>,
    /// How calls without a key are shared.
    pub(super) balancer: LoadBalancer,
    /// What is a call's key, if calls have any.
    pub(super) hash: Option<Hash>,
    pub(super) breaker: CircuitBreaker,
    pub(super) retries: Retries,
    pub(super) health_check: HealthCheck,
    pub(super) outliers: OutlierDetection,
    pub(super) limits: ServiceLimits,
    /// How those are called that are called over TLS.
    tls: Option<ClientTls>,
    /// Whether there are places where more may be found.
    pub(super) looked_up: bool,
}

impl MadeOf {
    /// What `merged` wants of the backends of `service` that speak `protocol`.
    pub(super) fn of(merged: &Merged, service: &str, protocol: Protocol) -> Self {
        let config = &merged.config;
        let own = config.services.get(service);
        let mut balancer = config.balancer_of(service);
        let is_hashed = balancer.enabled && balancer.strategy == Strategy::ConsistentHash;
        if is_hashed {
            balancer.strategy = config.load_balancer.strategy;
        }
        Self {
            specs: merged.specs(service, protocol).to_vec(),
            balancer,
            hash: own.and_then(|own| own.hash.clone()).filter(|_| is_hashed),
            breaker: config.breaker_of(service),
            retries: config.retries_of(service),
            health_check: config.health_check_of(service),
            outliers: own.map(|own| own.outlier_detection.clone()).unwrap_or_default(),
            limits: own.map(|own| own.limits.clone()).unwrap_or_default(),
            tls: own.and_then(|own| own.tls.clone()),
            looked_up: own.is_some_and(|own| !own.urls_of(protocol).1.is_empty()),
        }
    }
}
