//! What is not signed by the key of the issuer, in the way that the key is for.

use crate::forge::{Pair, claims, message, part, with_secret};
use crate::world::{LONG, bears, open, refused, settings, trusting};

const ALGORITHMS: [&str; 6] = ["ES256", "ES384", "EdDSA", "RS256", "RS384", "PS256"];

#[tokio::test]
async fn every_kind_of_key_is_good_for_its_own_algorithm_and_for_no_other() {
    for algorithm in ALGORITHMS {
        let pair = Pair::new(algorithm, "k1");
        let (authenticator, provider) = trusting(&[&pair], LONG).await;
        for other in ALGORITHMS.iter().chain(&["RS512", "PS384", "PS512", "HS256", "ES512", "Ed25519"]) {
            if *other == algorithm {
                continue;
            }
            // Signed as the key does it, under another name, and the other way round.
            let claimed = format!("{other:?}");
            refused(&authenticator, &pair.token(&[("alg", &claimed)], &[]), algorithm).await;
            if ALGORITHMS.contains(other) {
                let another = Pair::new(other, "k1");
                refused(&authenticator, &another.good(), algorithm).await;
                refused(&authenticator, &another.token(&[("alg", &format!("{algorithm:?}"))], &[]), algorithm).await;
            }
        }
        assert_eq!(provider.count(), 1, "a key that is known is not asked for");
    }
}

#[tokio::test]
async fn what_is_not_signed_is_refused_however_it_says_so() {
    let pair = Pair::new("ES256", "k1");
    let (authenticator, provider) = trusting(&[&pair], LONG).await;
    let good = pair.good();
    let signature = good.rsplit('.').next().expect("a part");
    for none in [r#""none""#, r#""None""#, r#""NONE""#, r#""nOnE""#, r#""none ""#, r#""""#, "null", "0", "[]", ""] {
        let message = message(&pair.head(&[("alg", none)]), &claims(&[]));
        for token in [format!("{message}."), format!("{message}.{signature}"), message.clone(), format!("{message}..")]
        {
            refused(&authenticator, &token, none).await;
        }
    }
    let message = good.rsplit_once('.').expect("parts").0;
    let zeros = [0; 64];
    let long = [signature, signature].concat();
    for (why, signature) in [
        ("none", ""),
        ("zeros", &part(&zeros)),
        ("one and one", &part(&[&zeros[..31], &[1], &zeros[..31], &[1]].concat())),
        ("the order of the curve", &part(&[0xff; 64])),
        ("twice", &long),
        ("half", &signature[..signature.len() / 2]),
    ] {
        refused(&authenticator, &format!("{message}.{signature}"), why).await;
    }
    assert_eq!(provider.count(), 1);
}

#[tokio::test]
async fn a_public_key_is_no_secret_in_any_of_its_spellings() {
    for algorithm in ["ES256", "ES384", "RS256", "EdDSA"] {
        let pair = Pair::new(algorithm, "k1");
        let (authenticator, _provider) = trusting(&[&pair], LONG).await;
        for secret in pair.spellings() {
            for bits in [256, 384, 512] {
                for id in [r#""k1""#, ""] {
                    let head = pair.head(&[("alg", &format!("\"HS{bits}\"")), ("kid", id)]);
                    let token = with_secret(&secret, &head, &claims(&[]), bits);
                    refused(&authenticator, &token, algorithm).await;
                    // Or under the name of the algorithm that the key is for.
                    let token = with_secret(&secret, &pair.head(&[]), &claims(&[]), bits);
                    refused(&authenticator, &token, algorithm).await;
                }
            }
        }
    }
}

#[tokio::test]
async fn a_secret_signs_in_one_way_and_where_it_is_the_only_key() {
    let pair = Pair::new("ES256", "k1");
    let (_, provider) = trusting(&[&pair], LONG).await;
    let secret = "0123456789abcdef0123456789abcdef";
    let mut settings = settings(&provider, LONG);
    settings.jwks_url = String::new();
    settings.secret = secret.into();
    let authenticator = open(&settings);
    let good = with_secret(secret.as_bytes(), &head(&pair, r#""HS256""#), &claims(&[]), 256);
    assert!(bears(&authenticator, &good).await.is_ok());
    for (algorithm, secret, bits) in [
        (r#""HS384""#, secret, 384),
        (r#""HS512""#, secret, 512),
        (r#""HS256""#, "", 256),
        (r#""HS256""#, &secret[1..], 256),
        (r#""ES256""#, secret, 256),
    ] {
        let token = with_secret(secret.as_bytes(), &head(&pair, algorithm), &claims(&[]), bits);
        refused(&authenticator, &token, algorithm).await;
    }
    refused(&authenticator, &pair.good(), "a key of the issuer that was not named").await;
}

fn head(pair: &Pair, algorithm: &str) -> String {
    pair.head(&[("alg", algorithm), ("kid", "")])
}
