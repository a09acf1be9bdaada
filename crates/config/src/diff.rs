//! What two states of the same settings have different.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};

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
///
/// Sections are compared as texts and only those that differ are taken apart, because there may be ten thousand that do not.
pub fn diff<S: Serialize>(before: &S, after: &S) -> Vec<Change> {
    let text = |settings: &S| to_raw_value(settings).unwrap_or_default();
    let (open_before, open_after) = secret::revealed(|| (text(before), text(after)));
    if open_before.get() == open_after.get() {
        return Vec::new();
    }
    let (before, after) = (text(before), text(after));
    let mut found = Vec::new();
    let side = |open, shown| Some(Side { open, shown });
    compare(side(&open_before, &before), side(&open_after, &after), "", &mut found);
    found.sort_unstable_by(|one, other| one.key.cmp(&other.key));
    found
}

/// A setting, or a section of them, in one of two states.
#[derive(Clone, Copy)]
struct Side<'a> {
    /// With its secrets.
    open: &'a RawValue,
    /// Without.
    shown: &'a RawValue,
}

type Section<'a> = BTreeMap<String, &'a RawValue>;

impl<'a> Side<'a> {
    /// What it consists of; nothing when it is a value.
    fn parts(self) -> Option<BTreeMap<String, Side<'a>>> {
        let section = |raw: &'a RawValue| serde_json::from_str::<Section<'a>>(raw.get()).ok();
        // Nothing is in front of the brace of a value that was written by serde_json.
        let open = Some(self.open).filter(|raw| raw.get().starts_with('{')).and_then(section)?;
        let mut shown = section(self.shown)?;
        let part = |(name, open)| shown.remove(&name).map(|shown| (name, Side { open, shown }));
        Some(open.into_iter().filter_map(part).collect()).filter(|parts: &BTreeMap<_, _>| !parts.is_empty())
    }

    fn value(self) -> Value {
        serde_json::from_str(self.shown.get()).unwrap_or_default()
    }
}

/// Finds what differs at `key` and below.
fn compare(before: Option<Side<'_>>, after: Option<Side<'_>>, key: &str, found: &mut Vec<Change>) {
    if before.map(|side| side.open.get()) == after.map(|side| side.open.get()) {
        return;
    }
    let (mut was, is) = (before.and_then(Side::parts), after.and_then(Side::parts));
    let leaf = |side: Option<Side<'_>>, is_section: bool| side.filter(|_| !is_section).map(Side::value);
    let (leaf_before, leaf_after) = (leaf(before, was.is_some()), leaf(after, is.is_some()));
    if leaf_before.is_some() || leaf_after.is_some() {
        let (before, after) = (leaf_before.unwrap_or_default(), leaf_after.unwrap_or_default());
        found.push(Change { key: key.to_owned(), before, after });
    }
    let below = |name: &str| if key.is_empty() { name.to_owned() } else { format!("{key}.{name}") };
    for (name, after) in is.into_iter().flatten() {
        let before = was.as_mut().and_then(|was| was.remove(&name));
        compare(before, Some(after), &below(&name), found);
    }
    for (name, before) in was.into_iter().flatten() {
        compare(Some(before), None, &below(&name), found);
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

    #[test]
    fn what_comes_goes_or_becomes_a_section_is_named_part_by_part() {
        let state = |text: &str| serde_json::from_str::<Value>(text).expect("JSON");
        for (before, after, expected) in [
            (r#"{"a": {}}"#, r#"{"a": {"b": 1, "c": {"d": 2}}}"#, "a: {} -> null, a.b: null -> 1, a.c.d: null -> 2"),
            (r#"{"a": {"b": {"c": 1}}}"#, r#"{"a": {}}"#, "a: null -> {}, a.b.c: 1 -> null"),
            (r#"{"a": 1}"#, r#"{"a": {"b": 1}}"#, "a: 1 -> null, a.b: null -> 1"),
            (r#"{"a": {"b": 1}}"#, r#"{"a": [1]}"#, "a: null -> [1], a.b: 1 -> null"),
            (r#"{"a": {"b": 1, "x": 0}}"#, r#"{"a": {"c": 1, "x": 0}}"#, "a.b: 1 -> null, a.c: null -> 1"),
            (r#"{"a\"": {"b": "\n"}}"#, r#"{"a\"": {"b": "\t"}}"#, r#"a".b: "\n" -> "\t""#),
        ] {
            let changes = diff(&state(before), &state(after));
            let lines: Vec<_> = changes.iter().map(ToString::to_string).collect();
            assert_eq!(lines.join(", "), expected, "{before} {after}");
        }
    }
}
