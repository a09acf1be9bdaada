//! A JSON object, read strictly: what is unknown, repeated, missing or of another type is refused by name.

use serde::de::{DeserializeOwned, IgnoredAny};
use serde_ignored::Path as Ignored;
use shop_fault::{Fault, FieldError, Kind};
use shop_number::Exact;

use crate::words;

/// Why a text was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// It is no JSON; says where and why.
    Malformed(String),
    /// These of its fields are wrong.
    Fields(Vec<FieldError>),
}

impl From<Refused> for Fault {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Malformed(detail) => Self::new(Kind::Malformed, "malformed_json", detail),
            Refused::Fields(fields) => Self::invalid(fields),
        }
    }
}

/// Most unknown fields named in one answer, which must not become many times the size of the request.
const MAX_UNKNOWN: usize = 20;

/// The object in `text`. Reports paths such as `items[0].quantity`.
pub fn parse<T: DeserializeOwned>(text: &[u8]) -> Result<T, Refused> {
    if text.is_empty() {
        return Err(Refused::Malformed("the body is empty; send a JSON object".to_owned()));
    }
    let Ok(text) = std::str::from_utf8(text) else {
        return Err(Refused::Malformed("the body is not JSON: it is not UTF-8".to_owned()));
    };
    // serde would also fill a struct from an array, by position: nothing a client should come to rely on.
    if !text.trim_start().starts_with('{') {
        let wrong = FieldError::new("body", "invalid_type", "must be a JSON object");
        return Err(no_json(text).map_or_else(|| Refused::Fields(vec![wrong]), |error| malformed(&error)));
    }
    let mut unknown = Vec::new();
    let mut track = serde_path_to_error::Track::new();
    let mut json = serde_json::Deserializer::from_str(text);
    let tracked = serde_path_to_error::Deserializer::new(Exact(&mut json), &mut track);
    let read = serde_ignored::deserialize(tracked, |path| {
        if unknown.len() < MAX_UNKNOWN {
            unknown.push(written(&path));
        }
    });
    let value = match read.and_then(|value| json.end().map(|()| value)) {
        Ok(value) => value,
        Err(error) => {
            // JSON that a field cannot take is also called a syntax error: a number over all bounds, for one.
            if !error.is_data() && no_json(text).is_some() {
                return Err(malformed(&error));
            }
            return Err(Refused::Fields(vec![words::field_error(&track.path().to_string(), &sentence(&error))]));
        }
    };
    if unknown.is_empty() {
        return Ok(value);
    }
    let refuse = |field: String| FieldError::new(field, "unknown_field", "is not known here");
    Err(Refused::Fields(unknown.into_iter().map(refuse).collect()))
}

/// Why `text` is no JSON; none when it is.
fn no_json(text: &str) -> Option<serde_json::Error> {
    serde_json::from_str::<IgnoredAny>(text).err()
}

fn malformed(error: &serde_json::Error) -> Refused {
    let what = words::malformed(&sentence(error));
    Refused::Malformed(format!("the body is not JSON: {what} (line {}, column {})", error.line(), error.column()))
}

/// What the error says, without the position: in a field error the path says more.
fn sentence(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let position = format!(" at line {} column {}", error.line(), error.column());
    text.strip_suffix(&position).map_or_else(|| text.clone(), str::to_owned)
}

/// `path` the way the tracker writes it: `items[0].quantity`.
fn written(path: &Ignored<'_>) -> String {
    match path {
        Ignored::Root => String::new(),
        Ignored::Seq { parent, index } => format!("{}[{index}]", written(parent)),
        Ignored::Map { parent, key } => match written(parent) {
            above if above.is_empty() => key.clone(),
            above => format!("{above}.{key}"),
        },
        Ignored::Some { parent } | Ignored::NewtypeStruct { parent } | Ignored::NewtypeVariant { parent } => {
            written(parent)
        }
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Colour {
        Red,
        Blue,
    }

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "only read by serde")]
    struct Thing {
        count: u32,
        name: Option<String>,
        colour: Option<Colour>,
        #[serde(default)]
        parts: Vec<Thing>,
    }

    /// The code, and the first field with what is said of it.
    fn refused(text: &str) -> (String, String) {
        match parse::<Thing>(text.as_bytes()).expect_err(text) {
            Refused::Malformed(detail) => ("malformed".to_owned(), detail),
            Refused::Fields(fields) => (fields[0].field.clone(), fields[0].message.clone()),
        }
    }

    #[test]
    fn what_is_wrong_is_named_in_words_for_people() {
        let whole = "must be a whole number from 0 to 4294967295";
        for (text, field, message) in [
            ("{}", "count", "is required"),
            (r#"{"count":"1"}"#, "count", whole),
            (r#"{"count":-1}"#, "count", whole),
            (r#"{"count":1.5}"#, "count", whole),
            (r#"{"count":4294967296}"#, "count", whole),
            (r#"{"count":1e400}"#, "count", whole),
            (r#"{"count":1,"count":2}"#, "count", "is given more than once"),
            (r#"{"count":1,"name":{}}"#, "name", "must be a string"),
            (r#"{"count":1,"name":"\ud800"}"#, "name", "holds an escape that is no character"),
            (r#"{"count":1,"colour":"green"}"#, "colour", "must be one of red, blue"),
            (r#"{"count":1,"colour":7}"#, "colour", "must be one of the names that are known here"),
            (r#"{"count":1,"parts":{}}"#, "parts", "must be a list"),
            (r#"{"count":1,"parts":[{"count":1},{"count":null}]}"#, "parts[1].count", whole),
            (r#"{"count":1,"parts":[[1]]}"#, "parts[0]", "must be an object"),
            (r#"{"count":1,"cuont":2}"#, "cuont", "is not known here"),
            (r#"{"count":1,"parts":[{"count":1,"x":1}]}"#, "parts[0].x", "is not known here"),
            ("[]", "body", "must be a JSON object"),
            ("1", "body", "must be a JSON object"),
        ] {
            assert_eq!(refused(text), (field.to_owned(), message.to_owned()), "{text}");
        }
    }

    #[test]
    fn what_is_no_json_is_told_with_its_place() {
        for (text, detail) in [
            ("", "the body is empty; send a JSON object"),
            (r#"{"count":1"#, "the body is not JSON: it ends too early (line 1, column 10)"),
            (r#"{"count":1} x"#, "the body is not JSON: something follows after its end (line 1, column 13)"),
            (r#"{"count":01}"#, "the body is not JSON: a number is not written as JSON writes it (line 1, column 11)"),
            ("{\"count\":1,}", "the body is not JSON: there is a comma too many (line 1, column 12)"),
            ("{count:1}", "the body is not JSON: a name is not in quotes (line 1, column 2)"),
            ("{\"count\" 1}", "the body is not JSON: a colon is missing (line 1, column 10)"),
            ("x", "the body is not JSON: there is no value here (line 1, column 1)"),
            (
                "{\"name\":\"a\nb\"}",
                "the body is not JSON: a control character in a text is not escaped (line 2, column 0)",
            ),
        ] {
            assert_eq!(refused(text), ("malformed".to_owned(), detail.to_owned()), "{text}");
        }
        let Refused::Malformed(detail) = parse::<Thing>(b"{\"name\":\"\xff\"}").expect_err("no UTF-8") else {
            panic!("fields")
        };
        assert_eq!(detail, "the body is not JSON: it is not UTF-8");
    }

    #[test]
    fn deep_nesting_is_refused_and_costs_no_stack() {
        let deep = |open: &str, close: &str| format!("{}{}", open.repeat(50_000), close.repeat(50_000));
        let name = format!("{{\"count\":1,\"name\":{}}}", deep("[", "]"));
        assert_eq!(refused(&name).1, "must be a string");
        let nested = format!("{}{}", r#"{"count":1,"parts":["#.repeat(50_000), "]}".repeat(50_000));
        assert_eq!(refused(&nested).1, "is nested too deeply");
        assert_eq!(refused(&"[".repeat(100_000)).0, "malformed");
    }
}
