//! How busy the pools are, as metrics.

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntGaugeVec, Opts};
use shop_telemetry::Metrics;
use sqlx::Pool;

use crate::Store;

/// Registers `store_pool_connections{pool, state}` (`in_use`, `idle`) and `store_pool_max_connections{pool}` for the
/// store's pools; read when the metrics are asked for.
pub fn watch(metrics: &Metrics, store: &Store) -> anyhow::Result<()> {
    let connections = Opts::new("store_pool_connections", "Connections of a store's pool by state: in_use or idle.");
    let max = Opts::new("store_pool_max_connections", "The most connections the pool opens; all in use means waiting.");
    let collector = Pools {
        store: store.clone(),
        connections: IntGaugeVec::new(connections, &["pool", "state"])?,
        max: IntGaugeVec::new(max, &["pool"])?,
    };
    metrics.add(collector);
    Ok(())
}

struct Pools {
    store: Store,
    connections: IntGaugeVec,
    max: IntGaugeVec,
}

impl Pools {
    fn read<DB: sqlx::Database>(&self, name: &str, pool: &Pool<DB>) {
        let idle = i64::try_from(pool.num_idle()).unwrap_or(i64::MAX);
        self.connections.with_label_values(&[name, "idle"]).set(idle);
        self.connections.with_label_values(&[name, "in_use"]).set((i64::from(pool.size()) - idle).max(0));
        self.max.with_label_values(&[name]).set(pool.options().get_max_connections().into());
    }
}

impl Collector for Pools {
    fn desc(&self) -> Vec<&Desc> {
        [self.connections.desc(), self.max.desc()].concat()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        match &self.store {
            Store::Postgres(pool) => self.read("postgres", pool),
            Store::MariaDb(pool) => self.read("mariadb", pool),
            Store::Sqlite(pools) => {
                self.read("sqlite_read", &pools.read);
                self.read("sqlite_write", &pools.write);
            }
        }
        [self.connections.collect(), self.max.collect()].concat()
    }
}
