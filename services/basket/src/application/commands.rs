//! Changing baskets: look the product up, then apply one rule of the basket as a change of the store.

mod merge;

use std::sync::{Arc, Mutex, PoisonError};

use shop_clock::SharedClock;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use crate::domain::{Basket, Baskets, Catalog, Difference, Error, Expected, Product, Quantity, UserId};

pub(crate) use merge::Merge;

/// Every change, one method each.
#[derive(Clone)]
pub(crate) struct Commands {
    baskets: Arc<dyn Baskets>,
    catalog: Arc<dyn Catalog>,
    clock: SharedClock,
    ttl: Duration,
}

/// Put units of a product into a basket.
#[derive(Debug)]
pub(crate) struct AddItem {
    /// Whose basket; made if there is none.
    pub(crate) user: UserId,
    /// Which product.
    pub(crate) product: i64,
    /// How many more.
    pub(crate) quantity: Quantity,
    /// The id of an idempotent request: the units are added once under it.
    pub(crate) operation: Option<Uuid>,
    /// The state the caller wants to change.
    pub(crate) expected: Expected,
}

/// Make a line hold a quantity.
#[derive(Debug)]
pub(crate) struct SetQuantity {
    /// Whose basket.
    pub(crate) user: UserId,
    /// The line's product.
    pub(crate) product: i64,
    /// What is to become of it.
    pub(crate) target: Target,
    /// The state the caller wants to change.
    pub(crate) expected: Expected,
}

/// What a line is to hold.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Target {
    /// So many units.
    Units(Quantity),
    /// Nothing: the line goes.
    Gone,
}

/// Take out what was paid for.
#[derive(Debug)]
pub(crate) struct Subtract {
    /// The event that says so; it takes effect once.
    pub(crate) event: Uuid,
    /// Whose basket.
    pub(crate) user: UserId,
    /// Which of his baskets was paid.
    pub(crate) basket: Uuid,
    /// By which payment.
    pub(crate) payment: Uuid,
    /// Products and units.
    pub(crate) paid: Vec<(i64, u32)>,
}

/// A basket and how it differs from the catalogue.
#[derive(Debug)]
pub(crate) struct Refreshed {
    /// As stored now.
    pub(crate) basket: Basket,
    /// In the order of the lines.
    pub(crate) differences: Vec<Difference>,
}

impl Commands {
    /// On this store and catalogue; a basket lives for `ttl` after each change.
    pub(crate) fn new(
        baskets: Arc<dyn Baskets>,
        catalog: Arc<dyn Catalog>,
        clock: SharedClock,
        ttl: std::time::Duration,
    ) -> Self {
        let ttl = Duration::try_from(ttl).unwrap_or(Duration::MAX);
        Self { baskets, catalog, clock, ttl }
    }

    /// The user's basket, made if there is none; whether it was made.
    pub(crate) async fn create(&self, user: &UserId) -> Result<(Basket, bool), Error> {
        let fresh = self.fresh(user);
        let change = |slot: &mut Option<Basket>| {
            slot.get_or_insert_with(|| fresh.clone());
            Ok(())
        };
        let basket = self.baskets.change(user, None, &change).await?.into_basket().unwrap_or_else(|| fresh.clone());
        let made = basket.id == fresh.id;
        Ok((basket, made))
    }

    /// Removes the user's basket.
    pub(crate) async fn delete(&self, user: &UserId, expected: &Expected) -> Result<(), Error> {
        let change = |slot: &mut Option<Basket>| {
            let basket = slot.take().ok_or_else(|| Error::NoBasket(user.clone()))?;
            basket.expect(expected)
        };
        self.baskets.change(user, None, &change).await.map(drop)
    }

    /// Puts units of a product in.
    pub(crate) async fn add(&self, command: AddItem) -> Result<Basket, Error> {
        let AddItem { user, product, quantity, operation, expected } = command;
        let product = match self.product(product).await {
            Ok(product) => product,
            // What was put in already needs no look at the catalogue: a repeat is answered though the product is gone.
            Err(error) => return self.repeated(&user, operation).await?.ok_or(error),
        };
        let (fresh, line, now) = (self.fresh(&user), self.clock.new_id(), self.clock.now());
        let change = |slot: &mut Option<Basket>| {
            let basket = self::expected(slot, &expected, &fresh)?;
            basket.add(&product, quantity, line, now)?;
            basket.touch(now, self.ttl);
            Ok(())
        };
        let changed = self.baskets.change(&user, operation, &change).await?;
        changed.into_basket().ok_or(Error::NoBasket(user))
    }

    /// The basket, if `operation` took effect on it before.
    async fn repeated(&self, user: &UserId, operation: Option<Uuid>) -> Result<Option<Basket>, Error> {
        if operation.is_none() {
            return Ok(None);
        }
        let changed = self.baskets.change(user, operation, &|_| Err(Error::NoBasket(user.clone()))).await;
        match changed {
            Ok(changed) => Ok(changed.into_basket()),
            Err(Error::NoBasket(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes a line hold a quantity, or takes it out.
    pub(crate) async fn set_quantity(&self, command: SetQuantity) -> Result<Basket, Error> {
        let SetQuantity { user, product, target, expected } = command;
        let Target::Units(quantity) = target else { return self.remove(&user, product, &expected).await };
        let product = self.product(product).await?;
        self.edit(&user, &expected, |basket| basket.set_quantity(&product, quantity)).await
    }

    /// Takes a line out.
    pub(crate) async fn remove(&self, user: &UserId, product: i64, expected: &Expected) -> Result<Basket, Error> {
        self.edit(user, expected, |basket| basket.remove(product)).await
    }

    /// Takes every line out.
    pub(crate) async fn clear(&self, user: &UserId, expected: &Expected) -> Result<Basket, Error> {
        self.edit(user, expected, |basket| {
            basket.clear();
            Ok(())
        })
        .await
    }

    /// Takes out of a basket what was paid for, once per event, or out of the one that its lines went to; another basket of the
    /// same user stays as it is.
    pub(crate) async fn subtract(&self, command: Subtract) -> Result<(), Error> {
        let Subtract { event, ref user, basket: id, payment, ref paid } = command;
        let now = self.clock.now();
        let change = |slot: &mut Option<Basket>| {
            let is_it = |basket: &&mut Basket| basket.id == id && basket.merging_into.is_none();
            let basket = slot.as_mut().filter(is_it).ok_or_else(|| Error::NoBasket(user.clone()))?;
            basket.subtract(payment, paid);
            basket.touch(now, self.ttl);
            Ok(())
        };
        match self.baskets.change(user, Some(event), &change).await {
            // Only what took effect here is marked, so that a repeat of it is not looked for elsewhere.
            Err(Error::NoBasket(_)) => self.subtract_merged(&command).await,
            outcome => outcome.map(drop),
        }
    }

    /// Forgets the user, as he was known until `at`.
    pub(crate) async fn forget(&self, user: &UserId, at: OffsetDateTime) -> Result<(), Error> {
        self.baskets.forget(user, at).await
    }

    /// Takes over what the catalogue says of every line, and lists it. Nothing different: nothing written.
    pub(crate) async fn refresh(&self, user: &UserId, expected: &Expected) -> Result<Refreshed, Error> {
        let none = || Error::NoBasket(user.clone());
        let basket = self.baskets.get(user).await?.ok_or_else(none)?;
        basket.expect(expected)?;
        if basket.lines.is_empty() {
            return Ok(Refreshed { basket, differences: Vec::new() });
        }
        let asked: Vec<i64> = basket.lines.iter().map(|line| line.product).collect();
        let found = self.catalog.products(&asked).await?;
        let now = self.clock.now();
        // The store may run the change again: the list of the last run is the one that counts.
        let differences = Mutex::new(Vec::new());
        let change = |slot: &mut Option<Basket>| {
            let basket = slot.as_mut().ok_or_else(none)?;
            basket.expect(expected)?;
            let before = basket.lines.clone();
            let different = basket.refresh(&asked, &found)?;
            if basket.lines != before {
                basket.touch(now, self.ttl);
            }
            *differences.lock().unwrap_or_else(PoisonError::into_inner) = different;
            Ok(())
        };
        let basket = self.baskets.change(user, None, &change).await?.into_basket().ok_or_else(none)?;
        Ok(Refreshed { basket, differences: differences.into_inner().unwrap_or_else(PoisonError::into_inner) })
    }

    /// Forgets expired baskets; how many.
    pub(crate) async fn sweep(&self) -> Result<u64, Error> {
        self.baskets.sweep().await
    }

    /// Applies `rule` to a basket that is there, in the state the caller expects.
    async fn edit<R>(&self, user: &UserId, expected: &Expected, rule: R) -> Result<Basket, Error>
    where
        R: Fn(&mut Basket) -> Result<(), Error> + Send + Sync,
    {
        let now = self.clock.now();
        let none = || Error::NoBasket(user.clone());
        let change = |slot: &mut Option<Basket>| {
            let basket = slot.as_mut().ok_or_else(none)?;
            basket.expect(expected)?;
            rule(basket)?;
            basket.touch(now, self.ttl);
            Ok(())
        };
        self.baskets.change(user, None, &change).await?.into_basket().ok_or_else(none)
    }

    fn fresh(&self, user: &UserId) -> Basket {
        Basket::new(self.clock.new_id(), user.clone(), self.clock.now(), self.ttl)
    }

    async fn product(&self, id: i64) -> Result<Product, Error> {
        self.catalog.product(id).await?.ok_or(Error::NoProduct(id))
    }
}

/// The basket that is there, in the state the caller expects, or the fresh one if he expects none.
fn expected<'a>(slot: &'a mut Option<Basket>, expected: &Expected, fresh: &Basket) -> Result<&'a mut Basket, Error> {
    match slot {
        Some(basket) => basket.expect(expected)?,
        None if expected.admits(None) => {}
        None => return Err(Error::VersionMismatch),
    }
    Ok(slot.get_or_insert_with(|| fresh.clone()))
}
