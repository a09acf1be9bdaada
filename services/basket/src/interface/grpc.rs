//! Baskets over gRPC: the same commands, the same codes.

use serde_json::json;
use shop_fault::Fault;
use shop_identity::{Caller, Refusal};
use shop_proto::basket::v1 as proto;
use shop_proto::basket::v1::basket_service_server::BasketService;
use shop_proto::timestamp;
use shop_rpc::idempotency::{Call, key, once};
use shop_rpc::status;
use tonic::{Request, Response, Status};

use super::Api;
use super::fields::Fields;
use crate::application::{AddItem, Merge, Refreshed, SetQuantity};
use crate::domain::{Basket, Difference, Error, Expected, Finding, Line, Merged, UserId};

type Answer<T> = Result<Response<T>, Status>;

/// The service `shop.basket.v1.BasketService`.
#[derive(Clone)]
pub(crate) struct BasketGrpc(Api);

impl BasketGrpc {
    /// For what the handlers over HTTP work with.
    pub(crate) const fn new(api: Api) -> Self {
        Self(api)
    }
}

#[tonic::async_trait]
impl BasketService for BasketGrpc {
    async fn create_guest(&self, _request: Request<proto::CreateGuestRequest>) -> Answer<proto::CreateGuestResponse> {
        let guest = self.0.new_guest().map_err(status)?;
        Ok(Response::new(proto::CreateGuestResponse {
            user_id: guest.user,
            access_token: guest.token,
            token_type: "Bearer".to_owned(),
            expires_in: i64::try_from(guest.lifetime.as_secs()).unwrap_or(i64::MAX),
        }))
    }

    async fn get_basket(&self, request: Request<proto::GetBasketRequest>) -> Answer<proto::GetBasketResponse> {
        let request = request.into_inner();
        let user = user(&request.user_id)?;
        let Refreshed { basket, differences } = if request.refresh {
            self.0.queries.compared(&user).await.map_err(status)?
        } else {
            Refreshed { basket: self.0.queries.basket(&user).await.map_err(status)?, differences: Vec::new() }
        };
        let changes = differences.into_iter().map(Into::into).collect();
        Ok(Response::new(proto::GetBasketResponse { basket: Some((&basket).into()), changes }))
    }

    async fn create_basket(&self, request: Request<proto::CreateBasketRequest>) -> Answer<proto::CreateBasketResponse> {
        let key = key(&request)?;
        let user = named(&request.into_inner().user_id)?;
        if !Caller::current().reaches(user.as_str()) {
            return Err(status(Fault::from(Refusal::Forbidden)));
        }
        let call = Call::new("CreateBasket", key, || Ok(json!({ "user_id": user.as_str() })))?;
        once(&self.0.keys, call, async |_| {
            let (basket, created) = self.0.commands.create(&user).await.map_err(status)?;
            Ok(proto::CreateBasketResponse { basket: Some((&basket).into()), created })
        })
        .await
    }

    async fn delete_basket(&self, request: Request<proto::DeleteBasketRequest>) -> Answer<proto::DeleteBasketResponse> {
        let request = request.into_inner();
        self.0.commands.delete(&user(&request.user_id)?, &request.expected_version.into()).await.map_err(status)?;
        Ok(Response::new(proto::DeleteBasketResponse {}))
    }

    async fn add_item(&self, request: Request<proto::AddItemRequest>) -> Answer<proto::AddItemResponse> {
        let key = key(&request)?;
        let request = request.into_inner();
        let mut fields = Fields::default();
        let user = fields.user(&request.user_id);
        let (product, quantity) = (fields.product(request.product_id), fields.quantity(request.quantity));
        let (Some(user), Some(product), Some(quantity)) = (user, product, quantity) else {
            return Err(status(fields.fault()));
        };
        let user = own(user)?;
        let asked = || Ok(json!({ "user_id": user.as_str(), "product_id": product, "quantity": quantity.get() }));
        let call = Call::new("AddItem", key, asked)?;
        once(&self.0.keys, call, async |operation| {
            let command = AddItem { user, product, quantity, operation, expected: Expected::default() };
            let basket = self.0.commands.add(command).await.map_err(status)?;
            Ok(proto::AddItemResponse { basket: Some((&basket).into()) })
        })
        .await
    }

    async fn update_item(&self, request: Request<proto::UpdateItemRequest>) -> Answer<proto::UpdateItemResponse> {
        let request = request.into_inner();
        let mut fields = Fields::default();
        let user = fields.user(&request.user_id);
        let (product, target) = (fields.product(request.product_id), fields.target(request.quantity));
        let (Some(user), Some(product), Some(target)) = (user, product, target) else {
            return Err(status(fields.fault()));
        };
        let user = own(user)?;
        let command = SetQuantity { user, product, target, expected: request.expected_version.into() };
        let basket = self.0.commands.set_quantity(command).await.map_err(status)?;
        Ok(Response::new(proto::UpdateItemResponse { basket: Some((&basket).into()) }))
    }

    async fn remove_item(&self, request: Request<proto::RemoveItemRequest>) -> Answer<proto::RemoveItemResponse> {
        let request = request.into_inner();
        let user = user(&request.user_id)?;
        let removed = self.0.commands.remove(&user, request.product_id, &request.expected_version.into()).await;
        let basket = removed.map_err(status)?;
        Ok(Response::new(proto::RemoveItemResponse { basket: Some((&basket).into()) }))
    }

    async fn clear_items(&self, request: Request<proto::ClearItemsRequest>) -> Answer<proto::ClearItemsResponse> {
        let request = request.into_inner();
        let user = user(&request.user_id)?;
        let basket = self.0.commands.clear(&user, &request.expected_version.into()).await.map_err(status)?;
        Ok(Response::new(proto::ClearItemsResponse { basket: Some((&basket).into()) }))
    }

    async fn refresh_basket(
        &self,
        request: Request<proto::RefreshBasketRequest>,
    ) -> Answer<proto::RefreshBasketResponse> {
        let key = key(&request)?;
        let request = request.into_inner();
        let (user, expected) = (user(&request.user_id)?, request.expected_version.into());
        let call = Call::new("RefreshBasket", key, || Ok(json!({ "user_id": user.as_str() })))?;
        once(&self.0.keys, call, async |_| {
            let refreshed = self.0.commands.refresh(&user, &expected).await.map_err(status)?;
            let changes = refreshed.differences.into_iter().map(Into::into).collect();
            Ok(proto::RefreshBasketResponse { basket: Some((&refreshed.basket).into()), changes })
        })
        .await
    }

    async fn merge_basket(&self, request: Request<proto::MergeBasketRequest>) -> Answer<proto::MergeBasketResponse> {
        let key = key(&request)?;
        let request = request.into_inner();
        let user = user(&request.user_id)?;
        let (token, expected) = (request.guest_token, request.expected_version.into());
        let asked = || Ok(json!({ "user_id": user.as_str(), "guest_token": token.trim() }));
        let call = Call::new("MergeBasket", key, asked)?;
        once(&self.0.keys, call, async |_| {
            let guest = self.0.guest(&token, &user).await.map_err(status)?;
            let merged = self.0.commands.merge(Merge { user, guest, expected }).await.map_err(status)?;
            let changes = merged.differences.into_iter().map(Into::into).collect();
            Ok(proto::MergeBasketResponse { basket: Some((&merged.basket).into()), changes })
        })
        .await
    }
}

/// The user that a call is about, if what is his is the caller's, too.
fn user(text: &str) -> Result<UserId, Status> {
    named(text).and_then(own)
}

/// The user that a call is about.
fn named(text: &str) -> Result<UserId, Status> {
    let mut fields = Fields::default();
    fields.user(text).ok_or_else(|| status(fields.fault()))
}

/// Of somebody else's basket is heard what is heard of one that is not there.
fn own(user: UserId) -> Result<UserId, Status> {
    if Caller::current().reaches(user.as_str()) { Ok(user) } else { Err(status(Error::NoBasket(user))) }
}

impl From<&Basket> for proto::Basket {
    fn from(basket: &Basket) -> Self {
        Self {
            id: basket.id.to_string(),
            user_id: basket.user.to_string(),
            items: basket.lines.iter().map(Into::into).collect(),
            item_count: basket.item_count(),
            total: Some(basket.total().into()),
            currency: basket.currency().to_string(),
            created_at: Some(timestamp(basket.created_at)),
            updated_at: Some(timestamp(basket.updated_at)),
            expires_at: Some(timestamp(basket.expires_at)),
            version: basket.version,
            cleared_by: basket.cleared_by.map(|id| id.to_string()),
            merged: basket.merged.iter().map(Into::into).collect(),
        }
    }
}

impl From<&Merged> for proto::MergedBasket {
    fn from(merged: &Merged) -> Self {
        Self { id: merged.basket.to_string(), cleared_by: merged.cleared_by.map(|id| id.to_string()) }
    }
}

impl From<&Line> for proto::BasketItem {
    fn from(line: &Line) -> Self {
        Self {
            id: line.id.to_string(),
            product_id: line.product,
            name: line.name.clone(),
            quantity: line.quantity.get(),
            price: Some(line.price.into()),
            subtotal: Some(line.subtotal().into()),
            category: line.category.clone(),
            created_at: Some(timestamp(line.created_at)),
        }
    }
}

impl From<Difference> for proto::BasketChange {
    fn from(difference: Difference) -> Self {
        let (kind, prices) = match difference.finding {
            Finding::Price { old, new } => (proto::BasketChangeKind::Price, Some((old, new))),
            Finding::Name => (proto::BasketChangeKind::Name, None),
            Finding::Availability => (proto::BasketChangeKind::Availability, None),
            Finding::Gone => (proto::BasketChangeKind::Gone, None),
        };
        Self {
            product_id: difference.product,
            kind: kind.into(),
            name: difference.name,
            old_price: prices.map(|(old, _)| old.into()),
            new_price: prices.map(|(_, new)| new.into()),
            quantity: difference.quantity,
            available_quantity: difference.available,
        }
    }
}
