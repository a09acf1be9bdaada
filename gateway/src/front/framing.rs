//! Follows the framing of what an HTTP/1.1 client sends, before hyper sees it: a request that two readers could delimit
//! differently is refused here, because whoever stands before or behind the gateway may be the other reader.
//!
//! The rules are those of RFC 9112, without what it lets a recipient tolerate. A head that passes, hyper never refuses: so
//! every refusal has the gateway's words.

use std::mem::MaybeUninit;

use http::Uri;
use httparse::{Header, Request, Status};

use crate::reason::Reason;

/// Most header lines of one head; hyper's number.
const MOST_HEADERS: usize = 100;
/// Longest target that hyper takes.
const LONGEST_TARGET: usize = 65_534;

/// Why a client's bytes are not handed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) reason: Reason,
    /// For people.
    pub(crate) detail: &'static str,
    /// Whether the client may be told: one that speaks something else could take the answer for something else.
    pub(crate) speaks_http: bool,
}

impl Fault {
    const fn new(reason: Reason, detail: &'static str) -> Self {
        Self { reason, detail, speaks_http: true }
    }
}

const fn bad(detail: &'static str) -> Fault {
    Fault::new(Reason::BadRequest, detail)
}

/// Where in a client's bytes the gateway is.
#[derive(Debug)]
pub(crate) struct Framing {
    at: At,
    largest_head: usize,
    heads: u64,
}

#[derive(Debug, Clone, Copy)]
enum At {
    Head(Seen),
    /// In a body; so many bytes are due.
    Body(u64),
    Chunked(Chunk),
}

/// What is known of an incomplete head, so that single bytes cost little.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    /// So much of it is whole lines.
    lines: usize,
    /// So much of it was parsed.
    parsed: usize,
}

/// At the begin of a head.
const HEAD: At = At::Head(Seen { lines: 0, parsed: 0 });

/// Where in a chunked body. What is checked here is what delimits it; hyper reads the rest.
#[derive(Debug, Clone, Copy)]
enum Chunk {
    /// Before the first digit of a size.
    Begin,
    Size(u64),
    Extension(u64),
    SizeLf(u64),
    Data(u64),
    DataCr,
    DataLf,
    /// At the begin of a trailer line, or of the empty one at the end.
    Line,
    Trailer,
    TrailerLf,
    EndLf,
}

impl Framing {
    /// At the begin of a connection; heads over `largest_head` bytes are refused.
    pub(crate) fn new(largest_head: usize) -> Self {
        Self { at: HEAD, largest_head, heads: 0 }
    }

    /// How many heads were passed.
    pub(crate) fn heads(&self) -> u64 {
        self.heads
    }

    /// Whether the next byte belongs to a body.
    pub(crate) fn is_in_body(&self) -> bool {
        !matches!(self.at, At::Head(_))
    }

    /// Looks at what came and returns how much of it may be handed on. What remains without a fault is the begin of a
    /// head, and is to be shown again together with what follows.
    pub(crate) fn follow(&mut self, bytes: &[u8]) -> (usize, Option<Fault>) {
        let mut passed = 0;
        while passed < bytes.len() {
            let rest = &bytes[passed..];
            let step = match self.at {
                At::Head(seen) => match self.head(seen, rest) {
                    Ok(Some(length)) => Ok(length),
                    Ok(None) => return (passed, None),
                    Err(fault) => Err(fault),
                },
                At::Body(due) => Ok(self.body(due, rest.len())),
                At::Chunked(chunk) => self.chunked(chunk, rest),
            };
            match step {
                Ok(length) => passed += length,
                Err(fault) => return (passed, Some(fault)),
            }
        }
        (passed, None)
    }

    fn body(&mut self, due: u64, there: usize) -> usize {
        let taken = usize::try_from(due).map_or(there, |due| due.min(there));
        let left = due - u64::try_from(taken).unwrap_or(due);
        self.at = if left == 0 { HEAD } else { At::Body(left) };
        taken
    }

    /// The length of the head that `bytes` begin with, if all of it is there.
    fn head(&mut self, seen: Seen, bytes: &[u8]) -> Result<Option<usize>, Fault> {
        let too_large = Fault::new(Reason::HeadTooLarge, "the head is larger than allowed");
        match end_of_head(bytes, seen.lines)? {
            Search::End(end) if end > self.largest_head => Err(too_large),
            Search::End(end) => {
                self.at = parse(&bytes[..end])?.ok_or(bad("the head has no request line"))?;
                self.heads += 1;
                Ok(Some(end))
            }
            Search::Lines(_) if bytes.len() >= self.largest_head => Err(too_large),
            Search::Lines(lines) => {
                // Nonsense is refused at the end of its line or when as much again has come, or a client that speaks
                // something else would wait.
                let mut parsed = seen.parsed;
                if lines > seen.lines || bytes.len() >= 2 * parsed {
                    parse(bytes)?;
                    parsed = bytes.len();
                }
                self.at = At::Head(Seen { lines, parsed });
                Ok(None)
            }
        }
    }

    /// As much of a chunked body as is there.
    fn chunked(&mut self, mut chunk: Chunk, bytes: &[u8]) -> Result<usize, Fault> {
        let mut place = 0;
        while let Some(&byte) = bytes.get(place) {
            if let Chunk::Data(left) = chunk {
                let there = bytes.len() - place;
                let taken = usize::try_from(left).map_or(there, |left| left.min(there));
                place += taken;
                let left = left - u64::try_from(taken).unwrap_or(left);
                chunk = if left == 0 { Chunk::DataCr } else { Chunk::Data(left) };
                continue;
            }
            place += 1;
            let Some(next) = chunk.next(byte)? else {
                self.at = HEAD;
                return Ok(place);
            };
            chunk = next;
        }
        self.at = At::Chunked(chunk);
        Ok(place)
    }
}

impl Chunk {
    /// Where `byte` leads; nowhere when it is the body's last.
    fn next(self, byte: u8) -> Result<Option<Self>, Fault> {
        let digit = char::from(byte).to_digit(16).map(u64::from);
        let next = match (self, byte) {
            (Self::Begin, _) => Self::Size(digit.ok_or(bad("a chunk has no size"))?),
            (Self::Size(size) | Self::Extension(size), b'\r') => Self::SizeLf(size),
            (Self::Size(size), b';') | (Self::Extension(size), b'\t' | b' '..=b'~' | 0x80..) => Self::Extension(size),
            (Self::Size(size), _) => {
                let digit = digit.ok_or(bad("a chunk's size is not a number"))?;
                let size = size.checked_mul(16).ok_or(bad("a chunk's size is too large"))?;
                Self::Size(size + digit)
            }
            (Self::SizeLf(0) | Self::TrailerLf, b'\n') => Self::Line,
            (Self::SizeLf(size), b'\n') => Self::Data(size),
            (Self::Data(left), _) => Self::Data(left),
            (Self::DataCr, b'\r') => Self::DataLf,
            (Self::DataLf, b'\n') => Self::Begin,
            (Self::DataCr | Self::DataLf, _) => return Err(bad("a chunk is longer than its size")),
            (Self::Line, b'\r') => Self::EndLf,
            (Self::Trailer, b'\r') => Self::TrailerLf,
            (Self::Line | Self::Trailer, b'\t' | b' '..=b'~' | 0x80..) => Self::Trailer,
            (Self::EndLf, b'\n') => return Ok(None),
            _ => return Err(bad("a line of the chunked body has a control character or a bare CR or LF")),
        };
        Ok(Some(next))
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

/// What follows the head in `bytes`; nothing is known while it is incomplete.
fn parse(bytes: &[u8]) -> Result<Option<At>, Fault> {
    let mut room = [const { MaybeUninit::uninit() }; MOST_HEADERS];
    let mut request = Request::new(&mut []);
    match request.parse_with_uninit_headers(bytes, &mut room) {
        Ok(Status::Complete(length)) if length == bytes.len() => {}
        Ok(Status::Complete(_)) => return Err(bad("the head ends in two places")),
        Ok(Status::Partial) => return Ok(None),
        Err(error) => return Err(Fault { speaks_http: !names_another_protocol(bytes), ..fault_of(error) }),
    }
    let target = request.path.unwrap_or_default();
    if target.len() > LONGEST_TARGET {
        return Err(Fault::new(Reason::UriTooLong, "the request target is too long"));
    }
    if !is_target(target) {
        return Err(bad("the request target is not valid"));
    }
    body_of(request.headers, request.version == Some(1)).map(Some)
}

/// How the body is delimited: by a length, by chunks, or there is none.
fn body_of(headers: &[Header<'_>], is_http_11: bool) -> Result<At, Fault> {
    let (mut length, mut is_chunked) = (None, false);
    for header in headers {
        // Two comparisons of lengths for most lines.
        if header.name.len() == "content-length".len() && header.name.eq_ignore_ascii_case("content-length") {
            if length.is_some() {
                return Err(bad("the request has more than one Content-Length"));
            }
            length = Some(parse_length(header.value).ok_or(bad("the Content-Length is not a number"))?);
        } else if header.name.len() == "transfer-encoding".len()
            && header.name.eq_ignore_ascii_case("transfer-encoding")
        {
            if is_chunked || !header.value.eq_ignore_ascii_case(b"chunked") {
                return Err(bad("the only transfer coding understood is chunked, once"));
            }
            is_chunked = true;
        }
    }
    match (length, is_chunked) {
        (Some(_), true) => Err(bad("the request has both Content-Length and Transfer-Encoding")),
        (None, true) if !is_http_11 => Err(bad("HTTP/1.0 has no Transfer-Encoding")),
        (None, true) => Ok(At::Chunked(Chunk::Begin)),
        (None | Some(0), false) => Ok(HEAD),
        (Some(length), false) => Ok(At::Body(length)),
    }
}

/// Digits and nothing else; more than 18 of them are no length of anything.
fn parse_length(value: &[u8]) -> Option<u64> {
    if !(1..=18).contains(&value.len()) {
        return None;
    }
    value.iter().try_fold(0, |number: u64, byte| byte.is_ascii_digit().then(|| number * 10 + u64::from(byte - b'0')))
}

/// Whether hyper can read it. Paths of plain characters are told without building one.
fn is_target(target: &str) -> bool {
    let plain = |byte: u8| {
        byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'-' | b'_' | b'.' | b'?' | b'=' | b'&' | b'%' | b'~')
    };
    (target.starts_with('/') && target.bytes().all(plain)) || Uri::try_from(target).is_ok()
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
        httparse::Error::TooManyHeaders => Fault::new(Reason::HeadTooLarge, "the head has too many lines"),
        httparse::Error::HeaderName => bad("a header's name is not valid, or its line is folded"),
        httparse::Error::HeaderValue => bad("a header's value has a control character"),
        httparse::Error::NewLine => bad("a line does not end with CRLF"),
        httparse::Error::Version => bad("the request line ends with no version that is known"),
        httparse::Error::Token | httparse::Error::Status => bad("the request line is not valid"),
    }
}
