//! The script on a real Redis, against the same bucket as governor.

use std::cell::Cell;

use ::redis::{Client, Script};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::*;
use crate::model::{Bucket, Step, steps};

/// The script with a clock of the test's: seconds and microseconds come with each call.
fn script() -> Script {
    let ours = SCRIPT.replace("redis.call('TIME')", "{ARGV[3], ARGV[4]}");
    assert_ne!(ours, SCRIPT, "the script asks for the time");
    Script::new(&ours)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_verdict_of_the_script_is_that_of_a_bucket() {
    let Some(keys) = shop_testing::backend::redis().await else { return };
    let mut redis = Client::open(keys.url()).and_then(|client| client.get_connection()).expect("connects");
    let script = script();
    let run = Cell::new(0);
    // At least a quarter of an hour to a token, as no key may expire by the server's clock while the test's stands still.
    let cases = (900_000_000_u64..10_000_000_000, 1_u32..20)
        .prop_flat_map(|(token, burst)| (Just(token), Just(burst), steps(token)));
    let mut runner = TestRunner::new(Config { cases: 64, failure_persistence: None, ..Config::default() });
    let outcome = tokio::task::block_in_place(|| {
        let redis = std::cell::RefCell::new(&mut redis);
        runner.run(&cases, |(token, burst, steps)| {
            run.set(run.get() + 1);
            let mut buckets = [(); 4].map(|()| Bucket::new(token, burst));
            // As on a server today: the numbers are as large as they get.
            let begun = 1_790_000_000_000_000_u64;
            let mut now = 0;
            for step in steps {
                match step {
                    Step::Wait(micros) => now += micros,
                    Step::Forget => {}
                    Step::Call { client, times } => {
                        for _ in 0..times {
                            let at = begun + now;
                            let mut call = script.key(format!("{}{}:{client}", keys.prefix(), run.get()));
                            call.arg(token).arg(burst).arg(at / 1_000_000).arg(at % 1_000_000);
                            let (allowed, remaining, wait, full): (bool, u64, u64, u64) =
                                call.invoke(&mut **redis.borrow_mut()).expect("an answer");
                            let bucket = &mut buckets[usize::from(client)];
                            let expected = bucket.take(now.into());
                            let answer = if allowed { Ok(u128::from(remaining)) } else { Err(u128::from(wait)) };
                            prop_assert_eq!(answer, expected);
                            prop_assert_eq!(u128::from(full), bucket.missing());
                        }
                    }
                }
            }
            Ok(())
        })
    });
    outcome.expect("all alike");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_lives_until_its_budget_is_full_and_nonsense_in_it_is_bounded() {
    let Some(keys) = shop_testing::backend::redis().await else { return };
    let mut redis = Client::open(keys.url()).and_then(|client| client.get_connection()).expect("connects");
    let script = Script::new(SCRIPT);
    let key = format!("{}k", keys.prefix());
    let mut call = script.key(&key);
    call.arg(1_000_000_000).arg(3);
    let mut left = || call.invoke::<(bool, u32, u64, u64)>(&mut redis).expect("an answer");
    assert_eq!(left().1, 2);
    assert_eq!(left().1, 1);
    let life: i64 = redis::cmd("PTTL").arg(&key).query(&mut redis).expect("asks");
    assert!((1_990_000..=2_000_000).contains(&life), "{life} ms");
    // As another server's clock may have left it.
    redis::cmd("SET").arg(&key).arg("9000000000000000").exec(&mut redis).expect("sets");
    let mut left = || call.invoke::<(bool, u32, u64, u64)>(&mut redis).expect("an answer");
    assert_eq!(left(), (false, 0, 1_000_000_000, 3_000_000_000));
}
