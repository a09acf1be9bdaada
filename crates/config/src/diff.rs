//! What two states of the same settings have different.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use serde_json::Value;

use crate::secret;

/// One setting that is different. Secrets are `***` on both sides, also when they are compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// Dotted key of the setting.
    pub key: String,
    /// As it was; null when there was no such key.
    pub before: Value,
    /// As it is; null when there is none any more.
    pub after: Value,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} -> {}", self.key, self.before, self.after)
    }
}

/// The settings that are different, in the order of their keys. Lists are compared and shown as a whole.
pub fn diff<S: Serialize>(before: &S, after: &S) -> Vec<Change> {
    let (was, is) = (leaves(before), leaves(after));
    let (open_was, open_is) = secret::revealed(|| (leaves(before), leaves(after)));
    let shown = |leaves: &BTreeMap<String, Value>, key: &str| leaves.get(key).cloned().unwrap_or_default();
    let keys: std::collections::BTreeSet<_> = open_was.keys().chain(open_is.keys()).collect();
    keys.into_iter()
        .filter(|key| open_was.get(*key) != open_is.get(*key))
        .map(|key| Change { key: key.clone(), before: shown(&was, key), after: shown(&is, key) })
        .collect()
}

fn leaves(settings: &impl Serialize) -> BTreeMap<String, Value> {
    let mut found = BTreeMap::new();
    collect(serde_json::to_value(settings).unwrap_or_default(), String::new(), &mut found);
    found
}

fn collect(value: Value, key: String, found: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (name, value) in map {
                let key = if key.is_empty() { name } else { format!("{key}.{name}") };
                collect(value, key, found);
            }
        }
        leaf => drop(found.insert(key, leaf)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Secret;

    #[derive(Serialize)]
    struct Sample {
        port: u16,
        inner: Inner,
    }

    #[derive(Serialize)]
    struct Inner {
        list: Vec<u8>,
        token: Secret,
    }

    #[test]
    fn what_is_different_is_named_and_secrets_stay_secret() {
        let sample = |port, list: &[u8], token| Sample {
            port,
            inner: Inner { list: list.to_vec(), token: Secret::from(token) },
        };
        let same = diff(&sample(1, &[1], "a"), &sample(1, &[1], "a"));
        assert_eq!(same, []);
        let changes = diff(&sample(1, &[1], "a"), &sample(2, &[1, 2], "b"));
        let lines: Vec<_> = changes.iter().map(ToString::to_string).collect();
        assert_eq!(lines, ["inner.list: [1] -> [1,2]", "inner.token: \"***\" -> \"***\"", "port: 1 -> 2"]);
    }
}
