//! Stores that cannot be written for a while: what readiness says, and that they come back by themselves.

use std::time::Duration;

use shop_fault::Kind;
use shop_sql::{Sqlite, Store, check, fault};
use shop_testing::eventually;

use crate::open::{Place, servers, sqlite};

/// More than there is room for in a file that must not grow.
const MUCH: &str = "INSERT INTO idempotency_keys (idempotency_key, fingerprint, operation, created_at, leased_until, body) \
    VALUES (hex(randomblob(8)), x'', zeroblob(16), 0, 0, zeroblob(1000000))";
const LITTLE: &str = "INSERT INTO inbox VALUES (randomblob(16), 1)";

fn pools(place: &Place) -> &Sqlite {
    let Store::Sqlite(pools) = &place.store else { panic!("an sqlite store") };
    pools
}

async fn write(pools: &Sqlite, sql: &'static str) -> sqlx::Result<()> {
    let mut tx = pools.begin().await?;
    sqlx::query(sql).execute(&mut *tx).await?;
    shop_sql::commit(tx).await
}

async fn written(pools: &Sqlite) -> i64 {
    sqlx::query_scalar("SELECT COUNT(*) FROM inbox").fetch_one(&pools.read).await.expect("reads")
}

#[tokio::test]
async fn a_full_store_loses_the_transaction_and_not_the_writer() {
    let place = sqlite().await;
    let pools = pools(&place);
    for times in 1..4 {
        // A file of one page at most: as many as there are.
        sqlx::query("PRAGMA max_page_count = 1").fetch_all(&pools.write).await.expect("sets the limit");
        let error = write(pools, MUCH).await.expect_err("there is no room");
        let fault = fault(error);
        assert_eq!((fault.kind(), fault.code()), (Kind::Unavailable, "store_unavailable"));
        // The limit was the old connection's.
        write(pools, MUCH).await.expect("writes as soon as there is room");
        write(pools, LITTLE).await.expect("and goes on");
        assert_eq!(written(pools).await, times);
    }
}

#[tokio::test]
async fn a_full_store_is_down_until_there_is_room_again() {
    let place = sqlite().await;
    let pools = pools(&place);
    check(place.store.clone()).await.expect("is up");
    let roomy = (*pools.write.connect_options()).clone();
    pools.write.set_connect_options(roomy.clone().pragma("max_page_count", "1"));
    pools.write.acquire().await.expect("the writer").close().await.expect("closes");

    write(pools, MUCH).await.expect_err("there is no room");
    eventually!(check(place.store.clone()).await.is_err());
    for _ in 0..3 {
        assert_eq!(check(place.store.clone()).await, Err("the store's disk is full".to_owned()));
    }
    pools.write.set_connect_options(roomy);
    eventually!(check(place.store.clone()).await.is_ok());
    write(pools, MUCH).await.expect("writes again");
    check(place.store.clone()).await.expect("is up");
    assert_eq!(written(pools).await, 0, "a trial leaves nothing behind");
}

#[tokio::test]
async fn a_store_that_is_asked_often_is_written_to_seldom() {
    let place = sqlite().await;
    let pools = pools(&place);
    check(place.store.clone()).await.expect("is up");
    // The writer is busy and stays so: the answer is still good.
    let writer = pools.write.acquire().await.expect("the writer");
    for _ in 0..100 {
        check(place.store.clone()).await.expect("is up");
    }
    drop(writer);
}

#[tokio::test]
async fn a_writer_that_never_comes_back_is_told_from_a_long_queue() {
    let place = sqlite().await;
    let pools = pools(&place);
    let stuck = pools.write.acquire().await.expect("the writer");
    assert_eq!(check(place.store.clone()).await, Err("the store cannot be reached just now".to_owned()));
    drop(stuck);
    eventually!(check(place.store.clone()).await.is_ok());
}

#[tokio::test]
async fn a_reader_in_a_broken_transaction_is_replaced() {
    let place = sqlite().await;
    let pools = pools(&place);
    // What an input/output error does to a read: SQLite ends the transaction, and the driver does not know.
    for _ in 0..8 {
        let mut snapshot = pools.read.begin().await.expect("begins");
        sqlx::query("ROLLBACK").execute(&mut *snapshot).await.expect("ends it behind the driver's back");
    }
    for stored in 0..2 {
        for _ in 0..8 {
            let mut snapshot = pools.read.begin().await.expect("begins");
            let seen = sqlx::query_scalar("SELECT COUNT(*) FROM inbox").fetch_one(&mut *snapshot);
            let seen: i64 = seen.await.expect("reads");
            assert_eq!(seen, stored, "no reader keeps to an old state");
        }
        write(pools, LITTLE).await.expect("writes");
    }
}

/// Gives up `$work` after longer and longer times, and writes on the same pool each time: what was written is there for
/// others, whatever was given up.
macro_rules! give_up_and_write {
    ($pool:expr, $other:expr, $engine:expr, $work:expr) => {{
        sqlx::query("CREATE TABLE notes (id INTEGER NOT NULL)").execute($pool).await.expect("makes the table");
        for n in 0..150_i32 {
            let patience = Duration::from_micros(20 * u64::try_from(n).expect("small"));
            drop(tokio::time::timeout(patience, $work).await);
            let insert = sqlx::AssertSqlSafe(format!("INSERT INTO notes VALUES ({n})"));
            sqlx::raw_sql(insert).execute($pool).await.expect("writes");
            let seen = sqlx::query_scalar("SELECT COUNT(*) FROM notes WHERE id >= 0").fetch_one($other);
            let seen: i64 = seen.await.expect("reads");
            assert_eq!(seen, i64::from(n) + 1, "{}", $engine);
        }
        sqlx::query("DROP TABLE notes").execute($pool).await.expect("drops the table");
    }};
}

/// Writes and commits.
macro_rules! transaction {
    ($pool:expr) => {
        async {
            let mut tx = shop_sql::begin($pool).await?;
            sqlx::query("INSERT INTO notes VALUES (-1)").execute(&mut *tx).await?;
            shop_sql::commit(tx).await
        }
    };
}

#[tokio::test]
async fn a_begin_whose_caller_went_away_loses_no_later_write() {
    for place in servers().await {
        match (&place.store, &place.replica().await) {
            (Store::Postgres(pool), Store::Postgres(other)) => {
                give_up_and_write!(pool, other, place.engine, shop_sql::begin(pool));
            }
            (Store::MariaDb(pool), Store::MariaDb(other)) => {
                give_up_and_write!(pool, other, place.engine, shop_sql::begin(pool));
            }
            _ => unreachable!("servers"),
        }
    }
}

#[tokio::test]
async fn a_transaction_whose_caller_went_away_anywhere_loses_no_later_write() {
    for place in servers().await {
        match (&place.store, &place.replica().await) {
            (Store::Postgres(pool), Store::Postgres(other)) => {
                give_up_and_write!(pool, other, place.engine, transaction!(pool));
            }
            (Store::MariaDb(pool), Store::MariaDb(other)) => {
                give_up_and_write!(pool, other, place.engine, transaction!(pool));
            }
            _ => unreachable!("servers"),
        }
    }
}

/// Makes every session of the pool one that may only read, as those are that lead to a replica.
macro_rules! demote {
    ($pool:expr, $sql:expr) => {{
        eventually!($pool.num_idle() > 0 && usize::try_from($pool.size()) == Ok($pool.num_idle()));
        let mut idle: Vec<_> = std::iter::from_fn(|| $pool.try_acquire()).collect();
        for conn in &mut idle {
            sqlx::raw_sql($sql).execute(&mut **conn).await.expect("is a replica");
        }
        drop(idle);
        eventually!(usize::try_from($pool.size()) == Ok($pool.num_idle()));
    }};
}

#[tokio::test]
async fn a_server_that_only_reads_is_down_and_its_connections_are_given_up() {
    for place in servers().await {
        check(place.store.clone()).await.expect("is up");
        match &place.store {
            Store::Postgres(pool) => demote!(pool, "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY"),
            Store::MariaDb(pool) => demote!(pool, "SET SESSION TRANSACTION READ ONLY"),
            Store::Sqlite(_) => continue,
        }
        let told = check(place.store.clone()).await;
        assert_eq!(told, Err("the store only reads: it is a replica, or its disk does".to_owned()), "{}", place.engine);
        // The sessions are gone: a new connection leads to the server that writes.
        check(place.store.clone()).await.expect("is up again");
    }
}
