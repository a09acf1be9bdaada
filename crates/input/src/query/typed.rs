//! The query string as a typed struct, strictly: what is unknown, repeated or ill-typed is refused by name.

use std::any::type_name;
use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::de::value::StrDeserializer;
use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, Expected, IntoDeserializer, MapAccess, SeqAccess,
    Unexpected, Visitor,
};
use shop_fault::Fault;

use super::pairs;
use crate::{invalid_parameter, words};

/// Most parameters taken, repeats included: no list has more, and each is looked for among those before it.
const MAX: usize = 128;

/// The parameters of `query`; 400 `invalid_parameter` naming one when it is unknown, repeated or ill-typed.
///
/// A field of type `Vec` takes a parameter that is given several times. An `Option` is `None` when it is absent.
pub fn parse<T: DeserializeOwned>(query: &str) -> Result<T, Fault> {
    T::deserialize(Pairs::of(query)?)
        .map_err(|Refused { parameter, message }| invalid_parameter(parameter.as_deref().unwrap_or("query"), message))
}

/// The parameters in order of first appearance, each with all its values.
struct Pairs<'a> {
    rest: std::vec::IntoIter<(Cow<'a, str>, Vec<Cow<'a, str>>)>,
    current: Option<(Cow<'a, str>, Vec<Cow<'a, str>>)>,
}

impl<'a> Pairs<'a> {
    fn of(query: &'a str) -> Result<Self, Fault> {
        let mut all: Vec<(Cow<'a, str>, Vec<Cow<'a, str>>)> = Vec::new();
        for (count, pair) in pairs(query).enumerate() {
            if count == MAX {
                return Err(invalid_parameter("query", format!("has more than {MAX} parameters")));
            }
            let (name, value) = pair.map_err(|wrong| invalid_parameter(&wrong.parameter, wrong.to_string()))?;
            match all.iter_mut().find(|(known, _)| *known == name) {
                Some((_, values)) => values.push(value),
                None => all.push((name, vec![value])),
            }
        }
        Ok(Self { rest: all.into_iter(), current: None })
    }
}

/// What is wrong with which parameter.
#[derive(Debug)]
struct Refused {
    parameter: Option<String>,
    message: String,
}

impl Refused {
    fn on(mut self, name: &str) -> Self {
        self.parameter.get_or_insert_with(|| name.to_owned());
        self
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Refused {}

impl de::Error for Refused {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self { parameter: None, message: message.to_string() }
    }

    fn unknown_field(field: &str, _expected: &'static [&'static str]) -> Self {
        Self { parameter: Some(field.to_owned()), message: "is not known here".to_owned() }
    }

    fn unknown_variant(_variant: &str, expected: &'static [&'static str]) -> Self {
        Self { parameter: None, message: words::one_of(expected.iter().copied()) }
    }

    fn invalid_type(_sent: Unexpected<'_>, wanted: &dyn Expected) -> Self {
        Self { parameter: None, message: words::must_be(&wanted.to_string()) }
    }

    fn invalid_value(sent: Unexpected<'_>, wanted: &dyn Expected) -> Self {
        Self::invalid_type(sent, wanted)
    }

    fn missing_field(field: &'static str) -> Self {
        Self { parameter: Some(field.to_owned()), message: "is required".to_owned() }
    }

    fn duplicate_field(field: &'static str) -> Self {
        Self { parameter: Some(field.to_owned()), message: "is given more than once".to_owned() }
    }
}

impl<'de> Deserializer<'de> for Pairs<'_> {
    type Error = Refused;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        visitor.visit_map(self)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
        unit_struct newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

impl<'de> MapAccess<'de> for Pairs<'_> {
    type Error = Refused;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Refused> {
        self.current = self.rest.next();
        let Some((name, _)) = &self.current else { return Ok(None) };
        let key: StrDeserializer<'_, Refused> = name.as_ref().into_deserializer();
        seed.deserialize(key).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Refused> {
        let Some((name, values)) = self.current.take() else {
            return Err(de::Error::custom("has no value"));
        };
        seed.deserialize(Values(values)).map_err(|refused| refused.on(&name))
    }
}

/// The values of one parameter: a scalar takes exactly one, a sequence any number.
struct Values<'a>(Vec<Cow<'a, str>>);

impl Values<'_> {
    fn one(&self) -> Result<&str, Refused> {
        match self.0.as_slice() {
            [only] => Ok(only),
            _ => Err(de::Error::custom("is given more than once")),
        }
    }

    /// A number has one spelling: no plus sign, no leading zeros.
    fn whole<T: FromStr + ToString>(self) -> Result<T, Refused> {
        let text = self.one()?;
        let read = text.parse().ok().filter(|value: &T| value.to_string() == text);
        read.ok_or_else(|| de::Error::custom(words::must_be(type_name::<T>())))
    }
}

impl<'de> Deserializer<'de> for Values<'_> {
    type Error = Refused;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        visitor.visit_str(self.one()?)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        match self.one()? {
            "true" => visitor.visit_bool(true),
            "false" => visitor.visit_bool(false),
            _ => Err(de::Error::custom("must be true or false")),
        }
    }

    shop_number::deserialize_whole!(Refused, Self::whole);

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Refused> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        visitor.visit_seq(Each(self.0.into_iter()))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refused> {
        let value: StrDeserializer<'_, Refused> = self.one()?.into_deserializer();
        visitor.visit_enum(value)
    }

    /// A struct that does not know the parameter skips it this way; here that is an error.
    fn deserialize_ignored_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, Refused> {
        Err(de::Error::custom("is not known here"))
    }

    serde::forward_to_deserialize_any! {
        i128 u128 f32 f64 char str string bytes byte_buf unit unit_struct tuple tuple_struct map struct identifier
    }
}

struct Each<'a>(std::vec::IntoIter<Cow<'a, str>>);

impl<'de> SeqAccess<'de> for Each<'_> {
    type Error = Refused;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Refused> {
        self.0.next().map(|value| seed.deserialize(Values(vec![value]))).transpose()
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use shop_fault::Kind;
    use shop_page::Limit;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Sort {
        Price,
        #[serde(rename = "-price")]
        PriceDown,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct Filter {
        #[serde(default)]
        limit: Limit,
        q: Option<String>,
        in_stock: Option<bool>,
        sort: Option<Sort>,
        #[serde(default)]
        id: Vec<i64>,
    }

    fn refused(query: &str) -> (String, String) {
        let fault = parse::<Filter>(query).expect_err(query);
        assert_eq!((fault.kind(), fault.code()), (Kind::Malformed, "invalid_parameter"), "{query}");
        (fault.fields()[0].field.clone(), fault.fields()[0].message.clone())
    }

    #[test]
    fn a_query_becomes_a_struct() {
        let filter: Filter = parse("limit=5&q=red+shoe%21&in_stock=true&sort=-price&id=1&id=2").expect("valid");
        assert_eq!(filter.limit.get(), 5);
        assert_eq!(filter.q.as_deref(), Some("red shoe!"));
        assert_eq!((filter.in_stock, filter.sort, filter.id), (Some(true), Some(Sort::PriceDown), vec![1, 2]));
        assert_eq!(parse::<Filter>("").expect("nothing is required").limit.get(), 20);
    }

    #[test]
    fn what_is_wrong_is_named() {
        assert_eq!(refused("colour=red"), ("colour".to_owned(), "is not known here".to_owned()));
        assert_eq!(refused("q=a&q=b"), ("q".to_owned(), "is given more than once".to_owned()));
        assert_eq!(refused("in_stock=maybe"), ("in_stock".to_owned(), "must be true or false".to_owned()));
        for text in ["id=1&id=x", "id=%2B1", "id=01", "id=1.0", "id=99999999999999999999"] {
            let whole = "must be a whole number from -9223372036854775808 to 9223372036854775807";
            assert_eq!(refused(text), ("id".to_owned(), whole.to_owned()), "{text}");
        }
        assert_eq!(refused("sort=size"), ("sort".to_owned(), "must be one of price, -price".to_owned()));
        for text in ["limit=0", "limit=101", "limit=", "limit=-1", "limit=%2B5", "limit=05", "limit=5.0", "limit=x"] {
            assert_eq!(
                refused(text),
                ("limit".to_owned(), "must be a whole number from 1 to 100".to_owned()),
                "{text}"
            );
        }
        assert_eq!(refused("limit=1&limit=1"), ("limit".to_owned(), "is given more than once".to_owned()));
        assert_eq!(refused("limit=1&q=%ff"), ("q".to_owned(), "is not UTF-8".to_owned()));
        let many: Vec<String> = (0..200).map(|n| n.to_string()).collect();
        assert_eq!(refused(&many.join("&")), ("query".to_owned(), "has more than 128 parameters".to_owned()));
    }
}
