//! All layers in one, and where each value came from.

use std::collections::BTreeMap;

use figment::error::Error;
use figment::value::{Dict, Tag, Value};
use figment::{Figment, Metadata};

use crate::layer::{self, Layer};

/// The source of the built-in values.
pub(crate) const DEFAULT: &str = "default";

/// Which layer each value came from. figment knows it, too, but only together with a copy of all values.
#[derive(Default)]
pub(crate) struct Layers(BTreeMap<Tag, Metadata>);

impl Layers {
    fn note(&mut self, dict: &Dict, figment: &Figment) {
        let mut open: Vec<_> = dict.values().collect();
        while let Some(value) = open.pop() {
            if let Some(layer) = figment.get_metadata(value.tag())
                && !self.0.contains_key(&value.tag())
            {
                self.0.insert(value.tag(), layer.clone());
            }
            match value {
                Value::Dict(_, below) => open.extend(below.values()),
                Value::Array(_, list) => open.extend(list),
                _ => {}
            }
        }
    }

    /// That of `value`.
    pub(crate) fn of(&self, value: &Value) -> Option<&Metadata> {
        self.0.get(&value.tag())
    }
}

/// All layers in one, still knowing where each value came from.
pub(crate) struct Merged {
    pub(crate) layers: Layers,
    /// A section.
    pub(crate) tree: Value,
}

impl Merged {
    /// All `layers`, later ones before earlier ones.
    pub(crate) fn of(layers: &[Layer]) -> Result<Self, Error> {
        let figment = layers.iter().fold(Figment::new(), Figment::merge);
        let dict = figment::Provider::data(&figment)?.remove(&figment::Profile::Default).unwrap_or_default();
        let mut layers = Layers::default();
        layers.note(&dict, &figment);
        Ok(Self { layers, tree: Value::from(dict) })
    }

    pub(crate) fn find(&self, path: &[String]) -> Option<&Value> {
        self.tree.as_dict().and_then(|dict| layer::find(dict, path))
    }

    /// The settings at `key` and below that come from elsewhere than the defaults, each with its source.
    pub(crate) fn given(&self, key: &str) -> Vec<(String, String)> {
        let mut found = Vec::new();
        let mut open: Vec<_> = self.find(&layer::path(key)).map(|value| (key.to_owned(), value)).into_iter().collect();
        while let Some((key, value)) = open.pop() {
            match value {
                Value::Dict(_, below) if !below.is_empty() => {
                    open.extend(below.iter().rev().map(|(name, value)| (format!("{key}.{name}"), value)));
                }
                leaf => {
                    let layer = self.layers.of(leaf).filter(|layer| layer.name != DEFAULT);
                    found.extend(layer.map(|layer| (key, layer.name.to_string())));
                }
            }
        }
        found
    }

    /// Whether `path` leads into a list, or into a text that is one.
    pub(crate) fn is_in_list(&self, path: &[String]) -> bool {
        (1..path.len()).any(|n| matches!(self.find(&path[..n]), Some(Value::Array(..) | Value::String(..))))
    }

    /// The source of the value at `path`, or of what contains it.
    pub(crate) fn source(&self, path: &[String]) -> Option<String> {
        let (value, inner) = (1..=path.len()).rev().find_map(|n| Some((self.find(&path[..n])?, n == path.len())))?;
        // A section is made of several layers; it has no source of its own.
        if matches!(value, Value::Dict(..)) && !inner {
            return None;
        }
        Some(self.layers.of(value)?.name.to_string())
    }
}

/// Which settings were given, by whatever file, variable or flag.
pub struct Given<'a>(pub(crate) &'a Merged);

impl Given<'_> {
    /// Whether the setting at this dotted key was, or a part of it.
    pub fn has(&self, key: &str) -> bool {
        !self.0.given(key).is_empty()
    }
}
