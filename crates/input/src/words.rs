//! What parsers of programs say, in words for the people who write the clients.
//!
//! serde and the readers on top of it speak of Rust: `invalid type: floating point, expected u32`. And they repeat what
//! was sent, which may be a card number in the wrong field. Here it becomes `must be a whole number from 0 to 4294967295`.

use std::borrow::Cow;

use shop_fault::FieldError;

/// What is wrong with the value at `path`, from serde's sentence about it.
pub fn field_error(path: &str, sentence: &str) -> FieldError {
    let named = |prefix: &str| sentence.strip_prefix(prefix).and_then(|rest| rest.split('`').next());
    if let Some(name) = named("missing field `") {
        return FieldError::new(join(path, name), "required", "is required");
    }
    if let Some(name) = named("unknown field `") {
        return FieldError::new(join(path, name), "unknown_field", "is not known here");
    }
    if let Some(name) = named("duplicate field `") {
        return FieldError::new(join(path, name), "duplicate_field", "is given more than once");
    }
    // What was sent stands before the last "expected", and may itself hold the word.
    let wanted = sentence.rsplit_once(", expected ").map(|(_, wanted)| wanted);
    let (code, message) = match wanted {
        Some(wanted) if sentence.starts_with("invalid type: ") => ("invalid_type", must_be(wanted).into()),
        Some(wanted) if sentence.starts_with("invalid value: ") => ("invalid_value", must_be(wanted).into()),
        Some(wanted) if sentence.starts_with("invalid length ") => ("invalid_value", must_be(wanted).into()),
        Some(wanted) if sentence.starts_with("unknown variant `") => ("invalid_value", one_of(quoted(wanted)).into()),
        _ => syntax(sentence).unwrap_or_else(|| ("invalid_value", Cow::Owned(sentence.to_owned()))),
    };
    FieldError::new(if path == "." || path.is_empty() { "body" } else { path }, code, message)
}

/// `must be …`, from what a `Visitor` says it expects.
pub fn must_be(wanted: &str) -> String {
    format!("must be {}", kind(wanted))
}

/// `must be one of …`.
pub fn one_of<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<_> = names.into_iter().collect();
    format!("must be one of {}", names.join(", "))
}

/// What a value is to be, without the names that Rust has for it.
fn kind(wanted: &str) -> Cow<'_, str> {
    macro_rules! whole {
        ($($name:literal $nonzero:literal $type:ty,)*) => {
            match wanted {
                $($name => return format!("a whole number from {} to {}", <$type>::MIN, <$type>::MAX).into(),
                $nonzero => return format!("a whole number from 1 to {}", <$type>::MAX).into(),)*
                _ => {}
            }
        };
    }
    whole! {
        "i8" "a nonzero i8" i8,
        "i16" "a nonzero i16" i16,
        "i32" "a nonzero i32" i32,
        "i64" "a nonzero i64" i64,
        "u8" "a nonzero u8" u8,
        "u16" "a nonzero u16" u16,
        "u32" "a nonzero u32" u32,
        "u64" "a nonzero u64" u64,
        "usize" "a nonzero usize" u64,
    }
    match wanted {
        "string" | "a borrowed string" | "str" | "string or map" => "a string".into(),
        "a boolean" | "bool" => "true or false".into(),
        "f32" | "f64" => "a number".into(),
        "a sequence" => "a list".into(),
        "a map" => "an object".into(),
        "unit" | "option" => "null".into(),
        _ if wanted.starts_with("struct ") => "an object".into(),
        _ if wanted.starts_with("tuple ") || wanted.starts_with("an array of ") => "a list".into(),
        _ if wanted.starts_with("enum ") || wanted == "variant identifier" => {
            "one of the names that are known here".into()
        }
        _ => wanted.into(),
    }
}

/// The names in backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// What `serde_json` says about a value that JSON allows and a field cannot take.
fn syntax(sentence: &str) -> Option<(&'static str, Cow<'static, str>)> {
    Some(match sentence {
        "number out of range" => ("out_of_range", "is too large a number".into()),
        "recursion limit exceeded" => ("invalid_value", "is nested too deeply".into()),
        "lone leading surrogate in hex escape" | "unexpected end of hex escape" | "invalid unicode code point" => {
            ("invalid_value", "holds an escape that is no character".into())
        }
        // An enum sees no string.
        "expected value" => ("invalid_type", "must be one of the names that are known here".into()),
        _ => return None,
    })
}

/// What is wrong with a text that is no JSON, from what `serde_json` says: goes on from "the body is not JSON: ".
pub(crate) fn malformed(sentence: &str) -> &'static str {
    match sentence {
        _ if sentence.starts_with("EOF ") => "it ends too early",
        _ if sentence.starts_with("control character") => "a control character in a text is not escaped",
        "trailing characters" => "something follows after its end",
        "trailing comma" => "there is a comma too many",
        "key must be a string" => "a name is not in quotes",
        "invalid escape" | "lone leading surrogate in hex escape" | "unexpected end of hex escape" => {
            "an escape in a text is not one"
        }
        "invalid number" => "a number is not written as JSON writes it",
        "expected `:`" => "a colon is missing",
        _ if sentence.starts_with("expected `,`") => "a comma or the closing bracket is missing",
        _ => "there is no value here",
    }
}

/// `name` inside of `path`, where the tracker may or may not have seen `name` already.
fn join(path: &str, name: &str) -> String {
    if path == "." || path == name {
        return name.to_owned();
    }
    if path.ends_with(&format!(".{name}")) { path.to_owned() } else { format!("{path}.{name}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_become_words_for_people() {
        for (sentence, field, code, message) in [
            ("missing field `name`", "a.name", "required", "is required"),
            ("unknown field `nam`, expected `name` or `b`", "a.nam", "unknown_field", "is not known here"),
            ("duplicate field `name`", "a.name", "duplicate_field", "is given more than once"),
            (
                "invalid type: floating point `1.0`, expected u32",
                "a",
                "invalid_type",
                "must be a whole number from 0 to 4294967295",
            ),
            ("invalid value: integer `-1`, expected u8", "a", "invalid_value", "must be a whole number from 0 to 255"),
            (
                "invalid value: integer `0`, expected a nonzero u16",
                "a",
                "invalid_value",
                "must be a whole number from 1 to 65535",
            ),
            ("invalid type: map, expected a string", "a", "invalid_type", "must be a string"),
            (
                "invalid type: string \"x, expected u8\", expected a boolean",
                "a",
                "invalid_type",
                "must be true or false",
            ),
            ("invalid type: null, expected struct Order", "a", "invalid_type", "must be an object"),
            (
                "invalid type: null, expected a whole number from 1",
                "a",
                "invalid_type",
                "must be a whole number from 1",
            ),
            ("unknown variant `x`, expected `a` or `b`", "a", "invalid_value", "must be one of a, b"),
            ("unknown variant `x`, expected one of `a`, `b`, `c`", "a", "invalid_value", "must be one of a, b, c"),
            ("number out of range", "a", "out_of_range", "is too large a number"),
            ("must be a string", "a", "invalid_value", "must be a string"),
        ] {
            let told = field_error("a", sentence);
            assert_eq!((&*told.field, &*told.code, &*told.message), (field, code, message), "{sentence}");
        }
        assert_eq!(field_error(".", "invalid type: map, expected a string").field, "body");
    }
}
