//! Who the client is: the right-most address that is not one of the trusted proxies.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use http::HeaderName;
use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use shop_http1::fields::{self, Fields};

/// `X-Forwarded-For`.
pub(crate) const X_FORWARDED_FOR: http::HeaderName = http::HeaderName::from_static("x-forwarded-for");

/// `X-Forwarded-Client-Cert`, in which Envoy says what certificate a client showed.
pub(crate) const X_FORWARDED_CLIENT_CERT: HeaderName = HeaderName::from_static("x-forwarded-client-cert");

/// A range of addresses: `10.0.0.0/8`, `fd00::/8`, or a single address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network(IpNet);

impl Network {
    /// Whether `address` is in the range; an IPv4 address mapped into IPv6 counts as IPv4, and is in ranges of either family.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.0, address.to_canonical()) {
            (IpNet::V6(range), IpAddr::V4(v4)) => range.contains(&v4.to_ipv6_mapped()),
            (range, address) => range.contains(&address),
        }
    }
}

/// Why a text is not a range of addresses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not an address or a range such as 10.0.0.0/8")]
pub struct InvalidNetwork(String);

impl FromStr for Network {
    type Err = InvalidNetwork;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        let range = text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
        range.map(|range| Self(range.trunc())).ok_or_else(|| InvalidNetwork(text.to_owned()))
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for Network {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// Headers that say who asks, or for what, and that only a proxy can know: taken from anybody, backends that believe them would
/// believe a client. Those that end with a dash stand for all that begin so.
const CLAIMS: [&str; 21] = [
    "cf-connecting-ip",
    "cf-connecting-ipv6",
    "client-cert",
    "client-cert-chain",
    "client-ip",
    "fastly-client-ip",
    "forwarded",
    "front-end-https",
    "true-client-ip",
    "x-client-cert",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-envoy-",
    "x-forwarded",
    "x-forwarded-",
    "x-host",
    "x-original-",
    "x-real-ip",
    "x-rewrite-url",
    "x-scheme",
    "x-ssl-",
];

/// Whether a header of this name is one of [`CLAIMS`], in any spelling: what becomes a variable, as in CGI and WSGI, has
/// underscores for dashes.
pub(crate) fn is_claim(name: &[u8]) -> bool {
    // The first letter tells most names apart.
    if !name.first().is_some_and(|first| matches!(first | 0x20, b'c' | b'f' | b't' | b'x')) {
        return false;
    }
    let same = |(byte, known): (&u8, u8)| byte.eq_ignore_ascii_case(&known) || (*byte == b'_' && known == b'-');
    CLAIMS.iter().any(|claim| {
        let fits = if claim.ends_with('-') { name.len() > claim.len() } else { name.len() == claim.len() };
        fits && name.iter().zip(claim.bytes()).all(same)
    })
}

/// A header in which a proxy says what only it can know, such as `X-Forwarded-Host`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyHeader(HeaderName);

impl ProxyHeader {
    /// `X-Forwarded-Proto`.
    pub(crate) const PROTO: Self = Self(HeaderName::from_static("x-forwarded-proto"));

    /// Its name.
    pub(crate) fn name(&self) -> &HeaderName {
        &self.0
    }
}

/// Why a text is not such a header.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0} is no header by which a proxy says who asks, or for what, such as X-Forwarded-Host or Forwarded")]
pub struct NoProxyHeader(String);

impl FromStr for ProxyHeader {
    type Err = NoProxyHeader;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let name = HeaderName::from_bytes(text.trim().as_bytes()).ok();
        let is_one = |name: &HeaderName| is_claim(name.as_str().as_bytes()) && !name.as_str().contains('_');
        name.filter(is_one).map(Self).ok_or_else(|| NoProxyHeader(text.to_owned()))
    }
}

impl Serialize for ProxyHeader {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for ProxyHeader {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// For whom a listener is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Audience {
    /// Those who call services.
    Clients,
    /// The same, through a proxy that hands on bytes: they are nobody on this machine, whatever address is theirs.
    Relayed,
    /// Those who run the gateway, and what scrapes it.
    Operators,
}

/// Who asks: the peer itself, or whom a trusted proxy speaks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Client {
    /// The client's address, for limits.
    pub(crate) address: IpAddr,
    /// Whether the peer is a trusted proxy, so that its forwarding headers are kept and added to.
    pub(crate) through_proxy: bool,
}

impl Client {
    /// Walks `X-Forwarded-For` from the right as long as the speakers are trusted.
    pub(crate) fn of(peer: IpAddr, headers: &impl Fields, trusted: &[Network]) -> Self {
        let peer = peer.to_canonical();
        let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(address));
        if trusted.is_empty() || !is_trusted(peer) {
            return Self { address: peer, through_proxy: false };
        }
        let mut address = peer;
        let name = X_FORWARDED_FOR;
        let values: Vec<_> = headers.values(&name).filter_map(fields::text).collect();
        for hop in values.iter().rev().flat_map(|value| value.rsplit(',')) {
            // What is not an address was not written by a proxy of ours: the last good hop is the client.
            let Some(hop) = hop_address(hop) else { break };
            address = hop;
            if !is_trusted(hop) {
                break;
            }
        }
        Self { address, through_proxy: true }
    }
}

/// An entry of `X-Forwarded-For`: an address, which some proxies write with a port, or in brackets as if there were one.
fn hop_address(hop: &str) -> Option<IpAddr> {
    let hop = hop.trim();
    let in_brackets = || hop.strip_prefix('[')?.strip_suffix(']')?.parse::<Ipv6Addr>().ok().map(IpAddr::V6);
    let with_port = || hop.parse::<SocketAddr>().ok().map(|address| address.ip());
    hop.parse::<IpAddr>().ok().or_else(with_port).or_else(in_brackets).map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderMap, HeaderValue};

    fn network(text: &str) -> Network {
        text.parse().expect("a network")
    }

    #[test]
    fn a_range_holds_its_addresses_and_no_others() {
        let table = [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.0.0.0/8", "::ffff:10.1.1.1", true),
            ("192.168.1.7", "192.168.1.7", true),
            ("192.168.1.7", "192.168.1.8", false),
            ("fd00::/8", "fd12::1", true),
            ("fd00::/8", "fe80::1", false),
            ("0.0.0.0/0", "8.8.8.8", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("::/0", "2001:db8::1", true),
            ("::/0", "8.8.8.8", true),
            ("::ffff:10.0.0.0/104", "10.1.1.1", true),
        ];
        for (range, address, inside) in table {
            assert_eq!(network(range).contains(address.parse().expect("address")), inside, "{address} in {range}");
        }
        for bad in ["", "10.0.0.0/33", "x/8", "10.0.0.0/-1"] {
            assert!(bad.parse::<Network>().is_err(), "{bad}");
        }
        assert_eq!(network("10.1.2.3/8").to_string(), "10.0.0.0/8");
    }

    #[test]
    fn the_client_is_the_rightmost_hop_nobody_vouches_for() {
        let trusted = [network("10.0.0.0/8")];
        let table: [(&str, &[&str], &str); 10] = [
            ("1.2.3.4", &[], "1.2.3.4"),
            ("1.2.3.4", &["9.9.9.9"], "1.2.3.4"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &["9.9.9.9"], "9.9.9.9"),
            ("10.0.0.1", &["6.6.6.6, 9.9.9.9, 10.0.0.2"], "9.9.9.9"),
            ("10.0.0.1", &["6.6.6.6", "9.9.9.9:1234,10.0.0.2"], "9.9.9.9"),
            ("10.0.0.1", &["6.6.6.6, unknown, 10.0.0.2"], "10.0.0.2"),
            ("10.0.0.1", &["6.6.6.6, [2001:db8::1]:1234"], "2001:db8::1"),
            ("10.0.0.1", &["6.6.6.6, [2001:db8::1]"], "2001:db8::1"),
            ("10.0.0.1", &["6.6.6.6, [10.0.0.3]"], "10.0.0.1"),
        ];
        for (peer, values, client) in table {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(&X_FORWARDED_FOR, HeaderValue::from_str(value).expect("value"));
            }
            let found = Client::of(peer.parse().expect("peer"), &headers, &trusted);
            assert_eq!(found.address.to_string(), client, "{peer} {values:?}");
        }
    }
}
