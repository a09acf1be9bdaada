//! A charge that the payer's bank disputes.

use serde_json::Value;

use crate::error::Error;
use crate::read;

/// Where a dispute stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DisputeStatus {
    /// Open, an inquiry among them: it waits for evidence or for the bank.
    Open,
    /// Decided for the shop, or an inquiry that came to nothing.
    Won,
    /// Decided against it: the money is gone.
    Lost,
    /// A state that is not known here.
    Unsettled,
}

/// A dispute, in Stripe's own units.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dispute {
    /// `du_…` or `dp_…`.
    pub id: String,
    /// Where it stands.
    pub status: DisputeStatus,
    /// How much of the charge is disputed.
    pub amount: i64,
    /// The currency, as Stripe writes it: `usd`.
    pub currency: String,
    /// Such as `fraudulent` or `product_not_received`.
    pub reason: String,
}

impl Dispute {
    pub(crate) fn read(value: &Value) -> Result<Self, Error> {
        let missing = |what: &str| Error::Unreadable(format!("a dispute without {what}"));
        let status = match value.get("status").and_then(Value::as_str) {
            Some("warning_needs_response" | "warning_under_review" | "needs_response" | "under_review") => {
                DisputeStatus::Open
            }
            Some("won" | "warning_closed" | "prevented") => DisputeStatus::Won,
            Some("lost") => DisputeStatus::Lost,
            _ => DisputeStatus::Unsettled,
        };
        Ok(Self {
            id: read::text(value, "id").ok_or_else(|| missing("id"))?,
            status,
            amount: read::whole(value, "amount").ok_or_else(|| missing("amount"))?,
            currency: read::text(value, "currency").ok_or_else(|| missing("currency"))?,
            reason: read::text(value, "reason").unwrap_or_else(|| "general".to_owned()),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_state_is_open_won_lost_or_unsettled() {
        for (word, status) in [
            ("warning_needs_response", DisputeStatus::Open),
            ("warning_under_review", DisputeStatus::Open),
            ("needs_response", DisputeStatus::Open),
            ("under_review", DisputeStatus::Open),
            ("warning_closed", DisputeStatus::Won),
            ("prevented", DisputeStatus::Won),
            ("won", DisputeStatus::Won),
            ("lost", DisputeStatus::Lost),
            ("arbitrated", DisputeStatus::Unsettled),
        ] {
            let dispute = json!({"object": "dispute", "id": "du_1", "amount": 5, "currency": "eur", "status": word});
            let dispute = Dispute::read(&dispute).expect("a dispute");
            assert_eq!((dispute.status, dispute.reason.as_str()), (status, "general"), "{word}");
        }
    }
}
