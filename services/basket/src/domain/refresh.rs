//! What the catalogue says about a basket that has been standing for a while: looked at as often as somebody asks, taken over
//! only when its user says so.

use std::collections::HashMap;

use shop_money::Money;

use super::{Basket, Error, Line, Product};

/// One difference between a line as the user last saw it and the catalogue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Difference {
    /// Which product.
    pub(crate) product: i64,
    /// Its name now, or the last one known when it is gone.
    pub(crate) name: String,
    /// Units the line asks for.
    pub(crate) quantity: u32,
    /// Units that can be bought now.
    pub(crate) available: i64,
    /// What is different.
    pub(crate) finding: Finding,
}

/// What a [`Difference`] is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Finding {
    /// The unit price moved.
    Price {
        /// As the user last saw it.
        old: Money,
        /// As it is now.
        new: Money,
    },
    /// The product has another name.
    Name,
    /// Fewer units are available than the line asks for. The line stays: what the user wants is not ours to cut.
    Availability,
    /// The product is no longer sold, or no longer in the basket's currency; the line was taken out.
    Gone,
}

impl Basket {
    /// Compares every line that was looked up (`asked`) with what the catalogue answered (`found`), takes the answers
    /// over and lists the differences, in the order of the lines.
    pub(crate) fn refresh(&mut self, asked: &[i64], found: &[Product]) -> Result<Vec<Difference>, Error> {
        let found: HashMap<i64, &Product> = found.iter().map(|product| (product.id, product)).collect();
        let mut differences = Vec::new();
        let mut currency = None;
        self.lines.retain_mut(|line| {
            // A line added after the look-up is fresh already.
            let looked_up = asked.contains(&line.product);
            let now = found.get(&line.product).copied();
            let price = if looked_up { now.map(|product| product.price) } else { Some(line.price) };
            // The first line that is still sold decides the currency, as it did when the basket was filled.
            let kept = price.filter(|price| *currency.get_or_insert(price.currency) == price.currency);
            match (looked_up, now, kept) {
                (false, _, Some(_)) => {}
                (true, Some(product), Some(_)) => {
                    let quantity = line.quantity.get();
                    let mut note = |finding| differences.push(Difference::of(product, quantity, finding));
                    if line.price != product.price {
                        note(Finding::Price { old: line.price, new: product.price });
                    }
                    if line.name != product.name {
                        note(Finding::Name);
                    }
                    if i64::from(quantity) > product.available {
                        note(Finding::Availability);
                    }
                    line.update(product);
                }
                _ => differences.push(line.gone()),
            }
            kept.is_some()
        });
        self.checked_total()?;
        Ok(differences)
    }
}

impl Line {
    /// That it is no longer sold, or not in the basket's currency.
    pub(super) fn gone(&self) -> Difference {
        Difference {
            product: self.product,
            name: self.name.clone(),
            quantity: self.quantity.get(),
            available: 0,
            finding: Finding::Gone,
        }
    }
}

impl Difference {
    fn of(product: &Product, quantity: u32, finding: Finding) -> Self {
        Self { product: product.id, name: product.name.clone(), quantity, available: product.available, finding }
    }
}
