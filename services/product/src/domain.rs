//! What a product and a reservation are, and the rules they keep. Pure: no store, no wire, no clock.

mod error;
mod fold;
mod listing;
mod ports;
mod product;
mod reservation;

pub(crate) use error::{Error, Result, Short};
pub(crate) use fold::{FOLDING, composed, folded, place, words};
pub(crate) use listing::{After, Direction, Filter, Key, Listing, Match, Order, Slice, Sort, thousandths};
pub(crate) use ports::{Change, Permit, Products, Reservations, Store};
pub(crate) use product::{CATEGORY, DESCRIPTION, Details, Draft, MAX_STOCK, MAX_URL, NAME, Price, Product};
pub(crate) use reservation::{Holding, Line, LineState, Lines, Movement, Settlement};
pub(crate) use shop_input::Expected;
