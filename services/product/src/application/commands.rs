//! The changes.

use std::sync::Arc;

use shop_clock::SharedClock;
use uuid::Uuid;

use crate::domain::{
    Adjustment, AdjustmentDraft, Details, Draft, Drift, Expected, Hold, Line, Outcome, Product, Reach, Resolved,
    Result, Sale, Settlement, Store,
};

/// Everything that changes the catalogue or its stock.
#[derive(Clone)]
pub(crate) struct Commands {
    store: Arc<dyn Store>,
    clock: SharedClock,
}

impl Commands {
    /// Changes to `store`, dated by `clock`.
    pub(crate) fn new(store: Arc<dyn Store>, clock: SharedClock) -> Self {
        Self { store, clock }
    }

    /// Adds a product; a repeat of the same `operation` finds the first one.
    pub(crate) async fn create(&self, operation: Uuid, draft: Draft) -> Result<Product> {
        let details = Details::parse(draft)?;
        self.store.add(operation, &details, self.clock.now()).await
    }

    /// Replaces everything a client may write, if the product is in the state that is expected.
    pub(crate) async fn update(&self, id: i64, expected: &Expected, draft: Draft) -> Result<Product> {
        let details = Details::parse(draft)?;
        let now = self.clock.now();
        self.store.change(id, &|product| product.replace(details.clone(), expected, now)).await
    }

    /// Counts units in or out, once per `operation`, if the product is in the state that is expected.
    pub(crate) async fn adjust(
        &self,
        operation: Uuid,
        id: i64,
        expected: &Expected,
        draft: AdjustmentDraft,
    ) -> Result<Product> {
        let (adjustment, now) = (Adjustment::parse(draft)?, self.clock.now());
        let change = |product: &mut Product| product.adjust(adjustment.delta, expected, now);
        self.store.adjust(operation, id, &adjustment, &change).await
    }

    /// Removes a product that nobody holds, if it is in the state that is expected.
    pub(crate) async fn delete(&self, id: i64, expected: &Expected) -> Result<()> {
        self.store.remove(id, &|product| product.check_removable(expected)).await
    }

    /// Holds stock for a payment, all lines or none, and gives back what `replaces` held; true when the reservation is new.
    pub(crate) async fn reserve(&self, id: Uuid, replaces: Option<Uuid>, lines: Vec<Line>) -> Result<bool> {
        self.store.reserve(Hold::parse(id, replaces, lines)?, self.clock.now()).await
    }

    /// Gives back what a reservation holds; true when that was anything.
    pub(crate) async fn release(&self, id: Uuid) -> Result<bool> {
        self.store.release(id, self.clock.now()).await
    }

    /// Applies what became of reserved lines, once per event.
    pub(crate) async fn settle(&self, settlements: &[Settlement]) -> Result<()> {
        self.store.settle(settlements, self.clock.now()).await
    }

    /// Brings a reservation to what its payment made of it, whatever it is.
    pub(crate) async fn resolve(&self, id: Uuid, outcome: &Outcome) -> Result<Resolved> {
        let resolved = self.store.resolve(id, outcome, Reach::All, self.clock.now()).await?;
        if !resolved.lines.is_empty() {
            let lines = resolved.lines.len();
            tracing::warn!(reservation.id = %id, lines, "reservation {id} brought to what its payment made of it");
        }
        Ok(resolved)
    }

    /// Mends numbers of products that are not what their bookings say.
    pub(crate) async fn mend(&self, drifts: &[Drift]) -> Result<()> {
        for Drift { product, number, says, booked } in drifts {
            self.store.mend(*product, self.clock.now()).await?;
            tracing::warn!(product.id = product, says, booked, "product {product} mended: {number}");
        }
        Ok(())
    }

    /// Counts what completed payments sold, once per event, unless the sale of the reservation does.
    pub(crate) async fn count_sold(&self, sales: &[Sale]) -> Result<()> {
        self.store.count_sold(sales, self.clock.now()).await
    }
}
