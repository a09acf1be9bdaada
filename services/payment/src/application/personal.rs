//! What is known of one person: told as a whole, or forgotten everywhere.

use std::sync::Arc;

use shop_clock::SharedClock;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::domain::{Aged, BasketRecord, Baskets, Error, Filter, Notices, Payment, Payments, UserId};

/// Payments read at once.
const PAGE: u32 = 50;

/// All that the shop knows of persons.
#[derive(Clone)]
pub(crate) struct Personal {
    payments: Arc<dyn Payments>,
    aged: Arc<dyn Aged>,
    baskets: Arc<dyn Baskets>,
    notices: Arc<dyn Notices>,
    clock: SharedClock,
}

/// What is known of one person. Lists may be of any length, so they are read as they are handed on: a first page is here, so that
/// whoever tells it knows that everybody answers.
pub(crate) struct Dossier {
    personal: Personal,
    /// Of whom.
    pub(crate) user: UserId,
    /// When it was asked for.
    pub(crate) asked_at: OffsetDateTime,
    /// What he means to buy.
    pub(crate) basket: Option<BasketRecord>,
    /// What he wants to be told, in JSON.
    pub(crate) preferences: Option<String>,
    payments: Page<Payment, Uuid>,
    notices: Page<String, String>,
}

/// A page that was read, and where the next one begins.
struct Page<T, C> {
    read: Option<Vec<T>>,
    next: Option<C>,
}

impl Personal {
    /// Of these payments, baskets and notices.
    pub(crate) fn new(
        (payments, aged): (Arc<dyn Payments>, Arc<dyn Aged>),
        baskets: Arc<dyn Baskets>,
        notices: Arc<dyn Notices>,
        clock: SharedClock,
    ) -> Self {
        Self { payments, aged, baskets, notices, clock }
    }

    /// Everything that is known of `user`; an error when somebody who may know of him does not answer.
    pub(crate) async fn tell(&self, user: UserId) -> Result<Dossier, Error> {
        let asked_at = self.clock.now();
        let (basket, notices, payments) =
            tokio::try_join!(self.baskets.kept(&user), self.notices.records(&user, ""), self.page(&user, None))?;
        Ok(Dossier {
            personal: self.clone(),
            asked_at,
            basket,
            preferences: notices.preferences,
            notices: Page { read: Some(notices.notifications), next: notices.next },
            payments,
            user,
        })
    }

    /// Takes `user` out of his payments, and has the others told to forget him. What he paid stays, for the books.
    pub(crate) async fn forget(&self, user: &UserId) -> Result<(), Error> {
        let payments = self.aged.forget(user).await?;
        tracing::info!(payments, "a user was forgotten");
        Ok(())
    }

    async fn page(&self, user: &UserId, after: Option<Uuid>) -> Result<Page<Payment, Uuid>, Error> {
        let filter = Filter { user_id: Some(user.clone()), ..Filter::default() };
        let read = self.payments.list(&filter, after, PAGE).await?;
        let next = (read.len() == PAGE as usize).then(|| read.last().map(|last| last.id)).flatten();
        Ok(Page { read: Some(read), next })
    }
}

impl Dossier {
    /// The next of his payments, the newest first; none after the last.
    pub(crate) async fn payments(&mut self) -> Result<Option<Vec<Payment>>, Error> {
        if self.payments.read.is_none()
            && let Some(after) = self.payments.next.take()
        {
            self.payments = self.personal.page(&self.user, Some(after)).await?;
        }
        Ok(self.payments.read.take())
    }

    /// The next of what he was told, in JSON, the newest first; none after the last.
    pub(crate) async fn notifications(&mut self) -> Result<Option<Vec<String>>, Error> {
        if self.notices.read.is_none()
            && let Some(after) = self.notices.next.take()
        {
            let records = self.personal.notices.records(&self.user, &after).await?;
            self.notices = Page { read: Some(records.notifications), next: records.next };
        }
        Ok(self.notices.read.take())
    }
}
