//! The id of a request: the caller's when it is usable, else a new one.

use http::{HeaderMap, HeaderName, HeaderValue};
use shop_clock::{Clock, SystemClock};

/// `X-Request-Id`.
pub const HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// Longest id taken from a caller; longer ones would bloat every log line.
const MAX: usize = 128;

/// The caller's id among the `values` of the header, if it is 1–128 visible ASCII characters and sent once.
pub fn sent<V: AsRef<[u8]>>(mut values: impl Iterator<Item = V>) -> Option<V> {
    match (values.next(), values.next()) {
        (Some(value), None) if is_usable(value.as_ref()) => Some(value),
        _ => None,
    }
}

/// The caller's id, else a new `UUIDv7`.
pub fn of(headers: &HeaderMap) -> HeaderValue {
    sent(headers.get_all(HEADER).iter()).cloned().unwrap_or_else(fresh)
}

fn fresh() -> HeaderValue {
    let mut text = uuid::Uuid::encode_buffer();
    let id = SystemClock.new_id();
    let text = id.hyphenated().encode_lower(&mut text);
    HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static("-"))
}

fn is_usable(id: &[u8]) -> bool {
    (1..=MAX).contains(&id.len()) && id.iter().all(u8::is_ascii_graphic)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(value: &[u8]) -> String {
        let mut headers = HeaderMap::new();
        if let Ok(value) = HeaderValue::from_bytes(value) {
            headers.insert(HEADER, value);
        }
        of(&headers).to_str().expect("visible").to_owned()
    }

    #[test]
    fn a_visible_ascii_id_is_kept() {
        assert_eq!(kept(b"abc-123_~!"), "abc-123_~!");
        assert_eq!(kept(&[b'x'; 128]), "x".repeat(128));
    }

    #[test]
    fn an_id_that_is_empty_long_or_not_visible_ascii_is_replaced() {
        for bad in [&b""[..], &[b'x'; 129], b"two words", "h\u{e9}".as_bytes()] {
            let made = kept(bad);
            assert_eq!(uuid::Uuid::parse_str(&made).map(|id| id.get_version_num()), Ok(7), "{made}");
        }
    }

    #[test]
    fn an_id_sent_twice_is_replaced() {
        let mut headers = HeaderMap::new();
        headers.append(HEADER, HeaderValue::from_static("a"));
        headers.append(HEADER, HeaderValue::from_static("b"));
        assert_eq!(of(&headers).len(), 36);
    }
}
