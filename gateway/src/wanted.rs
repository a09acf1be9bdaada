//! What is wanted: settings, and the backends that others than settings know of. [`crate::live::Live`] is made of it.

use std::collections::BTreeMap;
use std::num::NonZeroU16;

use serde::Serialize;

use crate::check::Protocol;
use crate::config::{BackendUrl, Config};
use crate::rotation::MOST;

/// Who named a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Source {
    /// Files, variables and flags.
    Static,
}

/// One backend that is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Spec {
    /// Name or address; an IPv6 address without its brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) weight: NonZeroU16,
    pub(crate) draining: bool,
    pub(crate) source: Source,
}

impl Spec {
    fn new(url: &BackendUrl, source: Source) -> Self {
        Self { host: url.host.clone(), port: url.port, weight: url.weight, draining: false, source }
    }

    fn is_at(&self, url: &BackendUrl) -> bool {
        (&self.host, self.port) == (&url.host, url.port)
    }

    /// `http://host:port`.
    pub(crate) fn label(&self) -> String {
        BackendUrl::new(self.host.clone(), self.port).to_string()
    }
}

/// Backends that one source found for one service and protocol.
type Found = BTreeMap<(&'static str, Protocol, Source), Vec<BackendUrl>>;

/// What is wanted.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wanted {
    pub(crate) config: Config,
    found: Found,
}

impl Wanted {
    /// What settings alone want.
    pub(crate) fn new(config: Config) -> Self {
        Self { config, found: Found::default() }
    }

    /// From now on `source` knows of these backends of `service`, and of no others.
    #[cfg_attr(not(test), expect(dead_code, reason = "nobody but settings knows of backends yet"))]
    pub(crate) fn found(
        &mut self,
        service: &'static str,
        protocol: Protocol,
        source: Source,
        backends: Vec<BackendUrl>,
    ) {
        self.found.insert((service, protocol, source), backends);
    }

    /// The backends of `service` that speak `protocol`: those of the settings, then what others found, each once.
    pub(crate) fn specs(&self, service: &'static str, protocol: Protocol) -> Vec<Spec> {
        let named = self.config.services.by_name().into_iter().find(|(name, _)| *name == service);
        let mut specs: Vec<Spec> = Vec::new();
        let mut add = |url: &BackendUrl, source| {
            if specs.len() < MOST && !specs.iter().any(|spec| spec.is_at(url)) {
                specs.push(Spec::new(url, source));
            }
        };
        if let Some((_, settings)) = named {
            settings.urls_of(protocol).0.iter().for_each(|url| add(url, Source::Static));
        }
        for ((_, _, source), urls) in self.found.iter().filter(|((name, of, _), _)| (*name, *of) == (service, protocol))
        {
            for url in urls {
                add(url, *source);
            }
        }
        specs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backend_named_twice_is_wanted_once_and_the_list_is_bounded() {
        let mut config = Config::default();
        config.services.product.urls = "http://a:1;weight=2, http://b:1, http://a:1".parse().expect("a list");
        let mut wanted = Wanted::new(config);
        let labels = |wanted: &Wanted| -> Vec<_> {
            wanted.specs("product", Protocol::Http).iter().map(|spec| (spec.label(), spec.weight.get())).collect()
        };
        assert_eq!(labels(&wanted), [("http://a:1".to_owned(), 2), ("http://b:1".to_owned(), 1)]);
        let many = (1..=100).map(|port| BackendUrl::new("c", port)).collect();
        wanted.found("product", Protocol::Http, Source::Static, many);
        assert_eq!(labels(&wanted).len(), MOST);
        assert_eq!(wanted.specs("product", Protocol::Grpc).len(), 1);
        wanted.found("product", Protocol::Http, Source::Static, Vec::new());
        assert_eq!(labels(&wanted).len(), 2);
    }
}
