//! What the basket needs of the outside: a place to keep baskets, and a catalogue to look products up.

use async_trait::async_trait;
use shop_money::Money;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Basket, Error, UserId};

/// A change to a user's basket as a pure function of what is stored: `None` is no basket. The store may run it
/// more than once, each time on what is stored then; leaving the basket as it was writes nothing.
pub(crate) type Change<'a> = &'a (dyn Fn(&mut Option<Basket>) -> Result<(), Error> + Sync);

/// What became of a [`Change`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Changed {
    /// It took effect; this is stored now.
    Applied(Option<Basket>),
    /// Its operation took effect before; this is stored now.
    Repeated(Option<Basket>),
}

impl Changed {
    /// What is stored now.
    pub(crate) fn into_basket(self) -> Option<Basket> {
        match self {
            Self::Applied(basket) | Self::Repeated(basket) => basket,
        }
    }
}

/// What forgets a basket that was made until `at`, and leaves a later one.
pub(crate) fn made_until(at: OffsetDateTime) -> impl Fn(&mut Option<Basket>) -> Result<(), Error> + Sync {
    move |slot| {
        slot.take_if(|basket| basket.created_at <= at);
        Ok(())
    }
}

/// Where baskets are kept, one per user; an expired basket is no basket.
#[async_trait]
pub(crate) trait Baskets: Send + Sync {
    /// The user's basket.
    async fn get(&self, user: &UserId) -> Result<Option<Basket>, Error>;

    /// Applies `change` to the user's basket; concurrent changes to one basket are never lost. With an `operation`
    /// (an event's id, or that of an idempotent request) the change takes effect once per operation and user, and the
    /// mark of it is stored with the effect or not at all.
    async fn change(&self, user: &UserId, operation: Option<Uuid>, change: Change<'_>) -> Result<Changed, Error>;

    /// Notes whose the lines of a basket become, for as long as anything may still be heard about it.
    async fn forward(&self, basket: Uuid, to: &UserId) -> Result<(), Error>;

    /// Whose the lines of a basket became.
    async fn forwarded(&self, basket: Uuid) -> Result<Option<UserId>, Error>;

    /// Forgets the user: his basket, unless it was made after `at`, and what else bears his name. Safe to repeat.
    async fn forget(&self, user: &UserId, at: OffsetDateTime) -> Result<(), Error>;

    /// Forgets what has expired; how many rows went.
    async fn sweep(&self) -> Result<u64, Error>;

    /// Whether the store can be written, and if not why, in words that may be shown.
    async fn check(&self) -> Result<(), String>;
}

/// A product as the catalogue sells it now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Product {
    /// Its id.
    pub(crate) id: i64,
    /// What people call it.
    pub(crate) name: String,
    /// Price of one unit.
    pub(crate) price: Money,
    /// Where it is filed.
    pub(crate) category: String,
    /// Units that can be bought.
    pub(crate) available: i64,
}

/// Where products are looked up.
#[async_trait]
pub(crate) trait Catalog: Send + Sync {
    /// One product.
    async fn product(&self, id: i64) -> Result<Option<Product>, Error>;

    /// Those of `ids` that exist, at most [`Basket::MAX_LINES`] of them, in one call.
    async fn products(&self, ids: &[i64]) -> Result<Vec<Product>, Error>;
}
