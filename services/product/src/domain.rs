//! What a product and a reservation are, and the rules they keep. Pure: no store, no wire, no clock.

mod error;
mod fold;
mod ledger;
mod listing;
mod ports;
mod product;
mod reservation;
mod shelf;

pub(crate) use error::{Error, Result, Short};
pub(crate) use fold::{FOLDING, composed, folded, place, words};
pub(crate) use ledger::{
    Adjustment, AdjustmentDraft, Entries, Entry, EntryKind, EntryPage, NewEntry, REASON, REFERENCE,
};
pub(crate) use listing::{After, Direction, Filter, Key, Listing, Match, Order, Slice, Sort, thousandths};
pub(crate) use ports::{Change, Ledger, Payments, Permit, Products, Reservations, Store};
pub(crate) use product::{CATEGORY, DESCRIPTION, Details, Draft, MAX_STOCK, MAX_URL, NAME, Price, Product};
pub(crate) use reservation::{
    Delta, Drift, Forgotten, Hold, Holding, Line, LineState, Lines, Movement, Outcome, Reach, Reservation, Resolved,
    Sale, Settlement, Stored,
};
pub(crate) use shelf::Shelf;
pub(crate) use shop_input::Expected;
