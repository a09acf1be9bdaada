//! Idempotency keys.

use std::sync::Arc;
use std::time::Duration;

use shop_clock::{Clock, ManualClock, SystemClock};
use shop_idempotency::{Begin, Fingerprint, KEEP, LEASE, Store as _, Stored};
use shop_sql::{Idempotency, housekeeping};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::open::{Place, places};

const KEY: &str = "order 17 ☕";
const REQUEST: Fingerprint = Fingerprint { asked: [7; 32], bytes: [6; 32] };

fn open(place: &Place) -> (Idempotency, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::at(SystemClock.now()));
    (Idempotency::new(place.store.clone(), clock.clone()), clock)
}

async fn begin(keys: &Idempotency) -> Begin {
    keys.begin(KEY, &REQUEST).await.expect("begins")
}

async fn run(keys: &Idempotency) -> Uuid {
    match begin(keys).await {
        Begin::Run { operation } => operation,
        other => panic!("should run: {other:?}"),
    }
}

fn answer() -> Stored {
    let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
    Stored { status: 201, headers, body: b"{\"a\":\"\xff\"}".to_vec() }
}

#[tokio::test]
async fn the_second_request_gets_the_first_ones_answer() {
    for place in places().await {
        let (keys, _) = open(&place);
        run(&keys).await;
        assert_eq!(begin(&keys).await, Begin::InFlight, "{}", place.engine);
        keys.finish(KEY, &answer()).await.expect("finishes");
        assert_eq!(begin(&keys).await, Begin::Replay(answer()), "{}", place.engine);
        let other = Fingerprint { asked: [8; 32], bytes: [6; 32] };
        assert_eq!(keys.begin(KEY, &other).await.expect("begins"), Begin::Mismatch, "{}", place.engine);
        let lower = keys.begin(&KEY.to_uppercase(), &REQUEST).await.expect("begins");
        assert!(matches!(lower, Begin::Run { .. }), "{}: keys differ by case", place.engine);
    }
}

#[tokio::test]
async fn a_key_that_an_earlier_version_took_knows_its_request() {
    for place in places().await {
        let (keys, _) = open(&place);
        // It kept the hash of the bytes where the hash of what is asked for is kept now.
        run(&keys).await;
        keys.finish(KEY, &answer()).await.expect("finishes");
        let same = Fingerprint { asked: [1; 32], bytes: REQUEST.asked };
        assert_eq!(keys.begin(KEY, &same).await.expect("begins"), Begin::Replay(answer()), "{}", place.engine);
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
async fn an_attempt_after_a_crash_has_the_same_operation() {
    for place in places().await {
        let (keys, clock) = open(&place);
        let operation = run(&keys).await;
        clock.advance(LEASE.saturating_sub(Duration::from_millis(1)));
        assert_eq!(begin(&keys).await, Begin::InFlight, "{}", place.engine);
        clock.advance(Duration::from_millis(1));
        let begun = futures_util::future::join_all((0..8).map(|_| begin(&keys))).await;
        let runs: Vec<_> = begun.iter().filter(|begin| matches!(begin, Begin::Run { .. })).collect();
        assert_eq!(runs, [&Begin::Run { operation }], "{}", place.engine);
    }
}

#[tokio::test]
async fn an_attempt_after_a_failure_runs_at_once_with_the_same_operation() {
    for place in places().await {
        let (keys, _) = open(&place);
        let operation = run(&keys).await;
        keys.abandon(KEY).await.expect("abandons");
        assert_eq!(run(&keys).await, operation, "{}", place.engine);
        keys.finish(KEY, &answer()).await.expect("finishes");
        keys.abandon(KEY).await.expect("an abandon that comes late");
        assert_eq!(begin(&keys).await, Begin::Replay(answer()), "{}", place.engine);
    }
}

#[tokio::test]
async fn a_day_later_the_key_is_free() {
    for place in places().await {
        let (keys, clock) = open(&place);
        let operation = run(&keys).await;
        keys.finish(KEY, &answer()).await.expect("finishes");
        clock.advance(KEEP);
        assert_ne!(run(&keys).await, operation, "{}", place.engine);
    }
}

#[tokio::test]
async fn old_keys_are_swept_and_young_ones_kept() {
    for place in places().await {
        let (keys, clock) = open(&place);
        for number in 0..600 {
            keys.begin(&format!("old {number}"), &REQUEST).await.expect("begins");
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
