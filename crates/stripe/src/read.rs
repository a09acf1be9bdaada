//! Members of an answer that may not be there, or not be what they should be.

use serde_json::Value;

/// Why an object of Stripe's cannot be read.
#[derive(Debug)]
pub(crate) struct Malformed(pub(crate) String);

/// A text that is not empty.
pub(crate) fn text(value: &Value, name: &str) -> Option<String> {
    value.get(name)?.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}

/// A whole number.
pub(crate) fn whole(value: &Value, name: &str) -> Option<i64> {
    value.get(name)?.as_i64()
}

/// A flag; not set when it is missing.
pub(crate) fn flag(value: &Value, name: &str) -> bool {
    value.get(name).and_then(Value::as_bool).unwrap_or_default()
}

/// The id of an object that is either told by its id or written out.
pub(crate) fn reference(value: &Value, name: &str) -> Option<String> {
    let value = value.get(name)?;
    value.as_str().map(str::to_owned).or_else(|| text(value, "id"))
}

/// Names and texts that somebody noted on an object.
pub(crate) fn metadata(value: &Value) -> Vec<(String, String)> {
    let members = value.get("metadata").and_then(Value::as_object).into_iter().flatten();
    members.filter_map(|(name, text)| Some((name.clone(), text.as_str()?.to_owned()))).collect()
}

/// What was noted under `name`.
pub(crate) fn noted<'a>(metadata: &'a [(String, String)], name: &str) -> Option<&'a str> {
    metadata.iter().find(|(known, _)| known == name).map(|(_, text)| text.as_str())
}
