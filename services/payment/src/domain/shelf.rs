//! What a reservation has to be like by its payment, and what it is like.

use uuid::Uuid;

use super::{Outcome, Payment, Status};

/// Where a line of a reservation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LineState {
    Held,
    Sold,
    Released,
}

impl LineState {
    /// The name outside.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Sold => "sold",
            Self::Released => "released",
        }
    }
}

/// A line of a reservation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) product_id: i64,
    pub(crate) quantity: u32,
    pub(crate) state: LineState,
    /// Sold units that came back.
    pub(crate) restocked: u32,
}

/// A reservation as the shelf has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reservation {
    /// The payment's id.
    pub(crate) id: Uuid,
    /// By product.
    pub(crate) lines: Vec<Kept>,
}

/// A number of a product that is not what the shelf's own bookings say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Miscount {
    pub(crate) product_id: i64,
    /// Which number, against what.
    pub(crate) number: String,
    pub(crate) says: i64,
    pub(crate) booked: i64,
}

/// What is wrong with the reservation of `payment`, of which the shelf has `found`: the lines as they have to be. Nothing when
/// they are so.
pub(crate) fn amiss(payment: Option<&Payment>, found: &[Kept]) -> Option<Vec<Kept>> {
    let outcome = payment.map_or(Outcome::Released, Payment::outcome);
    // It asks for its stock again before it is charged, and fails if that is gone.
    let is_free = found.iter().all(|line| line.state == LineState::Released);
    if is_free && payment.is_some_and(|payment| payment.status == Status::Pending) {
        return None;
    }
    let expected = expected(outcome, payment, found);
    (expected != found).then_some(expected)
}

fn expected(outcome: Outcome, payment: Option<&Payment>, found: &[Kept]) -> Vec<Kept> {
    let state = match outcome {
        Outcome::Open => LineState::Held,
        Outcome::Sold | Outcome::Returned => LineState::Sold,
        Outcome::Released => LineState::Released,
    };
    let items = payment.filter(|_| state != LineState::Released).map(|payment| payment.items.as_slice());
    let items = items.unwrap_or_default();
    let bought = items.iter().map(|item| {
        let restocked = if outcome == Outcome::Returned { item.quantity } else { 0 };
        Kept { product_id: item.product_id, quantity: item.quantity, state, restocked }
    });
    let others = found.iter().filter(|line| items.iter().all(|item| item.product_id != line.product_id));
    let released = others.map(|line| Kept { state: LineState::Released, restocked: 0, ..*line });
    let mut lines: Vec<_> = bought.chain(released).collect();
    lines.sort_by_key(|line| line.product_id);
    lines
}

#[cfg(test)]
mod tests {
    use super::super::samples::pending;
    use super::*;

    fn lines(payment: &Payment, state: LineState, restocked: bool) -> Vec<Kept> {
        let line = |item: &super::super::Item| Kept {
            product_id: item.product_id,
            quantity: item.quantity,
            state,
            restocked: if restocked { item.quantity } else { 0 },
        };
        let mut lines: Vec<_> = payment.items.iter().map(line).collect();
        lines.sort_by_key(|line| line.product_id);
        lines
    }

    #[test]
    fn every_payment_says_what_its_reservation_has_to_be() {
        let of = |status| Payment { status, ..pending() };
        let (held, sold) = (lines(&pending(), LineState::Held, false), lines(&pending(), LineState::Sold, false));
        let (back, released) =
            (lines(&pending(), LineState::Sold, true), lines(&pending(), LineState::Released, false));
        for (status, found, expected) in [
            (Some(Status::Pending), &held, None),
            (Some(Status::Pending), &vec![], None),
            (Some(Status::Pending), &released, None),
            (Some(Status::Pending), &sold, Some(&held)),
            (Some(Status::Processing), &held, None),
            (Some(Status::Processing), &vec![], Some(&held)),
            (Some(Status::Processing), &released, Some(&held)),
            (Some(Status::Completed), &sold, None),
            (Some(Status::Completed), &held, Some(&sold)),
            (Some(Status::Completed), &vec![], Some(&sold)),
            (Some(Status::Completed), &released, Some(&sold)),
            (Some(Status::Completed), &back, Some(&sold)),
            (Some(Status::Refunded), &sold, None),
            (Some(Status::Failed), &vec![], None),
            (Some(Status::Failed), &released, None),
            (Some(Status::Failed), &held, Some(&released)),
            (Some(Status::Cancelled), &sold, Some(&released)),
            (None, &released, None),
            (None, &held, Some(&released)),
            (None, &sold, Some(&released)),
        ] {
            let payment = status.map(of);
            assert_eq!(amiss(payment.as_ref(), found).as_ref(), expected, "{status:?} {found:?}");
        }
    }

    #[test]
    fn one_line_that_is_behind_is_enough_and_strange_ones_are_given_back() {
        let payment = Payment { status: Status::Completed, ..pending() };
        let sold = lines(&payment, LineState::Sold, false);
        let mut found = sold.clone();
        found[0].state = LineState::Held;
        assert_eq!(amiss(Some(&payment), &found), Some(sold.clone()));
        let strange = Kept { product_id: 999, quantity: 1, state: LineState::Held, restocked: 0 };
        let expected = [sold.clone(), vec![Kept { state: LineState::Released, ..strange }]].concat();
        assert_eq!(amiss(Some(&payment), &[sold, vec![strange]].concat()), Some(expected));
    }
}
