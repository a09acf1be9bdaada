//! Reading baskets.

use std::sync::Arc;

use crate::domain::{Basket, Baskets, Error, UserId};

/// Every question, one method each.
#[derive(Clone)]
pub(crate) struct Queries {
    baskets: Arc<dyn Baskets>,
}

impl Queries {
    /// On this store.
    pub(crate) fn new(baskets: Arc<dyn Baskets>) -> Self {
        Self { baskets }
    }

    /// The user's basket.
    pub(crate) async fn basket(&self, user: &UserId) -> Result<Basket, Error> {
        self.baskets.get(user).await?.ok_or_else(|| Error::NoBasket(user.clone()))
    }
}
