//! The stock side of a checkout, over gRPC.

use shop_fault::Fault;
use shop_proto::product::v1 as proto;
use shop_proto::product::v1::stock_service_server::StockService;
use shop_rpc::status;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::Api;
use super::grpc::Answer;
use crate::application::Commands;
use crate::domain::Line;

/// The service `shop.product.v1.StockService`.
#[derive(Clone)]
pub(crate) struct StockGrpc(Commands);

impl StockGrpc {
    /// For what the handlers over HTTP work with.
    pub(crate) fn new(api: &Api) -> Self {
        Self(api.commands.clone())
    }
}

#[tonic::async_trait]
impl StockService for StockGrpc {
    async fn reserve_stock(&self, request: Request<proto::ReserveStockRequest>) -> Answer<proto::ReserveStockResponse> {
        let request = request.into_inner();
        let id = reservation_id("reservation_id", &request.reservation_id)?;
        let replaces = Some(request.replaces).filter(|text| !text.is_empty());
        let replaces = replaces.map(|text| reservation_id("replaces", &text)).transpose()?;
        let line = |line: proto::StockLine| Line { product: line.product_id, quantity: line.quantity.into() };
        let lines = request.lines.into_iter().map(line).collect();
        let created = self.0.reserve(id, replaces, lines).await.map_err(status)?;
        Ok(Response::new(proto::ReserveStockResponse { created }))
    }

    async fn release_stock(&self, request: Request<proto::ReleaseStockRequest>) -> Answer<proto::ReleaseStockResponse> {
        let id = reservation_id("reservation_id", &request.into_inner().reservation_id)?;
        let released = self.0.release(id).await.map_err(status)?;
        Ok(Response::new(proto::ReleaseStockResponse { released }))
    }
}

fn reservation_id(field: &str, text: &str) -> Result<Uuid, Status> {
    shop_input::read(field, text).map_err(|wrong| status(Fault::invalid(vec![wrong])))
}
