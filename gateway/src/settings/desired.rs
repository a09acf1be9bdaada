//! What is desired: settings, the backends that others than settings know of, and what the admin API changed on top.
//! [`crate::state::generation::Generation`] is made of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use shop_balance::MOST;

use crate::settings::backend_spec::{BackendSpec, Source};
use crate::settings::overrides::{LimitChanges, Overrides};
use crate::settings::{Config, Service};
use shop_discovery::Protocol;
use shop_discovery::{BackendUrl, Backends};

/// Backends that sources found for one service.
type Found = BTreeMap<(Protocol, Source), Vec<BackendUrl>>;

/// What is desired.
#[derive(Debug, Clone, Default)]
pub(crate) struct Desired {
    /// Files, variables and flags. Shared with what is made of it, for there may be ten thousand routes.
    pub(crate) settings: Arc<Config>,
    /// By service.
    found: BTreeMap<String, Found>,
    /// By service, backends that settings named before they named places to look instead, of which none has answered yet.
    kept: BTreeMap<String, BTreeMap<Protocol, Vec<BackendUrl>>>,
    /// What the admin API changed.
    pub(crate) overrides: Overrides,
}

/// All that is desired, in one.
#[derive(Debug, Clone)]
pub(crate) struct Merged {
    /// The settings as they are to be in force, with every backend there is to be.
    pub(crate) config: Arc<Config>,
    /// By service.
    specs: BTreeMap<String, BTreeMap<Protocol, Vec<BackendSpec>>>,
}

impl Desired {
    /// What settings want, with `overrides` on top.
    pub(crate) fn new(settings: Config, overrides: Overrides) -> Self {
        Self { settings: Arc::new(settings), found: BTreeMap::new(), kept: BTreeMap::new(), overrides }
    }

    /// From now on settings want this. Where they name places to look instead of backends, those stay until one of the places
    /// answers.
    pub(crate) fn take(&mut self, settings: Config) {
        for (name, new) in settings.services.iter() {
            let Some(old) = self.settings.services.get(name) else { continue };
            for protocol in Protocol::ALL {
                let Backends(urls, sources) = new.urls_of(protocol);
                let Backends(old_urls, old_sources) = old.urls_of(protocol);
                let mut found =
                    self.found.get(name).into_iter().flatten().filter(|((speaks, _), _)| *speaks == protocol);
                let is_found = found.any(|(_, urls)| !urls.is_empty());
                // A place that is known already will not come as news.
                let is_awaited = sources.iter().any(|source| !old_sources.contains(source));
                if !urls.is_empty() || is_found || sources.is_empty() {
                    if let Some(kept) = self.kept.get_mut(name) {
                        kept.remove(&protocol);
                    }
                } else if is_awaited && !old_urls.is_empty() {
                    self.kept.entry(name.to_owned()).or_default().insert(protocol, old_urls.clone());
                }
            }
        }
        self.settings = Arc::new(settings);
        self.forget_strangers();
    }

    /// What was found for services that are not there any more is not theirs who come under the same name.
    pub(crate) fn forget_strangers(&mut self) {
        let is_known =
            |name: &String| self.settings.services.get(name).is_some() || self.overrides.added.contains_key(name);
        self.found.retain(|name, _| is_known(name));
        self.kept.retain(|name, _| is_known(name));
    }

    /// A place to look for backends of `service` has answered: those from before are not needed any more.
    pub(crate) fn answered(&mut self, service: &str, protocol: Protocol) {
        if let Some(kept) = self.kept.get_mut(service) {
            kept.remove(&protocol);
        }
    }

    /// From now on `source` knows of these backends of `service`, and of no others.
    pub(crate) fn found(&mut self, service: &str, protocol: Protocol, source: Source, backends: Vec<BackendUrl>) {
        self.found.entry(service.to_owned()).or_default().insert((protocol, source), backends);
    }

    /// Brings all of it together. What nothing changes is not copied.
    pub(crate) fn merged(&self) -> Merged {
        let mut config = Arc::clone(&self.settings);
        let limit = &self.overrides.rate_limit;
        if *limit != LimitChanges::default() {
            limit.apply(&mut Arc::make_mut(&mut config).rate_limit);
        }
        for (name, route) in &self.overrides.routes {
            let routes = &mut Arc::make_mut(&mut config).routes;
            match route {
                Some(route) => routes.insert(name.clone(), route.clone()),
                None => routes.remove(name),
            };
        }
        let added = self.overrides.added.iter().map(|(name, service)| (name.as_str(), service));
        let (mut specs, mut different) = (BTreeMap::new(), Vec::new());
        for (name, known) in self.settings.services.iter().chain(added) {
            let mut service = known.clone();
            let changes = self.overrides.services.get(name);
            if let Some(changes) = changes {
                service.enabled = changes.enabled.unwrap_or(service.enabled);
                service.strategy = changes.strategy.or(service.strategy);
            }
            let mut of_service = BTreeMap::new();
            for protocol in Protocol::ALL {
                let mut list = self.named(name, protocol);
                if let Some(changes) = changes {
                    changes.apply(protocol, &mut list);
                }
                cut(&mut list, |spec| changes.is_some_and(|changes| changes.adds(protocol, &spec.label())));
                service.urls_of_mut(protocol).0 = list.iter().map(BackendSpec::url).collect();
                of_service.insert(protocol, list);
            }
            specs.insert(name.to_owned(), of_service);
            if self.settings.services.get(name) != Some(&service) {
                different.push((name, service));
            }
        }
        for (name, service) in different {
            Arc::make_mut(&mut config).services.insert(name, service);
        }
        Merged { config, specs }
    }

    /// The service of this name, as the admin API added it or as settings have it.
    pub(crate) fn service(&self, name: &str) -> Option<&Service> {
        self.overrides.added.get(name).or_else(|| self.settings.services.get(name))
    }

    /// Whether settings or another source name `url`, whatever the admin API made of that.
    pub(crate) fn names(&self, service: &str, protocol: Protocol, url: &BackendUrl) -> bool {
        self.named(service, protocol).iter().any(|spec| spec.is_at(url))
    }

    /// The backends of `service` that speak `protocol`: those of the settings, then what others found, each once.
    fn named(&self, service: &str, protocol: Protocol) -> Vec<BackendSpec> {
        let mut specs: Vec<BackendSpec> = Vec::new();
        let mut add = |url: &BackendUrl, source, tls| {
            if !specs.iter().any(|spec| spec.is_at(url)) {
                specs.push(BackendSpec { tls: url.tls || tls, ..BackendSpec::new(url, source) });
            }
        };
        // Whoever finds a backend seldom knows that.
        let tls = self.service(service).is_some_and(|settings| settings.tls.is_some());
        if let Some(settings) = self.service(service) {
            for url in &settings.urls_of(protocol).0 {
                add(url, Source::Static, false);
            }
        }
        for url in self.kept.get(service).and_then(|kept| kept.get(&protocol)).into_iter().flatten() {
            add(url, Source::Static, tls);
        }
        let found = self.found.get(service).into_iter().flatten().filter(|((speaks, _), _)| *speaks == protocol);
        for ((_, source), urls) in found {
            for url in urls {
                add(url, *source, tls);
            }
        }
        specs
    }
}

/// Drops what was found beyond [`MOST`]. What people named stays, in settings or, as `is_added` says, through the admin API:
/// if that alone is too much, it is refused.
fn cut(specs: &mut Vec<BackendSpec>, is_added: impl Fn(&BackendSpec) -> bool) {
    if specs.len() <= MOST {
        return;
    }
    let is_found = |spec: &BackendSpec| matches!(spec.source, Source::Dns | Source::File) && !is_added(spec);
    let mut room = MOST.saturating_sub(specs.iter().filter(|spec| !is_found(spec)).count());
    specs.retain(|spec| {
        if !is_found(spec) {
            return true;
        }
        let fits = room > 0;
        room = room.saturating_sub(1);
        fits
    });
}

impl Merged {
    /// The backends of `service` that speak `protocol`.
    pub(crate) fn specs(&self, service: &str, protocol: Protocol) -> &[BackendSpec] {
        self.specs.get(service).and_then(|specs| specs.get(&protocol)).map(Vec::as_slice).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_name_places_to_look_keep_the_backends_from_before_until_one_answers() {
        let config = |urls: &str| {
            let mut config = Config::default();
            config.services["product"].urls = urls.parse().expect("a list");
            config
        };
        let hosts = |desired: &Desired| {
            let merged = desired.merged();
            merged.specs("product", Protocol::Http).iter().map(|spec| spec.host.clone()).collect::<Vec<_>>().join(" ")
        };
        let mut desired = Desired::new(config("http://a:1"), Overrides::default());
        for (urls, expected) in [
            ("dns://b:1", "a"),
            ("dns://c:1, file:///x", "a"),
            ("http://d:1", "d"),
            ("http://e:1, dns://c:1", "e"),
            ("dns://c:1", ""),
            ("http://f:1", "f"),
            ("dns://c:1", "f"),
        ] {
            desired.take(config(urls));
            assert_eq!(hosts(&desired), expected, "{urls}");
        }
        desired.found("product", Protocol::Http, Source::Dns, vec![BackendUrl::new("g", 1)]);
        desired.answered("product", Protocol::Http);
        assert_eq!(hosts(&desired), "g");
    }

    #[test]
    fn a_backend_named_twice_is_wanted_once_and_what_is_found_is_bounded() {
        let mut config = Config::default();
        config.services["product"].urls = "http://a:1;weight=2, http://b:1, http://a:1".parse().expect("a list");
        let mut desired = Desired::new(config, Overrides::default());
        let labels = |desired: &Desired| -> Vec<_> {
            let merged = desired.merged();
            merged.specs("product", Protocol::Http).iter().map(|spec| (spec.label(), spec.weight.get())).collect()
        };
        assert_eq!(labels(&desired), [("http://a:1".to_owned(), 2), ("http://b:1".to_owned(), 1)]);
        let many = (1..=1100).map(|port| BackendUrl::new("c", port)).collect();
        desired.found("product", Protocol::Http, Source::Dns, many);
        assert_eq!(labels(&desired).len(), MOST);
        assert_eq!(desired.merged().config.services["product"].urls.0.len(), MOST);
        assert_eq!(desired.merged().specs("product", Protocol::Grpc).len(), 1);
        // Those that somebody added come first, be they found as well or not.
        for url in ["http://d:1", "http://c:1099"] {
            desired.overrides.service("product").add(Protocol::Http, &url.parse().expect("a backend"), false);
        }
        let all = labels(&desired);
        assert_eq!(all.len(), MOST);
        for label in ["http://a:1", "http://b:1", "http://c:60", "http://c:1099", "http://d:1"] {
            assert!(all.iter().any(|(one, _)| one == label), "{label}: {all:?}");
        }
        desired.found("product", Protocol::Http, Source::Dns, Vec::new());
        assert_eq!(labels(&desired).len(), 4);
    }
}
