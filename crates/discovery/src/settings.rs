//! Settings: how backends are looked up.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use shop_config::{Duration, Problems};

/// Looking up backends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Discovery {
    /// Name servers to ask, as address or `address:port`; those of `/etc/resolv.conf`, with its search list, when there are
    /// none here.
    pub nameservers: Vec<NameServer>,
    /// How long a name server may take to answer one question before it is asked once more, or another is; a name may need
    /// several questions, such as one for each entry of the search list. One in the same network answers within
    /// milliseconds; the set known before is used meanwhile.
    pub timeout: Duration,
    /// How often files are read to see whether they changed: a change should be in force when the person who made it looks.
    pub file_interval: Duration,
}

impl Default for Discovery {
    fn default() -> Self {
        Self { nameservers: Vec::new(), timeout: Duration::secs(2), file_interval: Duration::secs(1) }
    }
}

impl Discovery {
    /// Finds wrong values.
    pub fn check(&self, problems: &mut Problems) {
        problems.ensure(!self.timeout.is_zero(), "timeout", "must be more than 0");
        problems.ensure(!self.file_interval.is_zero(), "file_interval", "must be more than 0");
    }
}

/// The address of a name server; port 53 when none is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NameServer(pub SocketAddr);

impl FromStr for NameServer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let plain = || text.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().ok();
        let addr = text.parse().ok().or_else(|| plain().map(|ip| SocketAddr::new(ip, 53)));
        addr.map(Self).ok_or_else(|| format!("{text} is no address of a name server; write 10.0.0.10 or 10.0.0.10:53"))
    }
}

impl Serialize for NameServer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for NameServer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_server_has_port_53_unless_it_says_so() {
        for (text, expected) in [("10.0.0.10", "10.0.0.10:53"), ("::1", "[::1]:53"), ("[::1]:54", "[::1]:54")] {
            assert_eq!(text.parse::<NameServer>().expect(text).0.to_string(), expected);
        }
        assert!("dns.example".parse::<NameServer>().is_err());
    }
}
