//! Events, signed as Stripe signs them, and when they are sent.

use ring::hmac;

use super::Desk;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// `evt_…`
    pub id: String,
    /// Such as `payment_intent.succeeded`.
    pub kind: String,
    /// The intent that it concerns.
    pub intent: String,
    /// What is sent.
    pub body: String,
}

/// Where webhooks go, and when.
#[derive(Clone, Debug, Default)]
pub enum Webhooks {
    /// Only when the test sends them: in any order, as often as it likes, or never.
    #[default]
    ByHand,
    /// The same, to this URL, signed with this secret.
    ByHandTo(String, String),
    /// While the request that causes them waits for its answer.
    BeforeTheAnswer(String, String),
    /// In order, as soon as there is something to tell.
    AtOnce(String, String),
}

impl Webhooks {
    fn receiver(&self) -> Option<(String, String)> {
        match self {
            Self::ByHand => None,
            Self::ByHandTo(url, secret) | Self::BeforeTheAnswer(url, secret) | Self::AtOnce(url, secret) => {
                Some((url.clone(), secret.clone()))
            }
        }
    }

    pub(super) fn is_sent_before(&self) -> bool {
        matches!(self, Self::BeforeTheAnswer(..))
    }

    /// What nobody waits for is sent at once, too, when others are sent before an answer.
    pub(super) fn is_sent_at_once(&self) -> bool {
        matches!(self, Self::AtOnce(..) | Self::BeforeTheAnswer(..))
    }
}

impl Event {
    /// The value of `Stripe-Signature` at a moment, in Unix seconds.
    #[must_use]
    pub fn signature(&self, secret: &str, at: i64) -> String {
        sign(secret, at, self.body.as_bytes())
    }
}

/// The value of `Stripe-Signature` for `body`, beside one of the version that is for tests.
#[must_use]
pub fn sign(secret: &str, at: i64, body: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let signed = [at.to_string().as_bytes(), b".", body].concat();
    let digits = crate::collector::hex(hmac::sign(&key, &signed).as_ref());
    format!("t={at},v1={digits},v0={}", "0".repeat(64))
}

impl Desk {
    /// Sends an event, and notes the answer.
    pub(super) async fn deliver(&self, event: &Event) -> u16 {
        let (receiver, at) = {
            let state = self.state();
            (state.webhooks.receiver(), state.signs_at)
        };
        let (url, secret) = receiver.expect("somewhere to send it");
        // The receiver's clock is the machine's, not the double's.
        let at = at.unwrap_or_else(now);
        let request = self.client.post(url).header("content-type", "application/json; charset=utf-8");
        let request = request.header("stripe-signature", event.signature(&secret, at)).body(event.body.clone());
        let status = request.send().await.map_or(0, |response| response.status().as_u16());
        self.state().delivered.push((event.id.clone(), status));
        status
    }
}

/// In Unix seconds.
#[expect(clippy::disallowed_methods, reason = "a signature is of now, whatever the test's clock says")]
pub(super) fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    i64::try_from(since.as_secs()).expect("before the end of time")
}
