//! gRPC-Web (github.com/grpc/grpc/blob/master/doc/PROTOCOL-WEB.md): gRPC for browsers, which can neither ask for HTTP/2 nor
//! read trailers. Messages are those of gRPC, as they are or as base64; what would be trailers is the last frame of the body.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Method, Response};
use shop_http1::fields::{self, Fields as _};
use shop_http1::{Edit as _, Headers, request_head, response_head};

use crate::upstream::body::Incoming;

/// Of the media types, after which comes `-text`, `+` or nothing.
const WEB: &str = "application/grpc-web";
const GRPC: &str = "application/grpc";
const TEXT: &str = "-text";
/// The flags of a frame with trailers.
const TRAILERS: u8 = 0x80;

/// What is said of the outcome. In the head of an answer without messages pages of other sites could not read it, unless it is
/// among the headers that they may.
static OUTCOME: [HeaderName; 3] = [
    HeaderName::from_static("grpc-status"),
    HeaderName::from_static("grpc-message"),
    HeaderName::from_static("grpc-status-details-bin"),
];

/// A call in this form.
#[derive(Debug, Clone, Copy)]
pub(super) struct Web {
    /// Its messages come as base64, and those of the answer are to.
    asks_in_text: bool,
    wants_text: bool,
}

/// What follows the name of `WEB` in a media type: whether it is text, and the rest, such as `+proto`.
fn media(kind: &str) -> Option<(bool, &str)> {
    let rest = kind.strip_prefix(WEB)?;
    let (is_text, rest) = rest.strip_prefix(TEXT).map_or((false, rest), |rest| (true, rest));
    matches!(rest.as_bytes().first(), None | Some(b'+' | b';')).then_some((is_text, rest))
}

impl Web {
    /// The form of `request`, if it is one of these.
    pub(super) fn of(request: &request_head::Parts) -> Option<Self> {
        let (asks_in_text, _) = media(request.headers.text(&header::CONTENT_TYPE)?)?;
        if request.method != Method::POST {
            return None;
        }
        let accept = header::ACCEPT;
        let mut wanted = request.headers.values(&accept).filter_map(fields::text).flat_map(|line| line.split(','));
        let wants_text = wanted.find_map(|kind| media(kind.trim())).map(|(is_text, _)| is_text);
        Some(Self { asks_in_text, wants_text: wants_text.unwrap_or(asks_in_text) })
    }

    /// Turns a request into one of gRPC.
    pub(super) fn enter(self, headers: &mut Headers, incoming: Incoming) -> Incoming {
        let kind = headers.text(&header::CONTENT_TYPE).and_then(media);
        let kind = kind.and_then(|(_, rest)| HeaderValue::try_from(format!("{GRPC}{rest}")).ok());
        headers.set(header::CONTENT_TYPE, kind.unwrap_or(HeaderValue::from_static(GRPC)));
        headers.remove_all(&header::ACCEPT);
        headers.set(header::TE, HeaderValue::from_static("trailers"));
        if self.asks_in_text { incoming.decoded() } else { incoming }
    }

    /// Turns the head of an answer into one of this form; what does so with its body. An answer that is none of gRPC's stays.
    pub(super) fn leave(self, head: &mut response_head::Parts) -> Option<Framer> {
        let headers = &mut head.headers;
        let kind = headers.text(&header::CONTENT_TYPE)?.strip_prefix(GRPC)?;
        let kind = HeaderValue::try_from(format!("{WEB}{}{kind}", if self.wants_text { TEXT } else { "" })).ok()?;
        headers.set(header::CONTENT_TYPE, kind);
        headers.remove_all(&header::CONTENT_LENGTH);
        headers.remove_all(&header::TRAILER);
        let mut outcome = HeaderMap::new();
        for name in &OUTCOME {
            if let Some(value) = headers.value(name).and_then(|value| HeaderValue::from_bytes(value).ok()) {
                outcome.insert(name.clone(), value);
                headers.remove_all(name);
            }
        }
        Some(Framer { is_text: self.wants_text, outcome, left: BytesMut::new() })
    }

    /// An answer of the gateway's own in this form.
    pub(super) fn own(self, response: Response<Bytes>) -> Response<Bytes> {
        let response_head::Response { mut head, body } = response_head::Response::from(response);
        let framer = self.leave(&mut head);
        let body = framer.map_or(body, |mut framer| framer.finish(None));
        Response::from_parts(head.into_http(), body)
    }
}

/// Writes the body of one answer.
pub(crate) struct Framer {
    is_text: bool,
    /// What the head said of it.
    outcome: HeaderMap,
    /// One or two bytes that are no four characters of base64 yet.
    left: BytesMut,
}

impl Framer {
    /// What there is after `piece`.
    pub(super) fn feed(&mut self, piece: Bytes) -> Bytes {
        if !self.is_text {
            return piece;
        }
        self.left.extend_from_slice(&piece);
        let whole = self.left.len() / 3 * 3;
        STANDARD.encode(self.left.split_to(whole)).into()
    }

    /// What waited for more; padding ends it.
    pub(super) fn flush(&mut self) -> Bytes {
        STANDARD.encode(self.left.split()).into()
    }

    /// The end, with the trailers as the last frame.
    pub(super) fn finish(&mut self, trailers: Option<HeaderMap>) -> Bytes {
        let mut outcome = std::mem::take(&mut self.outcome);
        outcome.extend(trailers.unwrap_or_default());
        let frame = if outcome.is_empty() { Bytes::new() } else { frame(&outcome) };
        if !self.is_text {
            return frame;
        }
        self.left.extend_from_slice(&frame);
        self.flush()
    }
}

/// The frame that says `trailers`.
fn frame(trailers: &HeaderMap) -> Bytes {
    let mut lines = Vec::new();
    fields::write(trailers, &mut lines);
    let mut frame = Vec::with_capacity(lines.len() + 5);
    frame.push(TRAILERS);
    frame.extend_from_slice(&u32::try_from(lines.len()).unwrap_or(u32::MAX).to_be_bytes());
    frame.extend_from_slice(&lines);
    frame.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_is_told_by_the_media_type() {
        for (kind, expected) in [
            ("application/grpc-web", Some((false, ""))),
            ("application/grpc-web+proto", Some((false, "+proto"))),
            ("application/grpc-web;charset=x", Some((false, ";charset=x"))),
            ("application/grpc-web-text", Some((true, ""))),
            ("application/grpc-web-text+proto", Some((true, "+proto"))),
            ("application/grpc", None),
            ("application/grpc-webs", None),
            ("application/grpc-web-texts", None),
            ("application/json", None),
        ] {
            assert_eq!(media(kind), expected, "{kind}");
        }
    }
}
