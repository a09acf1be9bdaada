//! Schemas in the form that validators, generators and readers take best.

use serde_json::{Map, Value, json};

use super::members;
use crate::describe;

/// How an id that a service makes is written (RFC 9562, section 4).
const UUID: &str = "^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$";

/// Straightens a schema in place: closed where it does not say that it is open (bodies are read strictly, and answers
/// hold what is described), a description at what it describes, no default where there is none, `null` as a type.
pub(super) fn schema(part: &mut Value) {
    let Some(fields) = part.as_object_mut() else { return };
    if fields.get("default") == Some(&Value::Null) {
        fields.remove("default");
    }
    if fields.contains_key("properties") && !fields.contains_key("additionalProperties") {
        fields.insert("additionalProperties".to_owned(), false.into());
    }
    for key in ["properties", "patternProperties"] {
        fields.get_mut(key).map(members).into_iter().flatten().for_each(schema);
    }
    for key in ["items", "additionalProperties", "propertyNames"] {
        fields.get_mut(key).into_iter().for_each(schema);
    }
    for key in ["allOf", "oneOf", "anyOf"] {
        fields.get_mut(key).and_then(Value::as_array_mut).into_iter().flatten().for_each(schema);
    }
    described(fields);
    nulled(fields);
    if let Some(amount) = amount_beside_currency(fields)
        && let Value::Object(rules) = describe::by_currency(&amount)
    {
        fields.extend(rules);
    }
    if fields.get("format").is_some_and(|format| format == "uuid") {
        fields.insert("pattern".to_owned(), UUID.into());
        fields.insert("minLength".to_owned(), 36.into());
        fields.insert("maxLength".to_owned(), 36.into());
    }
}

/// The name of an amount that is sent in together with its currency, which says how many decimals it may have.
fn amount_beside_currency(fields: &Map<String, Value>) -> Option<String> {
    let properties = fields.get("properties")?.as_object()?;
    properties.get("currency")?;
    let is_amount = |schema: &Value| schema.to_string().contains("\"#/components/schemas/AmountSent\"");
    properties.iter().find(|(_, schema)| is_amount(schema)).map(|(name, _)| name.clone())
}

/// `allOf` of a schema and its description is the schema, described.
fn described(fields: &mut Map<String, Value>) {
    let Some([Value::Object(only), Value::Object(words)]) = array(fields, "allOf") else { return };
    if words.keys().any(|key| key != "description") {
        return;
    }
    let (only, words) = (only.clone(), words.clone());
    fields.remove("allOf");
    fields.extend(only);
    fields.extend(words);
}

/// Either `null` or of one plain type is of two types.
fn nulled(fields: &mut Map<String, Value>) {
    let Some([null, Value::Object(other)]) = array(fields, "oneOf") else { return };
    let (true, Some(Value::String(kind))) = (null == &json!({"type": "null"}), other.get("type")) else { return };
    let (kind, mut other) = (kind.clone(), other.clone());
    other.insert("type".to_owned(), json!([kind, "null"]));
    if let Some(names) = other.get_mut("enum").and_then(Value::as_array_mut) {
        names.push(Value::Null);
    }
    fields.remove("oneOf");
    fields.extend(other);
}

fn array<'a>(fields: &'a Map<String, Value>, key: &str) -> Option<&'a [Value]> {
    fields.get(key).and_then(Value::as_array).map(Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemas_are_straightened() {
        for (crooked, straight) in [
            (
                json!({"type": "object", "properties": {"a": {"type": "number", "default": null}}}),
                json!({"type": "object", "properties": {"a": {"type": "number"}}, "additionalProperties": false}),
            ),
            (
                json!({"type": "object", "properties": {"a": {"type": "null"}}, "additionalProperties": true}),
                json!({"type": "object", "properties": {"a": {"type": "null"}}, "additionalProperties": true}),
            ),
            (
                json!({"allOf": [{"$ref": "#/components/schemas/A"}, {"description": "whose"}]}),
                json!({"$ref": "#/components/schemas/A", "description": "whose"}),
            ),
            (
                json!({"allOf": [{"type": "string"}, {"properties": {}}]}),
                json!({"allOf": [{"type": "string"}, {"properties": {}, "additionalProperties": false}]}),
            ),
            (
                json!({"oneOf": [{"type": "null"}, {"type": "string", "enum": ["a"]}], "description": "one"}),
                json!({"type": ["string", "null"], "enum": ["a", null], "description": "one"}),
            ),
            (
                json!({"oneOf": [{"type": "null"}, {"$ref": "#/components/schemas/A"}]}),
                json!({"oneOf": [{"type": "null"}, {"$ref": "#/components/schemas/A"}]}),
            ),
            (
                json!({"type": "array", "items": {"type": "string", "format": "uuid"}}),
                json!({"type": "array", "items": {"type": "string", "format": "uuid", "pattern": UUID,
                    "minLength": 36, "maxLength": 36}}),
            ),
        ] {
            let mut found = crooked.clone();
            schema(&mut found);
            assert_eq!(found, straight, "{crooked}");
        }
    }
}
