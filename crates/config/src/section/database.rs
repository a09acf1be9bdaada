//! A SQL store: a server by URL or by parts, or a SQLite file.

use std::fmt;
use std::path::PathBuf;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::url;
use crate::{Duration, Problems, Secret, Var};

/// Where the data lives.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Database {
    /// `postgres://…`, `mysql://…` or `sqlite://PATH`; wins over the parts below.
    pub url: Option<Secret>,
    /// The server itself, where the above leads to a pooler: migrations run there. What it does not say of login,
    /// database and parameters is as above (`postgres://db:5432`); a user comes with the own password.
    pub direct_url: Option<Secret>,
    /// Which server the parts below describe.
    pub engine: Engine,
    /// Host of the server; of several with commas between them, the one that writes is used. Each may have a port.
    pub host: String,
    /// Port of the server.
    pub port: u16,
    /// User to log in as.
    pub user: String,
    /// That user's password; may be empty.
    pub password: Secret,
    /// Name of the database.
    pub name: String,
    /// Whether the connection is encrypted; a URL says it itself (`sslmode=verify-full`).
    pub ssl_mode: SslMode,
    /// Certificates (PEM) of authorities that may have signed the server's, beside the public ones.
    pub ca_file: Option<PathBuf>,
    /// Certificate (PEM) to show to the server.
    pub cert_file: Option<PathBuf>,
    /// That certificate's private key (PEM).
    pub key_file: Option<PathBuf>,
    /// Connections kept open.
    pub pool: Pool,
    /// How long to wait for the server when the process starts, as both often start together.
    pub startup_timeout: Duration,
}

/// A SQL server the parts can describe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Engine {
    /// PostgreSQL.
    Postgres,
    /// MariaDB, or MySQL.
    MariaDb,
}

/// Connections kept open to a server.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Pool {
    /// Most connections at once; a few per core is what a server can use.
    pub max: u32,
    /// Longest wait for a free connection; beyond it a request is answered 503.
    pub acquire_timeout: Duration,
    /// How long an unused connection is kept.
    pub idle_timeout: Duration,
    /// How long any connection is kept, so that a failed-over server is left in time.
    pub max_lifetime: Duration,
}

impl Default for Pool {
    fn default() -> Self {
        Self {
            max: 16,
            acquire_timeout: Duration::secs(3),
            idle_timeout: Duration::secs(600),
            max_lifetime: Duration::secs(1_800),
        }
    }
}

/// How a [`Database`] is reached. `Debug` leaves out the URL, which may hold a password.
#[derive(Clone, PartialEq, Eq)]
pub enum Target {
    /// A PostgreSQL server's URL.
    Postgres(String),
    /// A MariaDB server's URL.
    MariaDb(String),
    /// A SQLite file.
    Sqlite(PathBuf),
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Postgres(_) => f.write_str("Postgres(***)"),
            Self::MariaDb(_) => f.write_str("MariaDb(***)"),
            Self::Sqlite(path) => f.debug_tuple("Sqlite").field(path).finish(),
        }
    }
}

impl Database {
    /// A local PostgreSQL with its customary superuser.
    pub fn postgres(name: &str) -> Self {
        Self {
            url: None,
            direct_url: None,
            engine: Engine::Postgres,
            host: "localhost".to_owned(),
            port: 5432,
            user: "postgres".to_owned(),
            password: Secret::from("password"),
            name: name.to_owned(),
            ssl_mode: SslMode::Disable,
            ca_file: None,
            cert_file: None,
            key_file: None,
            pool: Pool::default(),
            startup_timeout: Duration::secs(60),
        }
    }

    /// A local MariaDB.
    pub fn mariadb(user: &str, name: &str) -> Self {
        Self { engine: Engine::MariaDb, port: 3306, user: user.to_owned(), ..Self::postgres(name) }
    }

    /// All defaults, at this URL.
    pub fn at(url: &str) -> Self {
        Self { url: Some(Secret::from(url)), ..Self::postgres("shop") }
    }

    /// The variables of this section, when it is at the top level of a service that keeps to `engine` or SQLite.
    pub fn vars(engine: Engine) -> [Var; 11] {
        let (url, host, port) = match engine {
            Engine::Postgres => (
                "postgres://… or sqlite://PATH; wins over the DB_ variables",
                "host of the PostgreSQL server; several with commas",
                "port of the PostgreSQL server",
            ),
            Engine::MariaDb => (
                "mysql://… or sqlite://PATH; wins over the DB_ variables",
                "host of the MariaDB server; several with commas",
                "port of the MariaDB server",
            ),
        };
        [
            Var::new("DATABASE_URL", "database.url", url),
            Var::new("DATABASE_DIRECT_URL", "database.direct_url", "the server behind a pooler, for migrations alone"),
            Var::new("DB_HOST", "database.host", host),
            Var::new("DB_PORT", "database.port", port),
            Var::new("DB_USER", "database.user", "user to log in as"),
            Var::new("DB_PASSWORD", "database.password", "password of that user"),
            Var::new("DB_NAME", "database.name", "name of the database"),
            Var::new("DB_SSL_MODE", "database.ssl_mode", "false, true, disable, prefer, require or verify-full"),
            Var::new("DB_CA_FILE", "database.ca_file", "authorities of the server's certificate (PEM)"),
            Var::new("DB_CERT_FILE", "database.cert_file", "certificate to show to the server (PEM)"),
            Var::new("DB_KEY_FILE", "database.key_file", "private key of that certificate (PEM)"),
        ]
    }

    /// Keys that describe a server when there is no URL.
    pub const PARTS: &[&str] = &["engine", "host", "port", "user", "password", "name", "ssl_mode"];

    /// Where to connect: the URL when there is one, else the parts. The error says which URLs are understood.
    pub fn target(&self) -> Result<Target, String> {
        match &self.url {
            Some(url) => parse(url.expose().trim()),
            None => Ok(self.by_parts()),
        }
    }

    /// The same settings for the server itself, where `direct_url` names one.
    pub fn direct(&self) -> Result<Option<Self>, String> {
        let Some(direct) = &self.direct_url else { return Ok(None) };
        let url = match (parse(direct.expose().trim())?, self.target()?) {
            (Target::Postgres(direct), Target::Postgres(main)) | (Target::MariaDb(direct), Target::MariaDb(main)) => {
                url::completed(&direct, &main)
            }
            _ => return Err("lead to the same server as the url, past the pooler before it".to_owned()),
        };
        Ok(Some(Self { url: Some(Secret::from(url.as_str())), direct_url: None, ..self.clone() }))
    }

    fn by_parts(&self) -> Target {
        let at = url::server(&url::Server {
            scheme: match self.engine {
                Engine::Postgres => "postgres",
                Engine::MariaDb => "mysql",
            },
            user: &self.user,
            password: self.password.expose(),
            host: &self.host,
            port: self.port,
            path: &self.name,
        });
        match self.engine {
            Engine::Postgres => Target::Postgres(format!("{at}?sslmode={}", self.ssl_mode.postgres())),
            Engine::MariaDb => Target::MariaDb(format!("{at}?ssl-mode={}", self.ssl_mode.mariadb())),
        }
    }

    /// Refuses what no server could be reached with, and the other server where a service keeps to `engine` or SQLite.
    /// `section` is the dotted key of this section.
    pub fn check(&self, section: &'static str, engine: Engine, problems: &mut Problems) {
        problems.within(section, |p| {
            match (self.target(), engine) {
                (Err(message), _) => p.add("url", message),
                (Ok(Target::MariaDb(_)), Engine::Postgres) => p.add("url", "use postgres://… or sqlite://PATH here"),
                (Ok(Target::Postgres(_)), Engine::MariaDb) => p.add("url", "use mysql://… or sqlite://PATH here"),
                (Ok(Target::Postgres(url) | Target::MariaDb(url)), _) => self.check_server(&url, p),
                (Ok(Target::Sqlite(_)), _) => {
                    for key in Self::FILES.into_iter().chain(["direct_url"]) {
                        p.useless(key, "has no effect on a SQLite file, to which nothing is sent");
                    }
                }
            }
            self.check_direct(p);
            if self.url.is_some() {
                for part in Self::PARTS {
                    p.useless(part, "has no effect beside the url of that section, which has all of it");
                }
            }
            if self.url.is_none() {
                p.ensure(!self.host.trim().is_empty(), "host", "name the server's host");
                p.ensure(self.port > 0, "port", "use a port from 1 to 65535");
                p.ensure(!self.user.is_empty(), "user", "name the user to log in as");
                p.ensure(!self.name.is_empty(), "name", "name the database");
            }
            p.ensure(self.pool.max > 0, "pool.max", "use at least 1 connection");
            p.ensure(!self.pool.acquire_timeout.is_zero(), "pool.acquire_timeout", "must be more than 0");
        });
    }

    fn check_direct(&self, p: &mut Problems) {
        if matches!(self.target(), Err(_) | Ok(Target::Sqlite(_))) {
            return;
        }
        match self.direct() {
            Ok(None) => {}
            Err(message) => p.add("direct_url", message),
            Ok(Some(direct)) => {
                if let Ok(Target::Postgres(url) | Target::MariaDb(url)) = direct.target() {
                    check_hosts_and_mode(&url, "direct_url", "direct_url", p);
                }
            }
        }
    }

    /// Files of certificates, which a URL does not replace.
    const FILES: [&str; 3] = ["ca_file", "cert_file", "key_file"];

    fn check_server(&self, url: &str, p: &mut Problems) {
        let place = if self.url.is_some() { "url" } else { "host" };
        let mode = check_hosts_and_mode(url, place, "url", p);
        let verifies = ["verify-full", "verify_identity"].contains(&mode.as_str());
        let asks = "has no effect unless the server's certificate is looked at: use ssl_mode = verify-full, or sslmode=verify-full in the url";
        p.ensure(self.ca_file.is_none() || verifies, "ca_file", asks);
        let (certificate, key) = (self.cert_file.is_some(), self.key_file.is_some());
        p.ensure(certificate || !key, "cert_file", "name the certificate of key_file, too");
        p.ensure(key || !certificate, "key_file", "name the private key of cert_file, too");
        let encrypts = !["disable", "disabled"].contains(&mode.as_str());
        p.ensure(encrypts || !certificate, "cert_file", "has no effect without encryption: use ssl_mode = verify-full");
    }
}

/// How the server is to be spoken to. What is wrong with hosts is told of the key `place`, with the mode of `said_in`.
fn check_hosts_and_mode(url: &str, place: &str, said_in: &str, p: &mut Problems) -> String {
    if let Err(message) = servers(url) {
        p.add(place, message);
    }
    let mode = url::parameter(url, &["sslmode", "ssl-mode"]).unwrap_or("prefer").to_ascii_lowercase();
    // What the words promise elsewhere and the driver does not keep.
    match mode.as_str() {
        "allow" => p.add(said_in, "sslmode=allow never encrypts here: use disable, or better verify-full"),
        "verify-ca" | "verify_ca" => p.add(
            said_in,
            "the mode verify-ca takes the certificate of any host that a known authority has signed: use verify-full",
        ),
        _ => {}
    }
    mode
}

/// The URLs of the servers that `url` names, one host each, in their order; the error says what is wrong with them.
pub fn servers(url: &str) -> Result<Vec<String>, String> {
    url::each_host(url)
}

impl Default for Database {
    fn default() -> Self {
        Self::postgres("shop")
    }
}

fn parse(text: &str) -> Result<Target, String> {
    let help =
        "use postgres://user:password@host:5432/name, mysql://user:password@host:3306/name or sqlite://path/to/file.db";
    let (scheme, rest) = text.split_once(':').ok_or(help)?;
    match scheme.to_ascii_lowercase().as_str() {
        "postgres" | "postgresql" if url::has_host(rest) => Ok(Target::Postgres(format!("postgres:{rest}"))),
        "mysql" | "mariadb" if url::has_host(rest) => Ok(Target::MariaDb(format!("mysql:{rest}"))),
        "sqlite" => url::file(rest).map(Target::Sqlite),
        _ => Err(help.to_owned()),
    }
}

/// Whether a connection is encrypted, and how far the server is verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SslMode {
    /// Never (`false`, `disable`).
    Disable,
    /// When the server offers it.
    Prefer,
    /// Always, with any certificate (`true`, `require`).
    Require,
    /// Always, with a certificate for this host from a known authority.
    VerifyFull,
}

impl SslMode {
    const NAMES: &'static [&'static str] = &["false", "true", "disable", "prefer", "require", "verify-full"];

    /// As PostgreSQL's `sslmode`.
    pub const fn postgres(self) -> &'static str {
        match self {
            Self::Disable => "disable",
            Self::Prefer => "prefer",
            Self::Require => "require",
            Self::VerifyFull => "verify-full",
        }
    }

    /// As MariaDB's `ssl-mode`.
    pub const fn mariadb(self) -> &'static str {
        match self {
            Self::Disable => "DISABLED",
            Self::Prefer => "PREFERRED",
            Self::Require => "REQUIRED",
            Self::VerifyFull => "VERIFY_IDENTITY",
        }
    }

    fn named(name: &str) -> Option<Self> {
        match name.to_ascii_lowercase().as_str() {
            "false" | "disable" | "disabled" => Some(Self::Disable),
            "prefer" | "preferred" => Some(Self::Prefer),
            "true" | "require" | "required" => Some(Self::Require),
            "verify-full" | "verify_identity" => Some(Self::VerifyFull),
            _ => None,
        }
    }
}

impl Serialize for SslMode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.postgres())
    }
}

impl<'de> Deserialize<'de> for SslMode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl Visitor<'_> for Reader {
            type Value = SslMode;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "one of {}", SslMode::NAMES.join(", "))
            }

            fn visit_bool<E: de::Error>(self, on: bool) -> Result<SslMode, E> {
                Ok(if on { SslMode::Require } else { SslMode::Disable })
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<SslMode, E> {
                SslMode::named(name).ok_or_else(|| E::invalid_value(de::Unexpected::Str(name), &self))
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

#[cfg(test)]
mod tests;
