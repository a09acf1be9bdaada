//! Whether a call that a backend failed may go out once more, and when.

mod replay;

pub(crate) use replay::Replay;

use std::time::Duration;

use http::{HeaderMap, HeaderName, Method, StatusCode, header};
use shop_clock::chance;

use crate::message::outcome;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Before the same backend is asked again; doubled each time. Long enough for a restart of a worker or a pool, too short
/// for a client to notice.
const FIRST_PAUSE: Duration = Duration::from_millis(25);

/// Whether doing it twice is the same as doing it once: by the method (RFC 9110, 9.2.2), or because the service drops
/// repeats of a key.
pub(crate) fn is_idempotent(method: &Method, headers: &HeaderMap) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::PUT | Method::DELETE)
        || headers.get(IDEMPOTENCY_KEY).is_some_and(|key| !key.is_empty())
}

/// How long to wait before a call with this answer goes out again; none when the answer is the client's. Only where the backend
/// is ill may another do better: what speaks of the request itself would be the same again.
pub(crate) fn wait_after(status: StatusCode, headers: &HeaderMap, longest: Duration) -> Option<Duration> {
    if !outcome::of_http(status, headers).is_ill() {
        return None;
    }
    let asked = match headers.get(header::RETRY_AFTER) {
        None => Duration::ZERO,
        // A date is not worth parsing: it is whole seconds and somebody else's clock away.
        Some(value) => Duration::from_secs(value.to_str().ok()?.trim().parse().ok()?),
    };
    (asked <= longest).then_some(asked)
}

/// How long to leave a backend alone before its `attempt`-th repetition, from 0: half to all of a doubling time.
pub(crate) fn pause(attempt: u32) -> Duration {
    (FIRST_PAUSE * (1 << attempt.min(5))).mul_f64(0.5 + 0.5 * chance::fraction())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn methods_and_keys_make_a_call_repeatable() {
        for method in ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"] {
            assert!(is_idempotent(&method.parse().expect("a method"), &HeaderMap::new()), "{method}");
        }
        for method in ["POST", "PATCH"] {
            let method = method.parse().expect("a method");
            assert!(!is_idempotent(&method, &HeaderMap::new()));
            assert!(!is_idempotent(&method, &headers(&[("idempotency-key", "")])));
            assert!(is_idempotent(&method, &headers(&[("idempotency-key", "k1")])));
        }
    }

    #[test]
    fn only_gateway_errors_are_repeated_and_not_before_the_backend_wants_them() {
        let longest = Duration::from_secs(1);
        let table: [(u16, Option<&'static str>, Option<u64>); 11] = [
            (502, None, Some(0)),
            (503, None, Some(0)),
            (504, None, Some(0)),
            (200, None, None),
            (404, None, None),
            (429, None, None),
            (500, None, None),
            (503, Some("0"), Some(0)),
            (503, Some("1"), Some(1)),
            (503, Some("2"), None),
            (503, Some("Fri, 31 Dec 1999 23:59:59 GMT"), None),
        ];
        let of_request = headers(&[("x-fault-scope", "request")]);
        assert_eq!(
            wait_after(StatusCode::SERVICE_UNAVAILABLE, &of_request, longest),
            None,
            "it would be the same again"
        );
        for (status, retry_after, expected) in table {
            let headers = retry_after.map(|value| headers(&[("retry-after", value)])).unwrap_or_default();
            let status = StatusCode::from_u16(status).expect("a status");
            let wait = wait_after(status, &headers, longest);
            assert_eq!(wait, expected.map(Duration::from_secs), "{status} {retry_after:?}");
        }
    }

    #[test]
    fn pauses_double() {
        for (attempt, most) in [(0, 25), (1, 50), (2, 100), (60, 800)] {
            let pause = pause(attempt).as_millis();
            assert!((most / 2 - 1..=most).contains(&pause), "{attempt}: {pause}");
        }
    }
}
