//! Where Redis is, and how to get there.

use std::time::Duration;
use std::{fmt, io};

use redis::cluster::{ClusterClient, ClusterClientBuilder};
use redis::{
    AsyncConnectionConfig, ConnectionAddr, ConnectionInfo, ErrorKind, IntoConnectionInfo as _, RedisError, RedisResult,
    TlsCertificates,
};
use shop_config::{RedisNodes, RedisTarget, RedisTls};

use crate::Connection;
use crate::files::Files;
use crate::sentinels;
use crate::server::{one, place};

/// Pauses of a cluster's client between attempts at one command, in milliseconds: while slots move, or a replica is made
/// master, the next attempt may do. All of them together have the time of one answer.
const CLUSTER_PAUSES: std::ops::RangeInclusive<u64> = 20..=200;

/// Where Redis is.
pub struct Source {
    kind: Kind,
    /// Read again for each connection, as certificates are renewed.
    files: Files,
    /// The longest that connecting takes, asking sentinels and logging in included.
    connect_timeout: Duration,
    /// The longest wait for an answer, if the connection is to have one.
    response_timeout: Option<Duration>,
}

enum Kind {
    One(Box<ConnectionInfo>),
    Sentinels(RedisNodes),
    Cluster(RedisNodes),
}

impl Source {
    /// Of what settings name, with the files for TLS, which have to be good now. The error says what is wrong; SQLite is not
    /// Redis.
    pub fn new(
        target: &RedisTarget,
        tls: &RedisTls,
        connect_timeout: Duration,
        response_timeout: Option<Duration>,
    ) -> Result<Self, String> {
        let words = |error: RedisError| error.to_string();
        let kind = match target {
            RedisTarget::Redis(url) => Kind::One(Box::new(url.as_str().into_connection_info().map_err(words)?)),
            RedisTarget::Several(nodes) if nodes.master.is_some() => Kind::Sentinels(nodes.clone()),
            RedisTarget::Several(nodes) => Kind::Cluster(nodes.clone()),
            RedisTarget::Sqlite(_) => return Err("is not the address of Redis".to_owned()),
        };
        let source = Self { kind, files: Files::new(tls)?, connect_timeout, response_timeout };
        source.check().map_err(words)?;
        Ok(source)
    }

    /// What is wrong shall show now, not when somebody is asked.
    fn check(&self) -> RedisResult<()> {
        let files = self.files.last();
        match &self.kind {
            Kind::One(info) => one(info, files).map(drop),
            Kind::Sentinels(nodes) => sentinels::check(nodes, files.as_ref()),
            Kind::Cluster(nodes) => self.cluster(nodes, files).map(drop),
        }
    }

    /// A connection: to the server that takes writes, or to the cluster.
    ///
    /// Sentinels are asked together, each time. Nothing is kept from one time to the next, so a connection that is given up
    /// costs nobody anything.
    pub async fn connect(&self) -> RedisResult<Connection> {
        let reached = tokio::time::timeout(self.connect_timeout, self.reach()).await.unwrap_or_else(|_| {
            let words = format!("no connection to {self} within {:?}", self.connect_timeout);
            Err(io::Error::new(io::ErrorKind::TimedOut, words).into())
        });
        // The words of the library say little to who has to mend it.
        reached.map_err(|error| match refused_certificate(&error) {
            Some(why) => io::Error::new(io::ErrorKind::InvalidData, format!("{why} ({error})")).into(),
            None => error,
        })
    }

    async fn reach(&self) -> RedisResult<Connection> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.connect_timeout))
            .set_response_timeout(self.response_timeout);
        let files = self.files.now().await;
        match &self.kind {
            Kind::One(info) => {
                one(info, files)?.get_multiplexed_async_connection_with_config(&config).await.map(Connection::One)
            }
            Kind::Sentinels(nodes) => sentinels::master(nodes, files.as_ref(), &config).await.map(Connection::One),
            Kind::Cluster(nodes) => self.cluster(nodes, files)?.get_async_connection().await.map(Connection::Cluster),
        }
    }

    fn cluster(&self, nodes: &RedisNodes, files: Option<TlsCertificates>) -> RedisResult<ClusterClient> {
        let known = nodes.nodes.iter().map(|node| place(nodes, node, &nodes.login));
        let known: Vec<ConnectionInfo> = known.collect::<RedisResult<_>>()?;
        let mut builder = ClusterClientBuilder::new(known)
            // It connects to those it was told of, waits for all, and then to those that they name.
            .connection_timeout(self.connect_timeout / 4)
            .min_retry_wait(*CLUSTER_PAUSES.start())
            .max_retry_wait(*CLUSTER_PAUSES.end());
        if let Some(files) = files {
            builder = builder.certs(files);
        }
        if let Some(response) = self.response_timeout {
            builder = builder.response_timeout(response);
        }
        builder.build()
    }

    /// Whether it is a cluster, whose connection finds its servers again by itself.
    #[must_use]
    pub fn is_cluster(&self) -> bool {
        matches!(self.kind, Kind::Cluster(_))
    }

    /// Whether files for TLS changed since the last connection: a cluster's goes on with those it was made with.
    #[must_use]
    pub fn has_new_files(&self) -> bool {
        self.files.changed()
    }

    /// Host and port, for traces: of several servers the first that settings name.
    #[must_use]
    pub fn place(&self) -> (String, u16) {
        match &self.kind {
            Kind::One(info) => match info.addr() {
                ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => (host.clone(), *port),
                other => (other.to_string(), 0),
            },
            Kind::Sentinels(nodes) | Kind::Cluster(nodes) => nodes.nodes.first().cloned().unwrap_or_default(),
        }
    }

    /// The number of the database.
    #[must_use]
    pub fn database(&self) -> i64 {
        match &self.kind {
            Kind::One(info) => info.redis_settings().db(),
            Kind::Sentinels(nodes) | Kind::Cluster(nodes) => nodes.db.into(),
        }
    }
}

/// As log lines name it: `h:6379`, `"shop" behind the sentinels a:26379, b:26379`, `the cluster of a:6379, b:6379`.
impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nodes = match &self.kind {
            Kind::One(info) => return info.addr().fmt(f),
            Kind::Sentinels(nodes) => {
                write!(f, "{:?} behind the sentinels ", nodes.master.as_deref().unwrap_or_default())?;
                nodes
            }
            Kind::Cluster(nodes) => {
                f.write_str("the cluster of ")?;
                nodes
            }
        };
        let places: Vec<_> = nodes.nodes.iter().map(|(host, port)| format!("{host}:{port}")).collect();
        f.write_str(&places.join(", "))
    }
}

/// What is wrong with a certificate, if that is why there is no connection: it does not pass by itself. The libraries in between
/// keep the words only.
#[must_use]
pub fn refused_certificate(error: &RedisError) -> Option<&'static str> {
    let words = error.to_string();
    let says = |text: &str| words.contains(text);
    if says("received fatal alert: CertificateRequired") || says("received fatal alert: HandshakeFailure") {
        Some("Redis wants a certificate of its clients; name one in cert_file and key_file")
    } else if ["UnknownCA", "BadCertificate", "DecryptError"].iter().any(|alert| says(alert))
        && says("received fatal alert")
    {
        // The last when another authority of the same name has signed it.
        Some("Redis does not trust the certificate in cert_file")
    } else if !says("invalid peer certificate") {
        None
    } else if says("not valid for name") || says("NotValidForName") {
        Some("the certificate of Redis is not for the name by which it is called")
    } else if says("expired") || says("Expired") {
        Some("the certificate of Redis has expired")
    } else if says("NotValidYet") || says("not valid yet") {
        Some("the certificate of Redis is not valid yet")
    } else if says("UnknownIssuer") || says("BadSignature") {
        Some("the certificate of Redis is of no authority that is trusted here; name its file in ca_file")
    } else {
        Some("the certificate of Redis is not valid")
    }
}

/// Whether it comes from a replica, which only reads. The code of what a script or a transaction ran into is in the words
/// only.
#[must_use]
pub fn only_reads(error: &RedisError) -> bool {
    error.code() == Some("READONLY") || error.to_string().contains("READONLY")
}

/// Whether a user or a password is refused, which does not pass by itself. A cluster's client has the code in its words only.
#[must_use]
pub fn refuses_login(error: &RedisError) -> bool {
    let words = error.to_string();
    error.kind() == ErrorKind::AuthenticationFailed
        || error.code() == Some("NOAUTH")
        || ["WRONGPASS", "NOAUTH", "AuthenticationFailed"].iter().any(|code| words.contains(code))
}

#[cfg(test)]
mod tests {
    use shop_config::Redis;

    use super::*;

    fn source(url: &str) -> Source {
        let second = Duration::from_secs(1);
        Source::new(&Redis::at(url).target().expect("understood"), &RedisTls::default(), second, Some(second))
            .expect("a good one")
    }

    #[test]
    fn it_says_where_it_is_without_a_password() {
        for (url, words, place, is_cluster) in [
            ("redis://:p@h:1/2", "h:1", ("h", 1), false),
            (
                "redis-sentinel://:p@a,b:7/shop?sentinel_password=q",
                "\"shop\" behind the sentinels a:26379, b:7",
                ("a", 26379),
                false,
            ),
            ("redis-cluster://u:p@a,b:7", "the cluster of a:6379, b:7", ("a", 6379), true),
        ] {
            let source = source(url);
            assert_eq!(source.to_string(), words);
            assert_eq!(source.place(), (place.0.to_owned(), place.1));
            assert_eq!(source.is_cluster(), is_cluster);
        }
        assert_eq!(source("redis://h/2").database(), 2);
        assert_eq!(source("redis-sentinel://h/shop/3").database(), 3);
    }

    #[tokio::test]
    async fn who_is_not_there_is_not_waited_for_beyond_the_time_to_connect() {
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let silent = silent.local_addr().expect("bound");
        for url in [
            format!("redis://{silent}"),
            format!("redis-sentinel://{silent}/shop"),
            format!("redis-cluster://{silent}"),
        ] {
            let started = tokio::time::Instant::now();
            let error = source(&url).connect().await.err().expect("nobody answers");
            assert!(started.elapsed() < Duration::from_secs(3), "{url}: {error}");
        }
        let none = source("redis-sentinel://127.0.0.1:1,127.0.0.1:2/shop").connect().await;
        assert!(none.err().expect("nobody is there").is_connection_refusal());
    }
}
