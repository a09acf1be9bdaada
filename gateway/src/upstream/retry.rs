//! Whether a call that a backend failed may go out once more, and when.

mod replay;

pub(crate) use replay::Replay;

use std::time::Duration;

use http::{HeaderName, Method, header};
use shop_balance::{Reservation, RetryBudget};
use shop_clock::chance;
use shop_http1::fields::{self, Fields};

use crate::message::outcome::Outcome;

static IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Before the same backend is asked again; doubled each time. Long enough for a restart of a worker or a pool, too short
/// for a client to notice.
const FIRST_PAUSE: Duration = Duration::from_millis(25);

/// Whether doing it twice is the same as doing it once: by the method (RFC 9110, 9.2.2), or because the service drops
/// repeats of a key.
pub(crate) fn is_idempotent(method: &Method, headers: &impl Fields) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::PUT | Method::DELETE)
        || headers.value(&IDEMPOTENCY_KEY).is_some_and(|key| !key.is_empty())
}

/// How long to wait before a call with this answer goes out again; none when the answer is the client's. Only where the backend
/// is ill may another do better: what speaks of the request itself would be the same again.
pub(crate) fn wait_after(outcome: Outcome, headers: &impl Fields, longest: Duration) -> Option<Duration> {
    if !outcome.is_ill() {
        return None;
    }
    let asked = match headers.value(&header::RETRY_AFTER) {
        None => Duration::ZERO,
        // A date is not worth parsing: it is whole seconds and somebody else's clock away.
        Some(value) => Duration::from_secs(fields::text(value)?.trim().parse().ok()?),
    };
    (asked <= longest).then_some(asked)
}

/// An attempt after which there may be another.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Attempt {
    /// Nothing was sent.
    Unsent,
    /// The backend failed it, and is not to be asked again before this time.
    Failed(Duration),
}

/// What decides whether there is another.
pub(crate) struct Chances<'a> {
    /// Repetitions so far, and how many there may be.
    pub(crate) repeats: u32,
    pub(crate) most: u32,
    /// Whether the request can be sent once more.
    pub(crate) is_replayable: bool,
    /// None when the call has all the time in the world.
    pub(crate) time_left: Option<Duration>,
    /// Whether another backend would take it, as rotation and breakers are now.
    pub(crate) has_other: bool,
    /// None when calls are not repeated at all.
    pub(crate) budget: Option<&'a RetryBudget>,
}

/// What comes after an attempt.
#[derive(Debug)]
pub(crate) enum Step<'a> {
    /// Nothing: the best answer so far is the answer.
    Stop,
    /// Nothing, and only because it would cost too much.
    Unaffordable,
    /// What was not sent goes to another backend, at no cost.
    Elsewhere,
    /// Once more.
    Repeat {
        /// Before that.
        wait: Duration,
        /// Whether those tried before are asked again: there is nobody else.
        anew: bool,
        /// Paid for when it goes out.
        cost: Reservation<'a>,
    },
}

/// Decides what comes after an attempt. Nobody else does.
pub(crate) fn next_step<'a>(after: Attempt, chances: &Chances<'a>) -> Step<'a> {
    let has_time = |wait| chances.time_left.is_none_or(|left| left > wait);
    let asked = match after {
        Attempt::Unsent if has_time(Duration::ZERO) => return Step::Elsewhere,
        Attempt::Unsent => return Step::Stop,
        Attempt::Failed(asked) => asked,
    };
    let Some(budget) = chances.budget.filter(|_| chances.repeats < chances.most && chances.is_replayable) else {
        return Step::Stop;
    };
    let anew = !chances.has_other;
    let wait = if anew { asked.max(pause(chances.repeats)) } else { asked };
    if !has_time(wait) {
        return Step::Stop;
    }
    // Last, so that only what would go out counts as too much.
    match budget.reserve() {
        Some(cost) => Step::Repeat { wait, anew, cost },
        None => Step::Unaffordable,
    }
}

/// How long to leave a backend alone before its `attempt`-th repetition, from 0: half to all of a doubling time.
fn pause(attempt: u32) -> Duration {
    (FIRST_PAUSE * (1 << attempt.min(5))).mul_f64(0.5 + 0.5 * chance::fraction())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderMap, HeaderValue};
    use shop_balance::settings::Retries;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn methods_and_keys_make_a_call_repeatable() {
        for method in ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"] {
            assert!(is_idempotent(&method.parse().expect("a method"), &HeaderMap::new()), "{method}");
        }
        for method in ["POST", "PATCH"] {
            let method = method.parse().expect("a method");
            assert!(!is_idempotent(&method, &HeaderMap::new()));
            assert!(!is_idempotent(&method, &headers(&[("idempotency-key", "")])));
            assert!(is_idempotent(&method, &headers(&[("idempotency-key", "k1")])));
        }
    }

    #[test]
    fn only_who_is_ill_is_asked_again_and_not_before_the_backend_wants_it() {
        let longest = Duration::from_secs(1);
        let table: [(Outcome, Option<&'static str>, Option<u64>); 7] = [
            (Outcome::Ill, None, Some(0)),
            (Outcome::Ill, Some("0"), Some(0)),
            (Outcome::Ill, Some("1"), Some(1)),
            (Outcome::Ill, Some("2"), None),
            (Outcome::Ill, Some("Fri, 31 Dec 1999 23:59:59 GMT"), None),
            (Outcome::Well, None, None),
            (Outcome::Silent, Some("0"), None),
        ];
        for (outcome, retry_after, expected) in table {
            let headers = retry_after.map(|value| headers(&[("retry-after", value)])).unwrap_or_default();
            let wait = wait_after(outcome, &headers, longest);
            assert_eq!(wait, expected.map(Duration::from_secs), "{outcome:?} {retry_after:?}");
        }
    }

    #[test]
    fn what_comes_next_depends_on_all_chances_and_costs_only_if_it_goes_out() {
        let settings = Retries { budget_percent: 0, least_per_second: 1, ..Retries::default() };
        let (rich, poor) =
            (RetryBudget::new(&settings), RetryBudget::new(&Retries { least_per_second: 0, ..settings }));
        let (none, second) = (Duration::ZERO, Duration::from_secs(1));
        let good = || Chances {
            repeats: 0,
            most: 2,
            is_replayable: true,
            time_left: Some(second),
            has_other: true,
            budget: Some(&rich),
        };
        let word = |after: Attempt, chances: Chances<'_>| match next_step(after, &chances) {
            Step::Stop => "stop",
            Step::Unaffordable => "unaffordable",
            Step::Elsewhere => "elsewhere",
            Step::Repeat { wait, anew: false, .. } if wait.is_zero() => "at another",
            Step::Repeat { anew: false, .. } => "at another, later",
            Step::Repeat { wait, anew: true, .. } if wait.is_zero() => "at the same",
            Step::Repeat { anew: true, .. } => "at the same, later",
        };
        assert_eq!(
            word(Attempt::Unsent, Chances { budget: None, most: 0, is_replayable: false, ..good() }),
            "elsewhere"
        );
        assert_eq!(word(Attempt::Unsent, Chances { time_left: Some(none), ..good() }), "stop");
        // More often than there is budget for, if each cost something.
        for _ in 0..100 {
            assert_eq!(word(Attempt::Failed(none), good()), "at another");
        }
        assert_eq!(word(Attempt::Failed(second / 2), good()), "at another, later");
        assert_eq!(word(Attempt::Failed(none), Chances { has_other: false, ..good() }), "at the same, later");
        assert_eq!(word(Attempt::Failed(second), Chances { time_left: None, ..good() }), "at another, later");
        assert_eq!(word(Attempt::Failed(none), Chances { budget: Some(&poor), ..good() }), "unaffordable");
        for chances in [
            Chances { repeats: 2, ..good() },
            Chances { is_replayable: false, budget: Some(&poor), ..good() },
            Chances { time_left: Some(none), budget: Some(&poor), ..good() },
            Chances { budget: None, ..good() },
        ] {
            assert_eq!(word(Attempt::Failed(none), chances), "stop");
        }
        assert_eq!(word(Attempt::Failed(second), good()), "stop", "no time is left after it");
    }

    #[test]
    fn pauses_double() {
        for (attempt, most) in [(0, 25), (1, 50), (2, 100), (60, 800)] {
            let pause = pause(attempt).as_millis();
            assert!((most / 2 - 1..=most).contains(&pause), "{attempt}: {pause}");
        }
    }
}
