//! The catalogue over gRPC: a deadline, a few retries while it is unavailable, and one clear failure after that.

use async_trait::async_trait;
use shop_config::Neighbour;
use shop_fault::{Fault, Kind};
use shop_identity::Credential;
use shop_money::Money;
use shop_proto::product::v1 as proto;
use shop_proto::product::v1::product_service_client::ProductServiceClient;
use shop_rpc::Outgoing;
use shop_tls::TlsSettings;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;

use crate::domain::{Catalog, Error, Product};

/// The product service.
#[derive(Clone)]
pub(crate) struct GrpcCatalog {
    neighbour: Neighbour,
    client: ProductServiceClient<InterceptedService<Channel, Outgoing>>,
}

impl GrpcCatalog {
    /// At this address; connects with the first call, so that services may start in any order.
    pub(crate) fn new(neighbour: Neighbour, tls: &TlsSettings, credential: Credential) -> anyhow::Result<Self> {
        let channel = shop_rpc::channel(&neighbour, tls)?;
        let client = ProductServiceClient::with_interceptor(channel, Outgoing::new(credential));
        Ok(Self { neighbour, client })
    }
}

#[async_trait]
impl Catalog for GrpcCatalog {
    async fn product(&self, id: i64) -> Result<Option<Product>, Error> {
        if id < 1 {
            return Ok(None); // never assigned; the product service would take the question for a mistake
        }
        let call = |request| {
            let mut client = self.client.clone();
            async move { client.get_product(request).await }
        };
        match shop_rpc::call(&self.neighbour, "product", proto::GetProductRequest { id }, call).await {
            Ok(answer) => answer.product.map(read).transpose(),
            Err(fault) if fault.kind() == Kind::NotFound => Ok(None),
            Err(fault) => Err(unavailable(fault)),
        }
    }

    async fn products(&self, ids: &[i64]) -> Result<Vec<Product>, Error> {
        let request = proto::GetProductsRequest { ids: ids.to_vec(), ..Default::default() };
        let call = |request| {
            let mut client = self.client.clone();
            async move { client.get_products(request).await }
        };
        let answer = shop_rpc::call(&self.neighbour, "product", request, call).await.map_err(unavailable)?;
        answer.products.into_iter().map(read).collect()
    }
}

fn read(product: proto::Product) -> Result<Product, Error> {
    let price = product.price.unwrap_or_default();
    Ok(Product {
        id: product.id,
        name: product.name,
        price: Money::try_from(price).map_err(|error| unavailable(Fault::internal(error)))?,
        category: product.category,
        available: product.available_quantity,
    })
}

/// Whatever kept the catalogue from answering, the caller can only try again later.
fn unavailable(cause: Fault) -> Error {
    shop_rpc::away("product", cause).into()
}
