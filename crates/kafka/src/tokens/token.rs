//! One token, and what a JWT says of itself.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rdkafka::client::OAuthToken;
use serde::Deserialize;
use shop_clock::chance;
use shop_config::Secret;
use time::OffsetDateTime;

/// The longest that a token is believed to live; one that says more is only asked for again sooner than it has to be.
const LONGEST: Duration = Duration::from_hours(24 * 365);

/// How much of its life a token has behind it when the next one is asked for, so that there is time to ask again and again. The
/// library wants the next at 80 %.
const RIPE: f64 = 0.6;

/// What brokers are shown.
#[derive(Debug)]
pub(crate) struct Token {
    value: Secret,
    /// Whom it names.
    principal: String,
    ends: OffsetDateTime,
}

/// What is read of a JWT (RFC 7519). Whether it is signed is for the brokers to see.
#[derive(Default, Deserialize)]
struct Claims {
    #[serde(default)]
    exp: Option<f64>,
    #[serde(default)]
    sub: Option<String>,
}

impl Token {
    /// The token `value`, which lives for `lives` from `now` on; where nobody said that, its `exp` does. `name` is whom it names
    /// where it does not say so itself.
    pub(crate) fn read(value: &str, lives: Option<Duration>, name: &str, now: OffsetDateTime) -> Result<Self, String> {
        // RFC 6750, section 2.1; the library takes nothing but what can be printed either.
        if value.is_empty() || !value.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("is no token".to_owned());
        }
        let Claims { exp, sub } = claims(value).unwrap_or_default();
        let left = lives.or_else(|| {
            let left = exp? - seconds(now);
            Some(Duration::try_from_secs_f64(left.max(0.0)).unwrap_or(LONGEST))
        });
        let left = left.ok_or("does not say how long it lives: it is no JWT with exp")?.min(LONGEST);
        if left.is_zero() {
            return Err("has expired".to_owned());
        }
        let principal = sub.filter(|sub| !sub.contains('\0')).unwrap_or_else(|| name.to_owned());
        Ok(Self { value: Secret::from(value), principal, ends: now + left })
    }

    /// Whether it is the same.
    pub(crate) fn is(&self, other: &Self) -> bool {
        self.value.expose() == other.value.expose()
    }

    /// How long to wait before the next one is asked for. Many processes do not ask in step.
    pub(crate) fn ripe_in(&self, now: OffsetDateTime) -> Duration {
        let left = Duration::try_from(self.ends - now).unwrap_or_default();
        chance::around(left.mul_f64(RIPE))
    }

    /// As clients take it.
    pub(crate) fn for_client(&self) -> OAuthToken {
        OAuthToken {
            token: self.value.expose().to_owned(),
            principal_name: self.principal.clone(),
            lifetime_ms: i64::try_from(self.ends.unix_timestamp_nanos() / 1_000_000).unwrap_or(i64::MAX),
        }
    }
}

fn claims(token: &str) -> Option<Claims> {
    let payload = token.split('.').nth(1)?;
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()
}

#[expect(clippy::cast_precision_loss, reason = "seconds of our time fit by far")]
fn seconds(at: OffsetDateTime) -> f64 {
    at.unix_timestamp() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn now() -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(NOW).expect("a time")
    }

    fn jwt(claims: &str) -> String {
        format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims))
    }

    fn read(value: &str, lives: Option<u64>) -> Result<OAuthToken, String> {
        Token::read(value, lives.map(Duration::from_secs), "shop", now()).map(|token| token.for_client())
    }

    #[test]
    fn a_token_lives_for_as_long_as_was_said_or_else_as_it_says() {
        let exp = |exp: i64| jwt(&format!(r#"{{"exp":{exp},"sub":"orders"}}"#));
        let year = i64::try_from(LONGEST.as_secs()).expect("few");
        for (value, lives, ends, principal) in [
            (exp(NOW + 60), None, NOW + 60, "orders"),
            (exp(NOW + 60), Some(30), NOW + 30, "orders"),
            ("opaque".to_owned(), Some(30), NOW + 30, "shop"),
            (jwt(r#"{"exp":1800000060.0}"#), None, NOW + 60, "shop"),
            (exp(i64::MAX), None, NOW + year, "orders"),
            ("opaque".to_owned(), Some(u64::MAX), NOW + year, "shop"),
        ] {
            let token = read(&value, lives).expect("is good");
            assert_eq!(
                (token.lifetime_ms, token.principal_name.as_str()),
                (ends * 1000, principal),
                "{value} {lives:?}"
            );
            assert_eq!(token.token, value);
        }
    }

    #[test]
    fn what_is_no_token_or_is_over_is_refused_in_words_without_it() {
        for (value, lives, expected) in [
            (String::new(), Some(30), "is no token"),
            ("two words".to_owned(), Some(30), "is no token"),
            ("opaque".to_owned(), None, "does not say how long it lives"),
            (jwt(r#"{"exp":"soon"}"#), None, "does not say how long it lives"),
            (jwt(&format!(r#"{{"exp":{NOW}}}"#)), None, "has expired"),
            (jwt(r#"{"exp":-1e300}"#), None, "has expired"),
            ("opaque".to_owned(), Some(0), "has expired"),
        ] {
            let said = read(&value, lives).map(|token| token.lifetime_ms).expect_err("is refused");
            assert!(said.starts_with(expected) && (value.is_empty() || !said.contains(&value)), "{value}: {said}");
        }
    }

    #[test]
    fn the_next_token_is_asked_for_well_before_the_library_wants_it() {
        let token = Token::read("opaque", Some(Duration::from_secs(100)), "shop", now()).expect("is good");
        for _ in 0..1000 {
            assert!((53..=67).contains(&token.ripe_in(now()).as_secs()));
        }
        assert_eq!(token.ripe_in(now() + Duration::from_secs(101)), Duration::ZERO);
    }
}
