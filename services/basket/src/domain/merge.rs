//! What becomes of a guest's basket when he signs in: its lines go into the one he has as a shopper.

use std::collections::HashMap;

use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::{Basket, Difference, Error, Finding, Line, Product, Quantity, UserId};

/// How long a merge that was left half done may wait for somebody to finish it. Marks of operations are kept longer, so that
/// it cannot be done twice.
const LONGEST: Duration = Duration::days(1);

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

    /// Adds `lines` of another basket to its own, as far as the units are available and a line holds them; never takes
    /// anything out. `found` is what the catalogue says of them now, `ids` are for new lines.
    pub(crate) fn take(&mut self, lines: &[Line], found: &[Product], ids: &[Uuid], now: OffsetDateTime) -> Taken {
        let found: HashMap<i64, &Product> = found.iter().map(|product| (product.id, product)).collect();
        let mut taken = Taken { differences: Vec::new(), refusal: None };
        for (line, id) in lines.iter().zip(ids) {
            let before = self.lines.clone();
            match found.get(&line.product).map(|product| self.take_line(line, product, *id, now)) {
                Some(Ok(differences)) => taken.differences.extend(differences),
                failed => {
                    self.lines = before;
                    taken.differences.push(line.gone());
                    taken.refusal = taken.refusal.or(failed.and_then(Result::err));
                }
            }
        }
        taken
    }

    fn take_line(
        &mut self,
        line: &Line,
        product: &Product,
        id: Uuid,
        now: OffsetDateTime,
    ) -> Result<Vec<Difference>, Error> {
        let held = self.line(product.id).map_or(0, |line| line.quantity.get());
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
