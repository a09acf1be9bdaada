//! The outside: stores behind [`Baskets`](crate::domain::Baskets), and the catalogue over gRPC.

mod catalog;
mod document;
mod redis;
mod sqlite;

#[cfg(test)]
mod contract;

use std::sync::Arc;
use std::time::Duration;

use shop_clock::SharedClock;
use shop_config::{Redis, RedisTarget};

use self::redis::{Link, RedisBaskets, RedisIdempotency};
use self::sqlite::SqliteBaskets;
use crate::domain::Baskets;

pub(crate) use self::catalog::GrpcCatalog;

/// An open store: where baskets and the answers to idempotency keys are kept.
pub(crate) struct Opened {
    /// The baskets.
    pub(crate) baskets: Arc<dyn Baskets>,
    /// The answers to idempotency keys.
    pub(crate) keys: Arc<dyn shop_idempotency::Store>,
    /// The SQL store under both, if that is what it is: it wants housekeeping.
    pub(crate) sql: Option<shop_sql::Store>,
}

/// Opens the store that the settings' URL names; `lease` is how long a request holds its idempotency key.
pub(crate) async fn open(settings: &Redis, clock: SharedClock, lease: Duration) -> anyhow::Result<Opened> {
    match settings.target().map_err(anyhow::Error::msg)? {
        RedisTarget::Redis(url) => {
            let link = Link::open(&url, settings).await?;
            Ok(Opened {
                baskets: Arc::new(RedisBaskets::new(link.clone(), clock.clone())),
                keys: Arc::new(RedisIdempotency::new(link, clock, lease)),
                sql: None,
            })
        }
        RedisTarget::Sqlite(path) => {
            let baskets = SqliteBaskets::open(&path, clock.clone()).await?;
            let sql = shop_sql::Store::from(baskets.store().clone());
            Ok(Opened {
                baskets: Arc::new(baskets),
                keys: Arc::new(shop_sql::Idempotency::new(sql.clone(), clock).with_lease(lease)),
                sql: Some(sql),
            })
        }
    }
}
