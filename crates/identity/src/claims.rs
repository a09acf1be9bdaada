//! What a token says.

use std::fmt;

use serde::de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Number, Value};

/// A JSON object in which no member is there twice, on any level: two readers could believe different ones.
#[derive(Debug)]
pub(crate) struct Claims(Map<String, Value>);

impl Claims {
    /// Whether there is anything under `name`.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// The text under `name`; an error if it is there and no text.
    pub(crate) fn text(&self, name: &str) -> Result<Option<&str>, NotText> {
        match self.0.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(NotText),
        }
    }

    /// The time under `name`, in seconds since 1970; an error if it is there and no such time (RFC 7519, section 2).
    pub(crate) fn time(&self, name: &str) -> Result<Option<u64>, NotText> {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked: it fits")]
        let whole = |number: &Number| {
            number
                .as_u64()
                .or_else(|| number.as_f64().filter(|time| (0.0..1e15).contains(time)).map(|time| time as u64))
        };
        match self.0.get(name) {
            None => Ok(None),
            Some(Value::Number(number)) => whole(number).map(Some).ok_or(NotText),
            Some(_) => Err(NotText),
        }
    }

    /// The words at a path such as `realm_access.roles`: of an array, or of a text with spaces between them. A member whose
    /// name is the whole path wins: some issuers have names with dots.
    pub(crate) fn words(&self, path: &str) -> Vec<&str> {
        let found = self.0.get(path).or_else(|| {
            let (first, rest) = path.split_once('.')?;
            rest.split('.').try_fold(self.0.get(first)?, |value, name| value.get(name))
        });
        match found {
            Some(Value::String(text)) => text.split(' ').filter(|word| !word.is_empty()).collect(),
            Some(Value::Array(words)) => words.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        }
    }
}

/// A claim of the wrong type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotText;

impl<'de> Deserialize<'de> for Claims {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Once.deserialize(deserializer)? {
            Value::Object(map) => Ok(Self(map)),
            _ => Err(de::Error::custom("claims are an object")),
        }
    }
}

/// Reads any JSON in which no member is there twice.
struct Once;

impl<'de> DeserializeSeed<'de> for Once {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Once {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut all = Vec::new();
        while let Some(item) = items.next_element_seed(Once)? {
            all.push(item);
        }
        Ok(all.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut all = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            let value = members.next_value_seed(Once)?;
            if all.insert(name, value).is_some() {
                return Err(de::Error::custom("a member is there twice"));
            }
        }
        Ok(all.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(text: &str) -> Claims {
        serde_json::from_str(text).expect("claims")
    }

    #[test]
    fn words_are_found_where_issuers_put_them() {
        let all = claims(
            r#"{"roles": ["a", "b", 7], "scope": "openid  c", "realm_access": {"roles": ["d"]},
                "https://shop/roles": ["e"], "x.y": "f", "x": {"y": "g"}, "deep": {"er": {"still": "h"}}, "one": "i"}"#,
        );
        for (path, words) in [
            ("roles", &["a", "b"][..]),
            ("scope", &["openid", "c"]),
            ("realm_access.roles", &["d"]),
            ("https://shop/roles", &["e"]),
            ("x.y", &["f"]),
            ("deep.er.still", &["h"]),
            ("one", &["i"]),
            ("none", &[]),
            ("roles.a", &[]),
            ("realm_access", &[]),
        ] {
            assert_eq!(all.words(path), words, "{path}");
        }
    }

    #[test]
    fn a_member_that_is_there_twice_is_refused_on_any_level() {
        for text in
            [r#"{"sub": "a", "sub": "b"}"#, r#"{"x": {"roles": [], "roles": []}}"#, r#"{"x": [{"y": 1, "y": 2}]}"#]
        {
            assert!(serde_json::from_str::<Claims>(text).is_err(), "{text}");
        }
        assert!(serde_json::from_str::<Claims>("[]").is_err());
    }

    #[test]
    fn claims_of_the_wrong_type_are_not_taken_for_absent() {
        let all = claims(r#"{"sub": 1, "exp": "never", "iat": -1, "nbf": 1.5, "big": 1e300, "null": null}"#);
        assert_eq!(all.text("sub"), Err(NotText));
        assert_eq!(all.text("null"), Err(NotText));
        assert_eq!(all.text("none"), Ok(None));
        assert_eq!(
            ["exp", "iat", "nbf", "big", "none"].map(|name| all.time(name)),
            [Err(NotText), Err(NotText), Ok(Some(1)), Err(NotText), Ok(None)]
        );
    }
}
