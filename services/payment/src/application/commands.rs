//! Make, process and cancel a payment. Each may be asked again under the same operation after a crash and then takes
//! up where it left off.

mod create;

use std::sync::Arc;
use std::time::Duration;

use shop_clock::SharedClock;
use shop_fault::FieldError;
use uuid::Uuid;

use super::held::Held;
use super::looks::Looks;
use super::releasing::Releasing;
use crate::crash::{self, Point};
use crate::domain::{
    Amount, Baskets, Charge, Error, Expected, Failure, Limits, Line, Payment, Payments, Provider, Providers, Reference,
    Reserved, Status, Step, Stock, Token, UserId, Verdict,
};

pub(crate) use create::Made;

/// Charge a pending payment.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) id: Uuid,
    /// Which request asks; a repeat of it gets the answer of the first.
    pub(crate) operation: Uuid,
    pub(crate) token: Option<Token>,
    /// The state the caller wants to change.
    pub(crate) expected: Expected,
    /// Only if it is this user's: to others it is not there.
    pub(crate) of: Option<UserId>,
}

/// Give up a pending payment.
#[derive(Debug)]
pub(crate) struct Cancel {
    pub(crate) id: Uuid,
    /// Which request asks; a repeat of it gets the answer of the first.
    pub(crate) operation: Uuid,
    /// The state the caller wants to change.
    pub(crate) expected: Expected,
    /// Only if it is this user's: to others it is not there.
    pub(crate) of: Option<UserId>,
}

/// Take what is authorised.
#[derive(Debug)]
pub(crate) struct CapturePayment {
    pub(crate) id: Uuid,
    /// Which request asks; a repeat of it gets the answer of the first.
    pub(crate) operation: Uuid,
    /// All of it when `None`.
    pub(crate) amount: Option<Amount>,
    /// The state the caller wants to change.
    pub(crate) expected: Expected,
}

/// Everything that changes payments on somebody's behalf.
#[derive(Clone)]
pub(crate) struct Commands {
    pub(super) payments: Arc<dyn Payments>,
    pub(super) baskets: Arc<dyn Baskets>,
    pub(super) stock: Arc<dyn Stock>,
    pub(super) providers: Providers,
    approves_without_token: bool,
    held: Held,
    pub(super) looks: Looks,
    pub(super) clock: SharedClock,
    /// How long a payment may be in the hands of a request before it counts as left behind.
    pub(super) settle_after: Duration,
    limits: Limits,
}

/// What payments are made, charged and stocked by.
pub(crate) struct Neighbours {
    pub(crate) baskets: Arc<dyn Baskets>,
    pub(crate) stock: Arc<dyn Stock>,
    pub(crate) providers: Providers,
    /// Whether a charge without a token is one with the sandbox's approving token.
    pub(crate) approves_without_token: bool,
}

impl Commands {
    /// On this store and these neighbours; what is in the hands of a request for longer than `settle_after` counts as left behind.
    pub(crate) fn new(
        payments: Arc<dyn Payments>,
        neighbours: Neighbours,
        clock: SharedClock,
        settle_after: Duration,
        limits: Limits,
    ) -> Self {
        let Neighbours { baskets, stock, providers, approves_without_token } = neighbours;
        let held = Held::new(payments.clone());
        let payments = Arc::new(Releasing::new(payments, stock.clone()));
        let looks = Looks::default();
        Self { payments, baskets, stock, providers, approves_without_token, held, looks, clock, settle_after, limits }
    }

    /// What is known of reservations; to be run.
    pub(crate) fn reservations(&self) -> Held {
        self.held.clone()
    }

    /// Makes sure the reservation stands; short of stock, the payment fails.
    async fn hold(&self, payment: &Payment) -> Result<(), Error> {
        if self.held.is_known(payment) {
            return Ok(());
        }
        let line = |item: &crate::domain::Item| Line { product_id: item.product_id, quantity: item.quantity };
        let lines: Vec<_> = payment.items.iter().map(line).collect();
        match self.stock.reserve(payment.id, &lines, payment.replaces).await? {
            Reserved::Held => {
                self.held.note(payment.id);
                Ok(())
            }
            Reserved::Short(short) => {
                let failure = Failure::new(Failure::SHORT, "there is not enough stock");
                self.abandon(payment.id, failure).await?;
                Err(Error::InsufficientStock { payment: payment.id, short })
            }
        }
    }

    async fn abandon(&self, id: Uuid, failure: Failure) -> Result<Payment, Error> {
        let now = self.clock.now();
        self.payments.change(id, &|payment| payment.abandon(&failure, now)).await
    }

    /// Charges a pending payment, once: of many callers the one that moves it to `processing` charges.
    pub(crate) async fn process(&self, command: Process) -> Result<Payment, Error> {
        let Process { id, operation, token, expected, of } = command;
        let payment = self.find(id).await?;
        payment.expect_of(of.as_ref())?;
        if payment.operation == Some(operation) {
            return self.resume(payment).await;
        }
        if payment.is_at_provider() {
            payment.expect(&expected)?;
            return answer(self.look(payment).await?);
        }
        match self.process_new(payment, operation, token, &expected).await {
            // Too late, perhaps behind an attempt of this very request that its caller gave up: its answer is ours.
            Err(late) if late.is_late() => match self.find(id).await? {
                payment if payment.operation == Some(operation) => self.resume(payment).await,
                // Who asks does not matter while the provider has not answered, or waits for the buyer.
                payment if matches!(payment.status, Status::Processing | Status::RequiresAction) => answer(payment),
                // Moved on once more since the refusal, it may be: what counts is what it is by now.
                payment => Err(self.with_successor(payment.invalid_state("processed"), &payment).await?),
            },
            answer => answer,
        }
    }

    async fn process_new(
        &self,
        payment: Payment,
        operation: Uuid,
        token: Option<Token>,
        expected: &Expected,
    ) -> Result<Payment, Error> {
        payment.expect_pending("processed")?;
        payment.expect(expected)?;
        let (name, provider) = self.providers.of(&payment)?;
        provider.accepts(payment.amount).map_err(|why| FieldError::new("amount", "out_of_range", why))?;
        let token = token.or_else(|| self.approves_without_token.then(Token::approving)).ok_or_else(missing_token)?;
        if self.clock.now() < payment.expires_at {
            self.hold(&payment).await?;
        }
        crash::at(Point::ProcessAfterReserve);
        let reference = open(provider.as_ref(), &payment).await?;
        crash::at(Point::ProcessAfterOpen);
        let payment = self.begin(&payment, (name, &reference), operation, expected).await?;
        crash::at(Point::ProcessAfterProcessing);
        let verdict = self.charge(&payment, token).await?;
        crash::at(Point::ProcessAfterCharge);
        let payment = self.settle(&payment, &verdict).await?;
        crash::at(Point::ProcessAfterCommit2);
        answer(payment)
    }

    async fn begin(
        &self,
        known: &Payment,
        (provider, reference): (&str, &Reference),
        operation: Uuid,
        expected: &Expected,
    ) -> Result<Payment, Error> {
        let now = self.clock.now();
        let begin = |payment: &mut Payment| {
            // Moved on is the first thing to say; what was expected of it comes after (RFC 9110, section 13.2.1).
            payment.expect_pending("processed")?;
            payment.expect(expected)?;
            payment.note(provider, reference);
            payment.begin(operation, now)
        };
        let payment = self.payments.change_from(known.id, Some(known), &begin).await?;
        self.held.is_over(payment.id);
        match payment.status {
            Status::Processing => Ok(payment),
            _ => Err(payment.refusal("processed")),
        }
    }

    /// A repeat of the request that moved the payment: its answer. When the first attempt has not settled it, this one
    /// does, by what the provider knows; before the charge's time is over, nothing known means wait.
    async fn resume(&self, payment: Payment) -> Result<Payment, Error> {
        if payment.is_at_provider() {
            return answer(self.look(payment).await?);
        }
        if payment.status != Status::Processing {
            return answer(payment);
        }
        let left_behind = payment.updated_at + self.settle_after <= self.clock.now();
        match self.ask(&payment, left_behind).await? {
            Some(verdict) => answer(self.settle(&payment, &verdict).await?),
            None => Err(Error::Unsettled(payment.id)),
        }
    }

    /// The payment as it is by now: when it waits at the provider, that is asked. Without an answer it is as it was known.
    pub(crate) async fn look(&self, payment: Payment) -> Result<Payment, Error> {
        if !payment.is_at_provider() {
            return Ok(payment);
        }
        match self.ask(&payment, false).await {
            Ok(Some(verdict)) => self.settle(&payment, &verdict).await,
            Ok(None) | Err(_) => Ok(payment),
        }
    }

    /// The provider's word on a payment. What `is_left` by whoever asked for it is finished, and a charge is called off then; so
    /// is what waited too long.
    pub(super) async fn ask(&self, payment: &Payment, is_left: bool) -> Result<Option<Verdict>, Error> {
        let (_, provider) = self.providers.of(payment)?;
        let reference = payment.reference();
        let word = match (payment.status, payment.step) {
            _ if payment.is_overdue(self.clock.now()) => provider.void(&reference).await.map(Some),
            (Status::Processing, Step::Charge | Step::Void) if is_left => provider.void(&reference).await.map(Some),
            (Status::Processing, Step::Capture(amount)) if is_left => {
                provider.capture(&reference, amount).await.map(Some)
            }
            // It has spoken of this attempt already: a decline that it tells now is not the one before.
            _ if payment.is_at_provider() => provider.find(&reference, 1).await,
            _ => provider.find(&reference, payment.attempt()).await,
        };
        word.map_err(|lost| {
            tracing::warn!(payment.id = %payment.id, cause = %lost, "the provider does not say what became of it");
            Error::Unsettled(payment.id)
        })
    }

    /// Takes the money; when the answer is lost, asks what came of it instead of charging again.
    async fn charge(&self, payment: &Payment, token: Token) -> Result<Verdict, Error> {
        let (reference, intent) = (payment.reference(), payment.intent());
        let charge = Charge { reference, intent, attempt: payment.attempt(), token };
        let (_, provider) = self.providers.of(payment)?;
        let lost = match provider.charge(&charge).await {
            Ok(verdict) => return Ok(verdict),
            Err(lost) => lost,
        };
        tracing::warn!(payment.id = %payment.id, cause = %lost, "the charge's answer is lost, asking the provider");
        self.ask(payment, false).await?.ok_or(Error::Unsettled(payment.id))
    }

    /// Writes down the provider's word on a payment, as it was when the provider was asked.
    pub(super) async fn settle(&self, asked: &Payment, verdict: &Verdict) -> Result<Payment, Error> {
        let (now, attempt) = (self.clock.now(), asked.attempt());
        self.payments.change_from(asked.id, Some(asked), &|payment| payment.settle(attempt, verdict, now)).await
    }

    /// Takes what is authorised, or less.
    pub(crate) async fn capture(&self, command: CapturePayment) -> Result<Payment, Error> {
        let CapturePayment { id, operation, amount, expected } = command;
        let known = self.find(id).await?;
        let amount = amount.map(|amount| amount.of("amount", known.amount.currency)).transpose()?;
        let now = self.clock.now();
        let begin = |payment: &mut Payment| {
            if payment.operation == Some(operation) && payment.status != Status::Authorised {
                return Ok(Vec::new());
            }
            let events = payment.begin_capture(operation, amount, now)?;
            payment.expect(&expected)?;
            Ok(events)
        };
        let payment = self.payments.change_from(id, Some(&known), &begin).await?;
        crash::at(Point::CaptureAfterRequest);
        let payment = self.finish(payment, Point::CaptureAfterCapture).await?;
        crash::at(Point::CaptureAfterSettle);
        match payment.status {
            Status::Completed | Status::PartiallyRefunded | Status::Refunded => Ok(payment),
            Status::Processing | Status::Authorised => Err(Error::Unsettled(id)),
            _ => Err(payment.refusal("captured")),
        }
    }

    /// Asks the provider for what the payment is on its way to, and writes down what it says.
    async fn finish(&self, payment: Payment, point: Point) -> Result<Payment, Error> {
        if payment.status != Status::Processing {
            return Ok(payment);
        }
        let verdict = self.ask(&payment, true).await?.ok_or(Error::Unsettled(payment.id))?;
        crash::at(point);
        self.settle(&payment, &verdict).await
    }

    /// Gives up a payment that is not paid; its stock is released by event, and the provider lets go of what it holds.
    pub(crate) async fn cancel(&self, command: Cancel) -> Result<Payment, Error> {
        let Cancel { id, operation, expected, of } = command;
        let now = self.clock.now();
        let cancel = |payment: &mut Payment| {
            payment.expect_of(of.as_ref())?;
            let is_ours = payment.operation == Some(operation);
            if is_ours && (payment.status == Status::Cancelled || payment.step == Step::Void) {
                return Ok(Vec::new());
            }
            let events = payment.cancel(operation, now)?;
            payment.expect(&expected)?;
            Ok(events)
        };
        let payment = match self.payments.change(id, &cancel).await {
            Err(refusal @ Error::Superseded { .. }) => {
                return Err(self.with_successor(refusal, &self.find(id).await?).await?);
            }
            changed => changed?,
        };
        crash::at(Point::CancelAfterCommit);
        let payment = self.finish(payment, Point::CancelAfterVoid).await?;
        match payment.status {
            Status::Cancelled => Ok(payment),
            Status::Processing => Err(Error::Unsettled(id)),
            _ => Err(payment.refusal("cancelled")),
        }
    }

    /// Tells whoever comes with a payment that was replaced which one stands now.
    async fn with_successor(&self, refusal: Error, payment: &Payment) -> Result<Error, Error> {
        let Error::Superseded { payment: id, by: None } = refusal else { return Ok(refusal) };
        let standing = self.payments.standing(&payment.user_id, payment.basket_id).await?;
        Ok(Error::Superseded { payment: id, by: standing.of_basket.map(|standing| standing.id) })
    }

    pub(super) async fn find(&self, id: Uuid) -> Result<Payment, Error> {
        self.payments.get(id).await?.ok_or(Error::NotFound(id))
    }
}

/// Where the provider keeps it. Nothing is charged by that: when no answer comes, the payment stays as it is.
async fn open(provider: &dyn Provider, payment: &Payment) -> Result<Reference, Error> {
    if let Some(reference) = &payment.reference {
        return Ok(reference.clone());
    }
    provider.open(&payment.intent()).await.map_err(|lost| {
        tracing::warn!(payment.id = %payment.id, cause = %lost, "the provider cannot be asked to prepare the charge");
        Error::ProviderAway(payment.id)
    })
}

fn missing_token() -> Error {
    FieldError::new("payment_token", "required", "must be the provider's token of what is charged").into()
}

/// What `process` answers: what is paid, or held, or waits for the buyer or his bank.
fn answer(payment: Payment) -> Result<Payment, Error> {
    match payment.status {
        Status::Completed
        | Status::PartiallyRefunded
        | Status::Refunded
        | Status::Authorised
        | Status::RequiresAction => Ok(payment),
        Status::Processing if payment.step == Step::Await => Ok(payment),
        Status::Processing => Err(Error::Unsettled(payment.id)),
        Status::Pending | Status::Failed | Status::Cancelled => Err(payment.refusal("processed")),
    }
}
