//! How payments, their lines and their refunds lie in their tables.

use std::collections::BTreeMap;

use shop_clock::{from_millis, millis};
use shop_fault::Fault;
use shop_money::{Currency, Money};
use shop_sql::{Value, marks};
use uuid::Uuid;

use crate::domain::{
    Error, Failure, Item, Metadata, Method, Note, Payment, Reference, Refund, RefundStatus, Status, UserId,
};

/// The columns of a [`PaymentRow`], for `concat!`.
macro_rules! columns {
    () => {
        "id, user_id, basket_id, amount, currency, status, method, provider, provider_id, description, metadata, \
         failure_code, failure_message, operation, created_at, updated_at, processed_at, expires_at, version, \
         open_basket, replaces, reserved"
    };
}
pub(super) use columns;

/// The columns of an [`ItemRow`], for `concat!`.
macro_rules! item_columns {
    () => {
        "payment_id, position, id, product_id, name, quantity, price, subtotal, category, created_at"
    };
}

/// The same as an [`ItemRow`] reads them, so that they can stand beside those of a payment.
macro_rules! named_item_columns {
    () => {
        "payment_id, position, id AS item_id, product_id, name, quantity, price, subtotal, category, \
         created_at AS item_created_at"
    };
}
pub(super) use named_item_columns;

/// The columns of a [`RefundRow`], for `concat!`.
macro_rules! refund_columns {
    () => {
        "id, payment_id, amount, reason, restock, status, created_at"
    };
}
pub(super) use refund_columns;

/// A row of `payments`.
#[derive(Debug, shop_sql::FromRow)]
pub(super) struct PaymentRow {
    pub(super) id: Uuid,
    user_id: String,
    basket_id: Uuid,
    amount: i64,
    currency: String,
    pub(super) status: String,
    method: String,
    provider: String,
    provider_id: Option<String>,
    description: Option<String>,
    metadata: String,
    failure_code: Option<String>,
    failure_message: Option<String>,
    operation: Option<Uuid>,
    created_at: i64,
    updated_at: i64,
    processed_at: Option<i64>,
    expires_at: i64,
    version: i64,
    pub(super) open_basket: Option<Uuid>,
    replaces: Option<Uuid>,
    reserved: bool,
}

/// A row of `payment_items`.
#[derive(Debug, shop_sql::FromRow)]
pub(super) struct ItemRow {
    pub(super) payment_id: Uuid,
    #[sqlx(rename = "item_id")]
    id: Uuid,
    product_id: i64,
    name: String,
    quantity: i64,
    price: i64,
    subtotal: i64,
    category: String,
    #[sqlx(rename = "item_created_at")]
    created_at: i64,
}

/// A line beside its payment.
#[derive(Debug, shop_sql::FromRow)]
pub(super) struct WholeRow {
    #[sqlx(flatten)]
    pub(super) payment: PaymentRow,
    #[sqlx(flatten)]
    pub(super) item: ItemRow,
}

/// A row of `refunds`.
#[derive(Debug, shop_sql::FromRow)]
pub(super) struct RefundRow {
    id: Uuid,
    pub(super) payment_id: Uuid,
    amount: i64,
    reason: Option<String>,
    restock: bool,
    status: String,
    created_at: i64,
}

/// Something in the store that this build did not write.
fn unreadable(what: &str, of: Uuid) -> Error {
    Fault::internal(format!("payment {of} has an unreadable {what} in the store")).into()
}

impl PaymentRow {
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
            status: Status::named(&self.status).ok_or_else(|| unreadable("status", id))?,
            method: Method::named(&self.method).ok_or_else(|| unreadable("method", id))?,
            provider: self.provider,
            reference: self.provider_id.map(Reference::new),
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
            claims_basket: self.open_basket.is_some(),
            replaces: self.replaces,
            reserved: self.reserved,
        })
    }
}

impl ItemRow {
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
    fn into_refund(self, currency: Currency) -> Result<Refund, Error> {
        Ok(Refund {
            id: self.id,
            amount: Money::new(self.amount, currency),
            reason: Note::stored(self.reason),
            restock: self.restock,
            status: RefundStatus::named(&self.status).ok_or_else(|| unreadable("refund", self.payment_id))?,
            created_at: from_millis(self.created_at),
        })
    }
}

/// Adds a payment.
pub(super) const INSERT: &str = concat!(
    "INSERT INTO payments (",
    columns!(),
    ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22)"
);

/// The same, if its user has fewer open payments than the last parameter says.
pub(super) const INSERT_IF_ROOM: &str = concat!(
    "INSERT INTO payments (",
    columns!(),
    ") SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22 \
     FROM (SELECT COUNT(*) AS held FROM payments WHERE user_id = $2 AND status IN ('pending', 'processing')) AS open \
     WHERE open.held < $23"
);

/// The caller's own pairs as they are kept.
pub(super) fn pairs(payment: &Payment) -> Result<String, Error> {
    Ok(serde_json::to_string(payment.metadata.pairs()).map_err(Fault::internal)?)
}

/// The parameters of [`INSERT`].
pub(super) fn inserted<'a>(new: &'a Payment, pairs: &'a str) -> [Value<'a>; 22] {
    let failure = new.failure.as_ref();
    [
        Value::Id(new.id),
        Value::Text(new.user_id.as_str()),
        Value::Id(new.basket_id),
        Value::Int(new.amount.minor),
        Value::Text(new.amount.currency.as_str()),
        Value::Text(new.status.as_str()),
        Value::Text(new.method.as_str()),
        Value::Text(&new.provider),
        Value::Maybe(new.reference.as_ref().map(Reference::as_str)),
        Value::Maybe(new.description.as_ref().map(Note::as_str)),
        Value::Text(pairs),
        Value::Maybe(failure.map(|failure| failure.code.as_str())),
        Value::Maybe(failure.map(|failure| failure.message.as_str())),
        Value::MaybeId(new.operation),
        Value::Int(millis(new.created_at)),
        Value::Int(millis(new.updated_at)),
        Value::MaybeInt(new.processed_at.map(millis)),
        Value::Int(millis(new.expires_at)),
        Value::Int(new.version),
        open_basket(new),
        Value::MaybeId(new.replaces),
        Value::Int(new.reserved.into()),
    ]
}

/// The basket that no other payment can claim: the column is unique.
fn open_basket(payment: &Payment) -> Value<'static> {
    Value::MaybeId(payment.claims_basket.then_some(payment.basket_id))
}

/// The statement that adds the lines of a payment, of which it has one at least, and its parameters.
pub(super) fn insert_items(payment: &Payment) -> (String, Vec<Value<'_>>) {
    let rows: Vec<_> = (0..).zip(&payment.items).map(|(at, item)| inserted_item(payment.id, at, item)).collect();
    let width = rows.first().map_or(0, |row| row.len());
    let places: Vec<_> = (0..rows.len()).map(|row| format!("({})", marks(1 + row * width, width))).collect();
    let sql = format!(concat!("INSERT INTO payment_items (", item_columns!(), ") VALUES {}"), places.join(", "));
    (sql, rows.concat())
}

fn inserted_item(payment: Uuid, position: i64, item: &Item) -> [Value<'_>; 10] {
    [
        Value::Id(payment),
        Value::Int(position),
        Value::Id(item.id),
        Value::Int(item.product_id),
        Value::Text(&item.name),
        Value::Int(item.quantity.into()),
        Value::Int(item.price.minor),
        Value::Int(item.subtotal.minor),
        Value::Text(&item.category),
        Value::Int(millis(item.created_at)),
    ]
}

/// Writes what can change of a payment.
pub(super) const UPDATE: &str = "UPDATE payments SET status = $1, provider_id = $2, failure_code = $3, \
     failure_message = $4, operation = $5, updated_at = $6, processed_at = $7, version = $8, open_basket = $9 WHERE id = $10";

/// The same, if it still is as it was read: in the version of the last parameter.
pub(super) const UPDATE_SEEN: &str = "UPDATE payments SET status = $1, provider_id = $2, failure_code = $3, \
     failure_message = $4, operation = $5, updated_at = $6, processed_at = $7, version = $8, open_basket = $9 \
     WHERE id = $10 AND version = $11";

/// Notes that stock is reserved, for as many payments as it has places.
pub(super) fn note_reserved(places: usize) -> String {
    format!("UPDATE payments SET reserved = TRUE WHERE id IN ({})", marks(1, places))
}

/// The parameters of [`UPDATE`].
pub(super) fn updated(changed: &Payment) -> [Value<'_>; 10] {
    let failure = changed.failure.as_ref();
    [
        Value::Text(changed.status.as_str()),
        Value::Maybe(changed.reference.as_ref().map(Reference::as_str)),
        Value::Maybe(failure.map(|failure| failure.code.as_str())),
        Value::Maybe(failure.map(|failure| failure.message.as_str())),
        Value::MaybeId(changed.operation),
        Value::Int(millis(changed.updated_at)),
        Value::MaybeInt(changed.processed_at.map(millis)),
        Value::Int(changed.version),
        open_basket(changed),
        Value::Id(changed.id),
    ]
}

/// Adds a refund.
pub(super) const INSERT_REFUND: &str =
    concat!("INSERT INTO refunds (", refund_columns!(), ") VALUES ($1, $2, $3, $4, $5, $6, $7)");

/// The parameters of [`INSERT_REFUND`].
pub(super) fn inserted_refund(payment: Uuid, new: &Refund) -> [Value<'_>; 7] {
    [
        Value::Id(new.id),
        Value::Id(payment),
        Value::Int(new.amount.minor),
        Value::Maybe(new.reason.as_ref().map(Note::as_str)),
        Value::Int(new.restock.into()),
        Value::Text(new.status.as_str()),
        Value::Int(millis(new.created_at)),
    ]
}

/// Writes how far a refund got: its status, by its id.
pub(super) const UPDATE_REFUND: &str = "UPDATE refunds SET status = $1 WHERE id = $2";
