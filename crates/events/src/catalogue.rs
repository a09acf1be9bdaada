//! Every event there is, with its topic and key.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use shop_money::{Currency, Decimal};
use uuid::Uuid;

/// A stream of events; order holds per key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Topic {
    /// What became of payments, keyed by payment.
    Payment,
    /// Changes of stock that a payment caused, keyed by product.
    Stock,
    /// Changes of baskets that a payment caused, keyed by user.
    Basket,
    /// What becomes of users, keyed by user.
    User,
}

impl Topic {
    /// All topics.
    pub const ALL: [Self; 4] = [Self::Payment, Self::Stock, Self::Basket, Self::User];

    /// The topic's name on the bus.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Payment => "payment-events",
            Self::Stock => "stock-events",
            Self::Basket => "basket-events",
            Self::User => "user-events",
        }
    }
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// `payment.completed`
    PaymentCompleted(PaymentCompleted),
    /// `payment.failed`
    PaymentFailed(PaymentFailed),
    /// `payment.refunded`
    PaymentRefunded(PaymentRefunded),
    /// `payment.refund_failed`
    PaymentRefundFailed(PaymentRefundFailed),
    /// `payment.authorised`
    PaymentAuthorised(PaymentAuthorised),
    /// `payment.action_required`
    PaymentActionRequired(PaymentActionRequired),
    /// `payment.expired`
    PaymentExpired(PaymentExpired),
    /// `payment.cancelled`
    PaymentCancelled(PaymentCancelled),
    /// `payment.disputed`
    PaymentDisputed(PaymentDisputed),
    /// `stock.updated`
    StockUpdated(StockUpdated),
    /// `basket.cleared`
    BasketCleared(BasketCleared),
    /// `user.erased`
    UserErased(UserErased),
}

impl Event {
    /// All types, as [`Event::event_type`] names them.
    pub const TYPES: [&str; 12] = [
        "payment.completed",
        "payment.failed",
        "payment.refunded",
        "payment.refund_failed",
        "payment.authorised",
        "payment.action_required",
        "payment.expired",
        "payment.cancelled",
        "payment.disputed",
        "stock.updated",
        "basket.cleared",
        "user.erased",
    ];

    /// The stream the event goes to.
    pub const fn topic(&self) -> Topic {
        match self {
            Self::PaymentCompleted(_)
            | Self::PaymentFailed(_)
            | Self::PaymentRefunded(_)
            | Self::PaymentRefundFailed(_)
            | Self::PaymentAuthorised(_)
            | Self::PaymentActionRequired(_)
            | Self::PaymentExpired(_)
            | Self::PaymentCancelled(_)
            | Self::PaymentDisputed(_) => Topic::Payment,
            Self::StockUpdated(_) => Topic::Stock,
            Self::BasketCleared(_) => Topic::Basket,
            Self::UserErased(_) => Topic::User,
        }
    }

    /// The type as consumers match on it.
    pub const fn event_type(&self) -> &'static str {
        match self {
            Self::PaymentCompleted(_) => "payment.completed",
            Self::PaymentFailed(_) => "payment.failed",
            Self::PaymentRefunded(_) => "payment.refunded",
            Self::PaymentRefundFailed(_) => "payment.refund_failed",
            Self::PaymentAuthorised(_) => "payment.authorised",
            Self::PaymentActionRequired(_) => "payment.action_required",
            Self::PaymentExpired(_) => "payment.expired",
            Self::PaymentCancelled(_) => "payment.cancelled",
            Self::PaymentDisputed(_) => "payment.disputed",
            Self::StockUpdated(_) => "stock.updated",
            Self::BasketCleared(_) => "basket.cleared",
            Self::UserErased(_) => "user.erased",
        }
    }

    /// The key that order holds for.
    pub fn key(&self) -> String {
        match self {
            Self::PaymentCompleted(body) => body.payment_id.to_string(),
            Self::PaymentFailed(body) => body.payment_id.to_string(),
            Self::PaymentRefunded(body) => body.payment_id.to_string(),
            Self::PaymentRefundFailed(body) => body.payment_id.to_string(),
            Self::PaymentAuthorised(body) => body.payment_id.to_string(),
            Self::PaymentActionRequired(body) => body.payment_id.to_string(),
            Self::PaymentExpired(body) => body.payment_id.to_string(),
            Self::PaymentCancelled(body) => body.payment_id.to_string(),
            Self::PaymentDisputed(body) => body.payment_id.to_string(),
            Self::StockUpdated(body) => body.product_id.to_string(),
            Self::BasketCleared(body) => body.user_id.clone(),
            Self::UserErased(body) => body.user_id.clone(),
        }
    }
}

/// One line of what was bought.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// Which product.
    pub product_id: i64,
    /// Its name when it was bought.
    pub name: String,
    /// How many.
    pub quantity: u32,
    /// Price of one.
    pub price: Decimal,
    /// Price of the line.
    pub subtotal: Decimal,
    /// Its category when it was bought.
    pub category: String,
}

/// A payment went through.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentCompleted {
    /// Which payment.
    pub payment_id: Uuid,
    /// Whose.
    pub user_id: String,
    /// The basket paid for.
    pub basket_id: Option<Uuid>,
    /// What was paid.
    pub amount: Decimal,
    /// In which currency.
    pub currency: Currency,
    /// What was bought.
    pub items: Vec<Item>,
    /// The client's own notes.
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
}

/// A payment did not go through, and never will.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentFailed {
    /// Which payment.
    pub payment_id: Uuid,
    /// Whose.
    pub user_id: String,
    /// The basket that was to be paid for.
    pub basket_id: Option<Uuid>,
    /// What was to be paid.
    pub amount: Decimal,
    /// In which currency.
    pub currency: Currency,
    /// What was to be bought.
    pub items: Vec<Item>,
    /// The client's own notes.
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
    /// Why, for people.
    pub reason: String,
    /// Why, for programs: `payment_declined`, `payment_expired`, …
    pub error_code: String,
}

/// Money went back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentRefunded {
    /// Which payment.
    pub payment_id: Uuid,
    /// Whose.
    pub user_id: String,
    /// The basket that was paid for.
    pub basket_id: Option<Uuid>,
    /// How much went back with this refund.
    pub amount: Decimal,
    /// In which currency.
    pub currency: Currency,
    /// What was bought.
    pub items: Vec<Item>,
    /// The client's own notes.
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
    /// Why, as the client said.
    pub reason: Option<String>,
    /// Which refund.
    pub refund_id: Uuid,
}

/// Money that was on its way back, or was said to be there, did not arrive: it may be refunded again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentRefundFailed {
    /// Which payment.
    pub payment_id: Uuid,
    /// Whose.
    pub user_id: String,
    /// The basket that was paid for.
    pub basket_id: Option<Uuid>,
    /// How much did not arrive.
    pub amount: Decimal,
    /// In which currency.
    pub currency: Currency,
    /// What was bought.
    pub items: Vec<Item>,
    /// The client's own notes.
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
    /// Why it was to go back, as the client said.
    pub reason: Option<String>,
    /// Which refund.
    pub refund_id: Uuid,
}

/// The money is held on the buyer's account, and taken later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentAuthorised {
    /// Which payment.
    pub payment_id: Uuid,
    /// Whose.
    pub user_id: String,
    /// The basket that is paid for.
    pub basket_id: Option<Uuid>,
    /// What is to be paid.
    pub amount: Decimal,
    /// In which currency.
    pub currency: Currency,
    /// What is to be bought.
    pub items: Vec<Item>,
    /// The client's own notes.
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
    /// When it is let go of unless it is taken before (RFC 3339).
    pub authorised_until: String,
}

/// The buyer has to confirm at his provider's page before he is charged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentActionRequired {
    /// Which payment.
    pub payment_id: Uuid,
    /// Whose.
    pub user_id: String,
    /// The basket that is paid for.
    pub basket_id: Option<Uuid>,
    /// What is to be paid.
    pub amount: Decimal,
    /// In which currency.
    pub currency: Currency,
    /// What is to be bought.
    pub items: Vec<Item>,
    /// The client's own notes.
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
    /// Where he does it.
    pub url: String,
    /// How long he may take (RFC 3339).
    pub expires_at: String,
}

/// The time for a payment was over before it was paid; nobody's money was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentExpired {
    /// Which payment.
    pub payment_id: Uuid,
    /// Whose.
    pub user_id: String,
    /// The basket that was to be paid for.
    pub basket_id: Option<Uuid>,
    /// What was to be paid.
    pub amount: Decimal,
    /// In which currency.
    pub currency: Currency,
    /// What was to be bought.
    pub items: Vec<Item>,
    /// The client's own notes.
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
    /// Why, for people.
    pub reason: String,
    /// Why, for programs: `payment_expired` or `authorisation_lapsed`.
    pub error_code: String,
}

/// A payment was given up before it was paid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentCancelled {
    /// Which payment.
    pub payment_id: Uuid,
    /// Whose.
    pub user_id: String,
    /// The basket that was to be paid for.
    pub basket_id: Option<Uuid>,
    /// What was to be paid.
    pub amount: Decimal,
    /// In which currency.
    pub currency: Currency,
    /// What was to be bought.
    pub items: Vec<Item>,
    /// The client's own notes.
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
}

/// The buyer has asked his bank for the money, or the bank has decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentDisputed {
    /// Which payment.
    pub payment_id: Uuid,
    /// Whose.
    pub user_id: String,
    /// The basket that was paid for.
    pub basket_id: Option<Uuid>,
    /// What is disputed.
    pub amount: Decimal,
    /// In which currency.
    pub currency: Currency,
    /// What was bought.
    pub items: Vec<Item>,
    /// The client's own notes.
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
    /// The provider's word for why.
    pub reason: String,
    /// How it ended, `won` or `lost`; none while it is open.
    #[serde(default)]
    pub outcome: Option<String>,
}

/// What happens to reserved stock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StockOperation {
    /// The reservation was sold: units leave the shelf.
    Decrease,
    /// The reservation was dropped: units are free again.
    Release,
    /// Sold units came back.
    Increase,
}

/// Stock of one product is to change because of a payment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StockUpdated {
    /// Which product.
    pub product_id: i64,
    /// How many units.
    pub quantity: u32,
    /// Which way.
    pub operation: StockOperation,
    /// Why, for people.
    pub reason: String,
    /// The payment, which is also the id of its reservation.
    pub payment_id: Uuid,
}

/// One line that left the basket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BasketLine {
    /// Which product.
    pub product_id: i64,
    /// How many were paid for.
    pub quantity: u32,
}

/// What was paid for leaves the basket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BasketCleared {
    /// Whose basket.
    pub user_id: String,
    /// Which basket: a newer one of the same user stays as it is.
    pub basket_id: Uuid,
    /// What was paid for; lines added since stay.
    pub lines: Vec<BasketLine>,
    /// Why, for people.
    pub reason: String,
    /// The payment.
    pub payment_id: Uuid,
}

/// A user is to be forgotten: what is kept of him from before the event's time goes, and no event from before it tells of him
/// any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserErased {
    /// Who.
    pub user_id: String,
}
