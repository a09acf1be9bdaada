//! The product service: the catalogue, and the stock that checkouts reserve.
//!
//! Four layers: `domain` has the rules, `application` the commands and queries, `interface` the ways in (HTTP, gRPC,
//! events), `infrastructure` the stores. This file wires them.

mod application;
mod config;
mod domain;
mod infrastructure;
mod interface;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use shop_clock::{SharedClock, SystemClock};
use shop_events::Bus;
use shop_idempotency::Keys;
use shop_identity::Identity;
use shop_proto::FILE_DESCRIPTOR_SET;
use shop_proto::product::v1::product_service_server::ProductServiceServer;
use shop_proto::product::v1::stock_service_server::StockServiceServer;
use shop_runtime::{CancellationToken, Shutdown, Tasks};
use shop_servers::{Parts, Servers};
use shop_sql::Idempotency;
use shop_telemetry::Metrics;
use shop_web::Doors;
use tonic::service::Routes;

use self::application::{Commands, Queries, Retention, Settlements};
use self::domain::Store;
use self::infrastructure::GrpcPayments;
use self::interface::{Api, ProductGrpc, StockGrpc, Sweeper};

pub use self::config::{Config, RetentionSettings, SettlementSettings};

/// How long the start waits for products that another version folded; what is left is folded while others are served.
const FOLD_FIRST: Duration = Duration::from_secs(10);

/// The product service, built and bound but not yet serving.
pub struct Product {
    servers: Servers,
    events: [(&'static str, BoxFuture<'static, ()>); 2],
    store: Arc<dyn Store>,
    shared: shop_sql::Store,
    commands: Commands,
    sweeper: Sweeper,
    retention: Retention,
    clock: SharedClock,
    keys: Keys,
    identity: Identity,
}

impl Product {
    /// The groups of its consumers.
    pub const GROUPS: [&str; 2] = interface::GROUPS;

    /// Opens the store at the present schema and subscribes to events. `doors` are what it listens on.
    pub async fn build(
        doors: Doors,
        config: Config,
        bus: Arc<dyn Bus>,
        metrics: Metrics,
        shutdown: &Shutdown,
    ) -> anyhow::Result<Self> {
        let clock: SharedClock = Arc::new(SystemClock);
        let opened = infrastructure::open(&config.database).await?;
        shop_sql::watch(&metrics, &opened.shared)?;
        // After an upgrade, so that a catalogue of usual size is found from the first request on.
        application::fold(opened.store.as_ref(), FOLD_FIRST).await?;
        // What this service cannot work without is its store. While no bus answers, it sells on and catches up.
        let checked = opened.shared.clone();
        let health = shop_servers::health(move || shop_sql::check(checked.clone()), bus.clone(), shutdown);
        let identity = Identity::open(&config.identity, "product")?;
        identity.watch(&health);

        let keys = Keys::new(Arc::new(Idempotency::new(opened.shared.clone(), clock.clone())));
        let api = Api {
            commands: Commands::new(opened.store.clone(), clock.clone()),
            queries: Queries::new(opened.store.clone()),
            keys: keys.clone(),
            clock: clock.clone(),
        };
        let payments = Arc::new(GrpcPayments::new(config.payment, &config.tls, identity.credential("payment"))?);
        let after = config.settlement.after.get();
        let settlements = Settlements::new(opened.store.clone(), payments, clock.clone(), after);
        let sweeper = Sweeper::new(settlements, config.settlement.interval.get(), &metrics);
        let retention = Retention::new(
            opened.store.clone(),
            clock.clone(),
            config.retention.released.map(shop_config::Duration::get),
        );
        let commands = api.commands.clone();
        let events = interface::subscriptions(&commands)
            .map(|(name, subscription)| (name, bus.subscribe(subscription, shutdown.soft.clone())));
        let routes = interface::routes(&api);
        let stock = StockServiceServer::new(StockGrpc::new(&api));
        let calls = ProductServiceServer::new(ProductGrpc::new(api));
        let most = config.grpc.message_bytes();
        let calls = Routes::new(calls.max_decoding_message_size(most));
        let calls = calls.add_service(stock.max_decoding_message_size(most));
        let guard = identity.guard(interface::ACCESS);
        let parts = Parts { about: interface::ABOUT, metrics, health, guard, tls: config.tls };
        let servers = Servers::new(doors, (routes, config.http), (calls, FILE_DESCRIPTOR_SET, config.grpc), parts)?;
        Ok(Self {
            servers,
            events,
            store: opened.store,
            shared: opened.shared,
            commands,
            sweeper,
            retention,
            clock,
            keys,
            identity,
        })
    }

    /// Where HTTP is served.
    pub fn http_addr(&self) -> SocketAddr {
        self.servers.http_addr()
    }

    /// Where gRPC is served.
    pub fn grpc_addr(&self) -> SocketAddr {
        self.servers.grpc_addr()
    }

    /// Where probes are served, if they are apart.
    pub fn operations_addr(&self) -> Option<SocketAddr> {
        self.servers.operations_addr()
    }

    /// Adds ten demo products when the catalogue is empty; how many were added.
    pub async fn seed_demo(&self) -> anyhow::Result<usize> {
        Ok(application::seed(self.store.as_ref(), &self.commands).await?)
    }

    /// Serves until the soft stop, then finishes what runs.
    pub async fn run(self, shutdown: Shutdown) -> anyhow::Result<()> {
        let (tasks, served) = (Tasks::new(), CancellationToken::new());
        tasks.spawn("keys", self.keys.run(served.clone()));
        for (name, events) in self.events {
            tasks.spawn(name, events);
        }
        tasks.spawn("folding", application::keep_folded(self.store, shutdown.soft.clone()));
        tasks.spawn("settlement", self.sweeper.run(shutdown.soft.clone()));
        let (retention, stop) = (self.retention.run(), shutdown.soft.clone());
        tasks.spawn("retention", async move {
            stop.run_until_cancelled(retention).await;
        });
        tasks.spawn("identity", self.identity.run(shutdown.soft.clone()));
        tasks.spawn("housekeeping", shop_sql::housekeeping(self.shared, self.clock, shutdown.soft.clone()));
        tasks.underlie(&shutdown.soft, Box::pin(self.servers.run(shutdown.clone()))).await?;
        served.cancel();
        tasks.wait(&shutdown.hard).await
    }
}
