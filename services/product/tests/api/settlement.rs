//! What becomes of reservations that nothing is heard of: payment is asked, and is waited for while it is away.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::json;
use shop_config::{Duration, Neighbour};
use shop_identity::IdentitySettings;
use shop_product::{Config, SettlementSettings};
use shop_proto::payment::v1::settlement_service_server::{SettlementService, SettlementServiceServer};
use shop_proto::payment::v1::{GetOutcomesRequest, GetOutcomesResponse, Outcome, ReservationOutcome, SettledLine};
use shop_proto::product::v1::{ReserveStockRequest, StockLine};
use shop_testing::eventually;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use crate::harness::{Running, desk_with};

/// A payment service that knows what it is told, and nothing else.
#[derive(Clone, Default)]
struct Payments(Arc<Mutex<HashMap<String, (Outcome, SettledLine)>>>);

#[tonic::async_trait]
impl SettlementService for Payments {
    async fn get_outcomes(
        &self,
        request: Request<GetOutcomesRequest>,
    ) -> Result<Response<GetOutcomesResponse>, Status> {
        let known = self.0.lock();
        let outcome = |reservation_id: String| match known.get(&reservation_id) {
            Some((outcome, line)) => {
                ReservationOutcome { reservation_id, outcome: (*outcome).into(), lines: vec![*line] }
            }
            None => ReservationOutcome { reservation_id, outcome: Outcome::Unknown.into(), lines: vec![] },
        };
        let outcomes = request.into_inner().reservation_ids.into_iter().map(outcome).collect();
        Ok(Response::new(GetOutcomesResponse { outcomes }))
    }
}

impl Payments {
    async fn serve(&self, at: SocketAddr) {
        let listener = TcpListener::bind(at).await.expect("the port that was free");
        let server = tonic::transport::Server::builder().add_service(SettlementServiceServer::new(self.clone()));
        tokio::task::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reservations_nobody_settles_wait_for_payment_and_go_by_its_word() {
    let folder = tempfile::tempdir().expect("a folder");
    let url = format!("sqlite://{}", folder.path().join("product.db").display());
    let free = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let at = free.local_addr().expect("its address");
    drop(free);
    let settlement = SettlementSettings { after: Duration::millis(1), interval: Duration::millis(20) };
    let payment = Neighbour { retries: 0, timeout: Duration::secs(1), ..Neighbour::at(at.to_string()) };
    let config = Config { payment, settlement, identity: IdentitySettings::off(), ..Config::default() };
    let mut shop = Running::start_as(config, &url, folder).await;
    let payments = Payments::default();
    let mut products = Vec::new();
    // The first is one that a later version of payment may tell.
    let told = [Outcome::Unspecified, Outcome::Sold, Outcome::Returned, Outcome::Released, Outcome::Open].map(Some);
    for outcome in told.into_iter().chain([None]) {
        let product_id = shop.add(&desk_with(&json!({ "name": format!("desk {outcome:?}") }))).await;
        let reservation_id = Uuid::new_v4().to_string();
        let lines = vec![StockLine { product_id, quantity: 2 }];
        let request = ReserveStockRequest { reservation_id: reservation_id.clone(), lines, replaces: String::new() };
        shop.stock.reserve_stock(request).await.expect("is held");
        if let Some(outcome) = outcome {
            payments.0.lock().insert(reservation_id, (outcome, SettledLine { product_id, quantity: 2 }));
        }
        products.push(product_id);
    }
    let stock = async |shop: &Running| {
        let mut all = Vec::new();
        for id in &products {
            let product = shop.product(*id).await;
            let number = |member: &str| product[member].as_i64().expect("a number");
            all.push((number("stock_quantity"), number("available_quantity")));
        }
        all
    };
    assert_eq!(stock(&shop).await, [(7, 5); 6], "payment is away: what is held stays held");
    payments.serve(at).await;
    let expected = [(7, 5), (5, 5), (7, 7), (7, 7), (7, 5), (7, 7)];
    eventually!(stock(&shop).await == expected);
    let metrics = shop.api.send(shop.api.request("GET".parse().expect("a method"), "/metrics")).await.text;
    for (outcome, count) in [("sold", "2"), ("released", "1"), ("unknown", "1")] {
        let line = format!("product_reservations_overdue_total{{outcome=\"{outcome}\"}} {count}");
        assert!(metrics.contains(&line), "{metrics}");
    }
    shop.stop().await;
}
