//! A Redis that answers and takes no writes: what readiness says, what a request is told, and that both pass.

use shop_fault::{Fault, Kind};
use shop_testing::backend::Own;

use super::*;

async fn tell(redis: &Own, words: &[&str]) {
    let client = ::redis::Client::open(redis.variable("SHOP_TEST_REDIS_URL")).expect("a url");
    let mut connection = client.get_multiplexed_async_connection().await.expect("connected");
    let mut command = ::redis::cmd(words[0]);
    command.arg(&words[1..]);
    command.query_async::<()>(&mut connection).await.unwrap_or_else(|error| panic!("{words:?}: {error}"));
}

#[tokio::test]
async fn a_redis_that_takes_no_writes_is_down_until_it_does() {
    let Some(redis) = Own::start("redis").await else { return };
    let stage = Stage::open(Redis::at(redis.variable("SHOP_TEST_REDIS_URL")), ()).await;
    let (ann, baskets) = (user("ann"), &stage.opened.store);
    stage.add(&ann, 1, None).await.expect("added");
    baskets.check().await.expect("is up");
    for (spoil, mend, said) in [
        (
            &["CONFIG", "SET", "maxmemory", "1"][..],
            &["CONFIG", "SET", "maxmemory", "0"][..],
            "the store is out of memory",
        ),
        (
            &["CONFIG", "SET", "min-replicas-to-write", "1"],
            &["CONFIG", "SET", "min-replicas-to-write", "0"],
            "the store has too few replicas and takes no writes",
        ),
        (&["REPLICAOF", "127.0.0.1", "1"], &["REPLICAOF", "NO", "ONE"], "the store only reads: it is a replica"),
    ] {
        tell(&redis, spoil).await;
        assert_eq!(baskets.check().await, Err(said.to_owned()));
        let refused = Fault::from(stage.add(&ann, 1, None).await.expect_err("is not written"));
        assert_eq!((refused.kind(), refused.code()), (Kind::Unavailable, "store_unavailable"), "{said}");
        tell(&redis, mend).await;
        shop_testing::eventually!(baskets.check().await.is_ok());
        stage.add(&ann, 1, None).await.expect("added again");
    }
    let basket = stage.get(&ann).await.expect("a basket");
    assert_eq!(basket.item_count(), 4, "what was refused was not done");
}
