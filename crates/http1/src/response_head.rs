//! Heads of responses, as a backend sends them.

use std::mem::MaybeUninit;

use bytes::{Bytes, BytesMut};
use http::header;
use http::{Method, StatusCode, Version, response};
use httparse::{Header, Status};

use crate::decoder::Decoder;
use crate::fields::{self, Fields as _, MOST_HEADERS};
use crate::{Headers, Invalid, Lines};

/// Largest head of an answer; twice what clients may send, since services set cookies and links.
pub const LARGEST_HEAD: usize = 64 * 1024;

/// An answer without its body.
#[derive(Debug)]
pub struct Parts {
    /// What came of the request.
    pub status: StatusCode,
    /// How the message is written.
    pub version: Version,
    /// What the status line says for people, if it is not the usual for its status.
    pub reason: Option<ReasonPhrase>,
    /// What else is said.
    pub headers: Headers,
}

impl Parts {
    /// The same with a map of headers.
    pub fn into_http(self) -> response::Parts {
        let (mut parts, ()) = http::Response::new(()).into_parts();
        parts.status = self.status;
        parts.version = self.version;
        parts.headers = self.headers.into_map();
        parts
    }
}

impl From<response::Parts> for Parts {
    fn from(response::Parts { status, version, headers, .. }: response::Parts) -> Self {
        Self { status, version, reason: None, headers: headers.into() }
    }
}

/// An answer.
#[derive(Debug)]
pub struct Response<B> {
    /// All but the body.
    pub head: Parts,
    /// Its body.
    pub body: B,
}

impl<B> Response<B> {
    /// The same with another body.
    pub fn map<C>(self, body: impl FnOnce(B) -> C) -> Response<C> {
        Response { head: self.head, body: body(self.body) }
    }

    /// The same with a map of headers.
    pub fn into_http(self) -> http::Response<B> {
        http::Response::from_parts(self.head.into_http(), self.body)
    }
}

impl<B> From<http::Response<B>> for Response<B> {
    fn from(response: http::Response<B>) -> Self {
        let (head, body) = response.into_parts();
        Self { head: head.into(), body }
    }
}

/// The head of an answer.
#[derive(Debug)]
pub struct Head {
    /// All but the body.
    pub parts: Parts,
    /// Whether the connection may serve another call after this answer.
    pub keeps: bool,
    /// What came along behind it.
    pub rest: Bytes,
}

/// What a status line says for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReasonPhrase(Bytes);

impl ReasonPhrase {
    /// As it came, without a line break.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Reads what comes of a head.
#[derive(Debug, Default)]
pub struct Reader {
    /// Looked at in vain.
    held: BytesMut,
}

impl Reader {
    /// The head that ends in `bytes`; none when some of it is still to come.
    pub fn read(&mut self, bytes: Bytes) -> Result<Option<Head>, Invalid> {
        if self.held.is_empty() {
            let head = parse(&bytes)?;
            if head.is_none() {
                self.held = bytes.into();
            }
            return if self.held.len() < LARGEST_HEAD { Ok(head) } else { Err(TOO_LARGE) };
        }
        let seen = self.held.len();
        self.held.extend_from_slice(&bytes);
        // One that comes byte by byte is parsed at its begin, where nonsense shows, and at its end.
        if may_end(&self.held, seen) {
            let all = self.held.split().freeze();
            let head = parse(&all)?;
            if head.is_some() {
                return Ok(head);
            }
            self.held = all.into();
        }
        if self.held.len() >= LARGEST_HEAD { Err(TOO_LARGE) } else { Ok(None) }
    }
}

const TOO_LARGE: Invalid = Invalid("the head of the answer is too large");

/// Whether an empty line is among what came after `seen`.
fn may_end(bytes: &[u8], seen: usize) -> bool {
    let fresh = &bytes[seen.saturating_sub(3)..];
    memchr::memchr_iter(b'\n', fresh).any(|place| matches!(&fresh[place + 1..], [b'\n', ..] | [b'\r', b'\n', ..]))
}

/// The head that `bytes` begin with.
fn parse(bytes: &Bytes) -> Result<Option<Head>, Invalid> {
    let mut room = [const { MaybeUninit::<Header<'_>>::uninit() }; MOST_HEADERS];
    let mut response = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    let length = match config.parse_response_with_uninit_headers(&mut response, bytes, &mut room) {
        Ok(Status::Complete(length)) if length > LARGEST_HEAD => return Err(TOO_LARGE),
        Ok(Status::Complete(length)) => length,
        Ok(Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(Invalid("the head of the answer has too many lines")),
        Err(_) => return Err(Invalid("the head of the answer is not HTTP/1.1")),
    };
    let status = response.code.and_then(|code| StatusCode::from_u16(code).ok());
    let status = status.ok_or(Invalid("the status of the answer is not one"))?;
    let reason = response.reason.filter(|reason| status.canonical_reason() != Some(reason));
    let version = if response.version == Some(1) { Version::HTTP_11 } else { Version::HTTP_10 };
    // A copy, or whoever keeps it would hold all of the head.
    let reason = reason.map(|reason| ReasonPhrase(Bytes::copy_from_slice(reason.as_bytes())));
    let parts = Parts { status, version, reason, headers: Headers::Lines(Lines::read(response.headers)?) };
    let keeps = keeps(&parts);
    Ok(Some(Head { parts, keeps, rest: bytes.slice(length..) }))
}

/// Whether a connection is kept after this answer (RFC 9112, section 9.3).
fn keeps(head: &Parts) -> bool {
    let connection = header::CONNECTION;
    if !head.headers.has(&connection) {
        return head.version == Version::HTTP_11;
    }
    let names = |word| head.headers.values(&connection).any(|line| fields::has_word(line, word));
    !names("close") && (head.version == Version::HTTP_11 || names("keep-alive"))
}

/// How the body of the answer to a `method` ends (RFC 9112, section 6.3). Of several equal lengths
/// it takes one.
pub fn body(head: &Parts, method: &Method) -> Result<Decoder, Invalid> {
    let status = head.status;
    let is_bare = status.is_informational() || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    if is_bare || *method == Method::HEAD {
        return Ok(Decoder::Done);
    }
    if let Some(coding) = head.headers.values(&header::TRANSFER_ENCODING).last() {
        if head.version == Version::HTTP_10 {
            return Err(Invalid("the answer has a transfer coding in HTTP/1.0"));
        }
        let last = coding.rsplit(|byte| *byte == b',').next().unwrap_or_default();
        let is_chunked = last.trim_ascii().eq_ignore_ascii_case(b"chunked");
        return Ok(if is_chunked { Decoder::chunked() } else { Decoder::Close });
    }
    if !head.headers.has(&header::CONTENT_LENGTH) {
        return Ok(Decoder::Close);
    }
    fields::length(&head.headers).map(Decoder::length).ok_or(Invalid("the length of the answer is not one number"))
}
