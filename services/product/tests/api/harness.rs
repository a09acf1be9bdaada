//! A running service on free ports, with an embedded store of its own.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use shop_config::{Database, Grpc, Http};
use shop_events::{MemoryBus, RetryPolicy};
use shop_identity::IdentitySettings;
use shop_product::{Config, Product};
use shop_proto::product::v1::product_service_client::ProductServiceClient;
use shop_proto::product::v1::stock_service_client::StockServiceClient;
use shop_runtime::Shutdown;
use shop_telemetry::Metrics;
use shop_testing::Api;
use shop_web::Doors;
use tempfile::TempDir;
use tokio::task::JoinSet;
use tonic::transport::Channel;

const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A service under test.
pub(crate) struct Running {
    /// Its HTTP side.
    pub(crate) api: Api,
    /// Its gRPC side.
    pub(crate) grpc: ProductServiceClient<Channel>,
    /// Its stock, over gRPC.
    pub(crate) stock: StockServiceClient<Channel>,
    /// Where its events come from.
    pub(crate) bus: Arc<MemoryBus>,
    /// Where its dead letters go, and its store is.
    pub(crate) folder: TempDir,
    shutdown: Shutdown,
    serving: JoinSet<anyhow::Result<()>>,
}

impl Running {
    /// Starts a service with an empty catalogue in SQLite.
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let url = format!("sqlite://{}", folder.path().join("product.db").display());
        Self::start_on(&url, folder).await
    }

    /// Starts a service on the store at `url`; its dead letters go to `folder`.
    pub(crate) async fn start_on(url: &str, folder: TempDir) -> Self {
        Self::start_with(url, folder, IdentitySettings::off()).await
    }

    /// The same for callers who may have to say who they are.
    pub(crate) async fn start_with(url: &str, folder: TempDir, identity: IdentitySettings) -> Self {
        Self::start_as(Config { identity, ..Config::default() }, url, folder).await
    }

    /// The same with these settings, but for ports and store.
    pub(crate) async fn start_as(config: Config, url: &str, folder: TempDir) -> Self {
        let config = Config {
            http: Http { host: LOCAL, ..Http::on(0) },
            grpc: Grpc { host: LOCAL, ..Grpc::on(0) },
            database: Database::at(url),
            ..config
        };
        let pause = Duration::from_millis(1);
        let quick =
            RetryPolicy { attempts: 2, first: pause, longest: pause, internal: pause, ..RetryPolicy::default() };
        let bus = Arc::new(MemoryBus::with_policy(Some(folder.path().to_owned()), quick));
        let shutdown = Shutdown::new();
        let doors = Doors::of_process(&config.http, &config.grpc, &config.operations).await.expect("two ports");
        let metrics = Metrics::new("product-service");
        let product = Box::pin(Product::build(doors, config, bus.clone(), metrics, &shutdown)).await.expect("is built");
        let api = Api::new(product.http_addr());
        let channel = Channel::from_shared(format!("http://{}", product.grpc_addr())).expect("a URL").connect_lazy();
        let mut serving = JoinSet::new();
        serving.spawn(product.run(shutdown.clone()));
        let (grpc, stock) = (ProductServiceClient::new(channel.clone()), StockServiceClient::new(channel));
        Self { api, grpc, stock, bus, folder, shutdown, serving }
    }

    /// Adds a product and says its id.
    pub(crate) async fn add(&self, body: &Value) -> i64 {
        let (status, product) = self.api.post("/products", body).await;
        assert_eq!(status, 201, "{product}");
        product["id"].as_i64().expect("an id")
    }

    /// The product, as HTTP shows it.
    pub(crate) async fn product(&self, id: i64) -> Value {
        let (status, product) = self.api.get(&format!("/products/{id}")).await;
        assert_eq!(status, 200, "{product}");
        product
    }

    /// Stops the service, which must end well.
    pub(crate) async fn stop(self) {
        self.shutdown.soft.cancel();
        for ended in self.serving.join_all().await {
            ended.expect("ends well");
        }
    }
}

/// A sound product.
pub(crate) fn desk() -> Value {
    json!({
        "name": "Walnut desk",
        "description": "Oiled, two drawers.",
        "price": 1299.5,
        "stock_quantity": 7,
        "category": "furniture",
        "image_url": "https://images.example.com/desk.jpg",
    })
}

/// The same with some members replaced.
pub(crate) fn desk_with(changes: &Value) -> Value {
    let mut body = desk();
    for (name, value) in changes.as_object().expect("an object") {
        body[name] = value.clone();
    }
    body
}
