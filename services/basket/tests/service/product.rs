//! A product service that tests play: a few products, failures on demand.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use shop_proto::common::v1::Money;
use shop_proto::product::v1::product_service_server::{ProductService, ProductServiceServer};
use shop_proto::product::v1::{
    AdjustStockRequest, AdjustStockResponse, CreateProductRequest, CreateProductResponse, DeleteProductRequest,
    DeleteProductResponse, GetProductRequest, GetProductResponse, GetProductsRequest, GetProductsResponse,
    ListStockMovementsRequest, ListStockMovementsResponse, Product, UpdateProductRequest, UpdateProductResponse,
};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

/// What is sold: teas 1 to 3 for 10.01 to 10.03 USD, ten of each.
#[derive(Clone)]
pub(super) struct Shelf {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    products: BTreeMap<i64, Product>,
    failures: VecDeque<Status>,
    hangs: bool,
}

impl Shelf {
    /// Serves it for as long as the test runs.
    pub(super) async fn serve() -> Self {
        let tea = |id: i64| Product {
            id,
            name: format!("tea no. {id}"),
            price: Some(Money { minor_units: 1000 + id, currency: "USD".to_owned() }),
            category: "tea".to_owned(),
            available_quantity: 10,
            ..Product::default()
        };
        let products = (1..=3).map(|id| (id, tea(id))).collect();
        let state = Arc::new(Mutex::new(State { products, ..State::default() }));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let shelf = Self { address: listener.local_addr().expect("an address"), state };
        let server = tonic::transport::Server::builder().add_service(ProductServiceServer::new(shelf.clone()));
        tokio::task::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        shelf
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes a product.
    pub(super) fn set(&self, id: i64, change: impl FnOnce(&mut Product)) {
        change(self.state.lock().expect("no panic").products.get_mut(&id).expect("is sold"));
    }

    /// Stops selling a product.
    pub(super) fn take_out(&self, id: i64) {
        self.state.lock().expect("no panic").products.remove(&id);
    }

    /// Answers the next calls with these.
    pub(super) fn fail(&self, failures: Vec<Status>) {
        self.state.lock().expect("no panic").failures = failures.into();
    }

    /// Answers no more.
    pub(super) fn hang(&self) {
        self.state.lock().expect("no panic").hangs = true;
    }

    /// Answers again.
    pub(super) fn go_on(&self) {
        self.state.lock().expect("no panic").hangs = false;
    }

    async fn read<T>(&self, read: impl FnOnce(&BTreeMap<i64, Product>) -> T) -> Result<T, Status> {
        if self.state.lock().expect("no panic").hangs {
            std::future::pending::<()>().await;
        }
        let mut state = self.state.lock().expect("no panic");
        match state.failures.pop_front() {
            Some(failure) => Err(failure),
            None => Ok(read(&state.products)),
        }
    }
}

type Answer<T> = Result<Response<T>, Status>;

fn unplayed<T>() -> Answer<T> {
    Err(Status::unimplemented("not played"))
}

#[tonic::async_trait]
impl ProductService for Shelf {
    async fn get_product(&self, request: Request<GetProductRequest>) -> Answer<GetProductResponse> {
        let id = request.into_inner().id;
        if id < 1 {
            return Err(Status::invalid_argument("no such id can be"));
        }
        let product = self.read(|products| products.get(&id).cloned()).await?;
        let product = product.ok_or_else(|| Status::not_found("no such product"))?;
        Ok(Response::new(GetProductResponse { product: Some(product) }))
    }

    async fn get_products(&self, request: Request<GetProductsRequest>) -> Answer<GetProductsResponse> {
        let ids = request.into_inner().ids;
        let products = self.read(|all| ids.iter().filter_map(|id| all.get(id)).cloned().collect()).await?;
        Ok(Response::new(GetProductsResponse { products, next_cursor: String::new() }))
    }

    async fn create_product(&self, _: Request<CreateProductRequest>) -> Answer<CreateProductResponse> {
        unplayed()
    }

    async fn update_product(&self, _: Request<UpdateProductRequest>) -> Answer<UpdateProductResponse> {
        unplayed()
    }

    async fn adjust_stock(&self, _: Request<AdjustStockRequest>) -> Answer<AdjustStockResponse> {
        unplayed()
    }

    async fn list_stock_movements(&self, _: Request<ListStockMovementsRequest>) -> Answer<ListStockMovementsResponse> {
        unplayed()
    }

    async fn delete_product(&self, _: Request<DeleteProductRequest>) -> Answer<DeleteProductResponse> {
        unplayed()
    }
}
