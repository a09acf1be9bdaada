//! What the gateway knows of gRPC: how to tell its calls, their deadline and their outcome.

use std::time::Duration;

use http::{HeaderName, Version, header};
use shop_http1::fields::Fields;

static GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
static GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// Whether this is a gRPC call: HTTP/2 and `application/grpc`, alone or with `+` or `;`.
pub(crate) fn is_call(version: Version, headers: &impl Fields) -> bool {
    if version != Version::HTTP_2 {
        return false;
    }
    let rest = headers.value(&header::CONTENT_TYPE).and_then(|value| value.strip_prefix(b"application/grpc"));
    rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

/// The call's deadline from now; none when `grpc-timeout` is absent or malformed.
pub(crate) fn timeout(headers: &impl Fields) -> Option<Duration> {
    let text = headers.text(&GRPC_TIMEOUT)?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    // At most eight digits, says the protocol; so nothing below overflows.
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(count * 3600),
        "M" => Duration::from_secs(count * 60),
        "S" => Duration::from_secs(count),
        "m" => Duration::from_millis(count),
        "u" => Duration::from_micros(count),
        "n" => Duration::from_nanos(count),
        _ => return None,
    })
}

/// The `grpc-status` of a head or of trailers.
pub(crate) fn status(headers: &impl Fields) -> Option<u8> {
    headers.text(&GRPC_STATUS)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderMap, HeaderValue};

    #[test]
    fn a_timeout_has_up_to_eight_digits_and_a_unit() {
        let table = [
            ("1H", Some(Duration::from_hours(1))),
            ("2M", Some(Duration::from_mins(2))),
            ("3S", Some(Duration::from_secs(3))),
            ("99999999m", Some(Duration::from_millis(99_999_999))),
            ("5u", Some(Duration::from_micros(5))),
            ("6n", Some(Duration::from_nanos(6))),
            ("", None),
            ("S", None),
            ("1", None),
            ("1s", None),
            ("-1S", None),
            ("+1S", None),
            ("999999999S", None),
            ("1.5S", None),
        ];
        for (text, expected) in table {
            let mut headers = HeaderMap::new();
            headers.insert(&GRPC_TIMEOUT, HeaderValue::from_static(text));
            assert_eq!(timeout(&headers), expected, "{text}");
        }
    }

    #[test]
    fn a_call_is_known_by_its_content_type_over_http2() {
        let table = [
            ("application/grpc", Version::HTTP_2, true),
            ("application/grpc+proto", Version::HTTP_2, true),
            ("application/grpc; x=1", Version::HTTP_2, true),
            ("application/grpc-web", Version::HTTP_2, false),
            ("application/json", Version::HTTP_2, false),
            ("application/grpc", Version::HTTP_11, false),
        ];
        for (content_type, version, expected) in table {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
            assert_eq!(is_call(version, &headers), expected, "{content_type} {version:?}");
        }
    }
}
