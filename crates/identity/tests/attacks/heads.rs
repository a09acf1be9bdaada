//! What heads of tokens and of requests say.

use std::time::Instant;

use http::{HeaderMap, HeaderValue};
use shop_identity::Refusal;

use crate::forge::{Pair, claims, message, noise, part};
use crate::provider::Provider;
use crate::world::{LONG, SHORT, bears, refused, trusting};

#[tokio::test]
async fn nothing_that_a_token_names_is_fetched_or_believed() {
    let pair = Pair::new("ES256", "k1");
    let mallory = Pair::new("ES256", "k1");
    let (authenticator, provider) = trusting(&[&pair], LONG).await;
    let trap = Provider::start(&[&mallory]).await;
    let (url, jwk) = (format!("{:?}", trap.url("/jwks")), mallory.jwk().to_string());
    let chain = format!("[{:?}]", part(b"a certificate"));
    for (name, value) in
        [("jku", &url), ("x5u", &url), ("jwk", &jwk), ("x5c", &chain), ("x5t", &url), ("url", &url), ("iss", &url)]
    {
        for id in [r#""k1""#, ""] {
            refused(&authenticator, &mallory.token(&[(name, value), ("kid", id)], &[]), name).await;
        }
        assert!(bears(&authenticator, &pair.token(&[(name, value)], &[])).await.is_ok_and(|who| &*who.user == "ada"));
    }
    assert_eq!((provider.count(), trap.asked()), (1, vec![]));
}

#[tokio::test]
async fn names_of_keys_are_compared_and_never_used() {
    let pair = Pair::new("ES256", "k1");
    let (authenticator, provider) = trusting(&[&pair], SHORT).await;
    let long = format!("{:?}", "k".repeat(5_000));
    for id in [
        r#""../../../../dev/null""#,
        r#""/proc/self/environ""#,
        r#""' OR 1=1 --""#,
        r#""k1' UNION SELECT 'x""#,
        r#""http://127.0.0.1/k1""#,
        r#""k1 ""#,
        r#""K1""#,
        r#""k1\u0000""#,
        r#""""#,
        "null",
        "1",
        "true",
        r#"["k1"]"#,
        r#"{"k1":"k1"}"#,
        &long,
    ] {
        refused(&authenticator, &pair.token(&[("kid", id)], &[]), id).await;
    }
    refused(&authenticator, &pair.token(&[("kid", r#""k1""#), ("kid", r#""k1""#)], &[]), "twice").await;
    refused(&authenticator, &pair.token(&[("alg", r#""none""#), ("alg", r#""ES256""#)], &[]), "twice").await;
    assert!(provider.asked().iter().all(|path| path == "/jwks"), "{:?}", provider.asked());
    assert!(bears(&authenticator, &pair.good()).await.is_ok());
}

#[tokio::test]
async fn without_a_name_the_keys_that_fit_are_tried() {
    let (one, two, three) = (Pair::new("ES256", "k1"), Pair::new("ES256", "k2"), Pair::new("RS256", "k3"));
    let (authenticator, provider) = trusting(&[&one, &two, &three], LONG).await;
    for pair in [&one, &two, &three] {
        assert!(bears(&authenticator, &pair.token(&[("kid", "")], &[])).await.is_ok(), "{}", pair.id);
    }
    let stranger = Pair::new("ES256", "k1");
    refused(&authenticator, &stranger.token(&[("kid", "")], &[]), "a stranger's").await;
    // With a name it is that key or none.
    refused(&authenticator, &one.token(&[("kid", r#""k2""#)], &[]), "another's name").await;
    assert_eq!(provider.count(), 1);

    let bare = Provider::start(&[]).await;
    bare.publish_text(serde_json::json!({ "keys": [one.shape()] }).to_string());
    let authenticator = crate::world::open(&crate::world::settings(&bare, LONG));
    for id in [r#""any""#, ""] {
        assert!(bears(&authenticator, &one.token(&[("kid", id)], &[])).await.is_ok(), "{id}");
        refused(&authenticator, &two.token(&[("kid", id)], &[]), id).await;
    }
}

#[tokio::test]
async fn what_has_to_be_understood_or_would_have_to_be_decrypted_is_refused_before_any_work() {
    let pair = Pair::new("ES256", "k1");
    let (authenticator, provider) = trusting(&[&pair], LONG).await;
    for (name, value) in [
        ("crit", r#"["exp"]"#),
        ("crit", r#"["b64"]"#),
        ("crit", "[]"),
        ("crit", "null"),
        ("crit", r#""exp""#),
        ("b64", "false"),
        ("zip", r#""DEF""#),
        ("zip", "null"),
        ("enc", r#""A256GCM""#),
        ("typ", r#""id_token""#),
        ("typ", r#""dpop+jwt""#),
        ("typ", r#""logout+jwt""#),
        ("typ", r#""""#),
        ("typ", "null"),
        ("typ", "[]"),
    ] {
        refused(&authenticator, &pair.token(&[(name, value)], &[]), value).await;
    }
    for typ in [r#""JWT""#, r#""jwt""#, r#""AT+JWT""#, r#""application/at+jwt""#, r#""application/jwt""#, ""] {
        assert!(bears(&authenticator, &pair.token(&[("typ", typ)], &[])).await.is_ok(), "{typ}");
    }
    let slow = r#"{"alg":"PBES2-HS512+A256KW","enc":"A256GCM","p2c":2147483647,"p2s":"c2FsdA","zip":"DEF"}"#;
    let started = Instant::now();
    let encrypted =
        format!("{}.{}.{}.{}.{}", part(slow.as_bytes()), part(&[1; 64]), part(&[2; 12]), part(&[3; 64]), part(&[4]));
    refused(&authenticator, &encrypted, "encrypted").await;
    refused(&authenticator, &pair.signed(slow, &claims(&[])), "signed like that").await;
    assert!(started.elapsed().as_secs() < 2, "no key is derived");
    assert_eq!(provider.count(), 1);
}

#[tokio::test]
async fn tokens_have_one_form_and_a_longest() {
    let pair = Pair::new("ES256", "k1");
    let (authenticator, provider) = trusting(&[&pair], LONG).await;
    // The longest that is good: 8 KiB; the name of the claim makes up for the rest of the division by three.
    let sized = |length: usize| {
        let text = "x".repeat(length);
        pair.token(&[], &[("more", &format!("{text:?}"))])
    };
    let base = sized(0).len();
    let good =
        (0..8).map(|n| sized((8 * 1024 - base) * 3 / 4 - n)).find(|token| token.len() <= 8 * 1024).expect("one fits");
    assert!(good.len() > 8 * 1024 - 4 && bears(&authenticator, &good).await.is_ok(), "{}", good.len());
    refused(&authenticator, &sized((8 * 1024 - base) * 3 / 4 + 3), "too long").await;
    let good = pair.good();
    let (head, rest) = good.split_once('.').expect("parts");
    let signature = good.rsplit('.').next().expect("a part");
    // Its last letter has bits to spare: another one for the same bytes.
    let last = signature.chars().last().expect("a letter");
    let twin =
        ["A", "Q", "g", "w"].iter().position(|letter| letter.starts_with(last)).map(|at| ["B", "R", "h", "x"][at]);
    let twin = good[..good.len() - 1].to_owned() + twin.expect("64 bytes end in one of four letters");
    for (why, token) in [
        ("padding", format!("{good}==")),
        ("padding within", format!("{head}==.{rest}")),
        ("a line", format!("{good}\n")),
        ("a line within", good.replacen('.', "\n.", 1)),
        ("a space", format!("{head} .{rest}")),
        ("the other letters", good.replacen('.', "+.", 1)),
        ("a slash", good.replacen('.', "/.", 1)),
        ("percent", good.replacen('.', "%2e", 1)),
        ("a part more", format!("{good}.")),
        ("a part before", format!(".{good}")),
        ("bits to spare", twin),
        ("text", format!("{}.{rest}", part(b"not JSON"))),
        ("a list", format!("{}.{rest}", part(br#"["alg"]"#))),
        ("no text", format!("{}.{rest}", part(&[0xff, 0xfe]))),
        (
            "deep",
            pair.signed(&pair.head(&[]), &claims(&[("deep", &format!("{}{}", "[".repeat(900), "]".repeat(900)))])),
        ),
    ] {
        refused(&authenticator, &token, why).await;
    }
    assert_eq!(provider.count(), 1);
}

#[tokio::test]
async fn a_token_comes_in_one_header_and_nowhere_else() {
    let pair = Pair::new("ES256", "k1");
    let (authenticator, _provider) = trusting(&[&pair], LONG).await;
    let good = pair.good();
    let with = |lines: &[(&'static str, String)]| {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::try_from(value).expect("a value"));
        }
        headers
    };
    let bearer = format!("Bearer {good}");
    for lines in [
        &[("authorization", bearer.clone()), ("authorization", bearer.clone())][..],
        &[("authorization", bearer.clone()), ("authorization", "Basic YTpi".to_owned())],
        &[("authorization", format!("{bearer}, {bearer}"))],
        &[("authorization", format!("{bearer},"))],
        &[("authorization", format!("Bearer {bearer}"))],
        &[("authorization", format!("Bearer  {good}"))],
        &[("authorization", format!("Bearer\t{good}"))],
        &[("authorization", format!("Bearer:{good}"))],
        &[("authorization", format!("Bearer \"{good}\""))],
        &[("authorization", format!("Token {good}"))],
        &[("authorization", good.clone())],
        &[("authorization", String::new())],
    ] {
        assert_eq!(authenticator.of(&with(lines)).await, Err(Refusal::Invalid), "{lines:?}");
    }
    for scheme in ["Bearer", "bearer", "BEARER", "bEaReR"] {
        let headers = with(&[("authorization", format!("{scheme} {good}"))]);
        assert!(authenticator.of(&headers).await.is_ok_and(|who| who.is_some()), "{scheme}");
    }
    let elsewhere = [
        ("cookie", format!("access_token={good}; authorization={bearer}")),
        ("proxy-authorization", bearer.clone()),
        ("x-authorization", bearer.clone()),
        ("x-forwarded-authorization", bearer.clone()),
        ("authorization-bin", bearer.clone()),
        ("x-access-token", good.clone()),
        ("x-user-id", "ada".to_owned()),
        ("x-forwarded-user", "ada".to_owned()),
        ("x-userinfo", part(claims(&[]).as_bytes())),
    ];
    assert_eq!(authenticator.of(&with(&elsewhere)).await, Ok(None), "nobody calls");
}

#[tokio::test]
async fn an_unsigned_head_cannot_be_put_before_what_somebody_signed() {
    let pair = Pair::new("ES256", "k1");
    let (authenticator, _provider) = trusting(&[&pair], LONG).await;
    let good = pair.good();
    let parts: Vec<_> = good.split('.').collect();
    let other = message(&pair.head(&[("more", r#""x""#)]), &claims(&[("sub", r#""bob""#)]));
    let (head, claims) = other.split_once('.').expect("parts");
    refused(&authenticator, &format!("{head}.{}.{}", parts[1], parts[2]), "another head").await;
    refused(&authenticator, &format!("{}.{claims}.{}", parts[0], parts[2]), "other claims").await;
    refused(&authenticator, &format!("{}.{}.{}", parts[0], parts[1], noise("x")), "another signature").await;
}
