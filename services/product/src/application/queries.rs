//! The questions.

use std::sync::Arc;

use time::OffsetDateTime;
use uuid::Uuid;

use crate::domain::{Drift, Entries, EntryPage, Listing, Product, Reservation, Result, Slice, Store};

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

    /// Up to `limit` reservations after `after`: those made since `since`, and older ones while they hold something.
    pub(crate) async fn reservations(
        &self,
        after: Option<Uuid>,
        since: OffsetDateTime,
        limit: u32,
    ) -> Result<Vec<Reservation>> {
        self.store.reservations(after, since, limit).await
    }

    /// These reservations, as far as there are any.
    pub(crate) async fn reservations_of(&self, ids: &[Uuid]) -> Result<Vec<Reservation>> {
        self.store.reservations_of(ids).await
    }

    /// Numbers of products that are not what their bookings say.
    pub(crate) async fn drifts(&self) -> Result<Vec<Drift>> {
        self.store.drifts().await
    }

    /// One page of products.
    pub(crate) async fn products(&self, listing: &Listing) -> Result<Slice> {
        self.store.list(listing).await
    }

    /// One page of a product's stock movements; of one that is gone, too.
    pub(crate) async fn entries(&self, product: i64, page: &EntryPage) -> Result<Entries> {
        let entries = self.store.entries(product, page).await?;
        // A product that never had a unit has no entry.
        if entries.items.is_empty() && page.before.is_none() {
            self.store.get(product).await?;
        }
        Ok(entries)
    }
}
