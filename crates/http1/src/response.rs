//! A response as a client gets it: its head, and how its body is delimited (RFC 9112, sections 6 and 9).

use std::cell::RefCell;
use std::time::SystemTime;

use bytes::Bytes;
use http::header;
use http::{StatusCode, Version};
use http_body::Body;
use shop_clock::{Clock as _, SystemClock};

use crate::Edit as _;
use crate::fields::{self, Fields as _};
use crate::outgoing::{Framing, Outgoing};
use crate::response_head::{Parts, ReasonPhrase, Response};

/// A body that can be left out.
pub trait Skip {
    /// The client is not sent it, which makes it whole: as to HEAD.
    fn skip(&mut self);
}

/// What matters of a request for its response.
#[derive(Debug, Clone, Copy)]
pub struct RequestInfo {
    /// What the client speaks.
    pub version: Version,
    /// Whether it asked for a head alone.
    pub is_head: bool,
    /// Whether it takes trailers.
    pub takes_trailers: bool,
    /// Whether the connection is kept, unless the response says otherwise.
    pub keeps: bool,
}

/// `response` on its way to the client, behind `before`; and whether the connection is kept after it. Trailers that are
/// `refused` stay behind.
pub fn outgoing<B>(
    before: &[u8],
    response: Response<B>,
    asked: RequestInfo,
    refused: impl Fn(&[u8]) -> bool,
) -> (Outgoing<B>, bool)
where
    B: Body<Data = Bytes> + Skip + Unpin,
{
    let Response { head: mut parts, mut body } = response;
    let is_http_11 = asked.version == Version::HTTP_11;
    let mut keeps = asked.keeps;
    if parts.status != StatusCode::SWITCHING_PROTOCOLS
        && let Some(connection) = parts.headers.value(&header::CONNECTION)
    {
        // Of whoever answers: a backend's goes no further than to its proxy.
        keeps &= !connection.eq_ignore_ascii_case(b"close");
        parts.headers.remove_all(&header::CONNECTION);
    }
    let has_no_length = parts.status.is_informational() || parts.status == StatusCode::NO_CONTENT;
    let has_no_body = has_no_length || asked.is_head || parts.status == StatusCode::NOT_MODIFIED;
    let size = body.size_hint().exact();
    if has_no_length {
        parts.headers.remove_all(&header::CONTENT_LENGTH);
    }
    let said = fields::length(&parts.headers);
    let framing = match said.or(size) {
        _ if has_no_body => Framing::Ended,
        Some(0) => Framing::Ended,
        Some(length) => Framing::Length(length),
        None if is_http_11 && asked.takes_trailers => Framing::Chunked(fields::announced(&parts.headers, refused)),
        None if is_http_11 => Framing::Chunked(Vec::new()),
        None => {
            keeps = false;
            Framing::Close
        }
    };
    // A head alone may say what its body would have, unless nobody knows.
    let unsaid = size.filter(|size| said.is_none() && (!has_no_body || asked.is_head && !has_no_length && *size > 0));
    if has_no_body {
        body.skip();
    }
    let is_chunked = matches!(framing, Framing::Chunked(_));
    if !matches!(&framing, Framing::Chunked(trailers) if !trailers.is_empty()) {
        parts.headers.remove_all(&header::TRAILER);
    }
    let outgoing = Outgoing::response(framing, body, |lines| {
        lines.extend_from_slice(before);
        begin(&parts, is_http_11, lines);
        parts.headers.write(lines);
        if let Some(length) = unsaid {
            lines.extend_from_slice(b"content-length: ");
            lines.extend_from_slice(itoa::Buffer::new().format(length).as_bytes());
            lines.extend_from_slice(b"\r\n");
        }
        if is_chunked {
            lines.extend_from_slice(b"transfer-encoding: chunked\r\n");
        }
        match (is_http_11, keeps) {
            _ if parts.status == StatusCode::SWITCHING_PROTOCOLS => {}
            (true, false) => lines.extend_from_slice(b"connection: close\r\n"),
            (false, true) => lines.extend_from_slice(b"connection: keep-alive\r\n"),
            _ => {}
        }
        if !parts.headers.has(&header::DATE) {
            write_date(lines);
        }
        lines.extend_from_slice(b"\r\n");
    });
    (outgoing, keeps)
}

/// The status line.
fn begin(parts: &Parts, is_http_11: bool, lines: &mut Vec<u8>) {
    lines.extend_from_slice(if is_http_11 { b"HTTP/1.1 " } else { b"HTTP/1.0 " });
    lines.extend_from_slice(parts.status.as_str().as_bytes());
    lines.push(b' ');
    let usual = || parts.status.canonical_reason().unwrap_or_default().as_bytes();
    lines.extend_from_slice(parts.reason.as_ref().map_or_else(usual, ReasonPhrase::as_bytes));
    lines.extend_from_slice(b"\r\n");
}

/// The line `Date`, which an origin with a clock sends (RFC 9110, section 6.6.1): made once a second.
fn write_date(lines: &mut Vec<u8>) {
    thread_local! {
        static LINE: RefCell<(i64, String)> = const { RefCell::new((0, String::new())) };
    }
    let now = SystemClock.now();
    let second = now.unix_timestamp();
    LINE.with_borrow_mut(|(made, line)| {
        if *made != second || line.is_empty() {
            *made = second;
            *line = format!("date: {}\r\n", httpdate::fmt_http_date(SystemTime::from(now)));
        }
        lines.extend_from_slice(line.as_bytes());
    });
}
