//! The checks of what clients send, the same for HTTP and gRPC.

use shop_fault::Fault;
use shop_identity::{Caller, Refusal};

use crate::application::Target;
use crate::domain::{Quantity, UserId};

/// Where the token of a guest is.
const GUEST: &str = "guest_token";

/// Turns what a client sent into domain types, noting every field that is not valid, so that all are told at once.
#[derive(Debug, Default)]
pub(crate) struct Fields(shop_input::Fields);

impl Fields {
    /// A user id; `me` and the empty one are the caller's own.
    pub(crate) fn user(&mut self, text: &str) -> Option<UserId> {
        self.0.id("user_id", Caller::current().named(Some(text.trim())).unwrap_or_default())
    }

    /// The user id in a body: the caller's own when it is left out, which a blank one is not.
    pub(crate) fn user_of_body(&mut self, given: Option<&str>) -> Option<UserId> {
        match given {
            Some(text) if text.trim().is_empty() => self.0.id("user_id", ""),
            given => self.user(given.unwrap_or_default()),
        }
    }

    /// The name of the guest whom a token is of.
    pub(crate) fn guest(&mut self, name: &str) -> Option<UserId> {
        self.0.id(GUEST, name)
    }

    /// That a token is of no guest.
    pub(crate) fn no_guest(&mut self, refusal: Refusal) -> Option<UserId> {
        let message = match refusal {
            Refusal::Expired => "has expired: start another guest",
            _ => "must be the token of a guest of this shop",
        };
        self.0.refuse(GUEST, "invalid", message);
        None
    }

    /// A product id.
    pub(crate) fn product(&mut self, id: i64) -> Option<i64> {
        if id < 1 {
            self.0.refuse("product_id", "out_of_range", "must be 1 or more");
        }
        (id >= 1).then_some(id)
    }

    /// A quantity to add.
    pub(crate) fn quantity(&mut self, units: u32) -> Option<Quantity> {
        let quantity = Quantity::new(units);
        if quantity.is_none() {
            self.0.refuse("quantity", "out_of_range", format!("must be 1 to {}", Quantity::MAX));
        }
        quantity
    }

    /// A quantity to set; zero takes the line out.
    pub(crate) fn target(&mut self, units: u32) -> Option<Target> {
        if units == 0 { Some(Target::Gone) } else { self.quantity(units).map(Target::Units) }
    }

    /// `validation_failed` with every field noted.
    pub(crate) fn fault(self) -> Fault {
        self.0.into()
    }
}
