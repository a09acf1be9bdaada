//! Wrong tries at something that is costly to check, or that nobody shall guess: so many at once from one address, and one more
//! each so often.

use std::convert::Infallible;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use governor::nanos::Nanos;
use governor::state::StateStore;

use crate::budgets::Budgets;
use crate::key::Key;

/// Addresses remembered. Whoever has more of them has a budget for each anyway.
const MOST: usize = 100_000;

/// Counts wrong tries by address; of IPv6 by /64. Good ones cost nothing, so that many people behind one address are not in each
/// other's way.
///
/// ```
/// use std::time::Duration;
///
/// use shop_limit::Attempts;
///
/// let attempts = Attempts::new(1, Duration::from_secs(60));
/// let address = "192.0.2.7".parse()?;
/// assert_eq!(attempts.wait(address), None);
/// attempts.note(address);
/// assert!(attempts.wait(address).is_some());
/// assert_eq!(attempts.wait("192.0.2.8".parse()?), None);
/// # Ok::<_, std::net::AddrParseError>(())
/// ```
pub struct Attempts {
    /// When all wrong tries of an address are forgiven.
    budgets: Budgets,
    each: Duration,
    /// What may be unforgiven while one more is allowed.
    room: Duration,
    begun: Instant,
}

impl Attempts {
    /// `at_once` wrong tries, and one more after each `each`.
    pub fn new(at_once: u32, each: Duration) -> Self {
        Self { budgets: Budgets::new(MOST), each, room: each * at_once.saturating_sub(1), begun: Instant::now() }
    }

    /// How long `address` has to wait until it may try again.
    pub fn wait(&self, address: IpAddr) -> Option<Duration> {
        self.wait_at(address, self.begun.elapsed())
    }

    /// `address` tried in vain.
    pub fn note(&self, address: IpAddr) {
        self.note_at(address, self.begun.elapsed());
    }

    fn wait_at(&self, address: IpAddr, now: Duration) -> Option<Duration> {
        let look = |forgiven: Option<Nanos>| Err::<((), Nanos), _>(forgiven);
        let forgiven = self.budgets.measure_and_replace(&Key::of_address(address), look).err().flatten()?;
        Duration::from(forgiven).checked_sub(now + self.room).filter(|wait| !wait.is_zero())
    }

    fn note_at(&self, address: IpAddr, now: Duration) {
        let later = |forgiven: Option<Nanos>| {
            let from = forgiven.map_or(now, |forgiven| now.max(forgiven.into()));
            Ok::<_, Infallible>(((), (from + self.each).into()))
        };
        let Ok(()) = self.budgets.measure_and_replace(&Key::of_address(address), later);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_guesses_is_slowed_down_and_nobody_else() {
        let each = Duration::from_secs(6);
        let (attempts, now) = (Attempts::new(10, each), Duration::from_secs(1));
        let (guesser, other) = (IpAddr::from([1, 1, 1, 1]), IpAddr::from([2, 2, 2, 2]));
        for _ in 0..10 {
            assert_eq!(attempts.wait_at(guesser, now), None);
            attempts.note_at(guesser, now);
        }
        assert_eq!(attempts.wait_at(guesser, now), Some(each));
        assert_eq!(attempts.wait_at(other, now), None);
        assert_eq!(attempts.wait_at(guesser, now + each), None);
        attempts.note_at(guesser, now + each);
        assert_eq!(attempts.wait_at(guesser, now + each), Some(each));
    }

    #[test]
    fn many_addresses_do_not_fill_the_memory() {
        let (attempts, now) = (Attempts::new(1, Duration::from_secs(6)), Duration::ZERO);
        for number in 0..300_000_u32 {
            attempts.note_at(IpAddr::from(number.to_be_bytes()), now);
        }
        assert!(attempts.budgets.len() <= MOST);
        assert!(attempts.wait_at(IpAddr::from(299_999_u32.to_be_bytes()), now).is_some(), "the latest are known");
    }
}
