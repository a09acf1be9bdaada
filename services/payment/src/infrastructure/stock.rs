//! Stock over gRPC.

use async_trait::async_trait;
use shop_config::Neighbour;
use shop_fault::{Fault, Kind};
use shop_idempotency::Repeatable;
use shop_identity::Credential;
use shop_proto::product::v1 as proto;
use shop_proto::product::v1::stock_service_client::StockServiceClient;
use shop_rpc::Outgoing;
use shop_tls::TlsSettings;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Response, Status};
use uuid::Uuid;

use super::neighbour::away;
use crate::domain::{Error, Line, Reserved, Shortage, Stock};

/// The product service, as far as it keeps the stock.
pub(crate) struct GrpcStock {
    neighbour: Neighbour,
    client: StockServiceClient<InterceptedService<Channel, Outgoing>>,
}

impl GrpcStock {
    /// At this address; connects with the first call, so that services may start in any order.
    pub(crate) fn new(neighbour: Neighbour, tls: &TlsSettings, credential: Credential) -> anyhow::Result<Self> {
        let client =
            StockServiceClient::with_interceptor(shop_rpc::channel(&neighbour, tls)?, Outgoing::new(credential));
        Ok(Self { neighbour, client })
    }

    /// One call, with its deadline and retries.
    pub(super) async fn ask<Q: Repeatable, A, Fut>(
        &self,
        request: Q,
        call: impl Fn(StockServiceClient<InterceptedService<Channel, Outgoing>>, Q) -> Fut,
    ) -> Result<A, Fault>
    where
        Fut: Future<Output = Result<Response<A>, Status>>,
    {
        let call = |request| call(self.client.clone(), request);
        shop_rpc::call(&self.neighbour, "product", request, call).await.map_err(|fault| away("product", fault))
    }
}

#[async_trait]
impl Stock for GrpcStock {
    async fn reserve(&self, reservation: Uuid, lines: &[Line], replaces: Option<Uuid>) -> Result<Reserved, Error> {
        let line = |line: &Line| proto::StockLine { product_id: line.product_id, quantity: line.quantity };
        let request = proto::ReserveStockRequest {
            reservation_id: reservation.to_string(),
            lines: lines.iter().map(line).collect(),
            replaces: replaces.map(|id| id.to_string()).unwrap_or_default(),
        };
        match self.ask(request, |mut client, request| async move { client.reserve_stock(request).await }).await {
            Ok(_) => Ok(Reserved::Held),
            // The product service refused and holds nothing: too few units, or a product that is gone.
            Err(fault) if matches!(fault.kind(), Kind::Conflict | Kind::NotFound) => Ok(Reserved::Short(short(&fault))),
            Err(fault) => Err(fault.into()),
        }
    }

    async fn release(&self, reservation: Uuid) -> Result<(), Error> {
        let request = proto::ReleaseStockRequest { reservation_id: reservation.to_string() };
        self.ask(request, |mut client, request| async move { client.release_stock(request).await }).await?;
        Ok(())
    }
}

fn short(fault: &Fault) -> Vec<Shortage> {
    let shortages = fault.violations().iter();
    shortages
        .map(|violation| Shortage { subject: violation.subject.clone(), description: violation.description.clone() })
        .collect()
}
