//! Messages of ours as Kafka's and back.

use rdkafka::message::{BorrowedMessage, Header, Headers, OwnedHeaders};
use rdkafka::producer::FutureRecord;
use rdkafka::{Message as _, Offset};
use shop_events::Message;

/// Ends the name of a topic's dead-letter topic.
pub(crate) const DEAD_LETTERS: &str = ".dlq";

/// The most characters of a dead letter's reason that go into its header.
const REASON: usize = 1000;

/// Where a message stands on the bus.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// The topic's name on the bus, with its prefix.
    pub(crate) topic: String,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
}

impl Place {
    /// The offset to commit when this message took effect: that of the next one.
    pub(crate) fn next(&self) -> Offset {
        Offset::Offset(self.offset + 1)
    }
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

/// The dead letter for `message`: as it came, with the reason and the place it was taken from.
pub(crate) fn dead_letter(message: &Message, place: &Place, group: &str, reason: &str) -> Message {
    let reason: String = reason.chars().take(REASON).collect();
    let mut dead = message.clone();
    dead.topic.push_str(DEAD_LETTERS);
    dead.headers.extend(
        [
            ("dlq_reason", reason),
            ("dlq_group", group.to_owned()),
            ("dlq_topic", place.topic.clone()),
            ("dlq_partition", place.partition.to_string()),
            ("dlq_offset", place.offset.to_string()),
        ]
        .map(|(name, value)| (name.to_owned(), value)),
    );
    dead
}

fn owned<'a>(headers: impl ExactSizeIterator<Item = (&'a str, &'a str)>) -> OwnedHeaders {
    let empty = OwnedHeaders::new_with_capacity(headers.len());
    headers.fold(empty, |all, (key, value)| all.insert(Header { key, value: Some(value) }))
}
