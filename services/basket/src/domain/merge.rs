//! What becomes of a guest's basket when he signs in: its lines go into the one he has as a shopper.

use std::collections::HashMap;

use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::{Basket, Difference, Error, Finding, Line, Product, Quantity, UserId};

/// How long a merge that was left half done may wait for somebody to finish it. Marks of operations are kept longer, so that
/// it cannot be done twice.
const LONGEST: Duration = Duration::days(1);

/// How many merged baskets are remembered. More than anybody signs in while one basket lasts; it bounds what is stored.
const MOST_MERGED: usize = 8;

/// A guest's basket whose lines came into another one.
///
/// A payment of it may be under way, or done and not yet told: who asks to pay for the lines again has to know whose they were,
/// and the event that takes out what was paid has to know what came from there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Merged {
    /// Its id.
    pub(crate) basket: Uuid,
    /// The payment whose lines were last taken out of it, before they came here.
    pub(crate) cleared_by: Option<Uuid>,
    /// What came from it: products with their units.
    pub(crate) units: Vec<(i64, u32)>,
}

/// What was not taken over as it was.
#[derive(Debug)]
pub(crate) struct Taken {
    /// In the order of the lines.
    pub(crate) differences: Vec<Difference>,
    /// Why the first line that could not be put in was left out, if it is sold at all.
    pub(crate) refusal: Option<Error>,
}

impl Basket {
    /// Sends the lines on their way to `user`, unless they are on one already.
    pub(crate) fn send(&mut self, user: &UserId, now: OffsetDateTime) {
        if self.merging_into.is_none() {
            self.merging_into = Some(user.clone());
            self.expires_at = self.expires_at.min(now + LONGEST);
        }
    }

    /// Adds the lines of `from` to its own, as far as the units are available and a line holds them; never takes
    /// anything out. `found` is what the catalogue says of them now, `ids` are for new lines.
    pub(crate) fn take(&mut self, from: &Self, found: &[Product], ids: &[Uuid], now: OffsetDateTime) -> Taken {
        let found: HashMap<i64, &Product> = found.iter().map(|product| (product.id, product)).collect();
        let mut taken = Taken { differences: Vec::new(), refusal: None };
        let mut units = Vec::new();
        for (line, id) in from.lines.iter().zip(ids) {
            let before = self.lines.clone();
            let held = self.units(line.product);
            match found.get(&line.product).map(|product| self.take_line(line, product, *id, now)) {
                Some(Ok(differences)) => {
                    taken.differences.extend(differences);
                    units.push((line.product, self.units(line.product) - held));
                }
                failed => {
                    self.lines = before;
                    taken.differences.push(line.gone());
                    taken.refusal = taken.refusal.or(failed.and_then(Result::err));
                }
            }
        }
        units.retain(|&(_, units)| units > 0);
        if !units.is_empty() {
            self.merged.push(Merged { basket: from.id, cleared_by: from.cleared_by, units });
            self.merged.drain(..self.merged.len().saturating_sub(MOST_MERGED));
        }
        taken
    }

    /// Takes out what `payment` paid for of a basket whose lines came here, no more of it than came, and once; whether it did.
    pub(crate) fn subtract_merged(&mut self, basket: Uuid, payment: Uuid, paid: &[(i64, u32)]) -> bool {
        let is_it = |merged: &Merged| merged.basket == basket && merged.cleared_by != Some(payment);
        let Some(place) = self.merged.iter().position(is_it) else { return false };
        let came = self.merged.remove(place).units;
        let of_these = |&(product, units): &(i64, u32)| {
            let there = came.iter().find(|(one, _)| *one == product).map_or(0, |(_, units)| *units);
            (product, units.min(there))
        };
        self.take_out(&paid.iter().map(of_these).collect::<Vec<_>>());
        true
    }

    fn take_line(
        &mut self,
        line: &Line,
        product: &Product,
        id: Uuid,
        now: OffsetDateTime,
    ) -> Result<Vec<Difference>, Error> {
        let held = self.units(product.id);
        let asked = held + line.quantity.get();
        let room = product.available.clamp(0, Quantity::MAX.into());
        let note = |finding| Difference {
            product: product.id,
            name: product.name.clone(),
            quantity: asked,
            available: room,
            finding,
        };
        let mut differences = Vec::new();
        if line.price != product.price {
            differences.push(note(Finding::Price { old: line.price, new: product.price }));
        }
        if i64::from(asked) > room {
            differences.push(note(Finding::Availability));
        }
        let more = u32::try_from(room).unwrap_or_default().min(asked).saturating_sub(held);
        if let Some(more) = Quantity::new(more) {
            self.add(product, more, id, now)?;
        }
        Ok(differences)
    }
}
