//! What a webhook is about. It rings the bell: what really happened is asked of Stripe, not read from here.

use serde_json::Value;

use crate::read;

/// What a webhook says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// `evt_…`: the same whenever it is sent again.
    pub id: String,
    /// Such as `payment_intent.succeeded`.
    pub kind: String,
    /// When it was made, in Unix seconds; 0 when that is not said.
    pub created: i64,
    /// Of which connected account, if it is not the own one.
    pub account: Option<String>,
    /// Whether real money moves.
    pub live: bool,
    /// What kind of object it is about: `payment_intent`, `refund`, `charge`, `dispute`, …
    pub object: Option<String>,
    /// The object's id.
    pub object_id: Option<String>,
    /// The payment intent that it concerns: the object, or the one the object belongs to.
    pub intent: Option<String>,
    metadata: Vec<(String, String)>,
}

/// 128 bits of an id's SHA-256: to keep it where ids are of that size.
pub fn fingerprint(id: &str) -> u128 {
    let digest = ring::digest::digest(&ring::digest::SHA256, id.as_bytes());
    digest.as_ref().iter().take(16).fold(0, |bits, byte| bits << 8 | u128::from(*byte))
}

/// Not an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the body is not an event of stripe's")]
pub struct Unreadable;

impl Event {
    /// Reads the body of a webhook. What is missing or odd in it is left out, but for the event's id and kind.
    pub fn read(body: &[u8]) -> Result<Self, Unreadable> {
        let value: Value = serde_json::from_slice(body).map_err(|_| Unreadable)?;
        let about = value.get("data").and_then(|data| data.get("object")).unwrap_or(&Value::Null);
        let (object, object_id) = (read::text(about, "object"), read::text(about, "id"));
        let is_intent = object.as_deref() == Some("payment_intent");
        Ok(Self {
            id: read::text(&value, "id").filter(|id| id.len() <= 255).ok_or(Unreadable)?,
            kind: read::text(&value, "type").filter(|kind| kind.len() <= 255).ok_or(Unreadable)?,
            created: read::whole(&value, "created").unwrap_or_default(),
            account: read::text(&value, "account"),
            live: read::flag(&value, "livemode"),
            intent: if is_intent { object_id.clone() } else { read::reference(about, "payment_intent") },
            metadata: read::metadata(about),
            object,
            object_id,
        })
    }

    /// What was noted on the object under `name`.
    pub fn noted(&self, name: &str) -> Option<&str> {
        read::noted(&self.metadata, name)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event(kind: &str, object: &Value) -> Event {
        let event = json!({"object": "event", "id": "evt_1", "type": kind, "created": 5, "livemode": false,
                           "data": {"object": object}, "pending_webhooks": 1, "something": {"new": []}});
        Event::read(event.to_string().as_bytes()).expect("an event")
    }

    #[test]
    fn the_intent_is_found_whatever_the_event_is_about() {
        let intent = json!({"object": "payment_intent", "id": "pi_1", "metadata": {"payment": "7"}});
        let read = event("payment_intent.succeeded", &intent);
        assert_eq!((read.intent.as_deref(), read.noted("payment")), (Some("pi_1"), Some("7")));
        for object in ["refund", "charge", "dispute"] {
            let read = event("any", &json!({"object": object, "id": "x_1", "payment_intent": "pi_1"}));
            assert_eq!((read.intent.as_deref(), read.object_id.as_deref()), (Some("pi_1"), Some("x_1")));
        }
        let customer = event("customer.created", &json!({"object": "customer", "id": "cus_1"}));
        assert_eq!((customer.intent, customer.object.as_deref()), (None, Some("customer")));
    }

    #[test]
    fn an_event_with_odd_members_is_still_one() {
        for object in [json!(null), json!([]), json!("pi_1"), json!({"id": 1, "object": {}, "payment_intent": 5})] {
            assert_eq!(event("odd", &object).intent, None);
        }
        let bare = Event::read(br#"{"id":"evt_1","type":"x"}"#).expect("an event");
        assert_eq!((bare.created, bare.account), (0, None));
    }

    #[test]
    fn an_id_has_one_fingerprint_of_its_own() {
        assert_eq!(fingerprint("evt_1"), fingerprint("evt_1"));
        assert_ne!(fingerprint("evt_1"), fingerprint("evt_2"));
        assert_eq!(fingerprint(""), 0xe3b0_c442_98fc_1c14_9afb_f4c8_996f_b924, "the first half of SHA-256's");
    }

    #[test]
    fn what_has_no_id_or_kind_is_none() {
        let long = format!(r#"{{"id":"{}","type":"x"}}"#, "e".repeat(256));
        for body in ["", "null", "[]", "{}", r#"{"id":1,"type":"x"}"#, r#"{"id":"evt_1"}"#, "\u{feff}{}", long.as_str()]
        {
            assert_eq!(Event::read(body.as_bytes()), Err(Unreadable), "{body:.40}");
        }
        let deep = format!(r#"{{"id":"evt_1","type":"x","data":{}1{}}}"#, "[".repeat(5000), "]".repeat(5000));
        assert_eq!(Event::read(deep.as_bytes()), Err(Unreadable), "not a stack that overflows");
    }
}
