//! Refunds: first noted, then asked of the provider, then settled, so that a crash in between pays nothing twice.

use shop_events::Event;
use shop_fault::FieldError;
use shop_input::names;
use shop_money::Money;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Error, Expected, Note, Paid, Payment, Status, events};

/// Refunds of one payment at most: they travel with it in every answer.
const MAX_REFUNDS: usize = 100;

names! {
    /// How far a refund got.
    pub(crate) enum RefundStatus {
        /// Noted; the provider has not confirmed it.
        Requested = "requested",
        /// The provider has it; the money is on its way.
        Pending = "pending",
        /// The money went back.
        Paid = "paid",
        /// The provider said no, or the money did not arrive; the amount may be refunded again.
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
    /// Whether the units of a payment that is paid back in full go back on the shelf.
    pub(super) fn is_restocked(&self) -> bool {
        self.refunds.iter().any(|refund| refund.restock && refund.status == RefundStatus::Paid)
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

    /// The provider's word on a refund: paid back, on its way, or not. The same word again changes nothing.
    ///
    /// The units of a restocking refund go back once everything is paid back: what comes back is then all that was
    /// sold, and only once, because `refunded` is final.
    pub(crate) fn settle_refund(&mut self, id: Uuid, paid: Paid, now: OffsetDateTime) -> Result<Vec<Event>, Error> {
        let Some(refund) = self.refunds.iter_mut().find(|refund| refund.id == id) else {
            return Err(Error::NotFound(self.id));
        };
        match (refund.status, paid) {
            (RefundStatus::Paid | RefundStatus::Failed, _) | (RefundStatus::Pending, Paid::Pending) => {
                return Ok(Vec::new());
            }
            (RefundStatus::Requested | RefundStatus::Pending, Paid::Back) => refund.status = RefundStatus::Paid,
            (RefundStatus::Requested | RefundStatus::Pending, Paid::Refused) => refund.status = RefundStatus::Failed,
            (RefundStatus::Requested, Paid::Pending) => refund.status = RefundStatus::Pending,
        }
        self.updated_at = now;
        if paid != Paid::Back {
            return Ok(Vec::new());
        }
        let settled = refund.clone();
        let mut caused = vec![events::refunded(self, &settled)];
        if self.refunded().minor < self.taken().minor {
            self.status = Status::PartiallyRefunded;
            return Ok(caused);
        }
        self.status = Status::Refunded;
        self.claims_basket = false;
        if self.is_restocked() {
            caused.extend(events::restocked(self));
        }
        Ok(caused)
    }
}
