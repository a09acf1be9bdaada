//! Notifications, preferences and endpoints over HTTP.

use salvo::craft::craft;
use salvo::http::StatusCode;
use salvo::oapi::ToParameters;
use salvo::writing::Json;
use salvo::{Depot, Request, Response, Router, Writer};
use serde::Deserialize;
use shop_identity::Caller;
use shop_page::{Cursor, Limit};
use shop_web::idempotency;
use shop_web::page::{CursorText, Page, PageQuery, PageSize};
use shop_web::{About, Path, Problem, Query, StrictJson, etag, precondition, schema};
use uuid::Uuid;

use super::Api;
use super::view::{
    ChannelName, EndpointBody, EndpointView, NotificationView, PreferencesBody, PreferencesView, StatusName,
};
use crate::domain::{Channel, Endpoint, Filter, Status, UserId};

/// What the document says of the service.
pub(crate) const ABOUT: About = About {
    title: "Notification service",
    tags: &[
        ("notifications", "What users and receivers were told"),
        ("preferences", "What a user wants to be told"),
        ("webhooks", "Where signed webhooks go"),
    ],
};

/// Every route of the service.
pub(crate) fn routes(api: &Api) -> Router {
    let adding = idempotency::hoop::<StrictJson<EndpointBody>>("CreateWebhookEndpoint", api.keys.clone());
    let rotating = idempotency::hoop::<()>("RotateWebhookEndpointSecret", api.keys.clone());
    let notifications = Router::with_path("notifications")
        .get(api.list())
        .push(Router::with_path("{id}").get(api.show()).push(Router::with_path("retry").post(api.retry())));
    let preferences =
        Router::with_path("users/{user_id}/notification-preferences").get(api.preferences()).put(api.prefer());
    let endpoint = Router::with_path("{id}")
        .get(api.endpoint())
        .put(api.change_endpoint())
        .delete(api.remove_endpoint())
        .push(Router::with_path("rotate-secret").hoop(rotating).post(api.rotate_secret()));
    let endpoints = Router::with_path("webhooks/endpoints")
        .get(api.endpoints())
        .push(Router::new().hoop(adding).post(api.add_endpoint()))
        .push(endpoint);
    Router::new().push(notifications).push(preferences).push(endpoints)
}

/// What to list.
#[derive(Debug, Deserialize, ToParameters)]
#[serde(deny_unknown_fields)]
#[salvo(parameters(default_parameter_in = Query))]
struct ListQuery {
    /// Only this user's.
    #[salvo(parameter(value_type = Option<schema::UserId>))]
    user_id: Option<UserId>,
    /// Only with this status.
    #[salvo(parameter(value_type = Option<StatusName>))]
    status: Option<Status>,
    /// Only by this channel.
    #[salvo(parameter(value_type = Option<ChannelName>))]
    channel: Option<Channel>,
    /// Size of the page.
    #[serde(default)]
    #[salvo(parameter(value_type = PageSize))]
    limit: Limit,
    /// `next_cursor` of the page before.
    #[salvo(parameter(value_type = Option<CursorText>))]
    cursor: Option<String>,
}

#[craft]
impl Api {
    /// Lists notifications, the newest first.
    #[craft(endpoint(
        operation_id = "listNotifications",
        tags("notifications"),
        responses(
            (status_code = 200, description = "A page of notifications", body = Page<NotificationView>)),
    ))]
    async fn list(&self, query: Query<ListQuery>) -> Result<Json<Page<NotificationView>>, Problem> {
        let ListQuery { user_id, status, channel, limit, cursor } = query.0;
        let caller = Caller::current();
        let asked = user_id.as_ref().map(UserId::as_str);
        let user_id = asked.map(|user| caller.named(Some(user)).unwrap_or(user).to_owned());
        let filter = Filter { owner: caller.confined_to().map(str::to_owned), user_id, status, channel };
        let scope = format!("notifications {filter:?}");
        let after = cursor.map(|cursor| Cursor::decode(&scope, &cursor)).transpose()?;
        let listed = self.queries.notifications(&filter, after, limit.get() as usize).await?;
        Ok(Json(Page::of(listed, &scope)))
    }

    /// Reads a notification.
    #[craft(endpoint(
        operation_id = "getNotification",
        tags("notifications"),
        responses(
            (status_code = 200, description = "The notification", body = NotificationView),
            (status_code = 404, description = "`notification_not_found`")),
    ))]
    async fn show(&self, id: Path<Uuid>, res: &mut Response) -> Result<Json<NotificationView>, Problem> {
        let notification = self.queries.notification(id.0, Caller::current().confined_to()).await?;
        etag::set(res, notification.version);
        Ok(Json(notification.into()))
    }

    /// Makes a notification due at once: one that was given up, or one that waits for its next attempt.
    #[craft(endpoint(
        operation_id = "retryNotification",
        tags("notifications"),
        responses(
            (status_code = 200, description = "The notification, due now", body = NotificationView),
            (status_code = 404, description = "`notification_not_found`"),
            (status_code = 409, description = "`invalid_state`")),
    ))]
    async fn retry(
        &self,
        id: Path<Uuid>,
        req: &mut Request,
        res: &mut Response,
    ) -> Result<Json<NotificationView>, Problem> {
        let notification = self.commands.retry(id.0, &precondition::of(req)?).await?;
        etag::set(res, notification.version);
        Ok(Json(notification.into()))
    }

    /// What a user wants to be told.
    ///
    /// Who has said nothing is told everything, at a user id that is an e-mail address.
    #[craft(endpoint(
        operation_id = "getNotificationPreferences",
        tags("preferences"),
        responses(
            (status_code = 200, description = "The preferences", body = PreferencesView)),
    ))]
    async fn preferences(&self, user_id: Path<UserId>, res: &mut Response) -> Result<Json<PreferencesView>, Problem> {
        let preferences = self.queries.preferences(user_id.0.as_str()).await?;
        etag::set(res, preferences.version);
        Ok(Json(preferences.into()))
    }

    /// Replaces what a user wants to be told; with `If-Match` only if nobody changed it since.
    #[craft(endpoint(
        operation_id = "replaceNotificationPreferences",
        tags("preferences"),
        responses(
            (status_code = 200, description = "The preferences as they are now", body = PreferencesView)),
    ))]
    async fn prefer(
        &self,
        user_id: Path<UserId>,
        body: StrictJson<PreferencesBody>,
        req: &mut Request,
        res: &mut Response,
    ) -> Result<Json<PreferencesView>, Problem> {
        let expected = precondition::of(req)?;
        let preferences = self.commands.prefer(user_id.0.as_str(), &expected, &body.0.into()).await?;
        etag::set(res, preferences.version);
        Ok(Json(preferences.into()))
    }

    /// Lists the endpoints that webhooks go to, the newest first.
    #[craft(endpoint(
        operation_id = "listWebhookEndpoints",
        tags("webhooks"),
        responses(
            (status_code = 200, description = "A page of endpoints", body = Page<EndpointView>)),
    ))]
    async fn endpoints(&self, query: Query<PageQuery>) -> Result<Json<Page<EndpointView>>, Problem> {
        let scope = "endpoints";
        let after = query.0.cursor.map(|cursor| Cursor::decode(scope, &cursor)).transpose()?;
        let listed = self.queries.endpoints(after, query.0.limit.get() as usize).await?;
        Ok(Json(Page::of(listed, scope)))
    }

    /// Adds an endpoint.
    ///
    /// The answer holds its secret, which is not shown again.
    #[craft(endpoint(
        operation_id = "createWebhookEndpoint",
        tags("webhooks"),
        responses(
            (status_code = 201, description = "The endpoint, with its secret", body = EndpointView),
            (status_code = 409, description = "`too_many_endpoints`")),
        parameters(("Idempotency-Key" = Option<String>, Header)),
    ))]
    async fn add_endpoint(
        &self,
        body: StrictJson<EndpointBody>,
        req: &mut Request,
        depot: &mut Depot,
        res: &mut Response,
    ) -> Result<(), Problem> {
        precondition::of_list(req)?;
        let id = idempotency::operation(depot, &*self.clock);
        let endpoint = self.commands.add_endpoint(id, &body.0.into()).await?;
        idempotency::made_again(depot);
        res.status_code(StatusCode::CREATED);
        if let Ok(location) = format!("/webhooks/endpoints/{}", endpoint.id).parse() {
            res.headers_mut().insert(http::header::LOCATION, location);
        }
        etag::set(res, endpoint.version);
        res.render(Json(EndpointView::with_secret(endpoint)));
        Ok(())
    }

    /// Reads an endpoint.
    #[craft(endpoint(
        operation_id = "getWebhookEndpoint",
        tags("webhooks"),
        responses(
            (status_code = 200, description = "The endpoint", body = EndpointView),
            (status_code = 404, description = "`endpoint_not_found`")),
    ))]
    async fn endpoint(&self, id: Path<Uuid>, res: &mut Response) -> Result<Json<EndpointView>, Problem> {
        Ok(shown(self.queries.endpoint(id.0).await?, res))
    }

    /// Replaces an endpoint's settings, not its secret; with `If-Match` only if nobody changed it since.
    #[craft(endpoint(
        operation_id = "replaceWebhookEndpoint",
        tags("webhooks"),
        responses(
            (status_code = 200, description = "The endpoint as it is now", body = EndpointView),
            (status_code = 404, description = "`endpoint_not_found`")),
    ))]
    async fn change_endpoint(
        &self,
        id: Path<Uuid>,
        body: StrictJson<EndpointBody>,
        req: &mut Request,
        res: &mut Response,
    ) -> Result<Json<EndpointView>, Problem> {
        let expected = precondition::of(req)?;
        Ok(shown(self.commands.change_endpoint(id.0, &expected, &body.0.into()).await?, res))
    }

    /// Gives an endpoint a new secret, which is in the answer.
    ///
    /// The one before still signs as well for a day, or what the settings say.
    #[craft(endpoint(
        operation_id = "rotateWebhookEndpointSecret",
        tags("webhooks"),
        responses(
            (status_code = 200, description = "The endpoint, with its new secret", body = EndpointView),
            (status_code = 404, description = "`endpoint_not_found`"),
            (status_code = 409, description = "`rotated_since`: a repeat, and another rotation came in between")),
        parameters(("Idempotency-Key" = Option<String>, Header)),
    ))]
    async fn rotate_secret(
        &self,
        id: Path<Uuid>,
        req: &mut Request,
        depot: &mut Depot,
        res: &mut Response,
    ) -> Result<Json<EndpointView>, Problem> {
        let operation = idempotency::operation(depot, &*self.clock);
        let endpoint = self.commands.rotate_secret(id.0, operation, &precondition::of(req)?).await?;
        idempotency::made_again(depot);
        etag::set(res, endpoint.version);
        Ok(Json(EndpointView::with_secret(endpoint)))
    }

    /// Removes an endpoint. What waits to be sent there is given up.
    #[craft(endpoint(
        operation_id = "deleteWebhookEndpoint",
        tags("webhooks"),
        responses(
            (status_code = 204, description = "The endpoint is gone"),
            (status_code = 404, description = "`endpoint_not_found`")),
    ))]
    async fn remove_endpoint(&self, id: Path<Uuid>, req: &mut Request, res: &mut Response) -> Result<(), Problem> {
        self.commands.remove_endpoint(id.0, &precondition::of(req)?).await?;
        res.status_code(StatusCode::NO_CONTENT);
        Ok(())
    }
}

fn shown(endpoint: Endpoint, res: &mut Response) -> Json<EndpointView> {
    etag::set(res, endpoint.version);
    Json(endpoint.into())
}
