//! Whether a webhook is Stripe's: `Stripe-Signature: t=…,v1=…` (docs.stripe.com/webhooks, "Verify webhook signatures manually").

use std::time::Duration;

use ring::hmac;
use shop_config::Secret;
use time::OffsetDateTime;

/// How far the time of a signature may be off, either way: what Stripe's own libraries allow.
pub const TOLERANCE: Duration = Duration::from_mins(5);

/// The longest header that is looked at; one with a signature for each of ten secrets has about 800 bytes.
const LONGEST: usize = 4096;
/// The most secrets at once.
const MOST: usize = 10;

/// What webhooks are signed with.
#[derive(Clone)]
pub struct WebhookSecrets(Vec<hmac::Key>);

impl std::fmt::Debug for WebhookSecrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} webhook secrets", self.0.len())
    }
}

/// Why a webhook is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// The header is not there, or not one.
    #[error("there is no readable Stripe-Signature")]
    Malformed,
    /// Its time is off by more than [`TOLERANCE`].
    #[error("the signature is too old, or from the future")]
    Untimely,
    /// None of its signatures was made with one of the secrets.
    #[error("the signature was not made with a secret that is known here")]
    Wrong,
}

impl WebhookSecrets {
    /// Reads secrets that are separated by commas.
    pub fn read(secrets: &Secret) -> Result<Self, &'static str> {
        let text = secrets.expose().trim();
        if text.is_empty() {
            return Ok(Self(Vec::new()));
        }
        let all: Vec<&str> = text.split(',').map(str::trim).collect();
        if all.len() > MOST {
            return Err("use at most 10");
        }
        // A key that is too short would be one that anybody can guess; Stripe's have 38 characters.
        if !all.iter().all(|secret| secret.len() >= 16 && secret.starts_with("whsec_")) {
            return Err("each has to begin with whsec_; separate them by commas");
        }
        Ok(Self(all.iter().map(|secret| hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes())).collect()))
    }

    /// Whether there is none, so that nothing can be believed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `header` signs `body`, the bytes as they came. Takes as long for a wrong signature as for another wrong one.
    pub fn verify(&self, header: &str, body: &[u8], now: OffsetDateTime) -> Result<(), SignatureError> {
        let (at, signatures) = parts(header).ok_or(SignatureError::Malformed)?;
        let seconds: i64 = at.parse().map_err(|_| SignatureError::Malformed)?;
        if now.unix_timestamp().abs_diff(seconds) > TOLERANCE.as_secs() {
            return Err(SignatureError::Untimely);
        }
        let signed = [at.as_bytes(), b".", body].concat();
        let fits = |signature: &[u8; 32]| self.0.iter().any(|key| hmac::verify(key, &signed, signature).is_ok());
        if signatures.iter().any(fits) { Ok(()) } else { Err(SignatureError::Wrong) }
    }
}

/// The time, to the letter, and the signatures of version 1. Others are ignored: `v0` is for tests.
fn parts(header: &str) -> Option<(&str, Vec<[u8; 32]>)> {
    if header.len() > LONGEST {
        return None;
    }
    let (mut at, mut signatures) = (None, Vec::new());
    for part in header.split(',') {
        match part.trim().split_once('=')? {
            // Two times would be one that is signed and one that is judged.
            ("t", _) if at.is_some() => return None,
            ("t", time) => at = Some(time),
            ("v1", signature) if signatures.len() < MOST => signatures.extend(bytes(signature)),
            _ => {}
        }
    }
    let at = at.filter(|at| !at.is_empty() && at.bytes().all(|byte| byte.is_ascii_digit()))?;
    (!signatures.is_empty()).then_some((at, signatures))
}

/// 64 hexadecimal digits.
fn bytes(text: &str) -> Option<[u8; 32]> {
    let digits = text.as_bytes();
    if digits.len() != 64 {
        return None;
    }
    let digit = |byte: u8| (byte as char).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "whsec_abcdefghijklmnop";
    const OTHER: &str = "whsec_qrstuvwxyz012345";
    const BODY: &[u8] = br#"{"id":"evt_1"}"#;
    const NOW: i64 = 1_700_000_000;

    fn secrets(text: &str) -> WebhookSecrets {
        WebhookSecrets::read(&Secret::from(text)).expect("secrets")
    }

    fn sign(secret: &str, at: i64, body: &[u8]) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        let signed = [at.to_string().as_bytes(), b".", body].concat();
        hmac::sign(&key, &signed).as_ref().iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
    }

    fn verify(secrets: &WebhookSecrets, header: &str) -> Result<(), SignatureError> {
        secrets.verify(header, BODY, OffsetDateTime::from_unix_timestamp(NOW).expect("a time"))
    }

    /// Worked out with Python's `hmac`, so that ours is not held against itself alone.
    #[test]
    fn a_signature_that_another_program_made_is_good() {
        let header = format!("t={NOW},v1=d8d245c31dd242c9c378b988dcf0ccfa2f113c6a171df06e028775b4a30d48ab");
        assert_eq!(verify(&secrets(ONE), &header), Ok(()));
    }

    #[test]
    fn the_raw_bytes_are_signed_and_nothing_that_only_means_the_same() {
        let secrets = secrets(ONE);
        let header = format!("t={NOW},v1={}", sign(ONE, NOW, BODY));
        let now = OffsetDateTime::from_unix_timestamp(NOW).expect("a time");
        assert_eq!(secrets.verify(&header, BODY, now), Ok(()));
        for body in [&br#"{ "id":"evt_1"}"#[..], b"{\"id\":\"evt_1\"}\n", br#"{"id":"evt_2"}"#, b""] {
            assert_eq!(secrets.verify(&header, body, now), Err(SignatureError::Wrong));
        }
    }

    #[test]
    fn while_secrets_change_either_is_good_on_either_side() {
        let both = secrets(&format!("{ONE}, {OTHER}"));
        let (one, other) = (sign(ONE, NOW, BODY), sign(OTHER, NOW, BODY));
        assert_eq!(verify(&both, &format!("t={NOW},v1={other}")), Ok(()));
        assert_eq!(verify(&secrets(ONE), &format!("t={NOW},v1={other},v1={one}")), Ok(()));
        assert_eq!(verify(&secrets(ONE), &format!("t={NOW},v1={other}")), Err(SignatureError::Wrong));
        assert_eq!(
            verify(&secrets(""), &format!("t={NOW},v1={one}")),
            Err(SignatureError::Wrong),
            "no secret, no belief"
        );
    }

    #[test]
    fn a_signature_of_another_version_counts_for_nothing() {
        let good = sign(ONE, NOW, BODY);
        let secrets = secrets(ONE);
        assert_eq!(verify(&secrets, &format!("t={NOW},v0={good}")), Err(SignatureError::Malformed));
        assert_eq!(verify(&secrets, &format!("t={NOW},v1={good},v0={}", "0".repeat(64))), Ok(()));
        assert_eq!(verify(&secrets, &format!("v0=x, v1={good}, t={NOW}, v2=y")), Ok(()), "in any order");
    }

    #[test]
    fn five_minutes_either_way_and_no_second_more() {
        for (off, result) in
            [(-301, Err(SignatureError::Untimely)), (-300, Ok(())), (300, Ok(())), (301, Err(SignatureError::Untimely))]
        {
            let at = NOW + off;
            assert_eq!(verify(&secrets(ONE), &format!("t={at},v1={}", sign(ONE, at, BODY))), result, "{off}");
        }
    }

    #[test]
    fn what_is_no_header_is_refused_before_anything_is_worked_out() {
        let good = sign(ONE, NOW, BODY);
        for header in [
            String::new(),
            "t".to_owned(),
            format!("t={NOW}"),
            format!("v1={good}"),
            format!("t=,v1={good}"),
            format!("t=-5,v1={good}"),
            format!("t=+{NOW},v1={good}"),
            format!("t=99999999999999999999999,v1={good}"),
            format!("t={NOW},t={NOW},v1={good}"),
            format!("t={NOW},v1={}", &good[1..]),
            format!("t={NOW},v1={}", "g".repeat(64)),
            format!("t={NOW},v1={}", "é".repeat(32)),
            format!("t={NOW},v1={good},{}", "x=y,".repeat(2000)),
        ] {
            assert_eq!(verify(&secrets(ONE), &header), Err(SignatureError::Malformed), "{header:.80}");
        }
        assert_eq!(verify(&secrets(ONE), &format!("t={NOW},v1={}", good.to_uppercase())), Ok(()), "hex is hex");
    }

    #[test]
    fn secrets_are_read_and_never_shown() {
        for text in ["whsec_", "whsec_short", "sk_live_abcdefghijklmnop", "whsec_abcdefghijklmnop,"] {
            assert!(WebhookSecrets::read(&Secret::from(text)).is_err(), "{text}");
        }
        assert!(WebhookSecrets::read(&Secret::from([ONE; 11].join(","))).is_err());
        assert_eq!(format!("{:?}", secrets(ONE)), "1 webhook secrets");
        assert!(secrets(" ").is_empty());
    }
}
