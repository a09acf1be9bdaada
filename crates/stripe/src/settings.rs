//! Settings of an account with Stripe.

use serde::{Deserialize, Serialize};
use shop_balance::settings::CircuitBreaker;
use shop_config::{Duration, Problems, Secret, Var};
use url::{Host, Url};

use crate::signature::WebhookSecrets;

/// An account with Stripe, and how it is reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StripeSettings {
    /// The account's secret key: `sk_live_…`, `sk_test_…`, or a restricted one that may write payment intents and refunds and
    /// read disputes (`rk_…`). Empty: Stripe takes no payment.
    pub secret_key: Secret,
    /// What its webhooks are signed with (`whsec_…`); several, separated by commas, while one takes another's place. Empty: none
    /// is believed.
    pub webhook_secrets: Secret,
    /// The page of the shop to which payers come back when their bank has asked them; `{payment}` in it becomes the payment's id.
    /// Needed with a key.
    pub return_url: String,
    /// Where its API is. Another one only for tests.
    pub base_url: String,
    /// How long a connection may take to be made. A second is what the other side of the world needs, with a packet lost.
    pub connect_timeout: Duration,
    /// How long one answer may take before the call is made once more, under the same key. A bank may think for some seconds.
    pub timeout: Duration,
    /// Leaving it alone while it does not answer, so that nobody waits for what will not come.
    pub circuit_breaker: CircuitBreaker,
}

impl Default for StripeSettings {
    fn default() -> Self {
        Self {
            secret_key: Secret::default(),
            webhook_secrets: Secret::default(),
            return_url: String::new(),
            base_url: "https://api.stripe.com".to_owned(),
            connect_timeout: Duration::secs(2),
            timeout: Duration::secs(8),
            // Shorter than between services: there is one Stripe, and nobody else to ask.
            circuit_breaker: CircuitBreaker { timeout: Duration::secs(5), ..CircuitBreaker::default() },
        }
    }
}

impl StripeSettings {
    /// The variables it hears, its keys below `stripe`.
    pub fn vars() -> Vec<Var> {
        vec![
            Var::new("STRIPE_SECRET_KEY", "stripe.secret_key", "the account's secret key: sk_… or rk_…"),
            Var::new("STRIPE_WEBHOOK_SECRETS", "stripe.webhook_secrets", "whsec_…, several separated by commas"),
            Var::new("STRIPE_RETURN_URL", "stripe.return_url", "where payers come back to; {payment} becomes its id"),
            Var::new("STRIPE_BASE_URL", "stripe.base_url", "where its API is, when not at api.stripe.com"),
        ]
    }

    /// Whether Stripe takes payments.
    pub fn is_set(&self) -> bool {
        !self.secret_key.is_empty()
    }

    /// Whether its key moves no real money.
    pub fn is_test(&self) -> bool {
        self.secret_key.expose().contains("_test_")
    }

    /// Where the payer of this payment comes back to.
    pub fn returning(&self, payment: &str) -> String {
        self.return_url.replace("{payment}", payment)
    }

    /// Finds wrong values.
    pub fn check(&self, problems: &mut Problems) {
        let key = self.secret_key.expose();
        let is_key = ["sk_", "rk_"].iter().any(|start| key.starts_with(start));
        let is_plain = key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        problems.ensure(key.is_empty() || is_key && is_plain, "secret_key", "is not one: they begin with sk_ or rk_");
        if let Err(error) = WebhookSecrets::read(&self.webhook_secrets) {
            problems.add("webhook_secrets", error);
        }
        let message = "use https://…; http:// only on loopback";
        problems.ensure(is_safe(&self.base_url), "base_url", message);
        let back = Url::parse(&self.returning("0"));
        let is_page = back.is_ok_and(|url| url.has_host() && ["https", "http"].contains(&url.scheme()));
        problems.ensure(
            is_page || !self.is_set(),
            "return_url",
            "is needed: the page to which payers come back, https://…",
        );
        problems.ensure(!self.connect_timeout.is_zero(), "connect_timeout", "must be more than 0");
        problems.ensure(!self.timeout.is_zero(), "timeout", "must be more than 0");
        problems.within("circuit_breaker", |problems| self.circuit_breaker.check(problems));
    }
}

/// Whether a secret key can be sent there: nobody can read it on the way.
fn is_safe(url: &str) -> bool {
    let Ok(url) = Url::parse(url) else { return false };
    let is_here = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => return false,
    };
    let is_bare = url.username().is_empty() && url.password().is_none() && url.query().is_none();
    is_bare && url.path() == "/" && (url.scheme() == "https" || url.scheme() == "http" && is_here)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(settings: &StripeSettings) -> Vec<String> {
        let mut problems = Problems::default();
        settings.check(&mut problems);
        problems.iter().map(|problem| problem.key.clone()).collect()
    }

    #[test]
    fn nothing_set_is_fine_and_takes_no_payment() {
        let settings = StripeSettings::default();
        assert_eq!((wrong(&settings), settings.is_set()), (Vec::new(), false));
    }

    #[test]
    fn a_key_is_a_secret_key_and_never_a_publishable_one() {
        for (key, fine) in [
            ("sk_test_1", true),
            ("sk_live_1", true),
            ("rk_live_1", true),
            ("pk_live_1", false),
            ("whsec_1", false),
            ("sk_live_1\n", false),
            ("sk_live_1, sk_live_2", false),
        ] {
            let return_url = "https://shop.example/paid/{payment}".to_owned();
            let settings = StripeSettings { secret_key: Secret::from(key), return_url, ..StripeSettings::default() };
            assert_eq!(wrong(&settings).is_empty(), fine, "{key}");
        }
    }

    #[test]
    fn a_key_is_sent_in_the_clear_to_this_machine_alone() {
        for (url, fine) in [
            ("https://api.stripe.com", true),
            ("https://api.stripe.com/", true),
            ("http://127.0.0.1:12111", true),
            ("http://[::1]:12111", true),
            ("http://api.stripe.com", false),
            ("https://user@api.stripe.com", false),
            ("https://api.stripe.com/v2", false),
            ("ftp://127.0.0.1", false),
            ("", false),
        ] {
            let settings = StripeSettings { base_url: url.to_owned(), ..StripeSettings::default() };
            assert_eq!(wrong(&settings).is_empty(), fine, "{url}");
        }
    }

    #[test]
    fn payers_need_a_page_to_come_back_to() {
        for (url, fine) in [
            ("https://shop.example/paid?payment={payment}", true),
            ("http://localhost:3000/paid", true),
            ("", false),
            ("/paid", false),
            ("javascript:alert(1)", false),
        ] {
            let secret_key = Secret::from("sk_test_1");
            let settings = StripeSettings { secret_key, return_url: url.to_owned(), ..StripeSettings::default() };
            assert_eq!(wrong(&settings).is_empty(), fine, "{url}");
        }
        let settings =
            StripeSettings { return_url: "https://a.example/{payment}".to_owned(), ..StripeSettings::default() };
        assert_eq!(settings.returning("7"), "https://a.example/7");
    }

    #[test]
    fn what_cannot_work_is_named() {
        let settings = StripeSettings {
            webhook_secrets: Secret::from("whsec_1,,nonsense"),
            connect_timeout: Duration::secs(0),
            timeout: Duration::secs(0),
            ..StripeSettings::default()
        };
        assert_eq!(wrong(&settings), ["webhook_secrets", "connect_timeout", "timeout"]);
    }
}
