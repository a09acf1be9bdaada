//! What every store of idempotency keys must do.

use std::time::Duration;

use futures_util::future::join_all;
use shop_idempotency::{Begin, Fingerprint, KEEP, LEASE, Stored};
use uuid::Uuid;

use super::{Stage, on_both};

on_both! {
    of_many_with_one_key_one_runs
    an_answer_is_replayed_to_the_byte_for_a_day
    a_key_belongs_to_its_first_request
    a_key_that_an_earlier_version_took_knows_its_request
    a_run_that_died_goes_on_under_the_same_operation
}

fn answer() -> Stored {
    let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
    Stored { status: 200, headers, body: b"{\"name\":\"caf\xc3\xa9\"}\x00\xff".to_vec() }
}

/// A request that is told from others by this.
pub(super) fn request(hash: u8) -> Fingerprint {
    Fingerprint { asked: [hash; 32], bytes: [0; 32] }
}

async fn begin(stage: &Stage, key: &str, fingerprint: u8) -> Begin {
    stage.opened.keys.begin(key, &request(fingerprint)).await.expect("the store answers")
}

fn operation(begin: Begin) -> Uuid {
    match begin {
        Begin::Run { operation } => operation,
        other => panic!("no run but {other:?}"),
    }
}

async fn of_many_with_one_key_one_runs(stage: &Stage) {
    let begun = join_all((0..20).map(|_| begin(stage, "k {1}", 1))).await;
    assert_eq!(begun.iter().filter(|begin| matches!(begin, Begin::Run { .. })).count(), 1);
    assert_eq!(begun.iter().filter(|begin| **begin == Begin::InFlight).count(), 19);
}

async fn an_answer_is_replayed_to_the_byte_for_a_day(stage: &Stage) {
    operation(begin(stage, "k", 1).await);
    stage.opened.keys.finish("k", &answer()).await.expect("kept");
    assert_eq!(begin(stage, "k", 1).await, Begin::Replay(answer()));
    stage.clock.advance(KEEP.saturating_sub(Duration::from_secs(1)));
    assert_eq!(begin(stage, "k", 1).await, Begin::Replay(answer()));
}

async fn a_key_belongs_to_its_first_request(stage: &Stage) {
    operation(begin(stage, "k", 1).await);
    assert_eq!(begin(stage, "k", 2).await, Begin::Mismatch);
    operation(begin(stage, "K", 2).await);
}

async fn a_key_that_an_earlier_version_took_knows_its_request(stage: &Stage) {
    // It kept the hash of the bytes.
    operation(begin(stage, "k", 9).await);
    let same = Fingerprint { asked: [1; 32], bytes: [9; 32] };
    assert_eq!(stage.opened.keys.begin("k", &same).await.expect("the store answers"), Begin::InFlight);
    let other = Fingerprint { asked: [1; 32], bytes: [8; 32] };
    assert_eq!(stage.opened.keys.begin("k", &other).await.expect("the store answers"), Begin::Mismatch);
}

async fn a_run_that_died_goes_on_under_the_same_operation(stage: &Stage) {
    let first = operation(begin(stage, "k", 1).await);
    stage.clock.advance(LEASE);
    assert_eq!(operation(begin(stage, "k", 1).await), first);
    assert_eq!(begin(stage, "k", 1).await, Begin::InFlight);
    stage.opened.keys.abandon("k").await.expect("let go");
    assert_eq!(operation(begin(stage, "k", 1).await), first);
}
