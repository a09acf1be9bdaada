//! Header lines and trailers, in whatever they are kept: the lines of a message, or a map.

use std::fmt;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use httparse::Header;

use crate::Invalid;

/// Most lines of one head; hyper's number.
pub const MOST_HEADERS: usize = 100;

/// Header fields that can be asked for, so that a rule about them is written once for [`Lines`](crate::Lines) and for maps.
pub trait Fields: fmt::Debug + Sync {
    /// The first value of a field.
    fn value(&self, name: &HeaderName) -> Option<&[u8]>;

    /// All values of a field, in order.
    fn values<'a>(&'a self, name: &'a HeaderName) -> impl Iterator<Item = &'a [u8]>
    where
        Self: Sized;

    /// Whether there is such a field.
    #[inline]
    fn has(&self, name: &HeaderName) -> bool {
        self.value(name).is_some()
    }

    /// Whether none of these fields is there.
    fn has_none(&self, of: &Names) -> bool {
        !of.names.iter().any(|name| self.has(name))
    }

    /// The first value of a field, unless it has bytes that are no text.
    fn text(&self, name: &HeaderName) -> Option<&str> {
        self.value(name).and_then(text)
    }
}

/// The place of the bit, of 64, for names such as this one, in lower case.
#[inline]
pub(crate) fn place(name: &[u8]) -> u8 {
    let byte = |place: Option<&u8>| place.copied().unwrap_or_default();
    // Wrapping makes no difference below 64.
    let length = name.len().to_le_bytes()[0].wrapping_mul(5);
    length.wrapping_add(byte(name.first())).wrapping_add(byte(name.last()).wrapping_mul(3)) & 63
}

/// Names that are asked for together.
#[derive(Debug)]
pub struct Names {
    names: Vec<HeaderName>,
    pub(crate) marks: u64,
}

impl Names {
    /// These.
    pub fn new(names: Vec<HeaderName>) -> Self {
        let marks = names.iter().fold(0, |marks, name| marks | 1 << place(name.as_str().as_bytes()));
        Self { names, marks }
    }

    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &HeaderName> {
        self.names.iter()
    }
}

impl Fields for HeaderMap {
    fn value(&self, name: &HeaderName) -> Option<&[u8]> {
        self.get(name).map(HeaderValue::as_bytes)
    }

    fn values<'a>(&'a self, name: &'a HeaderName) -> impl Iterator<Item = &'a [u8]> {
        self.get_all(name).iter().map(HeaderValue::as_bytes)
    }
}

/// The text that `value` is, unless it has bytes that are none: what [`HeaderValue::to_str`] takes.
pub fn text(value: &[u8]) -> Option<&str> {
    let is_text = value.iter().all(|byte| matches!(byte, b'\t' | b' '..=b'~'));
    is_text.then(|| std::str::from_utf8(value).ok())?
}

/// The trailers that `parsed` found in `bytes`.
pub(crate) fn trailers(bytes: &Bytes, parsed: &[Header<'_>]) -> Result<HeaderMap, Invalid> {
    let mut fields = HeaderMap::with_capacity(parsed.len());
    for line in parsed {
        let name = HeaderName::from_bytes(line.name.as_bytes());
        let value = HeaderValue::from_maybe_shared(bytes.slice_ref(line.value));
        let (Ok(name), Ok(value)) = (name, value) else { return Err(Invalid("a header is not valid")) };
        fields.append(name, value);
    }
    Ok(fields)
}

/// Writes trailers, or the header lines of an answer of one's own.
pub fn write(fields: &HeaderMap, out: &mut Vec<u8>) {
    for (name, value) in fields {
        let (name, value) = (name.as_str().as_bytes(), value.as_bytes());
        out.reserve(name.len() + value.len() + 4);
        out.extend_from_slice(name);
        out.extend_from_slice(b": ");
        out.extend_from_slice(value);
        out.extend_from_slice(b"\r\n");
    }
}

/// Whether `word` is one of those in the list that `line` is.
pub fn has_word(line: &[u8], word: &str) -> bool {
    line.split(|byte| *byte == b',').any(|found| found.trim_ascii().eq_ignore_ascii_case(word.as_bytes()))
}

/// The length that `headers` say, however often.
pub fn length(headers: &impl Fields) -> Option<u64> {
    let name = header::CONTENT_LENGTH;
    let mut lines = headers.values(&name);
    let first = lines.next()?;
    match (number(first), lines.next()) {
        // As nearly everybody says it.
        (Some(length), None) => Some(length),
        _ => same_length(headers.values(&name)),
    }
}

/// The length that all of `lines` say, which may be lists.
fn same_length<'a>(lines: impl Iterator<Item = &'a [u8]>) -> Option<u64> {
    let mut lengths = lines.flat_map(|line| line.split(|byte| *byte == b',')).map(|text| {
        let text = text.trim_ascii();
        let is_number = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
        let text = std::str::from_utf8(text).ok().filter(|_| is_number);
        // The two largest numbers stand for other things in hyper, which writes answers over HTTP/2.
        text.and_then(|text| text.parse::<u64>().ok()).filter(|length| *length < u64::MAX - 1)
    });
    let first = lengths.next()??;
    lengths.all(|length| length == Some(first)).then_some(first)
}

/// Digits and nothing else; more than 18 of them are no length of anything.
pub(crate) fn number(value: &[u8]) -> Option<u64> {
    if !(1..=18).contains(&value.len()) {
        return None;
    }
    value.iter().try_fold(0, |number: u64, byte| byte.is_ascii_digit().then(|| number * 10 + u64::from(byte - b'0')))
}

/// What `Trailer` names, without fields that have a meaning for framing, routing or access (RFC 9110, section 6.5.1) and those
/// that are `refused`: a reader that merges trailers into the head would take them for the word of whoever wrote the head.
pub fn announced(headers: &impl Fields, refused: impl Fn(&[u8]) -> bool) -> Vec<HeaderName> {
    let trailer = header::TRAILER;
    let names = headers.values(&trailer).flat_map(|line| line.split(|byte| *byte == b','));
    let names = names.filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok());
    names.filter(|name| !belongs_to_head(name) && !refused(name.as_str().as_bytes())).collect()
}

/// Whether a field of this name means nothing good in trailers: it is about framing, routing or access.
pub fn belongs_to_head(name: &HeaderName) -> bool {
    [
        header::AUTHORIZATION,
        header::CACHE_CONTROL,
        header::CONNECTION,
        header::CONTENT_ENCODING,
        header::CONTENT_LENGTH,
        header::CONTENT_RANGE,
        header::CONTENT_TYPE,
        header::COOKIE,
        header::HOST,
        header::MAX_FORWARDS,
        header::PROXY_AUTHORIZATION,
        header::SET_COOKIE,
        header::TE,
        header::TRAILER,
        header::TRANSFER_ENCODING,
    ]
    .contains(name)
}
