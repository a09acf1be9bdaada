//! Compression of a route's answers.

use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, LazyLock};

use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use shop_config::Problems;

/// Whether answers are compressed for clients that take it: `true`, `false`, or a table, which means that they are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Compress {
    /// Off by default: it costs processor time, and a service may do it better.
    pub enabled: bool,
    /// Also answers with `Set-Cookie` or `Cache-Control: private`. Off by default: where a page has both a secret and what an
    /// attacker made its reader ask for, the size tells the secret bit by bit (BREACH).
    pub secrets: bool,
    /// Of which media types: `text/html`, `text/*`, `*/*+json`.
    pub types: MediaTypes,
}

/// Media types, or patterns of them. Shared, since nearly all routes have the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<String>", into = "Vec<String>")]
pub struct MediaTypes(Arc<Vec<String>>);

impl Default for MediaTypes {
    /// What is text inside. Pictures, films and archives are compressed already.
    fn default() -> Self {
        static TEXTS: LazyLock<MediaTypes> = LazyLock::new(|| {
            let types = [
                "text/*",
                "application/json",
                "application/xml",
                "application/javascript",
                "application/wasm",
                "image/svg+xml",
                "*/*+json",
                "*/*+xml",
            ];
            MediaTypes(Arc::new(types.map(str::to_owned).into()))
        });
        TEXTS.clone()
    }
}

impl From<Vec<String>> for MediaTypes {
    fn from(types: Vec<String>) -> Self {
        Self(Arc::new(types))
    }
}

impl From<MediaTypes> for Vec<String> {
    fn from(types: MediaTypes) -> Self {
        types.to_vec()
    }
}

impl Deref for MediaTypes {
    type Target = [String];

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl MediaTypes {
    /// Whether `kind`, the value of a `Content-Type`, is one of them.
    pub(crate) fn fit(&self, kind: &str) -> bool {
        let kind = kind.split(';').next().unwrap_or_default().trim();
        self.iter().any(|pattern| fits(pattern, kind))
    }
}

/// Whether the `pattern` fits a media type, which has no parameters here (RFC 9110, section 8.3.1).
fn fits(pattern: &str, kind: &str) -> bool {
    let (Some((main, sub)), Some((own_main, own_sub))) = (pattern.split_once('/'), kind.split_once('/')) else {
        return false;
    };
    let is_sub = match sub.strip_prefix('*') {
        Some(end) => {
            let begin = own_sub.len().checked_sub(end.len());
            begin.and_then(|begin| own_sub.get(begin..)).is_some_and(|own| own.eq_ignore_ascii_case(end))
        }
        None => sub.eq_ignore_ascii_case(own_sub),
    };
    is_sub && (main == "*" || main.eq_ignore_ascii_case(own_main))
}

impl Compress {
    /// Finds wrong values.
    pub(super) fn check(&self, problems: &mut Problems) {
        problems.ensure(!self.enabled || !self.types.is_empty(), "types", "name a media type, or leave it out");
        for (index, kind) in self.types.iter().enumerate() {
            let is_word = |word: &str| {
                let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&byte);
                !word.is_empty() && word.bytes().all(is_plain)
            };
            let is_type = kind.split_once('/').is_some_and(|(main, sub)| {
                let is_main = main == "*" || is_word(main);
                is_main && (sub == "*" || is_word(sub.strip_prefix('*').unwrap_or(sub)))
            });
            problems.ensure(
                is_type,
                &format!("types.{index}"),
                "write a media type such as text/html, text/* or */*+json",
            );
        }
    }
}

/// The table.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Fields {
    enabled: bool,
    secrets: bool,
    types: MediaTypes,
}

impl Default for Fields {
    fn default() -> Self {
        Self { enabled: true, secrets: false, types: MediaTypes::default() }
    }
}

impl<'de> Deserialize<'de> for Compress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Compress;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("true, false or a table such as { secrets = true }")
            }

            fn visit_bool<E: de::Error>(self, enabled: bool) -> Result<Compress, E> {
                Ok(Compress { enabled, ..Compress::default() })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Compress, A::Error> {
                let Fields { enabled, secrets, types } = Fields::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Compress { enabled, secrets, types })
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_switch_or_a_table() {
        let read = |value| serde_json::from_value::<Compress>(value).expect("compression");
        let on = Compress { enabled: true, ..Compress::default() };
        for (value, expected) in [
            (serde_json::json!(true), on.clone()),
            (serde_json::json!(false), Compress::default()),
            (serde_json::json!({}), on.clone()),
            (serde_json::json!({"secrets": true}), Compress { secrets: true, ..on.clone() }),
            (serde_json::json!({"types": ["text/*"]}), Compress { types: vec!["text/*".to_owned()].into(), ..on }),
        ] {
            let compress = read(value);
            assert_eq!(compress, expected);
            assert_eq!(read(serde_json::to_value(&compress).expect("serialises")), expected, "as it is shown");
        }
        for wrong in [serde_json::json!("yes"), serde_json::json!({"level": 9})] {
            assert!(serde_json::from_value::<Compress>(wrong.clone()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_text_inside_is_compressed() {
        for (kind, expected) in [
            ("text/html", true),
            ("text/event-stream", true),
            ("Text/HTML; charset=utf-8", true),
            ("application/json ;charset=utf-8", true),
            ("application/problem+json", true),
            ("application/atom+xml", true),
            ("image/svg+xml", true),
            ("application/wasm", true),
            ("image/png", false),
            ("application/jsonp", false),
            ("application/grpc", false),
            ("application/octet-stream", false),
            ("json", false),
            ("", false),
        ] {
            assert_eq!(MediaTypes::default().fit(kind), expected, "{kind}");
        }
    }
}
