//! Reading baskets.

use std::sync::Arc;

use super::Refreshed;
use crate::domain::{Basket, Baskets, Catalog, Error, Expected, UserId};

/// Every question, one method each.
#[derive(Clone)]
pub(crate) struct Queries {
    baskets: Arc<dyn Baskets>,
    catalog: Arc<dyn Catalog>,
}

impl Queries {
    /// On this store and catalogue.
    pub(crate) fn new(baskets: Arc<dyn Baskets>, catalog: Arc<dyn Catalog>) -> Self {
        Self { baskets, catalog }
    }

    /// The user's basket.
    pub(crate) async fn basket(&self, user: &UserId) -> Result<Basket, Error> {
        self.baskets.get(user).await?.ok_or_else(|| Error::NoBasket(user.clone()))
    }

    /// The user's basket as it is stored, and all that the catalogue says otherwise, as often as somebody asks. Nothing is
    /// written: what its user has not been told must not be gone when he looks.
    pub(crate) async fn compared(&self, user: &UserId) -> Result<Refreshed, Error> {
        let basket = self.basket(user).await?;
        basket.expect(&Expected::default())?;
        let asked: Vec<i64> = basket.lines.iter().map(|line| line.product).collect();
        if asked.is_empty() {
            return Ok(Refreshed { basket, differences: Vec::new() });
        }
        let found = self.catalog.products(&asked).await?;
        let differences = basket.clone().refresh(&asked, &found)?;
        Ok(Refreshed { basket, differences })
    }
}
