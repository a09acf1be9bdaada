//! Redis by URL (one server, behind sentinels, a cluster) or by parts, or a SQLite file in its place.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::redis_url::{self, RedisLogin, RedisNodes};
use super::url;
use crate::{Duration, Problems, Secret, Var, read_text};

/// Where short-lived data lives.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Redis {
    /// `redis://…`, `redis-sentinel://…`, `redis-cluster://…`, each with `rediss` for TLS, or `sqlite://PATH`; wins over the
    /// parts below. Without a login it takes `user` and `password`.
    pub url: Option<Secret>,
    /// Host of the server.
    pub host: String,
    /// Port of the server.
    pub port: u16,
    /// User to log in as; empty for the default user.
    pub user: String,
    /// Password; empty for none.
    pub password: Secret,
    /// Number of the database.
    pub db: u32,
    /// Put before every key, so that installations can share a server.
    pub key_prefix: String,
    /// Longest wait for a connection.
    pub connect_timeout: Duration,
    /// Longest wait for an answer; beyond it a request is answered 503.
    pub response_timeout: Duration,
    /// How long to wait for the server when the process starts.
    pub startup_timeout: Duration,
    /// Replicas that must have a change before it is acknowledged, so that no failover loses it. With 0 the master's word is
    /// enough. When fewer have it within half of `response_timeout` the answer is 503: the change stands, and repeating it is safe.
    pub wait_replicas: u32,
    /// PEM file with the authorities whose certificates are good. Without it those are that the system trusts.
    pub ca_file: Option<PathBuf>,
    /// PEM file with the certificate that is shown to the server, and those that lead to its authority.
    pub cert_file: Option<PathBuf>,
    /// PEM file with the key of that certificate.
    pub key_file: Option<PathBuf>,
}

impl Default for Redis {
    fn default() -> Self {
        Self {
            url: None,
            host: "localhost".to_owned(),
            port: 6379,
            user: String::new(),
            password: Secret::default(),
            db: 0,
            key_prefix: String::new(),
            connect_timeout: Duration::secs(2),
            response_timeout: Duration::secs(2),
            startup_timeout: Duration::secs(60),
            wait_replicas: 0,
            ca_file: None,
            cert_file: None,
            key_file: None,
        }
    }
}

/// The files by which Redis and its clients know each other over TLS.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RedisTls {
    /// The authorities whose certificates are good; those that the system trusts without it.
    pub ca_file: Option<PathBuf>,
    /// The certificate that is shown to the server.
    pub cert_file: Option<PathBuf>,
    /// Its key.
    pub key_file: Option<PathBuf>,
}

impl RedisTls {
    /// Finds files that are not there, hold something else, or have no effect with this `url`. Whether all is well.
    pub fn check(&self, url: &str, problems: &mut Problems) -> bool {
        let mut is_well = self.cert_file.is_some() == self.key_file.is_some();
        let is_tls = url.trim().get(..6).is_some_and(|scheme| scheme.eq_ignore_ascii_case("rediss"));
        for (key, file, block) in [
            ("ca_file", &self.ca_file, "CERTIFICATE-----"),
            ("cert_file", &self.cert_file, "CERTIFICATE-----"),
            ("key_file", &self.key_file, "PRIVATE KEY-----"),
        ] {
            let Some(file) = file else { continue };
            let found = if is_tls { holds(file, block) } else { Err(NO_TLS.to_owned()) };
            if let Err(why) = found {
                problems.add(key, why);
                is_well = false;
            }
        }
        let help = "name both, the certificate and its key, or none";
        problems.ensure(self.cert_file.is_some() || self.key_file.is_none(), "cert_file", help);
        problems.ensure(self.key_file.is_some() || self.cert_file.is_none(), "key_file", help);
        is_well
    }
}

const NO_TLS: &str = "has no effect without TLS: give a url that begins with rediss";

fn holds(file: &Path, block: &str) -> Result<(), String> {
    let text = read_text(file).map_err(|error| format!("cannot be read: {error}"))?;
    if text.contains(block) { Ok(()) } else { Err(format!("{} has no PEM block with {block}", file.display())) }
}

/// How a [`Redis`] is reached. `Debug` leaves out the URL, which may hold a password.
#[derive(Clone, PartialEq, Eq)]
pub enum RedisTarget {
    /// A Redis server's URL.
    Redis(String),
    /// Several: behind sentinels, or a cluster.
    Several(RedisNodes),
    /// A SQLite file in its place.
    Sqlite(PathBuf),
}

impl fmt::Debug for RedisTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Redis(_) => f.write_str("Redis(***)"),
            Self::Several(_) => f.write_str("Several(***)"),
            Self::Sqlite(path) => f.debug_tuple("Sqlite").field(path).finish(),
        }
    }
}

impl Redis {
    /// The variables of this section, when it is at the top level.
    pub fn vars() -> [Var; 5] {
        [
            Var::new("REDIS_URL", "redis.url", "redis://… or sqlite://PATH; wins over the other REDIS_ variables"),
            Var::new("REDIS_HOST", "redis.host", "host of the Redis server"),
            Var::new("REDIS_PORT", "redis.port", "port of the Redis server"),
            Var::new("REDIS_PASSWORD", "redis.password", "password of the Redis server; empty for none"),
            Var::new("REDIS_DB", "redis.db", "number of the Redis database"),
        ]
    }

    /// All defaults, at this URL.
    pub fn at(url: &str) -> Self {
        Self { url: Some(Secret::from(url)), ..Self::default() }
    }

    /// Keys that describe a server when there is no URL.
    pub const PARTS: &[&str] = &["host", "port", "user", "password", "db"];

    /// Where to connect: the URL when there is one, else the parts. The error says which URLs are understood.
    pub fn target(&self) -> Result<RedisTarget, String> {
        match &self.url {
            Some(url) => Ok(match parse(url.expose().trim())? {
                RedisTarget::Redis(url) => {
                    RedisTarget::Redis(url::with_login(&url, &self.user, self.password.expose()))
                }
                RedisTarget::Several(mut nodes) if nodes.login == RedisLogin::default() => {
                    nodes.login = RedisLogin { user: self.user.clone(), password: self.password.expose().to_owned() };
                    RedisTarget::Several(nodes)
                }
                target => target,
            }),
            None => Ok(RedisTarget::Redis(self.by_parts())),
        }
    }

    fn by_parts(&self) -> String {
        url::server(&url::Server {
            scheme: "redis",
            user: &self.user,
            password: self.password.expose(),
            host: &self.host,
            port: self.port,
            path: &self.db.to_string(),
        })
    }

    /// Its files for TLS.
    pub fn tls(&self) -> RedisTls {
        let (ca_file, cert_file, key_file) = (self.ca_file.clone(), self.cert_file.clone(), self.key_file.clone());
        RedisTls { ca_file, cert_file, key_file }
    }

    /// Whether the URL names a cluster.
    fn is_cluster(&self) -> bool {
        matches!(self.target(), Ok(RedisTarget::Several(RedisNodes { master: None, .. })))
    }

    /// Parts that the URL does not leave room for.
    fn idle_parts(&self) -> &'static [&'static str] {
        match self.url.as_ref().map(|url| parse(url.expose().trim())) {
            None => &[],
            Some(Ok(RedisTarget::Redis(url))) if !url::has_login(&url) => &["host", "port", "db"],
            Some(Ok(RedisTarget::Several(nodes))) if nodes.login == RedisLogin::default() => &["host", "port", "db"],
            Some(_) => Self::PARTS,
        }
    }

    /// What is wrong with a prefix of keys in a cluster, if anything is.
    pub fn refuse_prefix(prefix: &str) -> Result<(), &'static str> {
        if prefix.contains('{') {
            return Err(
                "leave out { in a cluster: it would decide which of its servers keeps a key, and all keys with it",
            );
        }
        Ok(())
    }

    /// Refuses what no server could be reached with. `section` is the dotted key of this section.
    pub fn check(&self, section: &'static str, problems: &mut Problems) {
        problems.within(section, |p| {
            if let Err(message) = self.target() {
                p.add("url", message);
            }
            for part in self.idle_parts() {
                p.useless(part, "has no effect beside the url of that section, which has all of it");
            }
            self.tls().check(self.url.as_ref().map_or("", |url| url.expose()), p);
            if let Some(Err(message)) = self.is_cluster().then(|| Self::refuse_prefix(&self.key_prefix)) {
                p.add("key_prefix", message);
            }
            if self.url.is_none() {
                p.ensure(!self.host.trim().is_empty(), "host", "name the server's host");
                p.ensure(self.port > 0, "port", "use a port from 1 to 65535");
            }
            p.ensure(!self.connect_timeout.is_zero(), "connect_timeout", "must be more than 0");
            p.ensure(!self.response_timeout.is_zero(), "response_timeout", "must be more than 0");
        });
    }
}

fn parse(text: &str) -> Result<RedisTarget, String> {
    let help = "use redis://:password@host:6379/0, redis-sentinel://host:26379,other/master, redis-cluster://host:6379,other, \
                each with rediss for TLS, or sqlite://path/to/file.db";
    let (scheme, rest) = text.split_once(':').ok_or(help)?;
    match scheme.to_ascii_lowercase().as_str() {
        scheme @ ("redis" | "rediss") if url::has_host(rest) => Ok(RedisTarget::Redis(format!("{scheme}:{rest}"))),
        scheme if scheme.starts_with("redis") => {
            redis_url::parse(scheme, rest).unwrap_or_else(|| Err(help.to_owned())).map(RedisTarget::Several)
        }
        "sqlite" => url::file(rest).map(RedisTarget::Sqlite),
        _ => Err(help.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_make_a_url() {
        let mut redis = Redis::default();
        assert_eq!(redis.target(), Ok(RedisTarget::Redis("redis://localhost:6379/0".into())));
        redis.password = Secret::from("a/b");
        redis.db = 3;
        assert_eq!(redis.target(), Ok(RedisTarget::Redis("redis://:a%2Fb@localhost:6379/3".into())));
    }

    #[test]
    fn the_scheme_of_the_url_chooses_the_store() {
        let target = |url: &str| Redis::at(url).target();
        assert_eq!(target("rediss://h:1/2"), Ok(RedisTarget::Redis("rediss://h:1/2".into())));
        assert_eq!(target("sqlite://a.db"), Ok(RedisTarget::Sqlite("a.db".into())));
        assert!(matches!(target("REDIS-CLUSTER://h"), Ok(RedisTarget::Several(_))));
        assert!(target("memcached://h").is_err());
        assert!(target("redis://").is_err());
    }

    fn problems(redis: &Redis) -> Vec<(String, String)> {
        let mut problems = Problems::default();
        redis.check("redis", &mut problems);
        (&problems).into_iter().map(|problem| (problem.key.clone(), problem.message.clone())).collect()
    }

    #[test]
    fn a_url_without_a_login_takes_that_of_the_parts() {
        let at = |url: &str| Redis { user: "u".to_owned(), password: Secret::from("p@"), ..Redis::at(url) };
        let login = |url: &str| {
            let Ok(RedisTarget::Several(nodes)) = at(url).target() else { panic!("{url}") };
            (nodes.login.user, nodes.login.password)
        };
        assert_eq!(login("redis-sentinel://a/shop"), ("u".to_owned(), "p@".to_owned()));
        assert_eq!(login("redis-cluster://v:q@a"), ("v".to_owned(), "q".to_owned()));
        for (url, expected) in [
            ("rediss://a", "rediss://u:p%40@a"),
            ("redis://a:1/2", "redis://u:p%40@a:1/2"),
            ("redis://v:q@a", "redis://v:q@a"),
            ("redis://:q@a", "redis://:q@a"),
        ] {
            assert_eq!(at(url).target(), Ok(RedisTarget::Redis(expected.to_owned())), "{url}");
        }
        assert_eq!(Redis::at("redis://a").target(), Ok(RedisTarget::Redis("redis://a".to_owned())));
    }

    #[test]
    fn a_prefix_of_keys_leaves_a_cluster_its_slots() {
        let at = |url: &str| problems(&Redis { key_prefix: "{shop}:".to_owned(), ..Redis::at(url) });
        let found = at("redis-cluster://a");
        assert!(found.len() == 1 && found[0].0 == "redis.key_prefix" && found[0].1.contains('{'), "{found:?}");
        assert_eq!(at("redis://a"), []);
        assert_eq!(at("redis-sentinel://a/shop"), []);
    }

    #[test]
    fn files_for_tls_are_there_come_together_and_have_an_effect() {
        let folder = tempfile::tempdir().expect("a folder");
        let put = |name: &str, text: &str| {
            let file = folder.path().join(name);
            std::fs::write(&file, text).expect("written");
            Some(file)
        };
        let (cert, key) = (put("cert", "-----BEGIN CERTIFICATE-----"), put("key", "-----BEGIN PRIVATE KEY-----"));
        let at = |url: &str| Redis {
            ca_file: cert.clone(),
            cert_file: cert.clone(),
            key_file: key.clone(),
            ..Redis::at(url)
        };
        assert_eq!(problems(&at("rediss-cluster://a")), []);
        let keys = |redis: &Redis| problems(redis).into_iter().map(|(key, _)| key).collect::<Vec<_>>();
        assert_eq!(keys(&at("redis-cluster://a")), ["redis.ca_file", "redis.cert_file", "redis.key_file"]);
        let without = Redis { key_file: None, ..at("rediss://a") };
        assert_eq!(keys(&without), ["redis.key_file"]);
        let wrong = Redis { key_file: cert.clone(), ca_file: Some("/none".into()), ..at("rediss://a") };
        assert_eq!(keys(&wrong), ["redis.ca_file", "redis.key_file"]);
    }
}
