//! What a payment is and how it may change: pure rules, no store, no clock, no network.

mod card;
mod error;
mod events;
mod input;
mod payment;
mod ports;
mod refund;

#[cfg(test)]
mod tests;

pub(crate) use error::{Error, Shortage};
pub(crate) use input::{
    Amount, DESCRIPTION, KEY, MAX_PAIRS, MAX_TOKEN, Metadata, Note, Order, REASON, RawOrder, SANDBOX, Token, VALUE,
};
pub(crate) use payment::{FORGOTTEN, Failure, Item, Limits, Method, Payment, Status, Verdict};
pub(crate) use ports::{
    Aged, Basket, BasketChange, Baskets, Change, ChangeKind, Charge, Due, Filter, Line, Paid, Payback, Payments,
    Provider, ProviderError, Reserved, Standing, Stock,
};
pub(crate) use refund::{Refund, RefundStatus, Refunding};
pub(crate) use shop_input::{Expected, UserId};
#[cfg(test)]
pub(crate) use tests::samples;
