//! What the checks of one backend found: results in a row make a verdict.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::settings::HealthCheck;

/// Why a check failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// The backend itself says that it wants no calls.
    Declines(String),
    /// No answer, or none that makes sense.
    Silent(String),
    /// It was not asked: whoever checks had no means to. That says nothing about it.
    Unasked(String),
}

/// What checks say about a backend.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Verdict {
    /// Not checked yet.
    #[default]
    Unknown,
    /// It takes calls.
    Healthy,
    /// It fails its checks and was never seen well.
    Never,
    /// It was well and does not answer any more.
    Silent,
    /// It was well and says now that it wants no calls.
    Declines,
}

impl Verdict {
    /// Whether checks speak against the backend.
    pub const fn is_bad(self) -> bool {
        matches!(self, Self::Never | Self::Silent | Self::Declines)
    }

    /// The verdict in a word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Healthy => "healthy",
            Self::Never => "never_healthy",
            Self::Silent => "unhealthy",
            Self::Declines => "not_ready",
        }
    }
}

/// The checks of one backend. Written once per interval; calls do not read it.
#[derive(Debug, Default)]
pub struct HealthRecord(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    verdict: Verdict,
    /// Results in a row that speak against the verdict.
    against: u32,
    at: Option<Instant>,
    error: Option<String>,
}

/// What there is to say about the checks of a backend.
#[derive(Debug)]
pub struct Report {
    /// What they say.
    pub verdict: Verdict,
    /// Since the latest check.
    pub age: Option<Duration>,
    /// What was wrong with it, or why it could not be made.
    pub error: Option<String>,
}

impl HealthRecord {
    /// Notes one result; returns the verdict before and after.
    pub fn note(&self, outcome: Result<(), Trouble>, settings: &HealthCheck) -> (Verdict, Verdict) {
        let mut state = self.0.lock();
        let before = state.verdict;
        state.at = Some(Instant::now());
        let (found, error) = match outcome {
            Err(Trouble::Unasked(error)) => {
                state.error = Some(error);
                return (before, before);
            }
            Ok(()) => (Verdict::Healthy, None),
            Err(Trouble::Silent(error)) => (Verdict::Silent, Some(error)),
            Err(Trouble::Declines(error)) => (Verdict::Declines, Some(error)),
        };
        state.error = error;
        state.judge(found, settings);
        (before, state.verdict)
    }

    /// Forgets everything: nobody checks any more.
    pub fn forget(&self) {
        *self.0.lock() = State::default();
    }

    /// Since the latest check; none before the first.
    pub fn age(&self) -> Option<Duration> {
        self.0.lock().at.map(|at| at.elapsed())
    }

    /// The verdict now.
    pub fn verdict(&self) -> Verdict {
        self.0.lock().verdict
    }

    /// All there is to say.
    pub fn report(&self) -> Report {
        let state = self.0.lock();
        Report { verdict: state.verdict, age: state.at.map(|at| at.elapsed()), error: state.error.clone() }
    }
}

impl State {
    fn judge(&mut self, found: Verdict, settings: &HealthCheck) {
        let found = match (self.verdict, found) {
            (Verdict::Unknown | Verdict::Never, Verdict::Silent | Verdict::Declines) => Verdict::Never,
            // Silence after a good-bye is the end of a process, not a fault of the checks.
            (Verdict::Declines, Verdict::Silent) => Verdict::Declines,
            (_, found) => found,
        };
        if found.is_bad() == self.verdict.is_bad() && self.verdict != Verdict::Unknown {
            self.against = 0;
            self.verdict = found;
            return;
        }
        self.against += 1;
        let needed = match self.verdict {
            // The first news is the best there is: who waits for more news sends calls into the dark.
            Verdict::Unknown | Verdict::Never => 1,
            // What a backend says of itself needs no confirmation.
            Verdict::Healthy if found == Verdict::Declines => 1,
            Verdict::Healthy => settings.fall.get(),
            Verdict::Silent | Verdict::Declines => settings.rise.get(),
        };
        if self.against >= needed {
            self.against = 0;
            self.verdict = found;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `+` passes, `-` is silent, `!` declines; the verdict after each.
    fn verdicts(results: &str) -> String {
        let settings = HealthCheck::default();
        assert_eq!((settings.rise.get(), settings.fall.get()), (2, 3));
        let record = HealthRecord::default();
        let verdict = |result| {
            let outcome = match result {
                '+' => Ok(()),
                '-' => Err(Trouble::Silent("no answer".to_owned())),
                _ => Err(Trouble::Declines("draining".to_owned())),
            };
            match record.note(outcome, &settings).1 {
                Verdict::Unknown => 'u',
                Verdict::Healthy => 'h',
                Verdict::Never => 'n',
                Verdict::Silent => 's',
                Verdict::Declines => 'd',
            }
        };
        results.chars().map(verdict).collect()
    }

    #[test]
    fn results_in_a_row_make_a_verdict() {
        for (results, expected) in [
            ("+", "h"),
            ("-", "n"),
            // Never well: the first good result is enough.
            ("--!+", "nnnh"),
            // Three failures in a row throw out, two do not.
            ("+--+---", "hhhhhhs"),
            // Two good results in a row bring back.
            ("+---+-++", "hhhssssh"),
            // Its own word counts at once, and is kept when silence follows.
            ("+!-++", "hdddh"),
            ("+---!", "hhhsd"),
            ("+!++", "hddh"),
        ] {
            assert_eq!(verdicts(results), expected, "{results}");
        }
    }

    #[test]
    fn a_report_tells_what_was_wrong_with_the_latest_check() {
        let record = HealthRecord::default();
        assert!(record.report().age.is_none());
        record.note(Ok(()), &HealthCheck::default());
        record.note(Err(Trouble::Silent("refused".to_owned())), &HealthCheck::default());
        let report = record.report();
        assert_eq!((report.verdict, report.error.as_deref()), (Verdict::Healthy, Some("refused")));
        assert!(report.age.is_some());
    }

    #[test]
    fn a_check_that_could_not_be_made_says_nothing() {
        let (record, settings) = (HealthRecord::default(), HealthCheck::default());
        let unasked = || Err(Trouble::Unasked("too many open files".to_owned()));
        assert_eq!(record.note(unasked(), &settings), (Verdict::Unknown, Verdict::Unknown));
        assert!(record.age().is_some(), "the next one is due an interval later");
        record.note(Ok(()), &settings);
        for _ in 0..10 {
            record.note(unasked(), &settings);
        }
        let report = record.report();
        assert_eq!((report.verdict, report.error.as_deref()), (Verdict::Healthy, Some("too many open files")));
    }
}
