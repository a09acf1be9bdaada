//! A process that trusts an issuer.

use std::sync::Arc;
use std::time::Duration;

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use shop_identity::{Authenticator, Identity, IdentitySettings, Mode, Principal, Refusal};
use shop_runtime::CancellationToken;

use crate::forge::{AUDIENCE, ISSUER, Pair};
use crate::provider::Provider;

/// The longest that a test waits for something.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// A time between two looks that no test waits for, and one that is over at once.
pub(crate) const LONG: u64 = 3_600_000;
pub(crate) const SHORT: u64 = 1;

/// Trusts an issuer whose keys are at the provider's, and asks for them after as many milliseconds again.
pub(crate) fn settings(provider: &Provider, cooldown: u64) -> IdentitySettings {
    IdentitySettings {
        mode: Mode::Required,
        issuer: ISSUER.to_owned(),
        audience: AUDIENCE.to_owned(),
        jwks_url: provider.url("/jwks"),
        cooldown: shop_config::Duration::millis(cooldown),
        ..IdentitySettings::default()
    }
}

/// As the basket service; asks for keys in the background until the test is over.
pub(crate) fn open(settings: &IdentitySettings) -> Arc<Authenticator> {
    let identity = Identity::open(settings, "basket").expect("good settings");
    tokio::spawn(identity.clone().run(CancellationToken::new()));
    identity.authenticator().expect("it is on").clone()
}

/// One that has the keys of a provider, and the provider.
pub(crate) async fn trusting(pairs: &[&Pair], cooldown: u64) -> (Arc<Authenticator>, Provider) {
    let provider = Provider::start(pairs).await;
    let authenticator = open(&settings(&provider, cooldown));
    for pair in pairs {
        let principal = bears(&authenticator, &pair.good()).await.expect("a good token");
        assert_eq!(&*principal.user, "ada");
    }
    (authenticator, provider)
}

/// Who calls with this token.
pub(crate) async fn bears(authenticator: &Authenticator, token: &str) -> Result<Arc<Principal>, Refusal> {
    let value = HeaderValue::from_bytes(format!("Bearer {token}").as_bytes()).map_err(|_| Refusal::Invalid)?;
    let found = authenticator.of(&HeaderMap::from_iter([(AUTHORIZATION, value)])).await;
    found.map(|principal| principal.expect("there is a token"))
}

/// Asserts that the token is for nobody, and is not remembered either.
pub(crate) async fn refused(authenticator: &Authenticator, token: &str, why: &str) {
    for _ in 0..2 {
        assert_eq!(bears(authenticator, token).await.err(), Some(Refusal::Invalid), "{why}: {token}");
        assert!(authenticator.known(token).is_none(), "{why}");
    }
}
