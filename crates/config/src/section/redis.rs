//! A Redis server by URL or by parts, or a SQLite file in its place.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::url;
use crate::{Duration, Problems, Secret, Var};

/// Where short-lived data lives.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Redis {
    /// `redis://…`, `rediss://…` or `sqlite://PATH`; wins over the parts below.
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
        }
    }
}

/// How a [`Redis`] is reached. `Debug` leaves out the URL, which may hold a password.
#[derive(Clone, PartialEq, Eq)]
pub enum RedisTarget {
    /// A Redis server's URL.
    Redis(String),
    /// A SQLite file in its place.
    Sqlite(PathBuf),
}

impl fmt::Debug for RedisTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Redis(_) => f.write_str("Redis(***)"),
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
            Some(url) => parse(url.expose().trim()),
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

    /// Refuses what no server could be reached with. `section` is the dotted key of this section.
    pub fn check(&self, section: &'static str, problems: &mut Problems) {
        problems.within(section, |p| {
            if let Err(message) = self.target() {
                p.add("url", message);
            }
            if self.url.is_some() {
                for part in Self::PARTS {
                    p.useless(part, "has no effect beside the url of that section, which has all of it");
                }
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
    let help = "use redis://:password@host:6379/0, rediss://… or sqlite://path/to/file.db";
    let (scheme, rest) = text.split_once(':').ok_or(help)?;
    match scheme.to_ascii_lowercase().as_str() {
        scheme @ ("redis" | "rediss") if url::has_host(rest) => Ok(RedisTarget::Redis(format!("{scheme}:{rest}"))),
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
        assert!(target("memcached://h").is_err());
        assert!(target("redis://").is_err());
    }
}
