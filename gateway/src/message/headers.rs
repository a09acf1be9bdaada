//! Header hygiene: what belongs to one connection stays on it, and what the gateway vouches for is written by it alone.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::{LazyLock, OnceLock};

use bytes::{Bytes, BytesMut};
use http::header::{self, HeaderName};
use http::uri::{Authority, Scheme};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Version};
use shop_http1::Edit;
use shop_http1::fields::{self, Fields, MOST_HEADERS, Names, has_word};
use shop_http1::request_head::Parts;
use shop_http1::{Headers, Lines};

use crate::message::client::{Client, ProxyHeader, X_FORWARDED_FOR, is_claim};
use crate::message::outcome::FAULT_SCOPE;
use crate::message::reason::Reason;
use crate::message::refusal::{Refusal, X_GATEWAY_REASON};
use crate::message::upgrade;

static X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
pub(crate) static X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
static X_FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");

/// Headers of one connection (RFC 9110, section 7.6.1), also when `Connection` does not name them. `Trailer` is not
/// among them: the gateway hands trailers on.
static HOP_BY_HOP: LazyLock<Names> = LazyLock::new(|| {
    Names::new(vec![
        header::CONNECTION,
        KEEP_ALIVE,
        PROXY_CONNECTION,
        header::TE,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
        HTTP2_SETTINGS,
        header::PROXY_AUTHORIZATION,
    ])
});

/// Methods that services may be asked by.
pub(crate) const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");

/// Longest host: a name of 253 characters, a dot at its end, a colon and a port. Backends get it three times.
const LONGEST_HOST: usize = 260;

/// What the client named as host, checked: the request target's authority, else `Host`.
///
/// HTTP/1.1 demands exactly one `Host` (RFC 9112, section 3.2); two would let a backend see another host than we do. If it is
/// the one `known` already, nothing is copied.
pub(crate) fn host(request: &Parts, known: Option<&HeaderValue>) -> Result<HeaderValue, Refusal> {
    let bad = |detail: &'static str| Refusal::new(Reason::BadRequest, detail);
    let name = header::HOST;
    let mut hosts = request.headers.values(&name);
    let host = match (hosts.next(), hosts.next()) {
        (_, Some(_)) => return Err(bad("the request has more than one Host header")),
        (host, None) => host,
    };
    let is_long = |host: &[u8]| host.len() > LONGEST_HOST;
    if host.is_some_and(is_long) || request.uri.authority().is_some_and(|host| is_long(host.as_str().as_bytes())) {
        return Err(bad("the host is longer than a name can be"));
    }
    if let Some(authority) = request.uri.authority() {
        if host.is_some_and(|host| !host.eq_ignore_ascii_case(authority.as_str().as_bytes())) {
            return Err(bad("the request target and the Host header disagree"));
        }
        if authority.as_str().contains('@') {
            return Err(bad("the request target names a user"));
        }
        if host.is_none() && request.version < Version::HTTP_2 && request.version != Version::HTTP_10 {
            return Err(bad("the request has no Host header"));
        }
        if request.uri.scheme().is_some_and(|scheme| *scheme != Scheme::HTTP && *scheme != Scheme::HTTPS) {
            return Err(bad("the request target is of another protocol"));
        }
        return HeaderValue::from_str(authority.as_str()).map_err(|_| bad("the request target's host is not valid"));
    }
    match host {
        Some(host) if is_authority(host) => match known.filter(|known| known.as_bytes() == host) {
            Some(known) => Ok(known.clone()),
            None => HeaderValue::from_bytes(host).map_err(|_| bad("the Host header is not a host")),
        },
        Some(_) => Err(bad("the Host header is not a host")),
        // It need not say one, and must not be taken for somebody who said the name of this machine.
        None if request.version == Version::HTTP_10 => Ok(HeaderValue::from_static("unknown.invalid")),
        None => Err(bad("the request has no Host header")),
    }
}

/// Whether the header `name` was written by a proxy that is believed, which writes those that are `trusted`: in what it leaves
/// alone, its own client speaks.
fn is_vouched(name: &HeaderName, client: Client, trusted: &[ProxyHeader]) -> bool {
    is_vouched_name(name.as_str().as_bytes(), client, trusted)
}

fn is_vouched_name(name: &[u8], client: Client, trusted: &[ProxyHeader]) -> bool {
    let is = |header: &HeaderName| header.as_str().as_bytes() == name;
    client.through_proxy && (is(&X_FORWARDED_FOR) || trusted.iter().any(|header| is(header.name())))
}

/// The host that a browser asked for: a trusted proxy in between may call us by another name.
pub(crate) fn public_host<'a>(
    headers: &'a impl Fields,
    client: Client,
    trusted: &[ProxyHeader],
    host: &'a HeaderValue,
) -> &'a [u8] {
    let said = headers.value(&X_FORWARDED_HOST).filter(|_| is_vouched(&X_FORWARDED_HOST, client, trusted));
    said.unwrap_or(host.as_bytes())
}

/// Whether the client speaks TLS: what a trusted proxy in between says, in the right-most word, which that proxy wrote; else
/// whether the connection is `encrypted`.
pub(crate) fn is_secure(headers: &impl Fields, client: Client, trusted: &[ProxyHeader], encrypted: bool) -> bool {
    let proto = headers.values(&X_FORWARDED_PROTO).last();
    let proto = proto.filter(|_| is_vouched(&X_FORWARDED_PROTO, client, trusted));
    let last = proto.and_then(|proto| proto.rsplit(|byte| *byte == b',').next());
    last.map_or(encrypted, |proto| proto.trim_ascii().eq_ignore_ascii_case(b"https"))
}

/// A host and perhaps a port, and nothing that another parser could read otherwise.
fn is_authority(host: &[u8]) -> bool {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b':' | b'_');
    if !host.is_empty() && host.iter().all(plain) && host[0] != b':' {
        // The common case without a parser; at most one colon, and digits after it.
        let mut parts = host.split(|byte| *byte == b':');
        let (_, port, more) = (parts.next(), parts.next(), parts.next());
        return more.is_none() && port.is_none_or(|port| port.iter().all(u8::is_ascii_digit));
    }
    !host.contains(&b'@') && Authority::try_from(host).is_ok_and(|host| !host.host().is_empty())
}

/// Refuses what hyper lets through but a proxy must not forward.
pub(crate) fn check(request: &Parts) -> Result<(), Refusal> {
    if matches!(request.method, Method::CONNECT | Method::TRACE) {
        // hyper leaves `Connection` out over HTTP/2.
        return Err(Refusal::new(Reason::MethodRefused, format!("{} is not forwarded", request.method))
            .header(header::ALLOW, METHODS)
            .header(header::CONNECTION, HeaderValue::from_static("close")));
    }
    let headers = &request.headers;
    // HTTP/1.1 was counted as it was read. Over HTTP/2 a cookie may come in pieces, which backends get as one.
    if headers.len() > MOST_HEADERS
        && headers.len() - headers.values(&header::COOKIE).count().saturating_sub(1) > MOST_HEADERS
    {
        return Err(Refusal::new(Reason::HeadTooLarge, "the head has too many lines"));
    }
    if headers.values(&header::CONNECTION).flat_map(options).any(is_vouched_for) {
        return Err(Refusal::new(Reason::BadRequest, "Connection names a header that is not the connection's"));
    }
    match headers.value(&header::EXPECT) {
        Some(expect) if !expect.eq_ignore_ascii_case(b"100-continue") => {
            Err(Refusal::new(Reason::ExpectationFailed, "the only expectation understood is 100-continue"))
        }
        _ => Ok(()),
    }
}

/// The words of a `Connection`.
fn options(connection: &[u8]) -> impl Iterator<Item = &[u8]> {
    connection.split(|byte| *byte == b',').map(<[u8]>::trim_ascii)
}

/// Whether backends rely on the header of this name: dropped on a client's word, they would miss what a proxy before us
/// said, or where the request ends.
pub(crate) fn is_vouched_for(name: &[u8]) -> bool {
    let known = [b"host".as_slice(), b"content-length", b"via", b"x-request-id", b"traceparent"];
    is_claim(name) || known.iter().any(|known| name.eq_ignore_ascii_case(known))
}

/// Removes what clients may not say: only a trusted proxy knows it, and no proxy spells it with underscores.
fn remove_claims(headers: &mut impl Edit, client: Client, trusted: &[ProxyHeader], underscores: bool) {
    headers.remove_if(|name| {
        let is_spelt = name.contains(&b'_');
        let is_unvouched = || is_spelt || !is_vouched_name(name, client, trusted);
        name == FAULT_SCOPE.as_str().as_bytes() || (is_spelt && !underscores) || (is_claim(name) && is_unvouched())
    });
}

/// Removes the headers of one connection and those that `Connection` names. True when the sender takes trailers.
fn remove_hop_by_hop(headers: &mut impl Edit) -> bool {
    let takes_trailers = headers.values(&header::TE).any(|te| has_word(te, "trailers"));
    if headers.has(&header::CONNECTION) {
        let named: Vec<HeaderName> = headers
            .values(&header::CONNECTION)
            .flat_map(options)
            .filter_map(|name| HeaderName::from_bytes(name).ok())
            .collect();
        for name in &named {
            headers.remove_all(name);
        }
    }
    headers.remove_each(&HOP_BY_HOP);
    takes_trailers
}

/// What the gateway says about a request to the backend.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(crate) struct Onward<'a> {
    pub(crate) client: Client,
    /// What trusted proxies write beside `X-Forwarded-For`.
    pub(crate) trusted: &'a [ProxyHeader],
    pub(crate) peer: IpAddr,
    /// Whether the peer speaks TLS.
    pub(crate) encrypted: bool,
    pub(crate) host: &'a HeaderValue,
    /// What was cut off the path, such as `/api`.
    pub(crate) prefix: Option<&'a HeaderValue>,
    /// With a body of unknown length.
    pub(crate) is_unsized: bool,
    /// Names with underscores go on, as they always do in metadata of gRPC.
    pub(crate) underscores: bool,
    /// Over HTTP/2, where `Host` travels as `:authority`.
    pub(crate) http2: bool,
    /// The protocol to ask the backend for.
    pub(crate) upgrade: Option<&'a HeaderValue>,
    /// Where what is said of each request of its connection is kept, if it is one of HTTP/1.1.
    pub(crate) introduction: Option<&'a OnceLock<Introduction>>,
}

/// What backends are told of a connection with each of its requests, made once: nearly all of them are for one host.
#[derive(Debug)]
pub(crate) struct Introduction(Box<(HeaderValue, Option<HeaderValue>, Lines)>);

impl Introduction {
    fn of(onward: &Onward<'_>) -> Self {
        let mut lines = Lines::new();
        lines.add(header::HOST, onward.host.clone());
        forwarded(&mut lines, onward);
        lines.shrink();
        Self(Box::new((onward.host.clone(), onward.prefix.cloned(), lines)))
    }

    /// The host that it speaks of.
    pub(crate) fn host(&self) -> &HeaderValue {
        &self.0.0
    }

    /// The lines for `onward`, if there are some that fit.
    fn find<'a>(onward: &Onward<'a>) -> Option<&'a Lines> {
        // What a proxy said of its client is continued, and may be another thing each time.
        let place = onward.introduction.filter(|_| !onward.client.through_proxy && !onward.http2)?;
        let Self(known) = place.get_or_init(|| Self::of(onward));
        let (host, prefix, lines) = &**known;
        (host == onward.host && prefix.as_ref() == onward.prefix).then_some(lines)
    }
}

/// Turns a client's headers into those sent to the backend.
pub(crate) fn to_backend(headers: &mut impl Edit, onward: &Onward<'_>) {
    let takes_trailers = remove_hop_by_hop(headers);
    remove_claims(headers, onward.client, onward.trusted, onward.underscores || onward.http2);
    one_length(headers, onward.is_unsized);
    // The gateway itself answers `Expect: 100-continue`, when the backend asks for the body.
    headers.remove_all(&header::EXPECT);
    let introduction = Introduction::find(onward);
    if onward.http2 {
        headers.remove_all(&header::HOST);
        if takes_trailers {
            headers.set(header::TE, HeaderValue::from_static("trailers"));
        }
    } else {
        headers.remove_all(&header::HOST);
        if introduction.is_none() {
            headers.add(header::HOST, onward.host.clone());
        }
        if onward.is_unsized {
            // Said for us unless the method is GET: hyper would drop its body.
            headers.set(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        join_cookies(headers);
        if let Some(protocol) = onward.upgrade {
            upgrade::write(headers, protocol);
        } else if takes_trailers {
            headers.set(header::TE, HeaderValue::from_static("trailers"));
            headers.set(header::CONNECTION, HeaderValue::from_static("te"));
        }
    }
    match introduction {
        Some(lines) => headers.add_all(lines),
        None => forwarded(headers, onward),
    }
}

/// Leaves one length, or none. HTTP/2 clients may say the same twice or an empty one, as frames delimit anyway; beside the
/// coding of a body of unknown length it would be a second reading.
fn one_length(headers: &mut impl Edit, is_unsized: bool) {
    let Some(first) = headers.value(&header::CONTENT_LENGTH) else { return };
    let is_number = !first.is_empty() && first.iter().all(u8::is_ascii_digit);
    if is_unsized || !is_number {
        headers.remove_all(&header::CONTENT_LENGTH);
    } else {
        keep_one(headers, header::CONTENT_LENGTH);
    }
}

/// Leaves the first of several values.
fn keep_one(headers: &mut impl Edit, name: HeaderName) {
    let mut values = headers.values(&name);
    if let (Some(first), Some(_)) = (values.next(), values.next())
        && let Ok(first) = HeaderValue::from_bytes(first)
    {
        drop(values);
        headers.set(name, first);
    }
}

/// HTTP/2 clients may send one cookie per line; HTTP/1.1 wants one line (RFC 9113, section 8.2.3).
fn join_cookies(headers: &mut impl Edit) {
    if headers.values(&header::COOKIE).nth(1).is_none() {
        return;
    }
    let lines: Vec<_> = headers.values(&header::COOKIE).collect();
    if let Ok(joined) = HeaderValue::from_bytes(&lines.join(&b"; "[..])) {
        headers.set(header::COOKIE, joined);
    }
}

/// `X-Forwarded-*` and `Forwarded` (RFC 7239): begun anew, or continued when a trusted proxy began them.
fn forwarded(headers: &mut impl Edit, onward: &Onward<'_>) {
    let proto = if onward.encrypted { "https" } else { "http" };
    let (peer, element) = element(onward, proto);
    if onward.client.through_proxy {
        append(headers, &X_FORWARDED_FOR, &peer);
        if onward.client.address != onward.peer && !headers.has(&header::FORWARDED) {
            // The proxy told of its client in another way.
            set(headers, header::FORWARDED, node(onward.client.address).into());
        }
        append(headers, &header::FORWARDED, &element);
        if !headers.has(&X_FORWARDED_PROTO) {
            headers.add(X_FORWARDED_PROTO.clone(), HeaderValue::from_static(proto));
        }
        if !headers.has(&X_FORWARDED_HOST) {
            headers.add(X_FORWARDED_HOST.clone(), onward.host.clone());
        }
    } else {
        set(headers, X_FORWARDED_FOR.clone(), peer);
        set(headers, header::FORWARDED, element);
        headers.set(X_FORWARDED_PROTO.clone(), HeaderValue::from_static(proto));
        headers.set(X_FORWARDED_HOST.clone(), onward.host.clone());
    }
    match onward.prefix {
        Some(prefix) => headers.set(X_FORWARDED_PREFIX.clone(), prefix.clone()),
        None => headers.remove_all(&X_FORWARDED_PREFIX),
    }
    headers.add(header::VIA, HeaderValue::from_static("1.1 shop-gateway"));
}

/// `for=` with an address (RFC 7239, section 6).
fn node(address: IpAddr) -> String {
    match address {
        IpAddr::V4(v4) => format!("for={v4}"),
        IpAddr::V6(v6) => format!("for=\"[{v6}]\""),
    }
}

/// The peer's address, and what `Forwarded` says of it: one allocation for both.
fn element(onward: &Onward<'_>, proto: &str) -> (Bytes, Bytes) {
    let host = onward.host.to_str().unwrap_or_default();
    let mut text = BytesMut::with_capacity(80 + host.len());
    let (before, after) = match onward.peer.to_canonical() {
        IpAddr::V4(v4) => {
            // Writing to a buffer that grows cannot fail, here and below.
            let _ = write!(text, "for={v4}");
            ("for=", "")
        }
        IpAddr::V6(v6) => {
            let _ = write!(text, "for=\"[{v6}");
            ("for=\"[", "]\"")
        }
    };
    let peer = before.len()..text.len();
    for part in [after, ";host=\"", host, "\";proto=", proto] {
        text.extend_from_slice(part.as_bytes());
    }
    let element = text.freeze();
    (element.slice(peer), element)
}

fn set(headers: &mut impl Edit, name: HeaderName, value: Bytes) {
    match HeaderValue::from_maybe_shared(value) {
        Ok(value) => headers.set(name, value),
        Err(_) => headers.remove_all(&name),
    }
}

/// Adds to the end of a list header, all of it on one line: some readers look at the first line only.
fn append(headers: &mut impl Edit, name: &HeaderName, last: &[u8]) {
    let mut values: Vec<_> = headers.values(name).filter(|value| fields::text(value).is_some()).collect();
    values.push(last);
    let line = values.join(&b", "[..]);
    set(headers, name.clone(), line.into());
}

/// Turns a backend's headers into those sent to the client.
pub(crate) fn to_client(headers: &mut impl Edit) {
    remove_hop_by_hop(headers);
    overrule(headers);
}

/// Takes off an answer, or its trailers, what is between backends and gateway: only the gateway itself gives reasons.
pub(crate) fn overrule(headers: &mut impl Edit) {
    headers.remove_all(&X_GATEWAY_REASON);
    headers.remove_all(&FAULT_SCOPE);
}

/// Removes from trailers over HTTP/2 what they may not say over HTTP/1.1 either, see [`fields::announced`].
pub(crate) fn trim_trailers(trailers: &mut HeaderMap) {
    let is_refused = |name: &HeaderName| fields::belongs_to_head(name) || is_vouched_for(name.as_str().as_bytes());
    while let Some(name) = trailers.keys().find(|name| is_refused(name)).cloned() {
        trailers.remove(name);
    }
}

/// A head as HTTP/1.1 writes it, for what hyper does not write.
pub(crate) fn lines(status: StatusCode, headers: &Headers) -> Vec<u8> {
    let first = format!("HTTP/1.1 {} {}\r\n", status.as_str(), status.canonical_reason().unwrap_or_default());
    let mut lines = first.into_bytes();
    headers.write(&mut lines);
    lines.extend_from_slice(b"\r\n");
    lines
}

/// Refuses an answer whose length is said twice or in another coding, and leaves one length in the others. hyper takes
/// the coding, and the length would reach the client beside a body that it does not fit.
pub(crate) fn settle_length(headers: &mut impl Edit) -> Result<(), &'static str> {
    if let Some(coding) = headers.value(&header::TRANSFER_ENCODING) {
        let is_chunked = coding.eq_ignore_ascii_case(b"chunked");
        if !is_chunked || headers.values(&header::TRANSFER_ENCODING).nth(1).is_some() {
            return Err("the backend's transfer coding is not chunked");
        }
        if headers.has(&header::CONTENT_LENGTH) {
            return Err("the backend's answer has both Content-Length and Transfer-Encoding");
        }
    }
    if let Some(length) = headers.value(&header::CONTENT_LENGTH) {
        let is_number = !length.is_empty() && length.iter().all(u8::is_ascii_digit);
        if !is_number || headers.values(&header::CONTENT_LENGTH).any(|other| other != length) {
            return Err("the backend's Content-Length is not one number");
        }
        keep_one(headers, header::CONTENT_LENGTH);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    fn parts(uri: &str, pairs: &[(&'static str, &'static str)]) -> Parts {
        let (mut parts, ()) = http::Request::builder().uri(uri).body(()).expect("request").into_parts();
        parts.headers = headers(pairs);
        parts.into()
    }

    fn onward(host: &HeaderValue, peer: &str, through_proxy: bool, http2: bool) -> HeaderMap {
        let mut sent = headers(&[
            ("connection", "close, X-Secret"),
            ("connection", "te"),
            ("x-secret", "1"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("proxy-authorization", "Basic eDp5"),
            ("te", "gzip, Trailers"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("http2-settings", "AAMAAABk"),
            ("expect", "100-continue"),
            ("trailer", "x-sum"),
            ("x-forwarded-for", "6.6.6.6"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "shop.example"),
            ("x-forwarded-prefix", "/evil"),
            ("forwarded", "for=6.6.6.6"),
            ("cookie", "a=1"),
            ("cookie", "b=2"),
            ("x-kept", "yes"),
        ]);
        let peer = peer.parse().expect("peer");
        let client = Client { address: peer, through_proxy };
        let trusted = trusted(&["x-forwarded-proto", "x-forwarded-host", "forwarded"]);
        to_backend(
            &mut sent,
            &Onward {
                underscores: false,
                client,
                trusted: &trusted,
                peer,
                encrypted: false,
                host,
                prefix: Some(&HeaderValue::from_static("/api")),
                is_unsized: false,
                http2,
                upgrade: None,
                introduction: None,
            },
        );
        sent
    }

    fn trusted(names: &[&str]) -> Vec<ProxyHeader> {
        names.iter().map(|name| name.parse().expect("a header of proxies")).collect()
    }

    fn value<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
        let mut values = headers.get_all(name).iter();
        let value = values.next().map(|value| value.to_str().expect("text"));
        assert!(values.next().is_none(), "{name} is there twice");
        value
    }

    #[test]
    fn what_belongs_to_the_clients_connection_stays_there() {
        let host = HeaderValue::from_static("gw.example");
        let sent = onward(&host, "1.2.3.4", false, false);
        let table = [
            ("x-secret", None),
            ("keep-alive", None),
            ("proxy-connection", None),
            ("proxy-authorization", None),
            ("transfer-encoding", None),
            ("upgrade", None),
            ("http2-settings", None),
            ("expect", None),
            ("connection", Some("te")),
            ("te", Some("trailers")),
            ("trailer", Some("x-sum")),
            ("host", Some("gw.example")),
            ("cookie", Some("a=1; b=2")),
            ("x-forwarded-for", Some("1.2.3.4")),
            ("x-forwarded-proto", Some("http")),
            ("x-forwarded-host", Some("gw.example")),
            ("x-forwarded-prefix", Some("/api")),
            ("forwarded", Some("for=1.2.3.4;host=\"gw.example\";proto=http")),
            ("via", Some("1.1 shop-gateway")),
            ("x-kept", Some("yes")),
        ];
        for (name, expected) in table {
            assert_eq!(value(&sent, name), expected, "{name}");
        }
    }

    #[test]
    fn what_was_made_for_one_request_is_said_of_another_only_if_it_fits() {
        let introduction = OnceLock::new();
        let peer: IpAddr = "1.2.3.4".parse().expect("peer");
        let sent = |host: &'static str, prefix: Option<&'static str>, through_proxy, introduction| {
            let host = HeaderValue::from_static(host);
            let prefix = prefix.map(HeaderValue::from_static);
            let client = Client { address: peer, through_proxy };
            let mut sent = headers(&[("host", "said"), ("x-forwarded-for", "6.6.6.6"), ("via", "1.1 other")]);
            let onward = Onward {
                client,
                trusted: &[],
                peer,
                encrypted: true,
                host: &host,
                prefix: prefix.as_ref(),
                is_unsized: false,
                underscores: false,
                http2: false,
                upgrade: None,
                introduction,
            };
            to_backend(&mut sent, &onward);
            sent
        };
        for (host, prefix, through_proxy) in [
            ("a.example", Some("/api"), false),
            ("a.example", Some("/api"), false),
            ("b.example", Some("/api"), false),
            ("a.example", None, false),
            ("a.example", Some("/api"), true),
        ] {
            let (made, anew) =
                (sent(host, prefix, through_proxy, Some(&introduction)), sent(host, prefix, through_proxy, None));
            assert_eq!(made, anew, "{host} {prefix:?} {through_proxy}");
            assert_eq!(value(&made, "host"), Some(host));
        }
    }

    #[test]
    fn a_trusted_proxys_word_is_continued() {
        let host = HeaderValue::from_static("gw.example");
        let sent = onward(&host, "::1", true, false);
        let table = [
            ("x-forwarded-for", "6.6.6.6, ::1"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "shop.example"),
            ("forwarded", "for=6.6.6.6, for=\"[::1]\";host=\"gw.example\";proto=http"),
        ];
        for (name, expected) in table {
            assert_eq!(value(&sent, name), Some(expected), "{name}");
        }
    }

    #[test]
    fn a_body_has_one_length_or_none() {
        let table = [
            (&[][..], false, None),
            (&["3"][..], false, Some("3")),
            (&["3", "3"], false, Some("3")),
            (&[""], false, None),
            (&["0", ""], true, None),
            (&["", "0"], true, None),
            (&["3"], true, None),
        ];
        for (lengths, is_unsized, expected) in table {
            let pairs: Vec<_> = lengths.iter().map(|length| ("content-length", *length)).collect();
            let mut sent = headers(&pairs);
            one_length(&mut sent, is_unsized);
            assert_eq!(value(&sent, "content-length"), expected, "{lengths:?} {is_unsized}");
        }
    }

    #[test]
    fn only_a_trusted_proxy_says_what_the_browser_sees() {
        let client = |through_proxy| Client { address: IpAddr::from([1, 2, 3, 4]), through_proxy };
        let all = trusted(&["x-forwarded-proto", "x-forwarded-host"]);
        let table = [
            (&[][..], false),
            (&[("x-forwarded-proto", "https")], true),
            (&[("x-forwarded-proto", "HTTPS")], true),
            (&[("x-forwarded-proto", "http, https")], true),
            (&[("x-forwarded-proto", "https, http")], false),
            (&[("x-forwarded-proto", "https"), ("x-forwarded-proto", "http")], false),
            (&[("x-forwarded-proto", "httpsx")], false),
        ];
        for (pairs, expected) in table {
            for encrypted in [false, true] {
                let believed = is_secure(&headers(pairs), client(true), &all, encrypted);
                assert_eq!(believed, if pairs.is_empty() { encrypted } else { expected }, "{pairs:?}");
                assert_eq!(is_secure(&headers(pairs), client(false), &all, encrypted), encrypted, "{pairs:?}");
                assert_eq!(is_secure(&headers(pairs), client(true), &[], encrypted), encrypted, "{pairs:?}");
            }
        }
        let (host, sent) = (HeaderValue::from_static("gw"), headers(&[("x-forwarded-host", "shop.example")]));
        assert_eq!(public_host(&sent, client(true), &all, &host), b"shop.example");
        assert_eq!(public_host(&sent, client(false), &all, &host), b"gw");
        assert_eq!(public_host(&sent, client(true), &[], &host), b"gw");
        assert_eq!(public_host(&HeaderMap::new(), client(true), &all, &host), b"gw");
    }

    #[test]
    fn over_http2_te_trailers_is_kept_and_nothing_names_the_connection() {
        let host = HeaderValue::from_static("gw.example");
        let sent = onward(&host, "1.2.3.4", false, true);
        assert_eq!(value(&sent, "te"), Some("trailers"));
        assert_eq!((value(&sent, "connection"), value(&sent, "host")), (None, None));
    }

    #[test]
    fn a_backends_connection_headers_and_reasons_do_not_reach_the_client() {
        let mut answer = headers(&[
            ("connection", "x-internal"),
            ("x-internal", "1"),
            ("keep-alive", "timeout=5"),
            ("x-gateway-reason", "no_route"),
            ("trailer", "x-sum"),
            ("etag", "\"1\""),
        ]);
        to_client(&mut answer);
        let mut names: Vec<_> = answer.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["etag", "trailer"]);
    }

    #[test]
    fn a_host_is_no_longer_than_a_name_can_be() {
        let long = format!("{}:65535", "a".repeat(LONGEST_HOST - 6));
        for (host, fits) in [(long.clone(), true), (format!("a{long}"), false)] {
            let mut request = parts("/", &[]);
            request.headers.set(header::HOST, HeaderValue::try_from(&host).expect("a value"));
            assert_eq!(super::host(&request, None).is_ok(), fits, "{host}");
            let absolute = parts(&format!("http://{host}/"), &[]);
            let mut absolute = absolute;
            absolute.headers.set(header::HOST, HeaderValue::try_from(&host).expect("a value"));
            assert_eq!(super::host(&absolute, None).is_ok(), fits, "{host}");
        }
    }

    #[test]
    fn a_host_is_one_host_and_the_targets_own() {
        let good = [
            ("/", &[("host", "gw.example:8083")][..], "gw.example:8083"),
            ("/", &[("host", "[::1]:8083")], "[::1]:8083"),
            ("http://a.example/x", &[("host", "A.example")], "a.example"),
        ];
        for (uri, pairs, expected) in good {
            assert_eq!(host(&parts(uri, pairs), None).expect(uri), expected, "{uri} {pairs:?}");
        }
        let bad = [
            ("/", &[][..]),
            ("/", &[("host", "a"), ("host", "a")]),
            ("/", &[("host", "")]),
            ("/", &[("host", "a b")]),
            ("/", &[("host", "a/b")]),
            ("/", &[("host", "u@a")]),
            ("/", &[("host", "a:1:2")]),
            ("/", &[("host", "a:b")]),
            ("/", &[("host", ":80")]),
            ("http://a.example/x", &[("host", "b.example")]),
            ("http://u@a.example/x", &[("host", "u@a.example")]),
            ("http://a.example/x", &[]),
            ("ftp://a.example/x", &[("host", "a.example")]),
        ];
        for (uri, pairs) in bad {
            let refusal = host(&parts(uri, pairs), None).expect_err(uri);
            assert_eq!(refusal.reason, Reason::BadRequest, "{uri} {pairs:?}");
        }
    }

    #[test]
    fn connections_and_expectations_beyond_the_client_are_refused() {
        let table = [
            (&[("connection", "keep-alive, X-Mine")][..], None),
            (&[("connection", "close"), ("connection", "te , Host")], Some(Reason::BadRequest)),
            (&[("connection", "X-Forwarded-For")], Some(Reason::BadRequest)),
            (&[("expect", "100-Continue")], None),
            (&[("expect", "200-ok")], Some(Reason::ExpectationFailed)),
        ];
        for (pairs, expected) in table {
            assert_eq!(check(&parts("/", pairs)).err().map(|refusal| refusal.reason), expected, "{pairs:?}");
        }
    }

    #[test]
    fn a_claim_is_known_in_every_spelling() {
        for name in ["x-real-ip", "X_Real_IP", "x-forwarded-port", "x_forwarded-server", "x-forwarded", "forwarded"]
            .into_iter()
            .chain([
                "X-Original-URL",
                "x-envoy-internal",
                "true-client-ip",
                "CF-Connecting-IP",
                "client-cert",
                "x-ssl-cert",
            ])
        {
            assert!(is_claim(name.as_bytes()), "{name}");
        }
        for name in ["", "x", "x-", "x-request-id", "x-real-ips", "x-forward", "x-forwarded-", "x-envoy-", "cookie"]
            .into_iter()
            .chain(["content-type", "cache-control", "from", "te", "trailer", "x-api-key", "forwarded-x", "host"])
        {
            assert!(!is_claim(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn claims_are_a_trusted_proxys_own_and_in_one_spelling() {
        let sent = || headers(&[("x-real-ip", "1"), ("x_real_ip", "2"), ("x-fault-scope", "request"), ("x-kept", "3")]);
        let believed = trusted(&["X-Real-IP"]);
        let address = IpAddr::from([1, 2, 3, 4]);
        for (through_proxy, trusted, left) in [
            (false, &believed[..], &["x-kept"][..]),
            (true, &believed, &["x-real-ip", "x-kept"]),
            (true, &[], &["x-kept"]),
        ] {
            let mut headers = sent();
            remove_claims(&mut headers, Client { address, through_proxy }, trusted, true);
            assert_eq!(headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), left);
        }
    }

    #[test]
    fn more_lines_than_backends_take_are_too_many_but_a_cookie_is_one() {
        let with = |name: fn(usize) -> String, count: usize| {
            let (mut request, ()) = http::Request::get("http://gw.test/").body(()).expect("a request").into_parts();
            for number in 0..count {
                let name = HeaderName::try_from(name(number)).expect("a name");
                request.headers.append(name, HeaderValue::from_static("1"));
            }
            check(&request.into()).map_err(|refusal| refusal.reason)
        };
        assert_eq!(with(|number| format!("x-{number}"), MOST_HEADERS), Ok(()));
        assert_eq!(with(|number| format!("x-{number}"), MOST_HEADERS + 1), Err(Reason::HeadTooLarge));
        assert_eq!(with(|_| "cookie".to_owned(), 10 * MOST_HEADERS), Ok(()));
    }

    #[test]
    fn trailers_say_nothing_that_only_a_head_or_a_proxy_may() {
        let mut trailers = HeaderMap::new();
        for name in ["grpc-status", "x-sum", "authorization", "content-length", "x-forwarded-for", "x-request-id"] {
            trailers.append(HeaderName::from_static(name), HeaderValue::from_static("1"));
        }
        trim_trailers(&mut trailers);
        let left: Vec<_> = trailers.keys().map(HeaderName::as_str).collect();
        assert_eq!(left, ["grpc-status", "x-sum"]);
    }
}
