//! Every effective value and where it came from.

use std::fmt::Write as _;

use crate::Settings;
use crate::merged::Merged;

/// One setting as it is in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    key: String,
    value: String,
    source: String,
}

/// All settings in the order of their keys. Secrets mask themselves.
pub(crate) fn entries<S: Settings>(settings: &S, merged: &Merged) -> Vec<Entry> {
    let mut entries = Vec::new();
    if let Ok(value) = serde_json::to_value(settings) {
        collect(&value, &mut Vec::new(), merged, &mut entries);
    }
    entries
}

fn collect(value: &serde_json::Value, path: &mut Vec<String>, merged: &Merged, entries: &mut Vec<Entry>) {
    match value {
        serde_json::Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                path.push(key.clone());
                collect(value, path, merged, entries);
                path.pop();
            }
        }
        leaf => entries.push(Entry {
            key: path.join("."),
            value: if leaf.is_null() { "(unset)".to_owned() } else { leaf.to_string() },
            source: merged.source(path).unwrap_or_else(|| "default".to_owned()),
        }),
    }
}

/// Columns wide enough for all but the odd long value.
pub(crate) fn table(entries: &[Entry]) -> String {
    let width = |text: fn(&Entry) -> &String| entries.iter().map(|entry| text(entry).len()).max().unwrap_or(0);
    let key_width = width(|entry| &entry.key);
    let value_width = width(|entry| &entry.value).min(40);
    entries.iter().fold(String::new(), |mut out, Entry { key, value, source }| {
        // Writing to a String cannot fail.
        let _ = writeln!(out, "{key:key_width$} = {value:value_width$}  {source}");
        out
    })
}
