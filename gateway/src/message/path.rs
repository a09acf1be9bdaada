//! Paths are normalised once, before anything is matched, and sent on as matched.
//!
//! After this a backend and the gateway cannot disagree about which resource a path names: literal dot segments are
//! resolved, empty segments dropped, needless escapes undone (RFC 3986, section 6.2.2), and whatever could be read in
//! two ways is refused.

use std::borrow::Cow;

use percent_encoding::percent_encode_byte;

/// A path that has two readings, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadPath {
    #[error("the path does not start with a slash")]
    NotAbsolute,
    #[error("the path has a percent sign that is not followed by two hexadecimal digits")]
    BadEscape,
    #[error("the path has a control character")]
    Control,
    #[error("the path has a backslash")]
    Backslash,
    #[error("the path climbs above its root")]
    AboveRoot,
    #[error("the path has an encoded dot segment")]
    EncodedDots,
    #[error("the path has a percent-encoded slash next to a dot segment or another slash")]
    EncodedSlash,
}

/// Whether `path` is in its normal form already.
pub(crate) fn is_normal(path: &str) -> bool {
    normalise(path).is_ok_and(|normal| normal == path)
}

/// Brings `path` into its one normal form; borrows when it is in that form already.
pub(crate) fn normalise(path: &str) -> Result<Cow<'_, str>, BadPath> {
    if !path.starts_with('/') {
        return Err(BadPath::NotAbsolute);
    }
    if is_plain(path.as_bytes()) {
        return Ok(Cow::Borrowed(path));
    }
    let mut segments: Vec<String> = Vec::new();
    let mut ends_in_slash = false;
    for piece in path[1..].split('/') {
        ends_in_slash = false;
        match piece {
            "" | "." => ends_in_slash = true,
            ".." => {
                segments.pop().ok_or(BadPath::AboveRoot)?;
                ends_in_slash = true;
            }
            _ => segments.push(segment(piece)?),
        }
    }
    let mut normal = String::with_capacity(path.len());
    for segment in &segments {
        normal.push('/');
        normal.push_str(segment);
    }
    if ends_in_slash || segments.is_empty() {
        normal.push('/');
    }
    Ok(Cow::Owned(normal))
}

/// No escape, no backslash, no control character, nothing but ASCII, no empty segment and no segment that starts with a dot.
fn is_plain(path: &[u8]) -> bool {
    let mut previous = 0;
    for &byte in path {
        if byte == b'%' || byte == b'\\' || !(0x21..0x7f).contains(&byte) {
            return false;
        }
        if previous == b'/' && (byte == b'/' || byte == b'.') {
            return false;
        }
        previous = byte;
    }
    true
}

/// Undoes escapes of unreserved characters and refuses what decodes to something that moves between segments.
fn segment(raw: &str) -> Result<String, BadPath> {
    let mut normal = String::with_capacity(raw.len());
    let mut decoded = Vec::with_capacity(raw.len());
    let mut rest = raw.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        let value = if byte == b'%' {
            let [high, low, tail @ ..] = rest else { return Err(BadPath::BadEscape) };
            let value = hex(*high)? * 16 + hex(*low)?;
            rest = tail;
            if is_unreserved(value) {
                normal.push(char::from(value));
            } else {
                // Capitals, so that there is one form (RFC 3986, section 6.2.2.1).
                normal.push('%');
                normal.push(char::from(high.to_ascii_uppercase()));
                normal.push(char::from(low.to_ascii_uppercase()));
            }
            value
        } else {
            // `raw` is a piece of a URI, and hyper lets bytes over 0x7f through: kept, but escaped.
            if byte.is_ascii() {
                normal.push(char::from(byte));
            } else {
                normal.push_str(percent_encode_byte(byte));
            }
            byte
        };
        match value {
            b'\\' => return Err(BadPath::Backslash),
            0..=0x20 | 0x7f if value != b' ' => return Err(BadPath::Control),
            _ => decoded.push(value),
        }
    }
    check_decoded(&decoded)?;
    Ok(normal)
}

/// What a less careful server would read in a path in its normal form: escapes of what may stand in a segment by itself undone, an
/// escaped slash taken for one that parts segments, and `;parameters` left out. Nothing when that is the same.
pub(crate) fn other_reading(normal: &str) -> Option<String> {
    if !normal.contains(['%', ';']) {
        return None;
    }
    let mut read = String::with_capacity(normal.len());
    for (place, segment) in normal.split('/').enumerate() {
        if place > 0 {
            read.push('/');
        }
        let plain = segment.split(';').next().unwrap_or_default();
        let mut rest = plain;
        while let Some(at) = rest.find('%') {
            let (before, escaped) = rest.split_at(at);
            read.push_str(before);
            let (escape, after) = escaped.split_at(escaped.len().min(3));
            let value = escape.get(1..).and_then(|digits| u8::from_str_radix(digits, 16).ok());
            match value.filter(|value| b"!$&'()*+,=:@/".contains(value)) {
                Some(value) => read.push(char::from(value)),
                None => read.push_str(escape),
            }
            rest = after;
        }
        read.push_str(rest);
    }
    (read != normal).then_some(read)
}

/// `decoded` came from one segment: a dot segment in it was encoded, a slash in it is a `%2F`.
fn check_decoded(decoded: &[u8]) -> Result<(), BadPath> {
    let has_slash = decoded.contains(&b'/');
    for piece in decoded.split(|byte| *byte == b'/') {
        // Some servers drop `;parameters` before they resolve dots (RFC 3986, section 3.3 leaves it open).
        let name = piece.split(|byte| *byte == b';').next().unwrap_or_default();
        match name {
            b"" | b"." | b".." if has_slash => return Err(BadPath::EncodedSlash),
            b"." | b".." => return Err(BadPath::EncodedDots),
            _ => {}
        }
    }
    Ok(())
}

fn hex(digit: u8) -> Result<u8, BadPath> {
    let value = char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
    value.ok_or(BadPath::BadEscape)
}

const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn paths_with_one_reading_are_brought_into_one_form() {
        let table = [
            ("/", "/"),
            ("/api/products/7", "/api/products/7"),
            ("/api/products/", "/api/products/"),
            ("//api///products//7", "/api/products/7"),
            ("/api/./products/.", "/api/products/"),
            ("/api/products/../baskets/u1", "/api/baskets/u1"),
            ("/api/products/..", "/api/"),
            ("/a/..", "/"),
            ("/api/p%72oducts/%37", "/api/products/7"),
            ("/api/products/a%2eb", "/api/products/a.b"),
            ("/api/products/.hidden", "/api/products/.hidden"),
            ("/api/products/...", "/api/products/..."),
            ("/api/products/a%2Fb", "/api/products/a%2Fb"),
            ("/api/products/c%20d%C3%A9", "/api/products/c%20d%C3%A9"),
            ("/api/products/plus+and%2Bpct", "/api/products/plus+and%2Bpct"),
            ("/api/products/a%252Fb", "/api/products/a%252Fb"),
            ("/api/products/a;v=1", "/api/products/a;v=1"),
            ("/api/products/caf\u{e9}", "/api/products/caf%C3%A9"),
            ("//api/products/caf\u{e9}", "/api/products/caf%C3%A9"),
        ];
        for (raw, normal) in table {
            assert_eq!(normalise(raw).as_deref(), Ok(normal), "{raw}");
        }
    }

    #[test]
    fn paths_with_two_readings_are_refused() {
        let table = [
            ("", BadPath::NotAbsolute),
            ("*", BadPath::NotAbsolute),
            ("api/products", BadPath::NotAbsolute),
            ("/..", BadPath::AboveRoot),
            ("/api/../../etc", BadPath::AboveRoot),
            ("/api/products/%2e%2e/admin", BadPath::EncodedDots),
            ("/api/products/%2E./admin", BadPath::EncodedDots),
            ("/api/products/%2e/7", BadPath::EncodedDots),
            ("/api/products/..;/admin", BadPath::EncodedDots),
            ("/api/products/..%2fadmin", BadPath::EncodedSlash),
            ("/api/products/x%2f..%2f..%2fadmin", BadPath::EncodedSlash),
            ("/api/products/%2fadmin", BadPath::EncodedSlash),
            ("/api/products/a%2f%2fb", BadPath::EncodedSlash),
            ("/api/products/a\\b", BadPath::Backslash),
            ("/api/products/..%5cadmin", BadPath::Backslash),
            ("/api/products/%00", BadPath::Control),
            ("/api/products/a%0d%0ab", BadPath::Control),
            ("/api/products/%7f", BadPath::Control),
            ("/api/products/%", BadPath::BadEscape),
            ("/api/products/%2", BadPath::BadEscape),
            ("/api/products/%zz", BadPath::BadEscape),
        ];
        for (raw, problem) in table {
            assert_eq!(normalise(raw), Err(problem), "{raw}");
        }
    }

    proptest! {
        #[test]
        fn the_normal_form_is_stable_and_has_no_way_up(raw in "(/|\\.|%2e|%2F|%5c|a|;|%61|\\\\|%|é){0,24}") {
            if let Ok(normal) = normalise(&raw) {
                prop_assert!(normal.starts_with('/'));
                prop_assert!(!normal.contains("//") && !normal.contains('\\'));
                prop_assert!(normal.split('/').all(|segment| segment != "." && segment != ".."));
                prop_assert!(normalise(&normal).as_ref() == Ok(&normal));
            }
        }
    }
}
