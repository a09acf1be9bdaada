//! Who may call the admin API: who shows the token; without a token set, this machine itself and nobody through it.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use http::request::Parts;
use http::uri::Authority;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use parking_lot::Mutex;
use ring::digest::{SHA256, digest};
use shop_browser::{Csrf, settings};
use subtle::ConstantTimeEq;

use crate::message::client::{Client, X_FORWARDED_FOR};
use crate::message::reason::Reason;
use crate::message::refusal::{self, Refusal};

/// What proxies write into requests that they hand on.
const FORWARDED: [HeaderName; 7] = [
    X_FORWARDED_FOR,
    HeaderName::from_static("x-forwarded-host"),
    HeaderName::from_static("x-forwarded-proto"),
    HeaderName::from_static("x-forwarded-port"),
    header::FORWARDED,
    header::VIA,
    HeaderName::from_static("x-real-ip"),
];
/// Wrong tokens an address may show at once, and how long it takes until it may show one more: a person who mistypes is
/// not stopped, who guesses gets nowhere.
const AT_ONCE: u32 = 10;
const EACH: Duration = Duration::from_secs(6);
/// Addresses remembered; beyond, all new ones count as one.
const MOST_ADDRESSES: usize = 4096;

/// A request to the admin API.
pub(crate) struct Asked<'a> {
    pub(crate) head: &'a Parts,
    /// In its normal form.
    pub(crate) path: &'a str,
    /// As the client named us.
    pub(crate) host: &'a HeaderValue,
    /// Who is at the other end of the connection.
    pub(crate) peer: IpAddr,
    pub(crate) client: Client,
    pub(crate) request_id: &'a HeaderValue,
}

/// Decides who may call, in one generation.
pub(crate) struct Guard {
    /// SHA-256 of the token: comparing hashes tells nothing of the length, either.
    token: Option<[u8; 32]>,
    csrf: Option<Csrf>,
}

/// Who calls, as the audit names them.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) peer: IpAddr,
    pub(crate) client: IpAddr,
    /// The beginning of the token's hash.
    pub(crate) token: Option<String>,
    pub(crate) request_id: String,
}

impl Guard {
    /// The guard that `settings` ask for.
    pub(crate) fn new(settings: &crate::settings::Admin) -> Self {
        let token = Some(settings.token.expose()).filter(|token| !token.is_empty());
        // Whatever the settings for services say, nobody but our own pages may send changes here.
        let own_pages_only = settings::Csrf { enabled: true, trusted_origins: Vec::new() };
        Self { token: token.map(|token| hash(token.as_bytes())), csrf: Csrf::new(&own_pages_only) }
    }

    /// What tells whom it lets in: guards with the same key let in the same.
    pub(crate) fn key(&self) -> Option<[u8; 32]> {
        self.token
    }

    /// Refuses what another site's page made a browser ask, reads included: for answers that cost something while they last.
    pub(crate) fn own_pages_only(&self, asked: &Asked<'_>) -> Result<(), Refusal> {
        let headers = &asked.head.headers;
        self.csrf
            .as_ref()
            .map_or(Ok(()), |csrf| refusal::own_pages_only(csrf.judge(&Method::POST, headers, asked.host, None)))
    }

    /// Lets the caller in, or says why not.
    pub(crate) fn admit(&self, asked: &Asked<'_>, failures: &Failures) -> Result<Caller, Refusal> {
        let headers = &asked.head.headers;
        let token = if let Some(token) = &self.token {
            Some(admit_token(token, headers, asked.client.address, failures)?)
        } else {
            admit_local(headers, asked.host, asked.peer)?;
            None
        };
        if let Some(csrf) = &self.csrf {
            refusal::own_pages_only(csrf.judge(&asked.head.method, headers, asked.host, None))?;
        }
        Ok(Caller {
            peer: asked.peer,
            client: asked.client.address,
            token,
            request_id: asked.request_id.to_str().unwrap_or_default().to_owned(),
        })
    }
}

/// The token's fingerprint, if the right one is shown.
fn admit_token(token: &[u8; 32], headers: &HeaderMap, address: IpAddr, failures: &Failures) -> Result<String, Refusal> {
    let now = Instant::now();
    if let Some(wait) = failures.blocked(address, now) {
        return Err(Refusal::new(Reason::RateLimited, "too many wrong tokens; wait").retry_after(wait));
    }
    let mut shown = headers.get_all(header::AUTHORIZATION).iter();
    let (first, second) = (shown.next(), shown.next());
    let Some(given) = first.filter(|_| second.is_none()).and_then(bearer) else {
        return Err(unauthorized("show the admin token as Authorization: Bearer", "Bearer realm=\"admin\""));
    };
    let given = hash(given);
    if !bool::from(given.ct_eq(token)) {
        failures.note(address, now);
        let challenge = "Bearer realm=\"admin\", error=\"invalid_token\"";
        return Err(unauthorized("the admin token is not this one", challenge));
    }
    let [a, b, c, d, ..] = given;
    Ok(format!("{:08x}", u32::from_be_bytes([a, b, c, d])))
}

fn unauthorized(detail: &'static str, challenge: &'static str) -> Refusal {
    let challenge = HeaderValue::from_static(challenge);
    Refusal::new(Reason::AdminUnauthorized, detail).header(header::WWW_AUTHENTICATE, challenge)
}

/// Without a token the connection itself must come from this machine, on nobody else's behalf. A browser here that was
/// talked into another name for us (DNS rebinding) names that in `Host`.
fn admit_local(headers: &HeaderMap, host: &HeaderValue, peer: IpAddr) -> Result<(), Refusal> {
    let refused = |detail: &'static str| Err(Refusal::new(Reason::AdminForbidden, detail));
    if !peer.to_canonical().is_loopback() {
        return refused("without admin.token (ADMIN_TOKEN) set, the admin API answers callers on this machine only");
    }
    if FORWARDED.iter().any(|name| headers.contains_key(name)) {
        return refused("the request came through a proxy; set admin.token (ADMIN_TOKEN) to allow that");
    }
    if !is_local(host) {
        return refused("call the admin API as localhost or by a loopback address, or set admin.token (ADMIN_TOKEN)");
    }
    Ok(())
}

fn is_local(host: &HeaderValue) -> bool {
    let Ok(host) = Authority::try_from(host.as_bytes()) else { return false };
    let name = host.host().trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
}

/// What is behind `Bearer`.
fn bearer(value: &HeaderValue) -> Option<&[u8]> {
    let (scheme, token) = value.as_bytes().split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

fn hash(text: &[u8]) -> [u8; 32] {
    let digest = digest(&SHA256, text);
    std::array::from_fn(|place| digest.as_ref().get(place).copied().unwrap_or_default())
}

/// Wrong tokens by address, for the life of the process.
#[derive(Default)]
pub(crate) struct Failures(Mutex<Failed>);

/// When all wrong tokens will be forgiven.
#[derive(Default)]
struct Failed {
    by_address: HashMap<IpAddr, Instant>,
    /// To those who came when there was no room for another address: they share what one may do.
    others: Option<Instant>,
}

impl Failures {
    /// How long `address` has to wait before it may try again.
    fn blocked(&self, address: IpAddr, now: Instant) -> Option<Duration> {
        let failed = self.0.lock();
        let others = || failed.others.filter(|_| failed.by_address.len() >= MOST_ADDRESSES);
        let forgiven = failed.by_address.get(&key(address)).copied().or_else(others)?;
        let left = forgiven.saturating_duration_since(now);
        left.checked_sub(EACH * (AT_ONCE - 1)).filter(|wait| !wait.is_zero())
    }

    /// `address` showed a wrong token.
    fn note(&self, address: IpAddr, now: Instant) {
        let Failed { by_address, others } = &mut *self.0.lock();
        if by_address.len() >= MOST_ADDRESSES {
            by_address.retain(|_, forgiven| *forgiven > now);
        }
        let is_full = by_address.len() >= MOST_ADDRESSES && !by_address.contains_key(&key(address));
        let forgiven = if is_full { others.get_or_insert(now) } else { by_address.entry(key(address)).or_insert(now) };
        *forgiven = (*forgiven).max(now) + EACH;
    }
}

/// One household or server usually holds a whole IPv6 /64.
fn key(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Pairs = &'static [(&'static str, &'static str)];

    fn headers(pairs: Pairs) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn only_the_token_itself_opens() {
        let table: [(Pairs, bool); 9] = [
            (&[("authorization", "Bearer s3cret")], true),
            (&[("authorization", "bearer  s3cret ")], true),
            (&[], false),
            (&[("authorization", "s3cret")], false),
            (&[("authorization", "Basic s3cret")], false),
            (&[("authorization", "Bearer s3cre")], false),
            (&[("authorization", "Bearer s3crets")], false),
            (&[("authorization", "Bearer ")], false),
            (&[("authorization", "Bearer s3cret"), ("authorization", "Bearer s3cret")], false),
        ];
        for (pairs, opens) in table {
            let admitted =
                admit_token(&hash(b"s3cret"), &headers(pairs), IpAddr::from([9, 9, 9, 9]), &Failures::default());
            assert_eq!(admitted.is_ok(), opens, "{pairs:?}");
        }
    }

    #[test]
    fn without_a_token_only_this_machine_itself_is_let_in() {
        let table: [(&str, &'static str, Pairs, bool); 15] = [
            ("127.0.0.1", "localhost:8083", &[], true),
            ("127.0.0.2", "127.0.0.1:8083", &[], true),
            ("::1", "[::1]:8083", &[], true),
            ("::ffff:127.0.0.1", "LOCALHOST", &[], true),
            ("10.0.0.1", "localhost", &[], false),
            ("::ffff:10.0.0.1", "localhost", &[], false),
            ("127.0.0.1", "localhost", &[("x-forwarded-for", "127.0.0.1")], false),
            ("127.0.0.1", "localhost", &[("forwarded", "for=127.0.0.1")], false),
            ("127.0.0.1", "localhost", &[("via", "1.1 nginx")], false),
            ("127.0.0.1", "localhost", &[("x-forwarded-host", "shop.example")], false),
            ("127.0.0.1", "localhost", &[("x-forwarded-proto", "https")], false),
            ("127.0.0.1", "localhost", &[("x-forwarded-port", "443")], false),
            ("127.0.0.1", "rebound.example", &[], false),
            ("127.0.0.1", "localhost.evil.example", &[], false),
            ("127.0.0.1", "10.0.0.1", &[], false),
        ];
        for (peer, host, pairs, opens) in table {
            let peer = peer.parse().expect("an address");
            let admitted = admit_local(&headers(pairs), &HeaderValue::from_static(host), peer);
            assert_eq!(admitted.is_ok(), opens, "{peer} {host} {pairs:?}");
        }
    }

    #[test]
    fn who_guesses_is_slowed_down_and_nobody_else() {
        let (failures, now) = (Failures::default(), Instant::now());
        let (guesser, other) = (IpAddr::from([1, 1, 1, 1]), IpAddr::from([2, 2, 2, 2]));
        for _ in 0..AT_ONCE {
            assert_eq!(failures.blocked(guesser, now), None);
            failures.note(guesser, now);
        }
        assert_eq!(failures.blocked(guesser, now), Some(EACH));
        assert_eq!(failures.blocked(other, now), None);
        assert_eq!(failures.blocked(guesser, now + EACH), None);
        failures.note(guesser, now + EACH);
        assert!(failures.blocked(guesser, now + EACH).is_some());
    }

    #[test]
    fn many_addresses_do_not_fill_the_memory() {
        let (failures, now) = (Failures::default(), Instant::now());
        for number in 0..20_000_u32 {
            failures.note(IpAddr::from(number.to_be_bytes()), now);
        }
        assert_eq!(failures.0.lock().by_address.len(), MOST_ADDRESSES);
        let (early, late) = (IpAddr::from([0, 0, 0, 1]), IpAddr::from([9, 9, 9, 9]));
        assert_eq!(failures.blocked(early, now), None, "it showed one");
        assert!(failures.blocked(late, now).is_some(), "all that came late share what one may do");
        // When the others are forgiven there is room again.
        let later = now + EACH;
        failures.note(late, later);
        assert_eq!(failures.0.lock().by_address.len(), 1);
        assert_eq!(failures.blocked(late, later), None);
    }
}
