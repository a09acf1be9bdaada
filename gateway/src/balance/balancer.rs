//! Which backend is next.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use parking_lot::Mutex;

use crate::balance::rotation::{MOST, Places};
use crate::chance;
use crate::services::Member;
use crate::settings::{LoadBalancer, Strategy};

/// Chooses among the backends of one service.
pub(crate) enum Balancer {
    /// Always the first.
    FirstFit,
    /// The next in turn.
    RoundRobin(AtomicUsize),
    /// The one with the fewest calls in flight.
    LeastConnections(AtomicUsize),
    /// Smooth weighted round robin (nginx): current weights, one per backend.
    Weighted(Mutex<Vec<i64>>),
    /// Any.
    Random,
    /// The less loaded of two taken at random, by recent latency and calls in flight.
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

    /// One of `places`, of which there must be one; a `repeat` of a call takes nobody's turn.
    pub(crate) fn choose(&self, members: &[Member], places: Places, repeat: bool) -> usize {
        let count = places.count_ones() as usize;
        if count <= 1 {
            return nth(places, 0);
        }
        // A repeat that moved the turn on could keep step with the failures and never reach somebody.
        let turn = |next: &AtomicUsize| {
            let turn = if repeat { next.load(Relaxed) } else { next.fetch_add(1, Relaxed) };
            turn % count
        };
        match self {
            Self::FirstFit => nth(places, 0),
            Self::RoundRobin(next) => nth(places, turn(next)),
            Self::LeastConnections(next) => {
                // Begin at another place each time, so that equals take turns.
                let start = turn(next);
                let order = (start..count).chain(0..start).map(|n| nth(places, n));
                order.min_by_key(|place| members[*place].backend.in_flight()).unwrap_or_else(|| nth(places, start))
            }
            Self::Weighted(current) => {
                let weight = |(place, member): (usize, &Member)| match places & (1 << place) {
                    0 => 0,
                    _ => member.weight,
                };
                smooth(&mut current.lock(), members.iter().take(MOST).enumerate().map(weight))
            }
            Self::Random => nth(places, chance::below(count)),
            Self::PowerOfTwo => {
                let one = chance::below(count);
                let other = nth(places, (one + 1 + chance::below(count - 1)) % count);
                let one = nth(places, one);
                if members[other].backend.load() < members[one].backend.load() { other } else { one }
            }
        }
    }

    /// All of `places` in the order of the next turns, without taking one. Where chance decides, as they come.
    pub(crate) fn order(&self, members: &[Member], mut places: Places) -> Vec<usize> {
        let simulated = match self {
            Self::Weighted(current) => Self::Weighted(Mutex::new(current.lock().clone())),
            Self::RoundRobin(next) => Self::RoundRobin(AtomicUsize::new(next.load(Relaxed))),
            Self::LeastConnections(next) => Self::LeastConnections(AtomicUsize::new(next.load(Relaxed))),
            Self::FirstFit | Self::Random | Self::PowerOfTwo => Self::FirstFit,
        };
        let mut order = Vec::new();
        while places != 0 {
            let place = simulated.choose(members, places, true);
            places &= !(1 << place);
            order.push(place);
        }
        order
    }
}

/// The `n`-th of `places`, from 0.
fn nth(mut places: Places, n: usize) -> usize {
    for _ in 0..n {
        places &= places.wrapping_sub(1);
    }
    places.trailing_zeros() as usize
}

/// Every backend gains its weight; the richest is chosen and pays what all gained. Who has no weight takes no part.
fn smooth(current: &mut [i64], weights: impl Iterator<Item = i64>) -> usize {
    let mut total = 0;
    let mut best = None;
    for (place, weight) in weights.enumerate().take(current.len()).filter(|(_, weight)| *weight > 0) {
        current[place] += weight;
        total += weight;
        if best.is_none_or(|best: usize| current[place] > current[best]) {
            best = Some(place);
        }
    }
    let best = best.unwrap_or_default();
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

    #[test]
    fn who_has_no_weight_takes_no_part() {
        let mut current = vec![7, 0, 0];
        let order: Vec<_> = (0..4).map(|_| smooth(&mut current, [0, 2, 2].into_iter())).collect();
        assert_eq!(order, [1, 2, 1, 2]);
    }

    #[test]
    fn places_are_counted_from_the_lowest_bit() {
        assert_eq!((0..3).map(|n| nth(0b1011_0000, n)).collect::<Vec<_>>(), [4, 5, 7]);
    }
}
