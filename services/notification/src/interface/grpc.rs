//! What is kept of a person, over gRPC, for whoever puts together all that the shop knows of him.

use shop_fault::Fault;
use shop_proto::notification::v1 as proto;
use shop_proto::notification::v1::personal_service_server::PersonalService;
use shop_rpc::status;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::Api;
use super::view::{PreferencesView, record};
use crate::application::Queries;
use crate::domain::{Filter, UserId};

/// Notifications on a page: each has its event with up to a hundred lines, and a message has at most 4 MiB.
const PAGE: usize = 20;

/// The service `shop.notification.v1.PersonalService`.
#[derive(Clone)]
pub(crate) struct PersonalGrpc(Queries);

impl PersonalGrpc {
    /// For what the handlers over HTTP work with.
    pub(crate) fn new(api: &Api) -> Self {
        Self(api.queries.clone())
    }
}

#[tonic::async_trait]
impl PersonalService for PersonalGrpc {
    async fn get_user_records(
        &self,
        request: Request<proto::GetUserRecordsRequest>,
    ) -> Result<Response<proto::GetUserRecordsResponse>, Status> {
        let proto::GetUserRecordsRequest { user_id, after } = request.into_inner();
        let user: UserId = shop_input::read("user_id", &user_id).map_err(wrong)?;
        let after: Option<Uuid> = match after.as_str() {
            "" => None,
            id => Some(shop_input::read("after", id).map_err(wrong)?),
        };
        let preferences = self.0.preferences(user.as_str()).await.map_err(status)?;
        let filter = Filter { user_id: Some(user.as_str().to_owned()), ..Filter::default() };
        let page = self.0.notifications(&filter, after, PAGE).await.map_err(status)?;
        let text = |value| serde_json::to_string(&value).map_err(|error| status(Fault::internal(error)));
        let notifications = page.items.into_iter().map(|one| record(one).map_err(Fault::internal).map_err(status));
        Ok(Response::new(proto::GetUserRecordsResponse {
            preferences: text(PreferencesView::from(preferences))?,
            notifications: notifications.collect::<Result<_, _>>()?,
            next: page.next.map(|id| id.to_string()).unwrap_or_default(),
        }))
    }
}

fn wrong(field: shop_fault::FieldError) -> Status {
    status(Fault::invalid(vec![field]))
}
