//! What the admin API changed, on top of what settings and other sources say. Each change stands by itself, so that it
//! goes on holding when the settings below it are read again.

use std::collections::BTreeMap;
use std::num::{NonZeroU16, NonZeroU32};

use serde::{Deserialize, Serialize};
use shop_config::Duration;

use crate::settings::backend_spec::{BackendSpec, Source};
use crate::settings::{RateLimit, Route, Service, Strategy};
use shop_discovery::BackendUrl;
use shop_discovery::Protocol;

/// All changes; empty at first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Overrides {
    /// Services that settings do not have, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) added: BTreeMap<String, Service>,
    /// Routes by name, in place of those of the settings; none where one of those is not desired.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) routes: BTreeMap<String, Option<Box<Route>>>,
    /// By the name of the service.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) services: BTreeMap<String, ServiceChanges>,
    pub(crate) rate_limit: LimitChanges,
}

/// What is different for one service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ServiceChanges {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) enabled: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) strategy: Option<Strategy>,
    /// By `http://host:port`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    http: BTreeMap<String, Edit>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    grpc: BTreeMap<String, Edit>,
}

/// What is different about one backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "change", deny_unknown_fields)]
pub(crate) enum Edit {
    /// Only the admin API names it.
    Added { weight: NonZeroU16, draining: bool },
    /// Somebody else names it; this is different.
    Changed {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        weight: Option<NonZeroU16>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        draining: Option<bool>,
    },
    /// Whoever names it, it is not desired.
    Removed,
}

/// What is different about the rate limit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct LimitChanges {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) enabled: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) requests: Option<NonZeroU32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) window: Option<Duration>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) burst: Option<NonZeroU32>,
}

impl Overrides {
    /// The changes to `service`, made when there are none yet.
    pub(crate) fn service(&mut self, service: &str) -> &mut ServiceChanges {
        self.services.entry(service.to_owned()).or_default()
    }
}

impl ServiceChanges {
    fn edits(&mut self, protocol: Protocol) -> &mut BTreeMap<String, Edit> {
        match protocol {
            Protocol::Http => &mut self.http,
            Protocol::Grpc => &mut self.grpc,
        }
    }

    /// `url` becomes a backend. One that was removed here and that somebody else names all the same comes back rather.
    pub(crate) fn add(&mut self, protocol: Protocol, url: &BackendUrl, is_named: bool) {
        let edit = match self.edits(protocol).get(&url.to_string()) {
            Some(Edit::Removed) if is_named => Edit::Changed { weight: Some(url.weight), draining: Some(url.draining) },
            _ => Edit::Added { weight: url.weight, draining: url.draining },
        };
        self.edits(protocol).insert(url.to_string(), edit);
    }

    /// Something about a backend that exists becomes different.
    pub(crate) fn change(
        &mut self,
        protocol: Protocol,
        label: &str,
        new_weight: Option<NonZeroU16>,
        new_draining: Option<bool>,
    ) {
        let edit = match self.edits(protocol).get(label).copied() {
            Some(Edit::Added { weight, draining }) => {
                Edit::Added { weight: new_weight.unwrap_or(weight), draining: new_draining.unwrap_or(draining) }
            }
            Some(Edit::Changed { weight, draining }) => {
                Edit::Changed { weight: new_weight.or(weight), draining: new_draining.or(draining) }
            }
            Some(Edit::Removed) | None => Edit::Changed { weight: new_weight, draining: new_draining },
        };
        self.edits(protocol).insert(label.to_owned(), edit);
    }

    /// A backend is not desired any more. Of one that only the admin API names, its `source`, nothing has to be remembered.
    pub(crate) fn remove(&mut self, protocol: Protocol, label: &str, source: Source) {
        let edits = self.edits(protocol);
        if source == Source::Admin {
            edits.remove(label);
        } else {
            edits.insert(label.to_owned(), Edit::Removed);
        }
    }

    /// Makes the changes to the backends that speak `protocol`.
    pub(crate) fn apply(&self, protocol: Protocol, specs: &mut Vec<BackendSpec>) {
        for (label, edit) in self.of(protocol) {
            let place = specs.iter().position(|spec| spec.label() == *label);
            match (*edit, place) {
                (Edit::Removed, Some(place)) => drop(specs.remove(place)),
                (Edit::Added { weight, draining }, Some(place)) => {
                    (specs[place].weight, specs[place].draining) = (weight, draining);
                }
                (Edit::Added { weight, draining }, None) => {
                    // Labels were checked when they came in.
                    if let Ok(url) = label.parse::<BackendUrl>() {
                        specs.push(BackendSpec { weight, draining, ..BackendSpec::new(&url, Source::Admin) });
                    }
                }
                (Edit::Changed { weight, draining }, Some(place)) => {
                    let spec = &mut specs[place];
                    spec.weight = weight.unwrap_or(spec.weight);
                    spec.draining = draining.unwrap_or(spec.draining);
                }
                // Nobody names it now; should somebody again, this holds again.
                (Edit::Removed | Edit::Changed { .. }, None) => {}
            }
        }
    }

    /// Whether a backend that speaks `protocol` was added here.
    pub(crate) fn adds(&self, protocol: Protocol, label: &str) -> bool {
        matches!(self.of(protocol).get(label), Some(Edit::Added { .. }))
    }

    fn of(&self, protocol: Protocol) -> &BTreeMap<String, Edit> {
        match protocol {
            Protocol::Http => &self.http,
            Protocol::Grpc => &self.grpc,
        }
    }

    /// What is not `http://host:port`, where a backend is named.
    pub(crate) fn strays(&self) -> impl Iterator<Item = &String> {
        let is_label = |label: &&String| label.parse::<BackendUrl>().is_ok_and(|url| url.to_string() == **label);
        self.http.keys().chain(self.grpc.keys()).filter(move |label| !is_label(label))
    }
}

impl LimitChanges {
    /// Makes the changes.
    pub(crate) fn apply(&self, limit: &mut RateLimit) {
        limit.enabled = self.enabled.unwrap_or(limit.enabled);
        limit.requests = self.requests.unwrap_or(limit.requests);
        limit.window = self.window.unwrap_or(limit.window);
        limit.burst = self.burst.unwrap_or(limit.burst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> BackendUrl {
        text.parse().expect("a backend")
    }

    fn specs(list: &str) -> Vec<BackendSpec> {
        let list: shop_discovery::Backends = list.parse().expect("a list");
        list.0.iter().map(|url| BackendSpec::new(url, Source::Static)).collect()
    }

    /// What becomes of `base`.
    fn applied(changes: &ServiceChanges, base: &str) -> Vec<(String, u16, bool)> {
        let mut list = specs(base);
        changes.apply(Protocol::Http, &mut list);
        list.iter().map(|spec| (spec.label(), spec.weight.get(), spec.draining)).collect()
    }

    fn row(label: &str, weight: u16, draining: bool) -> (String, u16, bool) {
        (label.to_owned(), weight, draining)
    }

    #[test]
    fn changes_hold_whatever_is_below_them() {
        let mut changes = ServiceChanges::default();
        changes.add(Protocol::Http, &url("http://c:1;weight=3"), false);
        changes.change(Protocol::Http, "http://a:1", None, Some(true));
        changes.remove(Protocol::Http, "http://b:1", Source::Static);
        let all = [row("http://a:1", 2, true), row("http://c:1", 3, false)];
        assert_eq!(applied(&changes, "a:1;weight=2,b:1"), all);
        assert_eq!(applied(&changes, "a:1;weight=2,c:1"), all, "named by settings too");
        assert_eq!(applied(&changes, "d:1"), [row("http://d:1", 1, false), row("http://c:1", 3, false)]);
        let text = serde_json::to_string(&changes).expect("serialises");
        assert_eq!(serde_json::from_str::<ServiceChanges>(&text).expect("reads"), changes);
    }

    #[test]
    fn what_was_added_and_removed_leaves_no_trace_and_what_was_removed_comes_back() {
        let mut changes = ServiceChanges::default();
        changes.add(Protocol::Http, &url("http://c:1"), false);
        changes.change(Protocol::Http, "http://c:1", NonZeroU16::new(5), None);
        assert_eq!(applied(&changes, "a:1")[1], row("http://c:1", 5, false));
        changes.remove(Protocol::Http, "http://c:1", Source::Admin);
        assert_eq!(changes, ServiceChanges::default());
        changes.remove(Protocol::Http, "http://a:1", Source::Static);
        assert!(applied(&changes, "a:1").is_empty());
        changes.add(Protocol::Http, &url("http://a:1;weight=2;draining"), true);
        assert_eq!(applied(&changes, "a:1"), [row("http://a:1", 2, true)]);
        assert!(applied(&changes, "b:1").len() == 1, "it goes with the settings that name it");
        changes.remove(Protocol::Http, "http://a:1", Source::Static);
        changes.add(Protocol::Http, &url("http://a:1"), false);
        assert_eq!(applied(&changes, "b:1")[1], row("http://a:1", 1, false), "the settings dropped it meanwhile");
    }

    #[test]
    fn a_stray_label_is_found() {
        let text = r#"{"http": {"http://a:1": {"change": "removed"}, "a:1": {"change": "removed"}, "x y": {"change": "removed"}}}"#;
        let changes: ServiceChanges = serde_json::from_str(text).expect("reads");
        assert_eq!(changes.strays().collect::<Vec<_>>(), ["a:1", "x y"]);
    }
}
