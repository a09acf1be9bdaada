//! How fast one connection may do what its server counts against whoever is at the other end.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Some at once, and after that one in so much time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rate {
    pub(super) at_once: u32,
    pub(super) every: Duration,
}

/// Calls that are taken back. h2, which all of Rust's servers use, bears 20 at once that it has not looked at; nghttp2, which
/// Node.js and others use, 33 a second.
pub(super) const RESETS: Rate = Rate { at_once: 16, every: Duration::from_millis(50) };
/// Small pieces of bodies. h2 bears 2048 that nobody has read yet, with the window that hyper and tonic have by default.
pub(super) const SMALL: Rate = Rate { at_once: 256, every: Duration::from_micros(500) };

/// When the next may go out over one connection.
#[derive(Debug)]
pub(super) struct Pace {
    rate: Rate,
    due: Mutex<Instant>,
}

impl Pace {
    pub(super) fn new(rate: Rate) -> Self {
        Self { rate, due: Mutex::new(Instant::now()) }
    }

    /// How long one more has to wait, if it has to. It has its turn then.
    pub(super) fn turn(&self) -> Option<Duration> {
        let Rate { at_once, every } = self.rate;
        let now = Instant::now();
        let mut due = self.due.lock();
        *due = (*due).max(now) + every;
        due.checked_duration_since(now + every * at_once).filter(|wait| !wait.is_zero())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_few_go_out_at_once_and_the_others_one_after_the_other() {
        let every = Duration::from_millis(50);
        let pace = Pace::new(Rate { at_once: 3, every });
        let turns = |count: usize| (0..count).map(|_| pace.turn().unwrap_or_default()).collect::<Vec<_>>();
        assert_eq!(turns(6), [0, 0, 0, 1, 2, 3].map(|place| every * place));
        tokio::time::advance(every * 4).await;
        assert_eq!(turns(2), [Duration::ZERO, every], "what was waited for has gone");
        tokio::time::advance(every * 1000).await;
        assert_eq!(turns(4), [0, 0, 0, 1].map(|place| every * place), "no more at once after a rest");
    }
}
