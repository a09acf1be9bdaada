//! A payment at its provider: charged, authorised, captured, called off. What the provider says is written down here, whoever
//! heard it: the request that asked, a look from outside, or recovery.

use std::time::Duration;

use shop_events::Event;
use shop_fault::FieldError;
use shop_money::Money;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Error, Failure, Method, Payment, Status, Verdict, events};

/// Attempts to charge one payment. A person has that many cards, and who tries stolen ones has more.
pub(crate) const MAX_ATTEMPTS: u32 = 5;

/// The longest address of a provider's page that is kept, and the longest word of a bank's for why it asks for money back, in
/// characters.
pub(crate) const MAX_URL: usize = 2048;
pub(crate) const MAX_REASON: usize = 500;

/// Every move there is, from a status to another; a test draws them on the page of the API.
#[cfg(test)]
pub(crate) const ARROWS: [(Status, Status); 25] = [
    (Status::Pending, Status::Processing),
    (Status::Pending, Status::Failed),
    (Status::Pending, Status::Cancelled),
    (Status::Pending, Status::Completed),
    (Status::Pending, Status::Authorised),
    (Status::Processing, Status::Pending),
    (Status::Processing, Status::RequiresAction),
    (Status::Processing, Status::Authorised),
    (Status::Processing, Status::Completed),
    (Status::Processing, Status::Failed),
    (Status::Processing, Status::Cancelled),
    (Status::RequiresAction, Status::Pending),
    (Status::RequiresAction, Status::Processing),
    (Status::RequiresAction, Status::Authorised),
    (Status::RequiresAction, Status::Completed),
    (Status::RequiresAction, Status::Failed),
    (Status::Authorised, Status::Processing),
    (Status::Authorised, Status::Completed),
    (Status::Authorised, Status::Failed),
    (Status::Completed, Status::PartiallyRefunded),
    (Status::Completed, Status::Refunded),
    (Status::PartiallyRefunded, Status::Refunded),
    // A refund came back.
    (Status::PartiallyRefunded, Status::Completed),
    (Status::Refunded, Status::PartiallyRefunded),
    (Status::Refunded, Status::Completed),
];

/// What the provider is asked while a payment is `processing`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Step {
    /// To charge.
    #[default]
    Charge,
    /// Nothing any more: it was charged, and the money is on its way.
    Await,
    /// To capture so much.
    Capture(Money),
    /// To let go of what is authorised.
    Void,
}

/// What the buyer has to do before he is charged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Action {
    /// The provider's page where he does it.
    pub(crate) url: String,
    /// How long he may take.
    pub(crate) until: OffsetDateTime,
}

shop_input::names! {
    /// How a dispute ended.
    pub(crate) enum DisputeOutcome {
        Won = "won",
        Lost = "lost",
    }
}

/// The buyer has asked his bank for the money.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Dispute {
    pub(crate) amount: Money,
    /// The provider's word for why.
    pub(crate) reason: String,
    /// None while it is open.
    pub(crate) outcome: Option<DisputeOutcome>,
}

fn is_page(url: &str) -> bool {
    (1..=MAX_URL).contains(&url.chars().count())
}

impl Method {
    /// How long money may be on its way before it is called off, if the provider still can.
    pub(crate) const fn patience(self) -> Duration {
        match self {
            // Banks take days, and more of them over holidays.
            Self::BankTransfer => Duration::from_hours(14 * 24),
            // A buyer has a day to confirm in his wallet or in his account.
            Self::Crypto | Self::Paypal | Self::Stripe => Duration::from_hours(24),
            // Card networks answer within seconds, and a provider that is in trouble within the hour.
            Self::CreditCard | Self::DebitCard => Duration::from_hours(1),
        }
    }
}

impl Payment {
    /// Which attempt it is in, or was last; a payment of a version before has one.
    pub(crate) fn attempt(&self) -> u32 {
        self.attempts.max(1)
    }

    /// What was taken so far.
    pub(crate) fn captured_amount(&self) -> Money {
        match self.status {
            Status::Completed | Status::PartiallyRefunded | Status::Refunded => self.taken(),
            _ => Money::zero(self.amount.currency),
        }
    }

    /// What is to be paid back of: what was taken, or will be.
    pub(crate) fn taken(&self) -> Money {
        self.captured.unwrap_or(self.amount)
    }

    /// Whether the provider has to be asked what became of it, for nobody here knows.
    pub(crate) fn is_at_provider(&self) -> bool {
        self.status == Status::RequiresAction || (self.status == Status::Processing && self.step == Step::Await)
    }

    /// Whether what it waits for is over at `now`, so that it is to be called off.
    pub(crate) fn is_overdue(&self, now: OffsetDateTime) -> bool {
        match self.status {
            Status::RequiresAction => self.action.as_ref().is_none_or(|action| action.until <= now),
            Status::Authorised => self.authorised_until.is_some_and(|until| until <= now),
            Status::Processing => self.step == Step::Await && self.updated_at + self.method.patience() <= now,
            _ => false,
        }
    }

    /// `pending → processing`: from here on only the provider's word counts. Too late, it expires instead.
    pub(crate) fn begin(&mut self, operation: Uuid, now: OffsetDateTime) -> Result<Vec<Event>, Error> {
        self.expect_pending("processed")?;
        if now >= self.expires_at {
            return Ok(self.expire(now));
        }
        self.operation = Some(operation);
        self.attempts += 1;
        self.failure = None;
        self.enter(Status::Processing, Step::Charge, now);
        Ok(Vec::new())
    }

    /// `authorised → processing`: the provider is going to be asked for so much, or for all of it.
    pub(crate) fn begin_capture(
        &mut self,
        operation: Uuid,
        amount: Option<Money>,
        now: OffsetDateTime,
    ) -> Result<Vec<Event>, Error> {
        if self.status != Status::Authorised {
            return Err(self.invalid_state("captured"));
        }
        let amount = amount.unwrap_or(self.amount);
        if amount.currency != self.amount.currency {
            let message = format!("must be in {}", self.amount.currency);
            return Err(FieldError::new("amount", "currency_mismatch", message).into());
        }
        if amount.minor > self.amount.minor {
            return Err(Error::CaptureExceedsPayment { payment: self.id, asked: amount, authorised: self.amount });
        }
        if amount.minor <= 0 {
            return Err(FieldError::new("amount", "out_of_range", "must be over 0").into());
        }
        self.operation = Some(operation);
        self.enter(Status::Processing, Step::Capture(amount), now);
        Ok(Vec::new())
    }

    /// `pending → cancelled`; what is at the provider goes to `processing`, until the provider has let go of it.
    pub(crate) fn cancel(&mut self, operation: Uuid, now: OffsetDateTime) -> Result<Vec<Event>, Error> {
        match self.status {
            Status::Pending if now >= self.expires_at => Ok(self.expire(now)),
            Status::Pending => {
                self.operation = Some(operation);
                Ok(self.cancelled(now))
            }
            Status::RequiresAction | Status::Authorised => {
                self.operation = Some(operation);
                self.enter(Status::Processing, Step::Void, now);
                Ok(Vec::new())
            }
            _ => Err(self.invalid_state("cancelled")),
        }
    }

    /// Writes down the provider's word on an attempt; the same word again changes nothing, nor does what it said of an attempt
    /// before this one, unless money was taken.
    pub(crate) fn settle(&mut self, attempt: u32, verdict: &Verdict, now: OffsetDateTime) -> Result<Vec<Event>, Error> {
        use Status::{Authorised, Completed, Failed, PartiallyRefunded, Pending, Processing, Refunded, RequiresAction};
        let of_one = matches!(verdict, Verdict::Declined { .. } | Verdict::ActionRequired { .. } | Verdict::Pending);
        if of_one && attempt != self.attempt() {
            return Ok(Vec::new());
        }
        match (self.status, verdict) {
            (Pending, Verdict::Approved { .. } | Verdict::Authorised { .. }) if self.attempts == 0 => {
                Err(self.invalid_state("settled"))
            }
            (Pending | Processing | RequiresAction | Authorised, Verdict::Approved { taken }) => {
                Ok(self.complete(*taken, now))
            }
            (Pending | Processing | RequiresAction, Verdict::Authorised { until }) => Ok(self.authorise(*until, now)),
            // Nobody can be sent there; the money may come all the same.
            (Processing | RequiresAction, Verdict::ActionRequired { url, .. }) if !is_page(url) => Ok(self.wait(now)),
            (Processing | RequiresAction, Verdict::ActionRequired { url, until }) => {
                Ok(self.require(Action { url: url.clone(), until: *until }, now))
            }
            (Processing | RequiresAction, Verdict::Pending) => Ok(self.wait(now)),
            (Processing | RequiresAction, Verdict::Declined { failure, may_retry }) => {
                Ok(self.declined(failure, *may_retry, now))
            }
            (Processing | RequiresAction | Authorised, Verdict::Voided) => Ok(self.called_off(now)),
            // What was not the last word was said before what is known by now.
            (Authorised | Completed | PartiallyRefunded | Refunded, Verdict::Authorised { .. })
            | (_, Verdict::ActionRequired { .. } | Verdict::Pending)
            | (Completed | PartiallyRefunded | Refunded, Verdict::Approved { .. })
            | (Pending, Verdict::Declined { may_retry: true, .. })
            | (Failed, Verdict::Declined { .. } | Verdict::Voided)
            | (Status::Cancelled, Verdict::Voided) => Ok(Vec::new()),
            _ => Err(self.invalid_state("settled")),
        }
    }

    fn enter(&mut self, status: Status, step: Step, now: OffsetDateTime) {
        self.status = status;
        self.step = step;
        self.updated_at = now;
        if status != Status::RequiresAction {
            self.action = None;
        }
    }

    fn complete(&mut self, taken: Money, now: OffsetDateTime) -> Vec<Event> {
        // What is authorised was bought: it left the basket then.
        let has_left = self.authorised_until.is_some();
        self.captured = Some(taken);
        self.reference = Some(self.reference());
        self.failure = None;
        self.processed_at = Some(now);
        self.enter(Status::Completed, Step::Charge, now);
        let mut caused = events::completed(self);
        if !has_left {
            caused.push(events::cleared(self));
        }
        caused
    }

    fn authorise(&mut self, until: OffsetDateTime, now: OffsetDateTime) -> Vec<Event> {
        if self.step == Step::Void {
            return Vec::new();
        }
        let is_first = self.authorised_until.replace(until).is_none();
        self.failure = None;
        self.processed_at.get_or_insert(now);
        self.enter(Status::Authorised, Step::Charge, now);
        if is_first { vec![events::authorised(self, until), events::cleared(self)] } else { Vec::new() }
    }

    fn require(&mut self, action: Action, now: OffsetDateTime) -> Vec<Event> {
        if !self.is_being_charged() {
            return Vec::new();
        }
        // Asked again, a provider counts from now; the buyer has no more time for that.
        let until = self.action.as_ref().map_or(action.until, |known| known.until.min(action.until));
        let action = Action { until, ..action };
        if self.action.as_ref() == Some(&action) {
            return Vec::new();
        }
        let is_first = self.action.is_none();
        let event = events::action_required(self, &action);
        self.action = Some(action);
        self.enter(Status::RequiresAction, Step::Charge, now);
        if is_first { vec![event] } else { Vec::new() }
    }

    fn wait(&mut self, now: OffsetDateTime) -> Vec<Event> {
        if self.is_being_charged() && (self.status, self.step) != (Status::Processing, Step::Await) {
            self.enter(Status::Processing, Step::Await, now);
        }
        Vec::new()
    }

    const fn is_being_charged(&self) -> bool {
        matches!(self.step, Step::Charge | Step::Await)
    }

    fn declined(&mut self, failure: &Failure, may_retry: bool, now: OffsetDateTime) -> Vec<Event> {
        if may_retry && self.is_being_charged() && self.attempts < MAX_ATTEMPTS && now < self.expires_at {
            self.failure = Some(failure.clone());
            self.enter(Status::Pending, Step::Charge, now);
            return Vec::new();
        }
        self.processed_at = Some(now);
        self.fail(failure, now)
    }

    /// The provider will never take it.
    fn called_off(&mut self, now: OffsetDateTime) -> Vec<Event> {
        match (self.status, self.step) {
            (Status::Processing, Step::Void) => self.cancelled(now),
            (Status::Authorised, _) | (_, Step::Capture(_)) => {
                self.lapse(Failure::LAPSED, "the authorisation ended before anything was captured", now)
            }
            (Status::RequiresAction, _) => {
                self.lapse(Failure::EXPIRED, "the buyer did not confirm the payment in time", now)
            }
            (_, Step::Await) => self.lapse(Failure::EXPIRED, "the money did not come in time", now),
            _ => {
                let message = "the provider could not be reached in time; nothing was charged";
                self.fail(&Failure::new(Failure::VOIDED, message), now)
            }
        }
    }

    /// `pending → failed` once its time is over; nothing to do for one that has moved on or has time left.
    pub(crate) fn expire(&mut self, now: OffsetDateTime) -> Vec<Event> {
        if self.status != Status::Pending || now < self.expires_at {
            return Vec::new();
        }
        self.lapse(Failure::EXPIRED, "the payment was not processed in time", now)
    }

    fn cancelled(&mut self, now: OffsetDateTime) -> Vec<Event> {
        self.claims_basket = false;
        self.enter(Status::Cancelled, Step::Charge, now);
        events::cancelled(self)
    }

    /// Ends without anybody's card having been refused.
    fn lapse(&mut self, code: &str, message: &str, now: OffsetDateTime) -> Vec<Event> {
        let failure = Failure::new(code, message);
        self.end(&failure, now);
        events::expired(self, &failure)
    }

    pub(super) fn fail(&mut self, failure: &Failure, now: OffsetDateTime) -> Vec<Event> {
        self.end(failure, now);
        events::failed(self, failure)
    }

    fn end(&mut self, failure: &Failure, now: OffsetDateTime) {
        self.claims_basket = false;
        self.failure = Some(failure.clone());
        self.enter(Status::Failed, Step::Charge, now);
    }

    /// Books what the provider says of a dispute; the same again changes nothing.
    pub(crate) fn dispute(&mut self, dispute: &Dispute, now: OffsetDateTime) -> Result<Vec<Event>, Error> {
        if !matches!(self.status, Status::Completed | Status::PartiallyRefunded | Status::Refunded) {
            return Err(self.invalid_state("disputed"));
        }
        let reason = dispute.reason.chars().take(MAX_REASON).collect();
        let dispute = Dispute { reason, ..dispute.clone() };
        if self.dispute.as_ref() == Some(&dispute) {
            return Ok(Vec::new());
        }
        let event = events::disputed(self, &dispute);
        self.dispute = Some(dispute);
        self.updated_at = now;
        Ok(vec![event])
    }

    /// What a dispute keeps from being refunded: while it is open the bank has the money, and after it was lost the buyer.
    pub(crate) fn expect_undisputed(&self) -> Result<(), Error> {
        match &self.dispute {
            Some(dispute) if dispute.outcome != Some(DisputeOutcome::Won) => Err(Error::Disputed(self.id)),
            _ => Ok(()),
        }
    }
}
