//! All layers in one, and where each value came from.

use figment::Figment;
use figment::error::Error;
use figment::value::{Dict, Value};

use crate::layer::{self, Layer};

/// The source of the built-in values.
pub(crate) const DEFAULT: &str = "default";

/// All layers in one, still knowing where each value came from.
pub(crate) struct Merged {
    pub(crate) figment: Figment,
    pub(crate) dict: Dict,
}

impl Merged {
    /// All `layers`, later ones before earlier ones.
    pub(crate) fn of(layers: &[Layer]) -> Result<Self, Error> {
        let figment = layers.iter().cloned().fold(Figment::new(), Figment::merge);
        let dict = figment::Provider::data(&figment)?.remove(&figment::Profile::Default).unwrap_or_default();
        Ok(Self { figment, dict })
    }

    pub(crate) fn find(&self, path: &[String]) -> Option<&Value> {
        layer::find(&self.dict, path)
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
                    let layer = self.figment.get_metadata(leaf.tag()).filter(|layer| layer.name != DEFAULT);
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
        Some(self.figment.get_metadata(value.tag())?.name.to_string())
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
