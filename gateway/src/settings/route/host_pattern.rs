//! Which hosts a route is for.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Which hosts a route is for: `shop.example` is this one, `*.shop.example` is all below it. Ports do not count.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostPattern {
    /// In small letters, without the star.
    name: String,
    is_below: bool,
}

/// Why a text is no pattern of hosts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a host such as shop.example or *.shop.example, without scheme and port")]
pub struct InvalidHost(String);

impl FromStr for HostPattern {
    type Err = InvalidHost;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let below = text.strip_prefix("*.");
        let name = below.unwrap_or(text).to_ascii_lowercase();
        let is_label = |label: &str| {
            let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
            !label.is_empty() && label.bytes().all(is_plain)
        };
        let is_address =
            below.is_none() && name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).is_some_and(is_v6);
        if is_address || name.split('.').all(is_label) {
            Ok(Self { name, is_below: below.is_some() })
        } else {
            Err(InvalidHost(text.to_owned()))
        }
    }
}

fn is_v6(text: &str) -> bool {
    text.parse::<std::net::Ipv6Addr>().is_ok_and(|address| address.to_string() == text)
}

impl HostPattern {
    /// Whether `host`, which may have a port, is one of these.
    pub(crate) fn fits(&self, host: &str) -> bool {
        let host = host.to_ascii_lowercase();
        let port = host.rfind(':').filter(|colon| !host[*colon..].contains(']'));
        let host = &host[..port.unwrap_or(host.len())];
        match host.strip_suffix(self.name.as_str()) {
            Some(rest) => {
                if self.is_below {
                    rest.ends_with('.')
                } else {
                    rest.is_empty()
                }
            }
            None => false,
        }
    }

    /// The host, or what hosts end with, in small letters.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Whether it is for the hosts below [`name`](Self::name).
    pub(crate) const fn is_below(&self) -> bool {
        self.is_below
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.is_below { "*." } else { "" }, self.name)
    }
}

impl Serialize for HostPattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for HostPattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_has_no_scheme_port_or_star_inside() {
        for text in ["shop.example", "localhost", "*.shop.example", "10.0.0.1", "[::1]", "a_b.example"] {
            assert_eq!(text.parse::<HostPattern>().expect(text).to_string(), text);
        }
        assert_eq!("*.Shop.Example".parse::<HostPattern>().expect("a host").to_string(), "*.shop.example");
        for text in
            ["", "*", "*.", "a..b", "a.", "http://a", "a:80", "a/b", "a.*.b", "[::1", "[0::1]", "*.[::1]", "ä.de"]
        {
            assert!(text.parse::<HostPattern>().is_err(), "{text}");
        }
    }
}
