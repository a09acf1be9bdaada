//! Single parameters of a path or a query.

use shop_fault::{Fault, FieldError, Kind};

use crate::Id;

/// The id in the path or query parameter `name`; 400 `invalid_parameter` when it is none.
pub fn parameter<T: Id>(name: &str, text: &str) -> Result<T, Fault> {
    crate::read(name, text).map_err(|wrong| invalid_parameter(name, wrong.message))
}

/// 400 `invalid_parameter` on the path or query parameter `name`.
pub fn invalid_parameter(name: &str, message: impl Into<String>) -> Fault {
    let message = message.into();
    Fault::new(Kind::Malformed, "invalid_parameter", format!("parameter {name}: {message}"))
        .with_field(FieldError::new(name, "invalid_parameter", message))
}
