//! Web origins that settings name: `https://shop.example`, `https://*.shop.example`, `null`, `*`.

use std::fmt;
use std::str::FromStr;

use http::uri::Authority;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Which origins are meant, written as browsers write the `Origin` header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AllowedOrigin {
    /// `*`: every origin there is.
    Any,
    /// `null`: what a browser says for sandboxed frames, files and some redirects, so any site can say it.
    Null,
    /// One origin, in lower case and without the default port, as browsers write it.
    Exact(String),
    /// `https://*.shop.example`: every host below, at any depth, but not `shop.example` itself.
    Below {
        /// `http://` or `https://`.
        scheme: &'static str,
        /// `.shop.example`, with `:port` when it is not the scheme's own.
        suffix: String,
    },
}

impl AllowedOrigin {
    /// Whether the operator vouches for this origin: `*` and `null` can be anybody.
    pub const fn is_named(&self) -> bool {
        matches!(self, Self::Exact(_) | Self::Below { .. })
    }
}

/// Why a text is not an origin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidOrigin {
    /// No scheme, or one that cannot be.
    #[error("{0} has no scheme; write https://host or https://host:port")]
    Scheme(String),
    /// A path, a query or a user.
    #[error("{0} has more than scheme, host and port; an origin ends there, without a slash")]
    Extra(String),
    /// No host, or a port that is none.
    #[error("{0} has no usable host and port; write https://host:port, names beyond ASCII as xn--…")]
    Address(String),
    /// A star in the wrong place.
    #[error("{0} has a star where none can be; write https://*.example.com, with a domain of at least two labels")]
    Star(String),
}

impl FromStr for AllowedOrigin {
    type Err = InvalidOrigin;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim().to_ascii_lowercase();
        match text.as_str() {
            "*" => return Ok(Self::Any),
            "null" => return Ok(Self::Null),
            _ => {}
        }
        let Some((scheme, address)) = text.split_once("://") else { return Err(InvalidOrigin::Scheme(text)) };
        let is_scheme = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
        if !scheme.starts_with(|first: char| first.is_ascii_alphabetic()) || !scheme.bytes().all(is_scheme) {
            return Err(InvalidOrigin::Scheme(text));
        }
        if address.contains(['/', '?', '#', '@']) {
            return Err(InvalidOrigin::Extra(text));
        }
        let (below, host) = match address.strip_prefix("*.") {
            Some(host) => (true, host),
            None => (false, address),
        };
        if host.contains('*') {
            return Err(InvalidOrigin::Star(text));
        }
        let Some(host) = without_default_port(scheme, host) else { return Err(InvalidOrigin::Address(text)) };
        if !below {
            return Ok(Self::Exact(format!("{scheme}://{host}")));
        }
        match scheme {
            "https" if is_domain(host) => Ok(Self::Below { scheme: "https://", suffix: format!(".{host}") }),
            "http" if is_domain(host) => Ok(Self::Below { scheme: "http://", suffix: format!(".{host}") }),
            _ => Err(InvalidOrigin::Star(text)),
        }
    }
}

/// `host` or `host:port`, checked; the port goes when browsers leave it out.
fn without_default_port<'a>(scheme: &str, address: &'a str) -> Option<&'a str> {
    let authority: Authority = address.parse().ok()?;
    let host = authority.host();
    let port = address.strip_prefix(host).filter(|_| !host.is_empty())?;
    if port.is_empty() {
        return Some(address);
    }
    let number: u16 = port.strip_prefix(':')?.parse().ok()?;
    let name = &address[..host.len()];
    Some(if matches!((scheme, number), ("http", 80) | ("https", 443)) { name } else { address })
}

/// Whether a star may stand before it: a whole top-level domain is nobody's own. `localhost` is everybody's.
fn is_domain(address: &str) -> bool {
    let host = address.split(':').next().unwrap_or_default();
    let mut labels = host.split('.');
    let is_label = |label: &str| !label.is_empty() && label.bytes().all(is_host_byte);
    !address.starts_with('[') && labels.all(is_label) && (host.contains('.') || host == "localhost")
}

/// What the labels of a host consist of, as browsers write them.
pub(super) const fn is_host_byte(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_')
}

impl fmt::Display for AllowedOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Null => f.write_str("null"),
            Self::Exact(origin) => f.write_str(origin),
            Self::Below { scheme, suffix } => write!(f, "{scheme}*{suffix}"),
        }
    }
}

impl Serialize for AllowedOrigin {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for AllowedOrigin {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_brought_into_the_form_of_browsers() {
        for (text, expected) in [
            ("*", "*"),
            ("null", "null"),
            ("https://Shop.Example", "https://shop.example"),
            ("https://shop.example:443", "https://shop.example"),
            ("http://shop.example:443", "http://shop.example:443"),
            ("http://localhost:3000", "http://localhost:3000"),
            ("http://[::1]:80", "http://[::1]"),
            ("capacitor://localhost", "capacitor://localhost"),
            ("https://*.shop.example", "https://*.shop.example"),
            ("https://*.shop.example:443", "https://*.shop.example"),
            ("http://*.localhost:3000", "http://*.localhost:3000"),
        ] {
            let origin: AllowedOrigin = text.parse().unwrap();
            assert_eq!(origin.to_string(), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_origin_is_refused() {
        for text in [
            "",
            "shop.example",
            "//shop.example",
            "1a://x",
            "https://",
            "https://:443",
            "https://shop.example/",
            "https://shop.example/x",
            "https://shop.example?x",
            "https://u@shop.example",
            "https://shop.example:",
            "https://shop.example:99999",
            "https://shop.example:x",
            "https://späti.example",
            "https://*",
            "https://*.",
            "https://*.com",
            "https://*.*.com",
            "https://a*.shop.example",
            "https://shop.*",
            "https://*.shop..example",
            "https://*.[::1]",
            "*://shop.example",
            "ftp://*.shop.example",
        ] {
            assert!(text.parse::<AllowedOrigin>().is_err(), "{text}");
        }
    }
}
