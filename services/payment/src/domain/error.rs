//! Why a payment cannot be made or moved.

use std::time::Duration;

use shop_fault::{Fault, FieldError, Kind, Violation};
use shop_input::Fields;
use shop_money::{Currency, Money};
use uuid::Uuid;

use super::{BasketChange, ChangeKind, Failure, NO_PROVIDER, SANDBOX, Status};

/// When to ask again what became of a payment that the provider is at.
const RETRY: Duration = Duration::from_secs(1);

/// How a shop comes to a provider.
pub(crate) const WHAT_TO_SET: &str = "set STRIPE_SECRET_KEY, or provider.sandbox = true (SHOP_PROVIDER__SANDBOX=true) where no real money is to be moved";

/// A product with fewer units than the basket asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shortage {
    /// Which thing, such as `products/7`.
    pub(crate) subject: String,
    /// How many are missing, for people.
    pub(crate) description: String,
}

/// Why a command on a payment failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("payment {0} not found")]
    NotFound(Uuid),
    #[error("{0} has no such basket")]
    BasketNotFound(String),
    #[error("the basket of {0} is empty")]
    BasketEmpty(String),
    #[error("the catalogue is not what the basket says; refresh the basket, look at it, and pay again")]
    BasketChanged(Vec<BasketChange>),
    #[error("the basket is no longer the one that was seen; look at it, and pay again")]
    BasketMoved { total: Money, version: i64 },
    #[error("the basket costs {now} {}, not {expected} {}; look at it, and pay again", now.currency, expected.currency)]
    TotalChanged { expected: Money, now: Money, version: i64 },
    #[error("the basket was paid by payment {0}; what was bought leaves it in a moment")]
    BasketPaid(Uuid),
    #[error("{limit} payments are open; pay or cancel one first")]
    TooManyOpen { limit: u64 },
    #[error("the basket has {units} units, and a payment at most {limit}; take some out")]
    TooManyUnits { units: u64, limit: u64 },
    #[error("payment {0} is not over; cancel it, or wait until it is")]
    PaymentOpen(Uuid),
    #[error("a refund of payment {0} is under way; try again when the money is back")]
    RefundOpen(Uuid),
    #[error("other requests are paying for the same basket; try again")]
    Contended,
    #[error("the basket is in {basket}, not in {asked}")]
    CurrencyMismatch { basket: Currency, asked: Currency },
    #[error("there is not enough stock for payment {payment}")]
    InsufficientStock { payment: Uuid, short: Vec<Shortage> },
    #[error("payment {payment} is {status}, so it cannot be {action}")]
    InvalidState { payment: Uuid, status: Status, action: &'static str },
    #[error(
        "another payment of the same basket took the place of payment {payment}{}",
        by.map_or_else(String::new, |by| format!(": pay {by}"))
    )]
    Superseded {
        payment: Uuid,
        /// The one that stands now, when there is one.
        by: Option<Uuid>,
    },
    #[error("payment {payment} was declined: {}", failure.message)]
    Declined {
        payment: Uuid,
        failure: Failure,
        /// Whether it may be charged again, with another token.
        may_retry: bool,
    },
    #[error("{asked} {} exceed the {authorised} that are authorised for payment {payment}", asked.currency)]
    CaptureExceedsPayment { payment: Uuid, asked: Money, authorised: Money },
    #[error("payment {0} is disputed: its bank decides, and nothing is paid back beside that")]
    Disputed(Uuid),
    #[error("a refund of {asked} {} exceeds the {left} that are left of payment {payment}", asked.currency)]
    RefundExceedsPayment { payment: Uuid, asked: Money, left: Money },
    #[error("payment {0} can only be restocked by the refund that pays back all that is left")]
    RestockNeedsFullRefund(Uuid),
    #[error("refund {refund} of payment {payment} was refused by the provider")]
    RefundRefused { payment: Uuid, refund: Uuid },
    #[error("payment {0} is not in the state that was asked for: read it again")]
    VersionMismatch(Uuid),
    #[error("{0} looks like a card number; send the provider's token instead")]
    CardData(String),
    #[error(transparent)]
    Invalid(#[from] Fields),
    #[error("the provider has not answered for payment {0} yet; it will be settled without charging again")]
    Unsettled(Uuid),
    #[error(
        "it is not known yet whether the stock of payment {0} is reserved, nothing was charged; send the same request again"
    )]
    ReservationUnknown(Uuid),
    #[error("{}", not_configured(*payment, provider))]
    NotConfigured { payment: Uuid, provider: String },
    #[error("the provider does not answer for payment {0}, nothing was charged; send the same request again")]
    ProviderAway(Uuid),
    /// A store or a neighbour failed; the fault says how.
    #[error(transparent)]
    Other(#[from] Fault),
}

impl Error {
    /// Whether it says that somebody else moved the payment on before.
    pub(crate) const fn is_late(&self) -> bool {
        matches!(self, Self::InvalidState { .. } | Self::Superseded { .. })
    }
}

impl From<Error> for Fault {
    /// The failure as the outside sees it: class, stable code, details.
    fn from(error: Error) -> Self {
        let detail = error.to_string();
        let fault = |kind, code: &'static str| Self::new(kind, code, detail);
        match error {
            Error::Other(fault) => fault,
            Error::Invalid(fields) => fields.into(),
            Error::NotFound(_) => fault(Kind::NotFound, "payment_not_found"),
            Error::BasketNotFound(_) => fault(Kind::NotFound, "basket_not_found"),
            Error::BasketEmpty(_) => fault(Kind::Conflict, "basket_empty"),
            Error::CurrencyMismatch { .. } => fault(Kind::Conflict, "currency_mismatch"),
            Error::BasketChanged(changes) => {
                let list = changes.iter().map(change_json).collect();
                changes
                    .iter()
                    .map(change_violation)
                    .fold(fault(Kind::Conflict, "basket_changed"), Self::with_violation)
                    .with_member("changes", list)
            }
            Error::BasketMoved { total, version } => seen(
                fault(Kind::Conflict, "basket_changed").with_member("changes", serde_json::json!([])),
                total,
                version,
            ),
            Error::TotalChanged { now, version, .. } => seen(fault(Kind::Conflict, "total_changed"), now, version),
            Error::BasketPaid(payment) => of(payment, fault(Kind::Conflict, "basket_paid")),
            Error::PaymentOpen(payment) => of(payment, fault(Kind::Conflict, "payment_open")),
            Error::RefundOpen(payment) => of(payment, fault(Kind::Conflict, "refund_open")),
            Error::TooManyOpen { limit } => {
                fault(Kind::Conflict, "too_many_open_payments").with_member("limit", limit.into())
            }
            Error::TooManyUnits { limit, .. } => {
                fault(Kind::Conflict, "too_many_units").with_member("limit", limit.into())
            }
            Error::Contended => fault(Kind::Busy, "basket_contended").with_retry_after(RETRY),
            Error::InsufficientStock { payment, short } => short
                .into_iter()
                .map(|short| Violation::new("insufficient_stock", short.subject, short.description))
                .fold(fault(Kind::Conflict, "insufficient_stock"), Self::with_violation)
                .with_member("payment_id", payment.to_string().into()),
            Error::InvalidState { payment, status, .. } => fault(Kind::Conflict, "invalid_state")
                .with_violation(Violation::new(
                    "invalid_state",
                    format!("payments/{payment}"),
                    format!("it is {status}"),
                ))
                .with_member("payment_status", status.as_str().into()),
            Error::Superseded { by, .. } => {
                let fault = fault(Kind::Conflict, "payment_superseded");
                match by {
                    Some(by) => of(by, fault),
                    None => fault,
                }
            }
            Error::Declined { payment, failure, may_retry } => fault(Kind::PaymentRequired, "payment_declined")
                .with_member("payment_id", payment.to_string().into())
                .with_member("decline_code", failure.code.into())
                .with_member("may_retry", may_retry.into()),
            Error::CaptureExceedsPayment { authorised, .. } => fault(Kind::Invalid, "capture_exceeds_payment")
                .with_field(FieldError::new(
                    "amount",
                    "capture_exceeds_payment",
                    format!("must be at most {authorised}"),
                )),
            Error::Disputed(payment) => of(payment, fault(Kind::Conflict, "payment_disputed")),
            Error::RefundExceedsPayment { left, .. } => fault(Kind::Invalid, "refund_exceeds_payment")
                .with_field(FieldError::new("amount", "refund_exceeds_payment", format!("must be at most {left}"))),
            Error::RestockNeedsFullRefund(_) => {
                let message = "must be false unless all that is left is refunded";
                fault(Kind::Invalid, "restock_needs_full_refund").with_field(FieldError::new(
                    "restock",
                    "restock_needs_full_refund",
                    message,
                ))
            }
            Error::VersionMismatch(_) => fault(Kind::Precondition, "precondition_failed"),
            Error::RefundRefused { .. } => fault(Kind::Conflict, "refund_refused"),
            Error::CardData(field) => fault(Kind::Invalid, "card_data_not_accepted").with_field(FieldError::new(
                field,
                "card_data_not_accepted",
                "must not hold a card number",
            )),
            Error::Unsettled(_) => fault(Kind::Busy, "payment_unsettled").with_retry_after(RETRY),
            Error::NotConfigured { .. } => fault(Kind::Unavailable, "provider_not_configured"),
            Error::ProviderAway(_) => fault(Kind::Unavailable, "provider_unavailable").with_retry_after(RETRY),
            Error::ReservationUnknown(_) => fault(Kind::Unavailable, "reservation_unknown").with_retry_after(RETRY),
        }
    }
}

impl From<FieldError> for Error {
    fn from(wrong: FieldError) -> Self {
        Self::Invalid(wrong.into())
    }
}

/// What to set, for whoever runs the shop.
fn not_configured(payment: Uuid, provider: &str) -> String {
    match provider {
        NO_PROVIDER => {
            format!("no payment provider is configured, nothing was charged for payment {payment}; {WHAT_TO_SET}")
        }
        SANDBOX => format!("payment {payment} is with the sandbox, which is not configured; {WHAT_TO_SET}"),
        name => format!("payment {payment} is with {name}, which is not configured; nothing was done there"),
    }
}

/// Says of which payment.
fn of(payment: Uuid, fault: Fault) -> Fault {
    fault.with_member("payment_id", payment.to_string().into())
}

/// Says what the basket is now.
fn seen(fault: Fault, total: Money, version: i64) -> Fault {
    fault.with_member("total", serde_json::json!(total.amount())).with_member("basket_version", version.into())
}

fn change_json(change: &BasketChange) -> serde_json::Value {
    let mut json = serde_json::json!({
        "product_id": change.product_id,
        "name": change.name,
        "change": change.kind.as_str(),
    });
    match change.kind {
        ChangeKind::Price { old, new } => {
            json["old_price"] = serde_json::json!(old.amount());
            json["new_price"] = serde_json::json!(new.amount());
        }
        ChangeKind::Availability { quantity, available } => {
            json["quantity"] = quantity.into();
            json["available_quantity"] = available.into();
        }
        ChangeKind::Gone => {}
    }
    json
}

fn change_violation(change: &BasketChange) -> Violation {
    let description = match change.kind {
        ChangeKind::Price { old, new } => format!("the price moved from {old} to {new}"),
        ChangeKind::Availability { quantity, available } => format!("{quantity} asked for, {available} available"),
        ChangeKind::Gone => "the product is no longer sold".to_owned(),
    };
    Violation::new("basket_changed", format!("products/{}", change.product_id), description)
}
