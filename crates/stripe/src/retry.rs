//! What follows from an answer: it is one, or the call is made once more.

use std::time::Duration;

use http::header::RETRY_AFTER;
use http::{HeaderMap, StatusCode};
use serde_json::Value;
use shop_clock::chance;

use crate::error::{Error, Refusal};

/// How often a call is made at most. A third answer is as good as a fourth.
pub(crate) const ATTEMPTS: u32 = 3;
/// The first pause, which doubles, and the longest.
const FIRST: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_secs(4);

/// What an attempt came to.
#[derive(Debug)]
pub(crate) struct Attempt {
    /// In a word, for the metrics.
    pub(crate) outcome: &'static str,
    pub(crate) result: Result<Value, Error>,
    /// Whether it may be made once more.
    pub(crate) again: bool,
    /// How long Stripe asks to wait before.
    pub(crate) after: Option<Duration>,
}

impl Attempt {
    /// No answer came. Whether anything was done is unknown, but the next attempt carries the same key.
    pub(crate) fn lost(reason: impl Into<String>) -> Self {
        Self { outcome: "lost", result: Err(Error::Lost(reason.into())), again: true, after: None }
    }

    /// An answer that means nothing.
    pub(crate) fn unreadable(reason: impl Into<String>) -> Self {
        Self { outcome: "unreadable", result: Err(Error::Unreadable(reason.into())), again: false, after: None }
    }

    /// Reads an answer.
    pub(crate) fn answered(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Self {
        let value: Option<Value> = serde_json::from_slice(body).ok();
        if status.is_success() {
            return match value {
                Some(value) => Self { outcome: "ok", result: Ok(value), again: false, after: None },
                None => Self::unreadable("it is not JSON"),
            };
        }
        let refusal = Refusal::read(status.as_u16(), &value.unwrap_or_default());
        let is_stored = told(headers, "idempotent-replayed") == Some(true);
        let (outcome, again, error) = match status.as_u16() {
            401 | 403 => ("key", false, Error::Key(refusal.message.clone())),
            402 => ("declined", false, Error::Refused(Box::new(refusal))),
            429 => ("limited", true, Error::Lost("too many requests".to_owned())),
            // Somebody else has the object, or the same call is still being made.
            409 if refusal.is("lock_timeout") || refusal.is("idempotency_key_in_use") => {
                ("locked", true, Error::Lost(refusal.to_string()))
            }
            400..=499 => ("refused", false, Error::Refused(Box::new(refusal))),
            // What is stored under the key comes again however often it is asked for.
            500..=599 => ("failed", !is_stored, Error::Lost(refusal.to_string())),
            _ => return Self::unreadable(format!("it has the status {}", status.as_u16())),
        };
        Self {
            outcome,
            result: Err(error),
            // Stripe knows best, as far as it says.
            again: told(headers, "stripe-should-retry").unwrap_or(again),
            after: headers
                .get(RETRY_AFTER)
                .and_then(|value| value.to_str().ok()?.trim().parse().ok())
                .map(Duration::from_secs),
        }
    }
}

/// `true` or `false` in a header.
fn told(headers: &HeaderMap, name: &str) -> Option<bool> {
    match headers.get(name)?.as_bytes() {
        b"true" => Some(true),
        b"false" => Some(false),
        _ => None,
    }
}

/// How long to wait after the `made`th attempt: between half of the pause and all of it, so that many that failed at once do
/// not come back at once.
pub(crate) fn pause(made: u32, asked: Option<Duration>) -> Duration {
    let full = FIRST.saturating_mul(1 << made.saturating_sub(1).min(10)).min(LONGEST);
    full.mul_f64(0.5 + 0.5 * chance::fraction()).max(asked.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(status: u16, headers: &[(&'static str, &'static str)], body: &str) -> Attempt {
        let status = StatusCode::from_u16(status).expect("a status");
        let headers =
            headers.iter().map(|(name, value)| (name.parse().expect("a name"), value.parse().expect("a value")));
        Attempt::answered(status, &headers.collect(), body.as_bytes())
    }

    #[test]
    fn a_call_is_repeated_when_that_can_help_and_not_otherwise() {
        let locked = r#"{"error":{"code":"lock_timeout"}}"#;
        let in_use = r#"{"error":{"code":"idempotency_key_in_use"}}"#;
        for (status, body, outcome, again) in [
            (200, "{}", "ok", false),
            (200, "<html>", "unreadable", false),
            (302, "{}", "unreadable", false),
            (400, "{}", "refused", false),
            (401, "{}", "key", false),
            (403, "{}", "key", false),
            (402, "{}", "declined", false),
            (404, "", "refused", false),
            (409, locked, "locked", true),
            (409, in_use, "locked", true),
            (409, "{}", "refused", false),
            (429, "{}", "limited", true),
            (500, "<html>", "failed", true),
            (503, "{}", "failed", true),
        ] {
            let attempt = attempt(status, &[], body);
            assert_eq!((attempt.outcome, attempt.again), (outcome, again), "{status} {body}");
        }
    }

    #[test]
    fn stripe_has_the_last_word_on_whether_to_ask_again() {
        assert!(!attempt(429, &[("stripe-should-retry", "false")], "{}").again);
        assert!(!attempt(500, &[("stripe-should-retry", "false")], "{}").again);
        assert!(attempt(400, &[("stripe-should-retry", "true")], "{}").again);
        assert!(attempt(500, &[("stripe-should-retry", "perhaps")], "{}").again);
        assert!(
            !attempt(500, &[("idempotent-replayed", "true")], "{}").again,
            "it is stored, and comes again for ever"
        );
    }

    #[test]
    fn pauses_grow_and_differ_and_are_as_long_as_stripe_asks() {
        for (made, longest) in [(1, 250), (2, 500), (3, 1000), (9, 4000), (u32::MAX, 4000)] {
            let longest = Duration::from_millis(longest);
            let pauses: Vec<_> = (0..100).map(|_| pause(made, None)).collect();
            assert!(pauses.iter().all(|pause| (longest / 2..=longest).contains(pause)), "{made}");
            assert!(pauses.iter().any(|pause| *pause != pauses[0]));
        }
        let asked = attempt(429, &[("retry-after", "7")], "{}").after;
        assert_eq!(pause(1, asked), Duration::from_secs(7));
        assert_eq!(attempt(429, &[("retry-after", "Wed, 21 Oct 2015 07:28:00 GMT")], "{}").after, None);
    }
}
