//! Dead letters, as people see them and try them again.

use std::time::Duration;

use async_trait::async_trait;
use shop_clock::rfc3339;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::{BusError, Message, REPLAY_FOR};

/// How long after it was first given up an event may be tried again: as long as Kafka can have its letter, which is 30 days, and
/// up to 7 more until the segment is closed that it lies in. What took effect since is known for longer.
pub const REPLAY_WITHIN: Duration = Duration::from_hours(37 * 24);

/// Names when an event that is tried again was first given up. Its next letter, if it gets one, is no younger for it.
pub const GIVEN_UP: &str = "given_up_at";

/// A letter that must not be tried again: whether it took effect since is not known any more.
#[derive(Debug, thiserror::Error)]
#[error(
    "{id} was given up {when}, and what took effect is known for {} days only: a replay might do it twice; see with `show` what it was \
     to do, and where that is missing do it by hand",
    REPLAY_WITHIN.as_secs() / 86_400
)]
pub struct TooOld {
    id: String,
    when: String,
}

/// An event that a group gave up on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// Names it: the topic, and where it lies among the topic's dead letters.
    pub id: String,
    /// Who gave it up.
    pub group: String,
    /// Why.
    pub reason: String,
    /// When, where that is known.
    pub buried_at: Option<OffsetDateTime>,
    /// What became of it since.
    pub state: LetterState,
    /// Where it was read from, when that is a place that can be read again.
    pub origin: Option<Origin>,
    /// The event as it came. Without its body when that had no room among the dead letters.
    pub message: Message,
    /// Whether the body is there.
    pub is_whole: bool,
}

/// What became of a letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LetterState {
    /// Nobody did anything about it.
    Open,
    /// It is to be tried again as soon as its group runs.
    Asked,
    /// It was tried again. If that failed, too, there is another letter.
    Replayed,
}

/// A place on a bus that keeps its messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The topic, as the bus names it.
    pub topic: String,
    /// The partition of the topic.
    pub partition: i32,
    /// The place in the partition.
    pub offset: i64,
}

impl Letter {
    /// The message to try once more: for the group that gave it up and nobody else, since others may have applied it long ago.
    pub fn again(&self) -> Message {
        let mut message = self.message.clone();
        message.headers.retain(|(name, _)| ![REPLAY_FOR, GIVEN_UP].contains(&name.as_str()));
        message.headers.push((REPLAY_FOR.to_owned(), self.group.clone()));
        message.headers.extend(self.since().map(|since| (GIVEN_UP.to_owned(), rfc3339(since))));
        message
    }

    /// Since when whatever it does can have been done by a replay; none when nothing says that. An event that does not say when
    /// it was given up was at least not before it happened.
    fn since(&self) -> Option<OffsetDateTime> {
        let told = |name| OffsetDateTime::parse(self.message.header(name)?, &Rfc3339).ok();
        told(GIVEN_UP).or(self.buried_at).or_else(|| told("ce_time"))
    }

    /// Whether it may still be tried again at `now`.
    pub fn in_time(&self, now: OffsetDateTime) -> Result<(), TooOld> {
        let since = self.since();
        if since.is_some_and(|since| now - since <= REPLAY_WITHIN) {
            return Ok(());
        }
        let when = since.map_or_else(|| "nobody knows when".to_owned(), |since| format!("on {}", rfc3339(since)));
        Err(TooOld { id: self.id.clone(), when })
    }

    /// The id of the event, if it says one.
    pub fn event_id(&self) -> Option<&str> {
        self.message.header("ce_id")
    }

    /// The type of the event, if it says one.
    pub fn event_type(&self) -> Option<&str> {
        self.message.header("ce_type").or(self.message.header("event_type"))
    }
}

/// The dead letters of a bus.
#[async_trait]
pub trait Letters: Send + Sync {
    /// All that are kept, the oldest of each topic first.
    async fn read(&self) -> Result<Vec<Letter>, BusError>;

    /// Has a letter tried again by the group that gave it up, and notes that it was. Safe to repeat: what took effect meanwhile
    /// is known by the event's id for longer than letters are kept.
    async fn replay(&self, letter: &Letter) -> Result<(), BusError>;
}
