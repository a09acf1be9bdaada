//! Which backend is next.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use parking_lot::Mutex;

use crate::config::{LoadBalancer, Strategy};
use crate::service::Backend;

/// Orders the backends of one service for one call.
pub(crate) enum Balancer {
    /// Always from the first.
    FirstFit,
    /// From the next in turn.
    RoundRobin(AtomicUsize),
    /// From the one with the fewest calls in flight.
    LeastConnections(AtomicUsize),
    /// Smooth weighted round robin (nginx): current weights, one per backend.
    Weighted(Mutex<Vec<i64>>),
    /// From any.
    Random,
    /// From the less loaded of two taken at random, by recent latency and calls in flight.
    PowerOfTwo,
}

impl Balancer {
    /// The balancer the settings ask for, for `count` backends.
    pub(crate) fn new(settings: &LoadBalancer, count: usize) -> Self {
        match settings.strategy {
            _ if !settings.enabled => Self::FirstFit,
            Strategy::RoundRobin => Self::RoundRobin(AtomicUsize::new(0)),
            Strategy::LeastConnections => Self::LeastConnections(AtomicUsize::new(0)),
            Strategy::WeightedRoundRobin => Self::Weighted(Mutex::new(vec![0; count])),
            Strategy::Random => Self::Random,
            Strategy::P2cEwma => Self::PowerOfTwo,
        }
    }

    /// The place of the backend to try first; the others follow in the order of the list.
    pub(crate) fn first(&self, backends: &[std::sync::Arc<Backend>]) -> usize {
        let count = backends.len();
        if count <= 1 {
            return 0;
        }
        match self {
            Self::FirstFit => 0,
            Self::RoundRobin(next) => next.fetch_add(1, Relaxed) % count,
            Self::LeastConnections(next) => {
                // Begin at another place each time, so that equals take turns.
                let start = next.fetch_add(1, Relaxed) % count;
                let places = (start..count).chain(0..start);
                places.min_by_key(|place| backends[*place].in_flight()).unwrap_or(start)
            }
            Self::Weighted(current) => smooth(&mut current.lock(), backends.iter().map(|b| b.weight())),
            Self::Random => chance(count),
            Self::PowerOfTwo => {
                let one = chance(count);
                let other = (one + 1 + chance(count - 1)) % count;
                if backends[other].load() < backends[one].load() { other } else { one }
            }
        }
    }
}

/// A place below `count`.
fn chance(count: usize) -> usize {
    // Fresh keys each time: even enough to spread load, and no further dependency.
    usize::try_from(RandomState::new().hash_one(0)).unwrap_or_default() % count
}

/// Every backend gains its weight; the richest is chosen and pays what all gained.
fn smooth(current: &mut [i64], weights: impl Iterator<Item = i64>) -> usize {
    let mut total = 0;
    let mut best = 0;
    for (place, weight) in weights.enumerate().take(current.len()) {
        current[place] += weight;
        total += weight;
        if current[place] > current[best] {
            best = place;
        }
    }
    current[best] -= total;
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_met_exactly_and_spread_out() {
        let mut current = vec![0; 3];
        let order: Vec<_> = (0..7).map(|_| smooth(&mut current, [5, 1, 1].into_iter())).collect();
        assert_eq!(order, [0, 0, 1, 0, 2, 0, 0]);
        assert_eq!(current, [0, 0, 0]);
    }
}
