//! Pay a completed payment back: note it, ask the provider, write down what it said.

use uuid::Uuid;

use super::Commands;
use crate::crash::{self, Point};
use crate::domain::{Amount, Error, Expected, Note, Payback, Payment, Refund, RefundStatus, Refunding};

/// Pay a completed payment back, in full or in part.
#[derive(Debug)]
pub(crate) struct RefundPayment {
    pub(crate) id: Uuid,
    /// Which request asks; also the refund's id, so that a repeat finds it.
    pub(crate) operation: Uuid,
    /// All that is left when `None`.
    pub(crate) amount: Option<Amount>,
    pub(crate) reason: Option<String>,
    pub(crate) restock: bool,
    /// The state the caller wants to change.
    pub(crate) expected: Expected,
}

impl Commands {
    /// Pays back. Noted first, a refund counts against what is left before any money moves.
    pub(crate) async fn refund(&self, command: RefundPayment) -> Result<Payment, Error> {
        let reason = Note::reason(command.reason.as_deref())?;
        let payment = self.find(command.id).await?;
        let amount = command.amount.map(|amount| amount.of("amount", payment.amount.currency)).transpose()?;
        let asked =
            Refunding { id: command.operation, amount, reason, restock: command.restock, expected: command.expected };
        let now = self.clock.now();
        let payment = self.payments.change(command.id, &|payment| payment.request_refund(&asked, now)).await?;
        crash::at(Point::RefundAfterRequest);
        let payment = match payment.refund(asked.id) {
            Some(refund) if refund.is_open() => self.pay_back(&payment, refund).await?,
            _ => payment,
        };
        match payment.refund(asked.id).map(|refund| refund.status) {
            Some(RefundStatus::Paid | RefundStatus::Pending) => Ok(payment),
            _ => Err(Error::RefundRefused { payment: payment.id, refund: asked.id }),
        }
    }

    /// Asks the provider to pay back and writes down what it said. Safe to repeat: the refund's id is the key.
    pub(super) async fn pay_back(&self, payment: &Payment, refund: &Refund) -> Result<Payment, Error> {
        let payback =
            Payback { key: refund.id, payment: payment.id, reference: payment.reference(), amount: refund.amount };
        let (_, provider) = self.providers.of(payment)?;
        let paid = provider.refund(&payback).await.map_err(|error| {
            tracing::warn!(payment.id = %payment.id, refund.id = %refund.id, cause = %error, "the refund is not settled yet");
            Error::Unsettled(payment.id)
        })?;
        crash::at(Point::RefundAfterPayback);
        let now = self.clock.now();
        // What came back meanwhile was asked for later than this.
        let is_open = |payment: &Payment| payment.refund(refund.id).is_none_or(Refund::is_open);
        let settle = |payment: &mut Payment| {
            if is_open(payment) { payment.settle_refund(refund.id, paid, now) } else { Ok(Vec::new()) }
        };
        let settled = self.payments.change(payment.id, &settle).await?;
        crash::at(Point::RefundAfterSettle);
        Ok(settled)
    }
}
