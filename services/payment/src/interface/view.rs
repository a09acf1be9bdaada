//! Payments as clients see them.

use std::collections::BTreeMap;

use salvo::oapi::ToSchema;
use serde::{Deserialize, Serialize};
use shop_money::{Amount, Currency};
use shop_web::page::Listed;
use shop_web::{describe, schema};
use time::OffsetDateTime;
use uuid::Uuid;

use super::http::body::{Description, MethodName, OwnPairs, Provider, Reason};
use crate::domain::{Failure, Item, Note, Payment, Refund, RefundStatus, Status};

describe! {
    ProviderId = describe::string(1..=255).example("sandbox_019b7c2e");
    FailureCode = describe::string(1..=64).pattern("^[a-z][a-z0-9_]*$").example("card_declined");
    FailureMessage = describe::string(1..=500).example("the card was declined");
    Units = describe::integer(1..=999).example(2);
    ProductName = describe::string(1..=200).example("Walnut standing desk");
    ProductCategory = describe::string(1..=100).example("furniture");
}

/// Where a payment stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[salvo(schema(name = "PaymentStatus"))]
pub(super) enum StatusName {
    Pending,
    Processing,
    Completed,
    PartiallyRefunded,
    Refunded,
    Failed,
    Cancelled,
}

impl From<Status> for StatusName {
    fn from(status: Status) -> Self {
        match status {
            Status::Pending => Self::Pending,
            Status::Processing => Self::Processing,
            Status::Completed => Self::Completed,
            Status::PartiallyRefunded => Self::PartiallyRefunded,
            Status::Refunded => Self::Refunded,
            Status::Failed => Self::Failed,
            Status::Cancelled => Self::Cancelled,
        }
    }
}

impl From<StatusName> for Status {
    fn from(name: StatusName) -> Self {
        match name {
            StatusName::Pending => Self::Pending,
            StatusName::Processing => Self::Processing,
            StatusName::Completed => Self::Completed,
            StatusName::PartiallyRefunded => Self::PartiallyRefunded,
            StatusName::Refunded => Self::Refunded,
            StatusName::Failed => Self::Failed,
            StatusName::Cancelled => Self::Cancelled,
        }
    }
}

/// A payment with everything that happened to it.
#[derive(Debug, Serialize, ToSchema)]
#[salvo(schema(name = "Payment"))]
pub(super) struct PaymentView {
    /// Also the id of its stock reservation.
    #[salvo(schema(value_type = describe::Id))]
    id: Uuid,
    /// Who pays.
    #[salvo(schema(value_type = schema::UserId))]
    user_id: String,
    /// The basket that is paid.
    #[salvo(schema(value_type = describe::Id))]
    basket_id: Uuid,
    /// What is charged.
    #[salvo(schema(value_type = describe::Amount))]
    amount: Amount,
    /// What went back so far.
    #[salvo(schema(value_type = describe::Amount))]
    refunded_amount: Amount,
    /// ISO 4217 code of every amount here.
    #[salvo(schema(value_type = describe::CurrencyCode))]
    currency: Currency,
    /// Where it stands.
    status: StatusName,
    /// What the user pays with.
    #[salvo(schema(value_type = MethodName))]
    method: &'static str,
    /// Who charges.
    #[salvo(schema(value_type = Provider))]
    provider: String,
    /// The provider's own id of the charge.
    #[salvo(schema(value_type = Option<ProviderId>))]
    provider_id: Option<String>,
    /// Free text for people.
    #[salvo(schema(value_type = Option<Description>))]
    description: Option<String>,
    /// The caller's own pairs.
    #[salvo(schema(value_type = OwnPairs))]
    metadata: BTreeMap<String, String>,
    /// What is bought.
    #[salvo(schema(max_items = 100))]
    items: Vec<ItemView>,
    /// Why it failed.
    failure: Option<FailureView>,
    /// What was paid back, oldest first.
    #[salvo(schema(max_items = 100))]
    refunds: Vec<RefundView>,
    /// When it was made.
    #[serde(with = "shop_clock::serde_rfc3339")]
    #[salvo(schema(value_type = describe::Time))]
    created_at: OffsetDateTime,
    /// When it last changed.
    #[serde(with = "shop_clock::serde_rfc3339")]
    #[salvo(schema(value_type = describe::Time))]
    updated_at: OffsetDateTime,
    /// When the provider approved or declined.
    #[serde(with = "shop_clock::serde_rfc3339::option")]
    #[salvo(schema(value_type = Option<describe::Time>))]
    processed_at: Option<OffsetDateTime>,
    /// When it fails by itself unless it is processed before.
    #[serde(with = "shop_clock::serde_rfc3339")]
    #[salvo(schema(value_type = describe::Time))]
    expires_at: OffsetDateTime,
}

/// One line of what is bought.
#[derive(Debug, Serialize, ToSchema)]
#[salvo(schema(name = "PaymentItem"))]
struct ItemView {
    /// The line's own id.
    #[salvo(schema(value_type = describe::Id))]
    id: Uuid,
    /// Which product.
    #[salvo(schema(value_type = describe::ProductId))]
    product_id: i64,
    /// Its name when the payment was made.
    #[salvo(schema(value_type = ProductName))]
    name: String,
    /// How many.
    #[salvo(schema(value_type = Units))]
    quantity: u32,
    /// Price of one.
    #[salvo(schema(value_type = describe::Amount))]
    price: Amount,
    /// Price times quantity.
    #[salvo(schema(value_type = describe::Amount))]
    subtotal: Amount,
    /// Its category when the payment was made.
    #[salvo(schema(value_type = ProductCategory))]
    category: String,
    /// When it was put into the basket.
    #[serde(with = "shop_clock::serde_rfc3339")]
    #[salvo(schema(value_type = describe::Time))]
    created_at: OffsetDateTime,
}

/// Why a payment failed.
#[derive(Debug, Serialize, ToSchema)]
#[salvo(schema(name = "PaymentFailure"))]
struct FailureView {
    /// Stable, `snake_case`.
    #[salvo(schema(value_type = FailureCode))]
    code: String,
    /// For people.
    #[salvo(schema(value_type = FailureMessage))]
    message: String,
}

/// Money that went back.
#[derive(Debug, Serialize, ToSchema)]
#[salvo(schema(name = "Refund"))]
struct RefundView {
    /// Its own id.
    #[salvo(schema(value_type = describe::Id))]
    id: Uuid,
    /// How much.
    #[salvo(schema(value_type = describe::Amount))]
    amount: Amount,
    /// Why, for people.
    #[salvo(schema(value_type = Option<Reason>))]
    reason: Option<String>,
    /// When it was asked for.
    #[serde(with = "shop_clock::serde_rfc3339")]
    #[salvo(schema(value_type = describe::Time))]
    created_at: OffsetDateTime,
}

impl Listed for PaymentView {
    const PLURAL: &'static str = "payments";
    const PAGE: &'static str = "PaymentPage";
}

impl From<Payment> for PaymentView {
    fn from(payment: Payment) -> Self {
        let settled = |refund: &&Refund| refund.status == RefundStatus::Settled;
        Self {
            id: payment.id,
            user_id: payment.user_id.as_str().to_owned(),
            basket_id: payment.basket_id,
            amount: payment.amount.amount(),
            refunded_amount: payment.refunded().amount(),
            currency: payment.amount.currency,
            status: payment.status.into(),
            method: payment.method.as_str(),
            description: payment.description.as_ref().map(Note::as_str).map(str::to_owned),
            metadata: payment.metadata.pairs().clone(),
            items: payment.items.iter().map(ItemView::from).collect(),
            failure: payment.failure.map(|Failure { code, message }| FailureView { code, message }),
            refunds: payment.refunds.iter().filter(settled).map(RefundView::from).collect(),
            provider: payment.provider,
            provider_id: payment.provider_id,
            created_at: payment.created_at,
            updated_at: payment.updated_at,
            processed_at: payment.processed_at,
            expires_at: payment.expires_at,
        }
    }
}

impl From<&Item> for ItemView {
    fn from(item: &Item) -> Self {
        Self {
            id: item.id,
            product_id: item.product_id,
            name: item.name.clone(),
            quantity: item.quantity,
            price: item.price.amount(),
            subtotal: item.subtotal.amount(),
            category: item.category.clone(),
            created_at: item.created_at,
        }
    }
}

impl From<&Refund> for RefundView {
    fn from(refund: &Refund) -> Self {
        Self {
            id: refund.id,
            amount: refund.amount.amount(),
            reason: refund.reason.as_ref().map(Note::as_str).map(str::to_owned),
            created_at: refund.created_at,
        }
    }
}
