//! Pools on a database server, from settings.

use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, bail};
use shop_config::{Database, Target};
use sqlx::mysql::{MySqlConnectOptions, MySqlPoolOptions};
use sqlx::pool::{PoolConnectionMetadata, PoolOptions};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection, Executor, MySql, MySqlPool, PgPool, Pool, Postgres};
use tokio::time::Instant;

use crate::held::within;
use crate::statement::{Place, is_at};
use crate::{Tx, acquire};

/// Statements kept prepared per connection: more than a service has, so none is ever prepared twice.
const STATEMENTS: usize = 256;

/// A connection that was not used for so long is tried with a ping before a request gets it.
const STALE: Duration = Duration::from_secs(5);

/// The longest that it may take to answer.
const PING: Duration = Duration::from_secs(1);

/// What every PostgreSQL session starts with. The limits are above what a request needs, and below those on our side
/// (`held.rs`); they free locks that a vanished client would hold, among them the relay's.
const POSTGRES_SESSION: [(&str, &str); 8] = [
    ("timezone", "UTC"),
    ("default_transaction_isolation", "read committed"),
    ("statement_timeout", "10s"),
    ("lock_timeout", "5s"),
    ("idle_in_transaction_session_timeout", "45s"),
    ("tcp_keepalives_idle", "30"),
    ("tcp_keepalives_interval", "10"),
    ("tcp_keepalives_count", "3"),
];

/// The same for `MariaDB`. Strict mode: a value that does not fit is an error, never cut. Read committed: rows that
/// were looked at but not taken are not locked, so deadlocks stay rare.
const MARIADB_SESSION: &str = "SET SESSION \
    sql_mode = 'STRICT_ALL_TABLES,ONLY_FULL_GROUP_BY,NO_ZERO_DATE,NO_ZERO_IN_DATE,ERROR_FOR_DIVISION_BY_ZERO,\
NO_ENGINE_SUBSTITUTION', \
    time_zone = '+00:00', tx_isolation = 'READ-COMMITTED', innodb_lock_wait_timeout = 5, \
    max_statement_time = 10, idle_transaction_timeout = 45";

/// Opens a pool on PostgreSQL; waits for the server until the settings' `startup_timeout`.
pub async fn postgres(settings: &Database) -> anyhow::Result<PgPool> {
    let Target::Postgres(url) = settings.target().map_err(anyhow::Error::msg)? else {
        bail!("database.url is not a PostgreSQL address (postgres://…)");
    };
    let options = PgConnectOptions::from_str(&url)
        .context("database.url is not a PostgreSQL address")?
        .application_name("shop")
        .statement_cache_capacity(STATEMENTS)
        .options(POSTGRES_SESSION);
    is_at::<Postgres>(&Place {
        host: options.get_host().to_owned(),
        port: options.get_port(),
        database: options.get_database().unwrap_or_default().to_owned(),
    });
    let place = format!("PostgreSQL at {}:{}", options.get_host(), options.get_port());
    open(settings, &place, || pool(PgPoolOptions::new(), settings).connect_with(options.clone())).await
}

/// Opens a pool on `MariaDB`; waits for the server until the settings' `startup_timeout`.
#[expect(clippy::disallowed_methods, reason = "within the time for the connection")]
pub async fn mariadb(settings: &Database) -> anyhow::Result<MySqlPool> {
    let Target::MariaDb(url) = settings.target().map_err(anyhow::Error::msg)? else {
        bail!("database.url is not a MariaDB address (mysql://…)");
    };
    let options = MySqlConnectOptions::from_str(&url)
        .context("database.url is not a MariaDB address")?
        .statement_cache_capacity(STATEMENTS)
        .charset("utf8mb4")
        // The session is set up below, in one go.
        .pipes_as_concat(false)
        .no_engine_substitution(false)
        .timezone(None);
    is_at::<MySql>(&Place {
        host: options.get_host().to_owned(),
        port: options.get_port(),
        database: options.get_database().unwrap_or_default().to_owned(),
    });
    let place = format!("MariaDB at {}:{}", options.get_host(), options.get_port());
    open(settings, &place, || {
        pool(MySqlPoolOptions::new(), settings)
            .after_connect(|conn, _| Box::pin(async move { conn.execute(MARIADB_SESSION).await.map(drop) }))
            .connect_with(options.clone())
    })
    .await
}

/// The settings every pool shares. sqlx would ping before each use; a connection in steady use needs none.
fn pool<DB: sqlx::Database>(options: PoolOptions<DB>, settings: &Database) -> PoolOptions<DB> {
    options
        .max_connections(settings.pool.max)
        .acquire_timeout(settings.pool.acquire_timeout.get())
        .idle_timeout(settings.pool.idle_timeout.get())
        .max_lifetime(settings.pool.max_lifetime.get())
        .test_before_acquire(false)
        .before_acquire(|conn, meta: PoolConnectionMetadata| {
            Box::pin(async move {
                if meta.idle_for > STALE {
                    within(PING, conn.ping()).await?;
                }
                Ok(true)
            })
        })
}

/// Begins a transaction on a server's pool.
pub async fn begin<DB: sqlx::Database>(pool: &Pool<DB>) -> sqlx::Result<Tx<DB>> {
    Tx::begin(acquire(pool).await?).await
}

/// Connects, again and again while the server is not there yet, and says so in the log meanwhile.
async fn open<DB, F, Fut>(settings: &Database, place: &str, mut connect: F) -> anyhow::Result<Pool<DB>>
where
    DB: sqlx::Database,
    F: FnMut() -> Fut,
    Fut: Future<Output = sqlx::Result<Pool<DB>>>,
{
    let give_up = Instant::now() + settings.startup_timeout.get();
    let mut pause = Duration::from_millis(200);
    loop {
        let error = match tokio::time::timeout_at(give_up, connect()).await {
            Ok(Ok(pool)) => return Ok(pool),
            Ok(Err(error)) if is_refusal(&error) => {
                return Err(error).with_context(|| format!("{place} refuses the user or its password"));
            }
            Ok(Err(error)) => error,
            Err(_) => sqlx::Error::PoolTimedOut,
        };
        if Instant::now() + pause >= give_up {
            return Err(error).with_context(|| {
                format!(
                    "could not reach {place} within {:?} (database.startup_timeout)",
                    settings.startup_timeout.get()
                )
            });
        }
        tracing::warn!(error = %error, "{place} does not answer yet, trying again");
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(3));
    }
}

/// Whether waiting is pointless: wrong user or password.
fn is_refusal(error: &sqlx::Error) -> bool {
    let sqlx::Error::Database(e) = error else { return false };
    e.code().is_some_and(|code| code.starts_with("28"))
}
