//! Backends in DNS: addresses of a name, and what SRV records say. The answers' own time to live says when to ask again.

use std::net::IpAddr;
use std::num::NonZeroU16;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use futures_util::future::join_all;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolverConfig, ResolverOpts};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::rdata::SRV;
use hickory_resolver::proto::rr::{IntoName, RData, Record, RecordType};
use hickory_resolver::system_conf::parse_resolv_conf;
use parking_lot::Mutex;

use crate::backend_url::BackendUrl;
use crate::settings::{Discovery as Settings, NameServer};

/// What the system says of names. Either may change while the process runs, with a network, say.
const RESOLV_CONF: &str = "/etc/resolv.conf";
const HOSTS: &str = "/etc/hosts";
/// However short or long a record says it may be kept: nobody is asked more than once a second, and a change is noticed
/// within five minutes.
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_mins(5);

/// Who resolves names.
pub(crate) struct Names {
    settings: Settings,
    /// Where the system's name servers are named.
    system: PathBuf,
    /// With what the files were like that it is made of.
    resolver: Mutex<Option<(Files, TokioResolver)>>,
}

/// What tells one content of the system's files from another.
type Files = [Option<(SystemTime, u64, u64)>; 2];

/// What one look at a source brings, and how long it may be believed.
pub(crate) struct Found {
    pub(crate) backends: Vec<BackendUrl>,
    pub(crate) lives: Duration,
}

/// Addresses, and how long they live.
struct Addresses {
    all: Vec<IpAddr>,
    lives: Duration,
}

impl Names {
    /// By the name servers of the settings, or the system's.
    pub(crate) fn new(settings: &Settings) -> Self {
        Self::of_system(settings, Path::new(RESOLV_CONF))
    }

    fn of_system(settings: &Settings, system: &Path) -> Self {
        Self { settings: settings.clone(), system: system.to_owned(), resolver: Mutex::default() }
    }

    /// Made anew when it could not be made before, and when the files that it was made of are others.
    fn resolver(&self) -> Result<TokioResolver, String> {
        let files = [&*self.system, Path::new(HOSTS)].map(|path| {
            let data = std::fs::metadata(path).ok()?;
            Some((data.modified().ok()?, data.len(), data.ino()))
        });
        let mut resolver = self.resolver.lock();
        match &*resolver {
            Some((made_of, resolver)) if *made_of == files => Ok(resolver.clone()),
            _ => Ok(resolver.insert((files, self.build()?)).1.clone()),
        }
    }

    fn build(&self) -> Result<TokioResolver, String> {
        let (config, mut options) = if self.settings.nameservers.is_empty() {
            let read = std::fs::read(&self.system).map_err(NetError::from).and_then(parse_resolv_conf);
            read.map_err(|error| format!("cannot use {}: {error}", self.system.display()))?
        } else {
            let servers = self.settings.nameservers.iter().map(name_server).collect();
            (ResolverConfig::from_parts(None, Vec::new(), servers), ResolverOpts::default())
        };
        options.timeout = self.settings.timeout.get();
        // The others are asked for below, once it is known that there are none of these.
        options.ip_strategy = LookupIpStrategy::Ipv4Only;
        // Answers are asked for when the last ones have expired; to keep them would only make them older.
        options.cache_size = 0;
        let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        *builder.options_mut() = options;
        builder.build().map_err(|error| error.to_string())
    }

    /// Every address of `name`, at `port`.
    pub(crate) async fn addresses(&self, name: &str, port: u16, weight: NonZeroU16) -> Result<Found, String> {
        let found = addresses(&self.resolver()?, name).await;
        let Addresses { all, lives } = found.map_err(|error| error.to_string())?;
        if all.is_empty() {
            return Err("the name has no addresses".to_owned());
        }
        let at = |ip: IpAddr| BackendUrl { weight, ..BackendUrl::new(ip.to_string(), port) };
        Ok(Found { backends: all.into_iter().map(at).collect(), lives })
    }

    /// What the SRV records of `name` say: those of the lowest priority, since the others are for when these are gone, which
    /// is for DNS to say. A weight of 0 becomes 1.
    pub(crate) async fn services(&self, name: &str) -> Result<Found, String> {
        let resolver = &self.resolver()?;
        let lookup = resolver.srv_lookup(name).await.map_err(|error| error.to_string())?;
        let records: Vec<&SRV> = lookup.answers().iter().filter_map(srv).collect();
        let first = records.iter().map(|record| record.priority).min().ok_or("the name has no SRV records")?;
        let chosen = records.into_iter().filter(|record| record.priority == first);
        let targets =
            join_all(chosen.map(|record| async move { (record, addresses(resolver, record.target.clone()).await) }));
        let mut found = Found { backends: Vec::new(), lives: lifetime(lookup.answers()) };
        for (record, target) in targets.await {
            // One target that is no more does not speak against the others; that one cannot be asked for does.
            let target = target.map_err(|error| format!("{}: {error}", record.target))?;
            if target.all.is_empty() {
                continue;
            }
            found.lives = found.lives.min(target.lives);
            let weight = NonZeroU16::new(record.weight).unwrap_or(NonZeroU16::MIN);
            let at = |ip: IpAddr| BackendUrl { weight, ..BackendUrl::new(ip.to_string(), record.port) };
            found.backends.extend(target.all.into_iter().map(at));
        }
        if found.backends.is_empty() {
            return Err("none of the targets has an address".to_owned());
        }
        Ok(found)
    }
}

/// The addresses of `name`; none when DNS says so. Those of IPv6 count where there are none of IPv4, because a name that has
/// both has them of the same machines. That IPv4 cannot be asked for says nothing about that.
async fn addresses(resolver: &TokioResolver, name: impl IntoName + Clone) -> Result<Addresses, NetError> {
    let mut found = Vec::new();
    match resolver.lookup_ip(name.clone()).await {
        Ok(lookup) => found.extend_from_slice(lookup.as_lookup().answers()),
        Err(error) if is_answer(&error) => {}
        Err(error) => return Err(error),
    }
    if !found.iter().any(|record| record.data.ip_addr().is_some()) {
        match resolver.lookup(name, RecordType::AAAA).await {
            Ok(lookup) => found.extend_from_slice(lookup.answers()),
            Err(error) if is_answer(&error) => {}
            Err(error) => return Err(error),
        }
    }
    let all = found.iter().filter_map(|record| record.data.ip_addr()).collect();
    Ok(Addresses { all, lives: lifetime(&found) })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_systems_name_servers_are_read_again_when_they_are_others() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("resolv.conf");
        let names = Names::of_system(&Settings::default(), &path);
        let dots = || names.resolver().map(|resolver| resolver.options().ndots);
        let write = |text: &str| {
            let new = folder.path().join("new");
            std::fs::write(&new, text).and_then(|()| std::fs::rename(new, &path)).expect("writes");
        };
        assert!(dots().expect_err("there is none").contains("resolv.conf"));
        write("options ndots:3\n");
        assert!(dots().expect_err("it names nobody").contains("nameserver"));
        for number in [3, 5] {
            write(&format!("nameserver 127.0.0.1\noptions ndots:{number}\n"));
            assert_eq!(dots(), Ok(number));
        }
    }
}
