//! The bodies of requests. What may hold a card number by mistake is never echoed, not even in an error.

use std::collections::BTreeMap;

use salvo::oapi::ToSchema;
use serde::{Deserialize, Deserializer, de};
use serde_json::Value;
use shop_money::Decimal;
use uuid::Uuid;

use crate::application::{Amount, RefundPayment};
use crate::domain::RawOrder;

/// A basket to be paid.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewPayment {
    /// Whose basket: 1 to 128 of `[A-Za-z0-9._@-]`.
    user_id: String,
    /// Refused unless it is the id of the user's basket.
    basket_id: Option<String>,
    /// `credit_card`, `debit_card`, `paypal`, `stripe`, `bank_transfer` or `crypto`.
    method: String,
    /// Who charges; `sandbox` when absent.
    provider: Option<String>,
    /// Refused unless the basket is in this currency.
    currency: Option<String>,
    /// Free text for people, up to 1000 characters.
    #[serde(default, deserialize_with = "quiet_text")]
    description: Option<String>,
    /// Up to 50 pairs of the caller's own; keys up to 40, values up to 500 characters.
    #[serde(default, deserialize_with = "quiet_pairs")]
    metadata: Option<BTreeMap<String, String>>,
}

impl From<NewPayment> for RawOrder {
    fn from(body: NewPayment) -> Self {
        Self {
            user_id: body.user_id,
            basket_id: body.basket_id,
            method: body.method,
            provider: body.provider,
            currency: body.currency,
            description: body.description,
            metadata: body.metadata.unwrap_or_default().into_iter().collect(),
        }
    }
}

/// What is charged.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Tokens {
    /// The provider's token; never a card number. `tok_approve` when absent.
    #[serde(default, deserialize_with = "quiet_text")]
    pub(super) payment_token: Option<String>,
}

/// What is paid back.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewRefund {
    /// How much; all that is left when absent.
    #[salvo(schema(value_type = Option<f64>))]
    amount: Option<Decimal>,
    /// Why, for people, up to 500 characters.
    #[serde(default, deserialize_with = "quiet_text")]
    reason: Option<String>,
    /// Put the units back on the shelf; only with the refund that pays back all that is left.
    #[serde(default)]
    restock: bool,
}

impl NewRefund {
    pub(super) fn command(self, id: Uuid, operation: Uuid) -> RefundPayment {
        let amount = self.amount.map(Amount::Decimal);
        RefundPayment { id, operation, amount, reason: self.reason, restock: self.restock }
    }
}

fn quiet_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text)),
        _ => Err(de::Error::custom("must be a string")),
    }
}

fn quiet_pairs<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<BTreeMap<String, String>>, D::Error> {
    let wrong = || de::Error::custom("must be an object whose values are strings");
    match Value::deserialize(deserializer)? {
        Value::Null => Ok(None),
        Value::Object(pairs) => pairs
            .into_iter()
            .map(|(key, value)| match value {
                Value::String(text) => Ok((key, text)),
                _ => Err(wrong()),
            })
            .collect::<Result<_, _>>()
            .map(Some),
        _ => Err(wrong()),
    }
}
