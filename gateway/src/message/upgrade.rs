//! `Upgrade` (RFC 9110, section 7.8): when a client's wish for another protocol is passed on, and when a backend's 101 is
//! an answer to it.
//!
//! Both sides must have one reading of where HTTP ends. So a wish goes on in one form only: HTTP/1.1, no body, one
//! protocol, named by `Connection`. Any other is ignored, which a server may always do: the request goes on without it.
//!
//! Over HTTP/2 a client asks for a WebSocket by an extended CONNECT (RFC 8441). Backends are asked as over HTTP/1.1, which is what
//! such a request is [translated](translate) into.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{self, HeaderName, HeaderValue};
use http::{Method, StatusCode, Version};
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use shop_http1::Edit;
use shop_http1::fields::{Fields, has_word};
use shop_http1::{request_head, response_head};

/// The protocol that the request asks for and that may be passed on; `has_body` when it has a body.
pub(crate) fn asked(request: &request_head::Parts, has_body: bool) -> Option<HeaderValue> {
    let protocol = request.headers.value(&header::UPGRADE)?;
    let is_alone = request.headers.values(&header::UPGRADE).nth(1).is_none();
    let is_plain = request.version == Version::HTTP_11 && !has_body && is_alone;
    let is_wish = is_plain && names_upgrade(&request.headers) && is_passed(protocol);
    is_wish.then(|| HeaderValue::from_bytes(protocol).ok())?
}

/// The one protocol that may be asked for over HTTP/2.
pub(crate) const WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");

static SEC_WEBSOCKET_KEY: HeaderName = header::SEC_WEBSOCKET_KEY;
static SEC_WEBSOCKET_ACCEPT: HeaderName = header::SEC_WEBSOCKET_ACCEPT;

/// What a key is hashed with (RFC 6455, section 1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Turns an extended CONNECT for a WebSocket into the request that HTTP/1.1 has for it, with a key of our own: clients have none.
/// No client can write `Upgrade` over HTTP/2 (RFC 9113, section 8.2.2), so that this one is known by it.
pub(crate) fn translate(request: &mut http::request::Parts) {
    request.method = Method::GET;
    request.headers.insert(header::UPGRADE, WEBSOCKET);
    let key = STANDARD.encode(uuid::Uuid::new_v4().as_bytes());
    if let Ok(key) = HeaderValue::try_from(key) {
        request.headers.insert(SEC_WEBSOCKET_KEY.clone(), key);
    }
}

/// Whether the request is one that was [translated](translate).
pub(crate) fn is_translated(request: &request_head::Parts) -> bool {
    request.version == Version::HTTP_2 && request.headers.has(&header::UPGRADE)
}

/// Turns the head of a 101 into the answer to an extended CONNECT, if it proves that its sender has read the key in `sent`.
pub(crate) fn translate_back(response: &mut response_head::Parts, sent: &impl Fields) -> bool {
    let key = sent.value(&SEC_WEBSOCKET_KEY).unwrap_or_default();
    let proof = STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, &[key, GUID].concat()));
    let is_proven = response.headers.value(&SEC_WEBSOCKET_ACCEPT) == Some(proof.as_bytes());
    response.status = StatusCode::OK;
    for name in [&header::CONNECTION, &header::UPGRADE, &SEC_WEBSOCKET_ACCEPT] {
        response.headers.remove_all(name);
    }
    is_proven
}

/// Whether `response` switches to the protocol that was asked for.
pub(crate) fn agrees(response: &response_head::Parts, asked: Option<&HeaderValue>) -> bool {
    let is_asked = |chosen: &[u8]| asked.is_some_and(|asked| asked.as_bytes().eq_ignore_ascii_case(chosen));
    response.status == StatusCode::SWITCHING_PROTOCOLS
        && response.version == Version::HTTP_11
        && response.headers.values(&header::UPGRADE).nth(1).is_none()
        && response.headers.value(&header::UPGRADE).is_some_and(is_asked)
}

/// Writes what makes a message one that switches to `protocol`.
pub(crate) fn write(headers: &mut impl Edit, protocol: &HeaderValue) {
    headers.set(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.set(header::UPGRADE, protocol.clone());
}

fn names_upgrade(headers: &impl Fields) -> bool {
    headers.values(&header::CONNECTION).any(|line| has_word(line, "upgrade"))
}

/// One protocol, perhaps with a version, that is not HTTP itself: over `h2c` a client could speak to the backend past every
/// rule of the gateway.
fn is_passed(protocol: &[u8]) -> bool {
    let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~/".contains(byte);
    let name = protocol.split(|byte| *byte == b'/').next().unwrap_or_default();
    let is_http = name.eq_ignore_ascii_case(b"http") || name.len() >= 2 && name[..2].eq_ignore_ascii_case(b"h2");
    !name.is_empty() && protocol.iter().all(is_token) && !is_http
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(version: Version, pairs: &[(&'static str, &'static str)]) -> request_head::Parts {
        let (mut parts, ()) = http::Request::new(()).into_parts();
        parts.version = version;
        for (name, value) in pairs {
            parts.headers.append(*name, HeaderValue::from_static(value));
        }
        parts.into()
    }

    #[test]
    fn a_wish_goes_on_only_when_it_has_one_reading() {
        let wish: &[_] = &[("connection", "keep-alive, Upgrade"), ("upgrade", "websocket")];
        assert_eq!(asked(&request(Version::HTTP_11, wish), false).expect("passed"), "websocket");
        assert_eq!(asked(&request(Version::HTTP_11, wish), true), None, "a body");
        for version in [Version::HTTP_10, Version::HTTP_2] {
            assert_eq!(asked(&request(version, wish), false), None, "{version:?}");
        }
        for ignored in [
            &[("upgrade", "websocket")][..],
            &[("connection", "upgrade")],
            &[("connection", "upgraded"), ("upgrade", "websocket")],
            &[("connection", "upgrade"), ("upgrade", "websocket"), ("upgrade", "chat")],
            &[("connection", "upgrade"), ("upgrade", "websocket, h2c")],
            &[("connection", "upgrade, http2-settings"), ("upgrade", "h2c")],
            &[("connection", "upgrade"), ("upgrade", "H2C")],
            &[("connection", "upgrade"), ("upgrade", "h2")],
            &[("connection", "upgrade"), ("upgrade", "HTTP/2.0")],
            &[("connection", "upgrade"), ("upgrade", "")],
            &[("connection", "upgrade"), ("upgrade", "web socket")],
        ] {
            assert_eq!(asked(&request(Version::HTTP_11, ignored), false), None, "{ignored:?}");
        }
    }

    #[test]
    fn only_the_protocol_asked_for_is_an_answer() {
        let answer = |status: u16, version: Version, lines: &[&'static str]| {
            let mut response = http::Response::new(());
            *response.status_mut() = StatusCode::from_u16(status).expect("a status");
            *response.version_mut() = version;
            for line in lines {
                response.headers_mut().append(header::UPGRADE, HeaderValue::from_static(line));
            }
            response_head::Response::from(response).head
        };
        let websocket = HeaderValue::from_static("websocket");
        for (status, version, lines, expected) in [
            (101, Version::HTTP_11, &["WebSocket"][..], true),
            (101, Version::HTTP_11, &[], false),
            (101, Version::HTTP_11, &["chat"], false),
            (101, Version::HTTP_11, &["websocket", "websocket"], false),
            (101, Version::HTTP_10, &["websocket"], false),
            (200, Version::HTTP_11, &["websocket"], false),
        ] {
            let response = answer(status, version, lines);
            assert_eq!(agrees(&response, Some(&websocket)), expected, "{status} {version:?} {lines:?}");
            assert!(!agrees(&response, None), "{status} {version:?} {lines:?}");
        }
    }
}
