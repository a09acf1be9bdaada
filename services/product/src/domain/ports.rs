//! What the catalogue needs from a store.

use async_trait::async_trait;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{
    Adjustment, Details, Drift, Entries, EntryPage, Forgotten, Hold, Listing, Outcome, Product, Reach, Reservation,
    Resolved, Result, Sale, Settlement, Slice,
};

/// A change of one product. The store owns the transaction and may run it twice, so it must be pure.
pub(crate) type Change<'a> = &'a (dyn Fn(&mut Product) -> Result<()> + Sync);

/// Whether a product may be removed; pure like a [`Change`].
pub(crate) type Permit<'a> = &'a (dyn Fn(&Product) -> Result<()> + Sync);

/// The catalogue.
#[async_trait]
pub(crate) trait Products: Send + Sync {
    /// The product of that id; `NotFound` when there is none.
    async fn get(&self, id: i64) -> Result<Product>;

    /// One page; its cost does not depend on how deep it lies.
    async fn list(&self, listing: &Listing) -> Result<Slice>;

    /// Adds a product once per `operation`: a repeat finds what the first call made.
    async fn add(&self, operation: Uuid, details: &Details, now: OffsetDateTime) -> Result<Product>;

    /// Changes a product while nobody else can.
    async fn change(&self, id: i64, change: Change<'_>) -> Result<Product>;

    /// Removes a product if `permit` lets it go.
    async fn remove(&self, id: i64, permit: Permit<'_>) -> Result<()>;

    /// Whether there is no product at all.
    async fn is_empty(&self) -> Result<bool>;

    /// Folds some of the products anew that another folding wrote, so that they are found and stand in order; how many
    /// there were. None is left when it answers 0.
    async fn refold(&self) -> Result<usize>;
}

/// Stock promised to payments. At any moment `0 ≤ reserved ≤ stock` holds for every product.
#[async_trait]
pub(crate) trait Reservations: Send + Sync {
    /// Holds every line or none. True when it is new, false when it stood already with the same lines. What it replaces
    /// is given back in the same step, and closed for good as by [`release`](Self::release); `Sold` when that was sold.
    async fn reserve(&self, hold: Hold, now: OffsetDateTime) -> Result<bool>;

    /// Gives back what is still held; true when that was anything. The id is closed for good, also when it was
    /// not known: a reservation that comes late finds it so.
    async fn release(&self, id: Uuid, now: OffsetDateTime) -> Result<bool>;

    /// Applies stock events in their order, each once per event id: all of them, or none when one does not fit.
    async fn settle(&self, settlements: &[Settlement], now: OffsetDateTime) -> Result<()>;

    /// Up to `limit` reservations made by `before` that still hold something, the oldest first; after one of them, those that
    /// follow it.
    async fn held_since(
        &self,
        before: OffsetDateTime,
        after: Option<(OffsetDateTime, Uuid)>,
        limit: u32,
    ) -> Result<Vec<(OffsetDateTime, Uuid)>>;

    /// Brings a reservation to what its payment made of it. Nothing happens when it is so already.
    async fn resolve(&self, id: Uuid, outcome: &Outcome, reach: Reach, now: OffsetDateTime) -> Result<Resolved>;

    /// Up to `limit` reservations in the order of their ids, those after `after` only: those made since `since`, and older ones
    /// while they hold something.
    async fn reservations(&self, after: Option<Uuid>, since: OffsetDateTime, limit: u32) -> Result<Vec<Reservation>>;

    /// These reservations, as far as there are any, in the order of their ids.
    async fn reservations_of(&self, ids: &[Uuid]) -> Result<Vec<Reservation>>;

    /// Looks at up to `limit` reservations in the order of their ids, those after `after` only, and deletes those that were closed
    /// before `before` and of which nothing was sold. Their movements stay. None when there are no more to look at.
    async fn forget_released(
        &self,
        before: OffsetDateTime,
        after: Option<Uuid>,
        limit: u32,
    ) -> Result<Option<Forgotten>>;

    /// Numbers of products that are not what their bookings say, at one moment.
    async fn drifts(&self) -> Result<Vec<Drift>>;

    /// Mends one product: what it has reserved is what is held.
    async fn mend(&self, product: i64, now: OffsetDateTime) -> Result<()>;

    /// Adds to the units sold of products, once per event id, unless the sale of the reservation does. Products that are
    /// gone are left out.
    async fn count_sold(&self, sales: &[Sale], now: OffsetDateTime) -> Result<()>;
}

/// The ledger of stock.
#[async_trait]
pub(crate) trait Ledger: Send + Sync {
    /// Changes the stock of a product once per `operation`: a repeat finds it done. `change` is what it does to the product.
    async fn adjust(&self, operation: Uuid, id: i64, adjustment: &Adjustment, change: Change<'_>) -> Result<Product>;

    /// Entries of a product, the newest first; of one that is gone, too.
    async fn entries(&self, product: i64, page: &EntryPage) -> Result<Entries>;
}

/// Who knows what became of reservations.
#[async_trait]
pub(crate) trait Payments: Send + Sync {
    /// What became of each of these reservations, in their order.
    async fn outcomes(&self, reservations: &[Uuid]) -> Result<Vec<Result<Outcome>>>;
}

/// A store is all of these, so that an event's effect and its inbox entry are one transaction.
pub(crate) trait Store: Products + Reservations + Ledger {}

impl<S: Products + Reservations + Ledger> Store for S {}
