//! What became of reservations, over gRPC, for whoever keeps the stock.

use shop_fault::{Fault, FieldError};
use shop_proto::payment::v1 as proto;
use shop_proto::payment::v1::settlement_service_server::SettlementService;
use shop_rpc::status;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::Api;
use crate::application::Queries;
use crate::domain::{Outcome, Payment};

/// Reservations asked about at a time.
const MOST: usize = 100;

/// The service `shop.payment.v1.SettlementService`.
#[derive(Clone)]
pub(crate) struct SettlementGrpc(Queries);

impl SettlementGrpc {
    /// For what the handlers over HTTP work with.
    pub(crate) fn new(api: &Api) -> Self {
        Self(api.queries.clone())
    }
}

#[tonic::async_trait]
impl SettlementService for SettlementGrpc {
    async fn get_outcomes(
        &self,
        request: Request<proto::GetOutcomesRequest>,
    ) -> Result<Response<proto::GetOutcomesResponse>, Status> {
        let asked = request.into_inner().reservation_ids;
        if asked.is_empty() || asked.len() > MOST {
            let message = format!("must have 1 to {MOST} ids, has {}", asked.len());
            return Err(status(Fault::invalid(vec![FieldError::new("reservation_ids", "out_of_range", message)])));
        }
        let ids = asked.iter().map(|text| shop_input::read("reservation_ids", text));
        let ids: Vec<Uuid> = ids.collect::<Result<_, _>>().map_err(|wrong| status(Fault::invalid(vec![wrong])))?;
        let payments = self.0.payments(&ids).await.map_err(status)?;
        let outcome = |(text, id): (String, Uuid)| told(text, payments.iter().find(|payment| payment.id == id));
        let outcomes = asked.into_iter().zip(ids).map(outcome).collect();
        Ok(Response::new(proto::GetOutcomesResponse { outcomes }))
    }
}

fn told(reservation_id: String, payment: Option<&Payment>) -> proto::ReservationOutcome {
    let outcome = match payment.map(Payment::outcome) {
        None => proto::Outcome::Unknown,
        Some(Outcome::Open) => proto::Outcome::Open,
        Some(Outcome::Sold) => proto::Outcome::Sold,
        Some(Outcome::Returned) => proto::Outcome::Returned,
        Some(Outcome::Released) => proto::Outcome::Released,
    };
    let items = payment.map(|payment| payment.items.as_slice()).unwrap_or_default();
    let lines = items.iter().map(|item| proto::SettledLine { product_id: item.product_id, quantity: item.quantity });
    proto::ReservationOutcome { reservation_id, outcome: outcome.into(), lines: lines.collect() }
}
