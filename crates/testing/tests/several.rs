//! Servers that are several, and a network that loses things, do what tests expect of them.

use std::time::Duration;

use shop_testing::backend::{Engine, Pair, Redises};
use shop_testing::{Network, Program, eventually};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, MySqlConnection, PgConnection};

const AWAY: Duration = Duration::from_millis(100);

/// Rows of `table` at a server.
async fn rows(url: &str, table: &str) -> i64 {
    let count = AssertSqlSafe(format!("SELECT COUNT(*) FROM {table}"));
    if url.starts_with("postgres") {
        let mut server = PgConnection::connect(url).await.expect("connects");
        sqlx::query_scalar(count).fetch_one(&mut server).await.expect("counts")
    } else {
        let mut server = MySqlConnection::connect(url).await.expect("connects");
        sqlx::query_scalar(count).fetch_one(&mut server).await.expect("counts")
    }
}

async fn execute(url: &str, sql: &str) {
    let statement = AssertSqlSafe(sql.to_owned());
    if url.starts_with("postgres") {
        PgConnection::connect(url).await.expect("connects").execute(statement).await.expect("is done");
    } else {
        MySqlConnection::connect(url).await.expect("connects").execute(statement).await.expect("is done");
    }
}

/// Both lead in turn, and are killed, and both have all of it.
async fn goes_on(mut pair: Pair, table: &str) {
    for (row, step) in (1..).zip(["over", "over", "killed", "follower", "over"]) {
        execute(pair.leader(), &format!("INSERT INTO {table} VALUES ({row})")).await;
        match step {
            "over" => pair.fail_over(AWAY).await,
            "killed" => pair.restart(AWAY).await,
            _ => pair.restart_follower(AWAY).await,
        }
        assert_eq!(rows(pair.leader(), table).await, row, "{step}");
        eventually!(rows(pair.url(1 - pair.leads()), table).await == row);
    }
}

#[tokio::test]
async fn both_postgres_lead_in_turn_and_lose_nothing() {
    let Some(pair) = Pair::start(Engine::Postgres, None).await else { return };
    execute(pair.leader(), "CREATE TABLE t (n INT PRIMARY KEY)").await;
    goes_on(pair, "t").await;
}

#[tokio::test]
async fn both_mariadb_lead_in_turn_and_lose_nothing() {
    let Some(pair) = Pair::start(Engine::MariaDb, None).await else { return };
    execute(pair.leader(), "CREATE DATABASE region").await;
    execute(pair.leader(), "CREATE TABLE region.t (n INT PRIMARY KEY)").await;
    goes_on(pair, "region.t").await;
}

#[tokio::test]
async fn what_is_sent_is_lost_in_either_direction_and_everywhere() {
    let Some(network) = Network::make() else { return };
    let (here, there) = (network.place(), network.place());
    let Some(redis) = Redises::behind_sentinels_in(&there).await else { return };
    let (_, at) = redis.nodes().next().and_then(|node| node.split_once('@')).expect("a server");
    let (host, port) = at.split('/').next().and_then(|at| at.split_once(':')).expect("a port");
    assert_eq!(host, there.address().to_string());
    let asks = async || {
        let [runner, namespace] = here.runner();
        let ask = ["timeout", "1", "redis-cli", "-h", host, "-p", port, "PING"];
        let output = Program::new(runner).arg(namespace).args(ask).output().await;
        String::from_utf8_lossy(&output.stdout).contains("NOAUTH")
    };
    eventually!(asks().await);
    here.lose_to(&there);
    assert!(!asks().await, "it is not asked");
    here.reach(&there);
    eventually!(asks().await);
    there.lose_to(&here);
    assert!(!asks().await, "it is not heard");
    there.reach(&here);
    eventually!(asks().await);
    here.cut_off();
    assert!(!asks().await, "nobody is reached");
    here.join();
    eventually!(asks().await);
}
