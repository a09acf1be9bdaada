//! A provider that calls: something happened there. The call itself is not believed; it rings, and the provider is asked.

use async_trait::async_trait;
use shop_events::Event;
use shop_money::Money;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Dispute, Error, Paid, Payment, ProviderError, Reference, Refund, RefundStatus, Status, Verdict};

/// A call that is the provider's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ring {
    /// The same when it calls again about the same.
    pub(crate) id: Uuid,
    /// Whether it is about the charge itself, of which recovery asks, too.
    pub(crate) is_of_the_charge: bool,
    /// What it is about; none when it is nothing that a shop's payment can be.
    pub(crate) reference: Option<Reference>,
    /// Whose it is, where the call says so. It is not believed either: it tells where to look.
    pub(crate) payment: Option<Uuid>,
}

/// Why a call is not listened to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unheard {
    /// It is not known to be the provider's.
    #[error("the call is not signed with a secret that is known here")]
    Unsigned,
    /// It is signed, and cannot be read.
    #[error("the call cannot be read")]
    Unreadable,
}

/// All that a provider knows of a payment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    /// Whose it is, as was noted there.
    pub(crate) payment: Uuid,
    /// As [`Provider::find`](super::Provider::find) has it for the first attempt.
    pub(crate) verdict: Option<Verdict>,
    /// Money that went back, those made at the provider's own page among them; oldest first.
    pub(crate) refunds: Vec<Given>,
    pub(crate) dispute: Option<Dispute>,
}

/// Money that went back, as the provider knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Given {
    /// The refund's id; made of the provider's own where somebody else gave it back, and always the same.
    pub(crate) id: Uuid,
    pub(crate) amount: Money,
    pub(crate) paid: Paid,
}

/// A provider that calls.
#[async_trait]
pub(crate) trait Bell: Send + Sync {
    /// Reads a call with this signature; the body is the bytes as they came.
    fn hear(&self, signature: &str, body: &[u8]) -> Result<Ring, Unheard>;

    /// All that is known there of a payment by now; none when it is not one of a shop's.
    async fn record(&self, reference: &Reference) -> Result<Option<Record>, ProviderError>;
}

/// The calls that were listened to.
#[async_trait]
pub(crate) trait Inbox: Send + Sync {
    /// Whether it was.
    async fn has(&self, ring: Uuid) -> Result<bool, Error>;

    /// Notes that it was.
    async fn note(&self, ring: Uuid, now: OffsetDateTime) -> Result<(), Error>;
}

impl Payment {
    /// Books what its provider knows of it; the same again changes nothing. What it knows was read after this state was.
    pub(crate) fn book(&mut self, record: &Record, now: OffsetDateTime) -> Result<Vec<Event>, Error> {
        let mut caused = Vec::new();
        if let Some(verdict) = record.verdict.as_ref().filter(|verdict| self.is_news(verdict)) {
            caused.extend(self.settle(self.attempt(), verdict, now)?);
        }
        for given in &record.refunds {
            caused.extend(self.book_refund(given, now)?);
        }
        if let Some(dispute) = &record.dispute {
            caused.extend(self.dispute(dispute, now)?);
        }
        Ok(caused)
    }

    /// Whether a verdict that nobody asked for says anything: what is over is over, unless money was taken.
    fn is_news(&self, verdict: &Verdict) -> bool {
        let is_money = matches!(verdict, Verdict::Approved { .. } | Verdict::Authorised { .. });
        // It may be that of the attempt before, unless the provider has spoken of this one already.
        let is_vague = matches!(verdict, Verdict::Declined { .. }) && self.attempt() > 1 && !self.is_at_provider();
        match self.status {
            Status::Processing | Status::RequiresAction | Status::Authorised => !is_vague,
            Status::Pending | Status::Failed | Status::Cancelled => is_money,
            Status::Completed | Status::PartiallyRefunded | Status::Refunded => false,
        }
    }

    /// Books money that went back, whoever gave it.
    fn book_refund(&mut self, given: &Given, now: OffsetDateTime) -> Result<Vec<Event>, Error> {
        if self.refund(given.id).is_none() {
            // Nobody here asked for it, and nothing went back.
            if given.paid == Paid::Refused {
                return Ok(Vec::new());
            }
            self.refunds.push(Refund {
                id: given.id,
                amount: given.amount,
                reason: None,
                restock: false,
                status: RefundStatus::Requested,
                created_at: now,
            });
        }
        self.settle_refund(given.id, given.paid, now)
    }
}
