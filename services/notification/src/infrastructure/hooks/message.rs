//! What is sent, and how it is signed.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use serde::Serialize;
use shop_events::{Envelope, Event};

use crate::domain::SigningSecret;

/// The shape that Standard Webhooks recommends.
#[derive(Serialize)]
struct Body<'a, T> {
    r#type: &'a str,
    timestamp: String,
    data: &'a T,
}

/// The JSON body: the same bytes for the same event, however often it is sent.
pub(super) fn body(event: &Envelope) -> serde_json::Result<Vec<u8>> {
    match &event.event {
        Event::PaymentCompleted(data) => written(event, data),
        Event::PaymentFailed(data) => written(event, data),
        Event::PaymentRefunded(data) => written(event, data),
        Event::PaymentRefundFailed(data) => written(event, data),
        Event::PaymentAuthorised(data) => written(event, data),
        Event::PaymentActionRequired(data) => written(event, data),
        Event::PaymentExpired(data) => written(event, data),
        Event::PaymentCancelled(data) => written(event, data),
        Event::PaymentDisputed(data) => written(event, data),
        Event::StockUpdated(data) => written(event, data),
        Event::BasketCleared(data) => written(event, data),
        Event::UserErased(data) => written(event, data),
    }
}

fn written<T: Serialize>(event: &Envelope, data: &T) -> serde_json::Result<Vec<u8>> {
    let (r#type, timestamp) = (event.event.event_type(), shop_clock::rfc3339(event.time));
    serde_json::to_vec(&Body { r#type, timestamp, data })
}

/// The value of `webhook-signature`: one signature for each secret, of the id, the time and the body.
pub(super) fn signatures(id: &str, at: i64, body: &[u8], secrets: &[SigningSecret]) -> String {
    let at = at.to_string();
    let signed = secrets.iter().map(|secret| {
        let mut signing = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, secret.key()));
        for part in [id.as_bytes(), b".", at.as_bytes(), b".", body] {
            signing.update(part);
        }
        format!("v1,{}", STANDARD.encode(signing.sign()))
    });
    signed.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::SigningSecret;

    /// The example that the libraries of Standard Webhooks are tested with.
    #[test]
    fn the_published_example_is_signed_as_published() {
        let secret = SigningSecret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").expect("is a secret");
        let other = SigningSecret::from_key([7; 32]);
        let (id, at, body) = ("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        let expected = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        assert_eq!(signatures(id, at, body, std::slice::from_ref(&secret)), expected);
        let both = signatures(id, at, body, &[other, secret]);
        let (first, second) = both.split_once(' ').expect("two signatures");
        assert!(first.starts_with("v1,") && first != expected, "{first}");
        assert_eq!(second, expected);
    }
}
