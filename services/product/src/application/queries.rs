//! The questions.

use std::sync::Arc;

use crate::domain::{Listing, Product, Result, Slice, Store};

/// Everything that only reads.
#[derive(Clone)]
pub(crate) struct Queries {
    store: Arc<dyn Store>,
}

impl Queries {
    /// Questions to `store`.
    pub(crate) fn new(store: Arc<dyn Store>) -> Self {
        Self { store }
    }

    /// One product.
    pub(crate) async fn product(&self, id: i64) -> Result<Product> {
        self.store.get(id).await
    }

    /// One page of products.
    pub(crate) async fn products(&self, listing: &Listing) -> Result<Slice> {
        self.store.list(listing).await
    }
}
