//! The id of a request: the client's when it is usable, else a new one.

use http::{HeaderMap, HeaderName, HeaderValue};
use shop_clock::{Clock, SystemClock};

/// `X-Request-Id`.
pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Longest id taken from a client; longer ones would bloat every log line.
const LONGEST: usize = 128;

/// The client's id if it is 1 to 128 visible ASCII characters and sent once, else a new `UUIDv7`.
pub(crate) fn of(headers: &HeaderMap) -> HeaderValue {
    let mut sent = headers.get_all(X_REQUEST_ID).iter();
    match (sent.next(), sent.next()) {
        (Some(id), None) if is_usable(id.as_bytes()) => id.clone(),
        _ => fresh(),
    }
}

fn is_usable(id: &[u8]) -> bool {
    (1..=LONGEST).contains(&id.len()) && id.iter().all(u8::is_ascii_graphic)
}

fn fresh() -> HeaderValue {
    let mut text = uuid::Uuid::encode_buffer();
    let id = SystemClock.new_id().hyphenated().encode_lower(&mut text);
    HeaderValue::from_str(id).unwrap_or_else(|_| HeaderValue::from_static("-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_usable_id_is_kept_and_any_other_replaced() {
        let kept = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(X_REQUEST_ID, HeaderValue::from_str(value).expect("value"));
            }
            let id = of(&headers);
            values.len() == 1 && id == values[0]
        };
        assert!(kept(&["a"]) && kept(&["A-1_~!"]) && kept(&[&"x".repeat(128)]));
        assert!(!kept(&[]) && !kept(&[""]) && !kept(&["a b"]) && !kept(&[&"x".repeat(129)]) && !kept(&["a", "a"]));
    }
}
