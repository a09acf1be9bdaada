//! Pools, sessions, migrations and what their errors mean.

use shop_config::Database;
use shop_fault::Kind;
use shop_sql::{Store, fault};
use shop_telemetry::Metrics;

use crate::open::{empty_servers, places, servers, sqlite};

#[tokio::test]
async fn replicas_may_migrate_at_the_same_time() {
    for place in empty_servers().await {
        let tries = futures_util::future::join_all((0..4).map(|_| place.migrate())).await;
        assert!(tries.iter().all(Result::is_ok), "{}: {tries:?}", place.engine);
    }
}

#[tokio::test]
async fn the_pools_show_in_the_metrics() {
    for place in places().await {
        let metrics = Metrics::new("test");
        shop_sql::watch(&metrics, &place.store).expect("registers");
        let text = metrics.render();
        for wanted in ["store_pool_connections{", "state=\"in_use\"", "state=\"idle\"", "store_pool_max_connections{"] {
            assert!(text.contains(wanted), "{}: {text}", place.engine);
        }
    }
}

#[tokio::test]
async fn an_embedded_store_is_durable_and_its_readers_cannot_write() {
    let place = sqlite().await;
    let Store::Sqlite(pools) = &place.store else { panic!("an sqlite store") };
    let mode: String = sqlx::query_scalar("PRAGMA journal_mode").fetch_one(&pools.write).await.expect("reads");
    let sync: i64 = sqlx::query_scalar("PRAGMA synchronous").fetch_one(&pools.write).await.expect("reads");
    let keys: i64 = sqlx::query_scalar("PRAGMA foreign_keys").fetch_one(&pools.write).await.expect("reads");
    assert_eq!((mode.as_str(), sync, keys), ("wal", 2, 1));
    sqlx::query("INSERT INTO inbox VALUES (x'00', 1)").execute(&pools.read).await.expect_err("readers only read");
}

#[tokio::test]
async fn a_value_that_does_not_fit_is_refused_not_cut() {
    for place in servers().await {
        if let Store::MariaDb(pool) = &place.store {
            let long = "x".repeat(300);
            let sql = "INSERT INTO outbox (event_id, topic, message_key, headers, payload, created_at) \
                       VALUES (x'00000000000000000000000000000000', 't', ?, '', '', 0)";
            sqlx::query(sql).bind(long).execute(pool).await.expect_err("too long for its column");
            let zone: String = sqlx::query_scalar("SELECT @@session.time_zone").fetch_one(pool).await.expect("reads");
            assert_eq!(zone, "+00:00");
        }
        if let Store::Postgres(pool) = &place.store {
            let zone: String = sqlx::query_scalar("SHOW timezone").fetch_one(pool).await.expect("reads");
            assert_eq!(zone, "UTC");
        }
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_is_named() {
    let mut settings = Database::at("postgres://nobody:secret@127.0.0.1:1/nothing");
    settings.startup_timeout = shop_config::Duration::millis(300);
    let error = format!("{:#}", shop_sql::postgres(&settings).await.expect_err("nobody answers"));
    assert!(error.contains("127.0.0.1:1") && error.contains("startup_timeout"), "{error}");
    assert!(!error.contains("secret"), "{error}");
    let wrong = shop_sql::mariadb(&settings).await.expect_err("not a mariadb address");
    assert!(wrong.to_string().contains("mysql://"), "{wrong}");
}

#[tokio::test]
async fn a_store_that_is_away_is_unavailable_and_says_when_to_come_back() {
    let options = sqlx::postgres::PgPoolOptions::new().acquire_timeout(std::time::Duration::from_millis(200));
    let pool = options.connect_lazy("postgres://nobody@127.0.0.1:1/nothing").expect("a pool");
    let error = sqlx::query("SELECT 1").execute(&pool).await.expect_err("nobody answers");
    let fault = fault(error);
    assert_eq!((fault.kind(), fault.code()), (Kind::Unavailable, "store_unavailable"));
    assert!(fault.retry_after().is_some());
}

#[tokio::test]
async fn a_statement_that_is_wrong_is_our_own_failure() {
    for place in places().await {
        let error = match &place.store {
            Store::Postgres(pool) => sqlx::query("SELECT nonsense").execute(pool).await.expect_err("no such column"),
            Store::MariaDb(pool) => sqlx::query("SELECT nonsense").execute(pool).await.expect_err("no such column"),
            Store::Sqlite(pools) => {
                sqlx::query("SELECT nonsense").execute(&pools.read).await.expect_err("no such column")
            }
        };
        let fault = fault(error);
        assert_eq!(fault.kind(), Kind::Internal, "{}", place.engine);
        assert!(!fault.detail().contains("nonsense"), "{}", place.engine);
    }
}

#[tokio::test]
async fn a_statement_that_the_server_gave_no_more_time_may_pass_later() {
    for place in servers().await {
        let error = match &place.store {
            Store::Postgres(pool) => {
                let mut tx = pool.begin().await.expect("begins");
                sqlx::query("SET LOCAL statement_timeout = '10ms'").execute(&mut *tx).await.expect("sets it");
                sqlx::query("SELECT pg_sleep(5)").execute(&mut *tx).await.expect_err("ends early")
            }
            Store::MariaDb(pool) => {
                let slow = "SET STATEMENT max_statement_time = 0.01 FOR \
                            SELECT COUNT(*) FROM information_schema.columns a, information_schema.columns b";
                sqlx::raw_sql(slow).execute(pool).await.expect_err("ends early")
            }
            Store::Sqlite(_) => continue,
        };
        let fault = fault(error);
        assert_eq!((fault.kind(), fault.code()), (Kind::Unavailable, "store_busy"), "{}", place.engine);
    }
}

#[tokio::test]
async fn an_extended_code_of_sqlite_means_what_its_primary_code_means() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("shop.db");
    let (one, other) = (shop_sql::sqlite(&path).await.expect("opens"), shop_sql::sqlite(&path).await.expect("opens"));
    sqlx::query("CREATE TABLE pots (coins INTEGER)").execute(&one.write).await.expect("makes the table");
    let mut late = one.write.begin().await.expect("begins without the lock");
    sqlx::query("SELECT coins FROM pots").fetch_all(&mut *late).await.expect("reads");
    sqlx::query("INSERT INTO pots VALUES (1)").execute(&other.write).await.expect("writes meanwhile");
    let error = sqlx::query("INSERT INTO pots VALUES (2)").execute(&mut *late).await.expect_err("too old");
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code).expect("a code");
    assert_eq!(code, "517", "busy, and why");
    assert!(shop_sql::is_transient(&error));
}
