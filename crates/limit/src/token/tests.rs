//! Tokens as issuers sign them, and as attackers would.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderValue;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};
use shop_config::Secret;

use super::*;

const SECRET: &str = "0123456789abcdef0123456789abcdef";
/// The year 2100.
const LATER: u64 = 4_102_444_800;

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn signed(head: &Value, claims: &Value, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
    let message = format!("{}.{}", encode(head.to_string()), encode(claims.to_string()));
    let signature = encode(sign(message.as_bytes()));
    format!("{message}.{signature}")
}

fn hmac(secret: &[u8], head: &Value, claims: &Value) -> String {
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret);
    signed(head, claims, |message| ring::hmac::sign(&key, message).as_ref().to_vec())
}

fn hs256(claims: &Value) -> String {
    hmac(SECRET.as_bytes(), &json!({"alg": "HS256", "typ": "JWT"}), claims)
}

fn headers(token: &str) -> HeaderMap {
    let value = HeaderValue::from_str(&format!("Bearer {token}")).expect("a value");
    HeaderMap::from_iter([(header::AUTHORIZATION, value)])
}

fn check(tokens: &Tokens, token: &str) -> Option<Key> {
    tokens.check(&Shown::of(&headers(token))?)
}

fn with_secret() -> Jwt {
    Jwt { secret: Secret::from(SECRET), ..Jwt::default() }
}

#[test]
fn a_good_token_is_its_subject_and_is_remembered() {
    let tokens = Tokens::new(&with_secret());
    let ann = hs256(&json!({"sub": "ann", "exp": LATER}));
    let headers = headers(&ann);
    let shown = Shown::of(&headers).expect("a token");
    assert_eq!(tokens.known(&shown), None, "not before it was checked");
    let key = tokens.check(&shown).expect("is good");
    assert_eq!(tokens.known(&shown), Some(key));
    assert_eq!(check(&tokens, &hs256(&json!({"sub": "ann", "exp": LATER + 1}))), Some(key), "the same, renewed");
    assert_ne!(check(&tokens, &hs256(&json!({"sub": "bob", "exp": LATER}))), Some(key));
    assert_ne!(check(&tokens, &hs256(&json!({"sub": "ann", "iss": "elsewhere", "exp": LATER}))), Some(key));
    assert!(key.to_string().starts_with("sub:") && !key.to_string().contains("ann"));
}

#[test]
fn a_token_that_is_not_good_is_nobody() {
    let settings = Jwt { issuer: "us".to_owned(), audience: "shop".to_owned(), ..with_secret() };
    let tokens = Tokens::new(&settings);
    let good = json!({"sub": "ann", "exp": LATER, "iss": "us", "aud": ["shop", "other"]});
    assert!(check(&tokens, &hs256(&good)).is_some());
    for (key, value) in [
        ("exp", json!(1_000_000_000)),
        ("exp", json!("never")),
        ("exp", Value::Null),
        ("sub", Value::Null),
        ("sub", json!(7)),
        ("nbf", json!(LATER)),
        ("iss", json!("them")),
        ("iss", Value::Null),
        ("aud", json!("other")),
        ("aud", Value::Null),
    ] {
        let mut claims = good.clone();
        claims[key] = value;
        assert_eq!(check(&tokens, &hs256(&claims)), None, "{claims}");
    }
    let none = format!("{}.{}.", encode(r#"{"alg":"none"}"#), encode(good.to_string()));
    let other_secret = hmac(b"another secret, just as long as it", &json!({"alg": "HS256"}), &good);
    let other_head = hmac(SECRET.as_bytes(), &json!({"alg": "HS512"}), &good);
    let (message, _) = none.rsplit_once('.').expect("dots");
    let moved = format!("{message}.{}", hs256(&good).rsplit('.').next().expect("a signature"));
    for token in [none.as_str(), &other_secret, &other_head, &moved, "a.b.c", "..", "."] {
        assert_eq!(check(&tokens, token), None, "{token}");
    }
}

#[test]
fn only_one_bearer_token_counts() {
    let token = hs256(&json!({"sub": "ann", "exp": LATER}));
    let mut two = headers(&token);
    two.append(header::AUTHORIZATION, HeaderValue::from_static("Bearer x.y.z"));
    assert!(Shown::of(&two).is_none());
    let basic = HeaderMap::from_iter([(header::AUTHORIZATION, HeaderValue::from_static("Basic x.y"))]);
    assert!(Shown::of(&basic).is_none());
    assert!(Shown::of(&headers(&"x.".repeat(LONGEST))).is_none());
}

#[test]
fn tokens_signed_with_public_keys_are_checked_and_a_public_key_is_no_secret() {
    let chance = SystemRandom::new();
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &chance).expect("a key");
    let p256 = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref(), &chance).expect("a key");
    let pkcs8 = Ed25519KeyPair::generate_pkcs8(&chance).expect("a key");
    let ed25519 = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).expect("a key");
    let point = p256.public_key().as_ref().to_vec();
    let set = json!({"keys": [
        {"kty": "EC", "crv": "P-256", "kid": "e", "x": encode(&point[1..33]), "y": encode(&point[33..])},
        {"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "x": encode(ed25519.public_key())},
        {"kty": "RSA", "use": "sig", "kid": "r", "alg": "RS256", "n": RSA, "e": "AQAB"},
        {"kty": "RSA", "kid": "encrypts", "alg": "RSA-OAEP", "n": RSA, "e": "AQAB"},
        {"kty": "EC", "crv": "P-256", "use": "enc", "x": encode(&point[1..33]), "y": encode(&point[33..])},
        {"kty": "oct", "alg": "HS256", "k": encode(SECRET)},
        {"kty": "new", "kid": "unknown"},
    ]});
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("keys.json");
    std::fs::write(&file, set.to_string()).expect("writes");
    let settings = Jwt { keys_file: Some(file.clone()), ..Jwt::default() };
    assert_eq!(keys(&settings).expect("keys").len(), 3);
    let tokens = Tokens::new(&settings);
    let claims = json!({"sub": "ann", "exp": LATER});
    let es256 = |kid: &str| {
        let sign = |message: &[u8]| p256.sign(&chance, message).expect("signs").as_ref().to_vec();
        signed(&json!({"alg": "ES256", "kid": kid}), &claims, sign)
    };
    let ann = check(&tokens, &es256("e")).expect("is good");
    assert_eq!(check(&tokens, &es256("f")), None, "signed with another key, it says");
    assert_eq!(check(&tokens, &hs256(&claims)), None, "what is in a set of public keys is no secret");
    let eddsa = signed(&json!({"alg": "EdDSA"}), &claims, |message| ed25519.sign(message).as_ref().to_vec());
    assert_eq!(check(&tokens, &eddsa), Some(ann));
    assert_eq!(check(&tokens, SIGNED), Some(ann));
    let forged = SIGNED.replacen("eyJzdWIiOiJhbm4i", &encode(r#"{"sub":"bob""#), 1);
    assert_ne!(forged, SIGNED);
    assert_eq!(check(&tokens, &forged), None);
    for public in [&point[..], ed25519.public_key().as_ref()] {
        assert_eq!(check(&tokens, &hmac(public, &json!({"alg": "HS256", "kid": "e"}), &claims)), None);
    }

    let shown = headers(SIGNED);
    let shown = Shown::of(&shown).expect("a token");
    std::fs::write(&file, "no keys, and of another length").expect("writes");
    tokens.refresh();
    assert_eq!(tokens.known(&shown), Some(ann), "a broken file changes nothing");
    std::fs::write(&file, json!({"keys": [set["keys"][0]]}).to_string()).expect("writes");
    tokens.refresh();
    assert_eq!((tokens.known(&shown), tokens.check(&shown)), (None, None), "its key is gone");
}

/// A modulus, whose other half was thrown away after it signed [`SIGNED`].
const RSA: &str = "\
    1EcfDenIJzlqsvFCFL0GjkWwFnVUUDNcTlQ9quF3oyDSRwGKb6ASb9VvrtvdH3XwQmQ4j7FhZMxfksJ9hQ4FEbjQZa1oaiBZ2rxgKgSAL-hN0f\
    LjnzmUemOvs60-ONjY_nCGdRVm9BtghhsrmT0IHYE5LN0ywCIdWz1qs_58HqgKrI9D3tUzcdOa7to7dEKq-hKu2yO5KiLCps5yNFVL4ZQqDcUB\
    KieXjQNxZiFSMvHrNaNOBXUH3UmHaXyj1R0Nj7HfSvOSehk9fzkPnT6qghMhdT5s_JQCpCRR1UmBfbI4bbi2UaaTtU6E22uiPjG3mqZylT3Qc0\
    h0EzLDJlogIw";
const SIGNED: &str = "\
    eyJhbGciOiJSUzI1NiIsImtpZCI6InIifQ.eyJzdWIiOiJhbm4iLCJleHAiOjQxMDI0NDQ4MDB9.ezWofGMd0VqrWC_hUq9liuQZEd4brtdSju\
    H5EylqjIDQvoJWm7v50-R4wbt21XhUVmKu_93i0ZcZ4AJ7_1mW4GHeIW71bOoSKrJEl7jGDeHRrqHNyIJEpEsbKHmkj0ATaQq3llcQFU24Z-ab\
    4ff4XtnpzBrQ7vB5lmPHbqwA4-Vmp10OJtSLVzeuCm0vrMeU-wxsJiyqxV4lMs1vimGtD7A7M_TzIDs2YhRRqhTskO614nDoAMIQTFmMlLtA_I\
    T8G3F8hx3sb_M5gMppEpJB1jTbxLv6C3YMiUrs3uCBWMJUcxYEQVUC2skAmvYM7oZuf6ctV54Pv7HA-zwCYmqjfg";
