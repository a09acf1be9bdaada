//! What is done for payments that nobody asks about any more: expired ones fail, those left half way are settled.
//!
//! Safe with several replicas: what only the provider can settle is claimed for a while by one of them, and every other
//! step is a change of one payment that does nothing when another was faster.

use std::time::Duration;

use futures_util::{StreamExt, stream};
use shop_clock::chance;
use shop_fault::Fault;
use uuid::Uuid;

use super::{Commands, Rung};
use crate::crash::{self, Point};
use crate::domain::{Claim, Error, Left, Payment, RefundStatus, Status, Verdict};

/// Payments taken on at a time.
const BATCH: u32 = 100;

/// Payments that expire at a time. Each gives its stock back, and waits a moment for a neighbour that may be away.
const EXPIRING: usize = 16;

/// Payments asked about at a time right after start.
const ASKING: usize = 8;

/// Pause after the first attempt that failed; it doubles from there.
const FIRST_PAUSE: Duration = Duration::from_secs(5);

/// The longest pause: a provider that was away for hours is asked within this time of its return.
const LONGEST_PAUSE: Duration = Duration::from_mins(10);

/// The same while money is on its way for days, as the provider says: it calls when there is news, and this is for when it does not.
const LONGEST_WAIT: Duration = Duration::from_hours(1);

/// What an attempt may take beyond the provider's answer: it is written down in one transaction.
const WRITING: Duration = Duration::from_secs(10);

/// Takes payments further that would otherwise stand still.
#[derive(Clone)]
pub(crate) struct Recovery {
    commands: Commands,
    /// How long one attempt may take, and its claim lasts.
    deadline: Duration,
}

/// What became of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Attempt {
    /// The payment is settled, or it is known that a refund does not take place.
    Settled,
    /// The refund took place.
    PaidBack,
    /// The provider was asked whether a refund that took place arrived.
    Looked,
    /// It is tried again after a pause.
    Later,
    /// The provider says that it takes its time.
    Waiting,
}

impl Recovery {
    /// By these commands; the provider answers, or is given up, within `provider`.
    pub(crate) fn new(commands: Commands, provider: Duration) -> Self {
        Self { commands, deadline: provider + WRITING }
    }

    /// Right after start: settles at once what the provider has a charge for. A payment without one may be in the
    /// hands of another replica, so it has [`Commands::settle_after`] before it can be claimed. How many were settled.
    pub(crate) async fn at_start(&self) -> Result<u64, Error> {
        let ids = self.commands.payments.processing(BATCH).await?;
        let asked =
            stream::iter(ids).map(|id| async move { told(id, self.settle_if_known(id).await).unwrap_or(false) });
        Ok(asked.buffer_unordered(ASKING).fold(0, async |total, settled| total + u64::from(settled)).await)
    }

    /// Expires everything whose time is over; how many payments. One that cannot be changed now does not keep the others.
    pub(crate) async fn expire(&self) -> Result<u64, Error> {
        let now = self.commands.clock.now();
        let (mut total, mut after) = (0, None);
        loop {
            let due = self.commands.payments.expired(now, after, BATCH).await?;
            let ids: Vec<_> = due.iter().map(|(_, id)| *id).collect();
            let expired = stream::iter(ids).map(|id| async move { told(id, self.expire_one(id).await).is_some() });
            total += expired.buffer_unordered(EXPIRING).fold(0, async |sum, done| sum + u64::from(done)).await;
            after = due.last().copied();
            if due.len() < BATCH as usize {
                return Ok(total);
            }
        }
    }

    /// Claims up to `room` payments and refunds that were left half way and are due, those tried least first: what fails
    /// again and again, or hangs, waits behind what was never tried.
    pub(crate) async fn claim(&self, room: usize) -> Result<Vec<Left>, Error> {
        let now = self.commands.clock.now();
        let limit = u32::try_from(room).unwrap_or(BATCH).min(BATCH);
        let (left_behind, until) = (now - self.commands.settle_after, now + self.deadline);
        self.commands.payments.claim(&Claim { left_behind, now, until, limit }).await
    }

    /// Takes on what was claimed, and puts it off if that does not work.
    pub(crate) async fn attempt(&self, left: Left) -> Attempt {
        let id = left.payment;
        let outcome = tokio::time::timeout(self.deadline, async {
            match left.refund {
                None => self.settle(id).await,
                Some(refund) if left.is_paid => self.look(&left, refund).await,
                Some(refund) => self.pay_back(id, refund).await,
            }
        });
        let longest = match told(id, outcome.await.unwrap_or(Err(Error::Unsettled(id)))) {
            Some(done @ (Attempt::Settled | Attempt::PaidBack | Attempt::Looked)) => return done,
            Some(Attempt::Waiting) => LONGEST_WAIT,
            Some(Attempt::Later) | None => LONGEST_PAUSE,
        };
        let until = self.commands.clock.now() + pause(left.attempts, chance::fraction(), longest);
        if let Err(error) = self.commands.payments.put_off(&left, until).await {
            tracing::debug!(payment.id = %id, cause = ?Fault::from(error), "not put off: it is due when its claim ends");
        }
        Attempt::Later
    }

    async fn settle_if_known(&self, id: Uuid) -> Result<bool, Error> {
        let payment = self.commands.find(id).await?;
        match self.commands.ask(&payment, false).await? {
            Some(verdict) => self.write(&payment, &verdict).await,
            None => Ok(false),
        }
    }

    async fn settle(&self, id: Uuid) -> Result<Attempt, Error> {
        let payment = self.commands.find(id).await?;
        if payment.status != Status::Processing && !payment.is_overdue(self.commands.clock.now()) {
            return Ok(Attempt::Settled);
        }
        // What waits for its money goes on waiting.
        let verdict = self.commands.ask(&payment, true).await?.unwrap_or(Verdict::Pending);
        if self.write(&payment, &verdict).await? {
            return Ok(Attempt::Settled);
        }
        let takes_its_time = payment.is_at_provider() && !payment.is_overdue(self.commands.clock.now());
        Ok(if takes_its_time { Attempt::Waiting } else { Attempt::Later })
    }

    /// Whether that settled it, now or by somebody else meanwhile.
    async fn write(&self, asked: &Payment, verdict: &Verdict) -> Result<bool, Error> {
        crash::at(Point::RecoveryAfterVerdict);
        let payment = self.commands.settle(asked, verdict).await?;
        let is_settled = payment.status != asked.status;
        if is_settled {
            let status = payment.status;
            tracing::info!(payment.id = %payment.id, %status, "payment that was left in {} is settled", asked.status);
        }
        Ok(is_settled)
    }

    async fn pay_back(&self, id: Uuid, refund: Uuid) -> Result<Attempt, Error> {
        let payment = self.commands.find(id).await?;
        let Some(asked) = payment.refund(refund).filter(|asked| asked.is_open()) else {
            return Ok(Attempt::Settled);
        };
        let settled = self.commands.pay_back(&payment, asked).await?;
        Ok(match settled.refund(refund).map(|refund| refund.status) {
            Some(RefundStatus::Paid) => Attempt::PaidBack,
            Some(RefundStatus::Requested | RefundStatus::Pending) => Attempt::Later,
            Some(RefundStatus::Failed) | None => Attempt::Settled,
        })
    }

    /// Asks once more about a refund that is paid, for its money may come back and the provider's call get lost.
    async fn look(&self, left: &Left, refund: Uuid) -> Result<Attempt, Error> {
        let payment = self.commands.find(left.payment).await?;
        if let Some(reference) = &payment.reference
            && self.commands.book(&payment.provider, reference, payment.id).await? == Rung::Later
        {
            return Ok(Attempt::Later);
        }
        let next = payment.refund(refund).and_then(|refund| refund.next_look(self.commands.clock.now()));
        self.commands.payments.looked(left, next).await?;
        Ok(Attempt::Looked)
    }

    async fn expire_one(&self, id: Uuid) -> Result<(), Error> {
        let now = self.commands.clock.now();
        self.commands.payments.change(id, &|payment: &mut Payment| Ok(payment.expire(now))).await?;
        crash::at(Point::ExpireAfterCommit);
        Ok(())
    }
}

/// The pause after `attempts` that came to nothing, `longest` at most. `chance`, from 0 to 1, takes up to half of it away, so that
/// what failed together does not come back together.
fn pause(attempts: i64, chance: f64, longest: Duration) -> Duration {
    let doublings = u32::try_from(attempts.saturating_sub(1)).unwrap_or(u32::MAX).min(30);
    let whole = FIRST_PAUSE.saturating_mul(1 << doublings).min(longest);
    whole.mul_f64(0.5 + 0.5 * chance)
}

/// What came of it; a failure is told, and left to another time.
fn told<T>(id: Uuid, outcome: Result<T, Error>) -> Option<T> {
    match outcome {
        Ok(done) => Some(done),
        Err(error) => {
            tracing::warn!(payment.id = %id, cause = ?Fault::from(error), "payment could not be taken further, trying later");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_half_of_each_is_chance() {
        let millis = |attempts, chance| pause(attempts, chance, LONGEST_PAUSE).as_millis();
        assert_eq!([1, 2, 3, 8, 99].map(|attempts| millis(attempts, 1.0)), [5000, 10_000, 20_000, 600_000, 600_000]);
        assert_eq!(pause(99, 1.0, LONGEST_WAIT), LONGEST_WAIT);
        assert_eq!((millis(1, 0.0), millis(2, 0.5)), (2500, 7500));
    }
}
