//! A circuit breaker per backend: failsafe's state machine with our own policy, a limit on trial calls and a visible state.
//!
//! failsafe admits any number of calls while half open and tells nobody its state; both are added here.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use failsafe::{FailurePolicy, Instrument, StateMachine};
use parking_lot::Mutex;
use shop_clock::chance;

use crate::outcome::Outcome;
use crate::slow_start::SlowStart;

/// Fewest calls in the window on which a share is judged.
const FEWEST_CALLS: u32 = 3;
/// Share of failures that trips.
const WORST_SHARE: f64 = 0.6;
/// Failures in a row that trip, whatever the share.
const MOST_IN_A_ROW: u32 = 5;
/// The window moves on in this many steps.
const STEPS: u32 = 10;
/// A backend that never recovers is still tried this often.
const LONGEST_OPEN: Duration = Duration::from_mins(5);

/// What a breaker lets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// Everything.
    Closed = 0,
    /// A few calls on trial.
    HalfOpen = 1,
    /// Nothing; also shown when the time is over but no call has come yet to be tried.
    Open = 2,
}

impl State {
    /// The state in a word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::HalfOpen => "half_open",
            Self::Open => "open",
        }
    }
}

/// Numbers of one breaker.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// Calls on trial at once, and how many of them must succeed in a row.
    pub trials: u32,
    /// Window over which the share of failures is judged.
    pub window: Duration,
    /// How long it stays open the first time.
    pub open_for: Duration,
}

/// Decides whether a backend may be called.
pub struct Breaker {
    machine: StateMachine<Policy, Observer>,
    seen: Arc<Seen>,
    trials: u32,
}

/// What [`StateMachine`] keeps to itself.
struct Seen {
    state: AtomicU8,
    /// Counts changes of state: a call's outcome counts only in the state it began in.
    generation: AtomicU64,
    on_trial: AtomicU32,
    passed: AtomicU32,
    /// What [`Policy`] counts.
    in_a_row: AtomicU32,
    opened: AtomicU32,
    /// When a call may be tried again.
    until: Mutex<Option<Instant>>,
    backend: String,
    /// Told of every change.
    show: Box<dyn Fn(State) + Send + Sync>,
    slow_start: Arc<SlowStart>,
}

impl Breaker {
    /// A closed breaker for `backend`; `show` is told its state whenever that changes, `slow_start` begins when it closes.
    pub fn new(
        rules: Rules,
        backend: &str,
        slow_start: Arc<SlowStart>,
        show: impl Fn(State) + Send + Sync + 'static,
    ) -> Arc<Self> {
        let seen = Arc::new(Seen {
            state: AtomicU8::new(0),
            generation: AtomicU64::new(0),
            on_trial: AtomicU32::new(0),
            passed: AtomicU32::new(0),
            in_a_row: AtomicU32::new(0),
            opened: AtomicU32::new(0),
            until: Mutex::new(None),
            backend: backend.to_owned(),
            show: Box::new(show),
            slow_start,
        });
        let machine = StateMachine::new(Policy::new(rules, Arc::clone(&seen)), Observer(Arc::clone(&seen)));
        Arc::new(Self { machine, seen, trials: rules.trials })
    }

    /// The state now.
    #[inline]
    pub fn state(&self) -> State {
        match self.seen.state.load(SeqCst) {
            0 => State::Closed,
            1 => State::HalfOpen,
            _ => State::Open,
        }
    }

    /// What there is to say beside the state.
    pub fn standing(&self) -> Standing {
        let seen = &self.seen;
        let until = seen.until.lock().filter(|_| self.state() == State::Open);
        Standing {
            in_a_row: seen.in_a_row.load(SeqCst),
            opened: seen.opened.load(SeqCst),
            on_trial: seen.on_trial.load(SeqCst),
            passed: seen.passed.load(SeqCst),
            left: until.map(|until| until.saturating_duration_since(failsafe_now())),
        }
    }

    /// Closes it, whatever it has seen. Outcomes of calls that began before count no more.
    pub fn reset(&self) {
        self.machine.reset();
    }

    /// Whether a call would be permitted now. Nothing is taken: by the time of the call it may be otherwise.
    pub fn would_permit(&self) -> bool {
        match self.state() {
            State::Closed => true,
            State::HalfOpen => self.seen.on_trial.load(SeqCst) < self.trials,
            State::Open => self.seen.until.lock().is_none_or(|until| until <= failsafe_now()),
        }
    }

    /// Permission for one call, unless the breaker is open or enough calls are on trial.
    pub fn permit(self: &Arc<Self>) -> Option<Permit> {
        // Closed, it permits everything: no need to ask, which takes a lock.
        if self.state() != State::Closed && !self.machine.is_call_permitted() {
            return None;
        }
        let on_trial = self.state() == State::HalfOpen;
        if on_trial {
            let room = |count| (count < self.trials).then_some(count + 1);
            self.seen.on_trial.fetch_update(SeqCst, SeqCst, room).ok()?;
        }
        let generation = self.seen.generation.load(SeqCst);
        Some(Permit { breaker: Arc::clone(self), on_trial, generation })
    }
}

/// What there is to say about a breaker.
#[derive(Debug)]
pub struct Standing {
    /// Failures in a row.
    pub in_a_row: u32,
    /// How often it opened since it last recovered.
    pub opened: u32,
    /// Calls on trial now.
    pub on_trial: u32,
    /// Trials that went well.
    pub passed: u32,
    /// Until a call may be tried again, while it is open.
    pub left: Option<Duration>,
}

/// One permitted call. Dropped without an outcome it counts neither way.
pub struct Permit {
    breaker: Arc<Breaker>,
    on_trial: bool,
    generation: u64,
}

impl Permit {
    /// Says what its answer tells.
    pub fn judge(self, outcome: Outcome) {
        match outcome {
            Outcome::Well => self.done(true),
            Outcome::Ill => self.done(false),
            Outcome::Silent => {}
        }
    }

    /// Says how the call went.
    pub fn done(self, success: bool) {
        let seen = &self.breaker.seen;
        if seen.generation.load(SeqCst) != self.generation {
            return;
        }
        match (success, self.on_trial) {
            (false, _) => self.breaker.machine.on_error(),
            (true, true) if seen.passed.fetch_add(1, SeqCst) + 1 < self.breaker.trials => {}
            (true, _) => self.breaker.machine.on_success(),
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.on_trial {
            self.breaker.seen.on_trial.fetch_sub(1, SeqCst);
        }
    }
}

struct Observer(Arc<Seen>);

impl Observer {
    fn change(&self, state: State) {
        let seen = &self.0;
        seen.passed.store(0, SeqCst);
        (seen.show)(state);
        let before = seen.state.swap(state as u8, SeqCst);
        seen.generation.fetch_add(1, SeqCst);
        if before != state as u8 {
            tracing::warn!(backend = seen.backend, state = state.word(), "circuit breaker changed");
            if state == State::Closed {
                seen.slow_start.begin();
            }
        }
    }
}

impl Instrument for Observer {
    fn on_call_rejected(&self) {}

    fn on_open(&self) {
        self.change(State::Open);
    }

    fn on_half_open(&self) {
        self.change(State::HalfOpen);
    }

    fn on_closed(&self) {
        self.change(State::Closed);
    }
}

/// Trips on a share of failures in a moving window, or on failures in a row.
struct Policy {
    rules: Rules,
    /// Calls and failures per step of the window.
    steps: [(u32, u32); STEPS as usize],
    begun: Instant,
    step: u64,
    /// Where it counts failures in a row, and how often it opened.
    seen: Arc<Seen>,
}

impl Policy {
    fn new(rules: Rules, seen: Arc<Seen>) -> Self {
        let begun = failsafe_now();
        Self { rules, steps: Default::default(), begun, step: 0, seen }
    }

    /// The step of the window that is now, with what has left the window forgotten.
    fn current(&mut self) -> &mut (u32, u32) {
        let length = (self.rules.window / STEPS).max(Duration::from_millis(1));
        let elapsed = failsafe_now().saturating_duration_since(self.begun);
        let now = u64::try_from(elapsed.as_millis() / length.as_millis()).unwrap_or(u64::MAX);
        let passed = now.saturating_sub(self.step).min(u64::from(STEPS));
        for back in 0..passed {
            self.steps[place(now - back)] = (0, 0);
        }
        self.step = now;
        &mut self.steps[place(now)]
    }

    fn has_tripped(&self) -> bool {
        let (calls, failures) = self.steps.iter().fold((0, 0), |(c, f), step| (c + step.0, f + step.1));
        let share = f64::from(failures) / f64::from(calls.max(1));
        self.seen.in_a_row.load(SeqCst) >= MOST_IN_A_ROW || (calls >= FEWEST_CALLS && share >= WORST_SHARE)
    }

    /// Doubles with each failed trial up to [`LONGEST_OPEN`], with up to a fifth less so that callers do not probe in step.
    fn open_for(&self) -> Duration {
        let longest = LONGEST_OPEN.max(self.rules.open_for);
        let before = self.seen.opened.fetch_add(1, SeqCst);
        let full = self.rules.open_for.saturating_mul(1 << before.min(10)).min(longest);
        full.mul_f64(1.0 - 0.2 * chance::fraction())
    }
}

fn place(step: u64) -> usize {
    usize::try_from(step % u64::from(STEPS)).unwrap_or_default()
}

/// The clock of failsafe's own timers, so that tests that freeze it freeze ours.
fn failsafe_now() -> Instant {
    failsafe::clock::now()
}

impl FailurePolicy for Policy {
    fn record_success(&mut self) {
        if self.seen.in_a_row.load(SeqCst) != 0 {
            self.seen.in_a_row.store(0, SeqCst);
        }
        self.current().0 += 1;
    }

    fn mark_dead_on_failure(&mut self) -> Option<Duration> {
        self.seen.in_a_row.fetch_add(1, SeqCst);
        let step = self.current();
        *step = (step.0 + 1, step.1 + 1);
        // Once it has opened, only a recovery clears the count: a failed trial opens it again.
        let open_for = (self.seen.opened.load(SeqCst) > 0 || self.has_tripped()).then(|| self.open_for());
        if let Some(open_for) = open_for {
            *self.seen.until.lock() = Some(failsafe_now() + open_for);
        }
        open_for
    }

    fn revived(&mut self) {
        self.steps = Default::default();
        self.seen.in_a_row.store(0, SeqCst);
        self.seen.opened.store(0, SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use failsafe::clock;

    const RULES: Rules = Rules { trials: 2, window: Duration::from_mins(1), open_for: Duration::from_secs(30) };

    fn breaker() -> Arc<Breaker> {
        Breaker::new(RULES, "http://a:1", Arc::new(SlowStart::new(Duration::ZERO)), |_| {})
    }

    fn call(breaker: &Arc<Breaker>, success: bool) -> bool {
        breaker.permit().map(|permit| permit.done(success)).is_some()
    }

    #[test]
    fn it_opens_at_sixty_percent_of_at_least_three() {
        let breaker = breaker();
        call(&breaker, false);
        call(&breaker, false);
        assert_eq!(breaker.state(), State::Closed, "two calls say too little");
        call(&breaker, true);
        assert_eq!(breaker.state(), State::Closed, "a success never opens it");
        call(&breaker, false);
        assert_eq!(breaker.state(), State::Open, "three of four");
        assert!(breaker.permit().is_none());
    }

    #[test]
    fn five_failures_in_a_row_open_it_whatever_went_before() {
        let breaker = breaker();
        for _ in 0..100 {
            call(&breaker, true);
        }
        for _ in 0..4 {
            call(&breaker, false);
        }
        assert_eq!(breaker.state(), State::Closed);
        call(&breaker, false);
        assert_eq!(breaker.state(), State::Open);
    }

    #[test]
    fn failures_that_left_the_window_are_forgotten() {
        clock::freeze(|time| {
            let breaker = breaker();
            call(&breaker, false);
            call(&breaker, false);
            time.advance(Duration::from_secs(61));
            call(&breaker, true);
            call(&breaker, true);
            call(&breaker, false);
            assert_eq!(breaker.state(), State::Closed, "one of three");
        });
    }

    #[test]
    fn after_a_while_a_few_calls_are_tried_and_their_success_closes_it() {
        clock::freeze(|time| {
            let breaker = breaker();
            assert!((0..3).all(|_| call(&breaker, false)));
            time.advance(Duration::from_secs(23));
            assert!(breaker.permit().is_none(), "a fifth off thirty seconds at most");
            assert!(!breaker.would_permit());
            time.advance(Duration::from_secs(8));
            assert!(breaker.would_permit() && breaker.state() == State::Open, "asking is not trying");
            let first = breaker.permit().expect("first trial");
            let second = breaker.permit().expect("second trial");
            assert!(breaker.permit().is_none() && !breaker.would_permit(), "no third at once");
            assert_eq!(breaker.state(), State::HalfOpen);
            first.done(true);
            assert_eq!(breaker.state(), State::HalfOpen);
            second.done(true);
            assert_eq!(breaker.state(), State::Closed);
        });
    }

    #[test]
    fn a_failed_trial_opens_it_for_longer_and_late_outcomes_do_not_count() {
        clock::freeze(|time| {
            let breaker = breaker();
            let late = breaker.permit().expect("closed");
            assert!((0..3).all(|_| call(&breaker, false)));
            time.advance(Duration::from_secs(31));
            assert!(call(&breaker, false), "one trial");
            assert_eq!(breaker.state(), State::Open);
            late.done(true);
            assert_eq!(breaker.state(), State::Open);
            time.advance(Duration::from_secs(31));
            assert!(breaker.permit().is_none(), "twice as long now");
            time.advance(Duration::from_secs(30));
            assert!(breaker.permit().is_some());
        });
    }

    #[test]
    fn a_reset_closes_it_and_what_began_before_does_not_count() {
        clock::freeze(|_| {
            let breaker = breaker();
            let late = breaker.permit().expect("closed");
            assert!((0..3).all(|_| call(&breaker, false)));
            let standing = breaker.standing();
            assert_eq!((standing.in_a_row, standing.opened), (3, 1));
            assert!(standing.left.is_some_and(|left| left >= Duration::from_secs(24)));
            breaker.reset();
            late.done(false);
            assert_eq!(breaker.state(), State::Closed);
            let standing = breaker.standing();
            assert_eq!((standing.in_a_row, standing.opened, standing.left), (0, 0, None));
            assert!(call(&breaker, false) && call(&breaker, false), "two calls say too little again");
        });
    }

    #[test]
    fn a_trial_without_an_outcome_makes_room_for_the_next() {
        clock::freeze(|time| {
            let breaker = breaker();
            assert!((0..3).all(|_| call(&breaker, false)));
            time.advance(Duration::from_secs(31));
            for _ in 0..5 {
                drop(breaker.permit().expect("room"));
            }
        });
    }
}
