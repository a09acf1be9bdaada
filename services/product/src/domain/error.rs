//! Why the catalogue says no, with the stable code each reason has outside.

use shop_fault::{Fault, Kind, Violation};
use shop_input::Fields;
use uuid::Uuid;

use super::MAX_STOCK;

/// What a rule or a store answers.
pub(crate) type Result<T> = std::result::Result<T, Error>;

/// Why something was refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// No product has that id.
    #[error("product {0} does not exist")]
    NotFound(i64),
    /// The input breaks these rules.
    #[error(transparent)]
    Invalid(#[from] Fields),
    /// The caller expects another version than the current one.
    #[error("product {0} is not in the state that was asked for: read it again")]
    VersionMismatch(i64),
    /// Open reservations hold the product.
    #[error("product {id} has {reserved} units reserved and cannot be deleted yet")]
    Reserved {
        /// Which product.
        id: i64,
        /// How many units are held.
        reserved: i64,
    },
    /// An edit would leave less on hand than is promised.
    #[error("product {id} has {reserved} units reserved; its stock cannot be set to {wanted}")]
    StockBelowReserved {
        /// Which product.
        id: i64,
        /// How many units are held.
        reserved: i64,
        /// The stock the caller asked for.
        wanted: i64,
    },
    /// An adjustment would make more units than a product can have.
    #[error("product {id} would have {wanted} units, and {MAX_STOCK} are the most")]
    StockAboveLimit {
        /// Which product.
        id: i64,
        /// What there would be.
        wanted: i64,
    },
    /// An edit would change the stock and names no version of the product.
    #[error(
        "the stock of product {0} is {1} now: to set it, send the product's ETag as If-Match (expected_version over gRPC); \
         to count units in or out, adjust it"
    )]
    VersionRequired(i64, i64),
    /// Not every line can be held.
    #[error("{}", shortage(.0))]
    Insufficient(Vec<Short>),
    /// The reservation was released or sold before.
    #[error("reservation {0} is closed")]
    Closed(Uuid),
    /// The reservation to be replaced was sold.
    #[error("reservation {0} was sold, so nothing can take its place")]
    Sold(Uuid),
    /// The same reservation id with other lines.
    #[error("reservation {0} stands with other lines")]
    OtherLines(Uuid),
    /// An event does not fit the reservation it speaks of.
    #[error("reservation {reservation}, product {product}: {reason}")]
    Unfit {
        /// Which reservation.
        reservation: Uuid,
        /// Which product.
        product: i64,
        /// What does not fit.
        reason: &'static str,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] Fault),
}

/// One line that cannot be held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Short {
    /// Which product.
    pub(crate) product: i64,
    /// How many units were asked for.
    pub(crate) wanted: i64,
    /// How many are left; `None` when the product is gone.
    pub(crate) available: Option<i64>,
}

impl Short {
    fn violation(&self) -> Violation {
        let kind = if self.available.is_some() { "insufficient_stock" } else { "product_not_found" };
        Violation::new(kind, format!("products/{}", self.product), self.to_string())
    }
}

impl std::fmt::Display for Short {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { product, wanted, available } = self;
        match available {
            Some(left) => write!(f, "product {product} has only {left} left, {wanted} wanted"),
            None => write!(f, "product {product} does not exist"),
        }
    }
}

fn shortage(short: &[Short]) -> String {
    short.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        let detail = error.to_string();
        let fault = |kind, code: &'static str| Self::new(kind, code, detail);
        match error {
            Error::Store(fault) => fault,
            Error::Invalid(fields) => fields.into(),
            Error::NotFound(_) => fault(Kind::NotFound, "product_not_found"),
            Error::VersionMismatch(_) => fault(Kind::Precondition, "precondition_failed"),
            Error::Reserved { .. } => fault(Kind::Conflict, "product_reserved"),
            Error::StockBelowReserved { .. } => fault(Kind::Conflict, "stock_below_reserved"),
            Error::StockAboveLimit { .. } => fault(Kind::Conflict, "stock_above_limit"),
            Error::VersionRequired(..) => fault(Kind::PreconditionRequired, "precondition_required"),
            Error::Insufficient(short) => {
                let fault = fault(Kind::Conflict, "insufficient_stock");
                short.iter().map(Short::violation).fold(fault, Self::with_violation)
            }
            Error::Closed(_) => fault(Kind::Conflict, "reservation_closed"),
            Error::Sold(_) => fault(Kind::Conflict, "reservation_sold"),
            Error::OtherLines(_) => fault(Kind::Conflict, "reservation_mismatch"),
            Error::Unfit { .. } => fault(Kind::Conflict, "reservation_unfit"),
        }
    }
}

#[cfg(test)]
mod tests {
    use shop_fault::FieldError;

    use super::*;

    #[test]
    fn every_refusal_has_its_status_and_code() {
        let id = Uuid::nil();
        for (error, status, code) in [
            (Error::NotFound(7), 404, "product_not_found"),
            (Error::Invalid(FieldError::new("name", "required", "must not be empty").into()), 422, "validation_failed"),
            (Error::VersionMismatch(7), 412, "precondition_failed"),
            (Error::Reserved { id: 7, reserved: 1 }, 409, "product_reserved"),
            (Error::StockBelowReserved { id: 7, reserved: 3, wanted: 2 }, 409, "stock_below_reserved"),
            (Error::StockAboveLimit { id: 7, wanted: MAX_STOCK + 1 }, 409, "stock_above_limit"),
            (Error::VersionRequired(7, 3), 428, "precondition_required"),
            (Error::Insufficient(vec![]), 409, "insufficient_stock"),
            (Error::Closed(id), 409, "reservation_closed"),
            (Error::Sold(id), 409, "reservation_sold"),
            (Error::OtherLines(id), 409, "reservation_mismatch"),
            (Error::Store(Fault::new(Kind::Unavailable, "store_unavailable", "down")), 503, "store_unavailable"),
        ] {
            let fault = Fault::from(error);
            assert_eq!((fault.kind().status(), fault.code()), (status, code));
        }
    }

    #[test]
    fn short_lines_are_violations_that_name_the_product() {
        let short =
            vec![Short { product: 7, wanted: 3, available: Some(2) }, Short { product: 9, wanted: 1, available: None }];
        let fault = Fault::from(Error::Insufficient(short));
        assert_eq!(fault.detail(), "product 7 has only 2 left, 3 wanted; product 9 does not exist");
        let named: Vec<_> = fault.violations().iter().map(|v| (v.subject.as_str(), v.kind.as_str())).collect();
        assert_eq!(named, [("products/7", "insufficient_stock"), ("products/9", "product_not_found")]);
    }
}
