//! The product service: the catalogue, and the stock that checkouts reserve.
//!
//! Four layers: `domain` has the rules, `application` the commands and queries, `interface` the ways in (HTTP, gRPC,
//! events), `infrastructure` the stores. This file wires them.

mod application;
mod config;
mod domain;
mod infrastructure;
mod interface;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use salvo::Service;
use shop_clock::{SharedClock, SystemClock};
use shop_events::Bus;
use shop_runtime::{Shutdown, Tasks};
use shop_telemetry::Metrics;
use shop_web::{Doors, Health};
use tonic::service::Routes;

use application::{Commands, Queries};
use domain::Store;

pub use config::Config;

/// How long the start waits for products that another version folded; what is left is folded while others are served.
const FOLD_FIRST: Duration = Duration::from_secs(10);

/// The product service, built and bound but not yet serving.
pub struct Product {
    config: Config,
    http: (TcpListener, Service),
    grpc: (TcpListener, Routes, shop_rpc::Parts),
    http_addr: SocketAddr,
    grpc_addr: SocketAddr,
    events: [(&'static str, BoxFuture<'static, ()>); 2],
    store: Arc<dyn Store>,
    shared: shop_sql::Store,
    commands: Commands,
    clock: SharedClock,
}

impl Product {
    /// Takes the ports (0 is any that is free) and goes on as [`Product::build_behind`].
    pub async fn build(
        config: Config,
        bus: Arc<dyn Bus>,
        metrics: Metrics,
        shutdown: &Shutdown,
    ) -> anyhow::Result<Self> {
        let doors = Doors::of_process(&config.http, &config.grpc).await?;
        Box::pin(Self::build_behind(doors, config, bus, metrics, shutdown)).await
    }

    /// Opens the store at the present schema and subscribes to events.
    pub async fn build_behind(
        doors: Doors,
        config: Config,
        bus: Arc<dyn Bus>,
        metrics: Metrics,
        shutdown: &Shutdown,
    ) -> anyhow::Result<Self> {
        let (http_addr, grpc_addr) = doors.addrs()?;
        let clock: SharedClock = Arc::new(SystemClock);
        let opened = infrastructure::open(&config.database).await?;
        shop_sql::watch(&metrics, &opened.shared)?;
        // After an upgrade, so that a catalogue of usual size is found from the first request on.
        application::fold(opened.store.as_ref(), FOLD_FIRST).await?;

        let commands = Commands::new(opened.store.clone(), clock.clone());
        let queries = Queries::new(opened.store.clone());
        let health = health(&opened.shared, &bus, shutdown);
        // Longer than any request may take, so that a key is free again only when its request is over.
        let lease = config.http.timeout.get().max(config.grpc.timeout.get()) * 2;
        let keys = Arc::new(shop_sql::Idempotency::new(opened.shared.clone(), clock.clone()).with_lease(lease));
        let parts = shop_web::Parts {
            about: interface::http::ABOUT,
            metrics: metrics.clone(),
            health: health.clone(),
            settings: config.http.clone(),
        };
        let service = shop_web::service(interface::http::router(commands.clone(), queries.clone(), keys), parts);
        let grpc_service = interface::grpc::service(commands.clone(), queries);
        let routes = Routes::new(grpc_service.max_decoding_message_size(config.grpc.message_bytes()));
        let descriptors = shop_proto::FILE_DESCRIPTOR_SET;
        let parts = shop_rpc::Parts { metrics, health, descriptors, settings: config.grpc.clone() };
        let [stock, sales] = interface::events::subscriptions(&commands);
        Ok(Self {
            http_addr,
            grpc_addr,
            http: (doors.http, service),
            grpc: (doors.grpc, routes, parts),
            events: [
                ("stock events", bus.subscribe(stock, shutdown.soft.clone())),
                ("payment events", bus.subscribe(sales, shutdown.soft.clone())),
            ],
            store: opened.store,
            shared: opened.shared,
            commands,
            clock,
            config,
        })
    }

    /// Where HTTP is served.
    pub fn http_addr(&self) -> SocketAddr {
        self.http_addr
    }

    /// Where gRPC is served.
    pub fn grpc_addr(&self) -> SocketAddr {
        self.grpc_addr
    }

    /// Adds ten demo products when the catalogue is empty; how many were added.
    pub async fn seed_demo(&self) -> anyhow::Result<usize> {
        Ok(application::seed(self.store.as_ref(), &self.commands).await?)
    }

    /// Serves until the soft stop, then finishes what runs.
    pub async fn run(self, shutdown: Shutdown) -> anyhow::Result<()> {
        let tasks = Tasks::new();
        for (name, events) in self.events {
            tasks.spawn(name, events);
        }
        tasks.spawn("folding", application::keep_folded(self.store, shutdown.soft.clone()));
        tasks.spawn("housekeeping", shop_sql::housekeeping(self.shared, self.clock, shutdown.soft.clone()));
        let (listener, service) = self.http;
        let http = shop_web::serve(listener, service, &self.config.http, shutdown.clone());
        let (listener, routes, parts) = self.grpc;
        let grpc = shop_rpc::serve(listener, routes, parts, shutdown.clone());
        tasks.underlie(&shutdown.soft, Box::pin(async { tokio::try_join!(http, grpc) })).await?;
        tasks.wait(&shutdown.hard).await
    }
}

/// What this service cannot work without, and the events, which it can: while no bus answers, it sells on and catches up.
fn health(store: &shop_sql::Store, bus: &Arc<dyn Bus>, shutdown: &Shutdown) -> Health {
    let health = Health::new(shutdown);
    let (store, bus) = (store.clone(), bus.clone());
    health.check("database", move || {
        let store = store.clone();
        async move { shop_sql::check(&store).await }
    });
    health.check_optional("events", move || {
        let bus = bus.clone();
        async move { bus.check().await.map_err(|error| error.to_string()) }
    });
    health
}
