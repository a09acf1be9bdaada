//! What is done for payments that nobody asks about any more: expired ones fail, those left half way are settled.
//!
//! Safe with several replicas: every step is a change of one payment that does nothing when another was faster.

use uuid::Uuid;

use super::Commands;
use crate::crash::{self, Point};
use crate::domain::{Due, Error, Payment, RefundStatus, Verdict};

/// Payments taken on in one round; the next round takes the rest.
const BATCH: u32 = 100;

/// What a round did.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Recovered {
    pub(crate) expired: u64,
    pub(crate) settled: u64,
    pub(crate) refunds: u64,
}

/// Takes payments further that would otherwise stand still.
#[derive(Clone)]
pub(crate) struct Recovery {
    pub(crate) commands: Commands,
}

impl Recovery {
    /// Right after start: settles at once what the provider has a charge for. A payment without one may be in the
    /// hands of another replica, so it has [`Commands::settle_after`] before [`Recovery::round`] voids it.
    pub(crate) async fn at_start(&self) -> Result<Recovered, Error> {
        let now = self.commands.clock.now();
        let mut done = Recovered::default();
        for id in self.commands.payments.due(Due::Processing(now), BATCH).await? {
            done.settled += count(id, self.settle_if_known(id).await);
        }
        Ok(done)
    }

    /// One round of everything that is due.
    pub(crate) async fn round(&self) -> Result<Recovered, Error> {
        let payments = &self.commands.payments;
        let now = self.commands.clock.now();
        let left_behind = now - self.commands.settle_after;
        let mut done = Recovered::default();
        for id in payments.due(Due::Processing(left_behind), BATCH).await? {
            done.settled += count(id, self.settle(id).await);
        }
        for id in payments.due(Due::Refunds(left_behind), BATCH).await? {
            done.refunds += count(id, self.settle_refunds(id).await);
        }
        for id in payments.due(Due::Expired(now), BATCH).await? {
            done.expired += count(id, self.expire(id).await);
        }
        Ok(done)
    }

    async fn settle_if_known(&self, id: Uuid) -> Result<bool, Error> {
        match self.commands.provider.find(id).await.map_err(|_| Error::Unsettled(id))? {
            Some(verdict) => self.write(id, &verdict).await,
            None => Ok(false),
        }
    }

    async fn settle(&self, id: Uuid) -> Result<bool, Error> {
        let verdict = self.commands.provider.void(id).await.map_err(|_| Error::Unsettled(id))?;
        self.write(id, &verdict).await
    }

    async fn write(&self, id: Uuid, verdict: &Verdict) -> Result<bool, Error> {
        crash::at(Point::RecoveryAfterVerdict);
        let payment = self.commands.settle(id, verdict).await?;
        tracing::info!(payment.id = %id, status = %payment.status, "payment that was left in processing is settled");
        Ok(true)
    }

    async fn settle_refunds(&self, id: Uuid) -> Result<bool, Error> {
        let payment = self.commands.find(id).await?;
        for refund in payment.refunds.iter().filter(|refund| refund.status == RefundStatus::Requested) {
            self.commands.pay_back(id, refund).await?;
        }
        Ok(true)
    }

    async fn expire(&self, id: Uuid) -> Result<bool, Error> {
        let now = self.commands.clock.now();
        self.commands.payments.change(id, &|payment: &mut Payment| Ok(payment.expire(now))).await?;
        crash::at(Point::ExpireAfterCommit);
        Ok(true)
    }
}

/// One if it worked. A payment that cannot be taken further now is left to the next round, not in the way of others.
fn count(id: Uuid, step: Result<bool, Error>) -> u64 {
    step.unwrap_or_else(|error| {
        tracing::warn!(payment.id = %id, cause = ?error.fault(), "payment could not be taken further, trying later");
        false
    })
    .into()
}
