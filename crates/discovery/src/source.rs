//! Where backends can be looked up.

use std::fmt;
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::str::FromStr;

use crate::invalid_backend::InvalidBackend;

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
}
