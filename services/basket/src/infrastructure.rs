//! The outside: stores behind [`Baskets`](crate::domain::Baskets), and the catalogue over gRPC.

mod catalog;
mod document;
mod redis;
mod sqlite;

#[cfg(test)]
mod contract;

use std::sync::Arc;

use shop_clock::SharedClock;
use shop_config::{Redis, RedisTarget};
use shop_sql::migrate;
use sqlx::migrate::Migrator;

use self::redis::{Link, RedisBaskets, RedisIdempotency, Replicas};
use self::sqlite::SqliteBaskets;
use crate::domain::{Baskets, Error};

pub(crate) use self::catalog::GrpcCatalog;

static SQLITE: Migrator = shop_sql::migrations!("migrations/sqlite");

/// A store, open and at the present schema.
pub(crate) struct Opened {
    /// The baskets.
    pub(crate) store: Arc<dyn Baskets>,
    /// The same store for the parts that every service shares, if it is one in SQL.
    pub(crate) shared: Option<shop_sql::Store>,
    /// The idempotency keys and their answers.
    pub(crate) keys: Arc<dyn shop_idempotency::Store>,
}

/// Opens the store that the settings' URL names.
pub(crate) async fn open(settings: &Redis, clock: SharedClock) -> anyhow::Result<Opened> {
    match settings.target().map_err(anyhow::Error::msg)? {
        target @ (RedisTarget::Redis(_) | RedisTarget::Several(_)) => {
            let link = Link::open(&target, settings).await?;
            let replicas = Arc::new(Replicas::of(&link, settings));
            Ok(Opened {
                store: Arc::new(RedisBaskets::new(link.clone(), replicas.clone(), clock.clone())),
                shared: None,
                keys: Arc::new(RedisIdempotency::new(link, replicas, clock)),
            })
        }
        RedisTarget::Sqlite(path) => {
            let pools = shop_sql::sqlite(&path).await?;
            migrate(&pools.write, &SQLITE).await?;
            let shared = shop_sql::Store::from(pools.clone());
            Ok(Opened {
                store: Arc::new(SqliteBaskets { engine: pools, clock: clock.clone() }),
                keys: Arc::new(shop_sql::Idempotency::new(shared.clone(), clock)),
                shared: Some(shared),
            })
        }
    }
}

/// Why a transaction ended without effect.
type Failure = shop_sql::Failure<Error>;

impl shop_sql::Refusal for Error {}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        failure.told()
    }
}
