//! Who may do what. An operation without a row here is for nobody.

use shop_identity::Rule;

/// Every operation.
pub(crate) const ACCESS: &[Rule] = &[];
