//! What is done for payments that nobody asks about any more: expired ones fail, those left half way are settled.
//!
//! Safe with several replicas: every step is a change of one payment that does nothing when another was faster.

use shop_fault::Fault;
use uuid::Uuid;

use super::Commands;
use crate::crash::{self, Point};
use crate::domain::{Due, Error, Payment, RefundStatus, Verdict};

/// Payments taken on at a time.
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
    commands: Commands,
}

impl Recovery {
    /// By these commands.
    pub(crate) fn new(commands: Commands) -> Self {
        Self { commands }
    }

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
        let now = self.commands.clock.now();
        let left_behind = now - self.commands.settle_after;
        Ok(Recovered {
            settled: self.all(Due::Processing(left_behind)).await?,
            refunds: self.all(Due::Refunds(left_behind)).await?,
            expired: self.all(Due::Expired(now)).await?,
        })
    }

    /// Takes on what is due, batch by batch, until there is no more or some of a batch has to wait.
    async fn all(&self, due: Due) -> Result<u64, Error> {
        let mut total = 0;
        loop {
            let ids = self.commands.payments.due(due, BATCH).await?;
            let mut done = 0;
            for id in &ids {
                done += count(*id, self.step(due, *id).await);
            }
            total += done;
            if done < u64::from(BATCH) {
                return Ok(total);
            }
        }
    }

    async fn step(&self, due: Due, id: Uuid) -> Result<bool, Error> {
        match due {
            Due::Processing(_) => self.settle(id).await,
            Due::Refunds(_) => self.settle_refunds(id).await,
            Due::Expired(_) => self.expire(id).await,
        }
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
        let payment = self.commands.settle(id, None, verdict).await?;
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
        tracing::warn!(payment.id = %id, cause = ?Fault::from(error), "payment could not be taken further, trying later");
        false
    })
    .into()
}
