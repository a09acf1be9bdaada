//! What is remembered of good tokens, and that it is not taken for something else.

use std::fs;

use shop_identity::{IdentitySettings, Refusal};
use tokio::time::timeout;

use crate::forge::{Pair, now};
use crate::provider::Provider;
use crate::world::{LONG, PATIENCE, bears, open, refused, settings, trusting};

#[tokio::test]
async fn what_is_remembered_is_the_whole_token() {
    let pair = Pair::new("ES256", "k1");
    let (authenticator, _provider) = trusting(&[&pair], LONG).await;
    let (ada, bob) = (pair.good(), pair.token(&[], &[("sub", r#""bob""#)]));
    for (token, user) in [(&ada, "ada"), (&bob, "bob"), (&ada, "ada")] {
        assert_eq!(&*bears(&authenticator, token).await.expect("good").user, user);
        assert_eq!(&*authenticator.known(token).expect("remembered").user, user);
    }
    let (of_ada, of_bob): (Vec<_>, Vec<_>) = (ada.split('.').collect(), bob.split('.').collect());
    for parts in [
        [of_ada[0], of_ada[1], of_bob[2]],
        [of_ada[0], of_bob[1], of_ada[2]],
        [of_ada[0], of_ada[1], ""],
        [of_ada[0], of_ada[1], &of_ada[2][..of_ada[2].len() - 1]],
        [of_ada[1], of_ada[0], of_ada[2]],
    ] {
        refused(&authenticator, &parts.join("."), "put together").await;
    }
    // Every letter counts, also of what is remembered.
    for at in 0..ada.len() {
        let mut other = ada.clone().into_bytes();
        other[at] = if other[at] == b'A' { b'B' } else { b'A' };
        let other = String::from_utf8(other).expect("text");
        assert!(authenticator.known(&other).is_none(), "{at}");
        assert!(bears(&authenticator, &other).await.is_err(), "{at}");
    }
    assert!(authenticator.known(&ada).is_some(), "and is as it was");
}

#[tokio::test]
async fn what_is_remembered_expires() {
    let pair = Pair::new("ES256", "k1");
    let provider = Provider::start(&[&pair]).await;
    let settings = IdentitySettings { leeway: shop_config::Duration::secs(0), ..settings(&provider, LONG) };
    let authenticator = open(&settings);
    assert!(bears(&authenticator, &pair.good()).await.is_ok());
    let token = pair.token(&[], &[("exp", &(now() + 3).to_string())]);
    assert!(bears(&authenticator, &token).await.is_ok() && authenticator.known(&token).is_some());
    let over = async {
        while bears(&authenticator, &token).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, over).await.expect("it expires");
    assert_eq!(bears(&authenticator, &token).await.err(), Some(Refusal::Expired));
    assert!(authenticator.known(&token).is_none());
}

#[tokio::test]
async fn what_is_remembered_can_be_revoked() {
    let pair = Pair::new("ES256", "k1");
    let provider = Provider::start(&[&pair]).await;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("revoked.json");
    fs::write(&file, r#"{"tokens":["t0"]}"#).expect("written");
    let settings = IdentitySettings { revoked_file: Some(file.clone()), ..settings(&provider, LONG) };
    let authenticator = open(&settings);
    let token = |sub: &str, jti: &str| pair.token(&[], &[("sub", sub), ("jti", jti)]);
    let (one, two) = (token(r#""ada""#, r#""t1""#), token(r#""ada""#, r#""t2""#));
    refused(&authenticator, &token(r#""ada""#, r#""t0""#), "revoked before").await;
    for token in [&one, &two] {
        assert!(bears(&authenticator, token).await.is_ok());
    }
    fs::write(&file, r#"{"tokens":["t0","t1"]}"#).expect("written");
    let gone = async {
        while bears(&authenticator, &one).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, gone).await.expect("revoked");
    refused(&authenticator, &one, "revoked").await;
    assert!(bears(&authenticator, &two).await.is_ok());
    // A list that cannot be read takes nothing back.
    fs::write(&file, "{").expect("written");
    let before_now = format!(r#"{{"tokens":["t0","t1"],"subjects":{{"ada":"{}"}}}}"#, "2100-01-01T00:00:00Z");
    refused(&authenticator, &one, "revoked").await;
    fs::write(&file, before_now).expect("written");
    let gone = async {
        while bears(&authenticator, &two).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, gone).await.expect("revoked");
    assert!(bears(&authenticator, &token(r#""bob""#, r#""t3""#)).await.is_ok());
}
