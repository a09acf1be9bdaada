//! Heads of responses, as a backend sends them.

use std::mem::MaybeUninit;

use bytes::{Bytes, BytesMut};
use http::header;
use http::{Method, Response, StatusCode, Version, response};
use httparse::{Header, Status};

use crate::Invalid;
use crate::decoder::Decoder;
use crate::fields::{self, MOST_HEADERS};

/// Largest head of an answer; twice what clients may send, since services set cookies and links.
pub const LARGEST_HEAD: usize = 64 * 1024;

/// So many lines an answer gets on its way: the request's id, two of the limiter, those for browsers. A map that grows step
/// by step is copied at each.
const MORE: usize = 9;

/// The head of an answer.
#[derive(Debug)]
pub struct Head {
    /// All but the body.
    pub parts: response::Parts,
    /// Whether the connection may serve another call after this answer.
    pub keeps: bool,
    /// What came along behind it.
    pub rest: Bytes,
}

/// What a status line says for people, among the extensions of a response; only if it is not the usual for its status.
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

/// The head that `bytes` begin with; its values share their memory.
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
    let (mut parts, ()) = Response::new(()).into_parts();
    parts.status = status;
    parts.version = if response.version == Some(1) { Version::HTTP_11 } else { Version::HTTP_10 };
    parts.headers = fields::read(bytes, response.headers, MORE)?;
    if let Some(reason) = reason {
        // A copy, or whoever keeps it would hold all of the head.
        parts.extensions.insert(ReasonPhrase(Bytes::copy_from_slice(reason.as_bytes())));
    }
    let keeps = keeps(&parts);
    Ok(Some(Head { parts, keeps, rest: bytes.slice(length..) }))
}

/// Whether a connection is kept after this answer (RFC 9112, section 9.3).
fn keeps(head: &response::Parts) -> bool {
    if !head.headers.contains_key(header::CONNECTION) {
        return head.version == Version::HTTP_11;
    }
    let names = |word| {
        let mut lines = head.headers.get_all(header::CONNECTION).iter();
        lines.any(|line| fields::has_word(line.as_bytes(), word))
    };
    !names("close") && (head.version == Version::HTTP_11 || names("keep-alive"))
}

/// How the body of the answer to a `method` ends (RFC 9112, section 6.3). Of several equal lengths
/// it takes one.
pub fn body(head: &response::Parts, method: &Method) -> Result<Decoder, Invalid> {
    let status = head.status;
    let is_bare = status.is_informational() || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    if is_bare || *method == Method::HEAD {
        return Ok(Decoder::Done);
    }
    if let Some(coding) = head.headers.get_all(header::TRANSFER_ENCODING).iter().next_back() {
        if head.version == Version::HTTP_10 {
            return Err(Invalid("the answer has a transfer coding in HTTP/1.0"));
        }
        let last = coding.as_bytes().rsplit(|byte| *byte == b',').next().unwrap_or_default();
        let is_chunked = last.trim_ascii().eq_ignore_ascii_case(b"chunked");
        return Ok(if is_chunked { Decoder::chunked() } else { Decoder::Close });
    }
    if !head.headers.contains_key(header::CONTENT_LENGTH) {
        return Ok(Decoder::Close);
    }
    fields::length(&head.headers).map(Decoder::length).ok_or(Invalid("the length of the answer is not one number"))
}
