//! Transactions that lose against others and begin again, and those of a single call.

use std::sync::atomic::{AtomicUsize, Ordering};

use shop_sql::{Engine, Step, Store, Value, outbox, retry_transient};
use tokio::sync::Barrier;

use crate::bus::event;
use crate::open::{Place, places, servers};

/// Takes two rows in the given order; the first time, both transactions hold one row before they ask for the other.
macro_rules! swap {
    ($pool:expr, $first:expr, $second:expr, $barrier:expr, $tries:expr) => {
        retry_transient(|| async {
            let again = $tries.fetch_add(1, Ordering::SeqCst) >= 2;
            let mut tx = $pool.begin().await?;
            sqlx::query($first).execute(&mut *tx).await?;
            if !again {
                $barrier.wait().await;
            }
            sqlx::query($second).execute(&mut *tx).await?;
            tx.commit().await
        })
    };
}

#[tokio::test]
async fn a_deadlock_is_survived() {
    const TABLE: &str = "CREATE TABLE pots (id INTEGER PRIMARY KEY, coins INTEGER NOT NULL)";
    const ROWS: &str = "INSERT INTO pots VALUES (1, 0), (2, 0)";
    const ONE: &str = "UPDATE pots SET coins = coins + 1 WHERE id = 1";
    const TWO: &str = "UPDATE pots SET coins = coins + 1 WHERE id = 2";
    for place in servers().await {
        let (barrier, tries) = (Barrier::new(2), AtomicUsize::new(0));
        let (left, right) = match &place.store {
            Store::Postgres(pool) => {
                sqlx::query(TABLE).execute(pool).await.expect("makes the table");
                sqlx::query(ROWS).execute(pool).await.expect("fills it");
                tokio::join!(swap!(pool, ONE, TWO, barrier, tries), swap!(pool, TWO, ONE, barrier, tries))
            }
            Store::MariaDb(pool) => {
                sqlx::query(TABLE).execute(pool).await.expect("makes the table");
                sqlx::query(ROWS).execute(pool).await.expect("fills it");
                tokio::join!(swap!(pool, ONE, TWO, barrier, tries), swap!(pool, TWO, ONE, barrier, tries))
            }
            Store::Sqlite(_) => continue,
        };
        left.expect("commits");
        right.expect("commits");
        assert_eq!(tries.load(Ordering::SeqCst), 3, "{}: one of them began again", place.engine);
    }
}

/// Runs an async function with the engine and its place, on each.
macro_rules! on_each {
    ($check:ident) => {
        for place in places().await {
            match &place.store {
                Store::Postgres(pool) => $check(pool, &place).await,
                Store::MariaDb(pool) => $check(pool, &place).await,
                Store::Sqlite(pools) => $check(pools, &place).await,
            }
        }
    };
}

fn take(pot: i64, coins: i64) -> Step<'static> {
    Step::new("UPDATE pots SET coins = coins - $2 WHERE id = $1", [Value::Int(pot), Value::Int(coins)])
}

fn new(pot: i64, coins: i64) -> Step<'static> {
    Step::new("INSERT INTO pots (coins, id) VALUES ($2, $1)", [Value::Int(pot), Value::Int(coins)])
}

/// Pots and their coins as everybody sees them.
async fn coins(place: &Place) -> Vec<String> {
    place.texts_elsewhere("SELECT CONCAT(id, ':', coins) FROM pots ORDER BY id").await
}

async fn is_whole<E: Engine>(engine: &E, place: &Place) {
    let pots = "CREATE TABLE pots (id BIGINT PRIMARY KEY, coins BIGINT NOT NULL CHECK (coins >= 0))";
    place.run(pots).await.expect("makes the table");
    assert!(engine.together(&[new(1, 100), new(2, 100)]).await.expect("makes two"), "{}", place.engine);
    // More often than there are connections: none is left within a transaction.
    for round in 1..=15 {
        for (steps, what) in [
            ([take(404, 1), take(1, 1)], "the first touches nothing"),
            ([new(1, 1), take(1, 1)], "the first one's key is taken"),
            ([take(1, 1), new(2, 1)], "a later one's key is taken"),
        ] {
            assert!(!engine.together(&steps).await.expect("is told"), "{}: {what}", place.engine);
        }
        for (steps, what) in [
            ([take(1, 1), take(2, 1000)], "a later one is refused"),
            ([take(1, 1000), take(2, 1)], "the first one is refused"),
        ] {
            engine.together(&steps).await.expect_err(what);
        }
        assert!(engine.together(&[take(1, 1), take(2, 2), take(404, 1)]).await.expect("takes"), "{}", place.engine);
        assert!(engine.together(&[take(1, 1)]).await.expect("takes"), "{}", place.engine);
        assert!(!engine.together(&[take(404, 1)]).await.expect("is told"), "{}", place.engine);
        let expected = [format!("1:{}", 100 - 2 * round), format!("2:{}", 100 - 2 * round)];
        assert_eq!(coins(place).await, expected, "{}", place.engine);
    }
}

#[tokio::test]
async fn what_belongs_together_is_done_whole_or_not_at_all() {
    on_each!(is_whole);
}

async fn are_kept_in_order<E: Engine>(engine: &E, place: &Place) {
    place.run("CREATE TABLE pots (id BIGINT PRIMARY KEY, coins BIGINT NOT NULL)").await.expect("makes the table");
    let events: Vec<_> = (1..=40).map(|n| event(n, 1)).collect();
    let rows = outbox::rows(&events).expect("can be written");
    let with = |first| [first].into_iter().chain(rows.steps()).collect::<Vec<_>>();
    assert!(!engine.together(&with(take(1, 0))).await.expect("is told"), "{}", place.engine);
    assert_eq!(outbox::pending(&place.store).await.expect("counts"), 0, "{}", place.engine);
    assert!(engine.together(&with(new(1, 1))).await.expect("is done"), "{}", place.engine);
    let keys: Vec<_> = (1..=40).map(|n| n.to_string()).collect();
    assert_eq!(place.texts("SELECT message_key FROM outbox ORDER BY id").await, keys, "{}", place.engine);
}

#[tokio::test]
async fn events_are_there_with_their_change_and_in_their_order() {
    on_each!(are_kept_in_order);
}

/// Two that take of the same two pots in turn, each in one call.
async fn both_get_through<E: Engine>(engine: &E, place: &Place) {
    place.run("CREATE TABLE pots (id BIGINT PRIMARY KEY, coins BIGINT NOT NULL)").await.expect("makes the table");
    assert!(engine.together(&[new(1, 100), new(2, 100)]).await.expect("makes two"));
    let often = |steps: [Step<'static>; 2]| async move {
        for _ in 0..5 {
            let done = retry_transient(|| engine.together(&steps)).await;
            assert!(done.expect("gets through"), "{}", place.engine);
        }
    };
    tokio::join!(often([take(1, 1), take(2, 1)]), often([take(2, 1), take(1, 1)]));
    assert_eq!(coins(place).await, ["1:90", "2:90"], "{}", place.engine);
}

#[tokio::test]
async fn who_loses_against_another_begins_again() {
    on_each!(both_get_through);
}
