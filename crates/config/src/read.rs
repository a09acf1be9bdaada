//! From the merged tree to a typed value.
//!
//! Two things figment's own reader does not do: text from variables and flags is read as whatever type the setting has
//! (a password `007` stays a text, a port `8080` becomes a number, `a,b` a list), and every secret met is noted.

use std::cell::RefCell;
use std::collections::BTreeSet;

use figment::Error;
use figment::value::{Dict, Empty, Num, Value};
use serde::de::value::{MapAccessDeserializer, StrDeserializer};
use serde::de::{DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, SeqAccess, Visitor};

use crate::merged::Layers;
use crate::{layer, secret};

type Result<T> = std::result::Result<T, Error>;

/// What one reading has in common.
pub(crate) struct Reading<'a> {
    /// Knows which layer a tag stands for; `None` while probing, where all is typed.
    pub(crate) layers: Option<&'a Layers>,
    /// Probing: absent values are entered to see what they would be. Fields listed here proved fruitless and are left out.
    pub(crate) probe: Option<&'a BTreeSet<String>>,
    /// Dotted keys below lists that are passed over, because they were found to be wrong.
    pub(crate) skip: &'a BTreeSet<String>,
    /// Dotted keys of the secrets met.
    pub(crate) secrets: RefCell<BTreeSet<String>>,
}

impl Reading<'_> {
    fn is_text(&self, value: &Value) -> bool {
        self.layers.and_then(|layers| layers.of(value)).is_some_and(layer::is_text)
    }

    fn is_fruitless(&self, path: &str) -> bool {
        self.probe.is_some_and(|fruitless| fruitless.contains(path))
    }
}

/// One value, about to become a part of the settings.
#[derive(Clone)]
pub(crate) struct Reader<'a> {
    pub(crate) reading: &'a Reading<'a>,
    pub(crate) value: &'a Value,
    pub(crate) path: String,
}

impl<'a> Reader<'a> {
    fn below(&self, key: &str, value: &'a Value) -> Self {
        let path = if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) };
        Self { reading: self.reading, value, path }
    }

    /// The value when it is a text that may be read as another type.
    fn text(&self) -> Option<&'a str> {
        match self.value {
            Value::String(_, text) if self.reading.is_text(self.value) => Some(text.trim()),
            _ => None,
        }
    }

    fn map<'de, V: Visitor<'de>>(&self, dict: &'a Dict, visitor: V) -> Result<V::Value> {
        visitor.visit_map(Entries { parent: self.clone(), rest: dict.iter(), next: None })
    }

    fn list<'de, V: Visitor<'de>>(&self, list: &'a [Value], visitor: V) -> Result<V::Value> {
        visitor.visit_seq(Elements { parent: self.clone(), rest: list.iter().enumerate() })
    }

    /// A list or a section written as JSON in a variable.
    fn json<'de, V: Visitor<'de>>(self, text: &str, visitor: V) -> Result<V::Value> {
        let json: serde_json::Value = serde_json::from_str(text).map_err(|error| {
            Error::from(format!("expected JSON, which this stops being at character {}", error.column()))
        })?;
        let value = Value::serialize(json)?;
        Reader { reading: self.reading, value: &value, path: self.path }.deserialize_any(visitor)
    }

    fn is_skipped(&self, key: &str) -> bool {
        !self.reading.skip.is_empty() && self.reading.skip.contains(&format!("{}.{key}", self.path))
    }
}

/// Reads text as the type asked for; what cannot be read is passed on as it is and the visitor says what it wanted.
macro_rules! from_text {
    ($($method:ident => $visit:ident),* $(,)?) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
            match self.text().map(str::parse) {
                Some(Ok(number)) => visitor.$visit(number),
                _ => self.deserialize_any(visitor),
            }
        }
    )*};
}

impl<'de> Deserializer<'de> for Reader<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self.value {
            Value::String(_, text) => visitor.visit_str(text),
            Value::Char(_, letter) => visitor.visit_char(*letter),
            Value::Bool(_, on) => visitor.visit_bool(*on),
            Value::Num(_, number) => number_into(*number, visitor),
            Value::Empty(_, Empty::None) => visitor.visit_none(),
            Value::Empty(_, Empty::Unit) => visitor.visit_unit(),
            Value::Dict(_, dict) => self.map(dict, visitor),
            Value::Array(_, list) => self.list(list, visitor),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self.text().map(str::to_ascii_lowercase).as_deref() {
            Some("true" | "1" | "yes" | "on") => visitor.visit_bool(true),
            Some("false" | "0" | "no" | "off") => visitor.visit_bool(false),
            _ => self.deserialize_any(visitor),
        }
    }

    from_text! {
        deserialize_i8 => visit_i64, deserialize_i16 => visit_i64, deserialize_i32 => visit_i64, deserialize_i64 => visit_i64,
        deserialize_u8 => visit_u64, deserialize_u16 => visit_u64, deserialize_u32 => visit_u64, deserialize_u64 => visit_u64,
        deserialize_i128 => visit_i128, deserialize_u128 => visit_u128,
        deserialize_f32 => visit_f64, deserialize_f64 => visit_f64,
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self.value {
            Value::Empty(..) if self.reading.probe.is_some() => visitor.visit_some(self),
            Value::Empty(..) => visitor.visit_none(),
            // `NAME=` is how a compose file says "not set".
            _ if self.text() == Some("") => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value> {
        if name == secret::NAME {
            self.reading.secrets.borrow_mut().insert(self.path.clone());
        }
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self.text() {
            Some(text) if text.starts_with('[') => self.clone().json(text, visitor),
            Some(text) => {
                let tag = self.value.tag();
                let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
                let list: Vec<Value> = items.map(|item| Value::String(tag, item.to_owned())).collect();
                visitor.visit_seq(Elements {
                    parent: Reader { reading: self.reading, value: self.value, path: self.path.clone() },
                    rest: list.iter().enumerate(),
                })
            }
            None => self.deserialize_any(visitor),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _length: usize, visitor: V) -> Result<V::Value> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _length: usize,
        visitor: V,
    ) -> Result<V::Value> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self.text() {
            Some(text) if text.starts_with('{') => self.clone().json(text, visitor),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        match self.value {
            Value::Empty(..) if self.reading.probe.is_some() => {
                let dict: Dict = fields
                    .iter()
                    .filter(|field| !self.reading.is_fruitless(&format!("{}.{field}", self.path)))
                    .map(|field| ((*field).to_owned(), Value::from(Empty::None)))
                    .collect();
                visitor.visit_map(Entries {
                    parent: Reader { reading: self.reading, value: self.value, path: self.path.clone() },
                    rest: dict.iter(),
                    next: None,
                })
            }
            _ => self.deserialize_map(visitor),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        match self.value {
            Value::String(_, text) => {
                let variant: StrDeserializer<'_, Error> = text.as_str().into_deserializer();
                variant.deserialize_enum(name, variants, visitor)
            }
            Value::Dict(_, dict) => visitor.visit_enum(MapAccessDeserializer::new(Entries {
                parent: self.clone(),
                rest: dict.iter(),
                next: None,
            })),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        visitor.visit_unit()
    }

    serde::forward_to_deserialize_any! {
        char str string bytes byte_buf unit unit_struct identifier
    }
}

fn number_into<'de, V: Visitor<'de>>(number: Num, visitor: V) -> Result<V::Value> {
    match (number.to_u128(), number.to_i128()) {
        (Some(whole), _) => match u64::try_from(whole) {
            Ok(whole) => visitor.visit_u64(whole),
            Err(_) => visitor.visit_u128(whole),
        },
        (None, Some(whole)) => match i64::try_from(whole) {
            Ok(whole) => visitor.visit_i64(whole),
            Err(_) => visitor.visit_i128(whole),
        },
        (None, None) => visitor.visit_f64(number.to_f64().unwrap_or(f64::NAN)),
    }
}

/// The entries of a section, with the key put in front of an error's path.
struct Entries<'a> {
    parent: Reader<'a>,
    rest: std::collections::btree_map::Iter<'a, String, Value>,
    next: Option<(&'a String, &'a Value)>,
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>> {
        self.next = self.rest.find(|(key, _)| !self.parent.is_skipped(key));
        let Some((key, _)) = self.next else {
            return Ok(None);
        };
        let text: StrDeserializer<'_, Error> = key.as_str().into_deserializer();
        seed.deserialize(text).map(Some).map_err(|error| at(error, key))
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value> {
        let (key, value) = self.next.take().ok_or_else(|| Error::from("a value without a key"))?;
        seed.deserialize(self.parent.below(key, value)).map_err(|error| at(error, key))
    }
}

/// The elements of a list, with the index put in front of an error's path.
struct Elements<'a> {
    parent: Reader<'a>,
    rest: std::iter::Enumerate<std::slice::Iter<'a, Value>>,
}

impl<'de> SeqAccess<'de> for Elements<'_> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>> {
        let Some((index, value)) = self.rest.find(|(index, _)| !self.parent.is_skipped(&index.to_string())) else {
            return Ok(None);
        };
        let key = index.to_string();
        seed.deserialize(self.parent.below(&key, value)).map(Some).map_err(|error| at(error, &key))
    }
}

fn at(mut error: Error, key: &str) -> Error {
    error.path.insert(0, key.to_owned());
    error
}
