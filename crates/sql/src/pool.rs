//! Pools on a database server, from settings.

use std::collections::HashSet;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use futures_util::future::BoxFuture;
use shop_config::{Database, Target};
use sqlx::mysql::MySqlConnectOptions;
use sqlx::pool::{PoolConnectionMetadata, PoolOptions};
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, Executor, MySqlConnection, MySqlPool, PgConnection, PgPool, Pool, Row as _};
use tokio::time::{Instant, timeout_at};

use crate::give_up::within;
use crate::servers::{self, Options, PATIENT, Server, Servers, Session, Unfit, Writes};
use crate::statement::{Place, is_at};
use crate::{Tx, acquire, tls};

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

/// Opens a pool on PostgreSQL, of several servers on the one that writes; waits for it until the settings'
/// `startup_timeout`.
pub async fn postgres(settings: &Database) -> anyhow::Result<PgPool> {
    let Target::Postgres(url) = settings.target().map_err(anyhow::Error::msg)? else {
        bail!("database.url is not a PostgreSQL address (postgres://…)");
    };
    tls::check_files(settings)?;
    let servers = each(&url, "a PostgreSQL", |options: PgConnectOptions| {
        let mut options =
            options.application_name("shop").statement_cache_capacity(STATEMENTS).options(POSTGRES_SESSION);
        if let Some(file) = &settings.ca_file {
            options = options.ssl_root_cert(file);
        }
        if let (Some(certificate), Some(key)) = (&settings.cert_file, &settings.key_file) {
            options = options.ssl_client_cert(certificate).ssl_client_key(key);
        }
        let place = Place {
            host: options.get_host().to_owned(),
            port: options.get_port(),
            database: options.get_database().unwrap_or_default().to_owned(),
        };
        (options, place)
    })?;
    open(settings, "PostgreSQL", servers, postgres_writes, None).await
}

/// Opens a pool on `MariaDB`, of several servers on the one that writes; waits for it until the settings'
/// `startup_timeout`.
pub async fn mariadb(settings: &Database) -> anyhow::Result<MySqlPool> {
    let Target::MariaDb(url) = settings.target().map_err(anyhow::Error::msg)? else {
        bail!("database.url is not a MariaDB address (mysql://…)");
    };
    tls::check_files(settings)?;
    let servers = each(&url, "a MariaDB", |options: MySqlConnectOptions| {
        let mut options = options
            .statement_cache_capacity(STATEMENTS)
            .charset("utf8mb4")
            // The session is set up below, in one go.
            .pipes_as_concat(false)
            .no_engine_substitution(false)
            .timezone(None);
        if let Some(file) = &settings.ca_file {
            options = options.ssl_ca(file);
        }
        if let (Some(certificate), Some(key)) = (&settings.cert_file, &settings.key_file) {
            options = options.ssl_client_cert(certificate).ssl_client_key(key);
        }
        let place = Place {
            host: options.get_host().to_owned(),
            port: options.get_port(),
            database: options.get_database().unwrap_or_default().to_owned(),
        };
        (options, place)
    })?;
    open(settings, "MariaDB", servers, mariadb_writes, Some(mariadb_session)).await
}

/// The servers of a URL; `finish` adds what the URL does not say.
fn each<DB: sqlx::Database>(
    url: &str,
    engine: &str,
    finish: impl Fn(Options<DB>) -> (Options<DB>, Place),
) -> anyhow::Result<Vec<Server<DB>>> {
    let urls = shop_config::servers(url).map_err(|wrong| anyhow!("database.url: {wrong}"))?;
    let alone = urls.len() == 1;
    let mut servers = Vec::with_capacity(urls.len());
    for url in urls {
        let options = Options::<DB>::from_str(&url).with_context(|| format!("database.url is not {engine} address"))?;
        let (options, place) = finish(options);
        // Of several it is not known which a statement runs on.
        if alone {
            is_at::<DB>(&place);
        }
        servers.push(Server { name: format!("{}:{}", place.host, place.port), options });
    }
    Ok(servers)
}

/// A standby is in recovery; its history is the number of the timeline, which each promotion raises.
#[expect(clippy::disallowed_methods, reason = "whoever asks has a deadline")]
fn postgres_writes(conn: &mut PgConnection) -> BoxFuture<'_, sqlx::Result<Option<u64>>> {
    const WRITES: &str = "SELECT CASE WHEN pg_is_in_recovery() OR current_setting('default_transaction_read_only')::boolean \
        THEN NULL ELSE ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::bigint END AS history";
    // Where it is somebody else's storage that keeps the log, there is none to name.
    const WITHOUT_LOG: &str = "SELECT CASE WHEN pg_is_in_recovery() OR current_setting('default_transaction_read_only')::boolean \
        THEN NULL ELSE 0::bigint END AS history";
    Box::pin(async move {
        let row = match conn.fetch_one(WRITES).await {
            Err(sqlx::Error::Database(_)) => conn.fetch_one(WITHOUT_LOG).await?,
            row => row?,
        };
        let history: Option<i64> = row.try_get("history")?;
        Ok(history.and_then(|history| u64::try_from(history).ok()))
    })
}

/// A replica is read only by its settings; a node of a Galera cluster is ready while it belongs to the larger part, unless it
/// was told to take nothing. `SHOW`, since a node that is not takes nothing else, and MySQL knows no other way either.
#[expect(clippy::disallowed_methods, reason = "whoever asks has a deadline")]
fn mariadb_writes(conn: &mut MySqlConnection) -> BoxFuture<'_, sqlx::Result<Option<u64>>> {
    const STATE: &str = "SHOW GLOBAL VARIABLES WHERE variable_name IN ('read_only', 'innodb_read_only', 'wsrep_on', \
        'wsrep_reject_queries'); SHOW GLOBAL STATUS WHERE variable_name = 'wsrep_ready'";
    Box::pin(async move {
        let mut is_on = HashSet::new();
        for row in conn.fetch_all(STATE).await? {
            let (name, value): (String, String) = (row.try_get(0)?, row.try_get(1)?);
            // `read_only` has words for more than one way to be on.
            if !["OFF", "0", "NONE"].contains(&value.as_str()) {
                is_on.insert(name);
            }
        }
        let is = |name| is_on.contains(name);
        let takes = is("wsrep_ready") && !is("wsrep_reject_queries") || !is("wsrep_on");
        let writes = takes && !is("read_only") && !is("innodb_read_only");
        Ok(writes.then_some(0))
    })
}

#[expect(clippy::disallowed_methods, reason = "whoever asks has a deadline")]
fn mariadb_session(conn: &mut MySqlConnection) -> BoxFuture<'_, sqlx::Result<()>> {
    Box::pin(async move { conn.execute(MARIADB_SESSION).await.map(drop) })
}

/// The settings every pool shares. sqlx would ping before each use; a connection in steady use needs none.
fn pool<DB: sqlx::Database>(
    settings: &Database,
    session: Option<Session<DB>>,
    servers: Option<Arc<Servers<DB>>>,
) -> PoolOptions<DB> {
    let options = PoolOptions::new()
        .max_connections(settings.pool.max)
        .acquire_timeout(settings.pool.acquire_timeout.get())
        .idle_timeout(settings.pool.idle_timeout.get())
        .max_lifetime(settings.pool.max_lifetime.get())
        .test_before_acquire(false)
        .before_acquire(|conn: &mut DB::Connection, meta: PoolConnectionMetadata| {
            Box::pin(async move {
                if meta.idle_for > STALE {
                    within(PING, conn.ping()).await?;
                }
                Ok(true)
            })
        });
    connecting(options, session, servers)
}

/// What becomes of a new connection before it is used.
fn connecting<DB: sqlx::Database>(
    options: PoolOptions<DB>,
    session: Option<Session<DB>>,
    servers: Option<Arc<Servers<DB>>>,
) -> PoolOptions<DB> {
    options.after_connect(move |conn: &mut DB::Connection, _| {
        let servers = servers.clone();
        Box::pin(async move {
            if let Some(session) = session {
                session(conn).await?;
            }
            match servers {
                Some(servers) => servers.admit(conn).await,
                None => Ok(()),
            }
        })
    })
}

/// A pool like another one on a server, with connections of its own, `most` at a time.
pub async fn beside<DB: sqlx::Database>(pool: &Pool<DB>, most: u32) -> Pool<DB> {
    let options = pool.options().clone().max_connections(most).min_connections(0);
    let Some(servers) = servers::of(pool) else {
        return options.connect_lazy_with(pool.connect_options().as_ref().clone());
    };
    // What finds the writer for one pool finds it for that one alone.
    let (servers, at) = servers.again().await;
    let servers = Arc::new(servers);
    let led_to = servers.server(at).options.clone();
    let other = connecting(options, servers.session, Some(servers.clone())).connect_lazy_with(led_to);
    servers.lead_from(&other, at).await;
    other
}

/// Begins a transaction on a server's pool.
pub async fn begin<DB: sqlx::Database>(pool: &Pool<DB>) -> sqlx::Result<Tx<DB>> {
    Tx::begin(acquire(pool).await?, None).await
}

/// Connects, again and again while no server is there that writes, and says so in the log meanwhile.
async fn open<DB: sqlx::Database>(
    settings: &Database,
    engine: &str,
    servers: Vec<Server<DB>>,
    writes: Writes<DB>,
    session: Option<Session<DB>>,
) -> anyhow::Result<Pool<DB>> {
    let names: Vec<_> = servers.iter().map(|server| server.name.as_str()).collect();
    let place = format!("{engine} at {}", names.join(", "));
    let servers = Arc::new(Servers::new(servers, writes, session));
    let give_up = Instant::now() + settings.startup_timeout.get();
    let mut pause = Duration::from_millis(200);
    let mut why = Vec::new();
    loop {
        match timeout_at(give_up, try_open(settings, &servers)).await {
            Ok(Ok(pool)) => return Ok(pool),
            Ok(Err(found)) => why = found,
            Err(_) if why.is_empty() => why.push((0, Unfit::Away(sqlx::Error::PoolTimedOut))),
            Err(_) => {}
        }
        for (at, unfit) in &why {
            let Unfit::Away(error) = unfit else { continue };
            let place = format!("{engine} at {}", servers.server(*at).name);
            if let Some(failure) = tls::failure(error, &place) {
                bail!(failure);
            }
            if error.to_string().contains("unsupported startup parameter") {
                bail!(
                    "{place} is PgBouncer, which wants to be told what it may leave out: \
                     set ignore_startup_parameters = options,extra_float_digits there ({error})"
                );
            }
            if is_refusal(error) {
                bail!("{place} refuses the user, its password or its certificate: {error}");
            }
        }
        let reasons = servers.reasons(&why);
        if Instant::now() + pause >= give_up {
            bail!(
                "could not reach {place} within {:?} (database.startup_timeout): {reasons}",
                settings.startup_timeout.get()
            );
        }
        tracing::warn!("{place} does not answer yet, trying again: {reasons}");
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(3));
    }
}

/// Opens the pool on the server that writes, or says why none does. A server alone is not asked.
async fn try_open<DB: sqlx::Database>(
    settings: &Database,
    servers: &Arc<Servers<DB>>,
) -> Result<Pool<DB>, Vec<(usize, Unfit)>> {
    if servers.is_one() {
        let pool = pool(settings, servers.session, None).connect_with(servers.server(0).options.clone()).await;
        return pool.map_err(|error| vec![(0, Unfit::Away(error))]);
    }
    let at = servers.find(0, PATIENT).await?;
    let pool =
        pool(settings, servers.session, Some(servers.clone())).connect_with(servers.server(at).options.clone()).await;
    let pool = pool.map_err(|error| vec![(at, Unfit::Away(error))])?;
    servers.lead_from(&pool, at).await;
    Ok(pool)
}

/// Whether waiting is pointless: wrong user or password.
fn is_refusal(error: &sqlx::Error) -> bool {
    let sqlx::Error::Database(e) = error else { return false };
    e.code().is_some_and(|code| code.starts_with("28"))
}
