//! What a token says, signed by the right key.

use shop_identity::Refusal;

use crate::forge::{ISSUER, Pair, now};
use crate::provider::Provider;
use crate::world::{LONG, bears, open, refused, settings, trusting};

#[tokio::test]
async fn claims_of_the_wrong_type_missing_or_twice_are_refused() {
    let pair = Pair::new("ES256", "k1");
    let (authenticator, provider) = trusting(&[&pair], LONG).await;
    for (name, value) in [
        ("exp", r#""never""#),
        ("exp", r#""4102444800""#),
        ("exp", "1e400"),
        ("exp", "-1"),
        ("exp", "NaN"),
        ("exp", "Infinity"),
        ("exp", "null"),
        ("exp", "true"),
        ("exp", "[4102444800]"),
        ("exp", "{}"),
        ("exp", "1e300"),
        ("exp", ""),
        ("nbf", r#""0""#),
        ("nbf", r#""9999""#),
        ("nbf", "null"),
        ("nbf", "[]"),
        ("nbf", "-1"),
        ("nbf", "4102444800"),
        ("iat", r#""now""#),
        ("iat", "null"),
        ("iat", "-1"),
        ("sub", "1"),
        ("sub", r#""""#),
        ("sub", "null"),
        ("sub", r#"["ada"]"#),
        ("sub", r#""ada\n""#),
        ("sub", r#""ada\u0000""#),
        ("sub", ""),
        ("jti", "1"),
        ("jti", "null"),
        ("iss", ""),
        ("iss", "null"),
        ("iss", "1"),
        ("iss", r#"["https://issuer.test"]"#),
        ("iss", r#"{"https://issuer.test":1}"#),
    ] {
        refused(&authenticator, &pair.token(&[], &[(name, value)]), &format!("{name} {value}")).await;
    }
    for (name, one, two) in [
        ("sub", r#""ada""#, r#""bob""#),
        ("aud", r#""shop-api""#, r#""shop-api""#),
        ("exp", "1", "4102444800"),
        ("iss", r#""https://issuer.test""#, r#""https://issuer.test""#),
        ("roles", "[]", r#"["operator"]"#),
    ] {
        refused(&authenticator, &pair.token(&[], &[(name, one), (name, two)]), name).await;
    }
    // The same name, spelt in two ways.
    let spelt = crate::forge::claims(&[]).replacen('{', r#"{"s\u0075b":"bob","#, 1);
    refused(&authenticator, &pair.signed(&pair.head(&[]), &spelt), "an escape").await;
    for text in ["[]", "null", "1", r#""ada""#, "", "{}", "{", r#"{"a":1} {}"#] {
        refused(&authenticator, &pair.signed(&pair.head(&[]), text), text).await;
    }
    assert_eq!(provider.count(), 1);
}

#[tokio::test]
async fn a_token_is_for_us_only_if_it_says_so() {
    let pair = Pair::new("ES256", "k1");
    let (authenticator, _provider) = trusting(&[&pair], LONG).await;
    for aud in [r#""shop-api""#, r#"["shop-api"]"#, r#"["a","b","shop-api"]"#, r#"["shop-api","shop-api"]"#] {
        assert!(bears(&authenticator, &pair.token(&[], &[("aud", aud)])).await.is_ok(), "{aud}");
    }
    for aud in [
        "",
        "null",
        "[]",
        "{}",
        r#"{"shop-api":true}"#,
        "1",
        r#""""#,
        r#""shop-api ""#,
        r#""Shop-API""#,
        r#""shop-api,other""#,
        r#""other shop-api""#,
        r#"["other shop-api"]"#,
        r#"["other"]"#,
        r#"["shop-api",1]"#,
        r#"[["shop-api"]]"#,
        r#""*""#,
        // What the suite's own tokens have.
        r#""shop""#,
        r#""basket""#,
    ] {
        refused(&authenticator, &pair.token(&[], &[("aud", aud)]), aud).await;
    }
    // An ID token: for the client, with the shop's API nowhere.
    let id_token = pair.token(&[("typ", r#""JWT""#)], &[("aud", r#""web-client""#), ("nonce", r#""n""#)]);
    refused(&authenticator, &id_token, "an ID token").await;
}

#[tokio::test]
async fn times_are_good_to_the_second_of_the_leeway() {
    let pair = Pair::new("ES256", "k1");
    let provider = Provider::start(&[&pair]).await;
    let mut settings = settings(&provider, LONG);
    settings.max_lifetime = Some(shop_config::Duration::secs(600));
    let authenticator = open(&settings);
    let leeway = 60;
    for (exp, nbf, iat, expected) in [
        (300, -1, -1, Ok(())),
        // Ends.
        (-leeway + 1, -100, -100, Ok(())),
        (-leeway - 1, -100, -100, Err(Refusal::Expired)),
        (-100_000, -100_100, -100_100, Err(Refusal::Expired)),
        // Begins.
        (300, leeway, 0, Ok(())),
        (300, leeway + 2, 0, Err(Refusal::Invalid)),
        // Was issued.
        (300, 0, leeway, Ok(())),
        (300, 0, leeway + 2, Err(Refusal::Invalid)),
        // Lives.
        (300, 0, -300, Ok(())),
        (300, 0, -301, Err(Refusal::Invalid)),
    ] {
        // Once more if the clock moved on meanwhile: it is about the second.
        loop {
            let now = now();
            let at = |seconds: i64| now.saturating_add_signed(seconds).to_string();
            let token = pair.token(&[], &[("exp", &at(exp)), ("nbf", &at(nbf)), ("iat", &at(iat))]);
            let found = bears(&authenticator, &token).await.map(|_| ());
            if self::now() == now {
                assert_eq!(found, expected, "{exp} {nbf} {iat}");
                break;
            }
        }
    }
    refused(&authenticator, &pair.token(&[], &[("iat", "")]), "how long it lives is not said").await;
    let exp = (now() + 300).to_string() + ".9";
    assert!(bears(&authenticator, &pair.token(&[], &[("exp", &exp)])).await.is_ok(), "a fraction");
}

#[tokio::test]
async fn names_that_mean_something_here_are_not_taken_from_outside() {
    let pair = Pair::new("ES256", "k1");
    let (authenticator, provider) = trusting(&[&pair], LONG).await;
    for sub in ["guest-1", "guest-", "service:payment", "service:", "me"] {
        refused(&authenticator, &pair.token(&[], &[("sub", &format!("{sub:?}"))]), sub).await;
    }
    let mut settings = settings(&provider, LONG);
    settings.user_claim = "name".to_owned();
    settings.services = [("k8s:payment".to_owned(), "payment".to_owned())].into();
    settings.roles_claim = "realm.roles".to_owned();
    settings.roles = [("shop-admins".to_owned(), shop_identity::Role::Operator)].into();
    let authenticator = open(&settings);
    for (name, fine) in
        [(r#""ada""#, true), (r#""service:payment""#, false), (r#""me""#, false), ("", false), ("1", false)]
    {
        assert_eq!(bears(&authenticator, &pair.token(&[], &[("name", name)])).await.is_ok(), fine, "{name}");
    }
    let roles = r#"{"roles":["shop-admins","support","Catalogue",7]}"#;
    let claims = [("sub", r#""k8s:payment""#), ("name", r#""ada""#), ("realm", roles)];
    let service = bears(&authenticator, &pair.token(&[], &claims)).await.expect("a service");
    assert!(service.is_service("payment") && !service.is_service("basket"));
    assert!(shop_identity::Role::ALL.iter().all(|role| !service.roles.has(*role)), "a service has no roles");
    let person = bears(&authenticator, &pair.token(&[], &claims[1..])).await.expect("a person");
    assert!(!person.is_service("payment"));
    assert_eq!(shop_identity::Role::ALL.map(|role| person.roles.has(role)), [false, true, true]);
    assert_eq!(&*person.issuer, ISSUER);
}
