//! The bodies of requests. What may hold a card number by mistake is never echoed, not even in an error.

use std::collections::BTreeMap;
use std::fmt;

use salvo::oapi::ToSchema;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use shop_fault::Fault;
use shop_money::Decimal;
use shop_web::idempotency::Canonical;
use shop_web::{Problem, describe, schema};
use uuid::Uuid;

use super::super::{access, canonical};
use crate::application::{CapturePayment, RefundPayment};
use crate::domain::{
    Amount, Capture, DESCRIPTION, Expected, KEY, MAX_PAIRS, MAX_TOKEN, Method, NO_PROVIDER, REASON, RawOrder, SANDBOX,
    STRIPE, VALUE,
};

describe! {
    pub(in crate::interface) MethodName = describe::names(Method::ALL.map(Method::as_str))
        .description("What a user pays with") => "PaymentMethod";
    pub(in crate::interface) CaptureName = describe::names(Capture::ALL.map(Capture::as_str))
        .description("When the money is taken") => "PaymentCapture";
    Provider = describe::names([SANDBOX, STRIPE]);
    pub(in crate::interface) ProviderName = describe::names([SANDBOX, STRIPE, NO_PROVIDER]);
    pub(in crate::interface) Description = describe::text(DESCRIPTION).example("two desks");
    pub(in crate::interface) Reason = describe::text(REASON).example("came damaged");
    pub(in crate::interface) OwnPairs =
        describe::pairs(MAX_PAIRS, describe::text(KEY), describe::text(VALUE));
    BasketVersion = describe::integer(1..=i64::MAX).example(1_767_355_200_001_i64);
    PaymentToken = describe::string(1..=MAX_TOKEN).pattern("^[!-~]+$").example("tok_approve");
}

/// A basket to be paid.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[salvo(schema(name = "NewPayment"))]
pub(super) struct NewPayment {
    /// Whose basket; the caller's own when it is left out.
    #[serde(default)]
    #[salvo(schema(value_type = Option<schema::UserId>))]
    user_id: Option<String>,
    /// Refused unless it is the id of the user's basket.
    #[salvo(schema(value_type = Option<describe::Id>))]
    basket_id: Option<String>,
    /// What the user pays with.
    #[salvo(schema(value_type = MethodName))]
    method: String,
    /// When the money is taken: with the charge, or by a capture later; `automatic` when absent.
    #[salvo(schema(value_type = Option<CaptureName>))]
    capture: Option<String>,
    /// Who charges; the shop's own provider when absent.
    #[salvo(schema(value_type = Option<Provider>))]
    provider: Option<String>,
    /// Refused unless the basket is in this currency.
    #[salvo(schema(value_type = Option<describe::CurrencyCode>))]
    currency: Option<String>,
    /// Free text for people, without card numbers.
    #[salvo(schema(value_type = Option<Description>))]
    #[serde(default, deserialize_with = "quiet_text")]
    description: Option<String>,
    /// Pairs of the caller's own, without card numbers.
    #[salvo(schema(value_type = Option<OwnPairs>))]
    #[serde(default, deserialize_with = "quiet_pairs")]
    metadata: Option<BTreeMap<String, String>>,
    /// What the buyer saw that the basket costs; refused when it is another sum by now.
    #[salvo(schema(value_type = Option<describe::AmountSent>))]
    expected_total: Option<Decimal>,
    /// The `version` of the basket that the buyer saw; refused when the basket has changed since.
    #[salvo(schema(value_type = Option<BasketVersion>))]
    basket_version: Option<i64>,
}

impl Canonical for NewPayment {
    fn canonical(self) -> Result<Value, Problem> {
        Ok(canonical::order(self.own()?)?)
    }
}

impl NewPayment {
    /// The order, of the caller's own basket when it names no user, which a blank is not.
    pub(super) fn own(self) -> Result<RawOrder, Problem> {
        let is_blank = self.user_id.as_deref().is_some_and(|user| user.trim().is_empty());
        let order = self.into();
        if is_blank { Ok(order) } else { Ok(access::own(order).map_err(Fault::from)?) }
    }
}

impl From<NewPayment> for RawOrder {
    fn from(body: NewPayment) -> Self {
        Self {
            user_id: body.user_id.unwrap_or_default(),
            basket_id: body.basket_id,
            method: body.method,
            capture: body.capture,
            provider: body.provider,
            currency: body.currency,
            description: body.description,
            metadata: body.metadata.unwrap_or_default().into_iter().collect(),
            expected_total: body.expected_total.map(Amount::Decimal),
            basket_version: body.basket_version,
        }
    }
}

/// What is charged.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[salvo(schema(name = "Charge"))]
pub(super) struct Tokens {
    /// The provider's token; never a card number. Without one a payment that waits for the user is asked about; otherwise only a shop on one's own machine does without, and approves.
    #[salvo(schema(value_type = Option<PaymentToken>))]
    #[serde(default, deserialize_with = "quiet_text")]
    pub(super) payment_token: Option<String>,
}

impl Canonical for Tokens {
    fn canonical(self) -> Result<Value, Problem> {
        Ok(canonical::charge(self.payment_token.as_deref())?)
    }
}

/// What is captured.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[salvo(schema(name = "NewCapture"))]
pub(super) struct NewCapture {
    /// How much; all that is authorised when absent. The rest is let go.
    #[salvo(schema(value_type = Option<describe::AmountSent>))]
    amount: Option<Decimal>,
}

impl Canonical for NewCapture {
    fn canonical(self) -> Result<Value, Problem> {
        Ok(canonical::capture(self.amount.map(Amount::Decimal).as_ref()))
    }
}

impl NewCapture {
    pub(super) fn command(self, id: Uuid, operation: Uuid, expected: Expected) -> CapturePayment {
        CapturePayment { id, operation, amount: self.amount.map(Amount::Decimal), expected }
    }
}

/// What is paid back.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[salvo(schema(name = "NewRefund"))]
pub(super) struct NewRefund {
    /// How much; all that is left when absent.
    #[salvo(schema(value_type = Option<describe::AmountSent>))]
    amount: Option<Decimal>,
    /// Why, for people.
    #[salvo(schema(value_type = Option<Reason>))]
    #[serde(default, deserialize_with = "quiet_text")]
    reason: Option<String>,
    /// Put the units back on the shelf; only with the refund that pays back all that is left.
    #[serde(default)]
    restock: bool,
}

impl Canonical for NewRefund {
    fn canonical(self) -> Result<Value, Problem> {
        let Self { amount, reason, restock } = self;
        Ok(canonical::refund(amount.map(Amount::Decimal).as_ref(), reason.as_deref(), restock)?)
    }
}

impl NewRefund {
    pub(super) fn command(self, id: Uuid, operation: Uuid, expected: Expected) -> RefundPayment {
        let Self { amount, reason, restock } = self;
        RefundPayment { id, operation, amount: amount.map(Amount::Decimal), reason, restock, expected }
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
    deserializer.deserialize_any(Pairs)
}

/// An object of strings, or null; a name that comes twice is refused, since nobody knows which one is meant.
struct Pairs;

impl<'de> Visitor<'de> for Pairs {
    type Value = Option<BTreeMap<String, String>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object whose values are strings")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut pairs = BTreeMap::new();
        while let Some(name) = members.next_key::<String>()? {
            let Value::String(text) = members.next_value()? else {
                return Err(de::Error::custom("must be an object whose values are strings"));
            };
            if pairs.insert(name, text).is_some() {
                return Err(de::Error::custom("has a name more than once"));
            }
        }
        Ok(Some(pairs))
    }
}
