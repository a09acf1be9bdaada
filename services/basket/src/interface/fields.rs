//! The checks of what clients send, the same for HTTP and gRPC.

use shop_fault::{Fault, FieldError};

use crate::application::Target;
use crate::domain::{Quantity, UserId};

/// Turns what a client sent into domain types, noting every field that is not valid, so that all are told at once.
#[derive(Debug, Default)]
pub(crate) struct Fields(Vec<FieldError>);

impl Fields {
    /// A user id.
    pub(crate) fn user(&mut self, text: &str) -> Option<UserId> {
        shop_input::read("user_id", text.trim()).map_err(|wrong| self.0.push(wrong)).ok()
    }

    /// A product id.
    pub(crate) fn product(&mut self, id: i64) -> Option<i64> {
        if id < 1 {
            self.note("product_id", "out_of_range", "must be 1 or more".to_owned());
        }
        (id >= 1).then_some(id)
    }

    /// A quantity to add.
    pub(crate) fn quantity(&mut self, units: u32) -> Option<Quantity> {
        let quantity = Quantity::new(units);
        if quantity.is_none() {
            self.note("quantity", "out_of_range", format!("must be 1 to {}", Quantity::MAX));
        }
        quantity
    }

    /// A quantity to set; zero takes the line out.
    pub(crate) fn target(&mut self, units: u32) -> Option<Target> {
        if units == 0 { Some(Target::Gone) } else { self.quantity(units).map(Target::Units) }
    }

    /// `validation_failed` with every field noted.
    pub(crate) fn fault(self) -> Fault {
        Fault::invalid(self.0)
    }

    fn note(&mut self, field: &str, code: &str, message: String) {
        self.0.push(FieldError::new(field, code, message));
    }
}
