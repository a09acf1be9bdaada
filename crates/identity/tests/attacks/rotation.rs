//! Keys that change and issuers that go away, with others flooding us meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use futures_util::future::join_all;
use shop_identity::{Authenticator, IdentitySettings, Refusal};
use tokio::time::timeout;

use crate::forge::{Pair, noise};
use crate::provider::{Manner, Provider};
use crate::world::{LONG, PATIENCE, SHORT, bears, open, refused, settings, trusting};

/// A token for somebody new, whom no memory has.
fn fresh(pair: &Pair, seed: &str) -> String {
    pair.token(&[], &[("sub", &format!("{:?}", noise(seed)))])
}

/// A token with a key that nobody has, by a key that is not the issuer's.
fn forged(pair: &Pair, seed: &str) -> String {
    pair.token(&[("kid", &format!("{:?}", noise(seed)))], &[])
}

/// Tries until it is let in.
async fn gets_in(authenticator: &Authenticator, token: &str) {
    let tries = async {
        while bears(authenticator, token).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, tries).await.expect("let in");
}

#[tokio::test]
async fn a_new_key_is_good_at_once_and_an_old_one_no_longer_than_its_issuer_says() {
    let (one, two) = (Pair::new("ES256", "k1"), Pair::new("RS256", "k2"));
    let (authenticator, provider) = trusting(&[&one], SHORT).await;
    let old = one.good();
    assert!(bears(&authenticator, &old).await.is_ok() && authenticator.known(&old).is_some());
    provider.publish(&[&one, &two]);
    assert!(bears(&authenticator, &two.good()).await.is_ok());
    assert!(bears(&authenticator, &old).await.is_ok(), "both are there");
    provider.publish(&[&two]);
    // The next look is somebody's who comes with a key that is not there.
    refused(&authenticator, &forged(&one, "x"), "nobody's").await;
    assert!(authenticator.known(&old).is_none(), "nor is it remembered");
    refused(&authenticator, &old, "taken away").await;
    refused(&authenticator, &fresh(&one, "y"), "taken away").await;
    assert!(bears(&authenticator, &two.good()).await.is_ok());
}

#[tokio::test]
async fn a_key_in_the_place_of_another_is_found_by_the_tokens_that_do_not_fit() {
    for id in [r#""k1""#, ""] {
        let mut old = Pair::new("ES256", "k1");
        let (authenticator, provider) = trusting(&[&old], SHORT).await;
        // Several times: the first looks may be others'.
        for _ in 0..4 {
            let new = Pair::new("ES256", "k1");
            provider.publish(&[&new]);
            gets_in(&authenticator, &new.token(&[("kid", id)], &[])).await;
            refused(&authenticator, &old.good(), "replaced").await;
            old = new;
        }
    }
}

#[tokio::test]
async fn who_guesses_the_name_of_the_next_key_keeps_nobody_out() {
    let one = Pair::new("ES256", "k1");
    let (authenticator, provider) = trusting(&[&one], SHORT).await;
    for id in ["k2", "k3", "k4", "k5"] {
        let (next, mallory) = (Pair::new("ES256", id), Pair::new("ES256", id));
        refused(&authenticator, &mallory.good(), "there is no such key yet").await;
        provider.publish(&[&one, &next]);
        gets_in(&authenticator, &next.good()).await;
    }
    refused(&authenticator, &Pair::new("ES256", "k5").good(), "not that key").await;
}

#[tokio::test]
async fn a_token_whose_key_is_newer_than_the_answer_under_way_waits_for_the_next() {
    let failure = Manner::Says("500 Internal Server Error", "", "{}".to_owned());
    for (under_way, is_bad) in [(Manner::Good, false), (failure, true)] {
        let (one, two) = (Pair::new("ES256", "k1"), Pair::new("ES256", "k2"));
        let (authenticator, provider) = trusting(&[&one], SHORT).await;
        provider.turns(Manner::Holds);
        let junk = tokio::spawn({
            let (authenticator, token) = (authenticator.clone(), forged(&one, "x"));
            async move { bears(&authenticator, &token).await.map(|_| ()) }
        });
        // The answer that is held has the old keys, if any.
        provider.was_asked(2).await;
        provider.publish(&[&one, &two]);
        let (many, token) = (authenticator.clone(), two.good());
        let good = tokio::spawn(async move { join_all((0..100).map(|_| bears(&many, &token))).await });
        // Let all of them see that it is being asked.
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        provider.turns(under_way);
        // Whose it was asked for has the answer, good or bad.
        let refusal = junk.await.expect("it ends").expect_err("nobody's");
        assert_eq!(matches!(refusal, Refusal::Unavailable(_)), is_bad, "{refusal:?}");
        provider.turns(Manner::Good);
        assert!(good.await.expect("it ends").iter().all(Result::is_ok), "{is_bad}");
    }
}

#[tokio::test]
async fn a_flood_of_unknown_keys_asks_once_a_cooldown_and_hurts_no_good_token() {
    let pair = Pair::new("ES256", "k1");
    let (authenticator, provider) = trusting(&[&pair], LONG).await;
    let remembered = pair.good();
    for n in 0..3_000 {
        let seed = n.to_string();
        let found = bears(&authenticator, &forged(&pair, &seed)).await;
        assert!(
            matches!(found, Err(Refusal::Unavailable(after)) if after.as_secs() > 3_000),
            "nobody knows yet: {found:?}"
        );
        if n % 100 == 0 {
            assert!(bears(&authenticator, &remembered).await.is_ok());
            assert!(bears(&authenticator, &fresh(&pair, &seed)).await.is_ok());
        }
    }
    assert_eq!(provider.count(), 1);
}

#[tokio::test]
async fn a_process_without_keys_is_not_to_blame_the_token() {
    let pair = Pair::new("ES256", "k1");
    let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("an address");
    let provider = Provider::start(&[&pair]).await;
    let nobody = IdentitySettings { jwks_url: format!("http://{gone}/jwks"), ..settings(&provider, LONG) };
    for settings in
        [nobody, IdentitySettings { jwks_url: "http://127.0.0.1:1/jwks".to_owned(), ..settings(&provider, LONG) }]
    {
        let authenticator = open(&settings);
        let refusal = bears(&authenticator, &pair.good()).await.expect_err("no keys");
        assert!(matches!(refusal, Refusal::Unavailable(_)), "{refusal:?}");
        assert!(!authenticator.is_ready());
    }
    // What need not be looked up is refused as ever.
    let authenticator = open(&settings(&provider, LONG));
    assert!(bears(&authenticator, &pair.good()).await.is_ok() && authenticator.is_ready());
}

#[tokio::test]
async fn keys_are_good_without_their_issuer_until_they_are_stale() {
    let pair = Pair::new("ES256", "k1");
    let provider = Provider::start(&[&pair]).await;
    let settings = IdentitySettings { max_stale: shop_config::Duration::secs(2), ..settings(&provider, SHORT) };
    let authenticator = open(&settings);
    let token = pair.good();
    assert!(bears(&authenticator, &token).await.is_ok());
    provider.turns(Manner::Away);
    let stale = async {
        loop {
            match bears(&authenticator, &token).await {
                Ok(_) => tokio::task::yield_now().await,
                Err(refusal) => break refusal,
            }
        }
    };
    let refusal = timeout(PATIENCE, stale).await.expect("stale in time");
    assert!(matches!(refusal, Refusal::Unavailable(_)), "{refusal:?}");
    assert!(!authenticator.is_ready() && authenticator.known(&token).is_none());
    provider.turns(Manner::Good);
    gets_in(&authenticator, &token).await;
    assert!(authenticator.is_ready());
}

/// Several keep coming with good tokens, known and new, while others flood us and the issuer changes its keys and goes away.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_rotate_and_their_issuer_goes_away_under_load() {
    const COOLDOWN: u64 = 100;
    let started = Instant::now();
    let mut pair = Arc::new(Pair::new("ES256", "k0"));
    let (authenticator, provider) = trusting(&[&pair], COOLDOWN).await;
    let is_over = Arc::new(AtomicBool::new(false));
    let tried = Arc::new(AtomicUsize::new(0));
    let mallory = Arc::new(Pair::new("ES256", "k0"));
    let current = Arc::new(AtomicUsize::new(0));
    let flood: Vec<_> = (0..200)
        .map(|who| {
            let (authenticator, is_over, tried) = (authenticator.clone(), is_over.clone(), tried.clone());
            let (mallory, current) = (mallory.clone(), current.clone());
            tokio::spawn(async move {
                let mut let_in = 0;
                while !is_over.load(Ordering::Relaxed) {
                    let n = tried.fetch_add(1, Ordering::Relaxed);
                    let unknown = forged(&mallory, &format!("{who} {n}"));
                    // The name of the key in use, or of one that was.
                    let key = n % (current.load(Ordering::Relaxed) + 1);
                    let known = mallory.token(&[("kid", &format!("\"k{key}\""))], &[]);
                    let (one, two) = tokio::join!(bears(&authenticator, &unknown), bears(&authenticator, &known));
                    let_in += usize::from(one.is_ok()) + usize::from(two.is_ok());
                    tokio::task::yield_now().await;
                }
                let_in
            })
        })
        .collect();
    let troubles = [
        Manner::Good,
        Manner::Away,
        Manner::Says("500 Internal Server Error", "", "{}".to_owned()),
        Manner::Says("200 OK", "content-type: text/html", "<html>".to_owned()),
        Manner::Holds,
        Manner::Huge,
    ];
    let mut good = 0;
    for (round, trouble) in troubles.into_iter().enumerate() {
        // The next key beside the one in use; then the issuer is in trouble.
        let next = Arc::new(Pair::new(if round % 2 == 0 { "RS256" } else { "ES256" }, &format!("k{}", round + 1)));
        provider.publish(&[&pair, &next]);
        for is_troubled in [false, true] {
            if is_troubled {
                provider.turns(trouble.clone());
            }
            let shoppers = (0..6).map(|who| {
                let (authenticator, pair, next) = (authenticator.clone(), pair.clone(), next.clone());
                tokio::spawn(async move {
                    for n in 0..20 {
                        for pair in [&pair, &next] {
                            for token in [pair.good(), fresh(pair, &format!("{round} {who} {n} {is_troubled}"))] {
                                let found = bears(&authenticator, &token).await;
                                assert!(found.is_ok(), "{} in round {round}: {found:?}", pair.id);
                            }
                        }
                    }
                    80
                })
            });
            good += join_all(shoppers).await.into_iter().map(|shopper| shopper.expect("good tokens")).sum::<usize>();
        }
        provider.turns(Manner::Good);
        pair = next;
        current.store(round + 1, Ordering::Relaxed);
    }
    is_over.store(true, Ordering::Relaxed);
    let let_in: usize =
        timeout(PATIENCE, join_all(flood)).await.expect("it ends").into_iter().map(|n| n.expect("no panic")).sum();
    let most = started.elapsed().as_millis() / u128::from(COOLDOWN) + 1;
    let (asked, tried) = (provider.count(), tried.load(Ordering::Relaxed));
    assert_eq!((good, let_in), (6 * 2 * 6 * 80, 0), "of {tried}");
    assert!(asked as u128 <= most, "asked {asked} times where {most} were allowed");
    assert!(tried > 1_000 && asked > 6, "there was a flood, {tried}, and something to ask, {asked}");
}
