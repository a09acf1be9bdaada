//! What operations are asked with: whatever lets a caller who is let in change nothing that the next one needs.

use std::fmt;

use bytes::{Buf, BufMut, Bytes};
use prost::Message as _;
use serde_json::{Value, json};
use shop_proto::{
    basket::v1 as basket, notification::v1 as notification, payment::v1 as payment, product::v1 as product,
};
use tonic::Status;
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

use crate::shop::Things;

/// An operation over HTTP.
#[derive(Debug, Clone)]
pub(crate) struct HttpOperation {
    pub(crate) service: &'static str,
    pub(crate) method: String,
    pub(crate) path: String,
}

impl fmt::Display for HttpOperation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.path)
    }
}

impl HttpOperation {
    /// The path for these things.
    pub(crate) fn path(&self, things: &Things) -> String {
        let id = match self.path.split('/').nth(1) {
            Some("products") => things.product.to_string(),
            Some("payments") => things.payment.clone(),
            Some("webhooks") => things.endpoint.clone(),
            _ => things.notification.clone(),
        };
        let path = self.path.replace("{user_id}", &things.user).replace("{product_id}", &things.product.to_string());
        path.replace("{id}", &id)
    }

    /// The body, where there is one.
    pub(crate) fn body(&self, things: &Things) -> Option<Value> {
        let name = self.to_string();
        Some(match name.as_str() {
            "POST /baskets" => json!({ "user_id": things.user }),
            "POST /baskets/{user_id}/items" => json!({ "product_id": things.product, "quantity": 1 }),
            "PUT /baskets/{user_id}/items/{product_id}" => json!({ "quantity": 1 }),
            "POST /baskets/{user_id}/merge" => json!({ "guest_token": "none" }),
            "POST /payments" => json!({ "user_id": things.user, "method": "credit_card" }),
            "POST /products"
            | "PUT /products/{id}"
            | "POST /products/{id}/stock-adjustments"
            | "POST /payments/{id}/process"
            | "POST /payments/{id}/capture"
            | "POST /payments/{id}/refund"
            | "POST /guests"
            | "PUT /users/{user_id}/notification-preferences"
            | "POST /webhooks/endpoints"
            | "PUT /webhooks/endpoints/{id}" => json!({}),
            _ => return None,
        })
    }

    /// Whether the gateway leads to it.
    pub(crate) fn is_routed(&self) -> bool {
        let first = self.path.split('/').nth(1).unwrap_or_default();
        ["products", "baskets", "guests", "payments", "notifications"].contains(&first)
            || ["/payments", "/data"].iter().any(|end| self.path.ends_with(end))
    }

    /// Whether it changes what is there already: it is asked with a version that nothing has.
    pub(crate) fn expects(&self) -> bool {
        self.method != "GET" && self.path.contains('{')
    }
}

/// A method over gRPC.
#[derive(Debug, Clone)]
pub(crate) struct GrpcOperation {
    pub(crate) service: &'static str,
    /// Service and method, such as `shop.basket.v1.BasketService/GetBasket`.
    pub(crate) path: String,
}

impl fmt::Display for GrpcOperation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path)
    }
}

impl GrpcOperation {
    /// Whether it is between services alone.
    pub(crate) fn is_internal(&self) -> bool {
        ["StockService", "SettlementService", "PersonalService"].iter().any(|service| self.path.contains(service))
    }

    /// The message for these things.
    pub(crate) fn message(&self, things: &Things) -> Vec<u8> {
        let user_id = things.user.clone();
        let (id, product_id, expected_version) = (things.payment.clone(), things.product, Some(999_999));
        let method = self.path.rsplit('/').next().unwrap_or_default();
        match method {
            "CreateProduct" => product::CreateProductRequest::default().encode_to_vec(),
            "GetProduct" => product::GetProductRequest { id: product_id }.encode_to_vec(),
            "GetProducts" => product::GetProductsRequest::default().encode_to_vec(),
            "UpdateProduct" => product::UpdateProductRequest { id: product_id, ..Default::default() }.encode_to_vec(),
            "DeleteProduct" => product::DeleteProductRequest { id: product_id, expected_version }.encode_to_vec(),
            "AdjustStock" => {
                product::AdjustStockRequest { id: product_id, expected_version, ..Default::default() }.encode_to_vec()
            }
            "ListStockMovements" => {
                product::ListStockMovementsRequest { id: product_id, ..Default::default() }.encode_to_vec()
            }
            "ReserveStock" => product::ReserveStockRequest::default().encode_to_vec(),
            "ListReservations" => product::ListReservationsRequest { limit: 501, ..Default::default() }.encode_to_vec(),
            "SettleReservation" => product::SettleReservationRequest::default().encode_to_vec(),
            "CheckStock" => product::CheckStockRequest::default().encode_to_vec(),
            "GetOutcomes" => payment::GetOutcomesRequest::default().encode_to_vec(),
            "ReleaseStock" => product::ReleaseStockRequest::default().encode_to_vec(),
            "GetBasket" => basket::GetBasketRequest { user_id, ..Default::default() }.encode_to_vec(),
            "CreateBasket" => basket::CreateBasketRequest { user_id }.encode_to_vec(),
            "DeleteBasket" => basket::DeleteBasketRequest { user_id, expected_version }.encode_to_vec(),
            "AddItem" => basket::AddItemRequest { user_id, product_id, quantity: 1 }.encode_to_vec(),
            "UpdateItem" => {
                basket::UpdateItemRequest { user_id, product_id, quantity: 1, expected_version }.encode_to_vec()
            }
            "RemoveItem" => basket::RemoveItemRequest { user_id, product_id, expected_version }.encode_to_vec(),
            "RefreshBasket" => basket::RefreshBasketRequest { user_id, expected_version }.encode_to_vec(),
            "ClearItems" => basket::ClearItemsRequest { user_id, expected_version }.encode_to_vec(),
            "CreateGuest" => basket::CreateGuestRequest::default().encode_to_vec(),
            "MergeBasket" => {
                basket::MergeBasketRequest { user_id, guest_token: "none".to_owned(), ..Default::default() }
                    .encode_to_vec()
            }
            "CreatePayment" => payment::CreatePaymentRequest {
                user_id,
                method: payment::PaymentMethod::CreditCard.into(),
                ..Default::default()
            }
            .encode_to_vec(),
            "GetUserRecords" => notification::GetUserRecordsRequest { user_id, ..Default::default() }.encode_to_vec(),
            "ExportUserData" => payment::ExportUserDataRequest { user_id }.encode_to_vec(),
            "EraseUserData" => payment::EraseUserDataRequest { user_id }.encode_to_vec(),
            "GetPayment" => payment::GetPaymentRequest { id }.encode_to_vec(),
            "GetPayments" => payment::GetPaymentsRequest::default().encode_to_vec(),
            "GetUserPayments" => payment::GetUserPaymentsRequest { user_id, ..Default::default() }.encode_to_vec(),
            // It is completed.
            "ProcessPayment" => payment::ProcessPaymentRequest { id, ..Default::default() }.encode_to_vec(),
            "CapturePayment" => payment::CapturePaymentRequest { id, ..Default::default() }.encode_to_vec(),
            "CancelPayment" => payment::CancelPaymentRequest { id }.encode_to_vec(),
            // More than there is.
            "RefundPayment" => payment::RefundPaymentRequest {
                id,
                amount: Some(shop_proto::common::v1::Money { minor_units: 99_999_999, ..Default::default() }),
                ..Default::default()
            }
            .encode_to_vec(),
            other => panic!("say here what {other} is asked with, so that who may call it can be tried"),
        }
    }
}

/// Messages as they are on the wire.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.put(item);
        Ok(())
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::default()
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, input: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(input.copy_to_bytes(input.remaining())))
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::default()
    }
}
