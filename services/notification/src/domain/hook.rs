//! Where webhooks may go: a URL, and the addresses behind it that are open to everybody.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use shop_input::is_uri;
use shop_text::is_hidden;
use url::{Host, Url};

/// What browsers and proxies agree to carry.
pub(crate) const MAX_URL: usize = 2048;

/// How far webhooks may reach.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Reach {
    /// Also private, loopback and link-local addresses: whoever may add an endpoint may then call the inside of the
    /// network from this service.
    pub(crate) private: bool,
    /// Also without TLS.
    pub(crate) plain: bool,
}

impl Reach {
    /// Whether a webhook may be sent to `ip`.
    pub(crate) fn allows(self, ip: IpAddr) -> bool {
        self.private || is_public(ip)
    }
}

/// The URL of an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HookUrl(Url);

impl HookUrl {
    /// Checks `text`; the error says what to change. Names are looked up only when something is sent.
    pub(crate) fn parse(text: &str, reach: Reach) -> Result<Self, &'static str> {
        let text = text.trim();
        if text.contains(|c: char| c.is_control() || c.is_whitespace() || is_hidden(c)) {
            return Err("must not contain spaces, control characters or others that do not show");
        }
        let url = Url::parse(text).map_err(|_| "must be a URL such as https://shop.example/hooks")?;
        if !is_uri(text, &url) {
            return Err(
                "must be written in ASCII, such as https://shop.example/hooks, with % and two digits for the rest",
            );
        }
        // As it is written down: what is not ASCII takes several characters.
        if url.as_str().len() > MAX_URL {
            return Err("must have at most 2048 characters");
        }
        match url.scheme() {
            "https" => {}
            "http" if reach.plain => {}
            "http" => return Err("must begin with https://"),
            _ => return Err("must be a URL such as https://shop.example/hooks"),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("must not hold a user or a password; what is sent is signed instead");
        }
        if url.fragment().is_some() {
            return Err("must not have a part after #");
        }
        if url.port() == Some(0) {
            return Err("must not have port 0");
        }
        let open = match url.host() {
            Some(Host::Ipv4(ip)) => reach.allows(ip.into()),
            Some(Host::Ipv6(ip)) => reach.allows(ip.into()),
            Some(Host::Domain(name)) => reach.private || !is_local(name),
            None => return Err("must name a host"),
        };
        if open { Ok(Self(url)) } else { Err("must not lead to a private, loopback or link-local address") }
    }

    /// What a store kept, checked when it came in. None when it is no URL at all.
    pub(crate) fn stored(text: &str) -> Option<Self> {
        Url::parse(text).ok().map(Self)
    }

    /// As it is written.
    pub(crate) fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

/// Names that stand for this machine or its own network only (RFC 6761, RFC 6762, RFC 8375; ICANN keeps `internal` for that).
fn is_local(name: &str) -> bool {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    let last = name.rsplit('.').next().unwrap_or_default();
    matches!(last, "localhost" | "local" | "internal") || name.ends_with(".home.arpa")
}

/// Whether `ip` is one that anybody on the internet could reach: not private, loopback, link-local, shared, reserved,
/// multicast or unspecified (the IANA special-purpose registries, RFC 6890). An IPv4 address inside an IPv6 one counts
/// as itself.
fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => is_public_v6(ip),
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    let special = match a {
        // This network, private, loopback; multicast, reserved, broadcast.
        0 | 10 | 127 | 224..=255 => true,
        // Shared between a provider and its customers.
        100 => (64..=127).contains(&b),
        // Link-local.
        169 => b == 254,
        // Private.
        172 => (16..=31).contains(&b),
        // Private; protocol assignments, documentation; the old 6to4 relays.
        192 => b == 168 || (b == 0 && (c == 0 || c == 2)) || (b == 88 && c == 99),
        // Benchmarks; documentation.
        198 => b == 18 || b == 19 || (b == 51 && c == 100),
        // Documentation.
        203 => b == 0 && c == 113,
        _ => false,
    };
    !special
}

fn is_public_v6(ip: Ipv6Addr) -> bool {
    let inner = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        is_public_v4(Ipv4Addr::new(a, b, c, d))
    };
    match ip.segments() {
        // Mapped, translated (RFC 6052) and 6to4 addresses lead to the IPv4 address inside.
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => {
            inner(high, low)
        }
        // Protocol assignments with Teredo, documentation.
        [0x2001, 0..=0x1ff | 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => false,
        // Only this block is given out to the world.
        [first, ..] => (0x2000..=0x3fff).contains(&first),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_the_open_internet_are_public() {
        for ip in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "127.255.255.254",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.51.100.7",
            "203.0.113.9",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::7f00:1",
            "64:ff9b::a00:1",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "2002:a9fe:a9fe::",
            "3fff::1",
            "fc00::1",
            "fd12:3456::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!is_public(ip.parse().expect("an address")), "{ip}");
        }
        for ip in [
            "1.1.1.1",
            "100.128.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "2600::1",
            "2a00:1450::1",
            "::ffff:1.1.1.1",
            "64:ff9b::808:808",
            "2002:808:808::1",
        ] {
            assert!(is_public(ip.parse().expect("an address")), "{ip}");
        }
    }

    #[test]
    fn urls_that_lead_inside_are_refused_however_they_are_written() {
        for url in [
            "https://127.0.0.1/",
            "https://127.1/",
            "https://2130706433/",
            "https://0x7f.1/",
            "https://0177.0.0.1/",
            "https://[::1]/",
            "https://[::ffff:10.0.0.1]/",
            "https://localhost/",
            "https://LOCALHOST./",
            "https://a.localhost/",
            "https://printer.local/",
            "https://metadata.google.internal/",
            "https://169.254.169.254/latest/meta-data",
            "https://nas.home.arpa/",
        ] {
            assert!(HookUrl::parse(url, Reach::default()).is_err(), "{url}");
            assert!(HookUrl::parse(url, Reach { private: true, plain: false }).is_ok(), "{url}");
        }
    }

    #[test]
    fn what_is_no_place_for_a_webhook_is_refused_with_what_to_change() {
        let all = Reach { private: true, plain: true };
        for url in [
            "",
            "https://a.example/a b",
            "https://a.example/\nb",
            "shop",
            "ftp://a.example/",
            "https://",
            "https://u:p@a.example/",
            "https://a.example/#x",
            "file:///etc/passwd",
            "https://a.example:0/",
        ] {
            assert!(HookUrl::parse(url, all).is_err(), "{url}");
        }
        assert_eq!(HookUrl::parse("http://a.example/", Reach::default()), Err("must begin with https://"));
        assert!(HookUrl::parse("http://a.example/", all).is_ok());
        let long = format!("https://a.example/{}", "x".repeat(2048));
        assert!(HookUrl::parse(&long, all).is_err());
    }
}
