//! The payment service: charges baskets, once each, and pays back.
//!
//! Four layers: `domain` has the rules, `application` the commands and queries, `interface` the ways in (HTTP, gRPC,
//! the rounds of recovery), `infrastructure` the stores, the neighbours and the provider. This file wires them.

mod application;
#[cfg(test)]
mod checkout;
mod config;
mod crash;
mod domain;
mod infrastructure;
mod interface;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use anyhow::Context;
use salvo::Service;
use shop_clock::{SharedClock, SystemClock};
use shop_events::Bus;
use shop_proto::payment::v1::payment_service_server::PaymentServiceServer;
use shop_runtime::{CancellationToken, Shutdown, Tasks};
use shop_sql::{Idempotency, Relay, Store};
use shop_telemetry::Metrics;
use shop_web::{Doors, Health};
use tonic::service::Routes;

use self::application::{Commands, Queries, Recovery};
use self::infrastructure::{GrpcBaskets, GrpcStock, Opened, With};
use self::interface::{Api, PaymentGrpc, Rounds};

pub use self::config::{Config, ProviderSettings, RecoverySettings};
#[cfg(feature = "crash-points")]
pub use self::crash::POINTS as CRASH_POINTS;

/// The payment service, built and bound but not yet serving.
pub struct Payment {
    config: Config,
    http: (TcpListener, Service),
    grpc: (TcpListener, Routes, shop_rpc::Parts),
    store: Store,
    relay: Relay,
    rounds: Rounds,
    tasks: Tasks,
    clock: SharedClock,
}

impl Payment {
    /// Takes the ports (0 is any that is free) and opens the store.
    pub async fn build(
        config: Config,
        bus: Arc<dyn Bus>,
        metrics: Metrics,
        shutdown: &Shutdown,
    ) -> anyhow::Result<Self> {
        Box::pin(Self::build_at(config, bus, metrics, shutdown, Arc::new(SystemClock))).await
    }

    /// Opens the store.
    pub async fn build_behind(
        doors: Doors,
        config: Config,
        bus: Arc<dyn Bus>,
        metrics: Metrics,
        shutdown: &Shutdown,
    ) -> anyhow::Result<Self> {
        Box::pin(Self::build_with(doors, config, bus, metrics, shutdown, Arc::new(SystemClock))).await
    }

    /// As [`Payment::build`] on another clock.
    pub async fn build_at(
        config: Config,
        bus: Arc<dyn Bus>,
        metrics: Metrics,
        shutdown: &Shutdown,
        clock: SharedClock,
    ) -> anyhow::Result<Self> {
        let doors = Doors::of_process(&config.http, &config.grpc).await?;
        Box::pin(Self::build_with(doors, config, bus, metrics, shutdown, clock)).await
    }

    async fn build_with(
        Doors { http, grpc }: Doors,
        config: Config,
        bus: Arc<dyn Bus>,
        metrics: Metrics,
        shutdown: &Shutdown,
        clock: SharedClock,
    ) -> anyhow::Result<Self> {
        let bus = crash::at_publish(bus);
        let with = With { provider: &config.provider, bus: bus.clone(), clock: clock.clone(), metrics: &metrics };
        let Opened { payments, provider, store, relay } = infrastructure::open(&config.database, with).await?;
        shop_sql::watch(&metrics, &store)?;

        let commands = Commands {
            payments: payments.clone(),
            baskets: Arc::new(GrpcBaskets::new(config.basket.clone())?),
            stock: Arc::new(GrpcStock::new(config.product.clone())?),
            provider,
            clock: clock.clone(),
            settle_after: config.recovery.settle_after.get(),
        };
        let rounds = Rounds::new(Recovery { commands: commands.clone() }, config.recovery.interval.get(), &metrics);
        let tasks = Tasks::new();
        // Longer than any request may take, so that a key is free again only when its request is over.
        let lease = config.http.timeout.get().max(config.grpc.timeout.get()) * 2;
        let api = Api {
            commands,
            queries: Queries { payments },
            keys: Arc::new(Idempotency::new(store.clone(), clock.clone()).with_lease(lease)),
            clock: clock.clone(),
            tasks: tasks.clone(),
        };
        let health = health(shutdown, &store, bus);
        let service = shop_web::service(
            interface::routes(api.clone()),
            shop_web::Parts {
                about: interface::ABOUT,
                metrics: metrics.clone(),
                health: health.clone(),
                settings: config.http.clone(),
            },
        );
        let grpc_service = PaymentServiceServer::new(PaymentGrpc::new(api));
        let routes = Routes::new(grpc_service.max_decoding_message_size(config.grpc.message_bytes()));
        let descriptors = shop_proto::FILE_DESCRIPTOR_SET;
        let parts = shop_rpc::Parts { metrics, health, descriptors, settings: config.grpc.clone() };
        Ok(Self { config, http: (http, service), grpc: (grpc, routes, parts), store, relay, rounds, tasks, clock })
    }

    /// Where HTTP is served.
    pub fn http_addr(&self) -> SocketAddr {
        self.http.0.local_addr().unwrap_or_else(|_| self.config.http.addr())
    }

    /// Where gRPC is served.
    pub fn grpc_addr(&self) -> SocketAddr {
        self.grpc.0.local_addr().unwrap_or_else(|_| self.config.grpc.addr())
    }

    /// How many events wait for the bus.
    pub async fn outbox_pending(&self) -> anyhow::Result<i64> {
        shop_sql::outbox::pending(&self.store).await.context("could not count the outbox")
    }

    /// Serves until the soft stop. Requests in flight are finished first, then what they began, then the relay ends, so
    /// that their events still have a chance to leave.
    pub async fn run(self, shutdown: Shutdown) -> anyhow::Result<()> {
        let background = Tasks::new();
        let drained = CancellationToken::new();
        background.spawn("relay", self.relay.run(drained.clone()));
        background.spawn("recovery", self.rounds.run(shutdown.soft.clone()));
        background.spawn("housekeeping", shop_sql::housekeeping(self.store.clone(), self.clock, shutdown.soft.clone()));

        let (listener, service) = self.http;
        let http = shop_web::serve(listener, service, &self.config.http, shutdown.clone());
        let (listener, routes, parts) = self.grpc;
        let grpc = shop_rpc::serve(listener, routes, parts, shutdown.clone());
        let served = background.underlie(&shutdown.soft, futures_util::future::try_join(http, grpc)).await;
        // A server that failed ends the rest, too.
        shutdown.soft.cancel();
        let finished = self.tasks.wait(&shutdown.hard).await;
        drained.cancel();
        let ended = background.wait(&shutdown.hard).await;
        served.map(drop).and(finished).and(ended)
    }
}

fn health(shutdown: &Shutdown, store: &Store, bus: Arc<dyn Bus>) -> Health {
    let health = Health::new(shutdown);
    let store = store.clone();
    health.check("store", move || {
        let store = store.clone();
        async move { shop_sql::check(&store).await }
    });
    // The outbox keeps events while the bus is away: no request fails for it.
    health.check_optional("bus", move || {
        let bus = bus.clone();
        async move { bus.check().await.map_err(|error| error.to_string()) }
    });
    health
}
