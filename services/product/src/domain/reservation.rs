//! Reservations: stock promised to a payment, and what becomes of it.
//!
//! ```text
//! held ──decrease──▶ sold ──increase──▶ sold, some restocked
//!   └────release───▶ released
//! ```
//!
//! An increase may come before its decrease, as when a topic got more partitions in between: only what was sold comes back,
//! so the sale is under way. It is applied at once, and the sale takes its units when it comes; the sums are the same.

use std::collections::{BTreeMap, HashMap};

use shop_fault::FieldError;
use shop_input::Fields;
use uuid::Uuid;

use super::{Error, Result};

/// As many lines as a basket has at most.
const MAX_LINES: usize = 100;
/// Above the 999 a basket line may have, below where sums could matter.
const MAX_UNITS: i64 = 1_000_000;

/// Units of one product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Line {
    /// Which product.
    pub(crate) product: i64,
    /// How many units, above zero.
    pub(crate) quantity: i64,
}

/// The lines of one reservation: 1 to 100, each product once, in the order of their products (the order in which
/// the store locks them, so that two reservations never wait for each other).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lines(Vec<Line>);

impl Lines {
    /// Checks and sorts the lines of a reservation.
    pub(crate) fn parse(mut lines: Vec<Line>) -> Result<Self> {
        let mut wrong = Fields::default();
        if lines.is_empty() || lines.len() > MAX_LINES {
            let message = format!("must have 1 to {MAX_LINES} lines, has {}", lines.len());
            return Err(Fields::from(FieldError::new("lines", "out_of_range", message)).into());
        }
        let mut seen = HashMap::new();
        for (index, line) in lines.iter().enumerate() {
            if !(1..=MAX_UNITS).contains(&line.quantity) {
                let message = format!("must be 1 to {MAX_UNITS}");
                wrong.refuse(format!("lines[{index}].quantity"), "out_of_range", message);
            }
            if let Some(first) = seen.insert(line.product, index) {
                let message = format!("product {} is in lines[{first}] already", line.product);
                wrong.refuse(format!("lines[{index}].product_id"), "duplicate", message);
            }
        }
        lines.sort_unstable_by_key(|line| line.product);
        if wrong.is_empty() { Ok(Self(lines)) } else { Err(Error::Invalid(wrong)) }
    }

    /// The lines, by product id.
    pub(crate) fn as_slice(&self) -> &[Line] {
        &self.0
    }
}

/// A reservation to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hold {
    /// Chosen by the caller: the payment's id.
    pub(crate) id: Uuid,
    /// Another reservation, whose place it takes: what that holds is free for this one, and it is closed.
    pub(crate) replaces: Option<Uuid>,
    /// What to hold.
    pub(crate) lines: Lines,
}

impl Hold {
    /// Checks a reservation that is asked for.
    pub(crate) fn parse(id: Uuid, replaces: Option<Uuid>, lines: Vec<Line>) -> Result<Self> {
        if replaces == Some(id) {
            let message = "must be another reservation than the one that is made";
            return Err(Fields::from(FieldError::new("replaces", "invalid", message)).into());
        }
        Ok(Self { id, replaces, lines: Lines::parse(lines)? })
    }

    /// The reservations it changes.
    pub(crate) fn touches(&self) -> impl Iterator<Item = Uuid> {
        [self.id].into_iter().chain(self.replaces)
    }
}

/// A reservation as the store keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Stored {
    /// Whether something may still be held under its id.
    pub(crate) is_open: bool,
    /// Its lines, by product id.
    pub(crate) holdings: Vec<Holding>,
}

impl Stored {
    /// Whether `hold` is a repeat of what stands: it is open and asks for the same.
    pub(crate) fn check_repeat(&self, hold: &Hold) -> Result<()> {
        if !self.is_open {
            return Err(Error::Closed(hold.id));
        }
        let same = self.holdings.iter().map(Holding::line).eq(hold.lines.as_slice().iter().copied());
        if same { Ok(()) } else { Err(Error::OtherLines(hold.id)) }
    }

    /// What is given back when another reservation takes the place of this one, `id`.
    pub(crate) fn given_up(&self, id: Uuid) -> Result<Vec<Line>> {
        // Units that came back have been sold, whether or not the sale was heard of yet.
        if self.holdings.iter().any(|holding| holding.state == LineState::Sold || holding.restocked > 0) {
            return Err(Error::Sold(id));
        }
        // Closed means that every line is settled, or that its own event is on the way.
        let held = self.holdings.iter().filter(|holding| self.is_open && holding.state == LineState::Held);
        Ok(held.map(Holding::line).collect())
    }
}

/// Where a line stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LineState {
    /// Promised, not sold yet.
    Held,
    /// Gone to the buyer.
    Sold,
    /// Given back.
    Released,
}

/// A line as the store keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Holding {
    /// Which product.
    pub(crate) product: i64,
    /// How many units were held.
    pub(crate) quantity: i64,
    /// What became of them.
    pub(crate) state: LineState,
    /// How many sold units came back on the shelf.
    pub(crate) restocked: i64,
}

/// What a stock event does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Movement {
    /// `decrease`: the units are sold.
    Sell,
    /// `release`: the units are given back.
    Release,
    /// `increase`: sold units come back on the shelf.
    Restock,
}

/// A stock event, as the store applies it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Settlement {
    /// The event's id: applied once.
    pub(crate) event: Uuid,
    /// The reservation, that is the payment.
    pub(crate) reservation: Uuid,
    /// What moves.
    pub(crate) line: Line,
    /// Which way.
    pub(crate) movement: Movement,
}

/// What a completed payment sold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sale {
    /// The event's id: counted once.
    pub(crate) event: Uuid,
    /// The reservation, that is the payment.
    pub(crate) reservation: Uuid,
    /// What was sold.
    pub(crate) lines: Vec<Line>,
}

/// What a payment made of its reservation, in its own words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It may still go either way: these lines are held.
    Open(Lines),
    /// These lines are sold.
    Sold(Lines),
    /// They were sold, and all of them came back.
    Returned(Lines),
    /// Nothing is held or sold.
    Released,
    /// There is no such payment, so nothing is held or sold.
    Unknown,
}

/// Which lines a payment's word is applied to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Those that are still held, as if its events had come. What events settled otherwise is left to people.
    Held,
    /// All, also those that are missing or were settled otherwise.
    All,
}

impl Outcome {
    /// The lines as they would be had every event of the payment come, and in its order. `stored` is sorted by product, and so
    /// is what comes out.
    pub(crate) fn resolve(&self, stored: &[Holding], reach: Reach) -> Vec<Holding> {
        let (lines, state) = match self {
            Self::Open(lines) => (lines.as_slice(), LineState::Held),
            Self::Sold(lines) | Self::Returned(lines) => (lines.as_slice(), LineState::Sold),
            Self::Released | Self::Unknown => (&[][..], LineState::Released),
        };
        let returned = matches!(self, Self::Returned(_));
        let settled = |line: &Line| {
            let restocked = if returned { line.quantity } else { 0 };
            Holding { product: line.product, quantity: line.quantity, state, restocked }
        };
        let mut resolved: BTreeMap<i64, Holding> = BTreeMap::new();
        for holding in stored {
            let line = lines.iter().find(|line| line.product == holding.product);
            let released = Holding { state: LineState::Released, restocked: 0, ..*holding };
            let becomes = match reach {
                Reach::Held if holding.state != LineState::Held => *holding,
                // By events, a line is sold as it was held, and what came back already stays there.
                Reach::Held => line.map_or(released, |_| {
                    let sold = settled(&holding.line());
                    Holding { restocked: sold.restocked.max(holding.restocked), ..sold }
                }),
                Reach::All => line.map_or(released, settled),
            };
            resolved.insert(holding.product, becomes);
        }
        if reach == Reach::All {
            for line in lines {
                resolved.entry(line.product).or_insert_with(|| settled(line));
            }
        }
        resolved.into_values().collect()
    }
}

/// A reservation as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reservation {
    /// The payment's id.
    pub(crate) id: Uuid,
    /// By product.
    pub(crate) lines: Vec<Holding>,
}

/// Reservations that were looked at to be deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Forgotten {
    /// The last one that was looked at.
    pub(crate) last: Uuid,
    /// How many were deleted.
    pub(crate) deleted: u64,
}

/// A number of a product that is not what its bookings say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Drift {
    /// Which product.
    pub(crate) product: i64,
    /// Which number, against what.
    pub(crate) number: &'static str,
    /// What the product says.
    pub(crate) says: i64,
    /// What the bookings say.
    pub(crate) booked: i64,
}

/// What settling by a payment's word did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Resolved {
    /// The lines that are not as they were, as they are now.
    pub(crate) lines: Vec<Holding>,
    /// Units that were sold and are not there: so many had to be added to the books for the sale to be entered.
    pub(crate) short: Vec<Line>,
}

/// What a settlement changes on the product.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Delta {
    /// Added to the stock on hand.
    pub(crate) stock: i64,
    /// Added to what is reserved.
    pub(crate) reserved: i64,
}

impl Settlement {
    /// The refusal of an event that does not fit what is stored.
    pub(crate) fn unfit(&self, reason: &'static str) -> Error {
        Error::Unfit { reservation: self.reservation, product: self.line.product, reason }
    }
}

impl Holding {
    /// What was asked for.
    pub(crate) fn line(&self) -> Line {
        Line { product: self.product, quantity: self.quantity }
    }

    /// What it takes from its product: units on hand that are gone, and those that are promised. Units may be back before
    /// their sale was heard of.
    pub(crate) fn weight(&self) -> Delta {
        match self.state {
            LineState::Held => Delta { stock: self.restocked, reserved: self.quantity },
            LineState::Sold => Delta { stock: self.restocked - self.quantity, reserved: 0 },
            LineState::Released => Delta::default(),
        }
    }

    /// Applies an event. A repeat changes nothing; what contradicts the line is an error for people to look at.
    pub(crate) fn settle(&mut self, settlement: &Settlement) -> Result<Delta> {
        let unfit = |reason| settlement.unfit(reason);
        match (settlement.movement, self.state) {
            (Movement::Sell, LineState::Held) if settlement.line.quantity != self.quantity => {
                Err(unfit("the sale and the held line differ in quantity"))
            }
            (Movement::Sell, LineState::Held) => {
                self.state = LineState::Sold;
                Ok(Delta { stock: -self.quantity, reserved: -self.quantity })
            }
            (Movement::Sell, LineState::Released) => Err(unfit("sold after it was released")),
            (Movement::Release, LineState::Sold) => Err(unfit("released after it was sold")),
            (Movement::Release, LineState::Held) if self.restocked > 0 => Err(unfit("released after it was restocked")),
            (Movement::Release, LineState::Held) => {
                self.state = LineState::Released;
                Ok(Delta { stock: 0, reserved: -self.quantity })
            }
            (Movement::Restock, LineState::Held | LineState::Sold) => {
                let back = settlement.line.quantity.min(self.quantity - self.restocked);
                self.restocked += back;
                Ok(Delta { stock: back, reserved: 0 })
            }
            (Movement::Restock, LineState::Released) => Err(unfit("restocked after it was released")),
            (Movement::Sell, LineState::Sold) | (Movement::Release, LineState::Released) => Ok(Delta::default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(product: i64, quantity: i64) -> Line {
        Line { product, quantity }
    }

    fn holding(state: LineState) -> Holding {
        Holding { product: 7, quantity: 3, state, restocked: 0 }
    }

    fn settlement(movement: Movement, quantity: i64) -> Settlement {
        Settlement { event: Uuid::nil(), reservation: Uuid::nil(), line: line(7, quantity), movement }
    }

    #[test]
    fn lines_are_sorted_by_product_and_bad_ones_named() {
        let lines = Lines::parse(vec![line(9, 1), line(2, 5)]).expect("valid");
        assert_eq!(lines.as_slice(), [line(2, 5), line(9, 1)]);
        for (lines, field) in [
            (vec![], "lines"),
            (vec![line(1, 1); 101], "lines"),
            (vec![line(1, 0)], "lines[0].quantity"),
            (vec![line(1, MAX_UNITS + 1)], "lines[0].quantity"),
            (vec![line(1, 1), line(1, 1)], "lines[1].product_id"),
        ] {
            let Err(Error::Invalid(fields)) = Lines::parse(lines) else { panic!("{field} was not refused") };
            assert_eq!(fields.errors()[0].field, field);
        }
    }

    #[test]
    fn held_units_are_sold_or_given_back_once() {
        for (movement, end, delta) in [
            (Movement::Sell, LineState::Sold, Delta { stock: -3, reserved: -3 }),
            (Movement::Release, LineState::Released, Delta { stock: 0, reserved: -3 }),
        ] {
            let mut holding = holding(LineState::Held);
            assert_eq!(holding.settle(&settlement(movement, 3)).expect("fits"), delta);
            assert_eq!(holding.state, end);
            assert_eq!(holding.settle(&settlement(movement, 3)).expect("a repeat"), Delta::default());
        }
    }

    #[test]
    fn no_more_comes_back_than_was_sold() {
        let mut holding = holding(LineState::Sold);
        let mut back = |quantity| holding.settle(&settlement(Movement::Restock, quantity)).expect("fits").stock;
        assert_eq!([back(2), back(2), back(1)], [2, 1, 0]);
    }

    #[test]
    fn what_came_back_before_its_sale_was_heard_of_is_sold_all_the_same() {
        let (mut early, mut late) = (holding(LineState::Held), holding(LineState::Held));
        let sums = |deltas: [Delta; 2]| (deltas[0].stock + deltas[1].stock, deltas[0].reserved + deltas[1].reserved);
        let settle = |holding: &mut Holding, movement| holding.settle(&settlement(movement, 3)).expect("fits");
        let sold_first = [settle(&mut late, Movement::Sell), settle(&mut late, Movement::Restock)];
        let sold_last = [settle(&mut early, Movement::Restock), settle(&mut early, Movement::Sell)];
        assert_eq!(sums(sold_first), sums(sold_last));
        assert_eq!(early, late);
        let mut early = Holding { restocked: 1, ..holding(LineState::Held) };
        assert!(matches!(early.settle(&settlement(Movement::Release, 3)), Err(Error::Unfit { .. })));
    }

    #[test]
    fn what_contradicts_the_line_is_refused() {
        for (state, movement, quantity) in [
            (LineState::Held, Movement::Sell, 2),
            (LineState::Released, Movement::Sell, 3),
            (LineState::Sold, Movement::Release, 3),
            (LineState::Released, Movement::Restock, 1),
        ] {
            let mut holding = holding(state);
            assert!(matches!(holding.settle(&settlement(movement, quantity)), Err(Error::Unfit { .. })));
            assert_eq!(holding.state, state);
        }
    }
}
