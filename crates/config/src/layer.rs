//! One layer of settings: a tree of values with the one place all of them came from.

use figment::value::{Dict, Map, Value};
use figment::{Metadata, Profile, Provider};

/// Marks values that arrived as text and may be read as whatever type the setting has.
const TEXT: &str = "text";

/// A tree of values from one source.
#[derive(Debug, Clone)]
pub(crate) struct Layer {
    source: String,
    text: bool,
    dict: Dict,
}

impl Layer {
    /// Typed values: the defaults or a file.
    pub(crate) fn typed(source: impl Into<String>, dict: Dict) -> Self {
        Self { source: source.into(), text: false, dict }
    }

    /// One value given as text: a variable or a flag.
    pub(crate) fn text(source: impl Into<String>, path: &[String], value: impl Into<String>) -> Self {
        let leaf = Value::from(value.into());
        let tree = path.iter().rev().fold(leaf, |below, key| Value::from(Dict::from([(key.clone(), below)])));
        let dict = tree.into_dict().unwrap_or_default();
        Self { source: source.into(), text: true, dict }
    }

    /// Whether there is something other than a section at `path`.
    pub(crate) fn has_leaf(&self, path: &[String]) -> bool {
        find(&self.dict, path).is_some_and(|value| value.as_dict().is_none())
    }

    /// Takes the value at `path` out. `false` when there was none.
    pub(crate) fn remove(&mut self, path: &[String]) -> bool {
        remove(&mut self.dict, path)
    }
}

/// Makes sections of lists whose members have a `name`, where there are sections by name: `[[routes]]` with `name = "search"` is
/// `[routes.search]`, so that files can be laid over each other.
pub(crate) fn by_name(dict: Dict, defaults: &Dict) -> Result<Dict, String> {
    let one = |(key, value): (String, Value)| {
        let value = match (value, defaults.get(&key)) {
            (Value::Dict(tag, below), Some(Value::Dict(_, known))) => Value::Dict(tag, by_name(below, known)?),
            (Value::Array(tag, list), Some(Value::Dict(..))) if !list.is_empty() && list.iter().all(is_named) => {
                let mut named = Dict::new();
                for mut section in list.into_iter().filter_map(Value::into_dict) {
                    let name = section.remove("name").and_then(Value::into_string).unwrap_or_default();
                    if named.insert(name.clone(), Value::from(section)).is_some() {
                        return Err(format!("{key} has two that are named {name}"));
                    }
                }
                Value::Dict(tag, named)
            }
            (value, _) => value,
        };
        Ok((key, value))
    };
    dict.into_iter().map(one).collect()
}

fn is_named(value: &Value) -> bool {
    value.as_dict().and_then(|section| section.get("name")).is_some_and(|name| name.as_str().is_some())
}

/// Takes the value at `path` out of `dict`. `false` when there was none.
pub(crate) fn remove(dict: &mut Dict, path: &[String]) -> bool {
    let Some((first, rest)) = path.split_first() else {
        return false;
    };
    match dict.get_mut(first) {
        Some(Value::Dict(_, below)) if !rest.is_empty() => remove(below, rest),
        // Also when more of the path follows: an element of a list takes the whole list with it.
        Some(_) => dict.remove(first).is_some(),
        None => false,
    }
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        let metadata = Metadata::named(self.source.clone());
        if self.text { metadata.source(TEXT) } else { metadata }
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Profile::Default.collect(self.dict.clone()))
    }
}

/// Whether this is the metadata of a layer given as text.
pub(crate) fn is_text(metadata: &Metadata) -> bool {
    metadata.source.as_ref().and_then(figment::Source::custom) == Some(TEXT)
}

/// `a.b` as a path.
pub(crate) fn path(key: &str) -> Vec<String> {
    key.split('.').map(str::to_owned).collect()
}

/// The value at `path`; numbers select elements of lists.
pub(crate) fn find<'v>(dict: &'v Dict, path: &[String]) -> Option<&'v Value> {
    let (first, rest) = path.split_first()?;
    rest.iter().try_fold(dict.get(first)?, |value, key| match value {
        Value::Dict(_, dict) => dict.get(key),
        Value::Array(_, list) => list.get(key.parse::<usize>().ok()?),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_named_sections_is_the_same_as_sections_by_name() {
        use figment::providers::{Format, Toml};
        let read = |text: &str| Toml::from_str::<Dict>(text).expect("TOML");
        let defaults = read("list = []\n[gateway.routes.a]\npath = '/a'\n[gateway.http]\nport = 1");
        let named = read("[[gateway.routes]]\nname = 'b'\npath = '/b'\n[[gateway.routes]]\nname = 'c'\n");
        assert_eq!(by_name(named, &defaults), Ok(read("[gateway.routes.b]\npath = '/b'\n[gateway.routes.c]")));
        for same in [
            "gateway = { routes = [] }",
            "[[list]]\nname = 'b'",
            "[[gateway.routes]]\npath = '/b'",
            "[gateway.routes.b]\nname = 'x'",
        ] {
            assert_eq!(by_name(read(same), &defaults), Ok(read(same)), "{same}");
        }
        let twice = read("[[gateway.routes]]\nname = 'b'\n[[gateway.routes]]\nname = 'b'");
        assert_eq!(by_name(twice, &defaults), Err("routes has two that are named b".to_owned()));
    }

    #[test]
    fn a_text_lands_at_its_path_and_can_be_taken_out() {
        let mut layer = Layer::text("here", &path("a.b.c"), "1");
        assert_eq!(find(&layer.dict, &path("a.b.c")).and_then(Value::as_str), Some("1"));
        assert!(!layer.remove(&path("a.x")));
        assert!(layer.remove(&path("a.b.c.0")), "a text where a section belongs goes as a whole");
        assert!(find(&layer.dict, &path("a.b.c")).is_none());
    }
}
