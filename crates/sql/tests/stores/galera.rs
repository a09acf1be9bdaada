//! A Galera cluster: every node writes, and none knows of the others' locks.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use shop_config::Database;
use shop_sql::{Engine, Step, Value, commit, migrate, retry_transient};
use shop_testing::backend::Galera;
use shop_testing::eventually;
use sqlx::{AssertSqlSafe, Connection as _, Executor, MySqlConnection, MySqlPool};

use crate::failover::{goes_on, mariadb_port, port, settings, several};
use crate::turns::files;

async fn admin(cluster: &Galera, node: usize) -> MySqlConnection {
    MySqlConnection::connect(cluster.url(node)).await.expect("connects")
}

async fn make(cluster: &Galera, database: &str) {
    let sql = format!("CREATE DATABASE {database}");
    admin(cluster, 0).await.execute(AssertSqlSafe(sql)).await.expect("is made");
}

/// A pool on one node alone.
async fn pool(cluster: &Galera, node: usize, database: &str) -> MySqlPool {
    let url = cluster.url(node).replace("/mysql", &format!("/{database}"));
    shop_sql::mariadb(&settings(&url)).await.expect("connects")
}

/// The settings of all nodes.
fn all(cluster: &Galera, database: &str) -> Database {
    let url = url::Url::parse(cluster.url(0)).expect("a URL");
    let user = format!("shop:{}", url.password().expect("a password"));
    settings(&several("mysql", &user, &cluster.places().map(str::to_owned), database))
}

fn take(pot: i64) -> Step<'static> {
    Step::new("UPDATE pots SET coins = coins - 1 WHERE id = $1", [Value::Int(pot)])
}

async fn coins(pool: &MySqlPool) -> Vec<i64> {
    sqlx::query_scalar("SELECT coins FROM pots ORDER BY id").fetch_all(pool).await.expect("reads")
}

/// A lock is of one node. Who commits the second change of a row is told that it lost, by COMMIT.
async fn who_loses_against_another_node_begins_again(cluster: &Galera) {
    make(cluster, "lost").await;
    let (one, other) = (pool(cluster, 0, "lost").await, pool(cluster, 1, "lost").await);
    one.execute("CREATE TABLE pots (id BIGINT PRIMARY KEY, coins BIGINT NOT NULL)").await.expect("is made");
    one.execute("INSERT INTO pots VALUES (1, 100), (2, 100)").await.expect("are filled");
    eventually!(coins(&other).await == [100, 100]);

    let attempts = AtomicU32::new(0);
    let done = retry_transient(|| async {
        let mut tx = Engine::begin(&one).await?;
        sqlx::query("UPDATE pots SET coins = coins - 1 WHERE id = 1").execute(&mut *tx).await?;
        let first = attempts.fetch_add(1, Ordering::SeqCst) == 0;
        if first {
            assert!(other.together(&[take(1)]).await.expect("waits for no lock"));
        }
        let committed = commit(tx).await;
        assert_eq!(committed.as_ref().is_err_and(shop_sql::is_transient), first, "{committed:?}");
        committed
    });
    done.await.expect("gets through");
    assert_eq!(attempts.load(Ordering::SeqCst), 2);

    let often = async |pool: &MySqlPool, first, second| {
        for _ in 0..10 {
            let done = retry_transient(|| async { pool.together(&[take(first), take(second)]).await });
            assert!(done.await.expect("gets through"));
        }
    };
    tokio::join!(often(&one, 1, 2), often(&other, 2, 1));
    for pool in [&one, &other] {
        eventually!(coins(pool).await == [78, 80]);
    }
}

/// A file that lasts, and says when it was run.
const LASTS: &str =
    "INSERT INTO log (what) VALUES ('begins');\nSELECT SLEEP(0.3);\nINSERT INTO log (what) VALUES ('ends');\n";

async fn log(pool: &MySqlPool) -> Vec<String> {
    sqlx::query_scalar("SELECT what FROM log ORDER BY id").fetch_all(pool).await.expect("reads")
}

async fn who_migrates_over_different_nodes_takes_turns(cluster: &Galera) {
    make(cluster, "turns").await;
    let pools = [pool(cluster, 0, "turns").await, pool(cluster, 1, "turns").await, pool(cluster, 2, "turns").await];
    let table = "CREATE TABLE log (id BIGINT AUTO_INCREMENT PRIMARY KEY, what TEXT NOT NULL)";
    pools[0].execute(table).await.expect("is made");
    let files = files(&[LASTS, LASTS, LASTS]).await;
    let migrated = futures_util::future::join_all(pools.iter().map(|pool| migrate(pool, &files))).await;
    assert!(migrated.iter().all(Result::is_ok), "{migrated:?}");
    assert_eq!(log(&pools[1]).await, ["begins", "ends"].repeat(3), "one after the other, and each once");
}

/// Who migrates on one node is gone without a word, its connection with it.
#[expect(clippy::print_stdout, reason = "the figure is for whoever reads the run")]
async fn the_turn_of_who_is_gone_is_taken_on_another_node(cluster: &Galera) {
    make(cluster, "gone").await;
    let (one, other) = (pool(cluster, 0, "gone").await, pool(cluster, 1, "gone").await);
    for table in
        ["CREATE TABLE gate (id INT PRIMARY KEY)", "CREATE TABLE log (id BIGINT PRIMARY KEY, what TEXT NOT NULL)"]
    {
        one.execute(table).await.expect("is made");
    }
    let files = files(&[
        "INSERT INTO log VALUES (1, 'begins');\nINSERT INTO gate VALUES (1);\nINSERT INTO log VALUES (2, 'ends');\n",
    ])
    .await;
    let mut shut = one.begin().await.expect("begins");
    shut.execute("INSERT INTO gate VALUES (1)").await.expect("shuts the gate");
    tokio::select! {
        done = migrate(&one, &files) => panic!("the gate is shut: {done:?}"),
        () = async { eventually!(log(&other).await == ["begins"]) } => {}
    }
    let gone = Instant::now();
    migrate(&other, &files).await.expect("migrates");
    println!("a turn is taken {:?} after its holder is gone", gone.elapsed());
    assert_eq!(log(&other).await, ["begins", "ends"], "made good");
}

/// Which of the nodes a pool leads to.
async fn node(cluster: &Galera, pool: &MySqlPool) -> usize {
    let at = mariadb_port(pool).await;
    (0..3).find(|node| i64::from(port(cluster.url(*node))) == at).expect("one of them")
}

async fn a_node_that_is_killed_alone_or_closed_is_left_and_nothing_is_lost(cluster: &Galera) {
    make(cluster, "busy").await;
    let pool = shop_sql::mariadb(&all(cluster, "busy")).await.expect("connects");
    crate::open::migrate(&pool.clone().into()).await.expect("migrates");
    assert_eq!(node(cluster, &pool).await, 0);
    goes_on(&pool, cluster.kill(0)).await;
    cluster.resume(0).await;

    let at = node(cluster, &pool).await;
    assert_ne!(at, 0, "stays where it is");
    pool.execute("DELETE FROM outbox").await.expect("is empty again");
    let mut alone = admin(cluster, at).await;
    let isolate = |on: u8| AssertSqlSafe(format!("SET GLOBAL wsrep_provider_options = 'gmcast.isolate={on}'"));
    goes_on(&pool, async {
        alone.execute(sqlx::raw_sql(isolate(1))).await.expect("hears nobody");
        eventually!(within Duration::from_secs(30), {
            let told = alone.execute("SELECT COUNT(*) FROM busy.outbox").await;
            told.is_err_and(|error| error.to_string().contains("1047"))
        });
    })
    .await;
    let next = node(cluster, &pool).await;
    assert_ne!(next, at);
    alone.execute(sqlx::raw_sql(isolate(0))).await.expect("hears the others");
    cluster.whole().await;

    pool.execute("DELETE FROM outbox").await.expect("is empty again");
    let mut closed = admin(cluster, next).await;
    goes_on(&pool, async {
        closed.execute(sqlx::raw_sql("SET GLOBAL wsrep_reject_queries = 'ALL'")).await.expect("takes nothing more");
    })
    .await;
    assert_ne!(node(cluster, &pool).await, next);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_holds_on_one_server_holds_on_the_nodes_of_a_galera_cluster() {
    let Some(cluster) = Galera::start().await else { return };
    who_loses_against_another_node_begins_again(&cluster).await;
    who_migrates_over_different_nodes_takes_turns(&cluster).await;
    the_turn_of_who_is_gone_is_taken_on_another_node(&cluster).await;
    a_node_that_is_killed_alone_or_closed_is_left_and_nothing_is_lost(&cluster).await;
}
