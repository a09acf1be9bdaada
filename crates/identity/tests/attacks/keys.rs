//! What issuers answer when they are asked for their keys.

use serde_json::{Value, json};
use shop_identity::Refusal;

use crate::forge::{Pair, set};
use crate::provider::{Manner, Provider};
use crate::world::{LONG, SHORT, bears, open, refused, settings, trusting};

/// A key of 1024 bits, and a token that it signed (with `openssl dgst -sha256 -sign`), good until 2100.
const SHORT_KEY: &str = "vA8RdkMvUs2bRDlIq4e_rTYdH93tneQB93NvMar8AODsxyTCcb9b-EGNEYT3sTLdLgtvg8M9he7WBbj0wA92DBBj_dxPHqan2qodXLtj2y5OL\
                         nT9nB1wLIvQkaGLa3oW_GJBMxD4YqDO7FNirRhRf9hWtmwTncpINBAkk96ej1M";
const SHORT_TOKEN: &str = "eyJhbGciOiAiUlMyNTYiLCAidHlwIjogImF0K2p3dCIsICJraWQiOiAic2hvcnQifQ.eyJpc3MiOiAiaHR0cHM6Ly9pc3N1ZXIudGVzdCI\
                           sICJzdWIiOiAiYWRhIiwgImF1ZCI6ICJzaG9wLWFwaSIsICJleHAiOiA0MTAyNDQ0ODAwfQ.LQ_Hy-hRrKAhj4BO8TQizrKlaHAsjYom5lc\
                           G_KCjFQqjJygKztepel6jTn5VLGS_Tbdp8rjxYZTwwcUrbzPA6fHu--SdIfy0lE7HDpBo-PBrCyhCC5EOTUlMn-p8EgBdQf5zVtltsM9hCT\
                           gpRfIA-Ulkx-mSI7mrCCZ2Y_NIU8g";

fn says(status: &'static str, kind: &'static str, body: &str) -> Manner {
    Manner::Says(status, kind, body.to_owned())
}

#[tokio::test]
async fn an_issuer_that_answers_nonsense_is_away_and_what_it_said_before_holds() {
    let pair = Pair::new("ES256", "k1");
    let mallory = Pair::new("ES256", "k1");
    let trap = Provider::start(&[&mallory]).await;
    let location = format!("location: {}", trap.url("/jwks"));
    let location: &'static str = Box::leak(location.into_boxed_str());
    let theirs = set(&[&mallory]);
    for manner in [
        Manner::Away,
        Manner::Huge,
        says("302 Found", location, ""),
        says("307 Temporary Redirect", location, &theirs),
        says("500 Internal Server Error", "", &theirs),
        says("404 Not Found", "", &theirs),
        says("204 No Content", "", ""),
        says("206 Partial Content", "", &theirs),
        says("200 OK", "content-type: text/html", "<html>Sign in</html>"),
        says("200 OK", "", ""),
        says("200 OK", "", "[]"),
        says("200 OK", "", "null"),
        says("200 OK", "", r#"{"keys":[]}"#),
        says("200 OK", "", r#"{"keys":{}}"#),
        says("200 OK", "", &theirs[..theirs.len() - 3]),
        says("200 OK", "", r#"{"keys":[],"keys":[]}"#),
    ] {
        let (known, provider) = trusting(&[&pair], SHORT).await;
        provider.turns(manner.clone());
        let fresh = open(&settings(&provider, SHORT));
        let unknown = pair.token(&[("kid", r#""k2""#)], &[]);
        for (authenticator, token) in [(&fresh, pair.good()), (&known, unknown)] {
            let refusal = bears(authenticator, &token).await.expect_err("no key");
            assert!(matches!(refusal, Refusal::Unavailable(after) if after.as_secs() > 0), "{manner:?}: {refusal:?}");
        }
        let another = pair.token(&[], &[("sub", r#""bob""#)]);
        assert!(bears(&known, &another).await.is_ok(), "{manner:?}: a key that is known goes on");
        refused(&known, &mallory.good(), "not theirs").await;
        provider.turns(Manner::Good);
        assert!(bears(&fresh, &pair.good()).await.is_ok(), "{manner:?}: it is back");
    }
    assert_eq!(trap.asked(), Vec::<String>::new(), "nobody is sent elsewhere");
}

#[tokio::test]
async fn an_issuer_that_is_slow_keeps_nobody_waiting_whose_key_is_known() {
    let pair = Pair::new("ES256", "k1");
    let (known, provider) = trusting(&[&pair], SHORT).await;
    provider.turns(Manner::Holds);
    let fresh = open(&settings(&provider, SHORT));
    let waits = tokio::spawn({
        let (fresh, token) = (fresh.clone(), pair.good());
        async move { bears(&fresh, &token).await }
    });
    provider.was_asked(2).await;
    let another = pair.token(&[], &[("sub", r#""bob""#)]);
    assert!(bears(&known, &another).await.is_ok());
    assert!(!waits.is_finished());
    let refusal = waits.await.expect("it ends").expect_err("no key");
    assert!(matches!(refusal, Refusal::Unavailable(_)), "{refusal:?}");
}

#[tokio::test]
async fn keys_that_are_not_for_this_are_left_out_and_spoil_no_other() {
    let good = Pair::new("ES256", "good");
    let pairs = ["ES256", "ES384", "EdDSA", "RS256"].map(|algorithm| Pair::new(algorithm, "bad"));
    let with = |pair: &Pair, name: &str, value: Value| {
        let mut jwk = pair.jwk();
        jwk[name] = value;
        jwk
    };
    for pair in &pairs {
        for bad in [
            with(pair, "use", json!("enc")),
            with(pair, "use", json!(1)),
            with(pair, "key_ops", json!(["encrypt"])),
            with(pair, "alg", json!("HS256")),
            with(pair, "alg", json!("RSA-OAEP")),
            with(pair, "alg", json!("none")),
            with(pair, "alg", json!("RS512")),
            with(pair, "kty", json!("oct")),
            with(pair, "kty", json!("XYZ")),
            with(pair, "kid", json!(7)),
            with(pair, if pair.algorithm == "RS256" { "n" } else { "x" }, json!("AQAB")),
            with(pair, if pair.algorithm == "RS256" { "e" } else { "x" }, json!("!")),
            with(pair, if pair.algorithm == "RS256" { "n" } else { "crv" }, json!("secp256k1")),
            json!(null),
            json!("key"),
            json!([]),
            json!({}),
        ] {
            let provider = Provider::start(&[]).await;
            let secret = json!({ "kty": "oct", "kid": "bad", "alg": "HS256", "k": "c2VjcmV0" });
            provider.publish_text(json!({ "keys": [bad, secret, good.jwk()] }).to_string());
            let authenticator = open(&settings(&provider, SHORT));
            assert!(bears(&authenticator, &good.good()).await.is_ok(), "{bad}");
            refused(&authenticator, &pair.good(), &bad.to_string()).await;
            let head = pair.head(&[("alg", r#""HS256""#)]);
            let by_secret = crate::forge::with_secret(b"secret", &head, &crate::forge::claims(&[]), 256);
            refused(&authenticator, &by_secret, "a secret that everybody can read").await;
        }
    }
}

#[tokio::test]
async fn keys_that_are_too_short_are_not_used() {
    let provider = Provider::start(&[]).await;
    let good = Pair::new("RS256", "good");
    for n in [SHORT_KEY.to_owned(), padded(SHORT_KEY)] {
        let short = json!({ "kty": "RSA", "kid": "short", "alg": "RS256", "n": n, "e": "AQAB" });
        provider.publish_text(json!({ "keys": [short, good.jwk()] }).to_string());
        let authenticator = open(&settings(&provider, SHORT));
        assert!(bears(&authenticator, &good.good()).await.is_ok());
        refused(&authenticator, SHORT_TOKEN, "1024 bits").await;
    }
}

/// The same number with zeros before it, as long as one of 2048 bits.
fn padded(number: &str) -> String {
    use base64::Engine as _;
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(number).expect("base64url");
    crate::forge::part(&[vec![0; 256 - bytes.len()], bytes].concat())
}

#[tokio::test]
async fn more_keys_than_anybody_needs_are_no_harm() {
    let pair = Pair::new("ES256", "good");
    let provider = Provider::start(&[]).await;
    let many: Vec<_> = (0..2_000)
        .map(|n| {
            let mut jwk = pair.shape();
            jwk["kid"] = json!(format!("k{n}"));
            jwk
        })
        .collect();
    provider.publish_text(json!({ "keys": many }).to_string());
    let authenticator = open(&settings(&provider, LONG));
    assert!(bears(&authenticator, &pair.token(&[("kid", r#""k0""#)], &[])).await.is_ok());
    assert!(bears(&authenticator, &pair.token(&[("kid", r#""k1999""#)], &[])).await.is_err());
    let stranger = Pair::new("ES256", "x");
    refused(&authenticator, &stranger.token(&[("kid", "")], &[]), "tried with a few, not with all").await;
}
