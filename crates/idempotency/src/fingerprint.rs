//! What makes two requests the same: what they ask for.
//!
//! A client that builds its body again after a restart may order the members otherwise, write `1.0` for `1`, leave out a
//! null or spell out a default. It must still learn what became of its payment, so bodies are compared as parsed, with
//! every default filled in.

use serde_json::Value;
use sha2::{Digest, Sha256};

/// Two hashes (SHA-256) of a request. Either makes it the request of a key, so a repeat over an upgrade is honoured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint {
    /// Of what it asks for: kept with a new key.
    pub asked: [u8; 32],
    /// Of its bytes: what versions before this one kept.
    pub bytes: [u8; 32],
}

impl Fingerprint {
    /// Of an operation, named in a way that no other has, of what it is `asked`, and of the `bytes` an earlier version
    /// would have hashed, in their pieces.
    pub fn new(operation: &str, asked: &Value, bytes: [&[u8]; 2]) -> Self {
        let mut canonical = Vec::new();
        write(asked, &mut canonical);
        // No request's bytes begin so.
        let kept = Sha256::new().chain_update("asked\0").chain_update(operation).chain_update([0]);
        let [head, body] = bytes;
        let earlier = Sha256::new().chain_update(head).chain_update([0]).chain_update(body);
        Self { asked: kept.chain_update(canonical).finalize().into(), bytes: earlier.finalize().into() }
    }

    /// Whether this is the request that a key was taken for, of which `kept` is known.
    pub fn is_of(&self, kept: &[u8]) -> bool {
        self.asked == kept || self.bytes == kept
    }
}

/// `value` as JSON with sorted members, without those that are null.
fn write(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().filter(|(_, value)| !value.is_null()).collect();
            members.sort_unstable_by_key(|(name, _)| *name);
            out.push(b'{');
            for (name, value) in members {
                write(&Value::from(name.as_str()), out);
                out.push(b':');
                write(value, out);
                out.push(b',');
            }
            out.push(b'}');
        }
        Value::Array(items) => {
            out.push(b'[');
            for item in items {
                write(item, out);
                out.push(b',');
            }
            out.push(b']');
        }
        scalar => out.extend_from_slice(scalar.to_string().as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(operation: &str, asked: &Value) -> Fingerprint {
        Fingerprint::new(operation, asked, [b"", b""])
    }

    #[test]
    fn order_and_nulls_make_no_difference_and_everything_else_does() {
        let asked: Value = serde_json::from_str(r#"{"a":1,"b":{"c":"x","d":null},"e":[1,2]}"#).expect("json");
        let same: Value = serde_json::from_str(r#"{"e":[1,2],"f":null,"b":{"c":"x"},"a":1}"#).expect("json");
        assert_eq!(of("x", &asked), of("x", &same));
        for other in [
            json!({"a": 2, "b": {"c": "x"}, "e": [1, 2]}),
            json!({"a": 1, "b": {"c": "y"}, "e": [1, 2]}),
            json!({"a": 1, "b": {}, "c": "x", "e": [1, 2]}),
            json!({"a": 1, "b": {"c": "x"}, "e": [2, 1]}),
            json!({"a": 1, "b": {"c": "x"}, "e": [[1], 2]}),
            json!({"a": "1", "b": {"c": "x"}, "e": [1, 2]}),
        ] {
            assert_ne!(of("x", &asked).asked, of("x", &other).asked, "{other}");
        }
        assert_ne!(of("x", &asked).asked, of("y", &asked).asked);
    }
}
