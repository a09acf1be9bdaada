//! Backends in DNS: addresses of a name, and what SRV records say. The answers' own time to live says when to ask again.

use std::num::NonZeroU16;
use std::time::Duration;

use futures_util::future::join_all;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolverConfig};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::rdata::SRV;
use hickory_resolver::proto::rr::{RData, Record};

use super::{Found, LONGEST, SHORTEST};
use crate::config::{BackendUrl, Discovery as Settings, NameServer};

/// Who resolves names.
pub(super) struct Names(TokioResolver);

impl Names {
    /// By the name servers of the settings, or the system's.
    pub(super) fn new(settings: &Settings) -> Result<Self, String> {
        let mut builder = if settings.nameservers.is_empty() {
            TokioResolver::builder_tokio().map_err(|error| format!("cannot read /etc/resolv.conf: {error}"))?
        } else {
            let servers = settings.nameservers.iter().map(name_server).collect();
            let config = ResolverConfig::from_parts(None, Vec::new(), servers);
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        };
        let options = builder.options_mut();
        options.timeout = settings.timeout.get();
        // A name that has both kinds of addresses has them of the same machines: each counts once.
        options.ip_strategy = LookupIpStrategy::Ipv4thenIpv6;
        // Answers are asked for when the last ones have expired; to keep them would only make them older.
        options.cache_size = 0;
        builder.build().map(Self).map_err(|error| error.to_string())
    }

    /// Every address of `name`, at `port`.
    pub(super) async fn addresses(&self, name: &str, port: u16, weight: NonZeroU16) -> Result<Found, String> {
        let lookup = self.0.lookup_ip(name).await.map_err(|error| error.to_string())?;
        let backends: Vec<_> =
            lookup.iter().map(|ip| BackendUrl { weight, ..BackendUrl::new(ip.to_string(), port) }).collect();
        if backends.is_empty() {
            return Err("the name has no addresses".to_owned());
        }
        Ok(Found { backends, lives: lifetime(lookup.as_lookup().answers()) })
    }

    /// What the SRV records of `name` say: those of the lowest priority, since the others are for when these are gone, which
    /// is for DNS to say. A weight of 0 becomes 1.
    pub(super) async fn services(&self, name: &str) -> Result<Found, String> {
        let lookup = self.0.srv_lookup(name).await.map_err(|error| error.to_string())?;
        let records: Vec<&SRV> = lookup.answers().iter().filter_map(srv).collect();
        let first = records.iter().map(|record| record.priority).min().ok_or("the name has no SRV records")?;
        let chosen = records.into_iter().filter(|record| record.priority == first);
        let targets =
            join_all(chosen.map(|record| async move { (record, self.0.lookup_ip(record.target.clone()).await) }));
        let mut found = Found { backends: Vec::new(), lives: lifetime(lookup.answers()) };
        for (record, target) in targets.await {
            let target = match target {
                Ok(target) => target,
                // One target that is no more does not speak against the others; that one cannot be asked for does.
                Err(error) if is_answer(&error) => continue,
                Err(error) => return Err(format!("{}: {error}", record.target)),
            };
            found.lives = found.lives.min(lifetime(target.as_lookup().answers()));
            let weight = NonZeroU16::new(record.weight).unwrap_or(NonZeroU16::MIN);
            let at = |ip: std::net::IpAddr| BackendUrl { weight, ..BackendUrl::new(ip.to_string(), record.port) };
            found.backends.extend(target.iter().map(at));
        }
        if found.backends.is_empty() {
            return Err("none of the targets has an address".to_owned());
        }
        Ok(found)
    }
}

fn name_server(server: &NameServer) -> NameServerConfig {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = server.0.port();
        connection
    });
    NameServerConfig::new(server.0.ip(), true, connections.into())
}

fn srv(record: &Record) -> Option<&SRV> {
    match &record.data {
        RData::SRV(srv) => Some(srv),
        _ => None,
    }
}

/// Whether DNS did answer: that there is no such name, or nothing of the kind.
fn is_answer(error: &NetError) -> bool {
    error.is_no_records_found()
}

/// How long an answer lives: as long as its shortest-lived record.
fn lifetime(records: &[Record]) -> Duration {
    let seconds = records.iter().map(|record| record.ttl).min().unwrap_or(0);
    Duration::from_secs(u64::from(seconds)).clamp(SHORTEST, LONGEST)
}
