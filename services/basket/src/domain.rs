//! What a basket is and may become; knows no store, no wire and no clock.

mod basket;
mod error;
mod merge;
mod ports;
mod refresh;

pub(crate) use basket::{Basket, Line, Quantity};
pub(crate) use error::Error;
pub(crate) use merge::Merged;
pub(crate) use ports::{Baskets, Catalog, Change, Changed, Product, made_until};
pub(crate) use refresh::{Difference, Finding};
pub(crate) use shop_input::{Expected, UserId};
