//! Several servers of one store: the pool is where it is written, whichever that is.

use std::net::TcpListener;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use shop_config::Database;
use shop_events::{Envelope, Event, Message};
use shop_sql::{Engine, Store, Tables, Value, acquire, check};
use shop_testing::backend::{self, Own};
use shop_testing::{Cable, eventually};
use sqlx::{Connection as _, Executor, MySqlConnection, MySqlPool, PgConnection, PgPool};
use url::Url;

use crate::open::migrate;
use crate::vanished::{Told, WRITERS, write};

/// Until all goes on, once another server writes.
const WELL: Duration = Duration::from_secs(15);

/// `host:port` of a URL.
pub(crate) fn place(url: &str) -> String {
    let url = Url::parse(url).expect("a URL");
    format!("{}:{}", url.host_str().expect("a host"), url.port().expect("a port"))
}

/// The URL of several servers.
pub(crate) fn several(scheme: &str, user: &str, places: &[String], database: &str) -> String {
    format!("{scheme}://{user}@{}/{database}", places.join(","))
}

pub(crate) fn settings(url: &str) -> Database {
    let mut settings = Database::at(url);
    settings.pool.max = 4;
    // A busy machine is no server that is away.
    settings.pool.acquire_timeout = shop_config::Duration::secs(10);
    settings
}

/// The port of the server that a connection of `pool` leads to.
async fn postgres_port(pool: &PgPool) -> i32 {
    let mut conn = acquire(pool).await.expect("a connection");
    sqlx::query_scalar("SELECT inet_server_port()").fetch_one(&mut *conn).await.expect("asks")
}

pub(crate) async fn mariadb_port(pool: &MySqlPool) -> i64 {
    let mut conn = acquire(pool).await.expect("a connection");
    sqlx::query_scalar("SELECT CAST(@@port AS SIGNED)").fetch_one(&mut *conn).await.expect("asks")
}

pub(crate) fn port(url: &str) -> u16 {
    Url::parse(url).expect("a URL").port().expect("a port")
}

/// Writes all the while that `fails_over` runs: no write fails before it or once all is well, none that was acknowledged is
/// lost, and none is done twice.
#[expect(clippy::print_stdout, reason = "the figure is for whoever reads the run")]
pub(crate) async fn goes_on<E: Engine<Db: sqlx::Database<Connection: Tables>>>(
    engine: &E,
    fails_over: impl Future<Output = ()>,
) {
    let told = Told::default();
    let writers = futures_util::future::join_all((0..WRITERS).map(|writer| write(engine, writer, &told)));
    let test = async {
        eventually!((0..WRITERS).all(|writer| told.of(writer) > 3));
        assert_eq!(told.failures.load(Ordering::SeqCst), 0, "all was well before");
        let began = Instant::now();
        fails_over.await;
        let before: Vec<_> = (0..WRITERS).map(|writer| told.of(writer)).collect();
        eventually!(within WELL, (0..WRITERS).all(|writer| told.of(writer) > before[writer as usize] + 3));
        println!("written again within {:?}", began.elapsed());
        let failed = told.failures.load(Ordering::SeqCst);
        let before: Vec<_> = (0..WRITERS).map(|writer| told.of(writer)).collect();
        eventually!((0..WRITERS).all(|writer| told.of(writer) > before[writer as usize] + 10));
        assert_eq!(told.failures.load(Ordering::SeqCst), failed, "all is well afterwards");
        told.stop.store(true, Ordering::SeqCst);
    };
    tokio::join!(writers, test);
    let mut conn = engine.reader().await.expect("a connection");
    let kept = "SELECT topic, message_key, headers, payload FROM outbox";
    let kept: Vec<Kept> = shop_sql::Connection::rows(&mut *conn, kept, &[] as &[Value<'_>]).await.expect("reads");
    let mut kept: Vec<_> = kept.into_iter().map(written).collect();
    kept.sort_unstable();
    let twice: Vec<_> = kept.windows(2).filter(|pair| pair[0] == pair[1]).collect();
    assert!(twice.is_empty(), "done twice: {twice:?}");
    let acknowledged = told.acknowledged.lock();
    let lost: Vec<_> = acknowledged.iter().filter(|write| kept.binary_search(write).is_err()).collect();
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
}

/// A row of the outbox: topic, key, headers and payload.
type Kept = (String, String, String, Vec<u8>);

/// Which write a row is of: the writer, and its number.
fn written((topic, key, headers, payload): Kept) -> (u32, u32) {
    let headers = serde_json::from_str(&headers).expect("are JSON");
    let message = Message { topic, key, headers, payload };
    let Event::StockUpdated(stock) = Envelope::decode(&message).expect("an event").event else {
        panic!("another event")
    };
    (message.key.parse().expect("a number"), stock.quantity)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_that_is_promoted_is_written_to_and_nothing_is_lost() {
    let Some(own) = Own::without_sync("postgres,standby").await else { return };
    let (first, second) = (own.variable("SHOP_TEST_POSTGRES_URL"), own.variable("SHOP_TEST_STANDBY_URL"));
    let mut primary = PgConnection::connect(first).await.expect("connects");
    // A service's user may do less than the tests'.
    for sql in [
        "CREATE ROLE writer LOGIN PASSWORD 'writes'",
        // What is acknowledged is on both, though on no disk.
        "ALTER ROLE writer SET synchronous_commit = on",
        "CREATE DATABASE shop OWNER writer",
        "ALTER SYSTEM SET synchronous_standby_names = 'standby'",
        "SELECT pg_reload_conf()",
    ] {
        primary.execute(sql).await.expect("sets it up");
    }
    let state = "SELECT COUNT(*) FROM pg_stat_replication WHERE sync_state = 'sync'";
    eventually!(sqlx::query_scalar::<_, i64>(state).fetch_one(&mut primary).await.expect("asks") == 1);
    // The standby first: that it is in front makes it no writer.
    let url = several("postgres", "writer:writes", &[place(second), place(first)], "shop");
    let pool = shop_sql::postgres(&settings(&url)).await.expect("connects");
    migrate(&pool.clone().into()).await.expect("migrates");
    assert_eq!(postgres_port(&pool).await, i32::from(port(first)));
    let beside = shop_sql::beside(&pool, 2).await;
    assert_eq!(postgres_port(&beside).await, i32::from(port(first)));

    goes_on(&pool, async {
        own.kill_one("postgres").await;
        let mut standby = PgConnection::connect(second).await.expect("connects");
        standby.execute("SELECT pg_promote()").await.expect("is promoted");
    })
    .await;
    assert_eq!(postgres_port(&pool).await, i32::from(port(second)));
    // A connection that lay idle all the while may have to be lost first.
    eventually!({
        let mut conn = acquire(&beside).await.expect("a connection");
        let at = sqlx::query_scalar::<_, i32>("SELECT inet_server_port()").fetch_one(&mut *conn).await;
        at.is_ok_and(|at| at == i32::from(port(second)))
    });

    // One that comes back and does not know that it was replaced gets nothing to write, whoever is asked.
    own.resume().await;
    let mut former = PgConnection::connect(first).await.expect("is back");
    let standby: bool = sqlx::query_scalar("SELECT pg_is_in_recovery()").fetch_one(&mut former).await.expect("asks");
    assert!(!standby, "it takes itself for the one that writes");
    let url = several("postgres", "writer:writes", &[place(first), place(second)], "shop");
    let mut settings = settings(&url);
    settings.pool.acquire_timeout = shop_config::Duration::secs(3);
    let other = shop_sql::postgres(&settings).await.expect("connects");
    assert_eq!(postgres_port(&other).await, i32::from(port(second)));
    let store = Store::from(other);
    own.kill_one("standby").await;
    assert_eq!(check(store).await, Err("the store cannot be reached just now".to_owned()), "that one alone has all");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_takes_over_is_written_to_and_nothing_is_lost() {
    let Some(own) = Own::without_sync("mariadb,replica").await else { return };
    let (first, second) = (own.variable("SHOP_TEST_MARIADB_URL"), own.variable("SHOP_TEST_REPLICA_URL"));
    let mut primary = MySqlConnection::connect(first).await.expect("connects");
    let mut replica = MySqlConnection::connect(second).await.expect("connects");
    let at = Url::parse(first).expect("a URL");
    let follow = format!(
        "CHANGE MASTER TO master_host = '{}', master_port = {}, master_user = 'shop', master_password = '{}', \
         master_use_gtid = slave_pos",
        at.host_str().expect("a host"),
        at.port().expect("a port"),
        at.password().expect("a password")
    );
    replica.execute(sqlx::raw_sql(sqlx::AssertSqlSafe(follow))).await.expect("knows whom to follow");
    replica.execute(sqlx::raw_sql("START SLAVE; SET GLOBAL read_only = ON")).await.expect("follows");
    // The tests' user may write even there.
    for sql in
        ["CREATE DATABASE shop", "CREATE USER writer@'%' IDENTIFIED BY 'writes'", "GRANT ALL ON shop.* TO writer@'%'"]
    {
        primary.execute(sqlx::raw_sql(sql)).await.expect("sets it up");
    }
    let url = several("mysql", "writer:writes", &[place(second), place(first)], "shop");
    let pool = shop_sql::mariadb(&settings(&url)).await.expect("connects");
    migrate(&pool.clone().into()).await.expect("migrates");
    assert_eq!(mariadb_port(&pool).await, i64::from(port(first)));

    goes_on(&pool, async {
        primary.execute(sqlx::raw_sql("SET GLOBAL read_only = ON")).await.expect("only reads");
        let at = "SELECT @@gtid_binlog_pos";
        let at: String = sqlx::query_scalar(at).fetch_one(&mut primary).await.expect("says where it is");
        let follows = "SELECT MASTER_GTID_WAIT(?, 5)";
        let follows: i64 = sqlx::query_scalar(follows).bind(at).fetch_one(&mut replica).await.expect("follows");
        assert_eq!(follows, 0, "the replica has all");
        replica.execute(sqlx::raw_sql("STOP SLAVE; SET GLOBAL read_only = OFF")).await.expect("takes over");
    })
    .await;
    assert_eq!(mariadb_port(&pool).await, i64::from(port(second)));
    check(pool.into()).await.expect("is up");
}

/// How many came to a place where nobody answers.
fn callers(silent: &TcpListener) -> usize {
    std::iter::from_fn(|| silent.accept().ok()).count()
}

#[tokio::test]
async fn a_first_server_that_never_answers_is_not_tried_by_each_connection() {
    let Some(db) = backend::postgres().await else { return };
    let server = Url::parse(&db.url()).expect("a URL");
    let user = format!("{}:{}", server.username(), server.password().expect("a password"));
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    silent.set_nonblocking(true).expect("is set");
    let places = [silent.local_addr().expect("an address").to_string(), place(&db.url())];
    let pool = shop_sql::postgres(&settings(&several("postgres", &user, &places, &server.path()[1..]))).await;
    let pool = pool.expect("connects");
    assert!(callers(&silent) > 0, "it was asked whether it writes");
    // Those that are slow ask again, all together.
    let held = futures_util::future::join_all((0..4).map(|_| acquire(&pool))).await;
    assert!(held.iter().all(Result::is_ok), "{held:?}");
    assert!(callers(&silent) < 4, "not by each");
}

#[tokio::test]
async fn who_waits_for_a_server_that_vanished_gets_a_connection_to_the_other() {
    let Some(db) = backend::postgres().await else { return };
    let server = Url::parse(&db.url()).expect("a URL");
    let user = format!("{}:{}", server.username(), server.password().expect("a password"));
    let (one, other) = (Cable::to(&place(&db.url())).await, Cable::to(&place(&db.url())).await);
    let places = [one.at().to_string(), other.at().to_string()];
    let pool = shop_sql::postgres(&settings(&several("postgres", &user, &places, &server.path()[1..]))).await;
    let pool = pool.expect("connects");
    while let Some(idle) = pool.try_acquire() {
        drop(idle.detach());
    }
    one.go_silent();
    let mut waiting = futures_util::future::join_all((0..4).map(|_| acquire(&pool))).await;
    for held in &mut waiting {
        let held = held.as_mut().expect("a connection within its time");
        sqlx::query("SELECT 1").execute(&mut **held).await.expect("works");
    }
}

#[tokio::test]
async fn each_server_that_does_not_write_is_named_with_the_reason() {
    let Some(db) = backend::postgres().await else { return };
    let server = Url::parse(&db.url()).expect("a URL");
    let user = format!("{}:{}", server.username(), server.password().expect("a password"));
    let mut admin = PgConnection::connect(&db.url()).await.expect("connects");
    let read_only = format!("ALTER DATABASE {} SET default_transaction_read_only = on", &server.path()[1..]);
    admin.execute(sqlx::AssertSqlSafe(read_only)).await.expect("only reads");
    let url = several("postgres", &user, &["127.0.0.1:1".to_owned(), place(&db.url())], &server.path()[1..]);
    let mut settings = settings(&url);
    settings.startup_timeout = shop_config::Duration::secs(2);
    let error = format!("{:#}", shop_sql::postgres(&settings).await.expect_err("nobody writes"));
    let reads = format!("{}: it only reads", place(&db.url()));
    assert!(error.contains("127.0.0.1:1: ") && error.contains(&reads) && error.contains("startup_timeout"), "{error}");
}
