//! Read payments.

use std::sync::Arc;

use uuid::Uuid;

use crate::domain::{Error, Filter, Payment, Payments};

/// Which page of payments to read.
#[derive(Debug)]
pub(crate) struct List {
    pub(crate) filter: Filter,
    /// The last id of the page before.
    pub(crate) after: Option<Uuid>,
    pub(crate) limit: u32,
}

/// A page of payments.
#[derive(Debug)]
pub(crate) struct Listed {
    pub(crate) payments: Vec<Payment>,
    /// Where the next page goes on; `None` on the last one.
    pub(crate) next: Option<Uuid>,
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

    /// One payment.
    pub(crate) async fn get(&self, id: Uuid) -> Result<Payment, Error> {
        self.payments.get(id).await?.ok_or(Error::NotFound(id))
    }

    /// A page, newest first. One more than asked for is read, to know whether there is a next page.
    pub(crate) async fn list(&self, query: List) -> Result<Listed, Error> {
        let mut payments = self.payments.list(&query.filter, query.after, query.limit + 1).await?;
        let wanted = usize::try_from(query.limit).unwrap_or(usize::MAX);
        let more = payments.len() > wanted;
        payments.truncate(wanted);
        let next = payments.last().filter(|_| more).map(|payment| payment.id);
        Ok(Listed { payments, next })
    }
}
