//! The payment service: charges baskets, once each, and pays back.
//!
//! Four layers: `domain` has the rules, `application` the commands and queries, `interface` the ways in (HTTP, gRPC,
//! the scheduler of recovery), `infrastructure` the stores, the neighbours and the provider. This file wires them.

mod application;
mod config;
mod crash;
mod domain;
mod infrastructure;
mod interface;
#[cfg(test)]
mod tests;

use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use shop_clock::{SharedClock, SystemClock};
use shop_events::{Bus, MemoryBus};
use shop_fault::Fault;
use shop_idempotency::Keys;
use shop_identity::Identity;
use shop_proto::FILE_DESCRIPTOR_SET;
use shop_proto::payment::v1::payment_service_server::PaymentServiceServer;
use shop_proto::payment::v1::settlement_service_server::SettlementServiceServer;
use shop_runtime::{CancellationToken, Shutdown, Tasks};
use shop_servers::{Parts, Servers};
use shop_sql::{Idempotency, Relay, Store};
use shop_telemetry::Metrics;
use shop_web::Doors;
use tonic::service::Routes;

use self::application::{Bells, Commands, Held, Neighbours, Personal, Queries, Reconcile, Recovery, Retention};
use self::domain::WHAT_TO_SET;
use self::infrastructure::{GrpcBaskets, GrpcStock, Opened, With};
use self::interface::{Api, PaymentGrpc, Scheduler, SettlementGrpc, Waiting, Webhooks};

pub use self::config::{CheckoutSettings, Config, ProviderSettings, RecoverySettings, RetentionSettings};
#[cfg(feature = "crash-points")]
pub use self::crash::POINTS as CRASH_POINTS;
pub use self::interface::ReconcileFlags;

/// The payment service, built and bound but not yet serving.
pub struct Payment {
    servers: Servers,
    store: Store,
    relay: Relay,
    held: Held,
    scheduler: Scheduler,
    waiting: Waiting,
    retention: Retention,
    tasks: Tasks,
    clock: SharedClock,
    keys: Keys,
    identity: Identity,
}

/// Compares payments with what product keeps of them, as `flags` say, and prints what differs; whether nothing does, any more.
/// Neither serves nor sends events.
pub async fn reconcile(config: Config, flags: &ReconcileFlags) -> anyhow::Result<bool> {
    let (clock, metrics): (SharedClock, _) = (Arc::new(SystemClock), Metrics::new("payment-service"));
    let bus = Arc::new(MemoryBus::new(None));
    let with = With { provider: &config.provider, bus, clock: clock.clone(), metrics: &metrics };
    let payments = infrastructure::open(&config.database, with).await?.store;
    let identity = Identity::open(&config.identity, "payment")?;
    let shelf = Arc::new(GrpcStock::new(config.product, &config.tls, identity.credential("product"))?);
    let books = Reconcile::new(payments, shelf);
    let compared = books.run(clock.now() - flags.since(), flags.wait.get(), flags.repair).await;
    let report = compared.map_err(Fault::from).context("payments and stock could not be compared")?;
    let mut stdout = std::io::stdout();
    let told = stdout.write_all(flags.render(&report).as_bytes()).and_then(|()| stdout.flush());
    told.context("standard output cannot be written")?;
    Ok(report.left == 0)
}

impl Payment {
    /// Opens the store. `doors` are what it listens on.
    pub async fn build(
        doors: Doors,
        config: Config,
        bus: Arc<dyn Bus>,
        metrics: Metrics,
        shutdown: &Shutdown,
    ) -> anyhow::Result<Self> {
        Box::pin(Self::build_at(doors, config, bus, metrics, shutdown, Arc::new(SystemClock))).await
    }

    /// As [`Payment::build`] on another clock.
    pub async fn build_at(
        doors: Doors,
        config: Config,
        bus: Arc<dyn Bus>,
        metrics: Metrics,
        shutdown: &Shutdown,
        clock: SharedClock,
    ) -> anyhow::Result<Self> {
        let bus = crash::at_publish(bus);
        let with = With { provider: &config.provider, bus: bus.clone(), clock: clock.clone(), metrics: &metrics };
        let Opened { store, aged, waits, inbox, shared, providers, relay } =
            infrastructure::open(&config.database, with).await?;
        shop_sql::watch(&metrics, &shared)?;
        // What this service cannot work without is its store. While no bus answers, the outbox keeps the events: no
        // request fails for it.
        let checked = shared.clone();
        let health = shop_servers::health(move || shop_sql::check(checked.clone()), bus, shutdown);
        let identity = Identity::open(&config.identity, "payment")?;
        identity.watch(&health);

        let baskets = Arc::new(GrpcBaskets::new(config.basket, &config.tls, identity.credential("basket"))?);
        let stock = Arc::new(GrpcStock::new(config.product, &config.tls, identity.credential("product"))?);
        let notices = infrastructure::notices(config.notification, &config.tls, identity.credential("notification"))?;
        let personal = Personal::new((store.clone(), aged.clone()), baskets.clone(), notices, clock.clone());
        if providers.is_empty() {
            tracing::warn!("no payment provider is configured: orders are taken, and none can be paid; {WHAT_TO_SET}");
            health.check_optional("provider", || std::future::ready(Err(format!("none is configured; {WHAT_TO_SET}"))));
        }
        let approves_without_token = config.provider.approves_without_token;
        let neighbours = Neighbours { baskets, stock, providers, approves_without_token };
        let settle_after = config.recovery.settle_after.get();
        let tasks = Tasks::new();
        let keys = Keys::new(Arc::new(Idempotency::new(shared.clone(), clock.clone())));
        let commands = Commands::new(store.clone(), neighbours, clock.clone(), settle_after, (&config.checkout).into());
        let bells = Bells::new(commands.clone(), inbox, clock.clone());
        let api = Api {
            commands,
            webhooks: Webhooks::new(bells, &metrics),
            queries: Queries::new(store),
            personal,
            keys: keys.clone(),
            clock: clock.clone(),
            tasks: tasks.clone(),
        };
        let held = api.commands.reservations();
        let recovery = Recovery::new(api.commands.clone(), config.provider.timeout.get());
        let waiting = Waiting::new(waits, clock.clone(), &metrics);
        let scheduler = Scheduler::new(recovery, config.recovery.interval.get(), &metrics);
        let RetentionSettings { unpaid, buyers } = config.retention;
        let retention = Retention::new(
            aged,
            clock.clone(),
            unpaid.map(shop_config::Duration::get),
            buyers.map(shop_config::Duration::get),
        );
        let routes = interface::routes(&api);
        let settlement = SettlementServiceServer::new(SettlementGrpc::new(&api));
        let calls = PaymentServiceServer::new(PaymentGrpc::new(api));
        let most = config.grpc.message_bytes();
        let calls = Routes::new(calls.max_decoding_message_size(most));
        let calls = calls.add_service(settlement.max_decoding_message_size(most));
        let guard = identity.guard(interface::ACCESS);
        let parts = Parts { about: interface::ABOUT, metrics, health, guard, tls: config.tls };
        let servers = Servers::new(doors, (routes, config.http), (calls, FILE_DESCRIPTOR_SET, config.grpc), parts)?;
        Ok(Self { servers, store: shared, relay, held, scheduler, waiting, retention, tasks, clock, keys, identity })
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
        background.spawn("keys", self.keys.run(drained.clone()));
        background.spawn("reservations", self.held.run(drained.clone()));
        background.spawn("recovery", self.scheduler.run(shutdown.soft.clone()));
        background.spawn("waiting", self.waiting.run(shutdown.soft.clone()));
        let (retention, stop) = (self.retention.run(), shutdown.soft.clone());
        background.spawn("retention", async move {
            stop.run_until_cancelled(retention).await;
        });
        background.spawn("identity", self.identity.run(shutdown.soft.clone()));
        background.spawn("housekeeping", shop_sql::housekeeping(self.store.clone(), self.clock, shutdown.soft.clone()));

        let served = background.underlie(&shutdown.soft, Box::pin(self.servers.run(shutdown.clone()))).await;
        // A server that failed ends the rest, too.
        shutdown.soft.cancel();
        let finished = self.tasks.wait(&shutdown.hard).await;
        drained.cancel();
        let ended = background.wait(&shutdown.hard).await;
        served.and(finished).and(ended)
    }
}
