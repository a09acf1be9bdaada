//! Headers that a route changes.

use std::collections::BTreeMap;

use http::{HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};
use shop_config::Problems;

/// What a route changes about the headers of requests, or of answers: first those to remove, then those to set, then those to add.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HeaderRules {
    /// In place of what was there.
    pub set: BTreeMap<String, String>,
    /// Beside what was there.
    pub add: BTreeMap<String, String>,
    /// No more.
    pub remove: Vec<String>,
}

/// They say where a message ends, who it is from, or are of one connection: the gateway's own affair.
const OURS: [&str; 13] = [
    "connection",
    "content-length",
    "forwarded",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "traceparent",
    "upgrade",
    "via",
    "x-forwarded-for",
];

impl HeaderRules {
    /// Whether it changes nothing.
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Finds wrong names and values.
    pub(super) fn check(&self, problems: &mut Problems) {
        for (key, list) in [("set", &self.set), ("add", &self.add)] {
            for (name, value) in list {
                check_name(&format!("{key}.{name}"), name, problems);
                let is_value = HeaderValue::from_str(value).is_ok() && value.trim() == value;
                problems.ensure(is_value, &format!("{key}.{name}"), "is not the value of a header");
            }
        }
        for (index, name) in self.remove.iter().enumerate() {
            check_name(&format!("remove.{index}"), name, problems);
        }
    }

    /// The changes, ready to be made; checked before.
    pub(crate) fn edits(&self) -> HeaderEdits {
        let pairs = |list: &BTreeMap<String, String>| {
            let pair = |(name, value): (&String, &String)| Some((name.parse().ok()?, value.parse().ok()?));
            list.iter().filter_map(pair).collect()
        };
        HeaderEdits {
            remove: self.remove.iter().filter_map(|name| name.parse().ok()).collect(),
            set: pairs(&self.set),
            add: pairs(&self.add),
        }
    }
}

pub(super) fn check_name(key: &str, name: &str, problems: &mut Problems) {
    match HeaderName::from_bytes(name.as_bytes()) {
        Err(_) => problems.add(key, format!("{name:?} is not the name of a header")),
        Ok(name) if OURS.contains(&name.as_str()) => {
            problems.add(key, format!("{name} is the gateway's own affair, and cannot be changed"));
        }
        Ok(_) => {}
    }
}

/// Changes to headers.
#[derive(Debug, Default)]
pub(crate) struct HeaderEdits {
    remove: Vec<HeaderName>,
    set: Vec<(HeaderName, HeaderValue)>,
    add: Vec<(HeaderName, HeaderValue)>,
}

impl HeaderEdits {
    /// Makes them.
    pub(crate) fn apply(&self, headers: &mut impl shop_http1::Edit) {
        for name in &self.remove {
            headers.remove_all(name);
        }
        for (name, value) in &self.set {
            headers.set(name.clone(), value.clone());
        }
        for (name, value) in &self.add {
            headers.add(name.clone(), value.clone());
        }
    }

    /// Makes those again that others may have undone meanwhile.
    pub(crate) fn insist(&self, headers: &mut impl shop_http1::Edit) {
        for name in &self.remove {
            headers.remove_all(name);
        }
        for (name, value) in &self.set {
            headers.set(name.clone(), value.clone());
        }
    }
}
