//! What the gateway relies on, as it uses it: by the public names alone.

use std::sync::Arc;
use std::time::Duration;

use failsafe::clock;
use shop_balance::breaker::{Rules, State};
use shop_balance::settings::{CircuitBreaker, HealthCheck, Retries};
use shop_balance::{
    BackendSet, Breaker, HealthRecord, Outcome, PassiveHealth, PeakEwma, Seen, SlowStart, Trouble, Verdict,
};
use shop_config::{Duration as Length, Problems};

const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);

fn set(places: &[usize]) -> BackendSet {
    places.iter().copied().collect()
}

/// A breaker with two trials, and the slow start of its backend.
fn breaker() -> (Arc<Breaker>, Arc<SlowStart>) {
    let slow_start = Arc::new(SlowStart::new(HOUR));
    let rules = Rules { trials: 2, window: MINUTE, open_for: Duration::from_secs(30) };
    (Breaker::new(rules, "http://a:1", Arc::clone(&slow_start), |_| {}), slow_start)
}

fn call(breaker: &Arc<Breaker>, outcome: Outcome) {
    breaker.permit(true).expect("permitted").judge(outcome);
}

fn fail(breaker: &Arc<Breaker>, times: usize) {
    (0..times).for_each(|_| call(breaker, Outcome::Ill));
}

#[test]
fn sets_of_backends_are_added_to_joined_and_crossed() {
    let mut some = set(&[1, 2]);
    some.insert(5);
    some.insert(5);
    assert_eq!(some, set(&[1, 2, 5]));
    assert_eq!(some | set(&[2, 3]), set(&[1, 2, 3, 5]));
    assert_eq!(some & set(&[2, 3, 5]), set(&[2, 5]));
}

#[test]
fn failures_of_one_window_count_together_wherever_they_lie_in_it() {
    // Two at its beginning, the third as late as any of these.
    for seconds in [7, 31, 49, 53] {
        clock::freeze(|time| {
            let (breaker, _) = breaker();
            fail(&breaker, 2);
            time.advance(Duration::from_secs(seconds));
            assert_eq!(breaker.state(), State::Closed);
            fail(&breaker, 1);
            assert_eq!(breaker.state(), State::Open, "{seconds}");
        });
    }
}

#[test]
fn a_success_ends_a_row_of_failures() {
    clock::freeze(|_| {
        let (breaker, _) = breaker();
        (0..100).for_each(|_| call(&breaker, Outcome::Well));
        fail(&breaker, 4);
        assert_eq!(breaker.standing().in_a_row, 4);
        call(&breaker, Outcome::Well);
        assert_eq!(breaker.standing().in_a_row, 0);
        fail(&breaker, 4);
        assert_eq!(breaker.state(), State::Closed, "no five in a row, and eight of a hundred and nine");
    });
}

#[test]
fn a_trial_that_fails_opens_it_again_though_the_window_is_empty_by_then() {
    clock::freeze(|time| {
        let (breaker, _) = breaker();
        fail(&breaker, 3);
        time.advance(2 * MINUTE);
        fail(&breaker, 1);
        assert_eq!((breaker.state(), breaker.standing().opened), (State::Open, 2));
    });
}

#[test]
fn an_outcome_that_says_nothing_counts_neither_way() {
    clock::freeze(|time| {
        let (breaker, _) = breaker();
        (0..10).for_each(|_| call(&breaker, Outcome::Silent));
        assert_eq!((breaker.state(), breaker.standing().in_a_row), (State::Closed, 0));
        fail(&breaker, 3);
        time.advance(MINUTE);
        call(&breaker, Outcome::Silent);
        assert_eq!((breaker.state(), breaker.standing().passed), (State::HalfOpen, 0));
        call(&breaker, Outcome::Well);
        assert_eq!((breaker.state(), breaker.standing().passed), (State::HalfOpen, 1));
        call(&breaker, Outcome::Well);
        assert_eq!(breaker.state(), State::Closed);
    });
    assert_eq!([Outcome::Well, Outcome::Ill, Outcome::Silent].map(Outcome::is_ill), [false, true, false]);
}

#[test]
fn a_sign_of_life_passes_a_trial_and_nothing_else() {
    clock::freeze(|time| {
        let (breaker, _) = breaker();
        let mut usual = breaker.permit(true).expect("closed");
        assert!(!usual.is_trial());
        usual.alive();
        assert_eq!(breaker.standing().passed, 0, "it was not on trial");
        fail(&breaker, 3);
        time.advance(MINUTE);
        let mut trial = breaker.permit(true).expect("on trial");
        assert!(trial.is_trial());
        // The other one fails, and the next ones are tried.
        fail(&breaker, 1);
        time.advance(2 * MINUTE);
        let next = breaker.permit(true).expect("on trial");
        trial.alive();
        assert_eq!((breaker.state(), breaker.standing().passed), (State::HalfOpen, 0), "it began before");
        drop(next);
    });
}

#[test]
fn who_recovers_begins_slowly_and_who_was_well_does_not() {
    clock::freeze(|time| {
        let (breaker, slow_start) = breaker();
        breaker.reset();
        assert!((slow_start.share() - 1.0).abs() < f64::EPSILON, "it was closed already");
        fail(&breaker, 3);
        time.advance(MINUTE);
        call(&breaker, Outcome::Well);
        assert_eq!(breaker.state(), State::HalfOpen);
        assert!((slow_start.share() - 1.0).abs() < f64::EPSILON, "it is on trial still");
        call(&breaker, Outcome::Well);
        assert_eq!(breaker.state(), State::Closed);
        assert!((slow_start.share() - 0.1).abs() < 0.01, "{}", slow_start.share());
    });
}

#[test]
fn a_tenth_of_the_calls_is_admitted_at_first_and_all_of_them_later() {
    let slow_start = SlowStart::new(HOUR);
    let admitted = || (0..2000).filter(|_| slow_start.admit()).count();
    assert_eq!(admitted(), 2000);
    slow_start.begin();
    let some = admitted();
    assert!((100..400).contains(&some), "{some} of 2000");
    slow_start.set_window(Duration::ZERO);
    assert_eq!(admitted(), 2000);
}

#[test]
fn what_checks_found_is_told_in_words_and_can_be_forgotten() {
    let words = [Verdict::Unknown, Verdict::Healthy, Verdict::Never, Verdict::Silent, Verdict::Declines];
    let expected = ["unknown", "healthy", "never_healthy", "unhealthy", "not_ready"];
    assert_eq!(words.map(Verdict::word), expected);
    let (record, settings) = (HealthRecord::default(), HealthCheck::default());
    assert_eq!((record.verdict(), record.age()), (Verdict::Unknown, None));
    record.note(Ok(()), &settings);
    record.note(Err(Trouble::Declines("draining".to_owned())), &settings);
    assert_eq!((record.verdict(), record.age().is_some()), (Verdict::Declines, true));
    record.forget();
    assert_eq!((record.verdict(), record.age(), record.report().error), (Verdict::Unknown, None, None));
}

#[test]
fn what_traffic_saw_is_told_in_words_and_a_check_does_not_make_it_up() {
    assert_eq!([Seen::Never, Seen::Up, Seen::Down].map(Seen::word), ["unknown", "up", "down"]);
    let health = PassiveHealth::default();
    health.forgive();
    assert_eq!((health.last(), health.age()), (Seen::Never, None));
}

#[test]
fn an_average_is_shown_in_milliseconds_with_two_places() {
    let average = PeakEwma::default();
    average.observe(Duration::from_micros(1_500_123), true);
    let shown = average.millis();
    assert!((1490.0..=1500.12).contains(&shown), "{shown}");
    let places = shown * 100.0;
    assert!((places - places.round()).abs() < 1e-6, "{shown}");
}

/// The keys that are found wrong.
fn wrong(check: impl Fn(&mut Problems)) -> Vec<String> {
    let mut problems = Problems::default();
    check(&mut problems);
    problems.iter().map(|problem| problem.key.clone()).collect()
}

#[test]
fn wrong_settings_are_found_by_their_keys_and_the_outermost_are_not_wrong() {
    let health = |change: fn(&mut HealthCheck)| {
        let mut settings = HealthCheck::default();
        change(&mut settings);
        wrong(|problems| settings.check(problems))
    };
    let none: [&str; 0] = [];
    assert_eq!(health(|_| {}), none);
    assert_eq!(health(|settings| settings.path = "health".to_owned()), ["path"]);
    assert_eq!(health(|settings| settings.path = "/a path".to_owned()), ["path"]);
    assert_eq!(health(|settings| settings.interval = Length::millis(9)), ["interval"]);
    assert_eq!(health(|settings| settings.interval = Length::millis(10)), none);
    assert_eq!(health(|settings| settings.timeout = Length::millis(0)), ["timeout"]);

    let retries = |change: fn(&mut Retries)| {
        let mut settings = Retries::default();
        change(&mut settings);
        wrong(|problems| settings.check(problems))
    };
    assert_eq!(retries(|_| {}), none);
    assert_eq!(retries(|settings| settings.attempts = 0), ["attempts"]);
    assert_eq!(retries(|settings| settings.attempts = 11), ["attempts"]);
    assert_eq!(retries(|settings| settings.attempts = 10), none);
    assert_eq!(retries(|settings| settings.budget_percent = 101), ["budget_percent"]);
    assert_eq!(retries(|settings| settings.budget_percent = 100), none);
    assert_eq!(retries(|settings| settings.body_limit = 1024 * 1024 + 1), ["body_limit"]);
    assert_eq!(retries(|settings| settings.body_limit = 1024 * 1024), none);

    let breaker = |change: fn(&mut CircuitBreaker)| {
        let mut settings = CircuitBreaker::default();
        change(&mut settings);
        wrong(|problems| settings.check(problems))
    };
    assert_eq!(breaker(|_| {}), none);
    assert_eq!(breaker(|settings| settings.interval = Length::millis(999)), ["interval"]);
    assert_eq!(breaker(|settings| settings.interval = Length::secs(1)), none);
    assert_eq!(breaker(|settings| settings.timeout = Length::secs(0)), ["timeout"]);
}

#[test]
fn there_are_rules_for_a_breaker_that_is_on() {
    let on = CircuitBreaker::default().rules().expect("rules");
    assert_eq!((on.trials, on.window, on.open_for), (10, MINUTE, Duration::from_secs(30)));
    assert!(CircuitBreaker { enabled: false, ..CircuitBreaker::default() }.rules().is_none());
}
