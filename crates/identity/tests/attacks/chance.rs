//! What nobody thought of.

use std::sync::Arc;

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};
use shop_identity::Authenticator;
use tokio::runtime::Runtime;

use crate::forge::{Pair, part};
use crate::world::{LONG, bears, trusting};

fn world(pair: &Pair) -> (Runtime, Arc<Authenticator>) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let (authenticator, _) = runtime.block_on(trusting(&[pair], LONG));
    (runtime, authenticator)
}

fn cases(count: u32) -> TestRunner {
    TestRunner::new(ProptestConfig { cases: count, failure_persistence: None, ..ProptestConfig::default() })
}

#[test]
fn a_good_token_that_is_changed_is_no_good_token() {
    for algorithm in ["ES256", "RS256", "EdDSA"] {
        let pair = Pair::new(algorithm, "k1");
        let (runtime, authenticator) = world(&pair);
        let good = pair.good();
        let edits = prop::collection::vec((0..4_u8, any::<prop::sample::Index>(), any::<u8>()), 1..4);
        let check = |edits: Vec<(u8, prop::sample::Index, u8)>| {
            let mut bytes = good.clone().into_bytes();
            for (how, at, with) in edits {
                let at = at.index(bytes.len());
                match how {
                    0 => bytes[at] = with,
                    1 => bytes[at] ^= 1 << (with % 8),
                    2 => bytes.insert(at, with),
                    _ => drop(bytes.remove(at)),
                }
            }
            if let Ok(value) = HeaderValue::from_bytes(&[b"Bearer ", &bytes[..]].concat()) {
                let found = runtime.block_on(authenticator.of(&HeaderMap::from_iter([(AUTHORIZATION, value)])));
                prop_assert!(found.is_err() || bytes == good.as_bytes(), "{}", String::from_utf8_lossy(&bytes));
            }
            Ok(())
        };
        cases(2_000).run(&edits, check).expect("none is let in");
        // The same within what is encoded: one bit of head, claims or signature.
        let parts: Vec<_> = good.split('.').map(str::to_owned).collect();
        let bits = (0..3_usize, any::<prop::sample::Index>(), 0..8_u8);
        let check = |(which, at, bit): (usize, prop::sample::Index, u8)| {
            use base64::Engine as _;
            let mut parts = parts.clone();
            let mut bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(&parts[which]).expect("base64url");
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            parts[which] = part(&bytes);
            prop_assert!(runtime.block_on(bears(&authenticator, &parts.join("."))).is_err());
            Ok(())
        };
        cases(1_000).run(&bits, check).expect("none is let in");
    }
}

#[test]
fn nothing_that_is_sent_makes_it_panic_or_lets_anybody_in() {
    let pair = Pair::new("ES256", "k1");
    let (runtime, authenticator) = world(&pair);
    let asked = |bytes: &[u8]| {
        let value = HeaderValue::from_bytes(bytes).ok()?;
        runtime.block_on(authenticator.of(&HeaderMap::from_iter([(AUTHORIZATION, value)]))).ok().flatten()
    };
    let noise = prop::collection::vec(any::<u8>(), 0..200);
    cases(2_000)
        .run(&noise, |bytes| {
            prop_assert!(asked(&bytes).is_none());
            prop_assert!(asked(&[b"Bearer ", &bytes[..]].concat()).is_none());
            let encoded = format!("Bearer {}", [part(&bytes), part(&bytes), part(&bytes)].join("."));
            prop_assert!(asked(encoded.as_bytes()).is_none());
            Ok(())
        })
        .expect("nobody is let in");
}

/// Any JSON, with the words that mean something more often than chance has them.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a-z.:-]{0,12}".prop_map(Value::from),
        prop::sample::select(vec![
            "ada",
            "shop",
            "shop-api",
            "k1",
            "ES256",
            "none",
            "guest-1",
            "service:payment",
            "at+jwt"
        ])
        .prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map("[a-z]{0,4}", inner, 0..4).prop_map(|map| json!(map)),
        ]
    })
}

#[test]
fn whatever_an_issuer_signs_it_makes_nobody_else_of_somebody() {
    let pair = Pair::new("ES256", "k1");
    let (runtime, authenticator) = world(&pair);
    let names = prop::sample::select(vec![
        "iss", "sub", "aud", "exp", "nbf", "iat", "jti", "roles", "typ", "kid", "alg", "crit",
    ]);
    cases(3_000)
        .run(&(names.clone(), any_json(), names, any_json()), |(one, first, two, second)| {
            prop_assume!(one != two);
            let (first, second) = (first.to_string(), second.to_string());
            let is_head = |name: &str| ["typ", "kid", "alg", "crit"].contains(&name);
            let all = [(one, &*first), (two, &*second)];
            let head: Vec<_> = all.iter().filter(|(name, _)| is_head(name)).copied().collect();
            let claims: Vec<_> = all.iter().filter(|(name, _)| !is_head(name)).copied().collect();
            if let Ok(who) = runtime.block_on(bears(&authenticator, &pair.token(&head, &claims))) {
                let sub = claims.iter().find(|(name, _)| *name == "sub").map_or(r#""ada""#, |(_, value)| value);
                prop_assert_eq!(format!("{:?}", &*who.subject), sub);
                prop_assert!(!who.user.starts_with("guest-") && !who.is_service("payment"));
            }
            Ok(())
        })
        .expect("as it was signed");
}
