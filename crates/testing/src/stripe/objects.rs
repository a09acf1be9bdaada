//! What the double keeps, and how the API shows it.

use serde_json::{Map, Value, json};

/// How far an intent got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    RequiresPaymentMethod,
    RequiresAction,
    Processing,
    RequiresCapture,
    Canceled,
    Succeeded,
}

impl Status {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::RequiresPaymentMethod => "requires_payment_method",
            Self::RequiresAction => "requires_action",
            Self::Processing => "processing",
            Self::RequiresCapture => "requires_capture",
            Self::Canceled => "canceled",
            Self::Succeeded => "succeeded",
        }
    }
}

/// A payment intent.
#[derive(Debug, Clone)]
pub(super) struct Intent {
    pub(super) id: String,
    pub(super) amount: i64,
    pub(super) currency: String,
    pub(super) is_manual: bool,
    pub(super) status: Status,
    pub(super) method: Option<String>,
    pub(super) received: i64,
    pub(super) capturable: i64,
    /// The error of the last confirmation.
    pub(super) error: Option<Value>,
    /// Where the payer is sent, and where he comes back to.
    pub(super) ask: Option<(String, String)>,
    pub(super) cancelled: Option<&'static str>,
    pub(super) metadata: Map<String, Value>,
    pub(super) created: i64,
    /// The charge, if there is one.
    pub(super) charge: Option<Charge>,
    /// How often money was taken or authorised.
    pub(super) charges: usize,
}

/// Money that was taken or authorised.
#[derive(Debug, Clone)]
pub(super) struct Charge {
    pub(super) id: String,
    pub(super) is_disputed: bool,
    pub(super) capture_before: Option<i64>,
    pub(super) amount_refunded: i64,
}

impl Intent {
    /// As the API shows it, with the charge written out or named.
    pub(super) fn json(&self, is_charge_written: bool) -> Value {
        let charge = self
            .charge
            .as_ref()
            .map(|charge| if is_charge_written { self.charge_json(charge) } else { json!(charge.id) });
        let action =
            self.ask.as_ref().filter(|_| self.status == Status::RequiresAction).map(
                |(url, back)| json!({"type": "redirect_to_url", "redirect_to_url": {"url": url, "return_url": back}}),
            );
        json!({
            "id": self.id,
            "object": "payment_intent",
            "amount": self.amount,
            "amount_capturable": self.capturable,
            "amount_received": self.received,
            "automatic_payment_methods": {"allow_redirects": "always", "enabled": true},
            "cancellation_reason": self.cancelled,
            "capture_method": if self.is_manual { "manual" } else { "automatic" },
            "client_secret": format!("{}_secret_double", self.id),
            "confirmation_method": "automatic",
            "created": self.created,
            "currency": self.currency,
            "last_payment_error": self.error,
            "latest_charge": charge,
            "livemode": false,
            "metadata": self.metadata,
            "next_action": action,
            "payment_method": self.method,
            "status": self.status.word(),
        })
    }

    pub(super) fn charge_json(&self, charge: &Charge) -> Value {
        json!({
            "id": charge.id,
            "object": "charge",
            "amount": self.amount,
            "amount_captured": self.received,
            "amount_refunded": charge.amount_refunded,
            "captured": self.received > 0,
            "currency": self.currency,
            "disputed": charge.is_disputed,
            "livemode": false,
            "metadata": self.metadata,
            "paid": true,
            "payment_intent": self.id,
            "payment_method_details": {"type": "card", "card": {"capture_before": charge.capture_before}},
            "status": "succeeded",
        })
    }
}

/// Money given back.
#[derive(Debug, Clone)]
pub(super) struct Refund {
    pub(super) id: String,
    pub(super) intent: String,
    pub(super) amount: i64,
    pub(super) currency: String,
    pub(super) status: &'static str,
    pub(super) metadata: Map<String, Value>,
    pub(super) created: i64,
}

impl Refund {
    pub(super) fn json(&self) -> Value {
        let reason = (self.status == "failed").then_some("expired_or_canceled_card");
        let mut refund = json!({
            "id": self.id,
            "object": "refund",
            "amount": self.amount,
            "created": self.created,
            "currency": self.currency,
            "metadata": self.metadata,
            "payment_intent": self.intent,
            "status": self.status,
        });
        if let Some(reason) = reason {
            refund["failure_reason"] = json!(reason);
        }
        refund
    }

    /// Whether the money is with the payer, or on its way to him.
    pub(super) fn counts(&self) -> bool {
        !["failed", "canceled"].contains(&self.status)
    }
}

/// A dispute.
#[derive(Debug, Clone)]
pub(super) struct Dispute {
    pub(super) id: String,
    pub(super) intent: String,
    pub(super) charge: String,
    pub(super) amount: i64,
    pub(super) currency: String,
    pub(super) reason: &'static str,
    pub(super) status: &'static str,
    pub(super) created: i64,
}

impl Dispute {
    pub(super) fn json(&self) -> Value {
        json!({
            "id": self.id,
            "object": "dispute",
            "amount": self.amount,
            "charge": self.charge,
            "created": self.created,
            "currency": self.currency,
            "livemode": false,
            "metadata": {},
            "payment_intent": self.intent,
            "reason": self.reason,
            "status": self.status,
        })
    }
}
