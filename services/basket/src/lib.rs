//! The basket service: what each user means to buy.
//!
//! Four layers: `domain` has the rules, `application` the commands and queries, `interface` the ways in (HTTP, gRPC,
//! events), `infrastructure` the stores and the product service's client. This file wires them.

mod application;
mod config;
mod domain;
mod infrastructure;
mod interface;

#[cfg(test)]
mod tests;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use salvo::Service;
use shop_clock::{SharedClock, SystemClock};
use shop_events::{Bus, Subscription, Topic};
use shop_proto::basket::v1::basket_service_server::BasketServiceServer;
use shop_runtime::{CancellationToken, Shutdown, Tasks};
use shop_telemetry::Metrics;
use shop_web::{Doors, Health};
use tonic::service::Routes;

use self::application::{Commands, Queries};
use self::infrastructure::{GrpcCatalog, Opened};
use self::interface::{Api, BasketGrpc, Clearing};

pub use self::config::{Baskets as BasketRules, Config};

/// How often expired baskets are deleted where the store does not do it by itself.
const SWEEP_EVERY: Duration = Duration::from_mins(1);

/// The basket service, built and bound but not yet serving.
pub struct Basket {
    config: Config,
    http: (TcpListener, Service),
    grpc: (TcpListener, Routes, shop_rpc::Parts),
    http_addr: SocketAddr,
    grpc_addr: SocketAddr,
    events: BoxFuture<'static, ()>,
    commands: Commands,
    sql: Option<shop_sql::Store>,
    clock: SharedClock,
}

impl Basket {
    /// Takes the ports (0 is any that is free) and goes on as [`Basket::build_behind`].
    pub async fn build(
        config: Config,
        bus: Arc<dyn Bus>,
        metrics: Metrics,
        shutdown: &Shutdown,
    ) -> anyhow::Result<Self> {
        let doors = Doors::of_process(&config.http, &config.grpc).await?;
        Box::pin(Self::build_behind(doors, config, bus, metrics, shutdown)).await
    }

    /// Opens the store and subscribes to events.
    pub async fn build_behind(
        doors: Doors,
        config: Config,
        bus: Arc<dyn Bus>,
        metrics: Metrics,
        shutdown: &Shutdown,
    ) -> anyhow::Result<Self> {
        let (http_addr, grpc_addr) = doors.addrs()?;
        let clock: SharedClock = Arc::new(SystemClock);
        // Longer than any request may take, so that a key is free again only when its request is over.
        let lease = config.http.timeout.get().max(config.grpc.timeout.get()) * 2;
        let store = infrastructure::open(&config.redis, clock.clone(), lease).await?;
        if let Some(sql) = &store.sql {
            shop_sql::watch(&metrics, sql)?;
        }
        let health = health(&store, &bus, shutdown);

        let catalog = Arc::new(GrpcCatalog::new(config.product.clone())?);
        let commands = Commands::new(store.baskets.clone(), catalog, clock.clone(), config.basket.ttl.get());
        let queries = Queries::new(store.baskets);
        let api = Api { commands: commands.clone(), queries: queries.clone(), keys: store.keys, clock: clock.clone() };
        let parts = shop_web::Parts {
            about: interface::ABOUT,
            metrics: metrics.clone(),
            health: health.clone(),
            settings: config.http.clone(),
        };
        let service = shop_web::service(interface::routes(&api), parts);
        let grpc_service = BasketServiceServer::new(BasketGrpc::new(commands.clone(), queries));
        let routes = Routes::new(grpc_service.max_decoding_message_size(config.grpc.message_bytes()));
        let descriptors = shop_proto::FILE_DESCRIPTOR_SET;
        let parts = shop_rpc::Parts { metrics, health, descriptors, settings: config.grpc.clone() };
        let handler = Arc::new(Clearing::new(commands.clone()));
        let subscription = Subscription { group: "basket".to_owned(), topics: vec![Topic::Basket], handler };
        Ok(Self {
            http_addr,
            grpc_addr,
            http: (doors.http, service),
            grpc: (doors.grpc, routes, parts),
            events: bus.subscribe(subscription, shutdown.soft.clone()),
            commands,
            sql: store.sql,
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

    /// Serves until the soft stop, then finishes what runs.
    pub async fn run(self, shutdown: Shutdown) -> anyhow::Result<()> {
        let tasks = Tasks::new();
        tasks.spawn("events", self.events);
        if let Some(sql) = self.sql {
            tasks.spawn("sweep", sweep(self.commands, shutdown.soft.clone()));
            tasks.spawn("housekeeping", shop_sql::housekeeping(sql, self.clock, shutdown.soft.clone()));
        }
        let (listener, service) = self.http;
        let http = shop_web::serve(listener, service, &self.config.http, shutdown.clone());
        let (listener, routes, parts) = self.grpc;
        let grpc = shop_rpc::serve(listener, routes, parts, shutdown.clone());
        tasks.underlie(&shutdown.soft, Box::pin(async { tokio::try_join!(http, grpc) })).await?;
        tasks.wait(&shutdown.hard).await
    }
}

/// What this service cannot work without, and the events, which it can: while no bus answers, baskets are filled and
/// paid for as ever, and what was paid for leaves them later. The product service is not asked for: reading and
/// emptying baskets goes on while it is away.
fn health(store: &Opened, bus: &Arc<dyn Bus>, shutdown: &Shutdown) -> Health {
    let health = Health::new(shutdown);
    let (baskets, bus) = (store.baskets.clone(), bus.clone());
    health.check(store.name, move || {
        let baskets = baskets.clone();
        async move { baskets.check().await }
    });
    health.check_optional("events", move || {
        let bus = bus.clone();
        async move { bus.check().await.map_err(|error| error.to_string()) }
    });
    health
}

/// Deletes expired baskets from time to time.
async fn sweep(commands: Commands, stop: CancellationToken) {
    loop {
        match commands.sweep().await {
            Ok(0) => {}
            Ok(baskets) => tracing::debug!(baskets, "forgot expired baskets"),
            Err(error) => tracing::warn!(error = %error, "could not delete expired baskets"),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(SWEEP_EVERY) => {}
        }
    }
}
