//! What a call may end with beside an answer.

use serde_json::Value;

use crate::intent::Intent;
use crate::read::{self, Malformed};

/// Why there is no answer, or not the wanted one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// What Stripe did, if anything, is unknown.
    #[error("stripe gave no answer: {0}")]
    Lost(String),
    /// Nothing was sent: its last answers were so bad that it is left alone for a while.
    #[error("stripe is left alone for a while, since its last answers were bad")]
    Resting,
    /// The secret key is not one that may do this. Nothing was done.
    #[error("stripe does not accept the secret key: {0}")]
    Key(String),
    /// It answered, and said no. Nothing was done by this call.
    #[error("stripe refused: {0}")]
    Refused(Box<Refusal>),
    /// It answered something that cannot be read: what it did is unknown.
    #[error("stripe's answer cannot be read: {0}")]
    Unreadable(String),
}

impl From<Malformed> for Error {
    fn from(Malformed(why): Malformed) -> Self {
        Self::Unreadable(why)
    }
}

impl Error {
    /// The refusal, if it is one.
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused(refusal) => Some(refusal),
            Self::Lost(_) | Self::Resting | Self::Key(_) | Self::Unreadable(_) => None,
        }
    }
}

/// What Stripe said no with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{status} {}: {message}", .code.as_deref().unwrap_or(.kind))]
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// Such as `card_error`, `invalid_request_error` or `idempotency_error`.
    pub kind: String,
    /// Such as `card_declined` or `charge_already_refunded`.
    pub code: Option<String>,
    /// The bank's reason, such as `insufficient_funds`.
    pub decline_code: Option<String>,
    /// The parameter it is about.
    pub param: Option<String>,
    /// A sentence in English for people.
    pub message: String,
    /// The intent as it stands, where Stripe says so.
    pub intent: Option<Intent>,
}

/// The longest sentence of Stripe's that is kept.
const LONGEST: usize = 500;

impl Refusal {
    /// Reads the body of an answer with `status`, whatever it is.
    pub(crate) fn read(status: u16, body: &Value) -> Self {
        let error = body.get("error").unwrap_or(&Value::Null);
        let message = read::text(error, "message").unwrap_or_else(|| "no reason given".to_owned());
        Self {
            status,
            kind: read::text(error, "type").unwrap_or_else(|| "unknown_error".to_owned()),
            code: read::text(error, "code"),
            decline_code: read::text(error, "decline_code"),
            param: read::text(error, "param"),
            message: message.chars().take(LONGEST).collect(),
            intent: error.get("payment_intent").and_then(|intent| Intent::read(intent).ok()),
        }
    }

    /// Whether it has this code.
    pub fn is(&self, code: &str) -> bool {
        self.code.as_deref() == Some(code)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn whatever_a_refusal_says_it_is_read() {
        for body in [json!(null), json!([]), json!({"error": "no"}), json!({"error": {"message": 1, "code": []}})] {
            let refusal = Refusal::read(400, &body);
            assert_eq!(refusal.to_string(), "400 unknown_error: no reason given");
        }
        let long = json!({"error": {"type": "card_error", "code": "card_declined", "message": "é".repeat(9000)}});
        let refusal = Refusal::read(402, &long);
        assert!(refusal.is("card_declined") && refusal.message.chars().count() == LONGEST);
    }
}
