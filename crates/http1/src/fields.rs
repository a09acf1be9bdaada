//! Header lines and trailers.

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use httparse::Header;

use crate::Invalid;

/// Most lines of one head; hyper's number.
pub const MOST_HEADERS: usize = 100;

/// The fields that `parsed` found in `bytes`, in a map with room for `more`.
pub fn read(bytes: &Bytes, parsed: &[Header<'_>], more: usize) -> Result<HeaderMap, Invalid> {
    let mut fields = HeaderMap::with_capacity(parsed.len() + more);
    for line in parsed {
        let name = HeaderName::from_bytes(line.name.as_bytes());
        let value = HeaderValue::from_maybe_shared(bytes.slice_ref(line.value));
        let (Ok(name), Ok(value)) = (name, value) else { return Err(Invalid("a header is not valid")) };
        fields.append(name, value);
    }
    Ok(fields)
}

/// Writes header lines, or trailers.
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
pub fn length(headers: &HeaderMap) -> Option<u64> {
    let lines = headers.get_all(header::CONTENT_LENGTH).iter();
    let mut lengths = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b',')).map(|text| {
        let text = text.trim_ascii();
        let is_number = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
        let text = std::str::from_utf8(text).ok().filter(|_| is_number);
        // The two largest numbers stand for other things in hyper, which writes answers over HTTP/2.
        text.and_then(|text| text.parse::<u64>().ok()).filter(|length| *length < u64::MAX - 1)
    });
    let first = lengths.next()??;
    lengths.all(|length| length == Some(first)).then_some(first)
}

/// What `Trailer` names, without fields that have a meaning for framing, routing or access (RFC 9110, section 6.5.1) and those
/// that are `refused`: a reader that merges trailers into the head would take them for the word of whoever wrote the head.
pub fn announced(headers: &HeaderMap, refused: impl Fn(&[u8]) -> bool) -> Vec<HeaderName> {
    let lines = headers.get_all(header::TRAILER).iter();
    let names = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
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
