//! Baskets over gRPC.

use async_trait::async_trait;
use shop_config::Neighbour;
use shop_fault::{Fault, Kind};
use shop_identity::Credential;
use shop_proto::basket::v1 as proto;
use shop_proto::basket::v1::basket_service_client::BasketServiceClient;
use shop_rpc::Outgoing;
use shop_tls::TlsSettings;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;

use super::neighbour::{away, currency, id, money, time};
use crate::domain::{Basket, BasketChange, BasketRecord, Baskets, ChangeKind, Error, Item, Merged, UserId};

/// The basket service.
pub(crate) struct GrpcBaskets {
    neighbour: Neighbour,
    client: BasketServiceClient<InterceptedService<Channel, Outgoing>>,
}

impl GrpcBaskets {
    /// At this address; connects with the first call, so that services may start in any order.
    pub(crate) fn new(neighbour: Neighbour, tls: &TlsSettings, credential: Credential) -> anyhow::Result<Self> {
        let client =
            BasketServiceClient::with_interceptor(shop_rpc::channel(&neighbour, tls)?, Outgoing::new(credential));
        Ok(Self { neighbour, client })
    }
}

#[async_trait]
impl Baskets for GrpcBaskets {
    async fn compared(&self, user: &UserId) -> Result<Option<Basket>, Error> {
        let Some(answer) = self.get(user, true).await? else { return Ok(None) };
        Ok(answer.basket.map(|basket| read(basket, answer.changes)).transpose()?)
    }

    async fn kept(&self, user: &UserId) -> Result<Option<BasketRecord>, Error> {
        let Some(answer) = self.get(user, false).await? else { return Ok(None) };
        Ok(answer.basket.map(record).transpose()?)
    }
}

impl GrpcBaskets {
    /// The user's basket, if there is one, compared with the catalogue if that is asked for.
    async fn get(&self, user: &UserId, refresh: bool) -> Result<Option<proto::GetBasketResponse>, Fault> {
        let request = proto::GetBasketRequest { user_id: user.as_str().to_owned(), refresh };
        let call = |request| {
            let mut client = self.client.clone();
            async move { client.get_basket(request).await }
        };
        match shop_rpc::call(&self.neighbour, "basket", request, call).await {
            Ok(answer) => Ok(Some(answer)),
            Err(fault) if fault.kind() == Kind::NotFound => Ok(None),
            Err(fault) => Err(away("basket", fault)),
        }
    }
}

fn record(basket: proto::Basket) -> Result<BasketRecord, Fault> {
    Ok(BasketRecord {
        id: id(&basket.id)?,
        currency: currency(&basket.currency)?,
        total: money(basket.total)?,
        items: basket.items.into_iter().map(item).collect::<Result<_, _>>()?,
        created_at: time(basket.created_at),
        updated_at: time(basket.updated_at),
        expires_at: time(basket.expires_at),
        cleared_by: basket.cleared_by.as_deref().map(id).transpose()?,
    })
}

fn read(basket: proto::Basket, changes: Vec<proto::BasketChange>) -> Result<Basket, Fault> {
    let changes = changes.into_iter().map(change).collect::<Result<Vec<_>, _>>()?;
    Ok(Basket {
        id: id(&basket.id)?,
        currency: currency(&basket.currency)?,
        items: basket.items.into_iter().map(item).collect::<Result<_, _>>()?,
        changes: changes.into_iter().flatten().collect(),
        version: basket.version,
        cleared_by: basket.cleared_by.as_deref().map(id).transpose()?,
        merged: basket.merged.iter().map(merged).collect::<Result<_, _>>()?,
    })
}

fn merged(merged: &proto::MergedBasket) -> Result<Merged, Fault> {
    Ok(Merged { basket: id(&merged.id)?, cleared_by: merged.cleared_by.as_deref().map(id).transpose()? })
}

fn item(item: proto::BasketItem) -> Result<Item, Fault> {
    Ok(Item {
        id: id(&item.id)?,
        product_id: item.product_id,
        name: item.name,
        quantity: item.quantity,
        price: money(item.price)?,
        subtotal: money(item.subtotal)?,
        category: item.category,
        created_at: time(item.created_at),
    })
}

/// What stands in the way of paying; a new name does not.
fn change(change: proto::BasketChange) -> Result<Option<BasketChange>, Fault> {
    let kind = match change.kind() {
        proto::BasketChangeKind::Price => {
            ChangeKind::Price { old: money(change.old_price.clone())?, new: money(change.new_price.clone())? }
        }
        proto::BasketChangeKind::Availability => {
            ChangeKind::Availability { quantity: change.quantity, available: change.available_quantity }
        }
        proto::BasketChangeKind::Gone => ChangeKind::Gone,
        proto::BasketChangeKind::Name | proto::BasketChangeKind::Unspecified => return Ok(None),
    };
    Ok(Some(BasketChange { product_id: change.product_id, name: change.name, kind }))
}
