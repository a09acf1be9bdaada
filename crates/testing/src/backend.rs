//! Real servers for tests, each test in a place of its own.
//!
//! `scripts/backends` starts the servers and names them in `SHOP_TEST_*` variables. Without them a test says
//! `SKIPPED` and passes, unless `SHOP_TEST_REQUIRE_BACKENDS=1` makes that a failure.

mod cluster;
mod found;
mod galera;
mod own;
mod pair;
mod pooler;
mod redises;
mod smtp;

pub use cluster::{Cluster, Listener};
pub use found::found_in;
pub use galera::Galera;
pub use own::Own;
pub use pair::{Engine, Pair};
pub use pooler::Pooler;
pub use redises::Redises;
pub use smtp::{Mail, Smtp, smtp};

use std::{
    future::Future,
    io::{Write, stderr},
    thread,
};

use sqlx::{AssertSqlSafe, Connection, Executor, MySqlConnection, PgConnection};
use uuid::Uuid;

/// A fresh database on a real server, dropped with this value.
#[derive(Debug)]
pub struct Db {
    server: String,
    name: String,
}

impl Db {
    /// Where it is: a URL with user, password and database.
    #[must_use]
    pub fn url(&self) -> String {
        let (address, parameters) = self.server.split_once('?').unwrap_or((&self.server, ""));
        let address = address.rsplit_once('/').map_or(address, |(address, _)| address);
        let separator = if parameters.is_empty() { "" } else { "?" };
        format!("{address}/{}{separator}{parameters}", self.name)
    }
}

impl Drop for Db {
    fn drop(&mut self) {
        let (server, name) = (self.server.clone(), self.name.clone());
        detached(async move {
            if server.starts_with("postgres") {
                let mut connection = PgConnection::connect(&server).await?;
                connection.execute(AssertSqlSafe(format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"))).await?;
            } else {
                let mut connection = MySqlConnection::connect(&server).await?;
                connection.execute(AssertSqlSafe(format!("DROP DATABASE IF EXISTS {name}"))).await?;
            }
            Ok(())
        });
    }
}

/// A fresh, empty PostgreSQL database.
pub async fn postgres() -> Option<Db> {
    let server = server("SHOP_TEST_POSTGRES_URL", "PostgreSQL")?;
    let name = unique("test_");
    let mut connection = PgConnection::connect(&server).await.expect("connects to PostgreSQL");
    connection.execute(AssertSqlSafe(format!("CREATE DATABASE {name}"))).await.expect("creates a database");
    Some(Db { server, name })
}

/// A fresh, empty MariaDB database.
pub async fn mariadb() -> Option<Db> {
    let server = server("SHOP_TEST_MARIADB_URL", "MariaDB")?;
    let name = unique("test_");
    let mut connection = MySqlConnection::connect(&server).await.expect("connects to MariaDB");
    connection.execute(AssertSqlSafe(format!("CREATE DATABASE {name}"))).await.expect("creates a database");
    Some(Db { server, name })
}

/// A prefix for keys on a real Redis; what is under it is deleted with this value.
#[derive(Debug)]
pub struct Keys {
    server: String,
    /// The servers that may have them.
    nodes: Vec<String>,
    prefix: String,
}

impl Keys {
    /// Where the server is: a URL with password and database number.
    #[must_use]
    pub fn url(&self) -> String {
        self.server.clone()
    }

    /// The servers that may have keys, each with its own URL.
    #[must_use]
    pub fn nodes(&self) -> &[String] {
        &self.nodes
    }

    /// What every key of the test starts with, `:` at the end included.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        let (nodes, pattern) = (std::mem::take(&mut self.nodes), format!("{}*", self.prefix));
        detached(async move {
            for node in nodes {
                let mut connection = redis::Client::open(node)?.get_connection()?;
                let role: Vec<redis::Value> = redis::cmd("ROLE").query(&mut connection)?;
                if role.first() != Some(&redis::Value::BulkString(b"master".to_vec())) {
                    continue;
                }
                let keys: Vec<Vec<u8>> = redis::cmd("SCAN")
                    .cursor_arg(0)
                    .arg("MATCH")
                    .arg(&pattern)
                    .arg("COUNT")
                    .arg(1000)
                    .clone()
                    .iter(&mut connection)?
                    .collect::<Result<_, _>>()?;
                // One by one: in a cluster they are in different slots.
                for key in keys {
                    redis::cmd("DEL").arg(key).exec(&mut connection)?;
                }
            }
            Ok(())
        });
    }
}

/// A place on a real Redis. Nothing there before, nothing left after.
#[expect(clippy::unused_async, reason = "reads like the other servers in a test")]
pub async fn redis() -> Option<Keys> {
    server("SHOP_TEST_REDIS_URL", "Redis").map(alone)
}

/// A place on a real Valkey. `off` says that it is not wanted.
#[must_use]
pub fn valkey() -> Option<Keys> {
    unless_off("SHOP_TEST_VALKEY_URL", "Valkey").map(alone)
}

fn alone(server: String) -> Keys {
    Keys { nodes: vec![server.clone()], server, prefix: unique("test:") + ":" }
}

/// A place on a real Redis behind sentinels.
#[must_use]
pub fn redis_sentinel() -> Option<Keys> {
    several("SHOP_TEST_REDIS_SENTINEL_URL", "SHOP_TEST_REDIS_SENTINEL_NODES", "Redis behind sentinels")
}

/// A place on a real Redis Cluster.
#[must_use]
pub fn redis_cluster() -> Option<Keys> {
    several("SHOP_TEST_REDIS_CLUSTER_URL", "SHOP_TEST_REDIS_CLUSTER_NODES", "Redis Cluster")
}

fn several(url: &str, nodes: &str, name: &str) -> Option<Keys> {
    let (url, nodes) = (server(url, name)?, server(nodes, name)?);
    let nodes = nodes.split(',').map(str::to_owned).collect();
    Some(Keys { server: url, nodes, prefix: unique("test:") + ":" })
}

/// A prefix for topics and groups on a real Kafka. They stay until the servers' folder is purged.
#[derive(Debug)]
pub struct Topics {
    brokers: String,
    prefix: String,
}

impl Topics {
    /// The bootstrap servers, separated by commas.
    #[must_use]
    pub fn brokers(&self) -> &str {
        &self.brokers
    }

    /// What every topic and group of the test starts with, `.` at the end included.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }
}

/// A place on a real Kafka.
#[expect(clippy::unused_async, reason = "reads like the other servers in a test")]
pub async fn kafka() -> Option<Topics> {
    let brokers = server("SHOP_TEST_KAFKA_BROKERS", "Kafka")?;
    Some(Topics { brokers, prefix: unique("test-") + "." })
}

/// The program that asks an HTTP/2 server everything its RFC says.
#[must_use]
pub fn h2spec() -> Option<String> {
    server("SHOP_TEST_H2SPEC", "h2spec")
}

/// The program that shares PostgreSQL's connections between clients.
#[must_use]
pub fn pgbouncer() -> Option<String> {
    server("SHOP_TEST_PGBOUNCER", "pgbouncer")
}

/// The same in a version that carries prepared statements along (1.21). `off` says that it is not wanted.
#[must_use]
pub fn pgbouncer_newer() -> Option<String> {
    unless_off("SHOP_TEST_PGBOUNCER_NEWER", "pgbouncer that carries prepared statements")
}

/// The program that drives Chromium.
#[must_use]
pub fn chromedriver() -> Option<String> {
    server("SHOP_TEST_CHROMEDRIVER", "chromedriver")
}

/// A Python that has Prometheus' own reader of `OpenMetrics`.
#[must_use]
pub fn openmetrics() -> Option<String> {
    server("SHOP_TEST_OPENMETRICS", "Python with prometheus_client")
}

/// The folder of the programs that try an interface on its description: `schemathesis` and `openapi-spec-validator`.
#[must_use]
pub fn schemathesis() -> Option<std::path::PathBuf> {
    server("SHOP_TEST_SCHEMATHESIS", "Schemathesis").map(Into::into)
}

/// The folder of what makes clients out of documents and protos, and compiles them. Where it cannot be, because nothing can
/// be installed there, `off` says so, and that nobody wants it.
#[must_use]
pub fn clients() -> Option<String> {
    unless_off("SHOP_TEST_CLIENTS", "generator of clients")
}

/// The folder of what the gateway is tried beside and between: `nginx`, `envoy`, `grpc/client`, `grpc/server`, and
/// `python/bin/python3`, which has autobahn. `off` says that it is not wanted.
#[must_use]
pub fn peers() -> Option<String> {
    unless_off("SHOP_TEST_PEERS", "peers of the gateway")
}

/// The folder of `node` and of the clients of gRPC-Web that web pages have. `off` says that they are not wanted.
#[must_use]
pub fn grpc_web() -> Option<String> {
    unless_off("SHOP_TEST_GRPC_WEB", "clients of gRPC-Web")
}

/// The name (`iss`) of an `OpenID` provider whose keys change by `POST /rotate`; `off` says that it is not wanted.
#[must_use]
pub fn oidc() -> Option<String> {
    unless_off("SHOP_TEST_OIDC_ISSUER", "OpenID provider")
}

/// What makes a cluster of MariaDB servers, which a test then starts (`galera1,galera2,galera3`); `off` says that it is not
/// wanted.
#[must_use]
pub fn galera() -> Option<String> {
    unless_off("SHOP_TEST_GALERA", "Galera cluster")
}

/// Where a server is that knows which requests Stripe takes, and in which version of its API. `off` says that it is not wanted.
#[must_use]
pub fn stripe_mock() -> Option<String> {
    unless_off("SHOP_TEST_STRIPE_MOCK_URL", "checker of requests to Stripe")
}

fn unless_off(variable: &str, name: &str) -> Option<String> {
    let found = server(variable, name)?;
    if found == "off" {
        stderr().write_all(format!("SKIPPED: no {name} ({variable}=off)\n").as_bytes()).ok();
        return None;
    }
    Some(found)
}

/// Whether a missing server fails the tests that need it.
#[must_use]
pub fn required() -> bool {
    crate::variable("SHOP_TEST_REQUIRE_BACKENDS").is_some_and(|value| value != "0")
}

fn server(variable: &str, name: &str) -> Option<String> {
    let found = crate::variable(variable);
    if found.is_none() {
        assert!(!required(), "{variable} is not set: this run requires a real {name}");
        // Past the test runner's capture, so that a run without servers cannot look like one with them.
        let line = format!("SKIPPED: no real {name} ({variable} is not set; see scripts/backends)\n");
        stderr().write_all(line.as_bytes()).ok();
    }
    found
}

fn unique(prefix: &str) -> String {
    format!("{prefix}{}", Uuid::new_v4().simple())
}

/// Runs a clean-up to its end from `drop`, inside or outside of a runtime. Its failure is not the test's.
pub(crate) fn detached(
    work: impl Future<Output = Result<(), Box<dyn std::error::Error + Send + Sync>>> + Send + 'static,
) {
    let run = || -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
    };
    if let Ok(Err(error)) = thread::spawn(run).join() {
        stderr().write_all(format!("could not clean up after a test: {error}\n").as_bytes()).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_url_of_a_database_replaces_the_servers_own() {
        let mut db = Db { server: "postgres://u:p@h:1/postgres?sslmode=disable".into(), name: "test_1".into() };
        assert_eq!(db.url(), "postgres://u:p@h:1/test_1?sslmode=disable");
        db.server = "mysql://u:p@h:1/mysql".into();
        assert_eq!(db.url(), "mysql://u:p@h:1/test_1");
        std::mem::forget(db);
    }

    #[tokio::test]
    async fn a_database_is_there_and_then_gone() {
        let Some(db) = postgres().await else { return };
        let url = db.url();
        PgConnection::connect(&url).await.expect("the database exists");
        drop(db);
        PgConnection::connect(&url).await.expect_err("the database was dropped");
    }

    #[tokio::test]
    async fn keys_are_deleted_at_the_end() {
        let Some(keys) = redis().await else { return };
        let mut connection = redis::Client::open(keys.url()).and_then(|c| c.get_connection()).expect("connects");
        let key = format!("{}a", keys.prefix());
        redis::cmd("SET").arg(&key).arg(1).exec(&mut connection).expect("sets");
        drop(keys);
        let there: bool = redis::cmd("EXISTS").arg(&key).query(&mut connection).expect("asks");
        assert!(!there);
    }
}
