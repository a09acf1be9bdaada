//! A payment intent: money that is to be taken, and how far that got.

use serde_json::Value;
use time::OffsetDateTime;

use crate::read::{self, Malformed};

/// How far it got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It waits for a way to pay; also what a decline puts it back to.
    RequiresPaymentMethod,
    /// It waits to be confirmed.
    RequiresConfirmation,
    /// The payer has to do something, such as answer his bank.
    RequiresAction,
    /// The money is on its way, for seconds or days.
    Processing,
    /// Authorised, and waiting to be captured.
    RequiresCapture,
    /// Called off: it never moves money again.
    Canceled,
    /// The money was taken.
    Succeeded,
    /// A state that is not known here: nothing can be concluded from it.
    Unsettled,
}

impl Status {
    fn of(word: &str) -> Self {
        match word {
            "requires_payment_method" => Self::RequiresPaymentMethod,
            "requires_confirmation" => Self::RequiresConfirmation,
            "requires_action" => Self::RequiresAction,
            "processing" => Self::Processing,
            "requires_capture" => Self::RequiresCapture,
            "canceled" => Self::Canceled,
            "succeeded" => Self::Succeeded,
            _ => Self::Unsettled,
        }
    }
}

/// A payment intent. Amounts are in Stripe's own units: [`crate::money`] makes money of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intent {
    /// `pi_…`.
    pub id: String,
    /// How far it got.
    pub status: Status,
    /// What is to be taken.
    pub amount: i64,
    /// What is authorised and can still be captured.
    pub amount_capturable: i64,
    /// What was taken.
    pub amount_received: i64,
    /// The currency, as Stripe writes it: `usd`.
    pub currency: String,
    /// Where the payer has to go, when that is what he has to do.
    pub redirect: Option<String>,
    /// What the payer has to do, in Stripe's word, such as `redirect_to_url`.
    pub action: Option<String>,
    /// Why the last confirmation failed.
    pub last_payment_error: Option<PaymentError>,
    /// The charge of the last confirmation, where the answer has it written out.
    pub charge: Option<Charge>,
    /// Why it was called off: `abandoned`, `automatic`, …
    pub cancellation_reason: Option<String>,
    metadata: Vec<(String, String)>,
}

/// Why a confirmation failed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PaymentError {
    /// Such as `card_declined`.
    pub code: Option<String>,
    /// The bank's reason, such as `insufficient_funds`.
    pub decline_code: Option<String>,
    /// A sentence in English for people.
    pub message: Option<String>,
}

/// Money that was taken or authorised. What was given back of it is told by its refunds alone: Stripe counts here what a partial
/// capture let go, too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Charge {
    /// `ch_…`.
    pub id: String,
    /// Whether the payer disputes it, or did.
    pub disputed: bool,
    /// Until when an authorisation can be captured.
    pub capture_before: Option<OffsetDateTime>,
}

impl Intent {
    /// Reads one; an error when it is none, or its amounts are not to be read.
    pub(crate) fn read(value: &Value) -> Result<Self, Malformed> {
        let missing = |what: &str| Malformed(format!("a payment intent without {what}"));
        if value.get("object").and_then(Value::as_str) != Some("payment_intent") {
            return Err(Malformed("not a payment intent".to_owned()));
        }
        let amount = |name| read::whole(value, name).ok_or_else(|| missing(name));
        let action = value.get("next_action").filter(|action| action.is_object());
        Ok(Self {
            id: read::text(value, "id").ok_or_else(|| missing("id"))?,
            status: value.get("status").and_then(Value::as_str).map_or(Status::Unsettled, Status::of),
            amount: amount("amount")?,
            // Left out in some versions while there is none.
            amount_capturable: read::whole(value, "amount_capturable").unwrap_or_default(),
            amount_received: amount("amount_received")?,
            currency: read::text(value, "currency").ok_or_else(|| missing("currency"))?,
            redirect: action.and_then(|action| read::text(action.get("redirect_to_url")?, "url")),
            action: action.and_then(|action| read::text(action, "type")),
            last_payment_error: value.get("last_payment_error").filter(|error| error.is_object()).map(|error| {
                PaymentError {
                    code: read::text(error, "code"),
                    decline_code: read::text(error, "decline_code"),
                    message: read::text(error, "message"),
                }
            }),
            charge: value.get("latest_charge").and_then(Charge::read),
            cancellation_reason: read::text(value, "cancellation_reason"),
            metadata: read::metadata(value),
        })
    }

    /// What was noted on it under `name`.
    pub fn noted(&self, name: &str) -> Option<&str> {
        read::noted(&self.metadata, name)
    }
}

impl Charge {
    fn read(value: &Value) -> Option<Self> {
        let card = value.get("payment_method_details").and_then(|details| details.get("card"));
        let before = card.and_then(|card| read::whole(card, "capture_before"));
        Some(Self {
            id: read::text(value, "id")?,
            disputed: read::flag(value, "disputed"),
            capture_before: before.and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok()),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn intent() -> Value {
        json!({"object": "payment_intent", "id": "pi_1", "status": "succeeded", "amount": 1250, "amount_received": 1250,
               "currency": "usd"})
    }

    fn with(name: &str, value: Value) -> Value {
        let mut intent = intent();
        intent[name] = value;
        intent
    }

    #[test]
    fn an_unknown_state_is_unsettled_and_an_unknown_field_ignored() {
        for status in [json!("requires_blessing"), json!(7), json!(null), json!({})] {
            let read = Intent::read(&with("status", status)).expect("an intent");
            assert_eq!(read.status, Status::Unsettled);
        }
        let read = Intent::read(&with("brand_new", json!([{"a": 1}]))).expect("an intent");
        assert_eq!((read.id.as_str(), read.status), ("pi_1", Status::Succeeded));
    }

    #[test]
    fn amounts_are_read_exactly_or_not_at_all() {
        for amount in [json!("1250"), json!(12.5), json!(null), json!(1e300), json!(u64::MAX)] {
            assert!(Intent::read(&with("amount", amount.clone())).is_err(), "{amount}");
            assert!(Intent::read(&with("amount_received", amount.clone())).is_err(), "{amount}");
        }
    }

    #[test]
    fn what_is_no_intent_is_said_to_be_none() {
        for value in [json!(null), json!([]), json!("pi_1"), json!({"object": "charge", "id": "ch_1"}), json!({})] {
            assert!(Intent::read(&value).is_err(), "{value}");
        }
        assert!(Intent::read(&with("id", json!(1))).is_err());
        assert!(Intent::read(&with("currency", json!(null))).is_err());
    }

    #[test]
    fn members_of_the_wrong_kind_are_as_if_they_were_missing() {
        for wrong in [json!(1), json!("x"), json!([]), json!({}), json!(null), json!(true)] {
            for name in ["next_action", "last_payment_error", "latest_charge", "metadata", "cancellation_reason"] {
                Intent::read(&with(name, wrong.clone())).expect("an intent");
            }
        }
        let read = Intent::read(&with("latest_charge", json!("ch_1"))).expect("an intent");
        assert_eq!(read.charge, None, "named, not written out");
    }

    #[test]
    fn what_the_payer_has_to_do_and_what_went_wrong_is_read() {
        let action = json!({"type": "redirect_to_url", "redirect_to_url": {"url": "https://bank.example/1"}});
        let read = Intent::read(&with("next_action", action)).expect("an intent");
        assert_eq!(read.redirect.as_deref(), Some("https://bank.example/1"));
        assert_eq!(read.action.as_deref(), Some("redirect_to_url"));
        let error = json!({"code": "card_declined", "decline_code": "do_not_honor", "message": "No."});
        let read = Intent::read(&with("last_payment_error", error)).expect("an intent");
        let error = read.last_payment_error.expect("an error");
        assert_eq!(
            (error.code.as_deref(), error.decline_code.as_deref()),
            (Some("card_declined"), Some("do_not_honor"))
        );
        let charge = json!({"id": "ch_1", "disputed": true,
                            "payment_method_details": {"card": {"capture_before": 1_700_000_000}}});
        let read = Intent::read(&with("latest_charge", charge)).expect("an intent");
        let charge = read.charge.expect("a charge");
        assert!(charge.disputed);
        assert_eq!(charge.capture_before.map(OffsetDateTime::unix_timestamp), Some(1_700_000_000));
        let read = Intent::read(&with("metadata", json!({"payment": "7", "odd": 1}))).expect("an intent");
        assert_eq!((read.noted("payment"), read.noted("odd")), (Some("7"), None));
    }
}
