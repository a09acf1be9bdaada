//! The books of the stock over gRPC.

use async_trait::async_trait;
use shop_fault::{Fault, Kind};
use shop_proto::payment::v1::Outcome as Told;
use shop_proto::product::v1 as proto;
use time::OffsetDateTime;
use uuid::Uuid;

use super::stock::GrpcStock;
use crate::domain::{Error, Kept, Line, LineState, Miscount, Outcome, Payment, Reservation, Shelf};

/// Reservations of a page: as many as the neighbour gives.
const PAGE: u32 = 500;

#[async_trait]
impl Shelf for GrpcStock {
    async fn reservations(
        &self,
        after: Option<Uuid>,
        since: OffsetDateTime,
    ) -> Result<(Vec<Reservation>, bool), Error> {
        let after = after.map_or_else(String::new, |id| id.to_string());
        let since = Some(shop_proto::timestamp(since));
        let request = proto::ListReservationsRequest { after, limit: PAGE, since, ids: Vec::new() };
        let answer =
            self.ask(request, |mut client, request| async move { client.list_reservations(request).await }).await?;
        let read = answer.reservations.into_iter().map(read).collect::<Result<_, Fault>>()?;
        Ok((read, answer.more))
    }

    async fn reservations_of(&self, ids: &[Uuid]) -> Result<Vec<Reservation>, Error> {
        let ids = ids.iter().map(ToString::to_string).collect();
        let request = proto::ListReservationsRequest { ids, ..Default::default() };
        let answer =
            self.ask(request, |mut client, request| async move { client.list_reservations(request).await }).await?;
        Ok(answer.reservations.into_iter().map(read).collect::<Result<_, Fault>>()?)
    }

    async fn settle(&self, id: Uuid, payment: Option<&Payment>) -> Result<Vec<Line>, Error> {
        let outcome = match payment.map(Payment::outcome) {
            None => Told::Unknown,
            Some(Outcome::Open) => Told::Open,
            Some(Outcome::Sold) => Told::Sold,
            Some(Outcome::Returned) => Told::Returned,
            Some(Outcome::Released) => Told::Released,
        };
        let items = payment.map(|payment| payment.items.as_slice()).unwrap_or_default();
        let lines = items.iter().map(|item| proto::StockLine { product_id: item.product_id, quantity: item.quantity });
        let request = proto::SettleReservationRequest {
            reservation_id: id.to_string(),
            outcome: outcome.into(),
            lines: lines.collect(),
        };
        let answer =
            self.ask(request, |mut client, request| async move { client.settle_reservation(request).await }).await?;
        let line = |line: proto::StockLine| Line { product_id: line.product_id, quantity: line.quantity };
        Ok(answer.short.into_iter().map(line).collect())
    }

    async fn miscounts(&self, mend: bool) -> Result<Vec<Miscount>, Error> {
        let request = proto::CheckStockRequest { repair: mend };
        let answer = self.ask(request, |mut client, request| async move { client.check_stock(request).await }).await?;
        let miscount = |drift: proto::StockDrift| Miscount {
            product_id: drift.product_id,
            number: drift.number,
            says: drift.says,
            booked: drift.booked,
        };
        Ok(answer.drifts.into_iter().map(miscount).collect())
    }
}

fn read(sent: proto::Reservation) -> Result<Reservation, Fault> {
    let unreadable = |what: &str| {
        let detail = "the product service sent a reservation that cannot be read";
        Fault::new(Kind::BadGateway, "product_failed", detail).with_source(format!("unreadable {what}"))
    };
    let id = Uuid::try_parse(&sent.id).map_err(|_| unreadable("id"))?;
    let line = |line: proto::ReservedLine| {
        let state = match line.state() {
            proto::LineState::Held => LineState::Held,
            proto::LineState::Sold => LineState::Sold,
            proto::LineState::Released => LineState::Released,
            proto::LineState::Unspecified => return Err(unreadable("state")),
        };
        Ok(Kept { product_id: line.product_id, quantity: line.quantity, state, restocked: line.restocked })
    };
    Ok(Reservation { id, lines: sent.lines.into_iter().map(line).collect::<Result<_, _>>()? })
}
