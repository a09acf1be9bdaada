//! Which backend is next.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use parking_lot::Mutex;
use shop_clock::chance;

use crate::backend_set::BackendSet;
use crate::settings::{LoadBalancer, Strategy};

/// A backend as the [`Balancer`] sees it.
pub trait Candidate {
    /// Calls that it has not finished.
    fn in_flight(&self) -> usize;
    /// How long it takes for a call, in seconds, as [`PeakEwma::seconds`](crate::PeakEwma::seconds) says; none when nobody knows.
    fn latency(&self) -> Option<f64>;
    /// Its share under `weighted_round_robin` and `consistent_hash`, compared with others'.
    fn weight(&self) -> i64;
    /// What tells it from others, the same in every process: [`hashing::number`](crate::hashing::number) of its address, say.
    fn identity(&self) -> u64;
}

/// Chooses among the backends of one service.
#[derive(Debug)]
pub enum Balancer {
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
    /// The balancer the settings ask for, for `count` backends. Under `consistent_hash` that is the one for calls without a key;
    /// for others there is [`hashing::owner`](crate::hashing::owner).
    pub fn new(settings: &LoadBalancer, count: usize) -> Self {
        match settings.strategy {
            _ if !settings.enabled => Self::FirstFit,
            Strategy::RoundRobin | Strategy::ConsistentHash => Self::RoundRobin(AtomicUsize::new(0)),
            Strategy::LeastConnections => Self::LeastConnections(AtomicUsize::new(0)),
            Strategy::WeightedRoundRobin => Self::Weighted(Mutex::new(vec![0; count])),
            Strategy::Random => Self::Random,
            Strategy::P2cEwma => Self::PowerOfTwo,
        }
    }

    /// The place of one of `among`, which must not be empty; a `repeat` of a call takes nobody's turn.
    pub fn choose<C: Candidate, const WORDS: usize>(
        &self,
        candidates: &[C],
        among: BackendSet<WORDS>,
        repeat: bool,
    ) -> usize {
        let count = among.len();
        let nth = |n| among.nth(n);
        if count <= 1 {
            return nth(0);
        }
        // A repeat that moved the turn on could keep step with the failures and never reach somebody.
        let turn = |next: &AtomicUsize| {
            let turn = if repeat { next.load(Relaxed) } else { next.fetch_add(1, Relaxed) };
            turn % count
        };
        match self {
            Self::FirstFit => nth(0),
            Self::RoundRobin(next) => nth(turn(next)),
            Self::LeastConnections(next) => {
                // Begin at another place each time, so that equals take turns.
                let start = nth(turn(next));
                let calls = |place: &usize| candidates[*place].in_flight();
                let (behind, ahead) = (BackendSet::first(start) & among, among.without(BackendSet::first(start)));
                ahead.iter().chain(behind.iter()).min_by_key(calls).unwrap_or(start)
            }
            Self::Weighted(current) => {
                let weight = |(place, candidate): (usize, &C)| if among.has(place) { candidate.weight() } else { 0 };
                smooth(&mut current.lock(), candidates.iter().enumerate().map(weight))
            }
            Self::Random => nth(chance::below(count)),
            Self::PowerOfTwo => {
                let one = chance::below(count);
                let other = nth((one + 1 + chance::below(count - 1)) % count);
                let one = nth(one);
                if is_less_loaded(&candidates[other], &candidates[one]) { other } else { one }
            }
        }
    }

    /// The places of all of `among` in the order of the next turns, without taking one. Where chance decides, as they come.
    pub fn order<C: Candidate, const WORDS: usize>(
        &self,
        candidates: &[C],
        mut among: BackendSet<WORDS>,
    ) -> Vec<usize> {
        let simulated = match self {
            Self::Weighted(current) => Self::Weighted(Mutex::new(current.lock().clone())),
            Self::RoundRobin(next) => Self::RoundRobin(AtomicUsize::new(next.load(Relaxed))),
            Self::LeastConnections(next) => Self::LeastConnections(AtomicUsize::new(next.load(Relaxed))),
            Self::FirstFit | Self::Random | Self::PowerOfTwo => Self::FirstFit,
        };
        let mut order = Vec::new();
        while !among.is_empty() {
            let place = simulated.choose(candidates, among, true);
            among.remove(place);
            order.push(place);
        }
        order
    }
}

/// Whether one more call costs less at `one` than at `other`. Of whom nothing is known gets one more than the other has, so that
/// something will be, and not all until it answers for the first time.
fn is_less_loaded<C: Candidate>(one: &C, other: &C) -> bool {
    let calls = |candidate: &C| u32::try_from(candidate.in_flight()).unwrap_or(u32::MAX).saturating_add(1);
    match (one.latency(), other.latency()) {
        (Some(latency), Some(others)) => latency * f64::from(calls(one)) < others * f64::from(calls(other)),
        (None, Some(_)) => calls(one) <= calls(other),
        (_, None) => calls(one) < calls(other),
    }
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

    /// Calls in flight, latency (negative when nobody knows), weight.
    struct Backend(usize, f64, i64);

    impl Candidate for Backend {
        fn in_flight(&self) -> usize {
            self.0
        }

        fn latency(&self) -> Option<f64> {
            (self.1 >= 0.0).then_some(self.1)
        }

        fn weight(&self) -> i64 {
            self.2
        }

        fn identity(&self) -> u64 {
            0
        }
    }

    fn balancer(strategy: Strategy, count: usize) -> Balancer {
        Balancer::new(&LoadBalancer { strategy, ..LoadBalancer::default() }, count)
    }

    #[test]
    fn each_strategy_looks_at_its_own_number() {
        let backends = [Backend(3, 1.0, 1), Backend(1, 3.0, 0), Backend(2, 1.2, 2)];
        let all = <BackendSet>::first(3);
        let turns = |strategy| {
            let balancer = balancer(strategy, 3);
            (0..6).map(|_| balancer.choose(&backends, all, false)).collect::<Vec<_>>()
        };
        assert_eq!(turns(Strategy::RoundRobin), [0, 1, 2, 0, 1, 2]);
        assert_eq!(turns(Strategy::LeastConnections), [1; 6]);
        assert_eq!(turns(Strategy::WeightedRoundRobin), [2, 0, 2, 2, 0, 2]);
        assert!(turns(Strategy::P2cEwma).iter().all(|place| *place != 1), "of any two, another is quicker");
        let off = Balancer::new(&LoadBalancer { enabled: false, ..LoadBalancer::default() }, 3);
        assert_eq!(off.choose(&backends, all.without(BackendSet::one(0)), false), 1);
    }

    #[test]
    fn who_is_not_known_gets_one_more_call_than_the_other_has() {
        let balancer = balancer(Strategy::P2cEwma, 2);
        let unknown_has = |calls| [Backend(calls, -1.0, 1), Backend(4, 0.001, 1)];
        let next = |backends: [Backend; 2]| balancer.choose(&backends, <BackendSet>::first(2), false);
        assert!((0..20).all(|_| next(unknown_has(4)) == 0), "somebody has to find out");
        assert!((0..20).all(|_| next(unknown_has(5)) == 1), "once is enough");
        let turns: Vec<_> = (0..100).map(|_| next([Backend(4, -1.0, 1), Backend(4, -1.0, 1)])).collect();
        assert!(turns.contains(&0) && turns.contains(&1), "either, when neither is known: {turns:?}");
    }

    #[test]
    fn what_one_more_call_costs_is_the_latency_times_all_that_wait() {
        for (one, other, is_less) in [
            ((3, 0.5), (0, 3.0), true),
            ((2, 1.0), (3, 0.5), false),
            ((0, 0.75), (2, 0.25), false),
            ((1, 0.5), (0, 1.0), false),
            ((0, 0.9), (0, 1.0), true),
        ] {
            let backend = |(calls, latency): (usize, f64)| Backend(calls, latency, 1);
            assert_eq!(is_less_loaded(&backend(one), &backend(other)), is_less, "{one:?} and {other:?}");
        }
    }

    #[test]
    fn of_two_that_are_drawn_neither_is_the_other() {
        let balancer = balancer(Strategy::P2cEwma, 3);
        let backends = [Backend(0, 1.0, 1), Backend(1, 1.0, 1), Backend(9, 1.0, 1)];
        assert!(
            (0..200).all(|_| balancer.choose(&backends, <BackendSet>::first(3), false) != 2),
            "another always costs less"
        );
    }

    #[test]
    fn a_repeat_takes_nobodys_turn_and_an_order_neither() {
        let backends = [Backend(0, 0.0, 1), Backend(0, 0.0, 1), Backend(0, 0.0, 1)];
        let (balancer, all) = (balancer(Strategy::RoundRobin, 3), <BackendSet>::first(3));
        assert_eq!(balancer.choose(&backends, all, false), 0);
        assert_eq!(balancer.choose(&backends, all, true), 1);
        assert_eq!(balancer.order(&backends, all), [1, 2, 0].map(|place| place.min(2)).to_vec());
        assert_eq!(balancer.choose(&backends, all, false), 1);
    }

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
}
