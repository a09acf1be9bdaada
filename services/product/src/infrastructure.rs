//! The stores behind the ports, and the one match that chooses between them.

mod aged;
mod books;
mod catalogue;
#[cfg(test)]
mod contract;
mod entries;
mod holding;
mod ledger;
mod lines;
mod payments;
mod reads;
mod refold;
mod resolve;
mod row;
mod search;
mod select;
mod settling;
mod stock;

use std::sync::Arc;

use shop_config::{Database, Target};
use shop_sql::{migrate, migrate_server};
use sqlx::migrate::Migrator;

use self::catalogue::Sql;
use self::search::TextSearch;
use crate::domain::{Error, Store};

pub(crate) use self::payments::GrpcPayments;

static POSTGRES: Migrator = shop_sql::migrations!("migrations/postgres");
static SQLITE: Migrator = shop_sql::migrations!("migrations/sqlite");

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
        Target::Postgres(_) | Target::MariaDb(_) => {
            let pool = shop_sql::postgres(database).await?;
            shop_sql::check_pooler(&pool).await?;
            migrate_server(database, &pool, &POSTGRES).await?;
            let search = TextSearch::of(&pool).await?;
            // Of their own, so that who looks does not keep those who buy waiting.
            let holding = shop_sql::beside(&pool, holding::LANES).await;
            Ok(Opened { store: Arc::new(Sql::new(pool.clone(), holding, search)), shared: pool.into() })
        }
        Target::Sqlite(path) => {
            let pools = shop_sql::sqlite(&path).await?;
            migrate(&pools.write, &SQLITE).await?;
            Ok(Opened {
                store: Arc::new(Sql::new(pools.clone(), pools.clone(), TextSearch::Fts5)),
                shared: pools.into(),
            })
        }
    }
}

/// Why a transaction ended without effect.
type Failure = shop_sql::Failure<Error>;

/// What became of a transaction.
type Tried<T> = Result<T, Failure>;

impl shop_sql::Refusal for Error {}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        failure.told()
    }
}
