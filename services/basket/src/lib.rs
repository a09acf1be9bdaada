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

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use shop_clock::{SharedClock, SystemClock};
use shop_events::Bus;
use shop_idempotency::Keys;
use shop_identity::Identity;
use shop_proto::FILE_DESCRIPTOR_SET;
use shop_proto::basket::v1::basket_service_server::BasketServiceServer;
use shop_runtime::{CancellationToken, Shutdown, Tasks};
use shop_servers::{Parts, Servers};
use shop_telemetry::Metrics;
use shop_web::Doors;
use tonic::service::Routes;

use self::application::{Commands, Queries};
use self::infrastructure::GrpcCatalog;
use self::interface::{Api, BasketGrpc};

pub use self::config::{Baskets as BasketRules, Config};

/// How often expired baskets are deleted where the store does not do it by itself.
const SWEEP_EVERY: Duration = Duration::from_mins(1);

/// The basket service, built and bound but not yet serving.
pub struct Basket {
    servers: Servers,
    events: [(&'static str, BoxFuture<'static, ()>); 1],
    commands: Commands,
    sql: Option<shop_sql::Store>,
    clock: SharedClock,
    keys: Keys,
    identity: Identity,
}

impl Basket {
    /// The groups of its consumers.
    pub const GROUPS: [&str; 1] = interface::GROUPS;

    /// Opens the store and subscribes to events. `doors` are what it listens on.
    pub async fn build(
        doors: Doors,
        config: Config,
        bus: Arc<dyn Bus>,
        metrics: Metrics,
        shutdown: &Shutdown,
    ) -> anyhow::Result<Self> {
        let clock: SharedClock = Arc::new(SystemClock);
        let opened = infrastructure::open(&config.redis, clock.clone()).await?;
        if let Some(shared) = &opened.shared {
            shop_sql::watch(&metrics, shared)?;
        }
        // What this service cannot work without is its store. While no bus answers, baskets are filled and paid for as
        // ever, and what was paid for leaves them later. The product service is not asked for: reading and emptying
        // baskets goes on while it is away.
        let store = opened.store.clone();
        let checked = move || {
            let store = store.clone();
            async move { store.check().await }
        };
        let health = shop_servers::health(checked, bus.clone(), shutdown);
        let identity = Identity::open(&config.identity, "basket")?;
        identity.watch(&health);

        let catalog = Arc::new(GrpcCatalog::new(config.product, &config.tls, identity.credential("product"))?);
        let keys = Keys::new(opened.keys);
        let api = Api {
            commands: Commands::new(opened.store.clone(), catalog.clone(), clock.clone(), config.basket.ttl.get()),
            queries: Queries::new(opened.store, catalog),
            keys: keys.clone(),
            clock: clock.clone(),
            identity: identity.clone(),
        };
        let commands = api.commands.clone();
        let events = interface::subscriptions(&commands)
            .map(|(name, subscription)| (name, bus.subscribe(subscription, shutdown.soft.clone())));
        let routes = interface::routes(&api);
        let calls = BasketServiceServer::new(BasketGrpc::new(api));
        let calls = Routes::new(calls.max_decoding_message_size(config.grpc.message_bytes()));
        let guard = identity.guard(interface::ACCESS);
        let parts = Parts { about: interface::ABOUT, metrics, health, guard, tls: config.tls };
        let servers = Servers::new(doors, (routes, config.http), (calls, FILE_DESCRIPTOR_SET, config.grpc), parts)?;
        Ok(Self { servers, events, commands, sql: opened.shared, clock, keys, identity })
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

    /// Serves until the soft stop, then finishes what runs.
    pub async fn run(self, shutdown: Shutdown) -> anyhow::Result<()> {
        let (tasks, served) = (Tasks::new(), CancellationToken::new());
        tasks.spawn("keys", self.keys.run(served.clone()));
        for (name, events) in self.events {
            tasks.spawn(name, events);
        }
        tasks.spawn("identity", self.identity.run(shutdown.soft.clone()));
        if let Some(sql) = self.sql {
            tasks.spawn("sweep", sweep(self.commands, shutdown.soft.clone()));
            tasks.spawn("housekeeping", shop_sql::housekeeping(sql, self.clock, shutdown.soft.clone()));
        }
        tasks.underlie(&shutdown.soft, Box::pin(self.servers.run(shutdown.clone()))).await?;
        served.cancel();
        tasks.wait(&shutdown.hard).await
    }
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
