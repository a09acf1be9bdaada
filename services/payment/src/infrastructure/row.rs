//! How payments, their lines and their refunds lie in their tables.

use std::collections::BTreeMap;

use shop_clock::{from_millis, millis};
use shop_fault::Fault;
use shop_money::{Currency, Money};
use shop_sql::{Value, marks};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::domain::{
    Action, Capture, Dispute, DisputeOutcome, Error, Failure, Item, Metadata, Method, Note, Payment, Reference, Refund,
    RefundStatus, Status, Step, UserId,
};

/// The columns of a [`PaymentRow`], for `concat!`.
macro_rules! columns {
    () => {
        "id, user_id, basket_id, amount, currency, status, method, provider, provider_id, description, metadata, \
         failure_code, failure_message, operation, created_at, updated_at, processed_at, expires_at, version, \
         open_basket, replaces, reserved, capture, attempts, step, step_amount, action_url, action_until, \
         authorised_until, captured, dispute_amount, dispute_reason, dispute_outcome, restocked"
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
        "id, payment_id, amount, reason, restock, status, created_at, accepted_at"
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
    capture: Option<String>,
    attempts: i64,
    step: Option<String>,
    step_amount: Option<i64>,
    action_url: Option<String>,
    action_until: Option<i64>,
    authorised_until: Option<i64>,
    captured: Option<i64>,
    dispute_amount: Option<i64>,
    dispute_reason: Option<String>,
    dispute_outcome: Option<String>,
    restocked: Option<bool>,
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
    accepted_at: Option<i64>,
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
        let step = self.step(currency)?;
        let dispute = self.dispute(currency)?;
        let capture = self.capture.as_deref().map_or(Some(Capture::Automatic), Capture::named);
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
            capture: capture.ok_or_else(|| unreadable("capture", id))?,
            attempts: self.attempts.try_into().map_err(|_| unreadable("number of attempts", id))?,
            step,
            action: self
                .action_url
                .zip(self.action_until)
                .map(|(url, until)| Action { url, until: from_millis(until) }),
            authorised_until: self.authorised_until.map(from_millis),
            captured: self.captured.map(|minor| Money::new(minor, currency)),
            dispute,
            restocked: self.restocked == Some(true),
        })
    }

    fn step(&self, currency: Currency) -> Result<Step, Error> {
        match (self.step.as_deref(), self.step_amount) {
            (None, _) => Ok(Step::Charge),
            (Some(AWAIT), _) => Ok(Step::Await),
            (Some(VOID), _) => Ok(Step::Void),
            (Some(CAPTURE), Some(minor)) => Ok(Step::Capture(Money::new(minor, currency))),
            (Some(_), _) => Err(unreadable("step", self.id)),
        }
    }

    fn dispute(&self, currency: Currency) -> Result<Option<Dispute>, Error> {
        let Some(minor) = self.dispute_amount else { return Ok(None) };
        let named = |name: &str| DisputeOutcome::named(name).ok_or_else(|| unreadable("dispute", self.id));
        Ok(Some(Dispute {
            amount: Money::new(minor, currency),
            reason: self.dispute_reason.clone().unwrap_or_default(),
            outcome: self.dispute_outcome.as_deref().map(named).transpose()?,
        }))
    }
}

/// Steps, as they are kept; none is to charge.
const AWAIT: &str = "await";
const CAPTURE: &str = "capture";
const VOID: &str = "void";

const fn step(step: Step) -> Option<&'static str> {
    match step {
        Step::Charge => None,
        Step::Await => Some(AWAIT),
        Step::Capture(_) => Some(CAPTURE),
        Step::Void => Some(VOID),
    }
}

const fn step_amount(step: Step) -> Option<i64> {
    match step {
        Step::Capture(amount) => Some(amount.minor),
        Step::Charge | Step::Await | Step::Void => None,
    }
}

/// How far a refund got, in the words of versions before: to them one that is on its way is one to ask about.
pub(super) const fn refund_status(status: RefundStatus) -> &'static str {
    match status {
        RefundStatus::Requested | RefundStatus::Pending => "requested",
        RefundStatus::Paid => "settled",
        RefundStatus::Failed => "refused",
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
            status: match (self.status.as_str(), self.accepted_at) {
                ("requested", None) => RefundStatus::Requested,
                ("requested", Some(_)) => RefundStatus::Pending,
                ("settled", _) => RefundStatus::Paid,
                ("refused", _) => RefundStatus::Failed,
                _ => return Err(unreadable("refund", self.payment_id)),
            },
            created_at: from_millis(self.created_at),
        })
    }
}

/// Adds a payment.
pub(super) const INSERT: &str = concat!(
    "INSERT INTO payments (",
    columns!(),
    ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, \
     $23, $24, $25, $26, $27, $28, $29, $30, $31, $32, $33, $34)"
);

/// The same, if its user has fewer open payments than the last parameter says.
pub(super) const INSERT_IF_ROOM: &str = concat!(
    "INSERT INTO payments (",
    columns!(),
    ") SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, \
     $23, $24, $25, $26, $27, $28, $29, $30, $31, $32, $33, $34 FROM (SELECT COUNT(*) AS held FROM payments \
     WHERE user_id = $2 AND status IN ('pending', 'processing', 'requires_action')) AS open WHERE open.held < $35"
);

/// The caller's own pairs as they are kept.
pub(super) fn pairs(payment: &Payment) -> Result<String, Error> {
    Ok(serde_json::to_string(payment.metadata.pairs()).map_err(Fault::internal)?)
}

/// The parameters of [`INSERT`].
pub(super) fn inserted<'a>(new: &'a Payment, pairs: &'a str) -> [Value<'a>; 34] {
    let (failure, dispute) = (new.failure.as_ref(), new.dispute.as_ref());
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
        Value::Maybe(capture(new.capture)),
        Value::Int(new.attempts.into()),
        Value::Maybe(step(new.step)),
        Value::MaybeInt(step_amount(new.step)),
        Value::Maybe(new.action.as_ref().map(|action| action.url.as_str())),
        Value::MaybeInt(new.action.as_ref().map(|action| millis(action.until))),
        Value::MaybeInt(new.authorised_until.map(millis)),
        Value::MaybeInt(new.captured.map(|captured| captured.minor)),
        Value::MaybeInt(dispute.map(|dispute| dispute.amount.minor)),
        Value::Maybe(dispute.map(|dispute| dispute.reason.as_str())),
        Value::Maybe(outcome(dispute)),
        restocked(new),
    ]
}

/// How it is kept; nothing where versions before kept nothing.
const fn capture(capture: Capture) -> Option<&'static str> {
    match capture {
        Capture::Automatic => None,
        Capture::Manual => Some(Capture::Manual.as_str()),
    }
}

/// Nothing where versions before kept nothing.
fn restocked(payment: &Payment) -> Value<'static> {
    Value::MaybeInt(payment.restocked.then_some(1))
}

fn outcome(dispute: Option<&Dispute>) -> Option<&'static str> {
    dispute.and_then(|dispute| dispute.outcome).map(DisputeOutcome::as_str)
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
     failure_message = $4, operation = $5, updated_at = $6, processed_at = $7, version = $8, open_basket = $9, attempts = $10, \
     step = $11, step_amount = $12, action_url = $13, action_until = $14, authorised_until = $15, captured = $16, \
     dispute_amount = $17, dispute_reason = $18, dispute_outcome = $19, provider = $20, restocked = $21 WHERE id = $22";

/// The same, if it still is as it was read: in the version of the last parameter.
pub(super) const UPDATE_SEEN: &str = "UPDATE payments SET status = $1, provider_id = $2, failure_code = $3, \
     failure_message = $4, operation = $5, updated_at = $6, processed_at = $7, version = $8, open_basket = $9, attempts = $10, \
     step = $11, step_amount = $12, action_url = $13, action_until = $14, authorised_until = $15, captured = $16, \
     dispute_amount = $17, dispute_reason = $18, dispute_outcome = $19, provider = $20, restocked = $21 WHERE id = $22 AND version = $23";

/// Notes that stock is reserved, for as many payments as it has places.
pub(super) fn note_reserved(places: usize) -> String {
    format!("UPDATE payments SET reserved = TRUE WHERE id IN ({})", marks(1, places))
}

/// The parameters of [`UPDATE`].
pub(super) fn updated(changed: &Payment) -> [Value<'_>; 22] {
    let (failure, dispute) = (changed.failure.as_ref(), changed.dispute.as_ref());
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
        Value::Int(changed.attempts.into()),
        Value::Maybe(step(changed.step)),
        Value::MaybeInt(step_amount(changed.step)),
        Value::Maybe(changed.action.as_ref().map(|action| action.url.as_str())),
        Value::MaybeInt(changed.action.as_ref().map(|action| millis(action.until))),
        Value::MaybeInt(changed.authorised_until.map(millis)),
        Value::MaybeInt(changed.captured.map(|captured| captured.minor)),
        Value::MaybeInt(dispute.map(|dispute| dispute.amount.minor)),
        Value::Maybe(dispute.map(|dispute| dispute.reason.as_str())),
        Value::Maybe(outcome(dispute)),
        Value::Text(&changed.provider),
        restocked(changed),
        Value::Id(changed.id),
    ]
}

/// Adds a refund.
pub(super) const INSERT_REFUND: &str =
    concat!("INSERT INTO refunds (", refund_columns!(), ", look_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)");

/// The parameters of [`INSERT_REFUND`].
pub(super) fn inserted_refund(payment: Uuid, new: &Refund, now: OffsetDateTime) -> [Value<'_>; 9] {
    [
        Value::Id(new.id),
        Value::Id(payment),
        Value::Int(new.amount.minor),
        Value::Maybe(new.reason.as_ref().map(Note::as_str)),
        Value::Int(new.restock.into()),
        Value::Text(refund_status(new.status)),
        Value::Int(millis(new.created_at)),
        Value::MaybeInt((new.status == RefundStatus::Pending).then(|| millis(new.created_at))),
        Value::MaybeInt(new.next_look(now).map(millis)),
    ]
}

/// Writes how far a refund got: its status, by its id.
pub(super) const UPDATE_REFUND: &str = "UPDATE refunds SET status = $1, accepted_at = $2, look_at = $3 WHERE id = $4";

/// The parameters of [`UPDATE_REFUND`].
pub(super) fn updated_refund(changed: &Refund, now: OffsetDateTime) -> [Value<'static>; 4] {
    let accepted = (changed.status == RefundStatus::Pending).then(|| millis(now));
    let look_at = changed.next_look(now).map(millis);
    let status = Value::Text(refund_status(changed.status));
    [status, Value::MaybeInt(accepted), Value::MaybeInt(look_at), Value::Id(changed.id)]
}
