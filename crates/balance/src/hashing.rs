//! Which backend a key belongs to: rendezvous hashing (Thaler and Ravishankar, *Using name-based mappings to increase hit rates*,
//! IEEE/ACM Transactions on Networking 6(1), 1998), with weights by logarithms (Schindelhauer and Schomaker, *Weighted distributed
//! hash tables*, SPAA 2005).
//!
//! Each backend draws a number from the key and its own identity, and the best draw has the key. So nothing is kept and nothing
//! is built: when a backend goes, its keys alone move, to whoever drew second best, and spread over all; when it comes back, so do
//! they. Processes agree without a word, whatever the order of their lists. It costs a multiplication or two for each backend of
//! a list, and a list has at most [`MOST`](crate::MOST).

use crate::backend_set::BackendSet;
use crate::balancer::Candidate;

/// FNV-1a, 64 bits (Fowler, Noll, Vo): the same everywhere and for good, which the standard library's hash does not promise.
const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0100_0000_01b3;

/// The number that stands for a key, or for a backend: the same in every process.
pub fn number(bytes: &[u8]) -> u64 {
    mix(bytes.iter().fold(OFFSET, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(PRIME)))
}

/// The place of the one of `among`, which must not be empty, that `key` belongs to. Those passed over are so in the same order
/// each time.
pub fn owner<C: Candidate, const WORDS: usize>(candidates: &[C], among: BackendSet<WORDS>, key: u64) -> usize {
    let draw = |place: usize| mix(key ^ candidates[place].identity());
    let first = among.nth(0);
    let weight = candidates[first].weight();
    let best = if among.iter().all(|place| candidates[place].weight() == weight) {
        among.iter().max_by_key(|place| draw(*place))
    } else {
        let cost = |place: usize| -fraction(draw(place)).ln() / share(candidates[place].weight());
        among.iter().map(|place| (place, cost(place))).min_by(|one, other| one.1.total_cmp(&other.1)).map(|best| best.0)
    };
    best.unwrap_or(first)
}

/// The last step of `MurmurHash3`: each bit of the number moves half of the others.
const fn mix(mut number: u64) -> u64 {
    number ^= number >> 33;
    number = number.wrapping_mul(0xff51_afd7_ed55_8ccd);
    number ^= number >> 33;
    number = number.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    number ^ number >> 33
}

/// Above 0 and below 1, in the same order.
#[expect(clippy::cast_precision_loss, reason = "53 bits are what a float has")]
fn fraction(draw: u64) -> f64 {
    ((draw >> 12) as f64 + 0.5) / (1_u64 << 52) as f64
}

/// Who has no weight gets next to nothing.
fn share(weight: i64) -> f64 {
    u32::try_from(weight).map_or(f64::MIN_POSITIVE, |weight| f64::from(weight.max(1)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    struct Backend(u64, i64);

    impl Candidate for Backend {
        fn in_flight(&self) -> usize {
            0
        }

        fn latency(&self) -> Option<f64> {
            None
        }

        fn weight(&self) -> i64 {
            self.1
        }

        fn identity(&self) -> u64 {
            self.0
        }
    }

    type Places = BackendSet<16>;

    const KEYS: usize = 4_000;

    fn float(count: usize) -> f64 {
        f64::from(u32::try_from(count).expect("not many"))
    }

    fn backends(weights: &[i64]) -> Vec<Backend> {
        let one = |(place, weight): (usize, &i64)| Backend(number(format!("10.0.0.{place}:8080").as_bytes()), *weight);
        weights.iter().enumerate().map(one).collect()
    }

    fn owners(backends: &[Backend], among: Places) -> Vec<usize> {
        (0..KEYS).map(|key| owner(backends, among, number(format!("user-{key}").as_bytes()))).collect()
    }

    #[test]
    fn numbers_stay_what_they_are() {
        // Another release must not send everybody elsewhere.
        assert_eq!(number(b""), mix(OFFSET));
        let backends = backends(&[1, 1, 1, 1, 1]);
        let first: Vec<_> = owners(&backends, Places::first(5)).into_iter().take(12).collect();
        assert_eq!(first, [4, 4, 0, 2, 3, 0, 4, 0, 3, 1, 0, 3]);
    }

    #[test]
    fn shares_are_as_weights_say() {
        let keys = float(KEYS);
        for weights in [&[1, 1, 1, 1][..], &[1, 2, 5], &[10, 1, 1, 1, 1, 1, 1], &[1; 64]] {
            let owners = owners(&backends(weights), Places::first(weights.len()));
            let sum: i64 = weights.iter().sum();
            for (place, weight) in weights.iter().enumerate() {
                let has = float(owners.iter().filter(|owner| **owner == place).count()) / keys;
                let due = share(*weight) / share(sum);
                // Four standard deviations of that many draws.
                let most = 4.0 * (due * (1.0 - due) / keys).sqrt();
                assert!((has - due).abs() <= most, "{place} of {weights:?}: {has} instead of {due}");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        /// The keys of who goes move, and no others.
        #[test]
        fn who_goes_takes_along_his_share_and_nobody_elses(count in 2_usize..100, gone in any::<prop::sample::Index>()) {
            let gone = gone.index(count);
            let backends = backends(&vec![1; count]);
            let all = Places::first(count);
            let (before, after) = (owners(&backends, all), owners(&backends, all.without(Places::one(gone))));
            let moved = before.iter().zip(&after).filter(|(before, after)| before != after).count();
            prop_assert!(float(moved) / float(KEYS) <= 1.0 / float(count) + 0.02, "{moved} of {KEYS} with {count}");
            prop_assert!(before.iter().zip(&after).all(|(before, after)| before == after || *before == gone));
        }

        /// With weights, too, and whoever is passed over: the order in which backends are asked for a key does not change.
        #[test]
        fn who_is_passed_over_changes_nothing_among_the_others(
            weights in prop::collection::vec(1_i64..20, 2..40),
            out in prop::collection::vec(any::<prop::sample::Index>(), 1..10),
            key in any::<u64>(),
        ) {
            let backends = backends(&weights);
            let order = |mut left: Places| {
                let mut order = Vec::new();
                while !left.is_empty() {
                    let next = owner(&backends, left, key);
                    left.remove(next);
                    order.push(next);
                }
                order
            };
            let all = Places::first(weights.len());
            let out: Places = out.into_iter().map(|index| index.index(weights.len())).collect();
            let mut expected = order(all);
            expected.retain(|place| !out.has(*place));
            prop_assert_eq!(order(all.without(out)), expected);
        }
    }
}
