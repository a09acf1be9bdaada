//! Who may call the admin API: who shows its token, and operators; without a token set, this machine itself and nobody through
//! it, on the listener of operators.

use std::borrow::Cow;
use std::net::IpAddr;
use std::time::Duration;

use http::request::Parts;
use http::uri::Authority;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use ring::digest::{SHA256, digest};
use shop_browser::{Csrf, settings};
use shop_http1::fields::Fields;
use shop_identity::{Authenticator, Identity, Refusal as Bad, Role, bearer};
use shop_limit::Attempts;
use subtle::ConstantTimeEq;

use crate::message::client::{Audience, Client, X_FORWARDED_FOR};
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
/// not stopped, who guesses a short one gets nowhere, and the audit is not filled. The right one is let in meanwhile.
const AT_ONCE: u32 = 10;
const EACH: Duration = Duration::from_secs(6);

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
    /// Whose listener it came in by.
    pub(crate) audience: Audience,
}

/// Counts the wrong tokens that callers of the admin API show.
pub(crate) fn attempts() -> Attempts {
    Attempts::new(AT_ONCE, EACH)
}

/// Decides who may call, in one generation.
pub(crate) struct Guard {
    /// SHA-256 of the token: comparing hashes tells nothing of the length, either.
    token: Option<[u8; 32]>,
    /// So short that it is found by trying: then even the right one waits with the wrong ones.
    is_guessable: bool,
    identity: Identity,
    csrf: Option<Csrf>,
}

/// What lets a caller in.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Pass {
    /// No token is set, and the caller is on this machine.
    Here,
    /// The token, by its hash.
    Token([u8; 32]),
    /// The token of an operator, and who that is.
    Operator(String, String),
}

/// Who calls, as the audit names them.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) peer: IpAddr,
    pub(crate) client: IpAddr,
    /// The beginning of the token's hash.
    pub(crate) token: Option<String>,
    /// Which operator it is.
    pub(crate) principal: Option<String>,
    pub(crate) request_id: String,
}

impl Guard {
    /// The guard that `settings` ask for.
    pub(crate) fn new(settings: &crate::settings::Admin, identity: &Identity) -> Self {
        let token = Some(settings.token.expose()).filter(|token| !token.is_empty());
        // Whatever the settings for services say, nobody but our own pages may send changes here.
        let own_pages_only = settings::Csrf { enabled: true, trusted_origins: Vec::new() };
        Self {
            token: token.map(|token| hash(token.as_bytes())),
            is_guessable: settings.has_short_token(),
            identity: identity.clone(),
            csrf: Csrf::new(&own_pages_only),
        }
    }

    /// Whether who came in with this would be let in now.
    pub(crate) fn holds(&self, pass: &Pass) -> bool {
        match pass {
            Pass::Here => self.token.is_none(),
            Pass::Token(hash) => self.token.as_ref() == Some(hash),
            Pass::Operator(token, _) => self
                .identity
                .authenticator()
                .and_then(|authenticator| authenticator.known(token))
                .is_some_and(|principal| principal.roles.has(Role::Operator)),
        }
    }

    /// Refuses what another site's page made a browser ask, reads included: for answers that cost something while they last.
    pub(crate) fn own_pages_only(&self, asked: &Asked<'_>) -> Result<(), Refusal> {
        let headers = &asked.head.headers;
        self.csrf.as_ref().map_or(Ok(()), |csrf| {
            refusal::own_pages_only(csrf.judge(&Method::POST, headers, asked.host.as_bytes(), None))
        })
    }

    /// Lets the caller in, or says why not.
    pub(crate) async fn admit(&self, asked: &Asked<'_>, attempts: &Attempts) -> Result<(Caller, Pass), Refusal> {
        let headers = &asked.head.headers;
        let pass = self.pass(asked, attempts).await?;
        if let Some(csrf) = &self.csrf {
            refusal::own_pages_only(csrf.judge(&asked.head.method, headers, asked.host.as_bytes(), None))?;
        }
        let (token, principal) = match &pass {
            Pass::Here => (None, None),
            Pass::Token([a, b, c, d, ..]) => (Some(format!("{:08x}", u32::from_be_bytes([*a, *b, *c, *d]))), None),
            Pass::Operator(_, name) => (None, Some(name.clone())),
        };
        let request_id = asked.request_id.to_str().unwrap_or_default().to_owned();
        Ok((Caller { peer: asked.peer, client: asked.client.address, token, principal, request_id }, pass))
    }

    async fn pass(&self, asked: &Asked<'_>, attempts: &Attempts) -> Result<Pass, Refusal> {
        let (headers, address) = (&asked.head.headers, asked.client.address);
        let authenticator = self.identity.authenticator();
        let is_anonymous = authenticator.is_none() || !headers.contains_key(header::AUTHORIZATION);
        if self.token.is_none() && is_anonymous {
            let detail = match local(headers, asked.host, asked.peer) {
                // What a proxy on this machine hands on without a word looks the same.
                Ok(()) if asked.audience != Audience::Operators => {
                    "without a token this is answered on the listener of operators only (admin.port)".to_owned()
                }
                Ok(()) => return Ok(Pass::Here),
                Err(detail) => format!("{detail}; set admin.token (ADMIN_TOKEN) to let others in, too"),
            };
            return Err(match authenticator {
                None => Refusal::new(Reason::AdminForbidden, detail),
                Some(_) => unauthorized(detail, "Bearer realm=\"admin\""),
            });
        }
        if self.is_guessable {
            slow_down(attempts, address)?;
        }
        let Some(given) = shown(headers) else {
            return Err(unauthorized("show the admin token as Authorization: Bearer", "Bearer realm=\"admin\""));
        };
        let given = hash(given);
        if self.token.is_some_and(|token| bool::from(given.ct_eq(&token))) {
            return Ok(Pass::Token(given));
        }
        let refusal = match authenticator {
            Some(authenticator) => match operator(authenticator, headers).await {
                Err(refusal) if refusal.reason == Reason::AdminUnauthorized => refusal,
                found => return found,
            },
            None => wrong(),
        };
        // Only now: whoever shares an address with the operator could lock him out otherwise.
        slow_down(attempts, address)?;
        attempts.note(address);
        Err(refusal)
    }
}

/// Refuses an address that showed too many wrong tokens.
fn slow_down(attempts: &Attempts, address: IpAddr) -> Result<(), Refusal> {
    let wait = attempts.wait(address);
    wait.map_or(Ok(()), |wait| Err(Refusal::new(Reason::RateLimited, "too many wrong tokens; wait").retry_after(wait)))
}

/// What is behind `Bearer`, if there is one.
fn shown(headers: &HeaderMap) -> Option<&[u8]> {
    let mut shown = headers.get_all(header::AUTHORIZATION).iter();
    let (first, second) = (shown.next(), shown.next());
    let (scheme, token) = first.filter(|_| second.is_none())?.as_bytes().split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

/// Lets in whose token says operator.
async fn operator(authenticator: &Authenticator, headers: &HeaderMap) -> Result<Pass, Refusal> {
    let found = async {
        let token = bearer(headers)?.ok_or(Bad::Missing)?;
        let principal = match authenticator.known(token) {
            Some(principal) => principal,
            None => authenticator.check(token).await?,
        };
        Ok((token, principal))
    };
    // Boxed: other requests shall not carry the room for it.
    match Box::pin(found).await {
        Ok((token, principal)) if principal.roles.has(Role::Operator) => {
            Ok(Pass::Operator(token.to_owned(), principal.to_string()))
        }
        Ok(_) => Err(Refusal::new(Reason::AdminForbidden, "the token is good, but its bearer is no operator")),
        Err(unavailable @ Bad::Unavailable(_)) => Err(unavailable.into()),
        Err(_) => Err(wrong()),
    }
}

fn wrong() -> Refusal {
    unauthorized("the admin token is not this one", "Bearer realm=\"admin\", error=\"invalid_token\"")
}

fn unauthorized(detail: impl Into<Cow<'static, str>>, challenge: &'static str) -> Refusal {
    let challenge = HeaderValue::from_static(challenge);
    Refusal::new(Reason::AdminUnauthorized, detail).header(header::WWW_AUTHENTICATE, challenge)
}

/// Whether the connection itself comes from this machine, on nobody else's behalf; else why not. A browser here that was talked
/// into another name for us (DNS rebinding) names that in `Host`.
fn local(headers: &impl Fields, host: &HeaderValue, peer: IpAddr) -> Result<(), &'static str> {
    if !peer.to_canonical().is_loopback() {
        return Err("this answers callers on this machine only");
    }
    if FORWARDED.iter().any(|name| headers.has(name)) {
        return Err("the request came through a proxy");
    }
    if !names_us(host) {
        return Err("the request names another host than localhost or a loopback address");
    }
    Ok(())
}

/// Whether the caller is on this machine, and speaks for himself.
pub(crate) fn is_local(headers: &impl Fields, host: &HeaderValue, peer: IpAddr) -> bool {
    local(headers, host, peer).is_ok()
}

/// Refuses whoever is not on this machine.
pub(crate) fn local_only(asked: &Asked<'_>) -> Result<(), Refusal> {
    if asked.audience == Audience::Relayed {
        return Err(Refusal::new(Reason::LocalOnly, "the connection came through a proxy"));
    }
    local(&asked.head.headers, asked.host, asked.peer).map_err(|detail| Refusal::new(Reason::LocalOnly, detail))
}

fn names_us(host: &HeaderValue) -> bool {
    let Ok(host) = Authority::try_from(host.as_bytes()) else { return false };
    let name = host.host().trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
}

fn hash(text: &[u8]) -> [u8; 32] {
    let digest = digest(&SHA256, text);
    std::array::from_fn(|place| digest.as_ref().get(place).copied().unwrap_or_default())
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

    /// Whether a guard whose token is `s3cret` lets in who sends this.
    fn admitted(pairs: Pairs) -> bool {
        let settings = crate::settings::Admin { token: "s3cret".into(), ..Default::default() };
        let identity = crate::state::open_identity(&shop_identity::IdentitySettings::off()).expect("opens");
        let mut request = http::Request::new(());
        *request.headers_mut() = headers(pairs);
        let (head, ()) = request.into_parts();
        let peer = IpAddr::from([9, 9, 9, 9]);
        let asked = Asked {
            head: &head,
            path: "/admin/status",
            host: &HeaderValue::from_static("gw.test"),
            peer,
            client: Client { address: peer, through_proxy: false },
            request_id: &HeaderValue::from_static("r"),
            audience: Audience::Operators,
        };
        let guard = Guard::new(&settings, &identity);
        let admitted = futures_util::FutureExt::now_or_never(guard.admit(&asked, &attempts()));
        admitted.expect("nobody is asked").is_ok()
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
            let admitted = admitted(pairs);
            assert_eq!(admitted, opens, "{pairs:?}");
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
            let admitted = local(&headers(pairs), &HeaderValue::from_static(host), peer);
            assert_eq!(admitted.is_ok(), opens, "{peer} {host} {pairs:?}");
        }
    }
}
