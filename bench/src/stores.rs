//! The stores under load, from outside: the CPU of each with all its children, and how many statements each was asked.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use sqlx::{Connection as _, MySqlConnection, PgConnection};

use crate::process;

/// The servers, by the folders that `scripts/backends` keeps them in.
pub(crate) const STORES: [&str; 4] = ["postgres", "mariadb", "kafka", "redis"];

/// The process ids of the servers that `scripts/backends` started; none of those it did not.
pub(crate) fn processes() -> anyhow::Result<Vec<(&'static str, u32)>> {
    let folder = variable("SHOP_TEST_BACKENDS_DIR")?;
    let id = |name: &str| -> Option<u32> {
        let text = std::fs::read_to_string(Path::new(&folder).join(name).join("pid")).ok()?;
        text.split_whitespace().next()?.parse().ok()
    };
    Ok(STORES.iter().filter_map(|name| Some((*name, id(name)?))).collect())
}

/// CPU so far of each server, children included.
pub(crate) fn cpu(stores: &[(&'static str, u32)]) -> Vec<(&'static str, Duration)> {
    stores.iter().map(|(name, id)| (*name, process::tree_cpu(*id))).collect()
}

/// What the stores counted, by a name that begins with the store's.
pub(crate) type Counts = BTreeMap<String, u64>;

/// Reads what the stores counted so far. Statements of PostgreSQL are there when `pg_stat_statements` is.
pub(crate) async fn counts() -> anyhow::Result<Counts> {
    let mut counts = Counts::new();
    mariadb(&mut counts).await?;
    postgres(&mut counts).await?;
    redis(&mut counts).await?;
    Ok(counts)
}

/// What was counted between two looks, without what stayed as it was.
pub(crate) fn between(before: &Counts, after: &Counts) -> Counts {
    let more = |(name, now): (&String, &u64)| {
        let more = now.saturating_sub(before.get(name).copied().unwrap_or_default());
        (more > 0).then(|| (name.clone(), more))
    };
    after.iter().filter_map(more).collect()
}

async fn mariadb(counts: &mut Counts) -> anyhow::Result<()> {
    let mut server = MySqlConnection::connect(&variable("SHOP_TEST_MARIADB_URL")?).await?;
    let sql = "SELECT LOWER(variable_name), CAST(variable_value AS UNSIGNED) FROM information_schema.global_status \
               WHERE variable_name LIKE 'COM\\_%' OR variable_name = 'QUESTIONS'";
    let rows: Vec<(String, u64)> = sqlx::query_as(sql).fetch_all(&mut server).await?;
    // `com_stmt_execute` counts once more what its own kind counts.
    let rows = rows.into_iter().filter(|(name, _)| name != "com_stmt_execute");
    counts.extend(rows.map(|(name, count)| (format!("mariadb {}", name.trim_start_matches("com_")), count)));
    Ok(server.close().await?)
}

async fn postgres(counts: &mut Counts) -> anyhow::Result<()> {
    let mut server = PgConnection::connect(&variable("SHOP_TEST_POSTGRES_URL")?).await?;
    let sql = "SELECT SUM(xact_commit)::bigint FROM pg_stat_database";
    let commits: i64 = sqlx::query_scalar(sql).fetch_one(&mut server).await?;
    counts.insert("postgres transactions".to_owned(), commits.unsigned_abs());
    sqlx::raw_sql("CREATE EXTENSION IF NOT EXISTS pg_stat_statements").execute(&mut server).await.ok();
    let sql = "SELECT LOWER(SPLIT_PART(LTRIM(query), ' ', 1)), SUM(calls)::bigint FROM pg_stat_statements GROUP BY 1";
    let rows: Vec<(String, i64)> = sqlx::query_as(sql).fetch_all(&mut server).await.unwrap_or_default();
    for (word, calls) in rows {
        *counts.entry("postgres statements".to_owned()).or_default() += calls.unsigned_abs();
        counts.insert(format!("postgres {word}"), calls.unsigned_abs());
    }
    Ok(server.close().await?)
}

async fn redis(counts: &mut Counts) -> anyhow::Result<()> {
    let client = redis::Client::open(variable("SHOP_TEST_REDIS_URL")?)?;
    let mut server = client.get_multiplexed_async_connection().await?;
    let text: String = redis::cmd("INFO").arg("commandstats").query_async(&mut server).await?;
    // `cmdstat_get:calls=12,usec=…`
    for line in text.lines() {
        let Some((name, rest)) = line.strip_prefix("cmdstat_").and_then(|line| line.split_once(":calls=")) else {
            continue;
        };
        let calls = rest.split(',').next().and_then(|calls| calls.parse::<u64>().ok()).unwrap_or_default();
        *counts.entry("redis commands".to_owned()).or_default() += calls;
        counts.insert(format!("redis {name}"), calls);
    }
    Ok(())
}

/// A variable that `scripts/backends env` prints.
pub(crate) fn variable(name: &str) -> anyhow::Result<String> {
    std::env::var(name).with_context(|| format!("{name} is not set: run bench/run"))
}
