//! Where a process listens and how long it waits for clients.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::{Duration, Given, Problems, Var};

/// The HTTP server.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Http {
    /// Address to listen on; this machine alone by default. Containers need 0.0.0.0 or ::.
    pub host: IpAddr,
    /// Port to listen on; 0 takes any free one.
    pub port: u16,
    /// Largest request body in bytes; 1 MiB is far above any order and far below a nuisance.
    pub body_limit: u64,
    /// Longest time to answer a request; below the gateway's and most clients' own limit.
    pub timeout: Duration,
    /// Longest time for a request head to arrive, against clients that trickle. In services it limits the first head of a
    /// connection only: each later one, with the wait for it, has [`Http::idle_timeout`]. The gateway limits all of them.
    pub header_timeout: Duration,
    /// How long an unused connection stays open; above the usual 60 s of balancers, so that they close first.
    pub idle_timeout: Duration,
    /// After the signal to stop, go on serving for this long and ask clients to leave their connections, so that none sends
    /// into one that closes. Nothing by default; a few seconds where a proxy keeps connections.
    pub linger: Duration,
}

impl Http {
    /// All defaults, on this port.
    pub const fn on(port: u16) -> Self {
        Self {
            host: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port,
            body_limit: 1024 * 1024,
            timeout: Duration::secs(30),
            header_timeout: Duration::secs(10),
            idle_timeout: Duration::secs(75),
            linger: Duration::secs(0),
        }
    }

    /// The variables of this section, when it is at the top level.
    pub fn vars() -> [Var; 1] {
        [Var::new("PORT", "http.port", "port of the HTTP server")]
    }

    /// Address and port together.
    pub const fn addr(&self) -> SocketAddr {
        SocketAddr::new(self.host, self.port)
    }

    /// Refuses limits that would refuse every request. `section` is the dotted key of this section.
    pub fn check(&self, section: &'static str, problems: &mut Problems) {
        problems.within(section, |p| {
            p.ensure(self.body_limit > 0, "body_limit", "must be at least 1 byte");
            p.ensure(!self.timeout.is_zero(), "timeout", "must be more than 0");
            p.ensure(!self.header_timeout.is_zero(), "header_timeout", "must be more than 0");
            p.ensure(!self.idle_timeout.is_zero(), "idle_timeout", "must be more than 0");
        });
    }
}

impl Default for Http {
    fn default() -> Self {
        Self::on(8080)
    }
}

/// The gRPC server.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Grpc {
    /// Address to listen on; this machine alone by default. Containers need 0.0.0.0 or ::.
    pub host: IpAddr,
    /// Port to listen on; 0 takes any free one.
    pub port: u16,
    /// Largest message taken, in bytes; gRPC's customary 4 MiB.
    pub message_limit: u64,
    /// Longest time to answer a call that brings no deadline of its own.
    pub timeout: Duration,
    /// How often an idle connection is probed, so that a vanished client is noticed.
    pub keepalive: Duration,
}

impl Grpc {
    /// All defaults, on this port.
    pub const fn on(port: u16) -> Self {
        Self {
            host: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port,
            message_limit: 4 * 1024 * 1024,
            timeout: Duration::secs(30),
            keepalive: Duration::secs(60),
        }
    }

    /// The variables of this section, when it is at the top level.
    pub fn vars() -> [Var; 1] {
        [Var::new("GRPC_PORT", "grpc.port", "port of the gRPC server")]
    }

    /// Address and port together.
    pub const fn addr(&self) -> SocketAddr {
        SocketAddr::new(self.host, self.port)
    }

    /// [`Grpc::message_limit`] as the size of something in memory.
    pub fn message_bytes(&self) -> usize {
        usize::try_from(self.message_limit).unwrap_or(usize::MAX)
    }

    /// Refuses limits that would refuse every call. `section` is the dotted key of this section.
    pub fn check(&self, section: &'static str, problems: &mut Problems) {
        problems.within(section, |p| {
            p.ensure(self.message_limit > 0, "message_limit", "must be at least 1 byte");
            p.ensure(!self.timeout.is_zero(), "timeout", "must be more than 0");
            p.ensure(!self.keepalive.is_zero(), "keepalive", "must be more than 0");
        });
    }
}

impl Default for Grpc {
    fn default() -> Self {
        Self::on(50050)
    }
}

/// A listener for probes and for Prometheus, in cleartext: `/health`, `/health/live`, `/health/ready` and `/metrics`, and
/// nothing else. For where the others want a certificate that neither has. Off unless it has a port.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Operations {
    /// Address to listen on; this machine alone by default. It does not follow `host`: who opens the others to the world need
    /// not mean this one.
    pub host: IpAddr,
    /// Port to listen on; 0 takes any free one.
    pub port: Option<u16>,
}

impl Operations {
    /// The variables of this section, when it is at the top level.
    pub fn vars() -> [Var; 1] {
        [Var::new("OPERATIONS_PORT", "operations.port", "port for probes and metrics in cleartext; none when unset")]
    }

    /// Address and port together, if it is on.
    pub fn addr(&self) -> Option<SocketAddr> {
        self.port.map(|port| SocketAddr::new(self.host, port))
    }
}

impl Default for Operations {
    fn default() -> Self {
        Self { host: IpAddr::V4(Ipv4Addr::LOCALHOST), port: None }
    }
}

/// Refuses, for the sections `http` and `grpc` at the top level of a service, what each refuses, and one port for two of them and `operations`.
pub fn check_servers(http: &Http, grpc: &Grpc, operations: &Operations, problems: &mut Problems) {
    http.check("http", problems);
    grpc.check("grpc", problems);
    let operations = operations.addr().map(|addr| ("operations.port", addr));
    let all: Vec<_> = [("http.port", http.addr()), ("grpc.port", grpc.addr())].into_iter().chain(operations).collect();
    distinct_ports(&all, problems);
}

/// Gives the address `host`, if there is one, to every listener whose own was not given by its key.
pub fn settle_hosts<const N: usize>(host: Option<IpAddr>, given: &Given<'_>, listeners: [(&str, &mut IpAddr); N]) {
    let Some(host) = host else { return };
    for (key, listener) in listeners {
        if !given.has(key) {
            *listener = host;
        }
    }
}

/// Refuses ports that two listeners of one process would have to share, where their addresses meet. Each is given by the key
/// of its port; keys and problems are relative to the same section.
pub fn distinct_ports(listeners: &[(&str, SocketAddr)], problems: &mut Problems) {
    let meet = |one: SocketAddr, other: SocketAddr| {
        let (a, b) = (one.ip().to_canonical(), other.ip().to_canonical());
        one.port() != 0 && one.port() == other.port() && (a == b || a.is_unspecified() || b.is_unspecified())
    };
    for (index, (key, addr)) in listeners.iter().enumerate() {
        if let Some((other, _)) = listeners[..index].iter().find(|(_, other)| meet(*addr, *other)) {
            problems.add(key, format!("{other} is {} too; choose another port for one of them", addr.port()));
        }
    }
}

/// How the process stops.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Stop {
    /// How long running requests may take after the signal to stop; below Kubernetes' 30 s, after which it kills.
    pub grace: Duration,
}

impl Default for Stop {
    fn default() -> Self {
        Self { grace: Duration::secs(25) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_of_one_process_need_ports_of_their_own() {
        for (one, other, fine) in [
            ("0.0.0.0:80", "0.0.0.0:80", false),
            ("127.0.0.1:80", "0.0.0.0:80", false),
            ("127.0.0.1:80", "[::]:80", false),
            ("[::ffff:127.0.0.1]:80", "127.0.0.1:80", false),
            ("127.0.0.1:80", "127.0.0.2:80", true),
            ("0.0.0.0:80", "0.0.0.0:81", true),
            ("0.0.0.0:0", "0.0.0.0:0", true),
        ] {
            let mut problems = Problems::default();
            let listeners = [("a.port", one.parse().expect(one)), ("b.port", other.parse().expect(other))];
            distinct_ports(&listeners, &mut problems);
            assert_eq!(problems.is_empty(), fine, "{one} {other}: {problems}");
        }
    }
}
