//! Whole numbers in JSON, as JSON means them: `5`, `5.0` and `5e0` are one number (RFC 8259, section 6), and JSON Schema
//! calls it an `integer`. serde would take the first only, and would round what it reads as a float.
//!
//! [`Exact`] lies around the deserializer of every body, so no field has to ask for it. It leaves alone what is read
//! without a type (`flatten`, untagged enums) and what enums hold; no body has those.

use std::fmt;

use serde::de::{self, Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Unexpected, Visitor};
use serde_json::value::RawValue;

use crate::{Number, Unfit};

/// A deserializer (also a visitor, a seed, an access) whose integers are read to the letter.
#[derive(Debug)]
pub struct Exact<T>(pub T);

/// In an `impl<'de> Deserializer<'de>`: the methods for the integers of up to 64 bits, each of which asks `$read::<i8>`
/// and so on, a function from the deserializer to the number or `$error`.
#[macro_export]
macro_rules! deserialize_whole {
    ($error:ty, $read:expr) => {
        $crate::deserialize_whole! { $error, $read,
            deserialize_i8 visit_i8, deserialize_i16 visit_i16, deserialize_i32 visit_i32, deserialize_i64 visit_i64,
            deserialize_u8 visit_u8, deserialize_u16 visit_u16, deserialize_u32 visit_u32, deserialize_u64 visit_u64,
        }
    };
    ($error:ty, $read:expr, $($method:ident $visit:ident,)*) => {$(
        fn $method<V: ::serde::de::Visitor<'de>>(self, visitor: V) -> Result<V::Value, $error> {
            visitor.$visit($read(self)?)
        }
    )*};
}

macro_rules! through {
    ($($method:ident($($argument:ident: $type:ty),*),)*) => {$(
        fn $method<V: Visitor<'de>>(self, $($argument: $type,)* visitor: V) -> Result<V::Value, D::Error> {
            self.0.$method($($argument,)* Exact(visitor))
        }
    )*};
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Exact<D> {
    type Error = D::Error;

    deserialize_whole!(D::Error, whole);

    through! {
        deserialize_any(), deserialize_bool(), deserialize_i128(), deserialize_u128(), deserialize_f32(),
        deserialize_f64(), deserialize_char(), deserialize_str(), deserialize_string(), deserialize_bytes(),
        deserialize_byte_buf(), deserialize_option(), deserialize_unit(), deserialize_seq(), deserialize_map(),
        deserialize_identifier(), deserialize_ignored_any(),
        deserialize_unit_struct(name: &'static str), deserialize_newtype_struct(name: &'static str),
        deserialize_tuple(len: usize), deserialize_tuple_struct(name: &'static str, len: usize),
        deserialize_struct(name: &'static str, fields: &'static [&'static str]),
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.0.deserialize_enum(name, variants, visitor)
    }

    fn is_human_readable(&self) -> bool {
        self.0.is_human_readable()
    }
}

/// The number in `json`, which has to be one of `T`.
fn whole<'de, D: Deserializer<'de>, T: Whole>(json: Exact<D>) -> Result<T, D::Error> {
    let raw = <&RawValue>::deserialize(json.0)?.get();
    let value = read(raw, T::LEAST, T::MOST)?;
    // Within the bounds, so it fits.
    Ok(T::try_from(value).unwrap_or_default())
}

/// A type of whole numbers.
trait Whole: TryFrom<i128> + Default {
    const LEAST: i128;
    const MOST: i128;
}

macro_rules! bounds {
    ($($type:ty)*) => {$(
        impl Whole for $type {
            const LEAST: i128 = <$type>::MIN as i128;
            const MOST: i128 = <$type>::MAX as i128;
        }
    )*};
}

bounds! { i8 i16 i32 i64 u8 u16 u32 u64 }

/// The number that `json` spells, from `least` to `most`.
fn read<E: de::Error>(json: &str, least: i128, most: i128) -> Result<i128, E> {
    let wanted = format!("a whole number from {least} to {most}");
    let Some(number) = Number::parse(json) else {
        let kind = match json.bytes().next() {
            Some(b'"') => "a string",
            Some(b'{') => "an object",
            Some(b'[') => "an array",
            Some(b'n') => "null",
            _ => "true or false",
        };
        return Err(E::invalid_type(Unexpected::Other(kind), &wanted.as_str()));
    };
    match number.scaled(0) {
        Ok(value) if (least..=most).contains(&value) => Ok(value),
        // What was sent is not repeated: it may be a card number in the wrong field.
        Err(Unfit::Fraction) => Err(E::invalid_type(Unexpected::Other("a number with decimals"), &wanted.as_str())),
        Ok(_) | Err(Unfit::TooLarge) => {
            Err(E::invalid_value(Unexpected::Other("a number out of range"), &wanted.as_str()))
        }
    }
}

macro_rules! visits {
    ($($method:ident $type:ty,)*) => {$(
        fn $method<E: de::Error>(self, value: $type) -> Result<V::Value, E> {
            self.0.$method(value)
        }
    )*};
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Exact<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.expecting(f)
    }

    visits! {
        visit_bool bool, visit_i8 i8, visit_i16 i16, visit_i32 i32, visit_i64 i64, visit_i128 i128, visit_u8 u8,
        visit_u16 u16, visit_u32 u32, visit_u64 u64, visit_u128 u128, visit_f32 f32, visit_f64 f64, visit_char char,
        visit_str &str, visit_borrowed_str &'de str, visit_string String, visit_bytes &[u8],
        visit_borrowed_bytes &'de [u8], visit_byte_buf Vec<u8>,
    }

    fn visit_none<E: de::Error>(self) -> Result<V::Value, E> {
        self.0.visit_none()
    }

    fn visit_unit<E: de::Error>(self) -> Result<V::Value, E> {
        self.0.visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        self.0.visit_some(Exact(deserializer))
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        self.0.visit_newtype_struct(Exact(deserializer))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, access: A) -> Result<V::Value, A::Error> {
        self.0.visit_seq(Exact(access))
    }

    fn visit_map<A: MapAccess<'de>>(self, access: A) -> Result<V::Value, A::Error> {
        self.0.visit_map(Exact(access))
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Exact<S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<S::Value, D::Error> {
        self.0.deserialize(Exact(deserializer))
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Exact<A> {
    type Error = A::Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        self.0.next_element_seed(Exact(seed))
    }

    fn size_hint(&self) -> Option<usize> {
        self.0.size_hint()
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Exact<A> {
    type Error = A::Error;

    // Keys are names: nothing in them is a number.
    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        self.0.next_key_seed(seed)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        self.0.next_value_seed(Exact(seed))
    }

    fn size_hint(&self) -> Option<usize> {
        self.0.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    struct Body {
        id: i64,
        #[serde(default)]
        units: Option<u32>,
        #[serde(default)]
        lines: Vec<Line>,
        #[serde(default)]
        counts: BTreeMap<String, u8>,
        #[serde(default)]
        share: f64,
        #[serde(default)]
        wrapped: Wrapped,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct Line {
        quantity: u32,
    }

    #[derive(Debug, Default, PartialEq, Deserialize)]
    struct Wrapped(u16);

    fn body(json: &str) -> Result<Body, String> {
        let mut json = serde_json::Deserializer::from_slice(json.as_bytes());
        Body::deserialize(Exact(&mut json)).map_err(|error| error.to_string())
    }

    #[test]
    fn a_whole_number_is_whole_in_every_spelling_and_place() {
        let read = body(
            r#"{"id": 9007199254740993.0, "units": 5e0, "lines": [{"quantity": 1.2E+1}, {"quantity": 3}],
            "counts": {"a": 100.00}, "share": 0.5, "wrapped": 7.0}"#,
        );
        let lines = vec![Line { quantity: 12 }, Line { quantity: 3 }];
        let counts = BTreeMap::from([("a".to_owned(), 100)]);
        let whole = Body { id: 9_007_199_254_740_993, units: Some(5), lines, counts, share: 0.5, wrapped: Wrapped(7) };
        assert_eq!(read, Ok(whole));
        assert_eq!(body(r#"{"id": -1, "units": null}"#).map(|body| (body.id, body.units)), Ok((-1, None)));
    }

    #[test]
    fn what_is_not_whole_or_out_of_range_is_said_in_words() {
        for (json, found) in [
            ("5.5", "invalid type: a number with decimals"),
            ("5.0000000000000000000001", "invalid type: a number with decimals"),
            ("4503599627370497.5", "invalid type: a number with decimals"),
            ("\"5\"", "invalid type: a string"),
            ("true", "invalid type: true or false"),
            ("null", "invalid type: null"),
            ("[5]", "invalid type: an array"),
            ("-1", "invalid value: a number out of range"),
            ("1e999999", "invalid value: a number out of range"),
            ("4294967296", "invalid value: a number out of range"),
        ] {
            let error = body(&format!("{{\"id\": 1, \"lines\": [{{\"quantity\": {json}}}]}}")).expect_err(json);
            let message = format!("{found}, expected a whole number from 0 to 4294967295");
            assert!(error.starts_with(&message), "{json}: {error}");
        }
    }
}
