//! One thing to tell one receiver, and the moves it can make.
//!
//! ```text
//! pending ──claim──▶ sending ──sent──▶ sent
//!    ▲                  ├──failed──▶ pending (later) or dead
//!    │                  └──its process died: due again when the lease is over
//!    └──retry── dead                       skipped: never to be sent
//! ```

use std::time::Duration;

use shop_events::Envelope;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Channel, Error, Result, Status};

/// A notification as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Notification {
    /// A `UUIDv7`, so ids sort by time. Receivers see it on every attempt and can drop a repeat.
    pub(crate) id: Uuid,
    /// What happened.
    pub(crate) event: Envelope,
    /// Whose payment it is about.
    pub(crate) user_id: String,
    /// Which payment.
    pub(crate) payment_id: Uuid,
    /// How to tell.
    pub(crate) channel: Channel,
    /// Whom: an e-mail address, the id of an endpoint, `settings` for the one of the settings, `log`.
    pub(crate) target: String,
    /// How far it has got.
    pub(crate) status: Status,
    /// Attempts begun.
    pub(crate) attempts: i64,
    /// When the next attempt is due; while one runs, when its process is taken for dead.
    pub(crate) due_at: OffsetDateTime,
    /// When it is given up.
    pub(crate) give_up_at: OffsetDateTime,
    /// What the last attempt ran into, or why it was skipped.
    pub(crate) failure: Option<Failure>,
    /// Counts the changes, from 1.
    pub(crate) version: i64,
    /// When the event came.
    pub(crate) created_at: OffsetDateTime,
    /// When it was last changed.
    pub(crate) updated_at: OffsetDateTime,
    /// When the other side took it.
    pub(crate) sent_at: Option<OffsetDateTime>,
}

/// What an attempt ran into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// For programs, stable: `timeout`, `http_status`, `mailbox_refused`, …
    pub(crate) code: String,
    /// For people; no address, no secret.
    pub(crate) message: String,
}

/// What became of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The other side has it.
    Sent,
    /// It does not.
    Failed {
        /// Why.
        failure: Failure,
        /// What follows.
        next: Next,
    },
}

/// What follows from a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// It may pass: try again, not before this long when the other side said so.
    Retry(Option<Duration>),
    /// It will not pass.
    GiveUp,
    /// The endpoint is gone for good: give up, and send nothing more there.
    Disable,
}

/// How often and how long is tried.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Policy {
    /// Pause after the first failure; doubles from there.
    pub(crate) first: Duration,
    /// The longest pause.
    pub(crate) longest: Duration,
    /// How long after the event is given up.
    pub(crate) give_up_after: Duration,
}

impl Policy {
    /// The pause after `attempts` failures. `chance`, from 0 to 1, takes up to half of it away, so that what failed
    /// together does not come back together.
    fn pause(&self, attempts: i64, chance: f64) -> Duration {
        let doublings = u32::try_from(attempts.saturating_sub(1)).unwrap_or(u32::MAX).min(30);
        let whole = self.first.saturating_mul(1 << doublings).min(self.longest);
        whole.mul_f64(0.5 + 0.5 * chance.clamp(0.0, 1.0))
    }
}

impl Failure {
    /// A failure with this code and text.
    pub(crate) fn new(code: &str, message: impl Into<String>) -> Self {
        Self { code: code.to_owned(), message: message.into() }
    }
}

impl Outcome {
    /// It may pass another time.
    pub(crate) fn retry(code: &str, message: impl Into<String>) -> Self {
        Self::Failed { failure: Failure::new(code, message), next: Next::Retry(None) }
    }

    /// It will not pass.
    pub(crate) fn give_up(code: &str, message: impl Into<String>) -> Self {
        Self::Failed { failure: Failure::new(code, message), next: Next::GiveUp }
    }
}

impl Notification {
    /// Takes over what became of an attempt that was claimed before.
    pub(crate) fn settle(&mut self, outcome: Outcome, policy: Policy, chance: f64, now: OffsetDateTime) {
        self.changed(now);
        let (failure, next) = match outcome {
            Outcome::Sent => {
                self.status = Status::Sent;
                self.sent_at = Some(now);
                self.failure = None;
                return;
            }
            Outcome::Failed { failure, next } => (failure, next),
        };
        self.failure = Some(failure);
        let pause = match next {
            Next::Retry(asked) => {
                policy.pause(self.attempts, chance).max(asked.unwrap_or_default().min(policy.longest))
            }
            Next::GiveUp | Next::Disable => {
                self.status = Status::Dead;
                return;
            }
        };
        self.due_at = now + pause;
        self.status = if self.due_at <= self.give_up_at { Status::Pending } else { Status::Dead };
    }

    /// Makes it due at once, by hand: one that was given up, or one that waits.
    pub(crate) fn retry(&mut self, policy: Policy, now: OffsetDateTime) -> Result<()> {
        match self.status {
            Status::Dead => self.give_up_at = now + policy.give_up_after,
            Status::Pending => {}
            status @ (Status::Sending | Status::Sent | Status::Skipped) => {
                return Err(Error::InvalidState { id: self.id, status });
            }
        }
        self.status = Status::Pending;
        self.due_at = now;
        self.changed(now);
        Ok(())
    }

    fn changed(&mut self, now: OffsetDateTime) {
        self.version += 1;
        self.updated_at = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::plan::tests::completed;

    const POLICY: Policy = Policy {
        first: Duration::from_secs(5),
        longest: Duration::from_hours(6),
        give_up_after: Duration::from_hours(72),
    };

    fn claimed(attempts: i64) -> Notification {
        let now = OffsetDateTime::UNIX_EPOCH;
        Notification {
            id: Uuid::nil(),
            event: completed("ada"),
            user_id: "ada".to_owned(),
            payment_id: Uuid::nil(),
            channel: Channel::Email,
            target: "ada@shop.example".to_owned(),
            status: Status::Sending,
            attempts,
            due_at: now,
            give_up_at: now + POLICY.give_up_after,
            failure: None,
            version: 1,
            created_at: now,
            updated_at: now,
            sent_at: None,
        }
    }

    #[test]
    fn pauses_double_up_to_the_longest_and_are_up_to_half_shorter() {
        for (attempts, chance, seconds) in [
            (1, 1.0, 5.0),
            (1, 0.0, 2.5),
            (2, 1.0, 10.0),
            (5, 1.0, 80.0),
            (20, 1.0, 21_600.0),
            (i64::MAX, 0.0, 10_800.0),
        ] {
            let pause = POLICY.pause(attempts, chance).as_secs_f64();
            assert!((pause - seconds).abs() < 0.001, "{attempts} {chance}: {pause}");
        }
    }

    #[test]
    fn retries_go_on_for_three_days_and_no_longer() {
        let mut now = OffsetDateTime::UNIX_EPOCH;
        let mut notification = claimed(0);
        while notification.status != Status::Dead {
            notification.attempts += 1;
            notification.status = Status::Sending;
            now = notification.due_at;
            notification.settle(Outcome::retry("timeout", "no answer"), POLICY, 1.0, now);
        }
        let lasted = now - OffsetDateTime::UNIX_EPOCH;
        assert!(lasted > time::Duration::hours(60) && lasted <= time::Duration::hours(72), "{lasted}");
        assert!((20..30).contains(&notification.attempts), "{}", notification.attempts);
        assert_eq!(notification.failure, Some(Failure::new("timeout", "no answer")));
    }

    #[test]
    fn who_asks_for_a_pause_gets_it_within_bounds() {
        let now = OffsetDateTime::UNIX_EPOCH;
        for (asked, pause) in [(60, 60), (1, 5), (10_000_000, 21_600)] {
            let mut notification = claimed(1);
            let next = Next::Retry(Some(Duration::from_secs(asked)));
            let outcome = Outcome::Failed { failure: Failure::new("http_status", "429"), next };
            notification.settle(outcome, POLICY, 1.0, now);
            assert_eq!(notification.due_at, now + Duration::from_secs(pause), "{asked}");
        }
    }

    #[test]
    fn what_cannot_pass_is_dead_until_somebody_retries() {
        let now = OffsetDateTime::UNIX_EPOCH;
        let mut notification = claimed(1);
        notification.settle(Outcome::give_up("mailbox_refused", "no such mailbox"), POLICY, 1.0, now);
        assert_eq!((notification.status, notification.version), (Status::Dead, 2));
        let later = now + Duration::from_hours(100);
        notification.retry(POLICY, later).expect("is allowed");
        assert_eq!((notification.status, notification.due_at), (Status::Pending, later));
        assert_eq!(notification.give_up_at, later + POLICY.give_up_after);
    }

    #[test]
    fn only_what_waits_or_was_given_up_can_be_retried() {
        for status in Status::ALL {
            let mut notification = Notification { status, ..claimed(1) };
            let allowed = notification.retry(POLICY, OffsetDateTime::UNIX_EPOCH).is_ok();
            assert_eq!(allowed, matches!(status, Status::Pending | Status::Dead), "{status}");
        }
    }

    #[test]
    fn what_was_taken_is_sent_and_its_old_failure_forgotten() {
        let now = OffsetDateTime::UNIX_EPOCH;
        let mut notification = Notification { failure: Some(Failure::new("timeout", "")), ..claimed(2) };
        notification.settle(Outcome::Sent, POLICY, 1.0, now);
        assert_eq!((notification.status, notification.sent_at, notification.failure), (Status::Sent, Some(now), None));
    }
}
