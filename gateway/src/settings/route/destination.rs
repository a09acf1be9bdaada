//! Where the calls of a route go.

use std::fmt;
use std::str::FromStr;

use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A service, and its share of a route's calls beside the others: `search`, `search;weight=95`. A weight of 0 gets none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// The name of the service.
    pub service: String,
    /// Its share; 1 when not written.
    pub weight: u16,
}

/// Why a text is no destination.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not the name of a service, such as search or search;weight=95")]
pub struct InvalidDestination(String);

impl FromStr for Destination {
    type Err = InvalidDestination;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidDestination(text.to_owned());
        let (service, weight) = match text.split_once(';') {
            None => (text, 1),
            Some((service, option)) => {
                let weight = option.trim().strip_prefix("weight=").ok_or_else(invalid)?;
                (service, weight.parse().ok().filter(|number: &u16| number.to_string() == weight).ok_or_else(invalid)?)
            }
        };
        let service = service.trim();
        if service.is_empty() {
            return Err(invalid());
        }
        Ok(Self { service: service.to_owned(), weight })
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.service)?;
        if self.weight == 1 { Ok(()) } else { write!(f, ";weight={}", self.weight) }
    }
}

/// Services that share the calls of a route, as an array of texts or as one text with commas.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Destinations(pub Vec<Destination>);

impl FromStr for Destinations {
    type Err = InvalidDestination;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let texts = text.split(',').map(str::trim).filter(|text| !text.is_empty());
        texts.map(str::parse).collect::<Result<_, _>>().map(Self)
    }
}

/// A destination as one text, or field by field.
#[derive(Deserialize)]
#[serde(untagged)]
enum Said {
    Text(String),
    Fields {
        service: String,
        #[serde(default = "one")]
        weight: u16,
    },
}

const fn one() -> u16 {
    1
}

impl Serialize for Destinations {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(ToString::to_string))
    }
}

impl<'de> Deserialize<'de> for Destinations {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Destinations;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("names of services such as search or search;weight=95, separated by commas")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Destinations, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Destinations, A::Error> {
                let mut list = Vec::new();
                while let Some(said) = seq.next_element::<Said>()? {
                    list.push(match said {
                        Said::Text(text) => text.parse().map_err(de::Error::custom)?,
                        Said::Fields { service, weight } => Destination { service, weight },
                    });
                }
                list.shrink_to_fit();
                Ok(Destinations(list))
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_are_read_from_text_and_from_an_array() {
        let expected = Destinations(vec![
            Destination { service: "search".to_owned(), weight: 95 },
            Destination { service: "search-next".to_owned(), weight: 1 },
        ]);
        let text = serde_json::json!("search;weight=95, search-next");
        let array = serde_json::json!(["search; weight=95", "search-next;weight=1"]);
        let fields = serde_json::json!([{"service": "search", "weight": 95}, {"service": "search-next"}]);
        for value in [text, array, fields] {
            assert_eq!(serde_json::from_value::<Destinations>(value).expect("services"), expected);
        }
        let written = serde_json::to_value(&expected).expect("serialises");
        assert_eq!(written, serde_json::json!(["search;weight=95", "search-next"]));
        for text in
            [";weight=1", "a;weight=", "a;weight=-1", "a;weight=+1", "a;weight=65536", "a;share=1", "a;weight=01"]
        {
            assert!(text.parse::<Destinations>().is_err(), "{text}");
        }
    }
}
