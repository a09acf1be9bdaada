//! Refunds: first noted, then asked of the provider, then settled, so that a crash in between pays nothing twice.

use std::time::Duration;

use shop_events::Event;
use shop_fault::FieldError;
use shop_input::names;
use shop_money::Money;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Error, Expected, Note, Paid, Payment, Status, events};

/// How old a refund is when the provider is asked whether it arrived: banks return money for some weeks.
const LOOKS: [Duration; 6] = [
    DAY,
    DAY.saturating_mul(3),
    DAY.saturating_mul(7),
    DAY.saturating_mul(14),
    DAY.saturating_mul(30),
    DAY.saturating_mul(45),
];
const DAY: Duration = Duration::from_hours(24);

/// Refunds of one payment at most: they travel with it in every answer.
const MAX_REFUNDS: usize = 100;

names! {
    /// How far a refund got.
    pub(crate) enum RefundStatus {
        /// Noted; the provider has not confirmed it.
        Requested = "requested",
        /// The provider has it; the money is on its way.
        Pending = "pending",
        /// The money went back, as far as the provider knows: the buyer's bank may still return it.
        Paid = "paid",
        /// The provider said no, or the money did not arrive or came back; the amount may be refunded again.
        Failed = "failed",
    }
}

/// Money that went back, or is on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refund {
    /// Also the provider's idempotency key.
    pub(crate) id: Uuid,
    pub(crate) amount: Money,
    pub(crate) reason: Option<Note>,
    /// The units go back on the shelf when everything has been paid back.
    pub(crate) restock: bool,
    pub(crate) status: RefundStatus,
    pub(crate) created_at: OffsetDateTime,
}

impl Refund {
    /// Whether the provider is still to say what became of it.
    pub(crate) const fn is_open(&self) -> bool {
        matches!(self.status, RefundStatus::Requested | RefundStatus::Pending)
    }

    /// When the provider is next asked whether it arrived, after `now`; not while it is not paid, and not for ever.
    pub(crate) fn next_look(&self, now: OffsetDateTime) -> Option<OffsetDateTime> {
        let looks = LOOKS.iter().map(|age| self.created_at + *age);
        looks.into_iter().find(|at| self.status == RefundStatus::Paid && *at > now)
    }
}

/// A refund as asked for.
#[derive(Debug, Clone)]
pub(crate) struct Refunding {
    pub(crate) id: Uuid,
    /// All that is left when `None`.
    pub(crate) amount: Option<Money>,
    pub(crate) reason: Option<Note>,
    pub(crate) restock: bool,
    /// The state the caller wants to change.
    pub(crate) expected: Expected,
}

impl Payment {
    /// Whether its units went back on the shelf, or do with the refund that made it `refunded`.
    pub(super) fn is_restocked(&self) -> bool {
        let is_one = |refund: &Refund| refund.restock && refund.status == RefundStatus::Paid;
        self.restocked || self.status == Status::Refunded && self.refunds.iter().any(is_one)
    }

    /// The refund of that id.
    pub(crate) fn refund(&self, id: Uuid) -> Option<&Refund> {
        self.refunds.iter().find(|refund| refund.id == id)
    }

    /// Notes a refund, which from now on counts against what is left; one that is noted already stays as it is.
    pub(crate) fn request_refund(&mut self, asked: &Refunding, now: OffsetDateTime) -> Result<Vec<Event>, Error> {
        if self.refund(asked.id).is_some() {
            return Ok(Vec::new());
        }
        if !matches!(self.status, Status::Completed | Status::PartiallyRefunded) {
            return Err(self.invalid_state("refunded"));
        }
        self.expect_undisputed()?;
        let left = self.left();
        let amount = self.check_amount(asked.amount.unwrap_or(left), left)?;
        if asked.restock && amount != left {
            return Err(Error::RestockNeedsFullRefund(self.id));
        }
        if self.refunds.len() >= MAX_REFUNDS {
            let message = format!("a payment has at most {MAX_REFUNDS} refunds");
            return Err(FieldError::new("amount", "too_many_refunds", message).into());
        }
        self.expect(&asked.expected)?;
        self.refunds.push(Refund {
            id: asked.id,
            amount,
            reason: asked.reason.clone(),
            restock: asked.restock,
            status: RefundStatus::Requested,
            created_at: now,
        });
        self.updated_at = now;
        Ok(Vec::new())
    }

    fn check_amount(&self, asked: Money, left: Money) -> Result<Money, Error> {
        if asked.currency != self.amount.currency {
            let message = format!("must be in {}", self.amount.currency);
            return Err(FieldError::new("amount", "currency_mismatch", message).into());
        }
        if asked.minor > left.minor || left.minor <= 0 {
            return Err(Error::RefundExceedsPayment { payment: self.id, asked, left });
        }
        if asked.minor <= 0 {
            return Err(FieldError::new("amount", "out_of_range", "must be over 0").into());
        }
        Ok(asked)
    }

    /// The provider's word on a refund: paid back, on its way, or not. The same word again changes nothing, and what came back is
    /// not said to have arrived after that.
    ///
    /// The units of a restocking refund go back once everything is paid back: what comes back is then all that was
    /// sold, and only once, also when the money comes back and is paid once more.
    pub(crate) fn settle_refund(&mut self, id: Uuid, paid: Paid, now: OffsetDateTime) -> Result<Vec<Event>, Error> {
        use RefundStatus::{Failed, Paid as There, Pending, Requested};
        let Some(place) = self.refunds.iter().position(|refund| refund.id == id) else {
            return Err(Error::NotFound(self.id));
        };
        let before = self.refunds[place].status;
        let after = match (before, paid) {
            (Failed, _) | (There, Paid::Back | Paid::Pending) | (Pending, Paid::Pending) => return Ok(Vec::new()),
            (Requested, Paid::Pending) => Pending,
            (Requested | Pending, Paid::Back) => There,
            (Requested | Pending | There, Paid::Refused) => Failed,
        };
        // What is on the shelf again stays there, whatever becomes of the money.
        self.restocked = self.is_restocked();
        self.refunds[place].status = after;
        self.updated_at = now;
        let settled = self.refunds[place].clone();
        let mut caused = Vec::new();
        match after {
            There => caused.push(events::refunded(self, &settled)),
            // Whoever asked for one that was refused at once has that for an answer.
            Failed if before != Requested => caused.push(events::refund_failed(self, &settled)),
            Requested | Pending | Failed => return Ok(caused),
        }
        self.status = self.status_by_refunds();
        if self.status == Status::Refunded {
            self.claims_basket = false;
            if !self.restocked && self.is_restocked() {
                caused.extend(events::restocked(self));
            }
        }
        Ok(caused)
    }

    /// Where a payment that was taken stands by what went back.
    fn status_by_refunds(&self) -> Status {
        match self.refunded().minor {
            back if back >= self.taken().minor => Status::Refunded,
            back if back > 0 => Status::PartiallyRefunded,
            _ => Status::Completed,
        }
    }
}
