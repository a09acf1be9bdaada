//! Payments over HTTP.

pub(super) mod body;

use salvo::http::StatusCode;
use salvo::http::header::{CONTENT_TYPE, HeaderValue, LOCATION};
use salvo::oapi::ToParameters;
use salvo::prelude::*;
use serde::Deserialize;
use shop_page::{Cursor, Limit};
use shop_rpc::detached;
use shop_web::page::{CursorText, Page, PageQuery, PageSize};
use shop_web::{About, OptionalJson, Path, Problem, Query, StrictJson, etag, idempotency, precondition, schema};
use uuid::Uuid;

use self::body::{NewCapture, NewPayment, NewRefund, Tokens};
use super::personal::{UserData, document};
use super::view::{PaymentView, StatusName};
use super::{Api, access};
use crate::application::{Cancel, List, Made, Process};
use crate::domain::{Filter, Payment, Status, Token, UserId};

/// What the document says of the service.
pub(crate) const ABOUT: About = About {
    title: "Payment service",
    tags: &[
        ("payments", "From a basket to a completed payment, and back"),
        ("personal", "What the shop knows of a person"),
    ],
};

/// Every route of the service.
pub(crate) fn routes(api: &Api) -> Router {
    let making = idempotency::hoop::<StrictJson<NewPayment>>("CreatePayment", api.keys.clone());
    let charging = idempotency::hoop::<OptionalJson<Tokens>>("ProcessPayment", api.keys.clone());
    let capturing = idempotency::hoop::<OptionalJson<NewCapture>>("CapturePayment", api.keys.clone());
    let cancelling = idempotency::hoop::<()>("CancelPayment", api.keys.clone());
    let refunding = idempotency::hoop::<OptionalJson<NewRefund>>("RefundPayment", api.keys.clone());
    let payment = Router::with_path("{id}")
        .get(api.show())
        .push(Router::with_path("process").hoop(charging).post(api.process()))
        .push(Router::with_path("capture").hoop(capturing).post(api.capture()))
        .push(Router::with_path("cancel").hoop(cancelling).post(api.cancel()))
        .push(Router::with_path("refund").hoop(refunding).post(api.refund()));
    let payments =
        Router::with_path("payments").get(api.list()).push(Router::new().hoop(making).post(api.create())).push(payment);
    let users = Router::with_path("users/{user_id}")
        .push(Router::with_path("payments").get(api.list_of_user()))
        .push(Router::with_path("data").get(api.export()).delete(api.erase()));
    let webhooks = Router::with_path("webhooks")
        .push(Router::with_path("stripe").post(api.stripe_webhook()))
        .push(Router::with_path("sandbox").post(api.sandbox_webhook()));
    Router::new().push(payments).push(users).push(webhooks)
}

/// Which payments to list.
#[derive(Deserialize, ToParameters)]
#[serde(deny_unknown_fields)]
#[salvo(parameters(default_parameter_in = Query))]
struct ListQuery {
    /// Only this user's.
    #[salvo(parameter(value_type = Option<schema::UserId>))]
    user_id: Option<UserId>,
    /// Only with this status.
    #[salvo(parameter(value_type = Option<StatusName>))]
    status: Option<Status>,
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
    /// Makes a pending payment from the user's basket and reserves its stock.
    ///
    /// A basket has one payment: asked again for a basket that is as it was, the answer is that payment; for one that changed, another
    /// takes its place. What is charged is what the basket says; `expected_total` and `basket_version` make sure that it is what was seen.
    #[craft(endpoint(
        operation_id = "createPayment",
        tags("payments"),
        responses(
            (status_code = 201, description = "The pending payment", body = PaymentView),
            (status_code = 200, description = "The payment that the basket has already", body = PaymentView),
            (status_code = 403, description = "`forbidden`: somebody else's basket"),
            (status_code = 404, description = "`basket_not_found`"),
            (
                status_code = 409,
                description = "`basket_empty`, `basket_changed`, `basket_paid`, `total_changed`, `currency_mismatch`, `insufficient_stock`, `too_many_units`, `too_many_open_payments`, `payment_unsettled`, `payment_superseded`"
            ),
            (status_code = 422, description = "`card_data_not_accepted`"),
            (status_code = 503, description = "`reservation_unknown`")),
        parameters(("Idempotency-Key" = Option<String>, Header)),
    ))]
    async fn create(
        &self,
        body: StrictJson<NewPayment>,
        req: &mut Request,
        depot: &mut Depot,
        res: &mut Response,
    ) -> Result<(), Problem> {
        precondition::of_list(req)?;
        let order = body.0.own()?;
        let id = idempotency::operation(depot, &*self.clock);
        let commands = self.commands.clone();
        let Made { payment, is_new } = detached(&self.tasks, async move { commands.create(id, order).await }).await??;
        if is_new {
            res.status_code(StatusCode::CREATED);
        }
        res.add_header(LOCATION, format!("/payments/{}", payment.id), true).ok();
        render(payment, res);
        Ok(())
    }

    /// One payment, as it is by now: one that waits for the user or his bank is asked about at the provider.
    #[craft(endpoint(
        operation_id = "getPayment",
        tags("payments"),
        responses(
            (status_code = 200, description = "The payment", body = PaymentView),
            (status_code = 404, description = "`payment_not_found`")),
    ))]
    async fn show(&self, id: Path<Uuid>, res: &mut Response) -> Result<(), Problem> {
        let payment = self.queries.get(id.0, access::reached().as_ref()).await?;
        render(self.commands.glance(payment).await?, res);
        Ok(())
    }

    /// Charges a pending payment. Of concurrent calls exactly one charges.
    ///
    /// A decline that may be retried leaves it `pending`, to be charged with another token. In `requires_action` the user has to go to
    /// `next_action.url` first; when he is back, the same call, with or without a token, or reading the payment tells the outcome.
    #[craft(endpoint(
        operation_id = "processPayment",
        tags("payments"),
        responses(
            (status_code = 200, description = "The payment: completed, authorised, or waiting for the user or his bank", body = PaymentView),
            (status_code = 402, description = "`payment_declined`: the payment is failed, or pending when `may_retry` is true"),
            (status_code = 404, description = "`payment_not_found`"),
            (status_code = 409, description = "`invalid_state`, `insufficient_stock`, `payment_superseded`"),
            (status_code = 422, description = "`card_data_not_accepted`"),
            (status_code = 503, description = "`product_service_unavailable`, `provider_unavailable`, `provider_not_configured`")),
        parameters(("Idempotency-Key" = Option<String>, Header)),
    ))]
    async fn process(
        &self,
        id: Path<Uuid>,
        body: OptionalJson<Tokens>,
        req: &mut Request,
        depot: &mut Depot,
        res: &mut Response,
    ) -> Result<(), Problem> {
        let token = Token::read(body.0.payment_token.as_deref())?;
        let operation = idempotency::operation(depot, &*self.clock);
        let command = Process { id: id.0, operation, token, expected: precondition::of(req)?, of: access::reached() };
        let commands = self.commands.clone();
        render(detached(&self.tasks, async move { commands.process(command).await }).await??, res);
        Ok(())
    }

    /// Takes what is authorised, all of it or less, once; the rest is let go.
    #[craft(endpoint(
        operation_id = "capturePayment",
        tags("payments"),
        responses(
            (status_code = 200, description = "The completed payment", body = PaymentView),
            (status_code = 404, description = "`payment_not_found`"),
            (status_code = 409, description = "`invalid_state`, `payment_unsettled`"),
            (status_code = 422, description = "`capture_exceeds_payment`"),
            (status_code = 503, description = "`provider_not_configured`")),
        parameters(("Idempotency-Key" = Option<String>, Header)),
    ))]
    async fn capture(
        &self,
        id: Path<Uuid>,
        body: OptionalJson<NewCapture>,
        req: &mut Request,
        depot: &mut Depot,
        res: &mut Response,
    ) -> Result<(), Problem> {
        let command = body.0.command(id.0, idempotency::operation(depot, &*self.clock), precondition::of(req)?);
        let commands = self.commands.clone();
        render(detached(&self.tasks, async move { commands.capture(command).await }).await??, res);
        Ok(())
    }

    /// Gives up a payment that is not paid, its reserved stock, and what is authorised.
    #[craft(endpoint(
        operation_id = "cancelPayment",
        tags("payments"),
        responses(
            (status_code = 200, description = "The cancelled payment", body = PaymentView),
            (status_code = 404, description = "`payment_not_found`"),
            (status_code = 409, description = "`invalid_state`, `payment_superseded`, `payment_unsettled`")),
        parameters(("Idempotency-Key" = Option<String>, Header)),
    ))]
    async fn cancel(
        &self,
        id: Path<Uuid>,
        req: &mut Request,
        depot: &mut Depot,
        res: &mut Response,
    ) -> Result<(), Problem> {
        let operation = idempotency::operation(depot, &*self.clock);
        let command = Cancel { id: id.0, operation, expected: precondition::of(req)?, of: access::reached() };
        let commands = self.commands.clone();
        render(detached(&self.tasks, async move { commands.cancel(command).await }).await??, res);
        Ok(())
    }

    /// Pays a completed payment back, in full or in part.
    #[craft(endpoint(
        operation_id = "refundPayment",
        tags("payments"),
        responses(
            (status_code = 200, description = "The payment, with the refund listed", body = PaymentView),
            (status_code = 404, description = "`payment_not_found`"),
            (status_code = 409, description = "`invalid_state`, `refund_refused`, `payment_disputed`"),
            (
                status_code = 422,
                description = "`refund_exceeds_payment`, `restock_needs_full_refund`, `card_data_not_accepted`"
            )),
        parameters(("Idempotency-Key" = Option<String>, Header)),
    ))]
    async fn refund(
        &self,
        id: Path<Uuid>,
        body: OptionalJson<NewRefund>,
        req: &mut Request,
        depot: &mut Depot,
        res: &mut Response,
    ) -> Result<(), Problem> {
        let command = body.0.command(id.0, idempotency::operation(depot, &*self.clock), precondition::of(req)?);
        let commands = self.commands.clone();
        render(detached(&self.tasks, async move { commands.refund(command).await }).await??, res);
        Ok(())
    }

    /// Payments, newest first.
    #[craft(endpoint(
        operation_id = "listPayments",
        tags("payments"),
        responses((status_code = 200, description = "A page of payments", body = Page<PaymentView>)),
    ))]
    async fn list(&self, query: Query<ListQuery>) -> Result<Json<Page<PaymentView>>, Problem> {
        let ListQuery { user_id, status, limit, cursor } = query.0;
        self.page(filter(user_id.as_ref(), status), limit, cursor.as_deref()).await
    }

    /// A user's payments, newest first.
    #[craft(endpoint(
        operation_id = "listUserPayments",
        tags("payments"),
        responses((status_code = 200, description = "A page of payments", body = Page<PaymentView>)),
    ))]
    async fn list_of_user(
        &self,
        user_id: Path<UserId>,
        query: Query<PageQuery>,
    ) -> Result<Json<Page<PaymentView>>, Problem> {
        self.page(filter(Some(&user_id.0), None), query.0.limit, query.0.cursor.as_deref()).await
    }

    /// Everything the shop knows of a user, in one document.
    ///
    /// It comes as it is read. Where it breaks off the connection does, too: what is whole is complete.
    #[craft(endpoint(
        operation_id = "exportUserData",
        tags("personal"),
        responses(
            (status_code = 200, description = "The document", body = UserData),
            (
                status_code = 503,
                description = "`basket_service_unavailable`, `notification_service_unavailable`: who may know of the user cannot be asked"
            )),
    ))]
    async fn export(&self, user_id: Path<UserId>, res: &mut Response) -> Result<(), Problem> {
        let dossier = self.personal.tell(access::person(&user_id.0)?).await?;
        res.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
        res.stream(document(dossier));
        Ok(())
    }

    /// Forgets a user everywhere, and keeps the books.
    ///
    /// Amounts, lines, dates and the provider's ids of his payments stay, his name and notes go. His basket, notifications and
    /// preferences go a moment later. A repeat changes nothing more.
    #[craft(endpoint(
        operation_id = "eraseUserData",
        tags("personal"),
        responses(
            (status_code = 204, description = "The user is forgotten here, and the others are told"),
            (status_code = 409, description = "`payment_open`, `refund_open`")),
    ))]
    async fn erase(&self, user_id: Path<UserId>, req: &mut Request, res: &mut Response) -> Result<(), Problem> {
        let user = access::person(&user_id.0)?;
        precondition::of_list(req)?;
        self.personal.forget(&user).await?;
        res.status_code(StatusCode::NO_CONTENT);
        Ok(())
    }
}

impl Api {
    async fn page(
        &self,
        filter: Filter,
        limit: Limit,
        cursor: Option<&str>,
    ) -> Result<Json<Page<PaymentView>>, Problem> {
        let scope = scope(&filter);
        let after = cursor.map(|cursor| Cursor::decode(&scope, cursor)).transpose()?;
        let listed = self.queries.list(List { filter, after, limit: limit.get() }).await?;
        Ok(Json(Page::of(listed, &scope)))
    }
}

/// The payments to list, as far as the caller reaches them.
pub(super) fn filter(user: Option<&UserId>, status: Option<Status>) -> Filter {
    Filter { user_id: user.map(access::named), of: access::reached(), status }
}

/// The list a cursor belongs to: one user's payments are the same list by either path, and over gRPC.
pub(super) fn scope(filter: &Filter) -> String {
    let user = filter.user_id.as_ref().or(filter.of.as_ref()).map_or("", UserId::as_str);
    let status = filter.status.map_or("", Status::as_str);
    format!("payments user_id={user} status={status}")
}

fn render(payment: Payment, res: &mut Response) {
    etag::set(res, payment.version);
    res.render(Json(PaymentView::from(payment)));
}
