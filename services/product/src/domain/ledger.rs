//! The ledger of stock: every change of a product's units, for good.

use time::OffsetDateTime;
use uuid::Uuid;

/// Why units moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EntryKind {
    /// By the keepers of the catalogue: a delivery, a count, an edit.
    Adjustment,
    /// Promised to a payment.
    Reservation,
    /// Gone to the buyer.
    Sale,
    /// A promise taken back.
    Release,
    /// Sold units that came back.
    Restock,
}

impl EntryKind {
    /// All, as the API and the store name them.
    pub(crate) const ALL: [(&'static str, Self); 5] = [
        ("adjustment", Self::Adjustment),
        ("reservation", Self::Reservation),
        ("sale", Self::Sale),
        ("release", Self::Release),
        ("restock", Self::Restock),
    ];

    /// What it is called.
    pub(crate) fn name(self) -> &'static str {
        Self::ALL.into_iter().find_map(|(name, kind)| (kind == self).then_some(name)).unwrap_or_default()
    }
}

/// One change. The sums of a product's entries are its stock and what is reserved of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Grows with every entry.
    pub(crate) id: i64,
    /// Which product.
    pub(crate) product: i64,
    /// Why.
    pub(crate) kind: EntryKind,
    /// Added to the stock on hand.
    pub(crate) stock: i64,
    /// Added to what is reserved.
    pub(crate) reserved: i64,
    /// Why, in words; of an adjustment.
    pub(crate) reason: Option<String>,
    /// What it belongs to: the reservation, or what the client says of an adjustment.
    pub(crate) reference: Option<String>,
    /// When.
    pub(crate) at: OffsetDateTime,
}

/// A change of a reserved line, to be written beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NewEntry {
    /// Which product.
    pub(crate) product: i64,
    /// Why.
    pub(crate) kind: EntryKind,
    /// Added to the stock on hand.
    pub(crate) stock: i64,
    /// Added to what is reserved.
    pub(crate) reserved: i64,
    /// Whose.
    pub(crate) reservation: Uuid,
}

/// Which page of a product's entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EntryPage {
    /// Only entries older than this one.
    pub(crate) before: Option<i64>,
    /// How many at most.
    pub(crate) limit: usize,
}
