//! The services behind the gateway and their backends, as one generation of settings has them.

pub(crate) mod affinity;
mod authority;
mod backend;
pub(crate) mod check;
mod cluster;
mod matcher;
pub(crate) mod operation;
mod room;
pub(crate) mod routes;
pub(crate) mod trust;

pub(crate) use authority::Authority;
pub(crate) use backend::{Backend, InFlight};
pub(crate) use cluster::{Cluster, Member, Tried};
use room::Room;
pub(crate) use room::{Full, Place};

use std::sync::Arc;

use self::trust::Trust;
use crate::metrics::{Metrics, ServiceMetrics};
use crate::settings::desired::Merged;
use shop_discovery::Protocol;

/// What every part of a generation is built with.
pub(crate) struct Site<'a> {
    pub(crate) merged: &'a Merged,
    /// How many pools each backend needs.
    pub(crate) workers: usize,
    pub(crate) metrics: &'a Metrics,
}

/// One service.
pub(crate) struct Service {
    pub(crate) name: Arc<str>,
    pub(crate) enabled: bool,
    /// How its backends are called over TLS, if any are.
    pub(crate) trust: Option<Arc<Trust>>,
    /// Backends of its HTTP API.
    pub(crate) http: Arc<Cluster>,
    /// Backends of its gRPC API.
    pub(crate) grpc: Arc<Cluster>,
    pub(crate) metrics: Arc<ServiceMetrics>,
}

impl Service {
    /// The service `name` as it is desired; of the `previous` one it keeps all that is the same.
    pub(crate) fn new(
        name: &str,
        settings: &crate::settings::Service,
        site: &Site<'_>,
        previous: Option<&Arc<Self>>,
    ) -> Arc<Self> {
        let label = previous.map_or_else(|| Arc::from(name), |service| Arc::clone(&service.name));
        let trust = Self::trust(&label, settings, previous);
        let tls = trust.as_ref().map(|trust| &trust.tls);
        let cluster =
            |protocol| Cluster::new(&label, protocol, site, tls, previous.map(|service| service.cluster(protocol)));
        Arc::new(Self {
            name: Arc::clone(&label),
            enabled: settings.enabled,
            trust: trust.clone(),
            http: cluster(Protocol::Http),
            grpc: cluster(Protocol::Grpc),
            metrics: previous
                .map_or_else(|| Arc::new(site.metrics.service(name)), |service| Arc::clone(&service.metrics)),
        })
    }

    /// How backends are called over TLS, if any are.
    fn trust(
        label: &Arc<str>,
        settings: &crate::settings::Service,
        previous: Option<&Arc<Self>>,
    ) -> Option<Arc<Trust>> {
        let is_needed = Protocol::ALL.into_iter().any(|of| settings.urls_of(of).0.iter().any(|url| url.tls));
        if !is_needed && settings.tls.is_none() {
            return None;
        }
        let wanted = settings.tls.clone().unwrap_or_default();
        let known = previous.and_then(|service| service.trust.clone()).filter(|trust| trust.is_of(&wanted));
        Some(known.unwrap_or_else(|| Trust::new(format!("the backends of {label}"), &wanted)))
    }

    /// The backends that speak `protocol`.
    pub(crate) fn cluster(&self, protocol: Protocol) -> &Arc<Cluster> {
        match protocol {
            Protocol::Http => &self.http,
            Protocol::Grpc => &self.grpc,
        }
    }

    /// Both clusters.
    pub(crate) fn clusters(&self) -> [&Arc<Cluster>; 2] {
        [&self.http, &self.grpc]
    }

    /// All backends.
    pub(crate) fn backends(&self) -> impl Iterator<Item = &Arc<Backend>> {
        self.members().map(|member| &member.backend)
    }

    /// All backends with what this generation says about them.
    pub(crate) fn members(&self) -> impl Iterator<Item = &Member> {
        self.http.members.iter().chain(&self.grpc.members)
    }
}
