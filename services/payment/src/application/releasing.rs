//! Payments that give their stock back at once.
//!
//! The event that releases it is the guarantee, and waits for the bus; a buyer whose card was declined tries again in a minute.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use shop_fault::Fault;
use time::OffsetDateTime;
use tokio::time::timeout;
use uuid::Uuid;

use crate::domain::{Change, Claim, Error, Filter, Left, Payment, Payments, Standing, Status, Stock, UserId};

/// How long the answer to a request waits for it.
const PATIENCE: Duration = Duration::from_millis(500);

/// Payments whose stock is released as soon as they have ended unpaid.
pub(super) struct Releasing {
    payments: Arc<dyn Payments>,
    stock: Arc<dyn Stock>,
}

impl Releasing {
    /// These payments, and where their stock is.
    pub(super) fn new(payments: Arc<dyn Payments>, stock: Arc<dyn Stock>) -> Self {
        Self { payments, stock }
    }

    async fn release(&self, id: Uuid) {
        let left = match timeout(PATIENCE, self.stock.release(id)).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => Fault::from(error).to_string(),
            Err(_) => "no answer yet".to_owned(),
        };
        tracing::info!(payment.id = %id, cause = left, "the stock is released by the event");
    }
}

#[async_trait]
impl Payments for Releasing {
    async fn add(&self, payment: &Payment) -> Result<bool, Error> {
        self.payments.add(payment).await
    }

    async fn add_if_room(&self, payment: &Payment, most: u64) -> Result<bool, Error> {
        self.payments.add_if_room(payment, most).await
    }

    async fn replace(&self, old: Uuid, change: Change<'_>, new: &Payment) -> Result<bool, Error> {
        self.payments.replace(old, change, new).await
    }

    async fn standing(&self, user: &UserId, basket: Uuid) -> Result<Standing, Error> {
        self.payments.standing(user, basket).await
    }

    async fn get(&self, id: Uuid) -> Result<Option<Payment>, Error> {
        self.payments.get(id).await
    }

    async fn change_from(&self, id: Uuid, known: Option<&Payment>, change: Change<'_>) -> Result<Payment, Error> {
        // The store may run the change again: the last run is the one that counts.
        let before = Mutex::new(None);
        let noting = |payment: &mut Payment| {
            *before.lock() = Some(payment.status);
            change(payment)
        };
        let after = self.payments.change_from(id, known, &noting).await?;
        let open = [Status::Pending, Status::Processing, Status::RequiresAction, Status::Authorised];
        let was_open = before.lock().is_some_and(|status| open.contains(&status));
        if was_open && matches!(after.status, Status::Failed | Status::Cancelled) {
            self.release(id).await;
        }
        Ok(after)
    }

    async fn note_reserved(&self, ids: &[Uuid]) -> Result<(), Error> {
        self.payments.note_reserved(ids).await
    }

    async fn list(&self, filter: &Filter, after: Option<Uuid>, limit: u32) -> Result<Vec<Payment>, Error> {
        self.payments.list(filter, after, limit).await
    }

    async fn all_of(&self, ids: &[Uuid]) -> Result<Vec<Payment>, Error> {
        self.payments.all_of(ids).await
    }

    async fn between(
        &self,
        after: Option<Uuid>,
        last: Option<Uuid>,
        since: OffsetDateTime,
        limit: u32,
    ) -> Result<Vec<Payment>, Error> {
        self.payments.between(after, last, since, limit).await
    }

    async fn expired(
        &self,
        now: OffsetDateTime,
        after: Option<(OffsetDateTime, Uuid)>,
        limit: u32,
    ) -> Result<Vec<(OffsetDateTime, Uuid)>, Error> {
        self.payments.expired(now, after, limit).await
    }

    async fn processing(&self, limit: u32) -> Result<Vec<Uuid>, Error> {
        self.payments.processing(limit).await
    }

    async fn claim(&self, claim: &Claim) -> Result<Vec<Left>, Error> {
        self.payments.claim(claim).await
    }

    async fn put_off(&self, left: &Left, until: OffsetDateTime) -> Result<(), Error> {
        self.payments.put_off(left, until).await
    }

    async fn looked(&self, left: &Left, next: Option<OffsetDateTime>) -> Result<(), Error> {
        self.payments.looked(left, next).await
    }
}
