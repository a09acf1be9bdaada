//! What every store of idempotency keys must do.

use std::time::Duration;

use futures_util::future::join_all;
use shop_idempotency::{Begin, Claim, Fingerprint, KEEP, Key, LEASE, Lease, Stored};
use shop_input::Id;
use uuid::Uuid;

use super::{Stage, on_each};

on_each! {
    of_many_with_one_key_one_runs
    an_answer_is_replayed_to_the_byte_for_a_day
    a_key_belongs_to_its_first_request
    ada_and_bob_may_call_their_keys_the_same
    ada_may_use_a_key_for_two_operations
    a_typo_is_mended_under_the_same_key
    a_key_that_an_earlier_version_took_knows_its_request
    after_a_crash_the_repeat_goes_on_within_seconds
    a_slow_run_whose_key_was_taken_over_cannot_speak_for_its_successor
}

fn answer() -> Stored {
    let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
    Stored { status: 200, headers, body: b"{\"name\":\"caf\xc3\xa9\"}\x00\xff".to_vec() }
}

/// What a request of `who` claims that is told from others by a hash.
pub(super) fn claim(who: &str, key: &str, hash: u8) -> Claim {
    let fingerprint = Fingerprint { asked: [hash; 32], bytes: [0; 32] };
    Claim::new(who.to_owned(), Key::read(key).expect("a key"), "AddItem", fingerprint)
}

async fn begin(stage: &Stage, key: &str, fingerprint: u8) -> Begin {
    begin_as(stage, &claim("ada", key, fingerprint)).await
}

async fn begin_as(stage: &Stage, claim: &Claim) -> Begin {
    stage.opened.keys.begin(claim).await.expect("the store answers")
}

async fn finish(stage: &Stage, lease: &Lease, answer: Stored) {
    stage.opened.keys.finish(&[(lease.clone(), answer)]).await.expect("the store answers");
}

fn held(begin: Begin) -> (Lease, Uuid, bool) {
    match begin {
        Begin::Run { lease, operation, fresh } => (lease, operation, fresh),
        other => panic!("no run but {other:?}"),
    }
}

async fn of_many_with_one_key_one_runs(stage: &Stage) {
    let begun = join_all((0..20).map(|_| begin(stage, "k {1}", 1))).await;
    assert_eq!(begun.iter().filter(|begin| matches!(begin, Begin::Run { .. })).count(), 1);
    assert_eq!(begun.iter().filter(|begin| **begin == Begin::InFlight).count(), 19);
}

async fn an_answer_is_replayed_to_the_byte_for_a_day(stage: &Stage) {
    let (lease, ..) = held(begin(stage, "k", 1).await);
    finish(stage, &lease, answer()).await;
    assert_eq!(begin(stage, "k", 1).await, Begin::Replay(answer()));
    stage.clock.advance(KEEP.saturating_sub(Duration::from_secs(1)));
    assert_eq!(begin(stage, "k", 1).await, Begin::Replay(answer()));
}

async fn a_key_belongs_to_its_first_request(stage: &Stage) {
    held(begin(stage, "k", 1).await);
    assert_eq!(begin(stage, "k", 2).await, Begin::Mismatch);
    held(begin(stage, "K", 2).await);
}

async fn ada_and_bob_may_call_their_keys_the_same(stage: &Stage) {
    let (_, adas, _) = held(begin(stage, "order-1", 1).await);
    let (_, bobs, fresh) = held(begin_as(stage, &claim("bob", "order-1", 2)).await);
    assert!(fresh && adas != bobs);
}

async fn ada_may_use_a_key_for_two_operations(stage: &Stage) {
    let (first, adds, _) = held(begin(stage, "k", 1).await);
    let merge = Claim { method: "MergeBasket", ..claim("ada", "k", 2) };
    let (second, merges, fresh) = held(begin_as(stage, &merge).await);
    assert!(fresh && adds != merges && first.name != second.name);
    stage.opened.keys.forget(&first).await.expect("let go");
    assert_eq!(begin_as(stage, &merge).await, Begin::InFlight, "though the first name is free again");
    finish(stage, &second, answer()).await;
    assert_eq!(begin_as(stage, &merge).await, Begin::Replay(answer()));
    assert_eq!(begin_as(stage, &Claim { method: "MergeBasket", ..claim("ada", "k", 3) }).await, Begin::Mismatch);
}

async fn a_typo_is_mended_under_the_same_key(stage: &Stage) {
    for typo in [1, 2] {
        let (lease, _, fresh) = held(begin(stage, "k", typo).await);
        assert!(fresh);
        stage.opened.keys.forget(&lease).await.expect("let go");
    }
    let (lease, ..) = held(begin(stage, "k", 3).await);
    finish(stage, &lease, answer()).await;
    assert_eq!(begin(stage, "k", 3).await, Begin::Replay(answer()));
}

async fn a_key_that_an_earlier_version_took_knows_its_request(stage: &Stage) {
    // It kept the hash of the bytes.
    held(begin(stage, "k", 9).await);
    let bytes = |hash| Fingerprint { asked: [1; 32], bytes: [hash; 32] };
    let same = Claim { fingerprint: bytes(9), ..claim("ada", "k", 0) };
    assert_eq!(begin_as(stage, &same).await, Begin::InFlight);
    let other = Claim { fingerprint: bytes(8), ..claim("ada", "k", 0) };
    assert_eq!(begin_as(stage, &other).await, Begin::Mismatch);
}

async fn after_a_crash_the_repeat_goes_on_within_seconds(stage: &Stage) {
    let (lease, first, _) = held(begin(stage, "k", 1).await);
    stage.clock.advance(LEASE / 2);
    stage.opened.keys.renew(&[lease]).await.expect("renewed");
    stage.clock.advance(LEASE.saturating_sub(Duration::from_millis(1)));
    assert_eq!(begin(stage, "k", 1).await, Begin::InFlight, "it lived so far");
    stage.clock.advance(Duration::from_millis(1));
    let (lease, again, fresh) = held(begin(stage, "k", 1).await);
    assert_eq!((again, fresh), (first, false));
    assert_eq!(begin(stage, "k", 1).await, Begin::InFlight);
    stage.opened.keys.release(&[lease]).await.expect("let go");
    assert_eq!(held(begin(stage, "k", 1).await).1, first);
}

async fn a_slow_run_whose_key_was_taken_over_cannot_speak_for_its_successor(stage: &Stage) {
    let (slow, ..) = held(begin(stage, "k", 1).await);
    stage.clock.advance(LEASE);
    let (successor, ..) = held(begin(stage, "k", 1).await);
    finish(stage, &slow, Stored { status: 402, ..answer() }).await;
    stage.opened.keys.release(std::slice::from_ref(&slow)).await.expect("changes nothing");
    stage.opened.keys.forget(&slow).await.expect("changes nothing");
    assert_eq!(begin(stage, "k", 1).await, Begin::InFlight);
    finish(stage, &successor, answer()).await;
    finish(stage, &successor, Stored { status: 402, ..answer() }).await;
    assert_eq!(begin(stage, "k", 1).await, Begin::Replay(answer()));
}
