//! A basket, a stock and a notification service that say what a test tells them to.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use shop_fault::{Fault, Kind, Violation};
use shop_proto::basket::v1 as basket;
use shop_proto::basket::v1::basket_service_server::{BasketService, BasketServiceServer};
use shop_proto::common::v1::Money;
use shop_proto::notification::v1 as notification;
use shop_proto::notification::v1::personal_service_server::{PersonalService, PersonalServiceServer};
use shop_proto::product::v1 as product;
use shop_proto::product::v1::stock_service_server::{StockService, StockServiceServer};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status};

/// Makes a refusal.
pub(crate) type Refusal = fn() -> Status;

/// What the neighbours answer.
#[derive(Clone, Default)]
pub(crate) struct Neighbours {
    pub(crate) changes: Arc<Mutex<Vec<basket::BasketChange>>>,
    /// Why `ReserveStock` fails, if it does.
    pub(crate) refusal: Arc<Mutex<Option<Refusal>>>,
    pub(crate) reservations: Arc<AtomicUsize>,
    /// What users were told; two to a page. Nothing is answered beyond a page that is none.
    pub(crate) told: Arc<Mutex<Vec<Option<[String; 2]>>>>,
    /// Baskets that were shown: each is another one, as if the one before had been paid and emptied. A guest's stays the same.
    baskets: Arc<AtomicU64>,
    /// What was shown with the last call to each: to baskets and to the stock.
    pub(crate) shown: Arc<Mutex<[Option<MetadataMap>; 2]>>,
}

/// The first basket that is shown.
pub(crate) const BASKET: &str = "0190f8a0-5a3e-7c11-8d5b-3f6a2c1e4d70";

fn nth_basket(n: u64) -> String {
    let first: uuid::Uuid = BASKET.parse().expect("an id");
    let (high, low) = first.as_u64_pair();
    uuid::Uuid::from_u64_pair(high, low + n).to_string()
}

impl Neighbours {
    /// Serves all on a free port until the test ends.
    pub(crate) async fn serve(&self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let address = listener.local_addr().expect("has an address");
        let server = tonic::transport::Server::builder()
            .add_service(BasketServiceServer::new(self.clone()))
            .add_service(StockServiceServer::new(self.clone()))
            .add_service(PersonalServiceServer::new(self.clone()))
            .serve_with_incoming(TcpListenerStream::new(listener));
        tokio::task::spawn(server);
        address
    }
}

fn usd(minor_units: i64) -> Money {
    Money { minor_units, currency: "USD".to_owned() }
}

fn line(product_id: i64, name: &str, quantity: u32, price: i64) -> basket::BasketItem {
    basket::BasketItem {
        id: format!("0190f8a0-5a3e-7c11-8d5b-{product_id:012}"),
        product_id,
        name: name.to_owned(),
        quantity,
        price: Some(usd(price)),
        subtotal: Some(usd(price * i64::from(quantity))),
        category: "computers".to_owned(),
        created_at: Some(prost_types::Timestamp { seconds: 1_772_366_400, nanos: 0 }),
    }
}

pub(crate) fn short() -> Status {
    let violation = Violation::new("insufficient_stock", "products/3", "2 asked for, 1 available");
    let fault = Fault::new(Kind::Conflict, "insufficient_stock", "product 3 has only 1 left").with_violation(violation);
    shop_rpc::status(fault)
}

pub(crate) fn hanging() -> Status {
    Status::deadline_exceeded("too slow")
}

#[tonic::async_trait]
impl BasketService for Neighbours {
    /// Ada, grace, guests and everybody whose name starts so has two laptops and a mouse, `frugal` a sticker and a pin, `empty` nothing, others have no basket.
    async fn get_basket(
        &self,
        request: Request<basket::GetBasketRequest>,
    ) -> Result<Response<basket::GetBasketResponse>, Status> {
        self.shown.lock().expect("no panic")[0] = Some(request.metadata().clone());
        let request = request.into_inner();
        let items = match request.user_id.as_str() {
            "empty" => Vec::new(),
            "frugal" => vec![line(5, "Sticker", 1, 10), line(6, "Pin", 1, 10)],
            name if ["ada", "grace", "guest-"].iter().any(|known| name.starts_with(known)) => {
                vec![line(3, "Laptop", 2, 1200), line(4, "Mouse", 1, 300)]
            }
            _ => return Err(Status::not_found("no basket")),
        };
        let nth = match request.user_id.strip_prefix("guest-") {
            Some(name) => 1_000_000 + name.bytes().map(u64::from).sum::<u64>(),
            None => self.baskets.fetch_add(1, Ordering::SeqCst),
        };
        let total = if request.user_id == "frugal" { 20 } else { 2700 };
        let found = basket::Basket {
            id: nth_basket(nth),
            user_id: request.user_id,
            items,
            currency: "USD".to_owned(),
            total: Some(usd(total)),
            ..basket::Basket::default()
        };
        let changes = self.changes.lock().expect("no panic").clone();
        Ok(Response::new(basket::GetBasketResponse { basket: Some(found), changes }))
    }

    async fn create_guest(
        &self,
        _: Request<basket::CreateGuestRequest>,
    ) -> Result<Response<basket::CreateGuestResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn refresh_basket(
        &self,
        _: Request<basket::RefreshBasketRequest>,
    ) -> Result<Response<basket::RefreshBasketResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn merge_basket(
        &self,
        _: Request<basket::MergeBasketRequest>,
    ) -> Result<Response<basket::MergeBasketResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn create_basket(
        &self,
        _: Request<basket::CreateBasketRequest>,
    ) -> Result<Response<basket::CreateBasketResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn delete_basket(
        &self,
        _: Request<basket::DeleteBasketRequest>,
    ) -> Result<Response<basket::DeleteBasketResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn add_item(&self, _: Request<basket::AddItemRequest>) -> Result<Response<basket::AddItemResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn update_item(
        &self,
        _: Request<basket::UpdateItemRequest>,
    ) -> Result<Response<basket::UpdateItemResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn remove_item(
        &self,
        _: Request<basket::RemoveItemRequest>,
    ) -> Result<Response<basket::RemoveItemResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn clear_items(
        &self,
        _: Request<basket::ClearItemsRequest>,
    ) -> Result<Response<basket::ClearItemsResponse>, Status> {
        Err(Status::unimplemented(""))
    }
}

#[tonic::async_trait]
impl StockService for Neighbours {
    async fn reserve_stock(
        &self,
        request: Request<product::ReserveStockRequest>,
    ) -> Result<Response<product::ReserveStockResponse>, Status> {
        self.shown.lock().expect("no panic")[1] = Some(request.metadata().clone());
        assert_eq!(request.get_ref().lines.len(), 2);
        self.reservations.fetch_add(1, Ordering::SeqCst);
        match *self.refusal.lock().expect("no panic") {
            Some(refusal) => Err(refusal()),
            None => Ok(Response::new(product::ReserveStockResponse { created: true })),
        }
    }

    async fn release_stock(
        &self,
        _: Request<product::ReleaseStockRequest>,
    ) -> Result<Response<product::ReleaseStockResponse>, Status> {
        Ok(Response::new(product::ReleaseStockResponse { released: true }))
    }

    async fn list_reservations(
        &self,
        _: Request<product::ListReservationsRequest>,
    ) -> Result<Response<product::ListReservationsResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn settle_reservation(
        &self,
        _: Request<product::SettleReservationRequest>,
    ) -> Result<Response<product::SettleReservationResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn check_stock(
        &self,
        _: Request<product::CheckStockRequest>,
    ) -> Result<Response<product::CheckStockResponse>, Status> {
        Err(Status::unimplemented(""))
    }
}

#[tonic::async_trait]
impl PersonalService for Neighbours {
    async fn get_user_records(
        &self,
        request: Request<notification::GetUserRecordsRequest>,
    ) -> Result<Response<notification::GetUserRecordsResponse>, Status> {
        let after = request.into_inner().after;
        let told = self.told.lock().expect("no panic");
        let page = if after.is_empty() { 0 } else { after.parse().expect("what was given") };
        let notifications = match told.get(page) {
            Some(None) => return Err(Status::unavailable("away")),
            Some(Some(two)) => two.to_vec(),
            None => Vec::new(),
        };
        let next = if page + 1 < told.len() { (page + 1).to_string() } else { String::new() };
        let preferences = r#"{"email":"ada@shop.example"}"#.to_owned();
        Ok(Response::new(notification::GetUserRecordsResponse { preferences, notifications, next }))
    }
}
