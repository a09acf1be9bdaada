//! The stores behind the ports, and the one match that chooses between them.

mod catalogue;
#[cfg(test)]
mod contract;
mod engine;
mod postgres;
mod reads;
mod refold;
mod row;
mod select;
mod sqlite;
mod stock;

use std::sync::Arc;

use anyhow::bail;
use shop_config::{Database, Target};
use shop_sql::migrate;

use crate::domain::Store;
use catalogue::Sql;

/// A store, open and at the present schema.
pub(crate) struct Opened {
    /// The catalogue and its stock.
    pub(crate) store: Arc<dyn Store>,
    /// The same store for the parts that every service shares.
    pub(crate) shared: shop_sql::Store,
}

/// Opens the store that the settings name; PostgreSQL or SQLite.
pub(crate) async fn open(database: &Database) -> anyhow::Result<Opened> {
    match database.target().map_err(anyhow::Error::msg)? {
        Target::Postgres(_) => {
            let pool = shop_sql::postgres(database).await?;
            migrate(&pool, &postgres::MIGRATIONS).await?;
            let engine = postgres::PostgresEngine::new(pool.clone()).await?;
            Ok(Opened { store: Arc::new(Sql { engine }), shared: pool.into() })
        }
        Target::Sqlite(path) => {
            let pools = shop_sql::sqlite(&path).await?;
            migrate(&pools.write, &sqlite::MIGRATIONS).await?;
            let engine = sqlite::SqliteEngine::new(pools.clone());
            Ok(Opened { store: Arc::new(Sql { engine }), shared: pools.into() })
        }
        Target::MariaDb(_) => bail!("the catalogue keeps to PostgreSQL or SQLite: set database.url to one of them"),
    }
}
