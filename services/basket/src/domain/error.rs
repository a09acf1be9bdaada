//! Why a basket operation fails, each with its stable code.

use std::time::Duration;

use serde_json::json;
use shop_fault::{Fault, Kind, Violation};
use shop_money::{Currency, MoneyError};

use super::{Basket, Quantity, UserId};

/// A basket operation that did not happen.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The user has no basket, or it has expired.
    #[error("user {0} has no basket")]
    NoBasket(UserId),
    /// The basket has no line of that product.
    #[error("the basket has no product {0}")]
    NoLine(i64),
    /// The catalogue has no such product.
    #[error("product {0} does not exist")]
    NoProduct(i64),
    /// Fewer units are available than the basket would hold.
    #[error("product {product} has only {available} left, {requested} are asked for")]
    InsufficientStock {
        /// Which product.
        product: i64,
        /// Units the basket would hold.
        requested: u32,
        /// Units that can be bought.
        available: i64,
    },
    /// The product is priced in another currency than the basket.
    #[error("product {product} is priced in {currency}, the basket in {basket}")]
    CurrencyMismatch {
        /// Which product.
        product: i64,
        /// The product's currency.
        currency: Currency,
        /// The basket's currency.
        basket: Currency,
    },
    /// The basket has as many lines as it can have.
    #[error("the basket already has {} lines, the most it can have", Basket::MAX_LINES)]
    Full,
    /// A line would hold more units than a line can.
    #[error("product {0} would be more than {max} times in the basket", max = Quantity::MAX)]
    TooMany(i64),
    /// A subtotal or the total would leave the range of amounts.
    #[error("the basket's total would be too large")]
    TotalOutOfRange,
    /// The caller expects another version than the current one.
    #[error("the basket is not in the state that was asked for: read it again")]
    VersionMismatch,
    /// So many change this basket at once that every attempt lost.
    #[error("the basket of user {0} is being changed by too many at once")]
    Contended(UserId),
    /// The lines are on their way into the basket of somebody who signed in.
    #[error("the basket of {0} is being merged into another: try again, or repeat the merge if it failed")]
    Merging(UserId),
    /// A store or a neighbour failed.
    #[error(transparent)]
    Outside(#[from] Fault),
}

impl From<MoneyError> for Error {
    /// Rules check the currency before they add, so only the range is left to fail.
    fn from(_: MoneyError) -> Self {
        Self::TotalOutOfRange
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        let detail = error.to_string();
        let fault = |kind, code: &'static str| Self::new(kind, code, detail);
        match error {
            Error::Outside(fault) => fault,
            Error::NoBasket(_) => fault(Kind::NotFound, "basket_not_found"),
            Error::NoLine(_) => fault(Kind::NotFound, "item_not_found"),
            Error::NoProduct(_) => fault(Kind::NotFound, "product_not_found"),
            Error::InsufficientStock { product, requested, available } => fault(Kind::Conflict, "insufficient_stock")
                .with_violation(Violation::new(
                    "insufficient_stock",
                    format!("products/{product}"),
                    format!("{requested} asked for, {available} available"),
                ))
                .with_member("product_id", json!(product))
                .with_member("requested_quantity", json!(requested))
                .with_member("available_quantity", json!(available)),
            Error::CurrencyMismatch { .. } => fault(Kind::Conflict, "currency_mismatch"),
            Error::Full => fault(Kind::Conflict, "basket_full"),
            Error::TooMany(_) => fault(Kind::Conflict, "quantity_limit"),
            Error::TotalOutOfRange => fault(Kind::Conflict, "total_out_of_range"),
            Error::VersionMismatch => fault(Kind::Precondition, "precondition_failed"),
            Error::Contended(_) => fault(Kind::Busy, "basket_contended").with_retry_after(Duration::from_secs(1)),
            Error::Merging(_) => fault(Kind::Busy, "basket_merging").with_retry_after(Duration::from_secs(1)),
        }
    }
}
