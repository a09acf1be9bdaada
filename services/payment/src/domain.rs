//! What a payment is and how it may change: pure rules, no store, no clock, no network.

mod bell;
mod card;
mod charge;
mod error;
mod events;
mod input;
mod payment;
mod ports;
mod provider;
mod refund;
mod shelf;

#[cfg(test)]
mod tests;

pub(crate) use bell::{Bell, Given, Inbox, Record, Ring, Unheard};
#[cfg(test)]
pub(crate) use charge::ARROWS;
pub(crate) use charge::{Action, Dispute, DisputeOutcome, MAX_ATTEMPTS, MAX_REASON, MAX_URL, Step};
pub(crate) use error::{Error, Shortage, WHAT_TO_SET};
pub(crate) use input::{
    Amount, DESCRIPTION, KEY, MAX_PAIRS, MAX_TOKEN, Metadata, Note, Order, REASON, RawOrder, SANDBOX, STRIPE, Token,
    VALUE,
};
pub(crate) use payment::{FORGOTTEN, Failure, Item, Limits, Method, Outcome, Payment, Status};
pub(crate) use ports::{
    Aged, Basket, BasketChange, BasketRecord, Baskets, Change, ChangeKind, Claim, Filter, Left, Line, Merged,
    NoticeRecords, Notices, Payments, Reserved, Shelf, Standing, Stock, Wait, Waits,
};
pub(crate) use provider::{
    Capture, Charge, Intent, NO_PROVIDER, Paid, Payback, Provider, ProviderError, Providers, Reference, Verdict,
};
pub(crate) use refund::{Refund, RefundStatus, Refunding};
pub(crate) use shelf::{Kept, LineState, Miscount, Reservation, amiss};
pub(crate) use shop_input::{Expected, UserId};
#[cfg(test)]
pub(crate) use tests::samples;
