//! Where backends can be looked up, and how that is done.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use shop_config::{Duration, Problems};

use super::backends::InvalidBackend;

/// Where backends can be looked up.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum SourceUrl {
    /// `dns://name:port`: every address of a name, at one port; optionally `;weight=N` for each.
    Dns {
        /// The name.
        name: String,
        /// The port.
        port: u16,
        /// The weight of each address.
        weight: NonZeroU16,
    },
    /// `srv://_http._tcp.name`: what SRV records say (RFC 2782).
    Srv {
        /// The name, with service and protocol.
        name: String,
    },
    /// `file:///path`: a list in a file, in JSON, or in TOML when the name ends so.
    File {
        /// Where it is.
        path: PathBuf,
    },
}

impl SourceUrl {
    /// Whether `text` is meant to be one.
    pub(crate) fn is_meant(text: &str) -> bool {
        ["dns://", "srv://", "file://"].iter().any(|scheme| text.starts_with(scheme))
    }
}

impl FromStr for SourceUrl {
    type Err = InvalidBackend;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidBackend::Source(text.to_owned());
        let (url, option) = match text.split_once(';') {
            Some((url, option)) => (url.trim(), Some(option.trim())),
            None => (text, None),
        };
        let (scheme, rest) = url.split_once("://").ok_or_else(invalid)?;
        if let ("file", None) = (scheme, option) {
            return rest.starts_with('/').then(|| Self::File { path: rest.into() }).ok_or_else(invalid);
        }
        let is_name = |name: &str| {
            let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
            !name.is_empty() && name.len() < 254 && name.bytes().all(is_plain)
        };
        match (scheme, option) {
            ("srv", None) if is_name(rest) => Ok(Self::Srv { name: rest.to_owned() }),
            ("dns", option) => {
                let (name, port) = rest.rsplit_once(':').filter(|(name, _)| is_name(name)).ok_or_else(invalid)?;
                let port = port.parse().ok().filter(|port| *port != 0).ok_or_else(invalid)?;
                let weight = match option {
                    None => NonZeroU16::MIN,
                    Some(option) => option
                        .strip_prefix("weight=")
                        .and_then(|number| number.parse().ok())
                        .ok_or_else(|| InvalidBackend::Option(text.to_owned()))?,
                };
                Ok(Self::Dns { name: name.to_owned(), port, weight })
            }
            _ => Err(invalid()),
        }
    }
}

impl fmt::Display for SourceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns { name, port, weight: NonZeroU16::MIN } => write!(f, "dns://{name}:{port}"),
            Self::Dns { name, port, weight } => write!(f, "dns://{name}:{port};weight={weight}"),
            Self::Srv { name } => write!(f, "srv://{name}"),
            Self::File { path } => write!(f, "file://{}", path.display()),
        }
    }
}

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
    pub(crate) fn check(&self, problems: &mut Problems) {
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
    fn a_source_is_read_and_written_alike() {
        for text in [
            "dns://product.shop.svc.cluster.local:8080",
            "dns://product:8080;weight=3",
            "srv://_http._tcp.product.shop",
            "file:///etc/shop/backends.json",
        ] {
            assert_eq!(text.parse::<SourceUrl>().expect(text).to_string(), text);
        }
        for text in [
            "dns://product",
            "dns://:8080",
            "dns://product:0",
            "dns://product:99999",
            "dns://pro duct:80",
            "dns://product:80/x",
            "dns://product:80;draining",
            "srv://",
            "srv://_http._tcp.a:80",
            "srv://_http._tcp.a;weight=2",
            "file://relative.json",
            "file:///a;weight=2",
        ] {
            let error = text.parse::<SourceUrl>().expect_err(text).to_string();
            assert!(error.contains(text), "{error}");
        }
    }

    #[test]
    fn a_name_server_has_port_53_unless_it_says_so() {
        for (text, expected) in [("10.0.0.10", "10.0.0.10:53"), ("::1", "[::1]:53"), ("[::1]:54", "[::1]:54")] {
            assert_eq!(text.parse::<NameServer>().expect(text).0.to_string(), expected);
        }
        assert!("dns.example".parse::<NameServer>().is_err());
    }
}
