//! `Upgrade` (RFC 9110, section 7.8): when a client's wish for another protocol is passed on, and when a backend's 101 is
//! an answer to it.
//!
//! Both sides must have one reading of where HTTP ends. So a wish goes on in one form only: HTTP/1.1, no body, one
//! protocol, named by `Connection`. Any other is ignored, which a server may always do: the request goes on without it.

use http::header::{self, HeaderValue};
use http::{StatusCode, Version};
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
