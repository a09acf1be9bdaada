//! How often a client may call, and what tells one client from another.

use std::collections::{BTreeSet, HashSet};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use http::HeaderName;
use serde::{Deserialize, Serialize};
use shop_config::{Duration, Problems, Redis, RedisTls, Secret};
use shop_redis::Source;

/// The longest wait for a connection to Redis. Nobody waits for it.
const CONNECT: std::time::Duration = std::time::Duration::from_secs(1);

/// How often one client may call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RateLimit {
    /// Off: as often as it likes.
    pub enabled: bool,
    /// Calls a client may make per window, in the long run.
    pub requests: NonZeroU32,
    /// The window.
    pub window: Duration,
    /// Calls a client may make at once.
    pub burst: NonZeroU32,
    /// What a client is known by, the first that a call has; `ip` is the last. By default there is nothing else, because
    /// nobody says which keys are real.
    pub key: Vec<ClientKey>,
    /// The API keys that clients may be known by.
    pub api_keys: ApiKeys,
    /// Budgets remembered at once, over all routes. A million take about 35 MB, and are as many clients as call within
    /// the few seconds that a budget takes to fill up again.
    pub max_clients: usize,
    /// Counting together with other processes.
    pub redis: RedisLimit,
}

impl Default for RateLimit {
    fn default() -> Self {
        Self {
            enabled: true,
            requests: NonZeroU32::MIN.saturating_add(99),
            window: Duration::secs(60),
            burst: NonZeroU32::MIN.saturating_add(9),
            key: vec![ClientKey::Ip],
            api_keys: ApiKeys::default(),
            max_clients: 1_000_000,
            redis: RedisLimit::default(),
        }
    }
}

/// What a client is known by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientKey {
    /// Issuer and subject of the call's token, see [`Call::subject`](crate::Call::subject).
    Subject,
    /// The API key, if it is one of [`RateLimit::api_keys`].
    ApiKey,
    /// The address; of IPv6 its /64, which is what one household or server has.
    Ip,
}

/// Which API keys are real. Only their hashes are known here: who reads the settings cannot call with them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ApiKeys {
    /// The header that has the key.
    pub header: String,
    /// SHA-256 of each key, in hexadecimal digits: `printf %s KEY | sha256sum`.
    pub hashes: Vec<String>,
    /// A file with more of them, one to a line, empty lines and those with `#` in front left out. It is read again when
    /// it changes.
    pub file: Option<PathBuf>,
}

impl Default for ApiKeys {
    fn default() -> Self {
        Self { header: "X-API-Key".to_owned(), hashes: Vec::new(), file: None }
    }
}

/// The limit of one route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RouteLimit {
    /// Off: calls are not counted.
    pub enabled: bool,
    /// Instead of [`RateLimit::requests`].
    pub requests: Option<NonZeroU32>,
    /// Instead of [`RateLimit::window`].
    pub window: Option<Duration>,
    /// Instead of [`RateLimit::burst`].
    pub burst: Option<NonZeroU32>,
}

impl Default for RouteLimit {
    fn default() -> Self {
        Self { enabled: true, requests: None, window: None, burst: None }
    }
}

/// The most characters that the name of a policy has.
const LONGEST_NAME: usize = 128;

/// Counting in Redis, so that all processes together allow what one would.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RedisLimit {
    /// `redis://…`, `redis-sentinel://…` or `redis-cluster://…`, each with `rediss` for TLS; by default there is none, and each
    /// process counts by itself.
    pub url: Secret,
    /// The longest that a call waits for Redis, which answers within one millisecond or is not well. After one call that
    /// waited in vain nobody waits until Redis was seen to answer again.
    pub timeout: Duration,
    /// Put before every key: processes with the same share their budgets.
    pub key_prefix: String,
    /// PEM file with the authorities whose certificates are good. Without it those are that the system trusts.
    pub ca_file: Option<PathBuf>,
    /// PEM file with the certificate that is shown to Redis, and those that lead to its authority.
    pub cert_file: Option<PathBuf>,
    /// PEM file with the key of that certificate.
    pub key_file: Option<PathBuf>,
}

impl Default for RedisLimit {
    fn default() -> Self {
        Self {
            url: Secret::default(),
            timeout: Duration::millis(50),
            key_prefix: "shop:rate:".to_owned(),
            ca_file: None,
            cert_file: None,
            key_file: None,
        }
    }
}

impl RedisLimit {
    /// Where to count. The error says what is wrong with the URL.
    pub(crate) fn source(&self) -> Result<Source, String> {
        let target = Redis::at(self.url.expose()).target()?;
        // Each call has a time of its own.
        Source::new(&target, &self.tls(), CONNECT, None)
    }

    fn tls(&self) -> RedisTls {
        let (ca_file, cert_file, key_file) = (self.ca_file.clone(), self.cert_file.clone(), self.key_file.clone());
        RedisTls { ca_file, cert_file, key_file }
    }

    fn check(&self, p: &mut Problems) {
        // What is wrong with a file is said of that file.
        if self.tls().check(self.url.expose(), p) && !self.url.is_empty() {
            match self.source() {
                Ok(source) if source.is_cluster() => {
                    if let Err(message) = Redis::refuse_prefix(&self.key_prefix) {
                        p.add("key_prefix", message);
                    }
                }
                Ok(_) => {}
                Err(message) => p.add("url", message),
            }
        }
        let wait = (Duration::millis(1)..=Duration::secs(10)).contains(&self.timeout);
        p.ensure(wait, "timeout", "use 1ms to 10s: it is what a call waits when Redis hangs");
    }
}

impl RouteLimit {
    /// Finds wrong values; `name` is what clients see as the name of the policy.
    pub fn check(&self, name: &str, problems: &mut Problems) {
        let is_plain = |byte: u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\');
        problems.ensure(name.bytes().all(is_plain), "", format!("{name:?} cannot be the name of a limit"));
        let most = "methods and path of the route are the limit's name, which has at most 128 characters";
        problems.ensure(name.len() <= LONGEST_NAME, "", most);
        problems.ensure(!self.window.is_some_and(Duration::is_zero), "window", "must be more than 0");
    }
}

impl RateLimit {
    /// Finds wrong values.
    pub fn check(&self, problems: &mut Problems) {
        problems.ensure(!self.window.is_zero(), "window", "must be more than 0");
        problems.ensure(self.max_clients >= 1000, "max_clients", "must be at least 1000");
        let known: BTreeSet<_> = self.key.iter().collect();
        let once = known.len() == self.key.len();
        problems.ensure(
            once && self.key.last() == Some(&ClientKey::Ip),
            "key",
            "name each once and end with ip: who has nothing else is known by its address",
        );
        problems.within("redis", |p| self.redis.check(p));
        problems.within("api_keys", |p| self.api_keys.check(self.key.contains(&ClientKey::ApiKey), p));
    }
}

impl ApiKeys {
    fn check(&self, used: bool, p: &mut Problems) {
        p.ensure(HeaderName::from_bytes(self.header.as_bytes()).is_ok(), "header", "is not the name of a header");
        let bad = self.hashes.iter().position(|hash| parse_hash(hash).is_none());
        if let Some(bad) = bad {
            let number = bad + 1;
            p.add("hashes", format!("number {number} is not a SHA-256 in 64 hexadecimal digits"));
        }
        let none = self.hashes.is_empty() && self.file.is_none();
        p.ensure(!used || !none, "hashes", "name the keys here or in api_keys.file: unknown ones do not count");
        if let Some(Err(error)) = self.file.as_deref().filter(|_| used).map(Self::read) {
            p.add("file", error);
        }
    }

    /// What the settings and the file list; the error says what is wrong with the file.
    pub(crate) fn all(&self) -> Result<HashSet<Hash>, String> {
        let listed = self.hashes.iter().filter_map(|hash| parse_hash(hash));
        let file = self.file.as_deref().map(Self::read).transpose()?.unwrap_or_default();
        Ok(file.into_iter().chain(listed).collect())
    }

    fn read(file: &Path) -> Result<Vec<Hash>, String> {
        let text = shop_config::read_text(file).map_err(|error| format!("cannot be read: {error}"))?;
        let lines = text.lines().map(str::trim).enumerate();
        let hash = |(index, line): (usize, &str)| {
            parse_hash(line).ok_or_else(|| format!("line {} is not a SHA-256 in 64 hexadecimal digits", index + 1))
        };
        lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')).map(hash).collect()
    }
}

/// A SHA-256.
type Hash = [u8; 32];

/// From 64 hexadecimal digits.
fn parse_hash(text: &str) -> Option<Hash> {
    let digits = text.trim().as_bytes();
    if digits.len() != 64 {
        return None;
    }
    let mut hash = [0; 32];
    for (byte, pair) in hash.iter_mut().zip(digits.chunks_exact(2)) {
        let pair = std::str::from_utf8(pair).ok().filter(|pair| !pair.starts_with('+'))?;
        *byte = u8::from_str_radix(pair, 16).ok()?;
    }
    Some(hash)
}
