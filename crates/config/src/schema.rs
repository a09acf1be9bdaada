//! What a settings type consists of, found by reading its defaults.

use std::cell::RefCell;
use std::collections::BTreeSet;

use figment::value::{Dict, Value};

use crate::read::{Reader, Reading};
use crate::{Settings, layer, secret};

/// The built-in values and what is known from them.
pub(crate) struct Schema {
    /// The built-in values, secrets included.
    pub(crate) defaults: Dict,
    /// Dotted keys of all settings.
    pub(crate) keys: Vec<String>,
    /// Dotted keys of those that are secrets.
    pub(crate) secrets: BTreeSet<String>,
}

impl Schema {
    /// The schema of `S`. Fails when its defaults do not survive serde, which is a mistake in the program.
    pub(crate) fn of<S: Settings>() -> Result<Self, String> {
        let value = secret::revealed(|| Value::serialize(S::default())).map_err(|error| error.to_string())?;
        let secrets = secrets::<S>(&value);
        let defaults = value.into_dict().ok_or("settings must be a struct")?;
        let mut keys = Vec::new();
        leaves(&defaults, "", &mut keys);
        Ok(Self { defaults, keys, secrets })
    }

    /// Whether the value of `key` must not be shown, because it is a secret or contains one.
    pub(crate) fn hides(&self, key: &str) -> bool {
        let below = format!("{key}.");
        self.secrets.iter().any(|secret| secret == key || secret.starts_with(&below))
    }

    /// Whether `key` is a setting, or a section of them.
    pub(crate) fn knows(&self, key: &str) -> bool {
        let below =
            |known: &String| known.strip_prefix(key).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        self.keys.iter().any(below)
    }

    /// The built-in value of `key`, as text.
    pub(crate) fn default_text(&self, key: &str) -> String {
        match layer::find(&self.defaults, &layer::path(key)) {
            Some(value) if self.hides(key) && !text(value).is_empty() => secret::MASK.to_owned(),
            Some(value) => text(value),
            None => String::new(),
        }
    }
}

/// Reads the defaults, entering every absent option to see whether it would be a secret. An option that cannot be made out of
/// nothing fails, is noted, and left out the next time round.
fn secrets<S: Settings>(defaults: &Value) -> BTreeSet<String> {
    let mut fruitless = BTreeSet::new();
    let mut secrets = BTreeSet::new();
    let none = BTreeSet::new();
    let mut value = defaults.clone();
    loop {
        let reading = Reading { layers: None, probe: Some(&fruitless), skip: &none, secrets: RefCell::default() };
        let result = S::deserialize(Reader { reading: &reading, value: &value, path: String::new() });
        secrets.append(&mut reading.secrets.into_inner());
        let Err(error) = result else {
            return secrets;
        };
        if let Value::Dict(_, dict) = &mut value {
            layer::remove(dict, &error.path);
        }
        if !fruitless.insert(error.path.join(".")) {
            return secrets;
        }
    }
}

fn leaves(dict: &Dict, prefix: &str, out: &mut Vec<String>) {
    for (key, value) in dict {
        let key = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        match value {
            Value::Dict(_, below) if !below.is_empty() => leaves(below, &key, out),
            _ => out.push(key),
        }
    }
}

/// A value as a person would write it.
pub(crate) fn text(value: &Value) -> String {
    match value {
        Value::String(_, text) => text.clone(),
        Value::Char(_, letter) => letter.to_string(),
        Value::Bool(_, on) => on.to_string(),
        Value::Num(_, number) => number
            .to_i128()
            .map(|n| n.to_string())
            .or_else(|| number.to_u128().map(|n| n.to_string()))
            .or_else(|| number.to_f64().map(|n| n.to_string()))
            .unwrap_or_default(),
        Value::Empty(..) => String::new(),
        Value::Array(_, list) => list.iter().map(text).collect::<Vec<_>>().join(","),
        Value::Dict(_, dict) => {
            let entries = dict.iter().map(|(key, value)| format!("{key} = {}", text(value)));
            format!("{{ {} }}", entries.collect::<Vec<_>>().join(", "))
        }
    }
}
