//! URLs of several Redis servers: `redis-sentinel://a,b,c/master/0` and `redis-cluster://a,b,c`.

use std::fmt;

use percent_encoding::percent_decode_str;

/// Where sentinels listen when nothing else is said.
const SENTINEL_PORT: u16 = 26379;

/// Where servers listen when nothing else is said.
const SERVER_PORT: u16 = 6379;

/// Redis servers that stand in for each other, or share the keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisNodes {
    /// Hosts and ports: of sentinels, or else of some of the cluster's servers.
    pub nodes: Vec<(String, u16)>,
    /// What the sentinels call the servers; none for a cluster.
    pub master: Option<String>,
    /// Who logs in to the servers.
    pub login: RedisLogin,
    /// Who logs in to the sentinels.
    pub sentinel_login: RedisLogin,
    /// Number of the database; a cluster has 0 only.
    pub db: u32,
    /// Whether all are spoken to over TLS.
    pub tls: bool,
}

/// A user and a password; empty for none.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct RedisLogin {
    /// Empty for the default user.
    pub user: String,
    /// Empty for none.
    pub password: String,
}

impl fmt::Debug for RedisLogin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// What follows the colon of a URL with this `scheme`, in lower case; none if no such scheme is known. The error says what
/// is wrong, without any of the URL, which may hold a password.
pub(crate) fn parse(scheme: &str, rest: &str) -> Option<Result<RedisNodes, String>> {
    let (is_sentinel, tls) = match scheme {
        "redis-sentinel" => (true, false),
        "rediss-sentinel" => (true, true),
        "redis-cluster" => (false, false),
        "rediss-cluster" => (false, true),
        _ => return None,
    };
    Some(if is_sentinel { sentinels(rest, tls) } else { cluster(rest, tls) })
}

fn sentinels(rest: &str, tls: bool) -> Result<RedisNodes, String> {
    let parts = Parts::of(rest)?;
    let help = "name what the sentinels call the servers: redis-sentinel://a:26379,b,c/master, and the database's number after it";
    let (master, db) = parts.path.split_once('/').unwrap_or((parts.path, "0"));
    let master = decoded(master)?;
    if master.is_empty() {
        return Err(help.to_owned());
    }
    let db = if db.is_empty() { 0 } else { db.parse().map_err(|_| help)? };
    let mut sentinel_login = RedisLogin::default();
    for (name, value) in parts.query() {
        match name {
            "sentinel_user" => sentinel_login.user = decoded(value)?,
            "sentinel_password" => sentinel_login.password = decoded(value)?,
            _ => return Err("after ? there may be sentinel_user and sentinel_password only".to_owned()),
        }
    }
    let (login, nodes) = (parts.login()?, parts.nodes(SENTINEL_PORT)?);
    Ok(RedisNodes { nodes, master: Some(master), login, sentinel_login, db, tls })
}

fn cluster(rest: &str, tls: bool) -> Result<RedisNodes, String> {
    let parts = Parts::of(rest)?;
    if !matches!(parts.path, "" | "0") {
        return Err("leave out what follows the hosts: a cluster has no databases".to_owned());
    }
    if parts.query().next().is_some() {
        return Err("leave out what follows ?".to_owned());
    }
    let (login, nodes) = (parts.login()?, parts.nodes(SERVER_PORT)?);
    Ok(RedisNodes { nodes, master: None, login, sentinel_login: RedisLogin::default(), db: 0, tls })
}

/// A URL's parts, not yet decoded.
struct Parts<'a> {
    login: &'a str,
    hosts: &'a str,
    path: &'a str,
    query: &'a str,
}

impl<'a> Parts<'a> {
    fn of(rest: &'a str) -> Result<Self, String> {
        let rest = rest.strip_prefix("//").ok_or("write // after the scheme's colon")?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
        Ok(Self { login, hosts, path, query })
    }

    fn login(&self) -> Result<RedisLogin, String> {
        let (user, password) = self.login.split_once(':').unwrap_or((self.login, ""));
        Ok(RedisLogin { user: decoded(user)?, password: decoded(password)? })
    }

    fn nodes(&self, port: u16) -> Result<Vec<(String, u16)>, String> {
        self.hosts.split(',').map(|node| host_and_port(node.trim(), port)).collect()
    }

    fn query(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        let pairs = self.query.split('&').filter(|pair| !pair.is_empty());
        pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")))
    }
}

/// `host`, `host:port`, `[::1]` or `[::1]:port`.
fn host_and_port(node: &str, port: u16) -> Result<(String, u16), String> {
    let help = || "name hosts, each with its port if it is another: a:26379,b,[2001:db8::1]:26380".to_owned();
    let (host, rest) = match node.strip_prefix('[') {
        Some(node) => node.split_once(']').ok_or_else(help)?,
        None => node.split_at(node.find(':').unwrap_or(node.len())),
    };
    let port = match rest.strip_prefix(':') {
        Some(port) => port.parse().ok().filter(|&port| port > 0).ok_or_else(help)?,
        None if rest.is_empty() => port,
        None => return Err(help()),
    };
    if host.is_empty() { Err(help()) } else { Ok((host.to_owned(), port)) }
}

fn decoded(text: &str) -> Result<String, String> {
    let decoded = percent_decode_str(text).decode_utf8().map_err(|_| "what follows % must make up UTF-8")?;
    Ok(decoded.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(url: &str) -> Result<RedisNodes, String> {
        let (scheme, rest) = url.split_once(':').expect("a scheme");
        parse(scheme, rest).expect("a known scheme")
    }

    fn login(user: &str, password: &str) -> RedisLogin {
        RedisLogin { user: user.to_owned(), password: password.to_owned() }
    }

    fn nodes(nodes: &[(&str, u16)]) -> Vec<(String, u16)> {
        nodes.iter().map(|&(host, port)| (host.to_owned(), port)).collect()
    }

    #[test]
    fn sentinels_are_named_with_their_master() {
        let found =
            of("redis-sentinel://u:p%40@a:1,b,[::1]:2,[::2]/my%20shop/3?sentinel_password=s%26&sentinel_user=v");
        let found = found.expect("a good one");
        assert_eq!(found.nodes, nodes(&[("a", 1), ("b", 26379), ("::1", 2), ("::2", 26379)]));
        assert_eq!((found.master.as_deref(), found.db, found.tls), (Some("my shop"), 3, false));
        assert_eq!((found.login, found.sentinel_login), (login("u", "p@"), login("v", "s&")));
        let found = of("rediss-sentinel://a/shop/").ok().map(|found| (found.tls, found.db, found.login));
        assert_eq!(found, Some((true, 0, RedisLogin::default())));
    }

    #[test]
    fn a_cluster_is_named_by_some_of_its_servers() {
        let found = of("redis-cluster://:p@a,b:7000").expect("a good one");
        assert_eq!(found.nodes, nodes(&[("a", 6379), ("b", 7000)]));
        assert_eq!((found.master, found.db, found.tls, found.login), (None, 0, false, login("", "p")));
        assert!(of("rediss-cluster://a/").is_ok_and(|found| found.tls));
        assert!(of("redis-cluster://a/0").is_ok());
    }

    #[test]
    fn what_names_no_servers_is_refused_with_what_to_do_and_without_a_password() {
        for (url, words) in [
            ("redis-sentinel://:secret@a", "/master"),
            ("redis-sentinel://:secret@a/", "/master"),
            ("redis-sentinel://:secret@a/shop/one", "database's number"),
            ("redis-sentinel://:secret@a/shop?protocol=3", "sentinel_password"),
            ("redis-sentinel://:secret@/shop", "name hosts"),
            ("redis-sentinel://:secret@a,,b/shop", "name hosts"),
            ("redis-sentinel://:secret@a:0/shop", "name hosts"),
            ("redis-sentinel://:secret@[::1/shop", "name hosts"),
            ("redis-sentinel://:secret%ff@a/shop", "UTF-8"),
            ("redis-cluster://:secret@a,b/1", "no databases"),
            ("redis-cluster://:secret@a?x=y", "leave out"),
            ("redis-cluster::secret@a", "write //"),
        ] {
            let error = of(url).err().unwrap_or_else(|| panic!("{url} is taken"));
            assert!(error.contains(words) && !error.contains("secret"), "{url}: {error}");
        }
        assert!(parse("redis-swarm", "//a").is_none());
    }
}
