//! The dead letters, read from their topics.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rdkafka::config::FromClientConfigAndContext as _;
use rdkafka::consumer::{Consumer as _, StreamConsumer};
use rdkafka::error::KafkaError;
use rdkafka::message::BorrowedMessage;
use rdkafka::metadata::MetadataPartition;
use rdkafka::producer::Producer as _;
use rdkafka::topic_partition_list::TopicPartitionListElem;
use rdkafka::{Message as _, Offset, TopicPartitionList};
use shop_events::{BusError, Letter, LetterState, Letters, Message, Origin, Topic};
use time::OffsetDateTime;

use crate::availability::Availability;
use crate::client::{Link, within};
use crate::wire::{self, DEAD_LETTERS, Place};

/// How long a broker may take for the next answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// The dead letters of some groups on a Kafka cluster.
pub struct KafkaLetters {
    link: Arc<Link>,
    /// With the installation's prefix.
    groups: Vec<String>,
}

/// A record of a dead-letter topic.
enum Record {
    Letter(Box<Letter>),
    /// The letter at that place was tried again.
    Receipt(String),
}

impl KafkaLetters {
    pub(crate) fn new(link: Arc<Link>, groups: &[&str]) -> Self {
        let groups = groups.iter().map(|group| format!("{}{group}", link.settings.group_prefix)).collect();
        Self { link, groups }
    }

    /// The partitions of every topic there is. All are asked for: to ask for one by name may make it.
    async fn partitions(&self, topic: &str) -> Result<Vec<i32>, BusError> {
        let producer = self.link.producer();
        let asked = tokio::task::spawn_blocking(move || producer.client().fetch_metadata(None, PATIENCE));
        let metadata = asked.await.map_err(BusError::new)?.map_err(BusError::new)?;
        let topic = metadata.topics().iter().find(|found| found.name() == topic);
        Ok(topic.map_or_else(Vec::new, |topic| topic.partitions().iter().map(MetadataPartition::id).collect()))
    }

    /// A consumer that begins at these places and is in no group: it neither commits nor takes part in sharing out.
    fn consumer(&self, from: &TopicPartitionList) -> Result<StreamConsumer<Availability>, BusError> {
        let mut config = self.link.client.clone();
        config
            .set("group.id", format!("{}dead-letters", self.link.settings.group_prefix))
            .set("enable.auto.commit", "false")
            .set("auto.offset.reset", "earliest")
            .set("enable.partition.eof", "true");
        let availability = self.link.availability.clone();
        let consumer = StreamConsumer::from_config_and_context(&config, availability).map_err(BusError::new)?;
        self.link.availability.tokens().give(consumer.client());
        consumer.assign(from).map_err(BusError::new)?;
        Ok(consumer)
    }

    /// All letters of a topic.
    async fn of(&self, topic: &str) -> Result<Vec<Letter>, BusError> {
        let dead = self.link.on_bus(&format!("{topic}{DEAD_LETTERS}"));
        let mut from = TopicPartitionList::new();
        for partition in self.partitions(&dead).await? {
            from.add_partition_offset(&dead, partition, Offset::Beginning).map_err(BusError::new)?;
        }
        // By name: the end of one is told again whenever something was added to it.
        let mut unread: HashSet<_> = from.elements().iter().map(TopicPartitionListElem::partition).collect();
        if unread.is_empty() {
            return Ok(Vec::new());
        }
        let consumer = self.consumer(&from)?;
        let (mut letters, mut replayed) = (Vec::new(), HashSet::new());
        while !unread.is_empty() {
            match within(PATIENCE, async { Ok(consumer.recv().await) }).await? {
                Ok(message) => match self.record(topic, &message) {
                    Record::Letter(letter) => letters.push(*letter),
                    Record::Receipt(id) => drop(replayed.insert(id)),
                },
                Err(KafkaError::PartitionEOF(partition)) => drop(unread.remove(&partition)),
                Err(error) => self.link.availability.report(&error, "reading dead letters"),
            }
        }
        letters.retain(|letter| self.groups.contains(&letter.group));
        for letter in letters.iter_mut().filter(|letter| replayed.contains(&letter.id)) {
            letter.state = LetterState::Replayed;
        }
        letters.sort_by_key(|letter| letter.buried_at);
        Ok(letters)
    }

    fn record(&self, topic: &str, message: &BorrowedMessage<'_>) -> Record {
        let (place, mut read) = wire::receive(message, &self.link.settings.topic_prefix);
        let header = |name| read.header(name).map(str::to_owned);
        if let Some(id) = header(wire::HEADER_REPLAYED) {
            return Record::Receipt(id);
        }
        let number = |name| read.header(name).and_then(|text| text.parse::<i64>().ok());
        let origin = header(wire::HEADER_TOPIC)
            .zip(number(wire::HEADER_PARTITION).and_then(|number| i32::try_from(number).ok()))
            .zip(number(wire::HEADER_OFFSET))
            .map(|((topic, partition), offset)| Origin { topic, partition, offset });
        let group = header(wire::HEADER_GROUP).unwrap_or_default();
        let reason = header(wire::HEADER_REASON).unwrap_or_default();
        let is_whole = read.header(wire::HEADER_BODY) != Some(wire::LEFT_OUT);
        topic.clone_into(&mut read.topic);
        read.headers.retain(|(name, _)| !wire::is_ours(name));
        let buried_at = message.timestamp().to_millis().and_then(at);
        let id = format!("{topic}/{}/{}", place.partition, place.offset);
        let state = LetterState::Open;
        Record::Letter(Box::new(Letter { id, group, reason, buried_at, state, origin, message: read, is_whole }))
    }

    /// The message that a letter without a body stands for, as long as its topic keeps it.
    async fn original(&self, letter: &Letter) -> Result<Message, BusError> {
        let gone = || {
            BusError::new(format!("the body of {} had no room among the dead letters and is kept no longer", letter.id))
        };
        let origin = letter.origin.as_ref().ok_or_else(gone)?;
        let mut from = TopicPartitionList::new();
        let offset = Offset::Offset(origin.offset);
        from.add_partition_offset(&origin.topic, origin.partition, offset).map_err(BusError::new)?;
        let consumer = self.consumer(&from)?;
        loop {
            match within(PATIENCE, async { Ok(consumer.recv().await) }).await? {
                Ok(message) => {
                    let (Place { offset, .. }, message) = wire::receive(&message, &self.link.settings.topic_prefix);
                    return if offset == origin.offset { Ok(message) } else { Err(gone()) };
                }
                Err(KafkaError::PartitionEOF(_)) => return Err(gone()),
                Err(error) => self.link.availability.report(&error, "reading an event"),
            }
        }
    }
}

fn at(millis: i64) -> Option<OffsetDateTime> {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(millis) * 1_000_000).ok()
}

#[async_trait]
impl Letters for KafkaLetters {
    async fn read(&self) -> Result<Vec<Letter>, BusError> {
        let mut all = Vec::new();
        for topic in Topic::ALL {
            all.extend(self.of(topic.as_str()).await?);
        }
        Ok(all)
    }

    /// Sends the event to its topic once more, then leaves a receipt: killed in between, the letter stays open, and another
    /// replay of it does no harm.
    async fn replay(&self, letter: &Letter) -> Result<(), BusError> {
        let again = if letter.is_whole {
            letter.again()
        } else {
            let message = self.original(letter).await?;
            Letter { message, ..letter.clone() }.again()
        };
        self.link.publish(&again).await?;
        self.link.publish(&wire::receipt(&letter.message.topic, &letter.message.key, &letter.id)).await
    }
}
