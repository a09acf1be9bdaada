//! Read payments.

use std::sync::Arc;

use shop_page::Slice;
use uuid::Uuid;

use crate::domain::{Error, Filter, Payment, Payments, UserId};

/// Which page of payments to read.
#[derive(Debug)]
pub(crate) struct List {
    pub(crate) filter: Filter,
    /// The last id of the page before.
    pub(crate) after: Option<Uuid>,
    pub(crate) limit: u32,
}

/// Everything that reads payments.
#[derive(Clone)]
pub(crate) struct Queries {
    payments: Arc<dyn Payments>,
}

impl Queries {
    /// Questions to `payments`.
    pub(crate) fn new(payments: Arc<dyn Payments>) -> Self {
        Self { payments }
    }

    /// One payment; of this user's alone, if one is named.
    pub(crate) async fn get(&self, id: Uuid, of: Option<&UserId>) -> Result<Payment, Error> {
        let payment = self.payments.get(id).await?.ok_or(Error::NotFound(id))?;
        payment.expect_of(of)?;
        Ok(payment)
    }

    /// The payments of these ids that there are, in no order.
    pub(crate) async fn payments(&self, ids: &[Uuid]) -> Result<Vec<Payment>, Error> {
        self.payments.all_of(ids).await
    }

    /// A page, newest first. One more than asked for is read, to know whether there is a next page.
    pub(crate) async fn list(&self, query: List) -> Result<Slice<Payment, Uuid>, Error> {
        let payments = self.payments.list(&query.filter, query.after, query.limit + 1).await?;
        Ok(Slice::cut(payments, query.limit as usize, |last| last.id))
    }
}
