//! The outside of the service: the store, the mail server, the receivers of webhooks.

#[cfg(test)]
mod contract;
mod error;
mod hooks;
mod mail;
mod persons;
mod receivers;
mod row;
mod seals;
mod store;

use std::sync::Arc;

use shop_config::{Database, Target};
use shop_fault::Fault;
use shop_sql::{Engine, migrate, migrate_server};
use sqlx::migrate::Migrator;

use self::seals::Seals;
use self::store::Sql;
use crate::config::SecretsSettings;
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

/// Opens the store that the settings name, PostgreSQL or SQLite, and seals what is not yet sealed as `secrets` says.
pub(crate) async fn open(database: &Database, secrets: &SecretsSettings) -> anyhow::Result<Opened> {
    match database.target().map_err(anyhow::Error::msg)? {
        Target::Postgres(_) | Target::MariaDb(_) => {
            let seals = Seals::given(secrets)?;
            let pool = shop_sql::postgres(database).await?;
            shop_sql::check_pooler(&pool).await?;
            migrate_server(database, &pool, &POSTGRES).await?;
            opened(pool, seals).await
        }
        Target::Sqlite(path) => {
            let seals = Seals::given_or_made(secrets, &path)?;
            let pools = shop_sql::sqlite(&path).await?;
            migrate(&pools.write, &SQLITE).await?;
            opened(pools, seals).await
        }
    }
}

async fn opened<E: Engine + Clone + Into<shop_sql::Store>>(engine: E, seals: Seals) -> anyhow::Result<Opened> {
    let store = Sql { engine: engine.clone(), seals: Arc::new(seals) };
    let stale = store.reseal().await.map_err(Fault::from);
    let stale = stale.map_err(|fault| anyhow::Error::from(fault).context("secrets.key_file (SECRETS_KEY_FILE)"))?;
    store.seals.tell(stale);
    Ok(Opened { store: Arc::new(store), shared: engine.into() })
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
