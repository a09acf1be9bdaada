//! The stock side of a checkout, over gRPC.

use shop_fault::{Fault, FieldError};
use shop_proto::payment::v1::Outcome as Told;
use shop_proto::product::v1 as proto;
use shop_proto::product::v1::stock_service_server::StockService;
use shop_rpc::status;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::Api;
use super::grpc::Answer;
use crate::application::{Commands, Queries};
use crate::domain::{Holding, Line, LineState, Lines, Outcome, Reservation};

/// The service `shop.product.v1.StockService`.
#[derive(Clone)]
pub(crate) struct StockGrpc(Commands, Queries);

impl StockGrpc {
    /// For what the handlers over HTTP work with.
    pub(crate) fn new(api: &Api) -> Self {
        Self(api.commands.clone(), api.queries.clone())
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

    async fn list_reservations(
        &self,
        request: Request<proto::ListReservationsRequest>,
    ) -> Answer<proto::ListReservationsResponse> {
        let request = request.into_inner();
        let page = if request.ids.is_empty() { PAGE } else { MOST };
        let limit = if request.limit == 0 { page } else { request.limit };
        if limit > MOST || request.ids.len() > MOST as usize {
            return Err(invalid("limit", format!("must be at most {MOST}")));
        }
        let (reservations, more) = if request.ids.is_empty() {
            let after = Some(request.after.as_str())
                .filter(|after| !after.is_empty())
                .map(|after| reservation_id("after", after))
                .transpose()?;
            let since = shop_proto::time(request.since.unwrap_or_default());
            let found = self.1.reservations(after, since, limit).await.map_err(status)?;
            let more = found.len() >= limit as usize;
            (found, more)
        } else {
            let ids: Vec<_> = request.ids.iter().map(|id| reservation_id("ids", id)).collect::<Result<_, _>>()?;
            (self.1.reservations_of(&ids).await.map_err(status)?, false)
        };
        let reservations = reservations.iter().map(listed).collect();
        Ok(Response::new(proto::ListReservationsResponse { reservations, more }))
    }

    async fn settle_reservation(
        &self,
        request: Request<proto::SettleReservationRequest>,
    ) -> Answer<proto::SettleReservationResponse> {
        let request = request.into_inner();
        let id = reservation_id("reservation_id", &request.reservation_id)?;
        let resolved = self.0.resolve(id, &outcome(&request)?).await.map_err(status)?;
        let changed = resolved.lines.iter().map(line).collect();
        let short = resolved
            .short
            .iter()
            .map(|line| proto::StockLine { product_id: line.product, quantity: units(line.quantity) });
        Ok(Response::new(proto::SettleReservationResponse { changed, short: short.collect() }))
    }

    async fn check_stock(&self, request: Request<proto::CheckStockRequest>) -> Answer<proto::CheckStockResponse> {
        let drifts = self.1.drifts().await.map_err(status)?;
        if request.into_inner().repair {
            self.0.mend(&drifts).await.map_err(status)?;
        }
        let drift = |drift: crate::domain::Drift| proto::StockDrift {
            product_id: drift.product,
            number: drift.number.to_owned(),
            says: drift.says,
            booked: drift.booked,
        };
        Ok(Response::new(proto::CheckStockResponse { drifts: drifts.into_iter().map(drift).collect() }))
    }
}

/// Reservations of a page, unless another number is asked for.
const PAGE: u32 = 100;
/// Reservations of a page at most.
const MOST: u32 = 500;

fn invalid(field: &'static str, message: String) -> Status {
    status(Fault::invalid(vec![FieldError::new(field, "out_of_range", message)]))
}

fn outcome(request: &proto::SettleReservationRequest) -> Result<Outcome, Status> {
    let line = |line: &proto::StockLine| Line { product: line.product_id, quantity: line.quantity.into() };
    let lines = || Lines::parse(request.lines.iter().map(line).collect()).map_err(status);
    Ok(match request.outcome() {
        Told::Open => Outcome::Open(lines()?),
        Told::Sold => Outcome::Sold(lines()?),
        Told::Returned => Outcome::Returned(lines()?),
        Told::Released => Outcome::Released,
        Told::Unknown => Outcome::Unknown,
        Told::Unspecified => return Err(invalid("outcome", "name what the payment made of it".to_owned())),
    })
}

fn listed(reservation: &Reservation) -> proto::Reservation {
    proto::Reservation { id: reservation.id.to_string(), lines: reservation.lines.iter().map(line).collect() }
}

fn line(holding: &Holding) -> proto::ReservedLine {
    let state = match holding.state {
        LineState::Held => proto::LineState::Held,
        LineState::Sold => proto::LineState::Sold,
        LineState::Released => proto::LineState::Released,
    };
    let (quantity, restocked) = (units(holding.quantity), units(holding.restocked));
    proto::ReservedLine { product_id: holding.product, quantity, state: state.into(), restocked }
}

/// No line has more than a million.
fn units(count: i64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

fn reservation_id(field: &str, text: &str) -> Result<Uuid, Status> {
    shop_input::read(field, text).map_err(|wrong| status(Fault::invalid(vec![wrong])))
}
