//! Payments as a game of chance: buyers, support, banks, webhooks and recovery at once, over a service that dies wherever it
//! waits, a network that loses what it likes, and a provider that fails as real ones do. A seed decides all of it, and the same
//! seed is the same game, to the last step.
//!
//! The rules and commands are those of the service, and so are the client and the adapter of Stripe; the double's books are the
//! provider, the store is in memory and held to the contract of the others. Time passes only while everything waits.
//!
//! `SHOP_TEST_SEEDS` is how many seeds are played, from `SHOP_TEST_SEED` on; with the latter alone it is that one, and its story
//! is printed. `bench/simulation` plays 100 000 of an optimised build.

mod books;
mod people;
mod sky;
mod stage;
mod town;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tokio::time::sleep;

use self::stage::Of;
use self::world::World;

/// Seeds that are played by default.
const SEEDS: u64 = 1000;

/// How long the provider and recovery may take until everything is over, in rounds that grow to six hours.
const ROUNDS: u32 = 300;
const SHORTEST_ROUND: Duration = Duration::from_secs(40);
const LONGEST_ROUND: Duration = Duration::from_hours(6);

/// How a seed ended, and its story.
struct Game {
    end: Result<(), String>,
    story: Vec<String>,
    /// Refunds that were booked as paid, and then as failed.
    came_back: usize,
}

/// Plays a seed.
fn play(seed: u64, is_told: bool) -> Game {
    fastrand::seed(seed);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime").block_on(async {
        let world = World::of(seed, is_told);
        for place in 0..2 {
            world.start(place);
        }
        let stage = world.stage.clone();
        let end = stage.play(&world, all_of(world.clone())).await;
        Game { end, story: world.sky.story(), came_back: books::came_back(&world) }
    })
}

/// The game: a storm, and then what is left is brought to its end.
async fn all_of(world: std::sync::Arc<World>) -> Result<(), String> {
    world.stage.start(Of::World, "ada", world.clone().shop("ada"));
    if world.sky.one_in(2) {
        world.stage.start(Of::World, "bob", world.clone().shop("bob"));
    }
    world.stage.start(Of::World, "elsewhere", world.clone().go_on_elsewhere());
    sleep(Duration::from_secs(world.sky.one_of(&[60, 600, 3600]))).await;
    world.clear_up();
    let mut pause = SHORTEST_ROUND;
    for _ in 0..ROUNDS {
        sleep(pause).await;
        world.recover().await;
        world.move_on(3);
        if world.is_over() {
            if !world.bring_back_late().await {
                return books::all_is_well(&world);
            }
            pause = SHORTEST_ROUND;
        }
        pause = (pause * 3 / 2).min(LONGEST_ROUND);
    }
    Err(format!("it is never over: {:?}", world.store.payments()))
}

/// Plays a seed, and says what was amiss.
fn amiss(seed: u64) -> Option<String> {
    let game = catch_unwind(AssertUnwindSafe(|| play(seed, false)));
    let amiss = match game {
        Ok(Game { end, .. }) => end.err()?,
        Err(_) => "it panicked".to_owned(),
    };
    let story = catch_unwind(AssertUnwindSafe(|| play(seed, true).story)).unwrap_or_default();
    Some(format!("SHOP_TEST_SEED={seed}: {amiss}\n{}", story.join("\n")))
}

/// Plays these seeds on all cores; what was amiss with the first that failed, and how many failed.
fn play_all(first: u64, count: u64) -> (u64, Option<String>) {
    let (next, failed) = (AtomicU64::new(first), AtomicU64::new(0));
    let told = parking_lot::Mutex::new(None);
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Relaxed);
                    if seed >= first + count {
                        return;
                    }
                    if let Some(amiss) = amiss(seed) {
                        failed.fetch_add(1, Relaxed);
                        told.lock().get_or_insert(amiss);
                    }
                }
            });
        }
    });
    (failed.into_inner(), told.into_inner())
}

#[test]
fn money_taken_is_money_booked_whatever_dies_and_gets_lost() {
    let number = |name: &str| shop_testing::variable(name).map(|text| text.parse::<u64>().expect("a number"));
    let (seed, seeds) = (number("SHOP_TEST_SEED"), number("SHOP_TEST_SEEDS"));
    if let (Some(seed), None) = (seed, seeds) {
        let game = play(seed, true);
        println!("{}", game.story.join("\n"));
        return game.end.expect("all is well");
    }
    let (first, count) = (seed.unwrap_or(1), seeds.unwrap_or(SEEDS));
    let began = Instant::now();
    let (failed, amiss) = play_all(first, count);
    let a_second = u128::from(count) * 1000 / began.elapsed().as_millis().max(1);
    println!("{count} seeds from {first} on, {a_second} a second, {failed} failed");
    assert!(amiss.is_none(), "{failed} of {count} failed, among them {}", amiss.unwrap_or_default());
}

#[test]
fn refunds_that_were_paid_come_back_in_these_games() {
    let came_back: usize = (1..100).map(|seed| play(seed, false).came_back).sum();
    assert!(came_back > 0);
}

#[test]
fn a_seed_is_the_same_game_each_time() {
    for seed in 1..20 {
        let (one, other) = (play(seed, true).story, play(seed, true).story);
        assert!(!one.is_empty());
        assert_eq!(one, other);
    }
}
