//! Behind a pooler that gives every transaction another connection, as `PgBouncer` does in its mode for transactions.

use shop_config::Database;
use shop_testing::Program;
use shop_testing::backend::{self, Pooler};

use crate::open::{connect, migrate};
use crate::turns::files;

#[tokio::test]
async fn replicas_behind_a_pooler_migrate_at_the_same_time_and_leave_no_lock_behind() {
    let Some(program) = backend::pgbouncer() else { return };
    let Some(db) = backend::postgres().await else { return };
    let pooler = Pooler::start(&program, &db, "transaction", Pooler::LEAVES_OUT).await;
    for _ in 0..2 {
        let replicas = futures_util::future::join_all((0..4).map(|_| connect(pooler.url()))).await;
        let tries = futures_util::future::join_all(replicas.iter().map(migrate)).await;
        assert!(tries.iter().all(Result::is_ok), "{tries:?}");
    }
    let shop_sql::Store::Postgres(direct) = connect(&db.url()).await else { panic!("a PostgreSQL") };
    let locks = "SELECT COUNT(*) FROM pg_locks WHERE locktype = 'advisory' \
                 AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    let locks: i64 = sqlx::query_scalar(locks).fetch_one(&direct).await.expect("asks");
    assert_eq!(locks, 0, "a pooler's connection keeps what a session locked");
    let noted: i64 =
        sqlx::query_scalar("SELECT COUNT(*) FROM _sqlx_migrations").fetch_one(&direct).await.expect("asks");
    assert_eq!(usize::try_from(noted), Ok(shop_sql::ddl::POSTGRES.len()));
}

#[tokio::test]
async fn migrations_go_past_the_pooler_where_the_settings_name_a_way() {
    let Some(program) = backend::pgbouncer() else { return };
    let Some(db) = backend::postgres().await else { return };
    let other = backend::postgres().await.expect("is there");
    let pooler = Pooler::start(&program, &db, "transaction", Pooler::LEAVES_OUT).await;
    let server = url::Url::parse(&db.url()).expect("a URL");
    let direct = format!("postgres://{}:{}", server.host_str().expect("a host"), server.port().expect("a port"));
    let settings = |direct: &str| Database { direct_url: Some(direct.into()), ..Database::at(pooler.url()) };
    let pool = shop_sql::postgres(&settings(&direct)).await.expect("connects");
    // Sessions behind the pooler do without.
    let way = "CREATE TABLE way AS SELECT current_setting('tcp_keepalives_idle') AS idle";
    shop_sql::migrate_server(&settings(&direct), &pool, &files(&[way]).await).await.expect("migrates");
    let shop_sql::Store::Postgres(there) = connect(&db.url()).await else { panic!("a PostgreSQL") };
    let idle: String = sqlx::query_scalar("SELECT idle FROM way").fetch_one(&there).await.expect("reads");
    assert_eq!(idle, "30");

    let more = files(&[way, "CREATE TABLE more (id INT)"]).await;
    let astray = shop_sql::migrate_server(&settings(&other.url()), &pool, &more).await;
    let told = format!("{:#}", astray.expect_err("leads elsewhere"));
    assert!(told.contains("database.direct_url") && told.contains("the same database"), "{told}");
}

/// Why a service does not start on what is at `url`.
async fn refused(url: &str) -> Result<(), String> {
    let pool = shop_sql::postgres(&Database::at(url)).await.map_err(|error| format!("{error:#}"))?;
    shop_sql::check_pooler(&pool).await.map_err(|error| format!("{error:#}"))
}

#[tokio::test]
async fn a_pooler_that_loses_prepared_statements_is_refused_at_the_start_and_no_other() {
    let (Some(program), Some(newer)) = (backend::pgbouncer(), backend::pgbouncer_newer()) else { return };
    let Some(db) = backend::postgres().await else { return };
    assert_eq!(refused(&db.url()).await, Ok(()), "there is no pooler");

    // The machine's may be one that does not know the setting.
    let told_not_to = format!("{}max_prepared_statements = 0\n", Pooler::LEAVES_OUT);
    let ways = [(&newer, told_not_to.as_str()), (&program, Pooler::LEAVES_OUT)];
    for (program, settings) in if is_new(&program).await { &ways[..1] } else { &ways } {
        let losing = Pooler::start(program, &db, "transaction", settings).await;
        for _ in 0..3 {
            let told = refused(losing.url()).await.expect_err("loses them");
            assert!(told.contains("max_prepared_statements") && told.contains("pool_mode = session"), "{told}");
        }
    }
    for program in [&program, &newer] {
        let settings = format!("default_pool_size = 9\n{}", Pooler::LEAVES_OUT);
        let session = Pooler::start(program, &db, "session", &settings).await;
        assert_eq!(refused(session.url()).await, Ok(()));
        let strict = Pooler::start(program, &db, "transaction", "").await;
        let told = refused(strict.url()).await.expect_err("leaves nothing out");
        assert!(told.contains("ignore_startup_parameters = options,extra_float_digits"), "{told}");
    }
    let carrying = Pooler::carrying(&db).await.expect("is there");
    assert_eq!(refused(carrying.url()).await, Ok(()));
}

/// Whether this one carries prepared statements from one connection to the next unless it is told not to.
async fn is_new(program: &str) -> bool {
    let said = Program::new(program).arg("--version").output().await.stdout;
    let said = String::from_utf8_lossy(&said).into_owned();
    let version = said.split_whitespace().nth(1).expect("a version");
    let minor: u32 = version.split('.').nth(1).and_then(|minor| minor.parse().ok()).expect("two numbers");
    minor >= 21
}
