//! What the parts do alone: a bare handler, and each store driven by its own or the plainest client.

#![expect(clippy::disallowed_types, reason = "no test; they are of the terminal's group, and end with Ctrl-C")]

use std::time::Instant;

use anyhow::{Context as _, ensure};
use salvo::prelude::*;
use sqlx::postgres::PgPoolOptions;
use sqlx::{Connection as _, PgPool};
use tokio::process::Command;

use crate::client::Load;

/// Serves `bytes` at every path with nothing around it; with a store, after one read of a row by its key.
pub(crate) async fn bare(port: u16, bytes: Vec<u8>, store: Option<&str>) -> anyhow::Result<()> {
    struct Bytes(Vec<u8>, Option<PgPool>);

    #[async_trait]
    impl Handler for Bytes {
        async fn handle(&self, _: &mut Request, _: &mut Depot, response: &mut Response, _: &mut FlowCtrl) {
            if let Some(pool) = &self.1 {
                let row = sqlx::query("SELECT * FROM products WHERE id = $1").bind(1_i64).fetch_optional(pool).await;
                if !row.is_ok_and(|row| row.is_some()) {
                    response.status_code(StatusCode::SERVICE_UNAVAILABLE);
                }
            }
            response.add_header("content-type", "application/json", true).ok();
            response.write_body(self.0.clone()).ok();
        }
    }

    // No more than one round trip: the pool would try each connection before it hands it out.
    let pool = store.map(|url| PgPoolOptions::new().max_connections(32).test_before_acquire(false).connect_lazy(url));
    let router = Router::with_path("{**rest}").get(Bytes(bytes, pool.transpose()?));
    let acceptor = TcpListener::new(("127.0.0.1", port)).bind().await;
    Server::new(acceptor).serve(router).await;
    Ok(())
}

/// Transactions a second of pgbench: `-S` or a script of single-row updates, prepared.
pub(crate) async fn pgbench(url: &str, clients: usize, count: usize, updates: bool) -> anyhow::Result<f64> {
    let each = (count / clients).max(1).to_string();
    let clients = clients.to_string();
    let script = tempfile::NamedTempFile::new()?;
    std::fs::write(
        script.path(),
        "\\set aid random(1, 100000)\nUPDATE pgbench_accounts SET abalance = abalance + 1 WHERE aid = :aid;\n",
    )?;
    run(Command::new("pgbench").args(["--initialize", "--quiet", url])).await?;
    let mut command = Command::new("pgbench");
    command.args(["--no-vacuum", "--protocol=prepared", "--jobs=1", "--client", &clients, "--transactions", &each]);
    if updates {
        command.arg("--file").arg(script.path());
    } else {
        command.arg("--select-only");
    }
    let text = run(command.arg(url)).await?;
    let line = text.lines().find(|line| line.starts_with("tps =")).context("pgbench printed no tps")?;
    line.split_whitespace().nth(2).and_then(|tps| tps.parse().ok()).context("pgbench's tps is no number")
}

/// Requests a second of redis-benchmark for GET and SET of 1 KiB.
pub(crate) async fn redis_benchmark(url: &str, clients: usize, count: usize) -> anyhow::Result<Vec<(String, f64)>> {
    let (clients, count) = (clients.to_string(), count.to_string());
    // By parts: older versions take the empty user of a URL for a name.
    let (login, server) = url.rsplit_once('@').unwrap_or(("", url));
    let server = server.trim_start_matches("redis://").split('/').next().unwrap_or_default();
    let (host, port) = server.split_once(':').unwrap_or((server, "6379"));
    let mut command = Command::new("redis-benchmark");
    command.args(["-h", host, "-p", port, "-t", "set,get", "-d", "1024", "-c", &clients, "-n", &count, "--csv"]);
    if let Some((_, password)) = login.rsplit_once(':').filter(|(_, password)| !password.is_empty()) {
        command.args(["-a", password]);
    }
    let text = run(&mut command).await?;
    let rows = text.lines().filter_map(|line| {
        let mut fields = line.split(',').map(|field| field.trim_matches('"'));
        Some((fields.next()?.to_owned(), fields.next()?.parse().ok()?))
    });
    Ok(rows.collect())
}

/// Single-row inserts, each its own durable commit, on `clients` connections.
pub(crate) async fn mariadb_inserts(url: &str, clients: usize, count: usize) -> anyhow::Result<Load> {
    let mut first = sqlx::MySqlConnection::connect(url).await?;
    sqlx::query("CREATE TABLE IF NOT EXISTS bench_rows (id BIGINT AUTO_INCREMENT PRIMARY KEY, v BIGINT NOT NULL)")
        .execute(&mut first)
        .await?;
    let began = Instant::now();
    let workers = (0..clients).map(|_| async move {
        let mut connection = sqlx::MySqlConnection::connect(url).await?;
        let mut times = Vec::new();
        for value in 0..(count / clients).max(1) {
            let began = Instant::now();
            sqlx::query("INSERT INTO bench_rows (v) VALUES (?)")
                .bind(i64::try_from(value)?)
                .execute(&mut connection)
                .await?;
            times.push(began.elapsed());
        }
        anyhow::Ok(times)
    });
    let mut times: Vec<_> = futures_util::future::try_join_all(workers).await?.into_iter().flatten().collect();
    times.sort_unstable();
    Ok(Load { elapsed: began.elapsed(), times })
}

/// A fresh database on the server at `url`; answers its URL.
pub(crate) async fn database(url: &str, name: &str) -> anyhow::Result<String> {
    let (drop, create) = (format!("DROP DATABASE IF EXISTS {name}"), format!("CREATE DATABASE {name}"));
    for statement in [drop, create] {
        let statement = sqlx::AssertSqlSafe(statement);
        if url.starts_with("postgres") {
            sqlx::raw_sql(statement).execute(&mut sqlx::PgConnection::connect(url).await?).await?;
        } else {
            sqlx::raw_sql(statement).execute(&mut sqlx::MySqlConnection::connect(url).await?).await?;
        }
    }
    let (server, query) = url.split_once('?').unwrap_or((url, ""));
    let (server, _) = server.rsplit_once('/').context("the server's URL has no database part")?;
    let query = if query.is_empty() { String::new() } else { format!("?{query}") };
    Ok(format!("{server}/{name}{query}"))
}

async fn run(command: &mut Command) -> anyhow::Result<String> {
    let output =
        command.output().await.with_context(|| format!("cannot run {}", command.as_std().get_program().display()))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.success(), "{command:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
    Ok(text)
}
