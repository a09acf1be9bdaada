//! A payment and its moves; each move is a pure function that answers the events it causes.

use std::time::Duration;

use shop_events::Event;
use shop_fault::FieldError;
use shop_input::names;
use shop_input::words::one_of;
use shop_money::Money;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{
    Action, Basket, Capture, Dispute, Error, Expected, Intent, Metadata, NO_PROVIDER, Note, Order, Reference, Refund,
    RefundStatus, SANDBOX, Step, UserId, events,
};

/// Whose payments are of whom nobody knows any more: of a guest that there never is, and people's names do not begin so.
pub(crate) const FORGOTTEN: &str = "guest-forgotten";

/// How much one buyer may hold of the shelf, and for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Limits {
    /// How long he has to pay; then the reserved units go back on the shelf.
    pub(crate) window: Duration,
    /// Payments of his that may be open at once.
    pub(crate) open_payments: u64,
    /// Units in one payment.
    pub(crate) units: u64,
}

names! {
    /// Where a payment stands.
    pub(crate) enum Status {
        Pending = "pending",
        Processing = "processing",
        /// The buyer has to do something at the provider's page.
        RequiresAction = "requires_action",
        /// The money is held on his account, and not taken.
        Authorised = "authorised",
        Completed = "completed",
        PartiallyRefunded = "partially_refunded",
        Refunded = "refunded",
        Failed = "failed",
        Cancelled = "cancelled",
    }
}

names! {
    /// What the buyer pays with.
    pub(crate) enum Method {
        CreditCard = "credit_card",
        DebitCard = "debit_card",
        Paypal = "paypal",
        Stripe = "stripe",
        BankTransfer = "bank_transfer",
        Crypto = "crypto",
    }
}

impl Method {
    /// The one that a client names.
    pub(crate) fn parse(text: &str) -> Result<Self, FieldError> {
        let unknown = || FieldError::new("method", "unknown", one_of(Self::ALL.map(Self::as_str)));
        Self::named(text.trim()).ok_or_else(unknown)
    }
}

/// One line of what is bought, at the price of the moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Item {
    pub(crate) id: Uuid,
    pub(crate) product_id: i64,
    pub(crate) name: String,
    pub(crate) quantity: u32,
    pub(crate) price: Money,
    pub(crate) subtotal: Money,
    pub(crate) category: String,
    pub(crate) created_at: OffsetDateTime,
}

/// Why a payment failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// Stable, `snake_case`.
    pub(crate) code: String,
    /// For people.
    pub(crate) message: String,
}

impl Failure {
    pub(crate) const EXPIRED: &'static str = "payment_expired";
    pub(crate) const SHORT: &'static str = "insufficient_stock";
    /// Of versions before, which failed a payment whose reservation was not answered for.
    pub(crate) const UNRESERVED: &'static str = "reservation_unknown";
    /// Its basket changed, and the buyer asked for another payment of it.
    pub(crate) const SUPERSEDED: &'static str = "superseded";
    /// What was authorised was not captured in time.
    pub(crate) const LAPSED: &'static str = "authorisation_lapsed";
    /// The provider was asked to refuse the charge before it saw it.
    pub(crate) const VOIDED: &'static str = "charge_voided";

    pub(crate) fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into() }
    }
}

/// What a payment makes of the stock that is reserved for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It may still go either way.
    Open,
    /// The units are sold.
    Sold,
    /// They were sold, and all of them came back.
    Returned,
    /// They are free.
    Released,
}

/// A payment with everything that happened to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Payment {
    /// Also the id of its stock reservation and the key of its charge.
    pub(crate) id: Uuid,
    pub(crate) user_id: UserId,
    pub(crate) basket_id: Uuid,
    pub(crate) amount: Money,
    pub(crate) status: Status,
    pub(crate) method: Method,
    pub(crate) provider: String,
    /// Where the provider keeps it; none before the first charge, and on the way in versions before.
    pub(crate) reference: Option<Reference>,
    pub(crate) description: Option<Note>,
    pub(crate) metadata: Metadata,
    pub(crate) items: Vec<Item>,
    /// Why it failed; while it is `pending`, why the last attempt did.
    pub(crate) failure: Option<Failure>,
    /// When the money is taken.
    pub(crate) capture: Capture,
    /// How often it was charged, or was about to be.
    pub(crate) attempts: u32,
    /// What the provider is asked while it is `processing`.
    pub(crate) step: Step,
    /// What the buyer has to do, in `requires_action`.
    pub(crate) action: Option<Action>,
    /// When the provider lets go of what it holds, or would have.
    pub(crate) authorised_until: Option<OffsetDateTime>,
    /// What was taken, once something was; unknown of versions before, which took all of it.
    pub(crate) captured: Option<Money>,
    /// Whether the buyer has asked his bank for the money.
    pub(crate) dispute: Option<Dispute>,
    /// Oldest first; those not yet settled with the provider count against what is left, but are not shown.
    pub(crate) refunds: Vec<Refund>,
    /// Whether its units went back on the shelf with a refund that came back later: they stay there.
    pub(crate) restocked: bool,
    /// The request that last moved it out of `pending`: a repeat of that very request gets its answer again.
    pub(crate) operation: Option<Uuid>,
    pub(crate) created_at: OffsetDateTime,
    pub(crate) updated_at: OffsetDateTime,
    pub(crate) processed_at: Option<OffsetDateTime>,
    pub(crate) expires_at: OffsetDateTime,
    /// Grows with every change.
    pub(crate) version: i64,
    /// Whether no other payment of its basket may be made: from the start until it ends unpaid, is paid back in full, or is known
    /// to have left the basket.
    pub(crate) claims_basket: bool,
    /// The payment of the same basket whose place it took; its reserved units are this one's.
    pub(crate) replaces: Option<Uuid>,
    /// Whether product has said that its units are reserved. If not, they may be all the same.
    pub(crate) reserved: bool,
}

impl Payment {
    /// A pending payment for everything in `basket`, within the limits, in the place of `replaces`.
    pub(crate) fn open(
        id: Uuid,
        order: Order,
        basket: Basket,
        replaces: Option<Uuid>,
        limits: &Limits,
        now: OffsetDateTime,
    ) -> Result<Self, Error> {
        if let Some(asked) = order.currency.filter(|asked| *asked != basket.currency) {
            return Err(Error::CurrencyMismatch { basket: basket.currency, asked });
        }
        if basket.items.is_empty() {
            return Err(Error::BasketEmpty(order.user_id.as_str().to_owned()));
        }
        let units = basket.items.iter().map(|item| u64::from(item.quantity)).sum();
        if units > limits.units {
            return Err(Error::TooManyUnits { units, limit: limits.units });
        }
        let amount = basket.total()?;
        Ok(Self {
            id,
            user_id: order.user_id,
            basket_id: basket.id,
            amount,
            status: Status::Pending,
            method: order.method,
            provider: order.provider.unwrap_or_else(|| NO_PROVIDER.to_owned()),
            reference: None,
            description: order.description,
            metadata: order.metadata,
            items: basket.items,
            failure: None,
            capture: order.capture,
            attempts: 0,
            step: Step::Charge,
            action: None,
            authorised_until: None,
            captured: None,
            dispute: None,
            refunds: Vec::new(),
            restocked: false,
            operation: None,
            created_at: now,
            updated_at: now,
            processed_at: None,
            expires_at: now + limits.window,
            version: 1,
            claims_basket: true,
            replaces,
            reserved: false,
        })
    }

    /// Whether it is what `order` asks of `basket`.
    pub(crate) fn is_for(&self, order: &Order, basket: &Basket) -> bool {
        let line = |item: &Item| (item.product_id, item.quantity, item.price);
        self.items.iter().map(line).eq(basket.items.iter().map(line))
            && (self.method, self.capture) == (order.method, order.capture)
            && order.provider.as_ref().is_none_or(|provider| *provider == self.provider)
            && (&self.description, &self.metadata) == (&order.description, &order.metadata)
    }

    /// How many units of a product it holds while it can still be paid.
    pub(crate) fn held(&self, product: i64) -> i64 {
        let item = self.items.iter().find(|item| item.product_id == product);
        item.map_or(0, |item| item.quantity.into())
    }

    /// What becomes of its reservation, as its events tell it.
    pub(crate) fn outcome(&self) -> Outcome {
        match self.status {
            Status::Pending | Status::Processing | Status::RequiresAction | Status::Authorised => Outcome::Open,
            Status::Failed | Status::Cancelled => Outcome::Released,
            _ if self.is_restocked() => Outcome::Returned,
            Status::Completed | Status::PartiallyRefunded | Status::Refunded => Outcome::Sold,
        }
    }

    /// What went back so far.
    pub(crate) fn refunded(&self) -> Money {
        self.sum_of(|refund| refund.status == RefundStatus::Paid)
    }

    /// What may still be refunded of what was taken; refunds on their way count as gone.
    pub(crate) fn left(&self) -> Money {
        let held = self.sum_of(|refund| refund.status != RefundStatus::Failed);
        Money::new(self.taken().minor - held.minor, self.amount.currency)
    }

    fn sum_of(&self, counted: impl Fn(&Refund) -> bool) -> Money {
        // Cannot overflow: every refund was checked against what was left of the amount.
        let minor = self.refunds.iter().filter(|refund| counted(refund)).map(|refund| refund.amount.minor).sum();
        Money::new(minor, self.amount.currency)
    }

    /// `pending` only; anything else names the status it is in.
    pub(crate) fn expect_pending(&self, action: &'static str) -> Result<(), Error> {
        match self.status {
            Status::Pending => Ok(()),
            _ => Err(self.invalid_state(action)),
        }
    }

    /// This user's only, if one is named; to others it is not there.
    pub(crate) fn expect_of(&self, user: Option<&UserId>) -> Result<(), Error> {
        if user.is_none_or(|user| *user == self.user_id) { Ok(()) } else { Err(Error::NotFound(self.id)) }
    }

    /// Whether it is in the state that is expected.
    pub(crate) fn expect(&self, expected: &Expected) -> Result<(), Error> {
        if expected.admits(self.version) { Ok(()) } else { Err(Error::VersionMismatch(self.id)) }
    }

    /// That what was asked for cannot be done to a payment that has moved on to this state.
    pub(crate) fn invalid_state(&self, action: &'static str) -> Error {
        match &self.failure {
            Some(failure) if failure.code == Failure::SUPERSEDED => Error::Superseded { payment: self.id, by: None },
            _ => Error::InvalidState { payment: self.id, status: self.status, action },
        }
    }

    /// What the provider has to know of it.
    pub(crate) fn intent(&self) -> Intent {
        Intent { payment: self.id, amount: self.amount, method: self.method, capture: self.capture }
    }

    /// Where the provider keeps it. Without one it is a payment of a version before, whose only provider went by its id.
    pub(crate) fn reference(&self) -> Reference {
        let own = || Reference::new(format!("{SANDBOX}_{}", self.id.simple()));
        self.reference.clone().unwrap_or_else(own)
    }

    /// Notes which provider keeps it, and where; the first place stands.
    pub(crate) fn note(&mut self, provider: &str, reference: &Reference) {
        if self.reference.is_none() {
            provider.clone_into(&mut self.provider);
            self.reference = Some(reference.clone());
        }
    }

    /// `pending → failed`: the stock could not be reserved.
    pub(crate) fn abandon(&mut self, failure: &Failure, now: OffsetDateTime) -> Result<Vec<Event>, Error> {
        self.expect_pending("paid")?;
        Ok(self.fail(failure, now))
    }

    /// `pending → cancelled`, for another payment takes its place.
    pub(crate) fn supersede(&mut self, now: OffsetDateTime) -> Result<Vec<Event>, Error> {
        self.expect_pending("replaced")?;
        self.status = Status::Cancelled;
        self.claims_basket = false;
        self.failure = Some(Failure::new(Failure::SUPERSEDED, "another payment of the same basket took its place"));
        self.updated_at = now;
        Ok(events::released(self, "payment superseded"))
    }

    /// Its basket may be paid again: what it paid for has left, or it will never be paid.
    pub(crate) const fn let_go(&mut self) {
        self.claims_basket = false;
    }

    /// Why a payment that did not go through did not, as the answer to the request that asked for it.
    pub(crate) fn refusal(&self, action: &'static str) -> Error {
        match &self.failure {
            Some(failure) if failure.code == Failure::SHORT => {
                Error::InsufficientStock { payment: self.id, short: Vec::new() }
            }
            // It never came to a charge, so it was not declined.
            Some(failure)
                if [Failure::EXPIRED, Failure::LAPSED, Failure::UNRESERVED, Failure::SUPERSEDED]
                    .contains(&failure.code.as_str()) =>
            {
                self.invalid_state(action)
            }
            Some(failure) => {
                let may_retry = self.status == Status::Pending;
                Error::Declined { payment: self.id, failure: failure.clone(), may_retry }
            }
            None => self.invalid_state(action),
        }
    }
}
