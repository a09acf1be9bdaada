//! What of a request says which backend it belongs to.

use std::net::IpAddr;

use http::{HeaderName, HeaderValue, header};
use shop_balance::hashing;
use shop_balance::settings::Hash;
use shop_clock::chance;
use shop_http1::Headers;
use shop_http1::fields::Fields as _;

/// Where the key of a request is.
pub(crate) enum Affinity {
    Header(HeaderName),
    Cookie(String),
    Address,
}

/// The key of a request.
#[derive(Debug, Default)]
pub(crate) struct Key {
    /// What is hashed; none when there is nothing, and any backend will do.
    pub(crate) number: Option<u64>,
    /// What tells it to the client, for the next time.
    pub(crate) cookie: Option<HeaderValue>,
}

/// What a request comes with.
pub(crate) struct Visitor<'a> {
    pub(crate) headers: &'a Headers,
    pub(crate) address: IpAddr,
    /// Whether the client came by TLS.
    pub(crate) is_secure: bool,
    /// Whether it may be given a cookie.
    pub(crate) keeps_cookies: bool,
}

impl Affinity {
    /// As settings have it.
    pub(crate) fn new(settings: &Hash) -> Option<Self> {
        match settings {
            Hash { header: Some(name), .. } => HeaderName::try_from(name).ok().map(Self::Header),
            Hash { cookie: Some(name), .. } => Some(Self::Cookie(name.clone())),
            Hash { address, .. } => address.then_some(Self::Address),
        }
    }

    /// The key of a request.
    pub(crate) fn key(&self, from: &Visitor<'_>) -> Key {
        let found = match self {
            Self::Header(name) => from.headers.value(name).filter(|value| !value.is_empty()).map(hashing::number),
            Self::Address => Some(match household(from.address) {
                IpAddr::V4(address) => hashing::number(&address.octets()),
                IpAddr::V6(address) => hashing::number(&address.octets()),
            }),
            Self::Cookie(name) => match cookie(from.headers, name) {
                None if from.keeps_cookies => return new(name, from.is_secure),
                found => found.map(hashing::number),
            },
        };
        Key { number: found, cookie: None }
    }
}

/// The /64 of an IPv6 address: a machine changes the rest as it likes.
fn household(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() >> 64 << 64).into()),
        address @ IpAddr::V4(_) => address,
    }
}

/// The value of a cookie (RFC 6265, section 4.2.1), unless it is empty.
fn cookie<'a>(headers: &'a Headers, name: &str) -> Option<&'a [u8]> {
    let mut pairs = headers.values(&header::COOKIE).flat_map(|line| line.split(|byte| *byte == b';'));
    pairs.find_map(|pair| {
        let value = pair.trim_ascii().strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
        (!value.is_empty()).then_some(value)
    })
}

/// A key for a client that has none, which says nothing of the client and of no backend.
fn new(name: &str, is_secure: bool) -> Key {
    let value = format!("{:016x}{:016x}", chance::below(usize::MAX), chance::below(usize::MAX));
    let secure = if is_secure { "; Secure" } else { "" };
    let cookie = format!("{name}={value}; Path=/; HttpOnly; SameSite=Lax{secure}");
    Key { number: Some(hashing::number(value.as_bytes())), cookie: HeaderValue::try_from(cookie).ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &'static str)]) -> Headers {
        let mut headers = http::HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_static(value));
        }
        Headers::from(headers)
    }

    fn number(hash: &Hash, lines: &[(&'static str, &'static str)], address: &str) -> Option<u64> {
        let address = address.parse().expect("an address");
        let from = Visitor { headers: &headers(lines), address, is_secure: false, keeps_cookies: false };
        Affinity::new(hash).expect("something").key(&from).number
    }

    #[test]
    fn the_key_is_what_the_settings_name() {
        let header = Hash { header: Some("X-User".to_owned()), ..Hash::default() };
        assert_eq!(number(&header, &[("x-user", "ada")], "10.0.0.1"), Some(hashing::number(b"ada")));
        assert_eq!(number(&header, &[("x-user", "")], "10.0.0.1"), None);
        assert_eq!(number(&header, &[("x-users", "ada")], "10.0.0.1"), None);
        let cookie = Hash { cookie: Some("at".to_owned()), ..Hash::default() };
        for (line, expected) in [
            ("at=b7", Some(hashing::number(b"b7"))),
            ("a=1; at=b7;b=2", Some(hashing::number(b"b7"))),
            ("cat=b7", None),
            ("at=; b=2", None),
            ("at", None),
        ] {
            assert_eq!(number(&cookie, &[("cookie", line)], "10.0.0.1"), expected, "{line}");
        }
        assert_eq!(number(&cookie, &[("cookie", "a=1"), ("cookie", "at=b7")], "::1"), Some(hashing::number(b"b7")));
        let address = Hash { address: true, ..Hash::default() };
        let of = |text| number(&address, &[], text);
        assert_eq!(of("10.0.0.1"), of("::ffff:10.0.0.1"));
        assert_ne!(of("10.0.0.1"), of("10.0.0.2"));
        assert_eq!(of("2001:db8:1:2:3::4"), of("2001:db8:1:2:ffff::1"));
        assert_ne!(of("2001:db8:1:2::4"), of("2001:db8:1:3::4"));
    }

    #[test]
    fn a_client_without_a_cookie_is_given_one_that_leads_to_the_same_place() {
        let affinity = Affinity::new(&Hash { cookie: Some("at".to_owned()), ..Hash::default() }).expect("a cookie");
        for is_secure in [false, true] {
            let address = IpAddr::from([10, 0, 0, 1]);
            let given = affinity.key(&Visitor { headers: &headers(&[]), address, is_secure, keeps_cookies: true });
            let text = given.cookie.expect("a cookie").to_str().expect("text").to_owned();
            let (pair, rest) = text.split_once("; ").expect("attributes");
            let secure =
                if is_secure { "Path=/; HttpOnly; SameSite=Lax; Secure" } else { "Path=/; HttpOnly; SameSite=Lax" };
            assert_eq!(rest, secure);
            let value = pair.strip_prefix("at=").expect("its name");
            assert!(value.len() == 32 && value.bytes().all(|byte| byte.is_ascii_hexdigit()), "{value}");
            assert_eq!(given.number, Some(hashing::number(value.as_bytes())));
        }
    }
}
