//! Payments as rows, for both engines: plain integers, texts and ids.

use std::collections::BTreeMap;

use shop_clock::{from_millis, millis};
use shop_fault::Fault;
use shop_money::{Currency, Money};
use uuid::Uuid;

use crate::domain::{Error, Failure, Item, Metadata, Method, Note, Payment, Refund, RefundStatus, Status, UserId};

/// A row of `payments`.
#[derive(Debug, shop_sql::FromRow)]
pub(super) struct PaymentRow {
    pub(super) id: Uuid,
    pub(super) user_id: String,
    pub(super) basket_id: Uuid,
    pub(super) amount: i64,
    pub(super) currency: String,
    pub(super) status: String,
    pub(super) method: String,
    pub(super) provider: String,
    pub(super) provider_id: Option<String>,
    pub(super) description: Option<String>,
    pub(super) metadata: String,
    pub(super) failure_code: Option<String>,
    pub(super) failure_message: Option<String>,
    pub(super) operation: Option<Uuid>,
    pub(super) created_at: i64,
    pub(super) updated_at: i64,
    pub(super) processed_at: Option<i64>,
    pub(super) expires_at: i64,
    pub(super) version: i64,
}

/// A row of `payment_items`.
#[derive(Debug, shop_sql::FromRow)]
pub(super) struct ItemRow {
    pub(super) payment_id: Uuid,
    pub(super) position: i64,
    pub(super) id: Uuid,
    pub(super) product_id: i64,
    pub(super) name: String,
    pub(super) quantity: i64,
    pub(super) price: i64,
    pub(super) subtotal: i64,
    pub(super) category: String,
    pub(super) created_at: i64,
}

/// A row of `refunds`.
#[derive(Debug, shop_sql::FromRow)]
pub(super) struct RefundRow {
    pub(super) id: Uuid,
    pub(super) payment_id: Uuid,
    pub(super) amount: i64,
    pub(super) reason: Option<String>,
    pub(super) restock: bool,
    pub(super) status: String,
    pub(super) created_at: i64,
}

/// Something in the store that this build did not write.
fn unreadable(what: &str, of: Uuid) -> Error {
    Error::Other(Fault::internal(format!("payment {of} has an unreadable {what} in the store")))
}

impl PaymentRow {
    pub(super) fn of(payment: &Payment) -> Result<Self, Error> {
        let metadata = serde_json::to_string(payment.metadata.pairs()).map_err(|e| Error::Other(Fault::internal(e)))?;
        Ok(Self {
            id: payment.id,
            user_id: payment.user_id.as_str().to_owned(),
            basket_id: payment.basket_id,
            amount: payment.amount.minor,
            currency: payment.amount.currency.to_string(),
            status: payment.status.as_str().to_owned(),
            method: payment.method.as_str().to_owned(),
            provider: payment.provider.clone(),
            provider_id: payment.provider_id.clone(),
            description: payment.description.as_ref().map(Note::as_str).map(str::to_owned),
            metadata,
            failure_code: payment.failure.as_ref().map(|failure| failure.code.clone()),
            failure_message: payment.failure.as_ref().map(|failure| failure.message.clone()),
            operation: payment.operation,
            created_at: millis(payment.created_at),
            updated_at: millis(payment.updated_at),
            processed_at: payment.processed_at.map(millis),
            expires_at: millis(payment.expires_at),
            version: payment.version,
        })
    }

    /// Whether there may be rows in `refunds` for it.
    pub(super) fn may_have_refunds(&self) -> bool {
        [Status::Completed, Status::PartiallyRefunded, Status::Refunded].iter().any(|s| s.as_str() == self.status)
    }

    pub(super) fn into_payment(self, items: Vec<ItemRow>, refunds: Vec<RefundRow>) -> Result<Payment, Error> {
        let id = self.id;
        let currency: Currency = self.currency.parse().map_err(|_| unreadable("currency", id))?;
        let pairs: BTreeMap<String, String> =
            serde_json::from_str(&self.metadata).map_err(|_| unreadable("metadata", id))?;
        Ok(Payment {
            id,
            user_id: UserId::stored(self.user_id),
            basket_id: self.basket_id,
            amount: Money::new(self.amount, currency),
            status: Status::parse(&self.status).ok_or_else(|| unreadable("status", id))?,
            method: Method::parse(&self.method).map_err(|_| unreadable("method", id))?,
            provider: self.provider,
            provider_id: self.provider_id,
            description: Note::stored(self.description),
            metadata: Metadata::stored(pairs),
            items: items.into_iter().map(|row| row.into_item(currency)).collect::<Result<_, _>>()?,
            failure: self.failure_code.map(|code| Failure::new(code, self.failure_message.unwrap_or_default())),
            refunds: refunds.into_iter().map(|row| row.into_refund(currency)).collect::<Result<_, _>>()?,
            operation: self.operation,
            created_at: from_millis(self.created_at),
            updated_at: from_millis(self.updated_at),
            processed_at: self.processed_at.map(from_millis),
            expires_at: from_millis(self.expires_at),
            version: self.version,
        })
    }
}

impl ItemRow {
    pub(super) fn of(payment: &Payment) -> Vec<Self> {
        let row = |(position, item): (i64, &Item)| Self {
            payment_id: payment.id,
            position,
            id: item.id,
            product_id: item.product_id,
            name: item.name.clone(),
            quantity: item.quantity.into(),
            price: item.price.minor,
            subtotal: item.subtotal.minor,
            category: item.category.clone(),
            created_at: millis(item.created_at),
        };
        (0..).zip(&payment.items).map(row).collect()
    }

    fn into_item(self, currency: Currency) -> Result<Item, Error> {
        Ok(Item {
            id: self.id,
            product_id: self.product_id,
            name: self.name,
            quantity: self.quantity.try_into().map_err(|_| unreadable("quantity", self.payment_id))?,
            price: Money::new(self.price, currency),
            subtotal: Money::new(self.subtotal, currency),
            category: self.category,
            created_at: from_millis(self.created_at),
        })
    }
}

impl RefundRow {
    pub(super) fn of(payment: Uuid, refund: &Refund) -> Self {
        Self {
            id: refund.id,
            payment_id: payment,
            amount: refund.amount.minor,
            reason: refund.reason.as_ref().map(Note::as_str).map(str::to_owned),
            restock: refund.restock,
            status: refund.status.as_str().to_owned(),
            created_at: millis(refund.created_at),
        }
    }

    fn into_refund(self, currency: Currency) -> Result<Refund, Error> {
        Ok(Refund {
            id: self.id,
            amount: Money::new(self.amount, currency),
            reason: Note::stored(self.reason),
            restock: self.restock,
            status: RefundStatus::parse(&self.status).ok_or_else(|| unreadable("refund", self.payment_id))?,
            created_at: from_millis(self.created_at),
        })
    }
}
