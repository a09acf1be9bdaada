//! What became of reservations, asked over gRPC.

use async_trait::async_trait;
use shop_config::Neighbour;
use shop_fault::Fault;
use shop_identity::Credential;
use shop_proto::payment::v1 as proto;
use shop_proto::payment::v1::settlement_service_client::SettlementServiceClient;
use shop_rpc::Outgoing;
use shop_tls::TlsSettings;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use uuid::Uuid;

use crate::domain::{Line, Lines, Outcome, Payments, Result};

/// The payment service, as far as it says what became of reservations.
pub(crate) struct GrpcPayments {
    neighbour: Neighbour,
    client: SettlementServiceClient<InterceptedService<Channel, Outgoing>>,
}

impl GrpcPayments {
    /// At this address; connects with the first call, so that services may start in any order.
    pub(crate) fn new(neighbour: Neighbour, tls: &TlsSettings, credential: Credential) -> anyhow::Result<Self> {
        let channel = shop_rpc::channel(&neighbour, tls)?;
        Ok(Self { neighbour, client: SettlementServiceClient::with_interceptor(channel, Outgoing::new(credential)) })
    }
}

#[async_trait]
impl Payments for GrpcPayments {
    async fn outcomes(&self, reservations: &[Uuid]) -> Result<Vec<Result<Outcome>>> {
        let reservation_ids = reservations.iter().map(ToString::to_string).collect();
        let request = proto::GetOutcomesRequest { reservation_ids };
        let call = |request| {
            let mut client = self.client.clone();
            async move { client.get_outcomes(request).await }
        };
        let answer = shop_rpc::call(&self.neighbour, "payment", request, call).await?;
        let same = |(outcome, id): (&proto::ReservationOutcome, &Uuid)| outcome.reservation_id == id.to_string();
        if answer.outcomes.len() != reservations.len() || !answer.outcomes.iter().zip(reservations).all(same) {
            return Err(Fault::internal("the payment service answered for other reservations than it was asked").into());
        }
        Ok(answer.outcomes.iter().map(read).collect())
    }
}

fn read(told: &proto::ReservationOutcome) -> Result<Outcome> {
    let line = |line: &proto::SettledLine| Line { product: line.product_id, quantity: line.quantity.into() };
    let lines = || Lines::parse(told.lines.iter().map(line).collect());
    Ok(match told.outcome() {
        proto::Outcome::Open => Outcome::Open(lines()?),
        proto::Outcome::Sold => Outcome::Sold(lines()?),
        proto::Outcome::Returned => Outcome::Returned(lines()?),
        proto::Outcome::Released => Outcome::Released,
        proto::Outcome::Unknown => Outcome::Unknown,
        proto::Outcome::Unspecified => {
            return Err(Fault::internal("the payment service told an outcome this version does not know").into());
        }
    })
}
