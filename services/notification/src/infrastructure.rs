//! The outside of the service: the store, the mail server, the receivers of webhooks.

#[cfg(test)]
mod contract;
mod error;
mod hooks;
mod mail;
mod receivers;
mod row;
mod store;

use std::sync::Arc;

use shop_config::{Database, Target};
use shop_sql::migrate;
use sqlx::migrate::Migrator;

use self::store::Sql;
use crate::domain::{Error, SigningSecret, Store};

pub(crate) use self::hooks::HttpHooks;
pub(crate) use self::mail::SmtpMail;

static POSTGRES: Migrator = shop_sql::migrations!("migrations/postgres");
static SQLITE: Migrator = shop_sql::migrations!("migrations/sqlite");

/// A store, open and at the present schema.
pub(crate) struct Opened {
    /// What the service keeps.
    pub(crate) store: Arc<dyn Store>,
    /// The same store for the parts that every service shares.
    pub(crate) shared: shop_sql::Store,
}

/// Opens the store that the settings name; PostgreSQL or SQLite.
pub(crate) async fn open(database: &Database) -> anyhow::Result<Opened> {
    match database.target().map_err(anyhow::Error::msg)? {
        Target::Postgres(_) | Target::MariaDb(_) => {
            let pool = shop_sql::postgres(database).await?;
            migrate(&pool, &POSTGRES).await?;
            Ok(Opened { store: Arc::new(Sql { engine: pool.clone() }), shared: pool.into() })
        }
        Target::Sqlite(path) => {
            let pools = shop_sql::sqlite(&path).await?;
            migrate(&pools.write, &SQLITE).await?;
            Ok(Opened { store: Arc::new(Sql { engine: pools.clone() }), shared: pools.into() })
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

/// A signing secret that nobody can guess.
pub(crate) fn new_secret() -> SigningSecret {
    let random = ring::rand::generate(&ring::rand::SystemRandom::new());
    // The system's source of randomness fails only where nothing else works either.
    SigningSecret::from_key(random.expect("the system gives random bytes").expose())
}
