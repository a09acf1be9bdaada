//! The basket and its rules: pure functions of the basket, the catalogue's answer and the time.

use shop_money::{Currency, Money};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::{Error, Expected, Merged, Product, UserId};

/// What a user means to buy. All lines are of one currency, each product is there once, and the total is in range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Basket {
    /// New with every new basket of the user.
    pub(crate) id: Uuid,
    /// Whose it is.
    pub(crate) user: UserId,
    /// Oldest first.
    pub(crate) lines: Vec<Line>,
    /// When it was made.
    pub(crate) created_at: OffsetDateTime,
    /// When it was last changed.
    pub(crate) updated_at: OffsetDateTime,
    /// When it is gone unless it is changed before.
    pub(crate) expires_at: OffsetDateTime,
    /// Grows with every change. Starts at the millisecond of making, so that the basket a user gets after a
    /// removed or expired one does not repeat a version that a client may still hold.
    pub(crate) version: i64,
    /// Whose basket the lines are on their way to. Until they are there nobody changes them.
    pub(crate) merging_into: Option<UserId>,
    /// The payment whose lines were last taken out. Whoever is asked to pay for this basket knows by it that what was paid
    /// before has left.
    pub(crate) cleared_by: Option<Uuid>,
    /// Guests' baskets whose lines came into this one, the latest last, until what was paid of them is taken out.
    pub(crate) merged: Vec<Merged>,
}

/// One product in a basket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    /// The line's own id.
    pub(crate) id: Uuid,
    /// Which product.
    pub(crate) product: i64,
    /// Its name when it was last looked up.
    pub(crate) name: String,
    /// How many.
    pub(crate) quantity: Quantity,
    /// Price of one when it was last looked up.
    pub(crate) price: Money,
    /// Its category when it was last looked up.
    pub(crate) category: String,
    /// When the product was first added.
    pub(crate) created_at: OffsetDateTime,
}

/// Units on one line: 1–999.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Quantity(u32);

impl Quantity {
    /// The most units of one product.
    pub(crate) const MAX: u32 = 999;

    /// `units`, if that is a quantity.
    pub(crate) const fn new(units: u32) -> Option<Self> {
        if 1 <= units && units <= Self::MAX { Some(Self(units)) } else { None }
    }

    /// How many.
    pub(crate) const fn get(self) -> u32 {
        self.0
    }
}

impl Line {
    /// Price times quantity. Exact: the rules keep every subtotal in range.
    pub(crate) fn subtotal(&self) -> Money {
        self.checked_subtotal().unwrap_or(Money::new(i64::MAX, self.price.currency))
    }

    fn checked_subtotal(&self) -> Result<Money, Error> {
        Ok(self.price.checked_mul(self.quantity.get())?)
    }

    /// Takes over what the catalogue says now.
    pub(super) fn update(&mut self, product: &Product) {
        self.name.clone_from(&product.name);
        self.category.clone_from(&product.category);
        self.price = product.price;
    }
}

impl Basket {
    /// The most lines: bounds the stored document and the catalogue call of a refresh.
    pub(crate) const MAX_LINES: usize = 100;

    /// An empty basket made at `now`.
    pub(crate) fn new(id: Uuid, user: UserId, now: OffsetDateTime, ttl: Duration) -> Self {
        let version = i64::try_from(now.unix_timestamp_nanos() / 1_000_000).unwrap_or_default();
        Self {
            id,
            user,
            lines: Vec::new(),
            created_at: now,
            updated_at: now,
            expires_at: now + ttl,
            version,
            merging_into: None,
            cleared_by: None,
            merged: Vec::new(),
        }
    }

    /// The currency of every line; that of the shop while there is none.
    pub(crate) fn currency(&self) -> Currency {
        self.lines.first().map_or_else(Currency::default, |line| line.price.currency)
    }

    /// The sum of the subtotals. Exact: the rules keep it in range.
    pub(crate) fn total(&self) -> Money {
        self.checked_total().unwrap_or(Money::new(i64::MAX, self.currency()))
    }

    /// Units over all lines.
    pub(crate) fn item_count(&self) -> u32 {
        self.lines.iter().map(|line| line.quantity.get()).sum()
    }

    /// Puts `quantity` more of `product` in, as a new line with id `line` if there is none of it yet.
    pub(crate) fn add(
        &mut self,
        product: &Product,
        quantity: Quantity,
        line: Uuid,
        now: OffsetDateTime,
    ) -> Result<(), Error> {
        let held = self.units(product.id);
        let quantity = Quantity::new(held + quantity.get()).ok_or(Error::TooMany(product.id))?;
        if held == 0 && self.lines.len() >= Self::MAX_LINES {
            return Err(Error::Full);
        }
        self.admit(product, quantity)?;
        if held == 0 {
            self.lines.push(Line {
                id: line,
                product: product.id,
                name: product.name.clone(),
                quantity,
                price: product.price,
                category: product.category.clone(),
                created_at: now,
            });
        }
        self.write(product, quantity)
    }

    /// Makes the line of `product` hold `quantity`.
    pub(crate) fn set_quantity(&mut self, product: &Product, quantity: Quantity) -> Result<(), Error> {
        // A line that is not there is the first thing to say: the stock is none of its concern.
        self.line_mut(product.id)?;
        self.admit(product, quantity)?;
        self.write(product, quantity)
    }

    fn write(&mut self, product: &Product, quantity: Quantity) -> Result<(), Error> {
        let line = self.line_mut(product.id)?;
        line.quantity = quantity;
        line.update(product);
        self.checked_total().map(drop)
    }

    /// Takes the line of `product` out.
    pub(crate) fn remove(&mut self, product: i64) -> Result<(), Error> {
        self.line_mut(product)?;
        self.lines.retain(|line| line.product != product);
        Ok(())
    }

    /// Takes every line out.
    pub(crate) fn clear(&mut self) {
        self.lines.clear();
    }

    /// Takes out what `payment` paid for; what was added since stays, what is no longer there is no error.
    pub(crate) fn subtract(&mut self, payment: Uuid, paid: &[(i64, u32)]) {
        self.cleared_by = Some(payment);
        self.take_out(paid);
    }

    /// Takes out units as far as there are any.
    pub(super) fn take_out(&mut self, units: &[(i64, u32)]) {
        for &(product, units) in units {
            self.lines.retain_mut(|line| {
                if line.product != product {
                    return true;
                }
                let left = Quantity::new(line.quantity.get().saturating_sub(units));
                line.quantity = left.unwrap_or(line.quantity);
                left.is_some()
            });
        }
    }

    /// Refuses a caller who expects another version, and everybody while the lines are on their way.
    pub(crate) fn expect(&self, expected: &Expected) -> Result<(), Error> {
        if !expected.admits(self.version) {
            return Err(Error::VersionMismatch);
        }
        if self.merging_into.is_some() { Err(Error::Merging(self.user.clone())) } else { Ok(()) }
    }

    /// Marks the basket as changed at `now`: a new version, and the expiry slides.
    pub(crate) fn touch(&mut self, now: OffsetDateTime, ttl: Duration) {
        self.version += 1;
        // Replicas' clocks differ a little; a time never runs backwards for a reader.
        self.updated_at = now.max(self.updated_at);
        self.expires_at = self.updated_at + ttl;
    }

    /// Whether `product` may be in this basket `quantity` times. Stock is asked for only by who wants more than he has: the units
    /// that are on the line may be held by the user's own payment, and count as not available then.
    fn admit(&self, product: &Product, quantity: Quantity) -> Result<(), Error> {
        let other = self.lines.iter().find(|line| line.product != product.id);
        if let Some(basket) = other.map(|line| line.price.currency)
            && basket != product.price.currency
        {
            return Err(Error::CurrencyMismatch { product: product.id, currency: product.price.currency, basket });
        }
        let held = self.units(product.id);
        if quantity.get() > held && i64::from(quantity.get()) > product.available {
            let requested = quantity.get();
            return Err(Error::InsufficientStock { product: product.id, requested, available: product.available });
        }
        Ok(())
    }

    pub(super) fn checked_total(&self) -> Result<Money, Error> {
        self.lines
            .iter()
            .try_fold(Money::zero(self.currency()), |sum, line| Ok(sum.checked_add(line.checked_subtotal()?)?))
    }

    /// Units on the line of `product`.
    pub(super) fn units(&self, product: i64) -> u32 {
        self.line(product).map_or(0, |line| line.quantity.get())
    }

    fn line(&self, product: i64) -> Option<&Line> {
        self.lines.iter().find(|line| line.product == product)
    }

    fn line_mut(&mut self, product: i64) -> Result<&mut Line, Error> {
        self.lines.iter_mut().find(|line| line.product == product).ok_or(Error::NoLine(product))
    }
}

#[cfg(test)]
mod tests;
