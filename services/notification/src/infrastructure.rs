//! The outside of the service: the store, the mail server, the receivers of webhooks.

#[cfg(test)]
mod contract;
mod engine;
mod hooks;
mod mail;
mod receivers;
mod row;
mod store;
mod trouble;

use std::sync::Arc;

use anyhow::bail;
use shop_config::{Database, Target};
use shop_sql::migrate;

use self::store::Sql;
use crate::domain::{SigningSecret, Store};

pub(crate) use self::hooks::HttpHooks;
pub(crate) use self::mail::SmtpMail;

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
        Target::Postgres(_) => {
            let pool = shop_sql::postgres(database).await?;
            migrate(&pool, &engine::POSTGRES).await?;
            Ok(Opened { store: Arc::new(Sql { engine: pool.clone() }), shared: pool.into() })
        }
        Target::Sqlite(path) => {
            let pools = shop_sql::sqlite(&path).await?;
            migrate(&pools.write, &engine::SQLITE).await?;
            Ok(Opened { store: Arc::new(Sql { engine: pools.clone() }), shared: pools.into() })
        }
        Target::MariaDb(_) => bail!("notifications are kept in PostgreSQL or SQLite: set database.url to one of them"),
    }
}

/// A signing secret that nobody can guess.
pub(crate) fn new_secret() -> SigningSecret {
    let random = ring::rand::generate(&ring::rand::SystemRandom::new());
    // The system's source of randomness fails only where nothing else works either.
    SigningSecret::from_key(random.expect("the system gives random bytes").expose())
}
