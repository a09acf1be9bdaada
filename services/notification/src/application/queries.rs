//! The questions.

use std::sync::Arc;

use shop_page::Slice;
use uuid::Uuid;

use crate::domain::{Channel, Endpoint, Error, Filter, Notification, Preferences, Result, Store, Waiting};

/// Everything that can be asked.
#[derive(Clone)]
pub(crate) struct Queries {
    store: Arc<dyn Store>,
}

impl Queries {
    /// Questions to `store`.
    pub(crate) fn new(store: Arc<dyn Store>) -> Self {
        Self { store }
    }

    /// One notification; of `owner`'s alone, if there is one: others' are not there.
    pub(crate) async fn notification(&self, id: Uuid, owner: Option<&str>) -> Result<Notification> {
        let found = self.store.get(id).await?;
        if owner.is_none_or(|owner| owner == found.user_id) { Ok(found) } else { Err(Error::NotFound(id)) }
    }

    /// A page of notifications, the newest first.
    pub(crate) async fn notifications(
        &self,
        filter: &Filter,
        after: Option<Uuid>,
        limit: usize,
    ) -> Result<Slice<Notification, Uuid>> {
        self.store.list(filter, after, limit).await
    }

    /// What a user wants.
    pub(crate) async fn preferences(&self, user_id: &str) -> Result<Preferences> {
        self.store.preferences(user_id).await
    }

    /// One endpoint.
    pub(crate) async fn endpoint(&self, id: Uuid) -> Result<Endpoint> {
        self.store.endpoint(id).await
    }

    /// A page of endpoints, the newest first.
    pub(crate) async fn endpoints(&self, after: Option<Uuid>, limit: usize) -> Result<Slice<Endpoint, Uuid>> {
        self.store.list_endpoints(after, limit).await
    }

    /// What waits to be sent by `channel`.
    pub(crate) async fn waiting(&self, channel: Channel) -> Result<Waiting> {
        self.store.waiting(channel).await
    }
}
