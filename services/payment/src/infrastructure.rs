//! The outside of the service: its store, its neighbours, the provider that moves the money.

mod baskets;
mod ledger;
mod neighbour;
mod provider;
mod rows;
mod sandbox;
mod statements;
mod stock;
mod store;

#[cfg(test)]
pub(crate) mod contract;

use std::sync::Arc;

use shop_clock::SharedClock;
use shop_config::{Database, Target};
use shop_events::Bus;
use shop_sql::{Relay, Store, Wake};
use shop_telemetry::Metrics;
use sqlx::Pool;
use sqlx::migrate::Migrator;

pub(crate) use baskets::GrpcBaskets;
pub(crate) use stock::GrpcStock;

use crate::config::ProviderSettings;
use crate::domain::{Payments, Provider};
use provider::Watched;
use sandbox::Sandbox;
use store::SqlPayments;

static MARIADB: Migrator = shop_sql::migrations!("migrations/mariadb");
static SQLITE: Migrator = shop_sql::migrations!("migrations/sqlite");

/// What lives in the database.
pub(crate) struct Opened {
    pub(crate) payments: Arc<dyn Payments>,
    pub(crate) provider: Arc<dyn Provider>,
    pub(crate) store: Store,
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

/// Opens the store that the URL's scheme names, and brings it to the present schema.
pub(crate) async fn open(database: &Database, with: With<'_>) -> anyhow::Result<Opened> {
    match database.target().map_err(anyhow::Error::msg)? {
        Target::MariaDb(_) => {
            let pool = shop_sql::mariadb(database).await?;
            shop_sql::migrate(&pool, &MARIADB).await?;
            let relay = relay(pool.clone().into(), &with);
            let parts =
                Parts { read: pool.clone(), write: pool.clone(), begin: "START TRANSACTION", wake: relay.wake() };
            Ok(Opened {
                payments: Arc::new(payments(&parts, &with)),
                provider: Arc::new(Watched::new(sandbox(parts, &with), with.provider, with.metrics)),
                store: pool.into(),
                relay,
            })
        }
        Target::Sqlite(path) => {
            let pools = shop_sql::sqlite(&path).await?;
            shop_sql::migrate(&pools.write, &SQLITE).await?;
            let relay = relay(pools.clone().into(), &with);
            let (read, write) = (pools.read.clone(), pools.write.clone());
            let parts = Parts { read, write, begin: "BEGIN IMMEDIATE", wake: relay.wake() };
            Ok(Opened {
                payments: Arc::new(payments(&parts, &with)),
                provider: Arc::new(Watched::new(sandbox(parts, &with), with.provider, with.metrics)),
                store: pools.into(),
                relay,
            })
        }
        Target::Postgres(_) => {
            anyhow::bail!("payment keeps its data in mysql://… or sqlite://…, not in PostgreSQL (database.url)")
        }
    }
}

/// An engine's pools and how a writing transaction begins on it.
struct Parts<DB: sqlx::Database> {
    read: Pool<DB>,
    write: Pool<DB>,
    begin: &'static str,
    wake: Wake,
}

fn relay(store: Store, with: &With<'_>) -> Relay {
    Relay::new("payment", store, with.bus.clone(), with.clock.clone(), with.metrics)
}

fn payments<DB: sqlx::Database>(parts: &Parts<DB>, with: &With<'_>) -> SqlPayments<DB> {
    let help = "Payments that came into a status.";
    SqlPayments {
        read: parts.read.clone(),
        write: parts.write.clone(),
        begin: parts.begin,
        clock: with.clock.clone(),
        wake: parts.wake.clone(),
        entered: with.metrics.counters("payments_total", help, &["status"]),
    }
}

fn sandbox<DB: sqlx::Database>(parts: Parts<DB>, with: &With<'_>) -> Sandbox<DB> {
    let Parts { read, write, begin, .. } = parts;
    Sandbox { read, write, begin, clock: with.clock.clone(), slow: with.provider.slow.get() }
}
