//! What the domain needs from outside: a place for payments, and the neighbours. Who moves the money is in `provider.rs`.

use async_trait::async_trait;
use shop_events::Event;
use shop_fault::FieldError;
use shop_money::{Currency, Money};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Error, Item, Miscount, Payment, Reservation, Shortage, Status, UserId};

/// A change of one payment; pure, for the store may run it twice. Answers the events it causes.
pub(crate) type Change<'a> = &'a (dyn Fn(&mut Payment) -> Result<Vec<Event>, Error> + Send + Sync);

/// Which payments to list; newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Filter {
    pub(crate) user_id: Option<UserId>,
    /// Only this user's, whatever else is asked for: who asks reaches no others.
    pub(crate) of: Option<UserId>,
    pub(crate) status: Option<Status>,
}

/// Something left half way that only the provider can settle, in the hands of whoever claimed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Left {
    pub(crate) payment: Uuid,
    /// The refund that was requested; the charge when there is none.
    pub(crate) refund: Option<Uuid>,
    /// Whether that refund is paid, and the provider is only asked whether it arrived.
    pub(crate) is_paid: bool,
    /// How often it was claimed, this time included.
    pub(crate) attempts: i64,
}

/// What to claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Claim {
    /// What last moved after this moment may be in the hands of a request.
    pub(crate) left_behind: OffsetDateTime,
    /// What was put off beyond this moment is not due.
    pub(crate) now: OffsetDateTime,
    /// How long nobody else may claim it.
    pub(crate) until: OffsetDateTime,
    /// How many at most.
    pub(crate) limit: u32,
}

/// The payments there are.
#[async_trait]
pub(crate) trait Payments: Send + Sync {
    /// Keeps a new payment; false when its id is taken, or its basket claimed by another.
    async fn add(&self, payment: &Payment) -> Result<bool, Error>;

    /// The same, and false, too, when `most` payments of its user are open.
    async fn add_if_room(&self, payment: &Payment, most: u64) -> Result<bool, Error>;

    /// Applies `change` to payment `old` and keeps `new`, in one transaction; false, and nothing is done, when the id of the new
    /// one is taken, or its basket still claimed.
    async fn replace(&self, old: Uuid, change: Change<'_>, new: &Payment) -> Result<bool, Error>;

    /// What stands in the way of a new payment.
    async fn standing(&self, user: &UserId, basket: Uuid) -> Result<Standing, Error>;

    /// The payment with that id.
    async fn get(&self, id: Uuid) -> Result<Option<Payment>, Error>;

    /// The payments of these ids that there are, in no order.
    async fn all_of(&self, ids: &[Uuid]) -> Result<Vec<Payment>, Error>;

    /// Up to `limit` payments made since `since`, in the order of their ids, of those after `after` and up to `last`.
    async fn between(
        &self,
        after: Option<Uuid>,
        last: Option<Uuid>,
        since: OffsetDateTime,
        limit: u32,
    ) -> Result<Vec<Payment>, Error>;

    /// Applies `change` to the payment, alone: the new state and the events are kept in one transaction, or nothing
    /// is. Answers the new state; a change that changes nothing and causes nothing costs no write.
    async fn change(&self, id: Uuid, change: Change<'_>) -> Result<Payment, Error> {
        self.change_from(id, None, change).await
    }

    /// The same for a payment that was read before: unless somebody changed it meanwhile, it is not read again.
    async fn change_from(&self, id: Uuid, known: Option<&Payment>, change: Change<'_>) -> Result<Payment, Error>;

    /// Notes of these payments, of one at least, that their stock is reserved. Their versions stay.
    async fn note_reserved(&self, ids: &[Uuid]) -> Result<(), Error>;

    /// Up to `limit` payments, newest id first, those after `after` (an id) only.
    async fn list(&self, filter: &Filter, after: Option<Uuid>, limit: u32) -> Result<Vec<Payment>, Error>;

    /// Up to `limit` pending payments whose time was over at `now`, those due longest first; after one of them, those that
    /// follow it.
    async fn expired(
        &self,
        now: OffsetDateTime,
        after: Option<(OffsetDateTime, Uuid)>,
        limit: u32,
    ) -> Result<Vec<(OffsetDateTime, Uuid)>, Error>;

    /// Up to `limit` payments in `processing`, whoever has them in hand.
    async fn processing(&self, limit: u32) -> Result<Vec<Uuid>, Error>;

    /// Claims payments in `processing` and requested refunds that were left behind and are due, and paid refunds to look at once
    /// more: those tried least first, of these those due longest. Of many that claim, each gets others.
    async fn claim(&self, claim: &Claim) -> Result<Vec<Left>, Error>;

    /// Gives a claim back: nobody claims it again before `until`.
    async fn put_off(&self, left: &Left, until: OffsetDateTime) -> Result<(), Error>;

    /// Gives the claim of a paid refund back, which was looked at; none when it is not looked at any more.
    async fn looked(&self, left: &Left, next: Option<OffsetDateTime>) -> Result<(), Error>;
}

/// Payments that are to forget whose they were, or to be forgotten.
#[async_trait]
pub(crate) trait Aged: Send + Sync {
    /// Deletes up to `limit` payments made before `before` that failed or were cancelled; how many.
    async fn delete_unpaid(&self, before: OffsetDateTime, limit: u32) -> Result<u64, Error>;

    /// Takes the buyer out of up to `limit` payments with this status that were made before `before`, those after `after` (an id)
    /// only, the oldest first. Answers the last one's id; none when there are no more.
    async fn forget_buyers(
        &self,
        status: Status,
        before: OffsetDateTime,
        after: Uuid,
        limit: u32,
    ) -> Result<Option<Uuid>, Error>;

    /// Takes `user` out of all of his payments and says so to the others, in one transaction; how many payments. `PaymentOpen`
    /// or `RefundOpen`, and nothing is done, while one of them is not over.
    async fn forget(&self, user: &UserId) -> Result<u64, Error>;
}

/// What waits for somebody outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wait {
    /// The payments' status, or `refund`.
    pub(crate) what: String,
    pub(crate) count: i64,
    /// Since when the oldest does.
    pub(crate) since: Option<OffsetDateTime>,
    /// How many are let go of by the moment that was asked about.
    pub(crate) lapsing: i64,
}

/// Payments and refunds, by what they wait for.
#[async_trait]
pub(crate) trait Waits: Send + Sync {
    /// What is in `processing`, `requires_action` and `authorised`, and refunds that are not over.
    async fn waiting(&self, by: OffsetDateTime) -> Result<Vec<Wait>, Error>;
}

/// What stands in the way of a new payment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    /// The payment that claims the basket.
    pub(crate) of_basket: Option<Payment>,
    /// How many payments of the user's other baskets are open.
    pub(crate) others: u64,
}

/// A line of a basket that is not what it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BasketChange {
    pub(crate) product_id: i64,
    pub(crate) name: String,
    pub(crate) kind: ChangeKind,
}

/// What is different about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ChangeKind {
    Price { old: Money, new: Money },
    Availability { quantity: u32, available: i64 },
    Gone,
}

impl ChangeKind {
    /// The name outside.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Price { .. } => "price",
            Self::Availability { .. } => "availability",
            Self::Gone => "gone",
        }
    }
}

/// A user's basket as he sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Basket {
    pub(crate) id: Uuid,
    pub(crate) currency: Currency,
    pub(crate) items: Vec<Item>,
    /// What the catalogue says otherwise.
    pub(crate) changes: Vec<BasketChange>,
    /// Grows with every change.
    pub(crate) version: i64,
    /// The payment whose lines were last taken out.
    pub(crate) cleared_by: Option<Uuid>,
    /// Guests' baskets whose lines came into it.
    pub(crate) merged: Vec<Merged>,
}

/// A guest's basket whose lines came into another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Merged {
    pub(crate) basket: Uuid,
    /// The payment whose lines were last taken out of it before that.
    pub(crate) cleared_by: Option<Uuid>,
}

impl Basket {
    /// What all of it costs.
    pub(crate) fn total(&self) -> Result<Money, Error> {
        self.items
            .iter()
            .try_fold(Money::zero(self.currency), |sum, item| sum.checked_add(item.subtotal))
            .map_err(|_| FieldError::new("amount", "out_of_range", "the basket's total is out of range").into())
    }

    /// What keeps it from being paid: all changes but a shortage that only the buyer's own payment makes.
    pub(crate) fn obstacles(&self, own: Option<&Payment>) -> Vec<BasketChange> {
        let is_own = |change: &BasketChange| {
            let ChangeKind::Availability { quantity, available } = change.kind else { return false };
            own.is_some_and(|own| available + own.held(change.product_id) >= i64::from(quantity))
        };
        self.changes.iter().filter(|change| !is_own(change)).cloned().collect()
    }
}

/// The baskets of the neighbour.
#[async_trait]
pub(crate) trait Baskets: Send + Sync {
    /// The user's basket, compared with the catalogue; `None` when there is none. Nothing is changed by asking.
    async fn compared(&self, user: &UserId) -> Result<Option<Basket>, Error>;

    /// All that is kept of the user's basket, as it is.
    async fn kept(&self, user: &UserId) -> Result<Option<BasketRecord>, Error>;
}

/// All that is kept of a basket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BasketRecord {
    pub(crate) id: Uuid,
    pub(crate) currency: Currency,
    pub(crate) total: Money,
    pub(crate) items: Vec<Item>,
    pub(crate) created_at: OffsetDateTime,
    pub(crate) updated_at: OffsetDateTime,
    pub(crate) expires_at: OffsetDateTime,
    /// The payment whose lines were last taken out.
    pub(crate) cleared_by: Option<Uuid>,
}

/// What the neighbour keeps of what users are told.
#[async_trait]
pub(crate) trait Notices: Send + Sync {
    /// A page of it, after the one that ended with `after`.
    async fn records(&self, user: &UserId, after: &str) -> Result<NoticeRecords, Error>;
}

/// A page of what is kept of what a user is told, in JSON as the neighbour writes it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct NoticeRecords {
    /// What he wants to be told; none where nobody tells users anything.
    pub(crate) preferences: Option<String>,
    /// What he was told, the newest first.
    pub(crate) notifications: Vec<String>,
    /// Asks for the next page; none after the last.
    pub(crate) next: Option<String>,
}

/// One line to reserve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) product_id: i64,
    pub(crate) quantity: u32,
}

/// What became of a reservation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reserved {
    /// All lines are held.
    Held,
    /// None is, for want of these.
    Short(Vec<Shortage>),
}

/// The stock of the neighbour.
#[async_trait]
pub(crate) trait Stock: Send + Sync {
    /// Holds all lines for `reservation`, or none; what `replaces` held is free for them, and it is closed. A repeat changes
    /// nothing, and a reservation that was sold or released is never held again. An error leaves open whether it stands.
    async fn reserve(&self, reservation: Uuid, lines: &[Line], replaces: Option<Uuid>) -> Result<Reserved, Error>;

    /// Gives back what `reservation` holds, if anything.
    async fn release(&self, reservation: Uuid) -> Result<(), Error>;
}

/// The neighbour's books of its stock, to compare with payments.
#[async_trait]
pub(crate) trait Shelf: Send + Sync {
    /// A page of the reservations made since `since`, and of older ones that still hold something, in the order of their ids;
    /// and whether there may be more.
    async fn reservations(&self, after: Option<Uuid>, since: OffsetDateTime)
    -> Result<(Vec<Reservation>, bool), Error>;

    /// These reservations, as far as there are any.
    async fn reservations_of(&self, ids: &[Uuid]) -> Result<Vec<Reservation>, Error>;

    /// Brings a reservation to what its payment made of it; without one, to nothing. Answers the units that are sold and were
    /// not there.
    async fn settle(&self, id: Uuid, payment: Option<&Payment>) -> Result<Vec<Line>, Error>;

    /// Numbers of products that are not what the shelf's own bookings say, mended if that is asked for.
    async fn miscounts(&self, mend: bool) -> Result<Vec<Miscount>, Error>;
}
