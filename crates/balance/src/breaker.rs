//! A circuit breaker per backend: failsafe's state machine with our own policy, a limit on trial calls and a visible state.
//!
//! failsafe admits any number of calls while half open, tells nobody its state, and waits by its own clock alone; what is missing
//! is added here.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering::SeqCst};
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
/// In the number of calls on trial: one of them is of a request that was not there whole.
const PARTIAL: u32 = 1 << 31;

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
    /// How many, and [`PARTIAL`].
    on_trial: AtomicU32,
    passed: AtomicU32,
    /// Held from asking whether the wait is over to what follows from that, and while a failure begins another.
    turn: Mutex<()>,
    /// What [`Policy`] counts.
    in_a_row: AtomicU32,
    opened: AtomicU32,
    /// When a call may be tried again.
    until: Mutex<Option<Instant>>,
    /// Whether the next good check ends the wait.
    hears_checks: AtomicBool,
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
            turn: Mutex::new(()),
            in_a_row: AtomicU32::new(0),
            opened: AtomicU32::new(0),
            until: Mutex::new(None),
            hears_checks: AtomicBool::new(false),
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
            on_trial: seen.on_trial(),
            passed: seen.passed.load(SeqCst),
            left: until.map(|until| until.saturating_duration_since(failsafe_now())),
        }
    }

    /// Closes it, whatever it has seen. Outcomes of calls that began before count no more.
    pub fn reset(&self) {
        let _turn = self.seen.turn.lock();
        self.machine.reset();
    }

    /// A check of the backend ended, well or not: while it is open, a good one lets calls be tried now.
    ///
    /// A check may be good though calls fail, and then the wait that grows is all that spares the backend. So one ends the wait
    /// only once, until a check has failed, too: then checks see what ails it, and their word is worth another trial. It may do so
    /// again, too, once the breaker has stayed closed for longer than it was open at first.
    pub fn checked(&self, is_well: bool) {
        let _turn = self.seen.turn.lock();
        if !is_well {
            self.seen.hears_checks.store(true, SeqCst);
        } else if self.state() == State::Open && self.seen.hears_checks.swap(false, SeqCst) {
            *self.seen.until.lock() = None;
        }
    }

    /// Whether a call whose request is whole would be permitted now. Nothing is taken: by the time of the call it may be otherwise.
    pub fn would_permit(&self) -> bool {
        match self.state() {
            State::Closed => true,
            State::HalfOpen => self.seen.on_trial() < self.trials,
            State::Open => self.seen.is_due(),
        }
    }

    /// Permission for one call, unless the breaker is open or enough calls are on trial.
    ///
    /// A request that is not there whole (`is_whole`) may take as long as its sender likes before the backend can say anything:
    /// of such there is one on trial at most, and never in the last place.
    pub fn permit(self: &Arc<Self>, is_whole: bool) -> Option<Permit> {
        // Closed, it permits everything: no need to ask, which takes locks.
        if self.state() != State::Closed {
            let _turn = self.seen.turn.lock();
            if !(self.seen.is_due() && self.machine.is_call_permitted()) {
                return None;
            }
        }
        let trial = if self.state() == State::HalfOpen { Some(self.trial(is_whole)?) } else { None };
        let generation = self.seen.generation.load(SeqCst);
        Some(Permit { breaker: Arc::clone(self), generation, was_trial: trial.is_some(), trial })
    }

    fn trial(&self, is_whole: bool) -> Option<Trial> {
        let room = |now: u32| {
            let count = now & !PARTIAL;
            if is_whole {
                (count < self.trials).then_some(now + 1)
            } else {
                (count + 1 < self.trials && now == count).then_some((now + 1) | PARTIAL)
            }
        };
        self.seen.on_trial.fetch_update(SeqCst, SeqCst, room).ok()?;
        Some(Trial { seen: Arc::clone(&self.seen), takes: if is_whole { 1 } else { 1 | PARTIAL } })
    }
}

impl Seen {
    fn on_trial(&self) -> u32 {
        self.on_trial.load(SeqCst) & !PARTIAL
    }

    /// Whether the wait is over.
    fn is_due(&self) -> bool {
        self.until.lock().is_none_or(|until| until <= failsafe_now())
    }
}

/// A place among the calls on trial, free again when dropped.
struct Trial {
    seen: Arc<Seen>,
    takes: u32,
}

impl Drop for Trial {
    fn drop(&mut self) {
        self.seen.on_trial.fetch_sub(self.takes, SeqCst);
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
    generation: u64,
    /// Until the first sign of life, or until that took too long.
    trial: Option<Trial>,
    was_trial: bool,
}

impl Permit {
    /// Whether it has a place among the calls on trial.
    pub fn is_trial(&self) -> bool {
        self.trial.is_some()
    }

    /// The backend does its work, though the call goes on, perhaps for ever: a trial has passed and makes room. A failure later
    /// on still counts.
    pub fn alive(&mut self) {
        if self.trial.take().is_some() && self.is_current() {
            self.pass();
            self.generation = self.breaker.seen.generation.load(SeqCst);
        }
    }

    /// It has taken long enough without a sign of life: makes room for another trial. Only a failure still counts.
    pub fn give_way(&mut self) {
        self.trial = None;
    }

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
        if !self.is_current() {
            return;
        }
        match (success, self.was_trial) {
            (false, _) => {
                let _turn = self.breaker.seen.turn.lock();
                self.breaker.machine.on_error();
            }
            (true, true) if self.trial.is_some() => self.pass(),
            (true, true) => {}
            (true, false) => self.breaker.machine.on_success(),
        }
    }

    /// Whether the breaker is still in the state it began in.
    fn is_current(&self) -> bool {
        self.breaker.seen.generation.load(SeqCst) == self.generation
    }

    /// One more trial went well; the last one closes the breaker.
    fn pass(&self) {
        if self.breaker.seen.passed.fetch_add(1, SeqCst) + 1 >= self.breaker.trials {
            let _turn = self.breaker.seen.turn.lock();
            self.breaker.machine.on_success();
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
    /// When it closed again.
    closed: Option<Instant>,
    /// Where it counts failures in a row, and how often it opened.
    seen: Arc<Seen>,
}

impl Policy {
    fn new(rules: Rules, seen: Arc<Seen>) -> Self {
        let begun = failsafe_now();
        Self { rules, steps: Default::default(), begun, step: 0, closed: None, seen }
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
        let was_open = self.seen.opened.load(SeqCst) > 0;
        let open_for = (was_open || self.has_tripped()).then(|| self.open_for())?;
        let was_well = |closed: Instant| failsafe_now().saturating_duration_since(closed) > self.rules.open_for;
        if !was_open && self.closed.is_none_or(was_well) {
            self.seen.hears_checks.store(true, SeqCst);
        }
        *self.seen.until.lock() = Some(failsafe_now() + open_for);
        // The wait is ours, since it may end sooner.
        Some(Duration::ZERO)
    }

    fn revived(&mut self) {
        self.closed = Some(failsafe_now());
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
        breaker.permit(true).map(|permit| permit.done(success)).is_some()
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
        assert!(breaker.permit(true).is_none());
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
            assert!(breaker.permit(true).is_none(), "a fifth off thirty seconds at most");
            assert!(!breaker.would_permit());
            time.advance(Duration::from_secs(8));
            assert!(breaker.would_permit() && breaker.state() == State::Open, "asking is not trying");
            let first = breaker.permit(true).expect("first trial");
            assert!(breaker.would_permit(), "one more may be on trial");
            let second = breaker.permit(true).expect("second trial");
            assert!(breaker.permit(true).is_none() && !breaker.would_permit(), "no third at once");
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
            let late = breaker.permit(true).expect("closed");
            assert!((0..3).all(|_| call(&breaker, false)));
            time.advance(Duration::from_secs(31));
            assert!(call(&breaker, false), "one trial");
            assert_eq!(breaker.state(), State::Open);
            late.done(true);
            assert_eq!(breaker.state(), State::Open);
            time.advance(Duration::from_secs(31));
            assert!(breaker.permit(true).is_none(), "twice as long now");
            time.advance(Duration::from_secs(30));
            assert!(breaker.permit(true).is_some());
        });
    }

    #[test]
    fn a_reset_closes_it_and_what_began_before_does_not_count() {
        clock::freeze(|_| {
            let breaker = breaker();
            let late = breaker.permit(true).expect("closed");
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
                drop(breaker.permit(true).expect("room"));
            }
        });
    }

    #[test]
    fn each_state_has_the_word_that_metrics_and_the_admin_api_use() {
        let words = [State::Closed, State::HalfOpen, State::Open].map(State::word);
        assert_eq!(words, ["closed", "half_open", "open"]);
    }

    #[test]
    fn a_good_check_ends_the_wait_once_and_again_after_a_bad_one() {
        clock::freeze(|time| {
            let breaker = breaker();
            let fails = || while call(&breaker, false) {};
            breaker.checked(true);
            fails();
            time.advance(Duration::from_millis(1));
            assert!(!breaker.would_permit() && breaker.permit(true).is_none());
            breaker.checked(true);
            assert!(breaker.would_permit() && breaker.state() == State::Open, "asking is not trying");
            assert!(call(&breaker, false), "the check was good all the same");
            time.advance(Duration::from_millis(1));
            breaker.checked(true);
            assert!(breaker.permit(true).is_none(), "checks do not see what ails it: it is left alone, and for longer");
            assert!(breaker.standing().left.is_some_and(|left| left > Duration::from_secs(47)));
            breaker.checked(false);
            assert!(breaker.permit(true).is_none());
            breaker.checked(true);
            assert!(call(&breaker, true) && call(&breaker, true), "now they did");
            assert_eq!(breaker.state(), State::Closed);
            fails();
            time.advance(Duration::from_millis(1));
            breaker.checked(true);
            assert!(breaker.permit(true).is_none(), "it does well on trial only");
            time.advance(RULES.open_for);
            assert!(call(&breaker, true) && call(&breaker, true));
            time.advance(RULES.open_for + Duration::from_millis(1));
            fails();
            time.advance(Duration::from_millis(1));
            breaker.checked(true);
            assert!(breaker.permit(true).is_some(), "what was long before is forgotten");
        });
    }

    /// A breaker whose trials may begin.
    fn opened(time: &mut clock::MockClock, trials: u32) -> Arc<Breaker> {
        let rules = Rules { trials, ..RULES };
        let breaker = Breaker::new(rules, "http://a:1", Arc::new(SlowStart::new(Duration::ZERO)), |_| {});
        assert!((0..3).all(|_| call(&breaker, false)));
        time.advance(Duration::from_secs(31));
        breaker
    }

    #[test]
    fn a_request_that_is_not_whole_never_has_the_last_place() {
        clock::freeze(|time| {
            let breaker = opened(time, 3);
            let partial = breaker.permit(false).expect("one of three");
            assert!(breaker.permit(false).is_none(), "one of them is enough");
            let whole = breaker.permit(true).expect("the second");
            let last = breaker.permit(true).expect("the last");
            assert_eq!(breaker.standing().on_trial, 3);
            drop((partial, whole));
            assert_eq!(breaker.standing().on_trial, 1);
            let partial = breaker.permit(false).expect("the second of three");
            drop(last);
            let whole = breaker.permit(true).expect("the second");
            drop(partial);
            let other = breaker.permit(true).expect("the second again");
            assert!(breaker.permit(false).is_none(), "only the last place is left");
            drop((whole, other));
            let alone = opened(time, 1);
            assert!(alone.permit(false).is_none() && alone.permit(true).is_some());
        });
    }

    #[test]
    fn a_trial_that_shows_life_has_passed_and_still_counts_when_it_fails() {
        clock::freeze(|time| {
            let breaker = opened(time, 2);
            let mut streams: Vec<_> = (0..2).map(|_| breaker.permit(true).expect("room")).collect();
            streams[0].alive();
            assert_eq!((breaker.state(), breaker.standing().on_trial), (State::HalfOpen, 1));
            streams.remove(0).done(true);
            assert_eq!((breaker.state(), breaker.standing().passed), (State::HalfOpen, 1), "it is not counted twice");
            streams[0].alive();
            assert_eq!(breaker.state(), State::Closed, "while it goes on");
            streams.remove(0).done(false);
            assert_eq!((breaker.state(), breaker.standing().in_a_row), (State::Closed, 1));

            let breaker = opened(time, 2);
            let mut stream = breaker.permit(true).expect("room");
            stream.alive();
            stream.done(false);
            assert_eq!(breaker.state(), State::Open, "it failed while others are on trial");
        });
    }

    #[test]
    fn a_trial_that_takes_too_long_makes_room_and_counts_only_when_it_fails() {
        clock::freeze(|time| {
            let breaker = opened(time, 1);
            let mut slow = breaker.permit(true).expect("room");
            slow.give_way();
            assert!(!slow.is_trial());
            slow.done(true);
            assert_eq!((breaker.state(), breaker.standing().passed), (State::HalfOpen, 0));
            let mut slow = breaker.permit(true).expect("room");
            slow.give_way();
            slow.done(false);
            assert_eq!(breaker.state(), State::Open);
        });
    }
}
