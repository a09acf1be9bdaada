//! The services behind the gateway.

use std::collections::BTreeMap;
use std::ops::{Index, IndexMut};

use serde::{Deserialize, Serialize};
use shop_balance::MOST;
use shop_balance::settings::{Hash, OutlierDetection, Strategy};
use shop_config::Problems;
use shop_discovery::{BackendUrl, Backends, Protocol, SourceUrl};
use shop_tls::ClientTls;

use crate::message::OWN;

use super::Timeouts;
use super::of_service::{ServiceBreaker, ServiceHealthCheck, ServiceLimits, ServiceRetries};

/// The longest name of a service or a route: that of a label in DNS, and of one in Kubernetes.
const LONGEST_NAME: usize = 63;

/// All services by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Services(BTreeMap<String, Service>);

impl Services {
    /// Each service with its name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Service)> {
        self.0.iter().map(|(name, service)| (name.as_str(), service))
    }

    /// The same, to be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&str, &mut Service)> {
        self.0.iter_mut().map(|(name, service)| (name.as_str(), service))
    }

    /// The service of this name.
    pub fn get(&self, name: &str) -> Option<&Service> {
        self.0.get(name)
    }

    /// The service of this name, to be changed.
    pub fn get_mut(&mut self, name: &str) -> Option<&mut Service> {
        self.0.get_mut(name)
    }

    /// Puts a service there, in place of one of that name.
    pub fn insert(&mut self, name: impl Into<String>, service: Service) {
        self.0.insert(name.into(), service);
    }

    /// Takes away all for which `stays` is false.
    pub(crate) fn retain(&mut self, mut stays: impl FnMut(&str) -> bool) {
        self.0.retain(|name, _| stays(name));
    }

    /// Finds wrong values.
    pub(super) fn check(&self, problems: &mut Problems) {
        for (name, service) in self.iter() {
            problems.ensure(is_name(name), name, "is no name for a service: use small letters, digits and dashes");
            problems.ensure(name != OWN, name, "is the name of the gateway itself; choose another");
            problems.within(name, |p| service.check(name, p));
        }
    }

    /// Whether the files that they name can be used.
    pub(super) fn check_files(&self, problems: &mut Problems) {
        for (name, service) in self.iter() {
            let Some(tls) = &service.tls else { continue };
            problems.within(name, |p| p.within("tls", |p| tls.check_files(p)));
        }
    }
}

/// What to do about a service without backends.
pub(super) fn at_least_one(name: &str) -> String {
    format!("name at least one URL, or set services.{name}.enabled = false")
}

/// Whether a service or a route may be called so.
pub(crate) fn is_name(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=LONGEST_NAME).contains(&name.len())
        && name.bytes().all(is_plain)
        && !name.starts_with('-')
        && !name.ends_with('-')
}

impl Index<&str> for Services {
    type Output = Service;

    /// The service of this name, which there is.
    fn index(&self, name: &str) -> &Service {
        &self.0[name]
    }
}

impl IndexMut<&str> for Services {
    /// The service of this name, which is there from now on.
    fn index_mut(&mut self, name: &str) -> &mut Service {
        self.0.entry(name.to_owned()).or_default()
    }
}

/// One service behind the gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Service {
    /// Off: every call is answered 503 `service_disabled`.
    pub enabled: bool,
    /// Where its HTTP API is: `http://host:port` or `https://host:port`, optionally `;weight=N`; or where to look that up, see
    /// [`SourceUrl`].
    ///
    /// [`SourceUrl`]: shop_discovery::SourceUrl
    pub urls: Backends,
    /// Where its gRPC API is.
    pub grpc_urls: Backends,
    /// How its backends are called over TLS. With this section all of them are; without it those that say `https`, by the
    /// authorities that the system trusts.
    pub tls: Option<ClientTls>,
    /// Which backend is next; as `load_balancer.strategy` says when not set.
    pub strategy: Option<Strategy>,
    /// What says which backend a call belongs to, under `consistent_hash`.
    pub hash: Option<Hash>,
    /// When calls are kept away from backends that fail; what is not set is as `circuit_breaker` has it.
    pub circuit_breaker: ServiceBreaker,
    /// When a call goes out once more; what is not set is as `retries` has it.
    pub retries: ServiceRetries,
    /// How backends are asked whether they take calls; what is not set is as `health_check` has it.
    pub health_check: ServiceHealthCheck,
    /// When backends are ejected that do worse than the others.
    pub outlier_detection: OutlierDetection,
    /// How many calls there may be at a time.
    pub limits: ServiceLimits,
    /// How long the gateway waits.
    pub timeouts: Timeouts,
    /// Whether it describes its API at `docs.path`, for the reference of the whole.
    pub described: bool,
}

impl Default for Service {
    fn default() -> Self {
        Self {
            enabled: true,
            urls: Backends::default(),
            grpc_urls: Backends::default(),
            tls: None,
            strategy: None,
            hash: None,
            circuit_breaker: ServiceBreaker::default(),
            retries: ServiceRetries::default(),
            health_check: ServiceHealthCheck::default(),
            outlier_detection: OutlierDetection::default(),
            limits: ServiceLimits::default(),
            timeouts: Timeouts::default(),
            described: false,
        }
    }
}

impl Service {
    pub(crate) fn urls_of_mut(&mut self, protocol: Protocol) -> &mut Backends {
        match protocol {
            Protocol::Http => &mut self.urls,
            Protocol::Grpc => &mut self.grpc_urls,
        }
    }

    /// The backends that speak `protocol`.
    pub(crate) fn urls_of(&self, protocol: Protocol) -> &Backends {
        match protocol {
            Protocol::Http => &self.urls,
            Protocol::Grpc => &self.grpc_urls,
        }
    }

    /// Its backends over TLS and those in cleartext: who is to be called over TLS never is without.
    fn check_tls(&self, problems: &mut Problems) {
        let name = self.tls.as_ref().and_then(|tls| tls.server_name.as_ref());
        for (key, Backends(urls, sources)) in [("urls", &self.urls), ("grpc_urls", &self.grpc_urls)] {
            if self.tls.is_some() {
                for url in urls.iter().filter(|url| !url.tls) {
                    let safe = BackendUrl { tls: true, ..url.clone() };
                    problems.add(key, format!("{url} is in cleartext, and all are called over TLS; write {safe}"));
                }
            }
            let unfit =
                urls.iter().find(|url| url.tls && name.is_none() && url.host.parse::<shop_tls::Name>().is_err());
            if let Some(BackendUrl { host, .. }) = unfit {
                problems.add(key, format!("no certificate can be for {host}; set tls.server_name"));
            }
            let is_nameless = |source: &&SourceUrl| !matches!(source, SourceUrl::File { .. });
            if let Some(source) = sources.iter().find(is_nameless).filter(|_| self.tls.is_some() && name.is_none()) {
                let detail =
                    format!("what {source} finds are addresses; set tls.server_name to whom certificates are for");
                problems.add(key, detail);
            }
        }
        if let Some(tls) = &self.tls {
            problems.within("tls", |p| tls.check(p));
        }
    }

    fn check(&self, name: &str, problems: &mut Problems) {
        problems.ensure(
            !self.enabled || !self.urls.is_empty() || !self.grpc_urls.is_empty(),
            "urls",
            at_least_one(name),
        );
        for (key, urls) in [("urls", &self.urls), ("grpc_urls", &self.grpc_urls)] {
            let count = urls.0.len();
            let detail =
                format!("names {count} backends; use at most {MOST}, or put a balancer of its own in front of them");
            problems.ensure(count <= MOST, key, detail);
        }
        self.check_tls(problems);
        let is_hashed = self.strategy == Some(Strategy::ConsistentHash);
        let needed = "say what says which backend a call belongs to: header, cookie or address = true";
        problems.ensure(!is_hashed || self.hash.is_some(), "hash", needed);
        if let Some(hash) = &self.hash {
            hash.check(problems);
        }
        problems.within("outlier_detection", |p| self.outlier_detection.check(p));
        problems.within("limits", |p| self.limits.check(p));
        problems.within("timeouts", |p| self.timeouts.check(p));
    }
}
