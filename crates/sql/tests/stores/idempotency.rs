//! Idempotency keys.

use std::sync::Arc;
use std::time::Duration;

use shop_clock::{Clock, ManualClock, SystemClock};
use shop_idempotency::{Begin, Claim, Fingerprint, KEEP, Key, LEASE, Lease, Store as _, Stored};
use shop_input::Id;
use shop_sql::{Idempotency, housekeeping};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::open::{Place, places};

const KEY: &str = "order 17";
const REQUEST: Fingerprint = Fingerprint { asked: [7; 32], bytes: [6; 32] };

fn open(place: &Place) -> (Idempotency, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::at(SystemClock.now()));
    (Idempotency::new(place.store.clone(), clock.clone()), clock)
}

/// A claim of `who` for a payment.
fn claim(who: &str, key: &str) -> Claim {
    Claim::new(who.to_owned(), Key::read(key).expect("a key"), "CreatePayment", REQUEST)
}

/// The same for another request, or another operation.
fn other(fingerprint: u8, method: &'static str) -> Claim {
    let fingerprint = Fingerprint { asked: [fingerprint; 32], bytes: [6; 32] };
    Claim { method, fingerprint, ..claim("ada", KEY) }
}

async fn begin(keys: &Idempotency) -> Begin {
    keys.begin(&claim("ada", KEY)).await.expect("begins")
}

fn held(begun: Begin) -> (Lease, Uuid, bool) {
    match begun {
        Begin::Run { lease, operation, fresh } => (lease, operation, fresh),
        other => panic!("should run: {other:?}"),
    }
}

async fn run(keys: &Idempotency) -> (Lease, Uuid, bool) {
    held(begin(keys).await)
}

fn answer() -> Stored {
    let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
    Stored { status: 201, headers, body: b"{\"a\":\"\xff\"}".to_vec() }
}

async fn finish(keys: &Idempotency, lease: &Lease) {
    keys.finish(&[(lease.clone(), answer())]).await.expect("finishes");
}

#[tokio::test]
async fn the_second_request_gets_the_first_ones_answer() {
    for place in places().await {
        let (keys, _) = open(&place);
        let (lease, ..) = run(&keys).await;
        assert_eq!(begin(&keys).await, Begin::InFlight, "{}", place.engine);
        finish(&keys, &lease).await;
        assert_eq!(begin(&keys).await, Begin::Replay(answer()), "{}", place.engine);
        let reused = keys.begin(&other(8, "CreatePayment")).await.expect("begins");
        assert_eq!(reused, Begin::Mismatch, "{}", place.engine);
        let upper = keys.begin(&claim("", "ORDER 17")).await.expect("begins");
        let lower = keys.begin(&claim("", KEY)).await.expect("begins");
        assert!([upper, lower].iter().all(|b| matches!(b, Begin::Run { .. })), "{}: keys differ by case", place.engine);
    }
}

#[tokio::test]
async fn ada_and_bob_who_call_their_keys_the_same_each_get_their_own_answer() {
    for place in places().await {
        let (keys, _) = open(&place);
        let (lease, adas, _) = run(&keys).await;
        finish(&keys, &lease).await;
        let (_, bobs, fresh) = held(keys.begin(&claim("bob", KEY)).await.expect("begins"));
        assert!(fresh && bobs != adas, "{}", place.engine);
    }
}

#[tokio::test]
async fn ada_may_use_a_key_for_one_payment_and_for_its_refund() {
    for place in places().await {
        let (keys, clock) = open(&place);
        let (payment, paid, _) = run(&keys).await;
        let refund = other(9, "RefundPayment");
        let (lease, refunded, fresh) = held(keys.begin(&refund).await.expect("begins"));
        assert!(fresh && refunded != paid && lease.name != payment.name, "{}", place.engine);
        // Neither ends the other, and each is told apart from another request for the same.
        keys.forget(&payment).await.expect("forgets");
        assert_eq!(keys.begin(&refund).await.expect("begins"), Begin::InFlight, "{}", place.engine);
        finish(&keys, &lease).await;
        // The first is gone a day later, not before the second.
        clock.advance(KEEP.saturating_sub(Duration::from_secs(1)));
        assert_eq!(keys.begin(&refund).await.expect("begins"), Begin::Replay(answer()), "{}", place.engine);
        let reused = keys.begin(&other(8, "RefundPayment")).await.expect("begins");
        assert_eq!(reused, Begin::Mismatch, "{}", place.engine);
    }
}

#[tokio::test]
async fn a_typo_is_mended_under_the_same_key() {
    for place in places().await {
        let (keys, _) = open(&place);
        for typo in [1, 2] {
            let (lease, _, fresh) = held(keys.begin(&other(typo, "CreatePayment")).await.expect("begins"));
            assert!(fresh, "{}: nothing was done", place.engine);
            keys.forget(&lease).await.expect("forgets");
        }
        let (lease, _, fresh) = run(&keys).await;
        assert!(fresh, "{}", place.engine);
        finish(&keys, &lease).await;
        assert_eq!(begin(&keys).await, Begin::Replay(answer()), "{}", place.engine);
    }
}

#[tokio::test]
async fn a_key_that_an_earlier_version_took_knows_its_request() {
    for place in places().await {
        let (keys, _) = open(&place);
        let (lease, operation, _) = run(&keys).await;
        // It kept the hash of the bytes where the hash of what is asked for is kept now, and no operation and owner.
        let earlier = "UPDATE idempotency_keys SET method = NULL, owner = NULL, leased_until = 0";
        match &place.store {
            shop_sql::Store::Postgres(pool) => sqlx::query(earlier).execute(pool).await.map(drop),
            shop_sql::Store::MariaDb(pool) => sqlx::query(earlier).execute(pool).await.map(drop),
            shop_sql::Store::Sqlite(pools) => sqlx::query(earlier).execute(&pools.write).await.map(drop),
        }
        .expect("updates");
        let same = Claim { fingerprint: Fingerprint { asked: [1; 32], bytes: REQUEST.asked }, ..claim("ada", KEY) };
        let (mine, again, fresh) = held(keys.begin(&same).await.expect("begins"));
        assert_eq!((again, fresh), (operation, false), "{}", place.engine);
        finish(&keys, &lease).await;
        assert_eq!(keys.begin(&same).await.expect("begins"), Begin::InFlight, "{}: not its owner", place.engine);
        finish(&keys, &mine).await;
        assert_eq!(keys.begin(&same).await.expect("begins"), Begin::Replay(answer()), "{}", place.engine);
    }
}

#[tokio::test]
async fn of_many_at_once_one_runs() {
    for place in places().await {
        let (keys, _) = open(&place);
        let begun = futures_util::future::join_all((0..16).map(|_| begin(&keys))).await;
        let runs = begun.iter().filter(|begin| matches!(begin, Begin::Run { .. })).count();
        let waits = begun.iter().filter(|begin| matches!(begin, Begin::InFlight)).count();
        assert_eq!((runs, waits), (1, 15), "{}", place.engine);
    }
}

#[tokio::test]
async fn after_a_crash_the_repeat_goes_on_within_seconds_with_the_same_operation() {
    for place in places().await {
        let (keys, clock) = open(&place);
        let (_, operation, _) = run(&keys).await;
        clock.advance(LEASE.saturating_sub(Duration::from_millis(1)));
        assert_eq!(begin(&keys).await, Begin::InFlight, "{}", place.engine);
        clock.advance(Duration::from_millis(1));
        assert!(LEASE < Duration::from_secs(10));
        let begun = futures_util::future::join_all((0..8).map(|_| begin(&keys))).await;
        let runs: Vec<_> = begun.into_iter().filter(|begin| matches!(begin, Begin::Run { .. })).map(held).collect();
        assert!(matches!(runs[..], [(_, same, false)] if same == operation), "{}: {runs:?}", place.engine);
    }
}

#[tokio::test]
async fn a_run_that_takes_long_keeps_its_key() {
    for place in places().await {
        let (keys, clock) = open(&place);
        let (lease, ..) = run(&keys).await;
        // More than one statement takes, and some that are nobody's.
        let mut all: Vec<_> = (0..40).map(|n| Lease { name: format!("gone {n}"), owner: Uuid::now_v7() }).collect();
        all.push(lease);
        for _ in 0..20 {
            clock.advance(LEASE.saturating_sub(Duration::from_millis(1)));
            keys.renew(&all).await.expect("renews");
        }
        assert_eq!(begin(&keys).await, Begin::InFlight, "{}", place.engine);
    }
}

#[tokio::test]
async fn a_slow_run_whose_key_was_taken_over_cannot_speak_for_its_successor() {
    for place in places().await {
        let (keys, clock) = open(&place);
        let (slow, ..) = run(&keys).await;
        clock.advance(LEASE);
        let (successor, ..) = run(&keys).await;
        let late = Stored { status: 402, headers: Vec::new(), body: b"too late".to_vec() };
        keys.finish(&[(slow.clone(), late.clone())]).await.expect("changes nothing");
        keys.release(std::slice::from_ref(&slow)).await.expect("changes nothing");
        keys.forget(&slow).await.expect("changes nothing");
        assert_eq!(begin(&keys).await, Begin::InFlight, "{}", place.engine);
        clock.advance(LEASE.saturating_sub(Duration::from_millis(1)));
        keys.renew(std::slice::from_ref(&slow)).await.expect("changes nothing");
        clock.advance(Duration::from_millis(1));
        let (third, ..) = run(&keys).await;
        finish(&keys, &successor).await;
        assert_eq!(begin(&keys).await, Begin::InFlight, "{}: lost as well", place.engine);
        finish(&keys, &third).await;
        keys.finish(&[(third, late)]).await.expect("changes nothing");
        assert_eq!(begin(&keys).await, Begin::Replay(answer()), "{}", place.engine);
    }
}

#[tokio::test]
async fn many_answers_are_kept_together() {
    for place in places().await {
        let (keys, _) = open(&place);
        let mut answers = Vec::new();
        for number in 0..40 {
            let (lease, ..) = held(keys.begin(&claim("ada", &number.to_string())).await.expect("begins"));
            let body = vec![u8::try_from(number).expect("small"); number * 1000];
            answers.push((lease, Stored { body, ..answer() }));
        }
        keys.finish(&answers).await.expect("finishes");
        for (number, (_, answer)) in answers.into_iter().enumerate() {
            let again = keys.begin(&claim("ada", &number.to_string())).await.expect("begins");
            assert_eq!(again, Begin::Replay(answer), "{} {number}", place.engine);
        }
    }
}

#[tokio::test]
async fn an_attempt_after_a_failure_runs_at_once_with_the_same_operation() {
    for place in places().await {
        let (keys, _) = open(&place);
        let (lease, operation, _) = run(&keys).await;
        keys.release(&[lease]).await.expect("releases");
        let (lease, again, fresh) = run(&keys).await;
        assert_eq!((again, fresh), (operation, false), "{}", place.engine);
        finish(&keys, &lease).await;
        keys.release(&[lease]).await.expect("comes late");
        assert_eq!(begin(&keys).await, Begin::Replay(answer()), "{}", place.engine);
    }
}

#[tokio::test]
async fn a_day_later_the_key_is_free() {
    for place in places().await {
        let (keys, clock) = open(&place);
        let (lease, operation, _) = run(&keys).await;
        finish(&keys, &lease).await;
        clock.advance(KEEP);
        assert_ne!(run(&keys).await.1, operation, "{}", place.engine);
    }
}

#[tokio::test]
async fn old_keys_are_swept_and_young_ones_kept() {
    for place in places().await {
        let (keys, clock) = open(&place);
        for number in 0..600 {
            keys.begin(&claim("ada", &format!("old {number}"))).await.expect("begins");
        }
        clock.advance(KEEP + Duration::from_millis(1));
        run(&keys).await;
        let stop = CancellationToken::new();
        stop.cancel(); // one sweep
        housekeeping(place.store.clone(), clock, stop).await;
        let left: i64 = match &place.store {
            shop_sql::Store::Postgres(pool) => count(pool).await,
            shop_sql::Store::MariaDb(pool) => {
                sqlx::query_scalar("SELECT COUNT(*) FROM idempotency_keys").fetch_one(pool).await.expect("counts")
            }
            shop_sql::Store::Sqlite(pools) => sqlx::query_scalar("SELECT COUNT(*) FROM idempotency_keys")
                .fetch_one(&pools.read)
                .await
                .expect("counts"),
        };
        assert_eq!(left, 1, "{}", place.engine);
    }
}

async fn count(pool: &sqlx::PgPool) -> i64 {
    sqlx::query_scalar("SELECT COUNT(*) FROM idempotency_keys").fetch_one(pool).await.expect("counts")
}
