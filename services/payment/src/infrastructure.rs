//! The outside of the service: its store, its neighbours, the provider that moves the money.

mod aged;
mod baskets;
mod counters;
mod inbox;
mod ledger;
mod left_behind;
mod neighbour;
mod notices;
mod provider;
mod row;
mod sandbox;
mod shelf;
mod stock;
mod store;
mod stripe;

#[cfg(test)]
pub(crate) mod contract;
#[cfg(test)]
pub(crate) mod memory;

use std::sync::Arc;

use shop_clock::SharedClock;
use shop_config::{Database, Target};
use shop_events::Bus;
use shop_sql::{Engine, Relay, Store, migrate, migrate_server};
use shop_telemetry::Metrics;
use sqlx::migrate::Migrator;

use self::counters::Counters;
use self::provider::Watched;
use self::sandbox::Sandbox;
use self::store::Sql;
use self::stripe::Stripe;
use crate::config::ProviderSettings;
use crate::domain::{Aged, Error, Inbox, Payments, Providers, SANDBOX, STRIPE, Waits};

pub(crate) use self::baskets::GrpcBaskets;
pub(crate) use self::notices::notices;
pub(crate) use self::stock::GrpcStock;

static MARIADB: Migrator = shop_sql::migrations!("migrations/mariadb");
static SQLITE: Migrator = shop_sql::migrations!("migrations/sqlite");

/// A store, open and at the present schema, and what lives beside it in the same database.
pub(crate) struct Opened {
    /// The payments.
    pub(crate) store: Arc<dyn Payments>,
    /// The same, to forget old ones, and persons.
    pub(crate) aged: Arc<dyn Aged>,
    /// The same, to see what waits.
    pub(crate) waits: Arc<dyn Waits>,
    /// The same for calls of providers.
    pub(crate) inbox: Arc<dyn Inbox>,
    /// The same store for the parts that every service shares.
    pub(crate) shared: Store,
    /// Who moves the money; the sandbox's books are here, too.
    pub(crate) providers: Providers,
    /// Carries the outbox to the bus; to be run.
    pub(crate) relay: Relay,
}

/// What a store is opened with.
pub(crate) struct With<'a> {
    pub(crate) provider: &'a ProviderSettings,
    pub(crate) bus: Arc<dyn Bus>,
    pub(crate) clock: SharedClock,
    pub(crate) metrics: &'a Metrics,
}

/// Opens the store that the settings name; MariaDB or SQLite.
pub(crate) async fn open(database: &Database, with: With<'_>) -> anyhow::Result<Opened> {
    match database.target().map_err(anyhow::Error::msg)? {
        Target::Postgres(_) | Target::MariaDb(_) => {
            let pool = shop_sql::mariadb(database).await?;
            migrate_server(database, &pool, &MARIADB).await?;
            with.on(pool)
        }
        Target::Sqlite(path) => {
            let pools = shop_sql::sqlite(&path).await?;
            migrate(&pools.write, &SQLITE).await?;
            with.on(pools)
        }
    }
}

impl With<'_> {
    /// The store and its company on `engine`.
    fn on<E: Engine + Clone + Into<Store>>(&self, engine: E) -> anyhow::Result<Opened> {
        let shared: Store = engine.clone().into();
        let relay = Relay::new("payment", shared.clone(), self.bus.clone(), self.clock.clone(), self.metrics);
        let store = Arc::new(Sql {
            engine: engine.clone(),
            clock: self.clock.clone(),
            wake: relay.wake(),
            counters: Counters::new(self.metrics),
        });
        let mut providers = Providers::default();
        let stripe = &self.provider.stripe;
        if stripe.is_set() {
            let stripe = Stripe::open(stripe, self.provider.timeout.get(), self.clock.clone(), self.metrics)?;
            providers = with_stripe(providers, stripe, self.provider, self.metrics);
        }
        if self.provider.sandbox == Some(true) {
            let sandbox = Sandbox { engine, clock: self.clock.clone(), slow: self.provider.slow.get() };
            let bell = Arc::new(sandbox.clone());
            providers = providers.with(SANDBOX, Arc::new(Watched::new(sandbox, self.provider, self.metrics)));
            providers = providers.with_bell(SANDBOX, bell);
        }
        Ok(Opened { aged: store.clone(), waits: store.clone(), inbox: store.clone(), store, shared, providers, relay })
    }
}

/// With Stripe, who calls, too.
fn with_stripe(providers: Providers, stripe: Stripe, settings: &ProviderSettings, metrics: &Metrics) -> Providers {
    let bell = Arc::new(stripe.clone());
    providers.with(STRIPE, Arc::new(Watched::new(stripe, settings, metrics))).with_bell(STRIPE, bell)
}

/// Stripe alone, at the end of a wire of the test's.
#[cfg(test)]
pub(crate) fn stripe_over(
    wire: Arc<dyn shop_stripe::Wire>,
    settings: &ProviderSettings,
    clock: SharedClock,
) -> anyhow::Result<Providers> {
    let metrics = Metrics::new("payment-service");
    let client = shop_stripe::Client::over(wire, &settings.stripe, &metrics)?;
    let stripe = Stripe::with(client, &settings.stripe, settings.timeout.get(), clock)?;
    Ok(with_stripe(Providers::default(), stripe, settings, &metrics))
}

/// Why a transaction ended without effect.
type Failure = shop_sql::Failure<Error>;

impl shop_sql::Refusal for Error {}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        failure.told()
    }
}
