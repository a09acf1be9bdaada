//! Dead letters, as people see them and try them again.

use async_trait::async_trait;
use time::OffsetDateTime;

use crate::{BusError, Message, REPLAY_FOR};

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
        message.headers.retain(|(name, _)| name != REPLAY_FOR);
        message.headers.push((REPLAY_FOR.to_owned(), self.group.clone()));
        message
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
