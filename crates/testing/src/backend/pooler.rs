//! A pooler before a PostgreSQL for one test alone: `PgBouncer`.

use std::fs;

use tempfile::TempDir;

use super::{Db, pgbouncer_newer};
use crate::{Child, Program, eventually, free_port};

/// A pooler before a database; ends with this value.
#[derive(Debug)]
pub struct Pooler {
    url: String,
    _program: Child,
    _folder: TempDir,
}

impl Pooler {
    /// What a pooler that gives each transaction another connection leaves out of what our sessions start with.
    pub const LEAVES_OUT: &str = "ignore_startup_parameters = options,extra_float_digits\n";

    /// `program` before `db`, in a `mode` of `PgBouncer`'s (`transaction`, `session`), with more `settings`, a line each.
    pub async fn start(program: &str, db: &Db, mode: &str, settings: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let url = url::Url::parse(&db.url()).expect("a URL");
        let port = free_port();
        let (host, user) = (url.host_str().expect("a host"), url.username());
        let (server, password) = (url.port().expect("a port"), url.password().expect("a password"));
        // Fewer connections than clients, so that each gets what another left.
        let written = format!(
            "[databases]\n* = host={host} port={server} user={user} password={password}\n[pgbouncer]\n\
             listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\npool_mode = {mode}\n\
             default_pool_size = 2\n{settings}"
        );
        let file = folder.path().join("pgbouncer.ini");
        fs::write(&file, written).expect("writes its settings");
        let mut program = Program::new(program).arg("-q");
        if rustix::process::geteuid().is_root() {
            program = program.args(["-u", "nobody"]);
        }
        let program = program.arg(&file).spawn();
        eventually!(std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
        let url = format!("postgres://{user}:{password}@127.0.0.1:{port}{}", url.path());
        Self { url, _program: program, _folder: folder }
    }

    /// One that gives each transaction another connection and carries prepared statements along.
    pub async fn carrying(db: &Db) -> Option<Self> {
        let settings = format!("{}max_prepared_statements = 256\n", Self::LEAVES_OUT);
        Some(Self::start(&pgbouncer_newer()?, db, "transaction", &settings).await)
    }

    /// The way to the database through it.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }
}
