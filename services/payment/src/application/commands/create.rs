//! Make a payment of a basket: one at a time for each basket, of what its buyer has seen.

use shop_identity::is_guest;
use uuid::Uuid;

use super::Commands;
use crate::crash::{self, Point};
use crate::domain::{Basket, Error, Order, Payment, RawOrder, Standing, Status};

/// Looks at a basket whose payments others make and replace meanwhile.
const ATTEMPTS: u32 = 8;

/// The payment of a basket.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) payment: Payment,
    /// False when there was one already.
    pub(crate) is_new: bool,
}

/// What becomes of a request in the face of what stands.
enum Next {
    /// Another payment is asked for; the pending one it takes the place of.
    Open(Option<Uuid>),
    /// This one is what is asked for.
    Same(Box<Payment>),
}

impl Commands {
    /// The payment of the user's basket, with its stock reserved. Asked again for a basket that is as it was, it is the same one, by
    /// whatever tab or request; for a basket that changed, another takes its place.
    pub(crate) async fn create(&self, id: Uuid, order: RawOrder) -> Result<Made, Error> {
        let mut order = order.check()?;
        order.provider.get_or_insert_with(|| self.providers.default_name().to_owned());
        let seen = self.seen(&order).await;
        if let Ok(basket) = &seen
            && let Some(payment) = self.opened_at_once(id, &order, basket).await?
        {
            return self.made(payment, true).await;
        }
        // A repeat is answered by what the first attempt made, whatever has become of the basket since. Nearly nothing is a
        // repeat, so it is looked for only now.
        if let Some(payment) = self.payments.get(id).await? {
            return self.made(payment, true).await;
        }
        let mut seen = Some(seen?);
        for _ in 0..ATTEMPTS {
            let basket = match seen.take() {
                Some(basket) => basket,
                None => self.seen(&order).await?,
            };
            let Standing { of_basket, others } = self.payments.standing(&order.user_id, basket.id).await?;
            let guests = self.of_merged(&order, &basket).await?;
            if let (Some(guests), Some(_)) = (&guests, &of_basket) {
                // One can take the place of one. Gone on or given up: what stands is looked at anew.
                self.give_up(guests.id).await?;
                continue;
            }
            let replaces = match self.next(of_basket.or(guests), &order, &basket).await? {
                Next::Same(payment) => match self.made(*payment, false).await {
                    // Another one took its place meanwhile.
                    Err(Error::Superseded { .. }) => continue,
                    made => return made,
                },
                Next::Open(replaces) => replaces,
            };
            if others >= self.limits.open_payments {
                return Err(Error::TooManyOpen { limit: self.limits.open_payments });
            }
            let now = self.clock.now();
            let payment = Payment::open(id, order.clone(), basket, replaces, &self.limits, now)?;
            let kept = match replaces {
                Some(old) => self.payments.replace(old, &|old| old.supersede(now), &payment).await,
                None => self.payments.add(&payment).await,
            };
            match kept {
                Ok(true) => return self.made(payment, true).await,
                // Another attempt of the same operation was faster, another request, or the payment moved on.
                Ok(false) => {}
                Err(error) if error.is_late() => {}
                Err(error) => return Err(error),
            }
            if let Some(payment) = self.payments.get(id).await? {
                return self.made(payment, true).await;
            }
        }
        Err(Error::Contended)
    }

    /// A new payment for a basket that has none, as nearly all have; without a look whether it does, for the store refuses a second
    /// one. None, and nothing was done, when something stands in the way: what it is takes a look.
    async fn opened_at_once(&self, id: Uuid, order: &Order, basket: &Basket) -> Result<Option<Payment>, Error> {
        // The payment that cleared it claims it still, and what was merged into it may have one, too.
        if basket.cleared_by.is_some() || !basket.merged.is_empty() || !basket.obstacles(None).is_empty() {
            return Ok(None);
        }
        let now = self.clock.now();
        let Ok(payment) = Payment::open(id, order.clone(), basket.clone(), None, &self.limits, now) else {
            return Ok(None);
        };
        let is_kept = self.payments.add_if_room(&payment, self.limits.open_payments).await?;
        Ok(is_kept.then_some(payment))
    }

    /// The basket, as its buyer has seen it.
    async fn seen(&self, order: &Order) -> Result<Basket, Error> {
        let basket = self.baskets.compared(&order.user_id).await?;
        let asked = |basket: &Basket| order.basket_id.is_none_or(|asked| asked == basket.id);
        let basket = basket.filter(asked).ok_or_else(|| Error::BasketNotFound(order.user_id.as_str().to_owned()))?;
        order.check_seen(&basket)?;
        Ok(basket)
    }

    /// The pending payment of a guest's basket that was merged into this one. What is being paid there, or was and is still among
    /// the lines, is not paid here.
    async fn of_merged(&self, order: &Order, basket: &Basket) -> Result<Option<Payment>, Error> {
        for merged in &basket.merged {
            let standing = self.payments.standing(&order.user_id, merged.basket).await?;
            let Some(payment) = standing.of_basket else { continue };
            match payment.status {
                Status::Pending => return Ok(Some(payment)),
                Status::Processing | Status::RequiresAction => return Err(Error::Unsettled(payment.id)),
                Status::Authorised | Status::Completed | Status::PartiallyRefunded
                    if merged.cleared_by != Some(payment.id) =>
                {
                    return Err(Error::BasketPaid(payment.id));
                }
                _ => {}
            }
        }
        Ok(None)
    }

    /// Cancels a pending payment for another of the same lines; nothing, when it has moved on.
    async fn give_up(&self, id: Uuid) -> Result<(), Error> {
        let now = self.clock.now();
        match self.payments.change(id, &|payment| payment.supersede(now)).await {
            Err(error) if !error.is_late() => Err(error),
            _ => Ok(()),
        }
    }

    /// What to do about the payment that claims the basket, or the guest's one that was merged into it, if there is one.
    async fn next(&self, standing: Option<Payment>, order: &Order, basket: &Basket) -> Result<Next, Error> {
        let Some(payment) = standing else { return open(None, basket) };
        let expired = payment.expires_at <= self.clock.now();
        match payment.status {
            Status::Pending if !expired => {
                let obstacles = basket.obstacles(Some(&payment));
                if !obstacles.is_empty() {
                    return Err(Error::BasketChanged(obstacles));
                }
                let is_same = payment.basket_id == basket.id && payment.is_for(order, basket);
                Ok(if is_same { Next::Same(Box::new(payment)) } else { Next::Open(Some(payment.id)) })
            }
            Status::Processing | Status::RequiresAction if payment.is_for(order, basket) => {
                Ok(Next::Same(Box::new(payment)))
            }
            Status::Processing | Status::RequiresAction => Err(Error::Unsettled(payment.id)),
            Status::Authorised | Status::Completed | Status::PartiallyRefunded
                if basket.cleared_by != Some(payment.id) =>
            {
                Err(Error::BasketPaid(payment.id))
            }
            // Over, or its lines have left the basket: it claims nothing any more.
            _ => {
                let now = self.clock.now();
                let let_go = |payment: &mut Payment| {
                    let events = payment.expire(now);
                    payment.let_go();
                    Ok(events)
                };
                self.payments.change_from(payment.id, Some(&payment), &let_go).await?;
                open(None, basket)
            }
        }
    }

    /// Answers with a payment that is there, and whose stock is reserved as far as it is still to be paid. When that stays open, the
    /// payment stays as it is: the same request again goes on, and expiry gives back what nobody goes on with.
    async fn made(&self, payment: Payment, is_new: bool) -> Result<Made, Error> {
        crash::at(Point::CreateAfterInsert);
        if is_new && payment.status == Status::Pending && is_guest(payment.user_id.as_str()) {
            self.still_the_guests(&payment).await?;
        }
        let payment = if payment.status == Status::Pending { self.held(payment).await? } else { payment };
        crash::at(Point::CreateAfterReserve);
        match payment.status {
            Status::Failed | Status::Cancelled => {
                let refusal = payment.refusal("paid");
                Err(self.with_successor(refusal, &payment).await?)
            }
            _ => Ok(Made { payment, is_new }),
        }
    }

    /// A guest may have signed in while he paid, and his lines be another basket's, for which another payment is made: of two that
    /// do not see each other, each puts its mark first and looks for the other's after. His basket is looked at again, now that
    /// its payment is there for whoever pays for the lines elsewhere.
    async fn still_the_guests(&self, payment: &Payment) -> Result<(), Error> {
        let gone = match self.baskets.compared(&payment.user_id).await {
            Ok(Some(basket)) if basket.id == payment.basket_id => return Ok(()),
            Ok(_) => Error::BasketNotFound(payment.user_id.as_str().to_owned()),
            Err(Error::Other(cause)) if cause.kind().is_server() => return Err(cause.into()),
            Err(on_its_way) => on_its_way,
        };
        self.give_up(payment.id).await?;
        Err(gone)
    }

    /// The payment with its stock reserved, or as it is when another request has moved it on meanwhile, and its stock with it.
    async fn held(&self, payment: Payment) -> Result<Payment, Error> {
        match self.hold(&payment).await {
            Ok(()) => Ok(payment),
            Err(error) if error.is_late() => self.find(payment.id).await,
            Err(Error::Other(cause)) if cause.kind().is_server() => {
                tracing::warn!(payment.id = %payment.id, cause = ?cause, "it is not known whether the stock is reserved");
                Err(Error::ReservationUnknown(payment.id))
            }
            Err(refusal) => Err(refusal),
        }
    }
}

fn open(replaces: Option<Uuid>, basket: &Basket) -> Result<Next, Error> {
    let obstacles = basket.obstacles(None);
    if obstacles.is_empty() { Ok(Next::Open(replaces)) } else { Err(Error::BasketChanged(obstacles)) }
}
