//! Money on its way back.

use serde_json::Value;

use crate::error::Error;
use crate::read;

/// How far a refund got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefundStatus {
    /// On its way; it may still fail.
    Pending,
    /// Waits for the payer to say where the money should go.
    RequiresAction,
    /// Given back, as far as is known: a bank may still return it, and then it is `Failed`.
    Succeeded,
    /// It came back, or never left.
    Failed,
    /// Called off before it left.
    Canceled,
    /// A state that is not known here.
    Unsettled,
}

/// A refund, in Stripe's own units.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refund {
    /// `re_…`.
    pub id: String,
    /// How far it got.
    pub status: RefundStatus,
    /// How much.
    pub amount: i64,
    /// The currency, as Stripe writes it: `usd`.
    pub currency: String,
    /// Of which intent.
    pub intent: Option<String>,
    /// Why it failed, such as `expired_or_canceled_card`.
    pub failure_reason: Option<String>,
    metadata: Vec<(String, String)>,
}

impl Refund {
    pub(crate) fn read(value: &Value) -> Result<Self, Error> {
        let missing = |what: &str| Error::Unreadable(format!("a refund without {what}"));
        if value.get("object").and_then(Value::as_str) != Some("refund") {
            return Err(Error::Unreadable("not a refund".to_owned()));
        }
        let status = match value.get("status").and_then(Value::as_str) {
            Some("pending") => RefundStatus::Pending,
            Some("requires_action") => RefundStatus::RequiresAction,
            Some("succeeded") => RefundStatus::Succeeded,
            Some("failed") => RefundStatus::Failed,
            Some("canceled") => RefundStatus::Canceled,
            _ => RefundStatus::Unsettled,
        };
        Ok(Self {
            id: read::text(value, "id").ok_or_else(|| missing("id"))?,
            status,
            amount: read::whole(value, "amount").ok_or_else(|| missing("amount"))?,
            currency: read::text(value, "currency").ok_or_else(|| missing("currency"))?,
            intent: read::reference(value, "payment_intent"),
            failure_reason: read::text(value, "failure_reason"),
            metadata: read::metadata(value),
        })
    }

    /// What was noted on it under `name`.
    pub fn noted(&self, name: &str) -> Option<&str> {
        read::noted(&self.metadata, name)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_state_is_read_and_an_unknown_one_is_unsettled() {
        for (word, status) in [
            (json!("pending"), RefundStatus::Pending),
            (json!("requires_action"), RefundStatus::RequiresAction),
            (json!("succeeded"), RefundStatus::Succeeded),
            (json!("failed"), RefundStatus::Failed),
            (json!("canceled"), RefundStatus::Canceled),
            (json!("on_the_moon"), RefundStatus::Unsettled),
            (json!(null), RefundStatus::Unsettled),
        ] {
            let refund = json!({"object": "refund", "id": "re_1", "amount": 5, "currency": "eur", "status": word});
            assert_eq!(Refund::read(&refund).expect("a refund").status, status);
        }
    }

    #[test]
    fn an_intent_is_found_whether_named_or_written_out() {
        for intent in [json!("pi_1"), json!({"id": "pi_1"})] {
            let refund = json!({"object": "refund", "id": "re_1", "amount": 5, "currency": "eur",
                                "payment_intent": intent, "metadata": {"refund": "r"}});
            let refund = Refund::read(&refund).expect("a refund");
            assert_eq!((refund.intent.as_deref(), refund.noted("refund")), (Some("pi_1"), Some("r")));
        }
        assert!(Refund::read(&json!({"object": "refund", "id": "re_1", "amount": "5", "currency": "eur"})).is_err());
        assert!(Refund::read(&json!({"object": "charge", "id": "ch_1"})).is_err());
    }
}
