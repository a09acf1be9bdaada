//! Heads of requests: a client's is read, that to a backend written. A request that two readers could delimit differently is
//! refused here, because whoever stands before or behind may be the other reader.
//!
//! The rules are those of RFC 9112, without what it lets a recipient tolerate.

use std::mem::MaybeUninit;

use bytes::{Bytes, BytesMut};
use http::{Method, Request, Uri, Version, request};
use httparse::{Header, Status};

use crate::decoder::Decoder;
use crate::fields::{MOST_HEADERS, has_word, number};
use crate::{Headers, Lines};

/// Longest target that [`Uri`] takes.
const LONGEST_TARGET: usize = 65_534;

/// Why a client's bytes are not handed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What to answer.
    pub kind: FaultKind,
    /// For people.
    pub detail: &'static str,
    /// The path that was asked for, as far as it is known.
    pub path: String,
    /// Whether the client may be told: one that speaks something else could take the answer for something else.
    pub speaks_http: bool,
}

/// The three answers to a head that is not handed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// It is not valid, or not in one way: 400.
    Invalid,
    /// Too many bytes or lines: 431.
    HeadTooLarge,
    /// A target longer than any reader takes: 414.
    UriTooLong,
}

impl Fault {
    const fn new(kind: FaultKind, detail: &'static str) -> Self {
        Self { kind, detail, path: String::new(), speaks_http: true }
    }

    /// The same of a request for `target`.
    fn about(self, target: Option<&str>) -> Self {
        Self { path: target.map(path_of).unwrap_or_default(), ..self }
    }
}

const fn bad(detail: &'static str) -> Fault {
    Fault::new(FaultKind::Invalid, detail)
}

/// A request without its body.
#[derive(Debug)]
pub struct Parts {
    /// What is to be done.
    pub method: Method,
    /// With what.
    pub uri: Uri,
    /// How the message is written.
    pub version: Version,
    /// What else is said.
    pub headers: Headers,
}

impl Parts {
    /// The same with a map of headers.
    pub fn to_http(&self) -> request::Parts {
        let (mut parts, ()) = Request::new(()).into_parts();
        parts.method = self.method.clone();
        parts.uri = self.uri.clone();
        parts.version = self.version;
        parts.headers = self.headers.to_map();
        parts
    }
}

impl From<request::Parts> for Parts {
    fn from(request::Parts { method, uri, version, headers, .. }: request::Parts) -> Self {
        Self { method, uri, version, headers: headers.into() }
    }
}

/// The head of a request.
#[derive(Debug)]
pub struct Head {
    /// All but the body.
    pub parts: Parts,
    /// Where its body ends.
    pub body: Decoder,
    /// Whether the client would send another request over the connection (RFC 9112, section 9.3).
    pub keeps: bool,
    /// Whether the client waits for a 100 before it sends the body (RFC 9110, section 10.1.1).
    pub expects: bool,
    /// Whether it takes trailers (RFC 9110, section 10.1.4).
    pub takes_trailers: bool,
}

/// Writes the head of a request to a backend, whose target is a path.
pub fn write(head: &Parts, out: &mut Vec<u8>) {
    let target = head.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    for part in [head.method.as_str(), " ", target, " HTTP/1.1\r\n"] {
        out.extend_from_slice(part.as_bytes());
    }
    head.headers.write(out);
    out.extend_from_slice(b"\r\n");
}

/// Reads what comes of a head.
#[derive(Debug)]
pub struct Reader {
    /// Looked at in vain.
    held: BytesMut,
    seen: Seen,
    largest: usize,
}

/// What is known of an incomplete head, so that single bytes cost little.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    /// So much of it is whole lines.
    lines: usize,
    /// So much of it was parsed.
    parsed: usize,
}

impl Reader {
    /// Of heads up to `largest` bytes.
    pub fn new(largest: usize) -> Self {
        Self { held: BytesMut::new(), seen: Seen::default(), largest }
    }

    /// The head that ends in `bytes`, of which what follows it is left; none, and nothing left, while it is incomplete.
    pub fn read(&mut self, bytes: &mut Bytes) -> Result<Option<Head>, Fault> {
        if self.held.is_empty() {
            let Some(end) = self.find_end(bytes)? else {
                // A copy, or a slow client would hold all of the room that its first bytes were read into.
                self.held = BytesMut::from(&bytes[..]);
                *bytes = Bytes::new();
                return Ok(None);
            };
            return parse(&bytes.split_to(end)).map(Some);
        }
        let mut held = std::mem::take(&mut self.held);
        held.extend_from_slice(bytes);
        let Some(end) = self.find_end(&held)? else {
            self.held = held;
            *bytes = Bytes::new();
            return Ok(None);
        };
        *bytes = held.freeze();
        parse(&bytes.split_to(end)).map(Some)
    }

    /// Where the head in `bytes` ends, if all of it is there.
    fn find_end(&mut self, bytes: &[u8]) -> Result<Option<usize>, Fault> {
        let too_large = Fault::new(FaultKind::HeadTooLarge, "the head is larger than allowed");
        match end_of_head(bytes, self.seen.lines)? {
            Search::End(end) if end > self.largest => Err(too_large),
            Search::End(end) => {
                self.seen = Seen::default();
                Ok(Some(end))
            }
            Search::Lines(_) if bytes.len() >= self.largest => Err(too_large),
            Search::Lines(lines) => {
                // Nonsense is refused at the end of its line or when as much again has come, or a client that speaks
                // something else would wait.
                if lines > self.seen.lines || bytes.len() >= 2 * self.seen.parsed {
                    let mut room = [const { MaybeUninit::uninit() }; MOST_HEADERS];
                    lex(bytes, &mut room)?;
                    self.seen.parsed = bytes.len();
                }
                self.seen.lines = lines;
                Ok(None)
            }
        }
    }
}

/// What a search for the end of a head found.
enum Search {
    /// It ends there.
    End(usize),
    /// There are whole lines up to there, and the end is not.
    Lines(usize),
}

/// Looks for the empty line, from the begin of a line. Lines end with CRLF and nothing else.
fn end_of_head(bytes: &[u8], mut line: usize) -> Result<Search, Fault> {
    while let Some(place) = memchr::memchr(b'\n', &bytes[line..]) {
        let end = line + place;
        if end == 0 || bytes[end - 1] != b'\r' {
            return Err(bad("a line ends with a bare LF"));
        }
        let is_empty = place == 1;
        line = end + 1;
        // One empty line before a request is the tail of a sloppy client's last one (RFC 9112, section 2.2).
        if is_empty && end > 1 {
            return Ok(Search::End(line));
        }
    }
    Ok(Search::Lines(line))
}

/// The words of the head that `bytes` begin with, and its length; none while it is incomplete.
fn lex<'a, 'b>(
    bytes: &'a [u8],
    room: &'b mut [MaybeUninit<Header<'a>>],
) -> Result<Option<(usize, httparse::Request<'b, 'a>)>, Fault> {
    let mut request = httparse::Request::new(&mut []);
    match request.parse_with_uninit_headers(bytes, room) {
        Ok(Status::Complete(length)) => Ok(Some((length, request))),
        Ok(Status::Partial) => Ok(None),
        Err(error) => {
            let fault = fault_of(error).about(request.path);
            Err(Fault { speaks_http: !names_another_protocol(bytes), ..fault })
        }
    }
}

/// The head that `bytes` are; the target shares their memory.
fn parse(bytes: &Bytes) -> Result<Head, Fault> {
    let mut room = [const { MaybeUninit::uninit() }; MOST_HEADERS];
    let (length, request) = lex(bytes, &mut room)?.ok_or(bad("the head has no request line"))?;
    if length != bytes.len() {
        return Err(bad("the head ends in two places"));
    }
    let target = request.path;
    read(bytes, &request).map_err(|fault| fault.about(target))
}

/// The head that `request` is, whose words are in `bytes`.
fn read(bytes: &Bytes, request: &httparse::Request<'_, '_>) -> Result<Head, Fault> {
    let method = request.method.unwrap_or_default();
    let method = Method::from_bytes(method.as_bytes()).map_err(|_| bad("the method is not valid"))?;
    let uri = target(&bytes.slice_ref(request.path.unwrap_or_default().as_bytes()))?;
    let is_http_11 = request.version == Some(1);
    let version = if is_http_11 { Version::HTTP_11 } else { Version::HTTP_10 };
    let said = Said::of(request.headers)?;
    let body = said.body(is_http_11)?;
    let headers = Headers::Lines(Lines::read(request.headers).map_err(|invalid| bad(invalid.0))?);
    let parts = Parts { method, uri, version, headers };
    let Said { keeps, expects, takes_trailers, .. } = said;
    let keeps = keeps.unwrap_or(is_http_11);
    Ok(Head { parts, body, keeps, expects: expects && is_http_11, takes_trailers: takes_trailers && is_http_11 })
}

fn target(text: &Bytes) -> Result<Uri, Fault> {
    if text.len() > LONGEST_TARGET {
        return Err(Fault::new(FaultKind::UriTooLong, "the request target is too long"));
    }
    Uri::from_maybe_shared(text.clone()).map_err(|_| bad(culprit(text)))
}

/// What a target has that no target may have (RFC 3986, section 2). To encode it here and go on would be a second reading of a
/// line that somebody may have made on purpose (RFC 9112, section 3.2); browsers do it before they send.
fn culprit(target: &[u8]) -> &'static str {
    let query = memchr::memchr(b'?', target).unwrap_or(target.len());
    for (place, byte) in target.iter().enumerate() {
        match byte {
            b'<' => return "the request target has a bare <; send it as %3C",
            b'>' => return "the request target has a bare >; send it as %3E",
            b'"' if place > query => return "the query has a bare \"; send it as %22",
            b'`' if place < query => return "the path has a bare `; send it as %60",
            0x80.. if std::str::from_utf8(target).is_err() => {
                return "the request target has bytes that are not UTF-8; send them percent-encoded";
            }
            _ => {}
        }
    }
    "the request target is not valid"
}

/// The path of a target that may not be valid, fit to be shown.
fn path_of(target: &str) -> String {
    let (before, _) = target.split_at(target.find(['?', '#']).unwrap_or(target.len()));
    let path = match before.split_once("://") {
        Some((_, rest)) if !before.starts_with('/') => rest.find('/').map_or("/", |begin| &rest[begin..]),
        _ => before,
    };
    let mut shown = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'!'..=b'~' if !matches!(byte, b'"' | b'<' | b'>' | b'`' | b'\\' | b'^' | b'{' | b'|' | b'}') => {
                shown.push(char::from(byte));
            }
            _ => shown.extend(['%', hex(byte >> 4), hex(byte & 15)]),
        }
    }
    shown
}

fn hex(digit: u8) -> char {
    char::from_digit(u32::from(digit), 16).unwrap_or_default().to_ascii_uppercase()
}

/// What header lines say of the body and the connection.
#[derive(Default)]
struct Said {
    length: Option<u64>,
    is_chunked: bool,
    /// What `Connection` says of its end: to close weighs more.
    keeps: Option<bool>,
    expects: bool,
    takes_trailers: bool,
}

impl Said {
    fn of(headers: &[Header<'_>]) -> Result<Self, Fault> {
        let mut said = Self::default();
        for header in headers {
            // The length tells most lines apart.
            match header.name.len() {
                2 if header.name.eq_ignore_ascii_case("te") => {
                    said.takes_trailers |= has_word(header.value, "trailers");
                }
                6 if header.name.eq_ignore_ascii_case("expect") => {
                    said.expects |= has_word(header.value, "100-continue");
                }
                10 if header.name.eq_ignore_ascii_case("connection") => {
                    if has_word(header.value, "close") {
                        said.keeps = Some(false);
                    } else if has_word(header.value, "keep-alive") {
                        said.keeps.get_or_insert(true);
                    }
                }
                14 if header.name.eq_ignore_ascii_case("content-length") => {
                    let length = number(header.value).ok_or(bad("the Content-Length is not a number"))?;
                    if said.length.replace(length).is_some() {
                        return Err(bad("the request has more than one Content-Length"));
                    }
                }
                17 if header.name.eq_ignore_ascii_case("transfer-encoding") => {
                    if said.is_chunked || !header.value.eq_ignore_ascii_case(b"chunked") {
                        return Err(bad("the only transfer coding understood is chunked, once"));
                    }
                    said.is_chunked = true;
                }
                _ => {}
            }
        }
        Ok(said)
    }

    /// How the body is delimited: by a length, by chunks, or there is none.
    fn body(&self, is_http_11: bool) -> Result<Decoder, Fault> {
        match (self.length, self.is_chunked) {
            (Some(_), true) => Err(bad("the request has both Content-Length and Transfer-Encoding")),
            (None, true) if !is_http_11 => Err(bad("HTTP/1.0 has no Transfer-Encoding")),
            (None, true) => Ok(Decoder::strictly_chunked()),
            (length, false) => Ok(Decoder::length(length.unwrap_or(0))),
        }
    }
}

/// Whether the first line has three words and the last is no version of HTTP, as with RTSP, or with a broken preface of
/// HTTP/2, whose sender must see the connection end and nothing else (RFC 9113, section 3.4).
fn names_another_protocol(bytes: &[u8]) -> bool {
    let mut lines = bytes.split(|byte| matches!(byte, b'\r' | b'\n')).filter(|line| !line.is_empty());
    let third = lines.next().and_then(|line| line.splitn(3, |byte| *byte == b' ').nth(2));
    third.is_some_and(|third| !third.is_empty() && !third.to_ascii_lowercase().windows(5).any(|word| word == b"http/"))
}

fn fault_of(error: httparse::Error) -> Fault {
    match error {
        httparse::Error::TooManyHeaders => Fault::new(FaultKind::HeadTooLarge, "the head has too many lines"),
        httparse::Error::HeaderName => bad("a header's name is not valid, or its line is folded"),
        httparse::Error::HeaderValue => bad("a header's value has a control character"),
        httparse::Error::NewLine => bad("a line does not end with CRLF"),
        httparse::Error::Version => bad("the request line ends with no version that is known"),
        httparse::Error::Token | httparse::Error::Status => bad("the request line is not valid"),
    }
}
