//! Payments over gRPC: the same commands, the same codes.

mod message;

use std::collections::BTreeMap;
use std::pin::Pin;

use futures_util::{Stream, StreamExt as _};

use prost::Message;
use serde_json::json;
use shop_fault::{Fault, FieldError};
use shop_identity::Caller;
use shop_input::{invalid_parameter, parameter};
use shop_money::{Currency, Money};
use shop_page::{Cursor, Limit};
use shop_proto::payment::v1 as proto;
use shop_proto::payment::v1::payment_service_server::PaymentService;
use shop_rpc::idempotency::{Call, Once, key};
use shop_rpc::status;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::http::{filter, scope};
use super::personal::document;
use super::{Api, access, canonical};
use crate::application::{Cancel, CapturePayment, Commands, List, Made, Personal, Process, Queries, RefundPayment};
use crate::domain::{Amount, Expected, Filter, RawOrder, Token, UserId};

type Answer<T> = Result<Response<T>, Status>;

/// The service `shop.payment.v1.PaymentService`.
#[derive(Clone)]
pub(crate) struct PaymentGrpc {
    commands: Commands,
    queries: Queries,
    personal: Personal,
    once: Once,
}

#[tonic::async_trait]
impl PaymentService for PaymentGrpc {
    type ExportUserDataStream = Pin<Box<dyn Stream<Item = Result<proto::ExportUserDataResponse, Status>> + Send>>;

    async fn create_payment(
        &self,
        request: Request<proto::CreatePaymentRequest>,
    ) -> Answer<proto::CreatePaymentResponse> {
        let sent = key(&request)?;
        let mut request = request.into_inner();
        let key = request.idempotency_key.take().or(sent);
        // Sorted, since a map has no order on the wire.
        let pairs: BTreeMap<_, _> = std::mem::take(&mut request.metadata).into_iter().collect();
        let mut bytes = request.encode_to_vec();
        bytes.extend_from_slice(format!("{pairs:?}").as_bytes());
        let order = access::own(order(request, pairs)?).map_err(status)?;
        let asked = canonical::order(order.clone()).map_err(status)?;
        let call = Call { method: "CreatePayment", key, asked, bytes };
        let commands = self.commands.clone();
        self.once
            .run(call, move |id| async move {
                let Made { payment, is_new } = commands.create(id, order).await.map_err(status)?;
                Ok(proto::CreatePaymentResponse { payment: Some(payment.into()), existed: !is_new })
            })
            .await
    }

    async fn get_payment(&self, request: Request<proto::GetPaymentRequest>) -> Answer<proto::GetPaymentResponse> {
        let id = id(&request.get_ref().id)?;
        let payment = self.queries.get(id, access::reached().as_ref()).await.map_err(status)?;
        let payment = self.commands.glance(payment).await.map_err(status)?;
        Ok(Response::new(proto::GetPaymentResponse { payment: Some(payment.into()) }))
    }

    async fn get_payments(&self, request: Request<proto::GetPaymentsRequest>) -> Answer<proto::GetPaymentsResponse> {
        let request = request.into_inner();
        let user_id = request.user_id.as_deref().map(|text| parameter("user_id", text)).transpose().map_err(status)?;
        let status = message::status_filter(request.status)?;
        let (payments, next_cursor) =
            self.page(filter(user_id.as_ref(), status), request.limit, &request.cursor).await?;
        Ok(Response::new(proto::GetPaymentsResponse { payments, next_cursor }))
    }

    async fn get_user_payments(
        &self,
        request: Request<proto::GetUserPaymentsRequest>,
    ) -> Answer<proto::GetUserPaymentsResponse> {
        let request = request.into_inner();
        let filter = filter(Some(&user(&request.user_id)?), None);
        let (payments, next_cursor) = self.page(filter, request.limit, &request.cursor).await?;
        Ok(Response::new(proto::GetUserPaymentsResponse { payments, next_cursor }))
    }

    async fn process_payment(
        &self,
        request: Request<proto::ProcessPaymentRequest>,
    ) -> Answer<proto::ProcessPaymentResponse> {
        let sent = key(&request)?;
        let mut request = request.into_inner();
        let key = request.idempotency_key.take().or(sent);
        let (id, token) = (id(&request.id)?, request.payment_token.as_deref());
        let asked = json!({ "id": id, "charge": canonical::charge(token).map_err(status)? });
        let token = Token::read(token).map_err(status)?;
        let of = access::reached();
        let call = Call { method: "ProcessPayment", key, asked, bytes: request.encode_to_vec() };
        let commands = self.commands.clone();
        self.once
            .run(call, move |operation| async move {
                let command = Process { id, operation, token, expected: Expected::default(), of };
                let payment = commands.process(command).await.map_err(status)?;
                Ok(proto::ProcessPaymentResponse { payment: Some(payment.into()) })
            })
            .await
    }

    async fn cancel_payment(
        &self,
        request: Request<proto::CancelPaymentRequest>,
    ) -> Answer<proto::CancelPaymentResponse> {
        let key = key(&request)?;
        let request = request.into_inner();
        let (id, of) = (id(&request.id)?, access::reached());
        let call = Call { method: "CancelPayment", key, asked: json!({ "id": id }), bytes: request.encode_to_vec() };
        let commands = self.commands.clone();
        self.once
            .run(call, move |operation| async move {
                let command = Cancel { id, operation, expected: Expected::default(), of };
                let payment = commands.cancel(command).await.map_err(status)?;
                Ok(proto::CancelPaymentResponse { payment: Some(payment.into()) })
            })
            .await
    }

    async fn capture_payment(
        &self,
        request: Request<proto::CapturePaymentRequest>,
    ) -> Answer<proto::CapturePaymentResponse> {
        let sent = key(&request)?;
        let mut request = request.into_inner();
        let key = request.idempotency_key.take().or(sent);
        let bytes = request.encode_to_vec();
        let (id, amount) =
            (id(&request.id)?, request.amount.as_ref().map(|money| amount("amount", money)).transpose()?);
        let asked = json!({ "id": id, "capture": canonical::capture(amount.as_ref()) });
        let call = Call { method: "CapturePayment", key, asked, bytes };
        let commands = self.commands.clone();
        self.once
            .run(call, move |operation| async move {
                let command = CapturePayment { id, operation, amount, expected: Expected::default() };
                let payment = commands.capture(command).await.map_err(status)?;
                Ok(proto::CapturePaymentResponse { payment: Some(payment.into()) })
            })
            .await
    }

    async fn refund_payment(
        &self,
        request: Request<proto::RefundPaymentRequest>,
    ) -> Answer<proto::RefundPaymentResponse> {
        let sent = key(&request)?;
        let mut request = request.into_inner();
        let key = request.idempotency_key.take().or(sent);
        let bytes = request.encode_to_vec();
        let (id, amount) =
            (id(&request.id)?, request.amount.as_ref().map(|money| amount("amount", money)).transpose()?);
        let proto::RefundPaymentRequest { reason, restock, .. } = request;
        let refund = canonical::refund(amount.as_ref(), reason.as_deref(), restock).map_err(status)?;
        let call = Call { method: "RefundPayment", key, asked: json!({ "id": id, "refund": refund }), bytes };
        let commands = self.commands.clone();
        self.once
            .run(call, move |operation| async move {
                let expected = Expected::default();
                let command = RefundPayment { id, operation, amount, reason, restock, expected };
                let payment = commands.refund(command).await.map_err(status)?;
                Ok(proto::RefundPaymentResponse { payment: Some(payment.into()) })
            })
            .await
    }

    async fn export_user_data(
        &self,
        request: Request<proto::ExportUserDataRequest>,
    ) -> Answer<Self::ExportUserDataStream> {
        let dossier = self.personal.tell(person(&request.into_inner().user_id)?).await.map_err(status)?;
        let piece =
            |piece: Result<Vec<u8>, Fault>| piece.map(|json| proto::ExportUserDataResponse { json }).map_err(status);
        Ok(Response::new(Box::pin(document(dossier).map(piece))))
    }

    async fn erase_user_data(
        &self,
        request: Request<proto::EraseUserDataRequest>,
    ) -> Answer<proto::EraseUserDataResponse> {
        self.personal.forget(&person(&request.into_inner().user_id)?).await.map_err(status)?;
        Ok(Response::new(proto::EraseUserDataResponse {}))
    }
}

impl PaymentGrpc {
    /// For what the handlers over HTTP work with.
    pub(crate) fn new(api: Api) -> Self {
        let Api { commands, queries, personal, keys, clock, tasks, webhooks: _ } = api;
        Self { commands, queries, personal, once: Once::new(keys, clock, tasks) }
    }

    async fn page(&self, filter: Filter, limit: u32, cursor: &str) -> Result<(Vec<proto::Payment>, String), Status> {
        let limit = match limit {
            0 => Limit::default(),
            n => Limit::new(n).ok_or_else(|| status(invalid_parameter("limit", "must be 0 to 100")))?,
        };
        let scope = scope(&filter);
        let after = Some(cursor).filter(|cursor| !cursor.is_empty()).map(|cursor| Cursor::decode(&scope, cursor));
        let after = after.transpose().map_err(status)?;
        let listed = self.queries.list(List { filter, after, limit: limit.get() }).await.map_err(status)?;
        let next = listed.cursor(&scope).unwrap_or_default();
        Ok((listed.items.into_iter().map(Into::into).collect(), next))
    }
}

fn id(text: &str) -> Result<Uuid, Status> {
    shop_input::read("id", text).map_err(|wrong| status(Fault::invalid(vec![wrong])))
}

fn user(text: &str) -> Result<UserId, Status> {
    let text = Caller::current().named(Some(text)).unwrap_or(text).to_owned();
    shop_input::read("user_id", &text).map_err(|wrong| status(Fault::invalid(vec![wrong])))
}

fn person(text: &str) -> Result<UserId, Status> {
    access::person(&user(text)?).map_err(|refusal| status(Fault::from(refusal)))
}

fn amount(field: &str, money: &shop_proto::common::v1::Money) -> Result<Amount, Status> {
    let currency = match money.currency.as_str() {
        "" => Currency::USD,
        code => {
            let message = "must be an ISO 4217 currency code such as USD";
            let unknown = || Fault::invalid(vec![FieldError::new(format!("{field}.currency"), "unknown", message)]);
            code.parse().map_err(|_| status(unknown()))?
        }
    };
    Ok(Amount::Exact(Money::new(money.minor_units, currency)))
}

fn order(request: proto::CreatePaymentRequest, pairs: BTreeMap<String, String>) -> Result<RawOrder, Status> {
    Ok(RawOrder {
        method: message::method_name(request.method()).to_owned(),
        capture: message::capture_name(request.capture),
        user_id: request.user_id,
        basket_id: request.basket_id,
        provider: request.provider,
        currency: request.currency,
        description: request.description,
        metadata: pairs.into_iter().collect(),
        expected_total: request.expected_total.map(|money| amount("expected_total", &money)).transpose()?,
        basket_version: request.basket_version,
    })
}
