//! Services that migrate one Galera cluster by way of different nodes, which know nothing of each other's locks.

use std::time::Duration;

use shop_testing::{Process, backend, eventually, free_port};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, MySqlConnection};

use crate::migrations::{is_up, service};

/// What is logged by who goes on with a file that another began.
const AGAIN: &str = "running it again";

/// A payment service at one of the nodes, and its port.
fn payment(own: &backend::Own, node: usize, database: &str) -> (Process, u16) {
    let url = own.variable(&format!("SHOP_TEST_GALERA{node}_URL")).replace("/mysql", &format!("/{database}"));
    let port = free_port();
    (service("payment-service", &url, port), port)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_starts_at_different_nodes_of_a_galera_cluster_migrates_in_turn_though_one_dies_half_way() {
    if backend::galera().is_none() {
        return;
    }
    let Some(own) = backend::Own::without_sync("galera1,galera2,galera3").await else { return };
    let mut store = MySqlConnection::connect(own.variable("SHOP_TEST_GALERA1_URL")).await.expect("connects");
    for database in ["quiet", "dying"] {
        store.execute(AssertSqlSafe(format!("CREATE DATABASE {database}"))).await.expect("is made");
    }

    let mut all: Vec<_> = (1..=3).map(|node| payment(&own, node, "quiet")).collect();
    for (service, _) in &mut all {
        service.spawn();
    }
    for (service, port) in &mut all {
        eventually!(within Duration::from_mins(1), is_up(*port).await);
        service.kill();
        assert!(!service.output().contains(AGAIN), "two at once:\n{}", service.output());
    }

    let (mut dies, _) = payment(&own, 1, "dying");
    dies.set("SHOP_CRASH_AT", "migrate.statement:7");
    dies.spawn();
    dies.wait().await;
    let mut others: Vec<_> = (2..=3).map(|node| payment(&own, node, "dying")).collect();
    for (service, _) in &mut others {
        service.spawn();
    }
    let mut again = 0;
    for (service, port) in &mut others {
        eventually!(within Duration::from_mins(1), is_up(*port).await);
        service.kill();
        again += service.output().matches(AGAIN).count();
    }
    assert_eq!(again, 1, "what the dead one began, and nothing else");
}
