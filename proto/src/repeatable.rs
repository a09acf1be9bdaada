//! Which calls may be made again when nobody knows whether they were answered. All others are refused by the compiler:
//!
//! ```
//! fn send_again<Q: shop_idempotency::Repeatable>(_: Q) {}
//! send_again(shop_proto::basket::v1::GetBasketRequest::default());
//! ```
//!
//! ```compile_fail,E0277
//! fn send_again<Q: shop_idempotency::Repeatable>(_: Q) {}
//! send_again(shop_proto::basket::v1::AddItemRequest::default());
//! ```

use shop_idempotency::Repeatable;

use crate::{basket, notification, payment, product};

macro_rules! repeatable {
    ($($(#[$why:meta])* $request:ty,)+) => {
        $($(#[$why])* impl Repeatable for $request {})+
    };
}

repeatable! {
    /// Reads.
    product::v1::GetProductRequest,
    /// Reads.
    product::v1::GetProductsRequest,
    /// Holds once under the reservation's id.
    product::v1::ReserveStockRequest,
    /// Gives back once what the reservation holds.
    product::v1::ReleaseStockRequest,
    /// Reads.
    product::v1::ListReservationsRequest,
    /// Settles what is not settled.
    product::v1::SettleReservationRequest,
    /// Reads, or makes a number what it has to be.
    product::v1::CheckStockRequest,
    /// Reads, also when it compares.
    basket::v1::GetBasketRequest,
    /// Reads.
    payment::v1::GetOutcomesRequest,
    /// Reads.
    notification::v1::GetUserRecordsRequest,
}
