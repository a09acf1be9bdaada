//! A guest signs in: the lines of his basket go into the one he has as a shopper.
//!
//! The store changes one basket at a time, and the process may die between two changes. So the guest's basket is first sent on
//! its way: from then on nobody changes it, and it is known whom it is for, which is noted for as long as anything may be heard
//! about it. Then the shopper's takes the lines, once, marked by the guest's basket's id. Then the guest's is removed. Whoever asks
//! again after a death goes on where it stopped.
//!
//! What the guest paid for is told of his own basket, and is taken out of the shopper's.

use std::sync::{Mutex, PoisonError};

use super::{Commands, Refreshed, Subtract, expected};
use crate::domain::{Basket, Changed, Error, Expected, Line, Product, Quantity, UserId};

/// Looks at a guest's basket that he goes on filling meanwhile, or that others merge.
const ATTEMPTS: u32 = 16;

/// Put what a guest has into the basket of the shopper who he turned out to be.
#[derive(Debug)]
pub(crate) struct Merge {
    /// Whose basket the lines go to; made if there is none.
    pub(crate) user: UserId,
    /// Whose basket they come from; it is gone afterwards.
    pub(crate) guest: UserId,
    /// The state of the shopper's basket that the caller wants to change.
    pub(crate) expected: Expected,
}

impl Commands {
    /// Merges the guest's basket into the shopper's, and lists what of it was not taken over as it was. Without a guest's
    /// basket, as after a merge, nothing happens. What the shopper's cannot hold is refused, and leaves both as they are.
    pub(crate) async fn merge(&self, command: Merge) -> Result<Refreshed, Error> {
        let Merge { user, guest, expected } = command;
        for _ in 0..ATTEMPTS {
            let Some(from) = self.baskets.get(&guest).await? else { return self.unmerged(&user, &expected).await };
            let found = self.current(&from).await?;
            if let Some(to) = from.merging_into.clone() {
                // Somebody died over it. If it was for another, he gets it, and there is nothing left.
                let merged = self.deliver(&from, &to, &found).await?;
                if to == user {
                    return Ok(merged);
                }
            } else {
                self.try_on(&user, &from, &found, &expected).await?;
                if self.send(&user, &from).await? {
                    return self.deliver(&from, &user, &found).await;
                }
            }
        }
        Err(Error::Contended(guest))
    }

    /// The shopper's basket with nothing to merge into it.
    async fn unmerged(&self, user: &UserId, wanted: &Expected) -> Result<Refreshed, Error> {
        let fresh = self.fresh(user);
        let change = |slot: &mut Option<Basket>| expected(slot, wanted, &fresh).map(drop);
        let basket = self.baskets.change(user, None, &change).await?.into_basket();
        Ok(Refreshed { basket: basket.unwrap_or(fresh), differences: Vec::new() })
    }

    /// What the catalogue says of a basket's products.
    async fn current(&self, basket: &Basket) -> Result<Vec<Product>, Error> {
        let asked: Vec<i64> = basket.lines.iter().map(|line| line.product).collect();
        if asked.is_empty() { Ok(Vec::new()) } else { self.catalog.products(&asked).await }
    }

    /// Refuses what the shopper's basket cannot hold, before anything is done that could not be undone.
    async fn try_on(&self, user: &UserId, from: &Basket, found: &[Product], wanted: &Expected) -> Result<(), Error> {
        let mut slot = self.baskets.get(user).await?;
        let fresh = self.fresh(user);
        let ids: Vec<_> = from.lines.iter().map(|line| line.id).collect();
        let taken = expected(&mut slot, wanted, &fresh)?.take(from, found, &ids, self.clock.now());
        taken.refusal.map_or(Ok(()), Err)
    }

    /// Sends the guest's basket on its way, if it is still the one that was seen.
    async fn send(&self, user: &UserId, from: &Basket) -> Result<bool, Error> {
        let now = self.clock.now();
        let is_same =
            |basket: &Basket| (basket.id, &basket.lines, basket.cleared_by) == (from.id, &from.lines, from.cleared_by);
        let change = |slot: &mut Option<Basket>| {
            if let Some(basket) = slot.as_mut().filter(|basket| is_same(basket)) {
                basket.send(user, now);
            }
            Ok(())
        };
        let stored = self.baskets.change(&from.user, None, &change).await?.into_basket();
        Ok(stored.is_some_and(|basket| is_same(&basket) && basket.merging_into.as_ref() == Some(user)))
    }

    /// Puts lines that are on their way into the shopper's basket, once, and removes the guest's. Nothing is refused any more: a
    /// line that cannot be held since it was tried on is listed as gone.
    async fn deliver(&self, from: &Basket, to: &UserId, found: &[Product]) -> Result<Refreshed, Error> {
        let (fresh, now) = (self.fresh(to), self.clock.now());
        let ids: Vec<_> = from.lines.iter().map(|_| self.clock.new_id()).collect();
        // The store may run the change again: the list of the last run is the one that counts.
        let differences = Mutex::new(Vec::new());
        let take = |slot: &mut Option<Basket>| {
            let basket = slot.get_or_insert_with(|| fresh.clone());
            let before = basket.lines.clone();
            let taken = basket.take(from, found, &ids, now);
            if basket.lines != before {
                basket.touch(now, self.ttl);
            }
            *differences.lock().unwrap_or_else(PoisonError::into_inner) = taken.differences;
            Ok(())
        };
        self.baskets.forward(from.id, to).await?;
        let changed = self.baskets.change(to, Some(from.id), &take).await?;
        let remove = |slot: &mut Option<Basket>| {
            slot.take_if(|basket| basket.id == from.id);
            Ok(())
        };
        self.baskets.change(&from.user, None, &remove).await?;
        match changed {
            Changed::Applied(Some(basket)) => {
                Ok(Refreshed { basket, differences: differences.into_inner().unwrap_or_else(PoisonError::into_inner) })
            }
            _ => self.unmerged(to, &Expected::default()).await,
        }
    }

    /// Takes out what was paid for of a basket whose lines are in another one, or on their way there. Safe to repeat by itself.
    pub(super) async fn subtract_merged(&self, command: &Subtract) -> Result<(), Error> {
        let Subtract { event: _, user, basket: id, payment, paid } = command;
        let left = self.baskets.get(user).await?.filter(|basket| basket.id == *id);
        let to = match left {
            Some(from) => {
                let to = from.merging_into.clone().ok_or_else(|| Error::Contended(user.clone()))?;
                // They have to be there before they can be taken out. The catalogue is not waited for: who pays compares.
                let as_they_were: Vec<_> = from.lines.iter().map(as_it_was).collect();
                self.deliver(&from, &to, &as_they_were).await?;
                to
            }
            None => match self.baskets.forwarded(*id).await? {
                Some(to) => to,
                None => return Ok(()),
            },
        };
        let now = self.clock.now();
        let change = |slot: &mut Option<Basket>| {
            if let Some(basket) = slot
                && basket.subtract_merged(*id, *payment, paid)
            {
                basket.touch(now, self.ttl);
            }
            Ok(())
        };
        self.baskets.change(&to, None, &change).await.map(drop)
    }
}

/// The product of a line, as far as the line knows it.
fn as_it_was(line: &Line) -> Product {
    Product {
        id: line.product,
        name: line.name.clone(),
        price: line.price,
        category: line.category.clone(),
        available: Quantity::MAX.into(),
    }
}
