//! Messages of ours as Kafka's and back.

use rdkafka::Message as _;
use rdkafka::message::{BorrowedMessage, Header, Headers, OwnedHeaders};
use rdkafka::producer::FutureRecord;
use shop_events::{GIVEN_UP, Message, REPLAY_FOR};

/// Ends the name of a topic's dead-letter topic.
pub(crate) const DEAD_LETTERS: &str = ".dlq";

/// The most characters of a dead letter's reason that go into its header.
const REASON: usize = 1000;

/// The longest name or reason in a letter that has to be small.
const NAME: usize = 200;

/// Headers that name an event.
const NAMING: [&str; 7] = ["ce_id", "ce_type", "event_type", "ce_source", "ce_time", "x-request-id", GIVEN_UP];

pub(crate) const HEADER_REASON: &str = "dlq_reason";
pub(crate) const HEADER_GROUP: &str = "dlq_group";
pub(crate) const HEADER_TOPIC: &str = "dlq_topic";
pub(crate) const HEADER_PARTITION: &str = "dlq_partition";
pub(crate) const HEADER_OFFSET: &str = "dlq_offset";
pub(crate) const HEADER_BODY: &str = "dlq_body";
pub(crate) const HEADER_REPLAYED: &str = "dlq_replayed";

/// What [`HEADER_BODY`] says when the letter has none.
pub(crate) const LEFT_OUT: &str = "left out";

/// Where a message stands on the bus.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// The topic's name on the bus, with its prefix.
    pub(crate) topic: String,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
}

/// Reads a message; `prefix` is cut off its topic.
pub(crate) fn receive(message: &BorrowedMessage<'_>, prefix: &str) -> (Place, Message) {
    let text = |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned();
    let headers = message.headers().map_or_else(Vec::new, |headers| {
        headers.iter().map(|header| (header.key.to_owned(), text(header.value))).collect()
    });
    let topic = message.topic();
    let place = Place { topic: topic.to_owned(), partition: message.partition(), offset: message.offset() };
    let message = Message {
        topic: topic.strip_prefix(prefix).unwrap_or(topic).to_owned(),
        key: text(message.key()),
        headers,
        payload: message.payload().unwrap_or_default().to_vec(),
    };
    (place, message)
}

/// The record that carries `message` to `topic` (a name with its prefix).
pub(crate) fn record<'a>(topic: &'a str, message: &'a Message) -> FutureRecord<'a, str, [u8]> {
    let headers = message.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    FutureRecord::to(topic).key(message.key.as_str()).payload(message.payload.as_slice()).headers(owned(headers))
}

/// How much of a message goes to the dead letters. The topic may take less than the one it came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Size {
    /// All of it, with a reason for people.
    Whole,
    /// All of it, with the beginning of the reason.
    Terse,
    /// What names it: its body has to be read where it came from.
    Bare,
}

impl Size {
    /// The next smaller one.
    pub(crate) fn smaller(self) -> Self {
        if self == Self::Whole { Self::Terse } else { Self::Bare }
    }
}

/// The dead letter for `message`: as it came, with the reason and the place it was taken from.
pub(crate) fn dead_letter(message: &Message, place: &Place, group: &str, reason: &str, size: Size) -> Message {
    let short = |text: &str, most: usize| text.chars().take(most).collect::<String>();
    let mut dead = message.clone();
    dead.topic.push_str(DEAD_LETTERS);
    // It may have been here before.
    dead.headers.retain(|(name, _)| !is_ours(name) && name != REPLAY_FOR);
    if size == Size::Bare {
        dead.headers.retain(|(name, value)| NAMING.contains(&name.as_str()) && value.len() <= NAME);
        (dead.key, dead.payload) = (short(&dead.key, NAME), Vec::new());
    }
    let reason = short(reason, if size == Size::Whole { REASON } else { NAME });
    dead.headers.extend(
        [
            (HEADER_REASON, reason),
            (HEADER_GROUP, group.to_owned()),
            (HEADER_TOPIC, place.topic.clone()),
            (HEADER_PARTITION, place.partition.to_string()),
            (HEADER_OFFSET, place.offset.to_string()),
        ]
        .map(|(name, value)| (name.to_owned(), value)),
    );
    if size == Size::Bare {
        dead.headers.push((HEADER_BODY.to_owned(), LEFT_OUT.to_owned()));
    }
    dead
}

/// Says among the dead letters that the one at `place` was tried again.
pub(crate) fn receipt(topic: &str, key: &str, place: &str) -> Message {
    let headers = vec![(HEADER_REPLAYED.to_owned(), place.to_owned())];
    Message { topic: format!("{topic}{DEAD_LETTERS}"), key: key.to_owned(), headers, payload: Vec::new() }
}

/// Whether burying put that header there.
pub(crate) fn is_ours(header: &str) -> bool {
    header.starts_with("dlq_")
}

fn owned<'a>(headers: impl ExactSizeIterator<Item = (&'a str, &'a str)>) -> OwnedHeaders {
    let empty = OwnedHeaders::new_with_capacity(headers.len());
    headers.fold(empty, |all, (key, value)| all.insert(Header { key, value: Some(value) }))
}
