//! Which paths a route is for.

use std::fmt;
use std::str::FromStr;

use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::message::path;

/// Which paths a route is for: `/about` is this one, `/api/products/*` is `/api/products` and all below it, and `{id}` stands
/// for any one segment, as in `/users/{id}/orders`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathPattern {
    text: Box<str>,
    segments: Box<[Segment]>,
    has_more: bool,
}

/// One segment of a pattern.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Segment {
    /// This text.
    Literal(Box<str>),
    /// Any text but none, by the name that a rewrite calls it.
    Any(Box<str>),
}

/// Why a text is no pattern of paths.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPath {
    /// It is not written as paths are once they are normalised.
    #[error("{0:?} is not a path such as /about, /api/products/* or /users/{{id}}/orders")]
    NotNormal(String),
    /// A star that is not the last segment.
    #[error("{0:?} has a star that is not its last segment")]
    Star(String),
    /// Braces that are no `{name}`.
    #[error("{0:?} has braces that are no whole segment such as {{id}}")]
    Braces(String),
    /// Two segments of one name.
    #[error("{0:?} has {{{1}}} twice")]
    Twice(String, String),
}

impl FromStr for PathPattern {
    type Err = InvalidPath;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bare = text.strip_suffix("/*");
        let has_more = bare.is_some();
        let not_normal = || InvalidPath::NotNormal(text.to_owned());
        let pieces = match bare {
            Some("") => "",
            Some(bare) => bare.strip_prefix('/').filter(|rest| !rest.is_empty()).ok_or_else(not_normal)?,
            None => text.strip_prefix('/').ok_or_else(not_normal)?,
        };
        let mut segments = Vec::new();
        for piece in pieces.split('/').filter(|_| bare != Some("")) {
            segments.push(segment(piece, text)?);
        }
        for (place, segment) in segments.iter().enumerate() {
            if let Segment::Any(name) = segment
                && segments[..place].contains(segment)
            {
                return Err(InvalidPath::Twice(text.to_owned(), name.to_string()));
            }
        }
        // With something in place of each parameter it is a path, and stays as it is.
        let sample: Vec<_> = segments
            .iter()
            .map(|segment| match segment {
                Segment::Literal(text) => text,
                Segment::Any(_) => "x",
            })
            .collect();
        let is_path = path::is_normal(&format!("/{}", sample.join("/")))
            && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'?' && byte != b'#');
        if !is_path || has_more && sample.last() == Some(&"") {
            return Err(not_normal());
        }
        Ok(Self { text: text.into(), segments: segments.into(), has_more })
    }
}

fn segment(piece: &str, whole: &str) -> Result<Segment, InvalidPath> {
    if piece.contains('*') {
        return Err(InvalidPath::Star(whole.to_owned()));
    }
    let name = piece.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
    match name {
        Some(name) if is_name(name) => Ok(Segment::Any(name.into())),
        None if !piece.contains(['{', '}']) => Ok(Segment::Literal(piece.into())),
        _ => Err(InvalidPath::Braces(whole.to_owned())),
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

impl PathPattern {
    /// As logs name it.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// What a path begins with, or is.
    pub(crate) fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Whether what is below belongs to it too.
    pub(crate) const fn has_more(&self) -> bool {
        self.has_more
    }

    /// Whether a normalised path is one of these.
    pub(crate) fn fits(&self, path: &str) -> bool {
        let mut pieces = path.strip_prefix('/').unwrap_or(path).split('/');
        let fit = self.segments.iter().all(|segment| match (segment, pieces.next()) {
            (Segment::Literal(text), Some(piece)) => **text == *piece,
            (Segment::Any(_), Some(piece)) => !piece.is_empty(),
            (_, None) => false,
        });
        fit && (self.has_more || pieces.next().is_none())
    }

    /// What every path that fits begins with, letter for letter; and whether it is all that is asked of a path but its end.
    pub(crate) fn literal(&self) -> (String, bool) {
        let literals = self.segments.iter().map_while(|segment| match segment {
            Segment::Literal(text) => Some(format!("/{text}")),
            Segment::Any(_) => None,
        });
        (literals.collect(), !self.segments.iter().any(|segment| matches!(segment, Segment::Any(_))))
    }

    /// What of `path`, which fits, each parameter stands for, and what is left of it below the pattern, with its slash.
    pub(crate) fn captures<'p>(&self, path: &'p str) -> (Vec<(&str, &'p str)>, &'p str) {
        let mut rest = path;
        let mut found = Vec::new();
        for segment in &self.segments {
            let inner = rest.strip_prefix('/').unwrap_or(rest);
            let (piece, after) = inner.split_at(inner.find('/').unwrap_or(inner.len()));
            if let Segment::Any(name) = segment {
                found.push((&**name, piece));
            }
            rest = after;
        }
        (found, rest)
    }

    /// Where what it calls a resource is: patterns of one shape fit the same paths.
    pub(crate) fn shape(&self) -> String {
        let pieces = self.segments.iter().map(|segment| match segment {
            Segment::Literal(text) => format!("/{text}"),
            Segment::Any(_) => "/{}".to_owned(),
        });
        pieces.chain(self.has_more.then(|| "/*".to_owned())).collect()
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for PathPattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

/// The same in words: `{ prefix = "/search" }` is `/search/*`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
enum Kind {
    #[serde(rename = "exact")]
    Exact(String),
    #[serde(rename = "prefix")]
    Prefix(String),
    #[serde(rename = "template")]
    Template(String),
}

impl Kind {
    fn text(self) -> String {
        match self {
            Self::Prefix(path) => format!("{}/*", path.strip_suffix('/').unwrap_or(&path)),
            Self::Exact(path) | Self::Template(path) => path,
        }
    }
}

impl<'de> Deserialize<'de> for PathPattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = PathPattern;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a path such as /about, /api/products/* or /users/{id}/orders")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<PathPattern, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<PathPattern, A::Error> {
                let kind = Kind::deserialize(MapAccessDeserializer::new(map))?;
                kind.text().parse().map_err(de::Error::custom)
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_pattern_is_refused() {
        for text in ["/", "/*", "/a", "/a/", "/a/*", "/{a}", "/{a}/b/{c}/*", "/a%2Fb", "/a.b/~c"] {
            let pattern: PathPattern = text.parse().expect(text);
            assert_eq!(pattern.to_string(), text);
        }
        for (text, message) in [
            ("", "is not a path"),
            ("a", "is not a path"),
            ("*", "is not a path"),
            ("//*", "is not a path"),
            ("/a//b", "is not a path"),
            ("/a//*", "is not a path"),
            ("/a/../b", "is not a path"),
            ("/a b", "is not a path"),
            ("/%61", "is not a path"),
            ("/a?b", "is not a path"),
            ("/a#b", "is not a path"),
            ("/a*", "star"),
            ("/*/a", "star"),
            ("/{}", "braces"),
            ("/{a", "braces"),
            ("/x{a}", "braces"),
            ("/{a b}", "braces"),
            ("/{a}/{a}", "twice"),
        ] {
            let error = text.parse::<PathPattern>().expect_err(text).to_string();
            assert!(error.contains(message), "{text}: {error}");
        }
    }

    #[test]
    fn a_path_may_be_said_in_words() {
        for (value, expected) in [
            (serde_json::json!({"prefix": "/search"}), Some("/search/*")),
            (serde_json::json!({"prefix": "/"}), Some("/*")),
            (serde_json::json!({"exact": "/about"}), Some("/about")),
            (serde_json::json!({"template": "/users/{id}"}), Some("/users/{id}")),
            (serde_json::json!({"regex": "/a.*"}), None),
            (serde_json::json!({"prefix": "/a", "exact": "/b"}), None),
            (serde_json::json!({}), None),
        ] {
            let read = serde_json::from_value::<PathPattern>(value.clone()).ok();
            assert_eq!(read.as_ref().map(PathPattern::text), expected, "{value}");
        }
    }

    #[test]
    fn what_a_path_is_made_of_is_told() {
        let captures = |pattern: &str, path: &'static str| {
            let pattern: PathPattern = pattern.parse().expect("a pattern");
            let (found, rest) = pattern.captures(path);
            (found.iter().map(|(name, text)| format!("{name}={text}")).collect::<Vec<_>>().join(" "), rest)
        };
        assert_eq!(captures("/*", "/a/b"), (String::new(), "/a/b"));
        assert_eq!(captures("/a/*", "/a"), (String::new(), ""));
        assert_eq!(captures("/a/*", "/a/"), (String::new(), "/"));
        assert_eq!(captures("/u/{id}/{of}/*", "/u/7/x%2Fy/z"), ("id=7 of=x%2Fy".to_owned(), "/z"));
    }
}
