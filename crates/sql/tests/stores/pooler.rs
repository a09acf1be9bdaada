//! Behind a pooler that gives every transaction another connection, as `PgBouncer` does in its mode for transactions.

use std::fs;

use shop_testing::{Child, Program, backend, eventually, free_port};
use tempfile::TempDir;

use crate::open::{connect, migrate};

/// A pooler before a database; ends with this value.
struct Pooler {
    url: String,
    _program: Child,
    _folder: TempDir,
}

async fn pooler(program: String, db: &backend::Db) -> Pooler {
    let folder = tempfile::tempdir().expect("a folder");
    let url = url::Url::parse(&db.url()).expect("a URL");
    let port = free_port();
    let (host, user) = (url.host_str().expect("a host"), url.username());
    let (server, password) = (url.port().expect("a port"), url.password().expect("a password"));
    // Fewer connections than clients, so that each gets what another left.
    let settings = format!(
        "[databases]\n* = host={host} port={server} user={user} password={password}\n[pgbouncer]\n\
         listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\npool_mode = transaction\n\
         default_pool_size = 2\nignore_startup_parameters = options,extra_float_digits\n"
    );
    let file = folder.path().join("pgbouncer.ini");
    fs::write(&file, settings).expect("writes its settings");
    let mut program = Program::new(program).arg("-q");
    if rustix::process::geteuid().is_root() {
        program = program.args(["-u", "nobody"]);
    }
    let program = program.arg(&file).spawn();
    eventually!(std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    let url = format!("postgres://{user}:{password}@127.0.0.1:{port}{}", url.path());
    Pooler { url, _program: program, _folder: folder }
}

#[tokio::test]
async fn replicas_behind_a_pooler_migrate_at_the_same_time_and_leave_no_lock_behind() {
    let Some(program) = backend::pgbouncer() else { return };
    let Some(db) = backend::postgres().await else { return };
    let pooler = pooler(program, &db).await;
    for _ in 0..2 {
        let replicas = futures_util::future::join_all((0..4).map(|_| connect(&pooler.url))).await;
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
