//! What is known of each client's budget: one number per client, in bounded memory.
//!
//! When there are more clients than room, those that were seen longest ago are forgotten, which gives them a full
//! budget. To refuse the newcomers instead would let whoever has a million addresses lock everybody else out; and whoever
//! has them has a million budgets anyway.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use governor::nanos::Nanos;
use governor::state::StateStore;
use parking_lot::Mutex;

use crate::key::Key;

/// Threads seldom wait for each other with as many.
const SHARDS: usize = 16;
/// What a map with room for a power of two (8192) holds before it doubles: maps that are full waste nothing.
const FULL_MAP: usize = 8192 / 8 * 7;

/// The budgets of all clients; clones are the same.
#[derive(Clone)]
pub(crate) struct Budgets(Arc<Shards>);

struct Shards {
    all: Box<[Mutex<Shard>]>,
    /// Keyed by chance: clients that know it could choose addresses that collide.
    hasher: RandomState,
    /// Keys in one generation of a shard.
    generation: usize,
}

/// Two generations: whoever is seen moves to the young one. When that is full it becomes the old one, and who was not
/// seen since is forgotten. So the newer half of what there is room for is always known.
#[derive(Default)]
struct Shard {
    young: HashMap<Key, Nanos>,
    old: HashMap<Key, Nanos>,
}

impl Budgets {
    /// Room for `most` clients.
    pub(crate) fn new(most: usize) -> Self {
        let shards = (most / 2).div_ceil(FULL_MAP).max(SHARDS.min(most / 100)).max(1);
        Self(Arc::new(Shards {
            all: (0..shards).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
            generation: (most / shards / 2).max(1),
        }))
    }

    /// How many are known. Locks shard by shard; call it off the data path.
    pub(crate) fn len(&self) -> usize {
        let len = |shard: &Mutex<Shard>| {
            let shard = shard.lock();
            shard.young.len() + shard.old.len()
        };
        self.0.all.iter().map(len).sum()
    }

    /// Forgets whose budget was full at `now`, and gives back the memory. Locks shard by shard, each for some microseconds.
    pub(crate) fn forget_full(&self, now: Nanos) {
        for shard in &self.0.all {
            let Shard { young, old } = &mut *shard.lock();
            for keys in [young, old] {
                keys.retain(|_, full_at| *full_at > now);
                if keys.capacity() / 4 > keys.len() {
                    keys.shrink_to(keys.len() * 2);
                }
            }
        }
    }

    fn shard(&self, key: Key) -> &Mutex<Shard> {
        let Shards { all, hasher, .. } = &*self.0;
        let hash = usize::try_from(hasher.hash_one(key) >> 48).unwrap_or_default();
        &all[hash % all.len()]
    }
}

impl Shard {
    fn put(&mut self, key: Key, full_at: Nanos, generation: usize) {
        if self.young.len() >= generation {
            std::mem::swap(&mut self.young, &mut self.old);
            self.young.clear();
        }
        self.young.insert(key, full_at);
    }
}

/// governor hands in what to make of a budget; the number it keeps is when the budget is full again.
impl StateStore for Budgets {
    type Key = Key;

    fn measure_and_replace<T, F, E>(&self, key: &Key, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let mut shard = self.shard(*key).lock();
        if let Some(full_at) = shard.young.get_mut(key) {
            let (verdict, next) = decide(Some(*full_at))?;
            *full_at = next;
            return Ok(verdict);
        }
        let known = shard.old.remove(key);
        let (verdict, next) = match decide(known) {
            Ok((verdict, next)) => (Ok(verdict), Some(next)),
            Err(refused) => (Err(refused), known),
        };
        if let Some(next) = next {
            shard.put(*key, next, self.0.generation);
        }
        verdict
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(budgets: &Budgets, client: u32, full_at: u64) {
        let key = Key::of_address(std::net::Ipv4Addr::from_bits(client).into());
        budgets.measure_and_replace(&key, |_| Ok::<_, ()>(((), full_at.into()))).expect("sets");
    }

    fn get(budgets: &Budgets, client: u32) -> Option<u64> {
        let key = Key::of_address(std::net::Ipv4Addr::from_bits(client).into());
        budgets.measure_and_replace(&key, |known| Err::<((), Nanos), _>(known.map(Nanos::as_u64))).expect_err("refuses")
    }

    #[test]
    fn there_are_never_more_than_there_is_room_for() {
        for most in [1, 2, 100, 1000, 100_000] {
            let budgets = Budgets::new(most);
            for client in 0..300_000 {
                set(&budgets, client, 1);
            }
            let len = budgets.len();
            assert!(len <= most.max(2), "{len} of {most}");
            assert!(len * 3 >= most, "{len} of {most}: room is not wasted");
        }
    }

    /// The resident memory of this process, in bytes.
    fn resident() -> usize {
        let status = std::fs::read_to_string("/proc/self/status").expect("reads");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("is said");
        1024 * line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number")
    }

    fn flood(most: usize, clients: u32) -> Budgets {
        let budgets = Budgets::new(most);
        for client in 0..clients {
            set(&budgets, client, 1);
        }
        let len = budgets.len();
        assert!((most / 2..=most).contains(&len), "{len} of {most}");
        let newest = clients - clients / 13;
        assert!((newest..clients).all(|client| get(&budgets, client).is_some()), "the latest are known");
        assert_eq!(get(&budgets, 0), None);
        budgets
    }

    #[test]
    fn five_times_as_many_addresses_as_there_is_room_for_leave_the_latest() {
        flood(100_000, 500_000);
    }

    #[test]
    #[ignore = "takes half a minute without optimisation; prints what docs/gateway.md says"]
    fn five_million_addresses_take_at_most_forty_megabytes() {
        let before = resident();
        let budgets = flood(1_000_000, 5_000_000);
        let (held, taken) = (budgets.len(), resident() - before);
        println!("{held} budgets are held in {taken} bytes");
        assert!(taken < 40_000_000, "{taken} bytes");
        budgets.forget_full(2.into());
        assert_eq!(budgets.len(), 0);
    }

    #[test]
    fn who_keeps_coming_is_not_forgotten_whoever_else_comes() {
        let budgets = Budgets::new(1000);
        set(&budgets, 7, 70);
        for other in 1000..50_000 {
            set(&budgets, other, 1);
            assert_eq!(get(&budgets, 7), Some(70), "after {other}");
        }
    }

    #[test]
    fn a_full_budget_is_forgotten_and_its_memory_given_back() {
        let budgets = Budgets::new(100_000);
        for client in 0..20_000 {
            set(&budgets, client, u64::from(client) + 1);
        }
        budgets.forget_full(19_990.into());
        assert_eq!(budgets.len(), 10);
        assert_eq!((get(&budgets, 0), get(&budgets, 19_990)), (None, Some(19_991)));
        budgets.forget_full(u64::MAX.into());
        let capacity: usize = budgets.0.all.iter().map(|shard| shard.lock().young.capacity()).sum();
        assert_eq!(budgets.len(), 0);
        assert!(capacity < 1000, "room for {capacity} is kept");
    }

    #[test]
    fn a_map_that_shrinks_keeps_room_for_as_many_again() {
        // In one map.
        let budgets = Budgets::new(199);
        let room = || budgets.0.all[0].lock().young.capacity();
        for client in 0..90 {
            set(&budgets, client, u64::from(client));
        }
        let all = room();
        budgets.forget_full(84.into());
        assert_eq!(budgets.len(), 5);
        assert!((10..all / 4).contains(&room()), "{} of {all}", room());
    }
}
