//! Whose token it is: one issuer is not another.

use std::time::Duration;

use shop_identity::{Identity, IdentitySettings, Refusal};

use crate::forge::{ISSUER, Pair};
use crate::provider::{Manner, Provider};
use crate::world::{LONG, SHORT, bears, open, refused, settings};

#[tokio::test]
async fn an_issuer_is_known_by_its_name_to_the_letter() {
    for (named, other) in [
        (ISSUER, "https://issuer.test/"),
        ("https://issuer.test/", ISSUER),
        (ISSUER, "https://ISSUER.test"),
        (ISSUER, "http://issuer.test"),
        (ISSUER, "https://issuer.test:443"),
        (ISSUER, "https://issuer.test#"),
        (ISSUER, ""),
        (ISSUER, "shop"),
    ] {
        let pair = Pair::new("ES256", "k1");
        let provider = Provider::start(&[&pair]).await;
        let authenticator = open(&IdentitySettings { issuer: named.to_owned(), ..settings(&provider, LONG) });
        let token = |iss: &str| pair.token(&[], &[("iss", &format!("{iss:?}"))]);
        assert!(bears(&authenticator, &token(named)).await.is_ok(), "{named}");
        refused(&authenticator, &token(other), other).await;
    }
}

#[tokio::test]
async fn what_one_issuer_signs_is_nothing_under_the_name_of_another() {
    let (one, two) = (Pair::new("ES256", "k1"), Pair::new("ES256", "k1"));
    let (first, second) = (Provider::start(&[&one]).await, Provider::start(&[&two]).await);
    let mut settings = settings(&first, LONG);
    settings.others = vec![shop_identity::Provider {
        issuer: "https://second.test".to_owned(),
        audience: "second-api".to_owned(),
        jwks_url: second.url("/jwks"),
        user_prefix: "second|".to_owned(),
        ..shop_identity::Provider::default()
    }];
    let authenticator = open(&settings);
    let (iss, aud) = (r#""https://second.test""#, r#""second-api""#);
    let ada = bears(&authenticator, &one.good()).await.expect("the first's");
    let other = bears(&authenticator, &two.token(&[], &[("iss", iss), ("aud", aud)])).await.expect("the second's");
    assert_eq!((&*ada.subject, &*other.subject), ("ada", "ada"));
    assert_eq!((&*ada.user, &*other.user), ("ada", "second|ada"), "two people");
    assert_ne!(ada.issuer, other.issuer);
    for (why, token) in [
        ("the first's under the second's name", one.token(&[], &[("iss", iss), ("aud", aud)])),
        ("the second's under the first's name", two.good()),
        ("the second's for the first's audience", two.token(&[], &[("iss", iss)])),
        ("the first's for the second's audience", one.token(&[], &[("aud", aud)])),
        ("nobody's", one.token(&[], &[("iss", r#""https://third.test""#)])),
    ] {
        refused(&authenticator, &token, why).await;
    }
    assert_eq!((first.count(), second.count()), (1, 1));

    // One that is away is no harm to the other.
    second.turns(Manner::Away);
    let away = two.token(&[("kid", r#""k2""#)], &[("iss", iss), ("aud", aud)]);
    assert!(matches!(bears(&authenticator, &away).await, Err(Refusal::Unavailable(_))));
    assert!(bears(&authenticator, &one.token(&[], &[("sub", r#""bob""#)])).await.is_ok());
}

#[tokio::test]
async fn discovery_is_believed_only_under_the_name_that_was_asked_for() {
    let pair = Pair::new("ES256", "k1");
    let provider = Provider::start(&[&pair]).await;
    provider.turns(Manner::CallsItself(provider.url("/")));
    let settings = IdentitySettings { issuer: provider.url(""), jwks_url: String::new(), ..settings(&provider, SHORT) };
    let authenticator = open(&settings);
    let token = pair.token(&[], &[("iss", &format!("{:?}", provider.url("")))]);
    for name in [provider.url("/"), ISSUER.to_owned(), provider.url("").replace("127.0.0.1", "localhost")] {
        provider.turns(Manner::CallsItself(name));
        let found = bears(&authenticator, &token).await;
        assert_eq!(found.err(), Some(Refusal::Unavailable(Duration::from_secs(1))));
        assert!(!authenticator.is_ready());
        assert_eq!(authenticator.missing(), Some(&*provider.url("")));
    }
    assert_eq!(provider.count(), 0, "what another says of its keys is not followed");
    provider.turns(Manner::Good);
    assert!(bears(&authenticator, &token).await.is_ok());
    assert!(authenticator.is_ready());
    let paths = provider.asked();
    assert!(paths.iter().all(|path| ["/.well-known/openid-configuration", "/jwks"].contains(&&**path)), "{paths:?}");
}

#[tokio::test]
async fn an_address_that_cannot_be_believed_is_not_asked() {
    for url in
        ["http://192.0.2.1/jwks", "http://localhost.example/jwks", "ftp://127.0.0.1/jwks", "http://u:p@127.0.0.1/jwks"]
    {
        let mut problems = shop_config::Problems::default();
        let settings = IdentitySettings {
            mode: shop_identity::Mode::Required,
            issuer: ISSUER.to_owned(),
            audience: "shop-api".to_owned(),
            jwks_url: url.to_owned(),
            ..IdentitySettings::default()
        };
        settings.check(&[], &mut problems);
        assert!(format!("{problems:?}").contains("jwks_url"), "{url}: {problems:?}");
        let authenticator = Identity::open(&settings, "basket").expect("it opens").authenticator().expect("on").clone();
        assert!(!authenticator.is_ready());
    }
}
