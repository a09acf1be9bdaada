//! The suite's own tokens: each is for one service, or for people.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use shop_identity::{Access, Identity, IdentitySettings, Kind, Mode, Refusal, Role, Rule, Who};

use crate::forge::Pair;
use crate::provider::Provider;
use crate::world::{LONG, bears, refused, settings};

/// A key in a file, and settings with it.
fn at_home(pair: &Pair) -> (tempfile::TempDir, IdentitySettings) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("key.pem");
    fs::write(&file, pair.pem()).expect("written");
    let mut settings = IdentitySettings { mode: Mode::Required, ..IdentitySettings::default() };
    settings.internal.key_file = Some(file);
    (folder, settings)
}

fn own(pair: &Pair, sub: &str, aud: &str, more: &[(&str, &str)]) -> String {
    let sub = format!("{sub:?}");
    let claims = [&[("iss", r#""shop""#), ("sub", &*sub), ("aud", aud)], more].concat();
    pair.token(&[("kid", "")], &claims)
}

#[tokio::test]
async fn a_token_between_two_services_is_nothing_to_a_third() {
    const RULES: &[Rule] = &[
        Rule::new("", "a.B/C", Access::Only(&[Who::Service("payment")])),
        Rule::new("GET /mine", "", Access::Owner(&[])),
    ];
    let (_folder, settings) = at_home(&Pair::new("ES256", "k1"));
    let open = |name| Identity::open(&settings, name).expect("it opens");
    let (payment, basket, product) = (open("payment"), open("basket"), open("product"));
    let shown =
        |by: &Identity, to| HeaderMap::from_iter([(AUTHORIZATION, by.credential(to).authorization().expect("shown"))]);
    let row = RULES.first();
    let call = shown(&payment, "basket");
    let (at_basket, at_product) = (basket.guard(RULES), product.guard(RULES));
    assert!(at_basket.admit(row, &call).await.is_ok());
    assert_eq!(at_product.admit(row, &call).await.err(), Some(Refusal::Invalid), "replayed");
    assert_eq!(payment.guard(RULES).admit(row, &call).await.err(), Some(Refusal::Invalid), "sent back");
    assert_eq!(
        at_basket.admit(row, &shown(&product, "basket")).await.err(),
        Some(Refusal::Forbidden),
        "another service"
    );
    assert_eq!(at_basket.admit(RULES.last(), &call).await.err(), Some(Refusal::Forbidden), "a service owns nothing");
}

#[tokio::test]
async fn what_the_suite_signs_is_for_whom_it_says() {
    let pair = Pair::new("ES256", "k1");
    let (_folder, settings) = at_home(&pair);
    let basket = Identity::open(&settings, "basket").expect("it opens").authenticator().expect("it is on").clone();
    for (sub, aud) in [
        ("service:payment", r#""shop""#),
        ("service:payment", r#""product""#),
        ("service:payment", r#"["shop","product"]"#),
        ("service:payment", r#""shop basket""#),
        ("ada", r#""basket""#),
        ("guest-1", r#""basket""#),
        ("ada", r#""product""#),
        ("ada", r#"["basket","product"]"#),
    ] {
        refused(&basket, &own(&pair, sub, aud, &[]), sub).await;
    }
    let roles = ("roles", r#"["operator","support","catalogue"]"#);
    for (sub, aud, kind, has_roles) in [
        ("service:payment", r#""basket""#, Kind::Service, false),
        ("service:payment", r#"["product","basket"]"#, Kind::Service, false),
        ("guest-1", r#""shop""#, Kind::Guest, false),
        ("ada", r#""shop""#, Kind::Person, true),
    ] {
        let who = bears(&basket, &own(&pair, sub, aud, &[roles])).await.expect("good");
        assert_eq!((who.kind, Role::ALL.map(|role| who.roles.has(role))), (kind, [has_roles; 3]), "{sub}");
    }
    let old = crate::forge::now() - 120;
    let expired = own(&pair, "service:payment", r#""basket""#, &[("exp", &old.to_string())]);
    assert_eq!(bears(&basket, &expired).await.err(), Some(Refusal::Expired));
    refused(&basket, &own(&Pair::new("ES256", "k1"), "ada", r#""shop""#, &[]), "another key").await;
    refused(&basket, &own(&Pair::new("RS256", "k1"), "ada", r#""shop""#, &[]), "another kind of key").await;
}

#[tokio::test]
async fn neither_issuer_signs_for_the_other() {
    let (ours, theirs) = (Pair::new("ES256", "k1"), Pair::new("ES256", "k1"));
    let (_folder, mut all) = at_home(&ours);
    let provider = Provider::start(&[&theirs]).await;
    let outside = settings(&provider, LONG);
    (all.issuer, all.audience, all.jwks_url) = (outside.issuer, outside.audience, outside.jwks_url);
    let identity = Identity::open(&all, "basket").expect("it opens");
    tokio::spawn(identity.clone().run(shop_runtime::CancellationToken::new()));
    let authenticator = identity.authenticator().expect("it is on");
    assert!(bears(authenticator, &theirs.good()).await.is_ok());
    assert!(bears(authenticator, &own(&ours, "ada", r#""shop""#, &[])).await.is_ok());
    let roles = ("roles", r#"["operator"]"#);
    for (why, token) in [
        ("ours in their name", ours.good()),
        ("theirs in our name", own(&theirs, "ada", r#""shop""#, &[roles])),
        ("a service by them", own(&theirs, "service:payment", r#""basket""#, &[])),
        ("a guest by them", theirs.token(&[], &[("sub", r#""guest-1""#)])),
        ("a service in their name", theirs.token(&[], &[("sub", r#""service:payment""#), ("aud", r#""basket""#)])),
        ("our audience in their name", theirs.token(&[], &[("aud", r#""shop""#)])),
    ] {
        refused(authenticator, &token, why).await;
    }
    assert_eq!(provider.count(), 1);
    // Nor may somebody else be trusted under the suite's own name.
    let mut problems = shop_config::Problems::default();
    all.issuer = "shop".to_owned();
    all.check(&[], &mut problems);
    assert!(format!("{problems:?}").contains("identity.issuer"), "{problems:?}");
}

#[tokio::test]
async fn keys_of_other_processes_are_trusted_by_file_and_those_that_signed_before_by_the_own() {
    let (first, second, third) = (Pair::new("ES256", "k1"), Pair::new("ES256", "k2"), Pair::new("ES256", "k3"));
    let (folder, mut settings) = at_home(&first);
    fs::write(settings.internal.key_file.as_ref().expect("a file"), [first.pem(), second.pem()].join("\n"))
        .expect("written");
    let trusted: PathBuf = folder.path().join("trusted.json");
    fs::write(&trusted, crate::forge::set(&[&third])).expect("written");
    settings.internal.trusted_file = Some(trusted);
    let identity = Identity::open(&settings, "basket").expect("it opens");
    let authenticator = identity.authenticator().expect("it is on");
    for pair in [&first, &second, &third] {
        assert!(bears(authenticator, &own(pair, "ada", r#""shop""#, &[])).await.is_ok(), "{}", pair.id);
    }
    refused(authenticator, &own(&Pair::new("ES256", "k4"), "ada", r#""shop""#, &[]), "nobody's").await;
    let signed = identity.signer().expect("a key").person("ada", &[], Duration::from_mins(1));
    assert!(bears(authenticator, &signed).await.is_ok());
}
