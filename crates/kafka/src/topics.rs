//! Making the topics that are missing, and a look at those that are there.
//!
//! What a broker has acknowledged is nowhere else any more: how many copies a topic has, and how many of them must have an
//! event before it is acknowledged, is how safe it is.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, ConfigResource, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::metadata::Metadata;
use rdkafka::producer::Producer as _;
use rdkafka::types::RDKafkaErrorCode;
use shop_config::Kafka;
use shop_events::{BusError, Topic};

use crate::availability::{Availability, Producer};
use crate::wire::DEAD_LETTERS;

/// How long a broker may take to answer.
const ANSWER: Duration = Duration::from_secs(5);

/// Dead letters wait for a person: 30 days, in milliseconds.
const DEAD_LETTERS_KEPT: u128 = 2_592_000_000;

const RETENTION: &str = "retention.ms";
const MIN_INSYNC: &str = "min.insync.replicas";
const CLEANUP: &str = "cleanup.policy";

/// Every topic of the suite and its dead-letter topic, as named on this bus.
fn names(prefix: &str) -> Vec<String> {
    Topic::ALL
        .iter()
        .flat_map(|topic| {
            [String::new(), DEAD_LETTERS.to_owned()].map(|end| format!("{prefix}{}{end}", topic.as_str()))
        })
        .collect()
}

/// Makes the topics that do not exist, and warns of those that are less safe than they are set to be. Another process may be
/// doing the same.
pub(crate) async fn ensure(
    producer: &Producer,
    client: &ClientConfig,
    settings: &Kafka,
    availability: &Availability,
) -> Result<(), BusError> {
    let cluster = look(producer).await?;
    availability.found();
    let admin: AdminClient<Availability> =
        AdminClient::from_config_and_context(client, availability.clone()).map_err(BusError::new)?;
    // Nobody polls such a client, so it would ask for a token in vain.
    availability.tokens().give(admin.inner());
    let (present, missing): (Vec<_>, Vec<_>) =
        names(&settings.topic_prefix).into_iter().partition(|name| cluster.copies_of(name).is_some());
    if !missing.is_empty() {
        make(&admin, &missing, settings).await?;
    }
    if !present.is_empty() {
        let settings = settings.clone();
        #[expect(clippy::disallowed_methods, reason = "it looks once, within the brokers' time to answer, and ends")]
        tokio::spawn(async move { warn(&admin, &cluster, &present, &settings).await });
    }
    Ok(())
}

async fn make(admin: &AdminClient<Availability>, names: &[String], settings: &Kafka) -> Result<(), BusError> {
    let wanted: Vec<_> = names.iter().map(|name| Wanted::of(name, settings)).collect();
    let topics: Vec<_> = names.iter().zip(&wanted).map(|(name, wanted)| wanted.topic(name, settings)).collect();
    for made in admin.create_topics(&topics, &options()).await.map_err(BusError::new)? {
        match made {
            Ok(name) => tracing::info!(topic = %name, "made the topic"),
            Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((name, error)) => return Err(BusError::new(format!("could not make the topic {name}: {error}"))),
        }
    }
    Ok(())
}

/// Says once, at the start, which topics are less safe than they are set to be.
async fn warn(admin: &AdminClient<Availability>, cluster: &Cluster, names: &[String], settings: &Kafka) {
    let asked: Vec<_> = names.iter().map(|name| ResourceSpecifier::Topic(name)).collect();
    let told = match admin.describe_configs(&asked, &options()).await {
        Ok(told) => told,
        Err(error) => return tracing::debug!(%error, "the brokers do not say how topics are set"),
    };
    for (name, topic) in names.iter().zip(told) {
        let Ok(topic) = topic else { continue };
        let found = Found {
            copies: cluster.copies_of(name).unwrap_or_default(),
            min_insync: setting(&topic, MIN_INSYNC),
            retention: setting(&topic, RETENTION),
            cleanup: topic.get(CLEANUP).and_then(|entry| entry.value.clone()).unwrap_or_default(),
        };
        for doubt in found.doubts(&Wanted::of(name, settings), cluster.brokers) {
            tracing::warn!(topic = %name, "the topic {name} {doubt}");
        }
    }
}

fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(ANSWER)).operation_timeout(Some(ANSWER))
}

fn setting(topic: &ConfigResource, name: &str) -> Option<i64> {
    topic.get(name)?.value.as_ref()?.parse().ok()
}

/// How a topic is to be.
struct Wanted {
    /// The brokers' default when there is none.
    copies: Option<i32>,
    /// Likewise, as it is written.
    min_insync: Option<String>,
    /// Milliseconds.
    retention: String,
    /// The longest that it may be, in milliseconds. Letters have a limit of their own, that of a replay.
    longest: Option<i64>,
}

impl Wanted {
    fn of(name: &str, settings: &Kafka) -> Self {
        let copies = Some(settings.replication).filter(|copies| *copies > 0);
        // One broker may be away; with two copies that would be none to spare.
        let all_but_one = copies.filter(|copies| *copies > 2).map(|copies| copies - 1);
        let min_insync = Some(settings.min_insync_replicas).filter(|least| *least > 0).or(all_but_one);
        let min_insync = min_insync.map(|least| least.to_string());
        let letters = name.ends_with(DEAD_LETTERS);
        let kept = if letters { DEAD_LETTERS_KEPT } else { settings.retention.get().as_millis() };
        let longest = i64::try_from(Kafka::LONGEST_RETENTION.as_millis()).ok().filter(|_| !letters);
        Self { copies, min_insync, retention: kept.to_string(), longest }
    }

    fn topic<'a>(&'a self, name: &'a str, settings: &Kafka) -> NewTopic<'a> {
        let copies = TopicReplication::Fixed(self.copies.unwrap_or(-1));
        let topic = NewTopic::new(name, settings.partitions, copies).set(RETENTION, &self.retention);
        match &self.min_insync {
            Some(least) => topic.set(MIN_INSYNC, least),
            None => topic,
        }
    }
}

/// How a topic is.
struct Found {
    copies: usize,
    min_insync: Option<i64>,
    retention: Option<i64>,
    cleanup: String,
}

impl Found {
    /// What is less safe than it is set to be, or could be on so many brokers.
    fn doubts(&self, wanted: &Wanted, brokers: usize) -> Vec<String> {
        let mut doubts = Vec::new();
        let copies = wanted.copies.and_then(|copies| usize::try_from(copies).ok());
        if copies.is_some_and(|copies| self.copies < copies) {
            let wanted = copies.unwrap_or_default();
            doubts.push(format!(
                "has {} replicas, and kafka.replication is {wanted}: reassign its partitions (kafka-reassign-partitions)",
                self.copies
            ));
        } else if self.copies == 1 && brokers > 1 {
            doubts.push(format!(
                "has one replica on {brokers} brokers: an event is lost with one disk; reassign its partitions \
                 (kafka-reassign-partitions)"
            ));
        }
        let could = if self.copies > 2 { 2 } else { 1 };
        let least = wanted.min_insync.as_ref().and_then(|least| least.parse().ok()).unwrap_or(could);
        if let Some(found) = self.min_insync.filter(|found| *found < least) {
            doubts.push(format!(
                "takes an event for published when {found} of its {} replicas have it: set {MIN_INSYNC} to {least} \
                 (kafka-configs)",
                self.copies
            ));
        }
        let kept: i64 = wanted.retention.parse().unwrap_or(i64::MAX);
        if let Some(found) = self.retention.filter(|found| (0..kept).contains(found)) {
            doubts.push(format!(
                "keeps events for {found} ms and not {kept}: a service that is away for longer misses some; set {RETENTION} \
                 (kafka-configs)"
            ));
        }
        if let (Some(found), Some(longest)) = (self.retention, wanted.longest)
            && !(0..=longest).contains(&found)
        {
            let long = if found < 0 { "for ever".to_owned() } else { format!("for {found} ms") };
            doubts.push(format!(
                "keeps events {long}, longer than what they did is known (45 days): a group that loses its place there does \
                 them again; set {RETENTION} to {longest} at most (kafka-configs)"
            ));
        }
        if self.cleanup.contains("compact") {
            doubts.push(format!(
                "is compacted: of the events of a key the last alone is kept; set {CLEANUP} to delete (kafka-configs)"
            ));
        }
        doubts
    }
}

/// What the brokers say of themselves and of the topics there are.
struct Cluster {
    brokers: usize,
    /// Topics, each with the least replicas that a partition of it has.
    topics: Vec<(String, usize)>,
}

impl Cluster {
    fn copies_of(&self, name: &str) -> Option<usize> {
        self.topics.iter().find(|(topic, _)| topic == name).map(|(_, copies)| *copies)
    }
}

impl From<Metadata> for Cluster {
    fn from(metadata: Metadata) -> Self {
        let topics = metadata.topics().iter().map(|topic| {
            let copies = topic.partitions().iter().map(|partition| partition.replicas().len()).min();
            (topic.name().to_owned(), copies.unwrap_or_default())
        });
        Self { brokers: metadata.brokers().len(), topics: topics.collect() }
    }
}

/// All topics are asked for: to ask for one by name may make it, with the broker's defaults.
async fn look(producer: &Producer) -> Result<Cluster, BusError> {
    let producer = producer.clone();
    let asked = tokio::task::spawn_blocking(move || producer.client().fetch_metadata(None, ANSWER).map(Cluster::from));
    asked.await.map_err(BusError::new)?.map_err(BusError::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(replication: i32, min_insync_replicas: i32) -> Wanted {
        Wanted::of("stock-events", &Kafka { replication, min_insync_replicas, ..Kafka::default() })
    }

    #[test]
    fn a_topic_is_made_so_that_one_broker_may_be_lost_and_one_may_be_away() {
        for (replication, least, expected) in
            [(-1, -1, None), (1, -1, None), (2, -1, None), (3, -1, Some("2")), (3, 1, Some("1"))]
        {
            assert_eq!(wanted(replication, least).min_insync.as_deref(), expected, "{replication} {least}");
        }
        assert_eq!(wanted(-1, -1).retention, "604800000");
        assert_eq!(Wanted::of("stock-events.dlq", &Kafka::default()).retention, "2592000000");
    }

    #[test]
    fn what_is_less_safe_than_it_could_be_is_told_and_one_broker_is_fine() {
        let week = Some(604_800_000);
        let found = |copies, min_insync, retention| Found {
            copies,
            min_insync: Some(min_insync),
            retention,
            cleanup: "delete".to_owned(),
        };
        let compacted = Found { cleanup: "compact,delete".to_owned(), ..found(3, 2, week) };
        for (found, wanted, brokers, expected) in [
            (found(1, 1, week), wanted(-1, -1), 1, vec![]),
            (found(3, 2, week), wanted(-1, -1), 3, vec![]),
            (found(3, 2, Some(2_592_000_000)), wanted(3, -1), 3, vec![]),
            (
                found(3, 2, Some(-1)),
                wanted(3, -1),
                3,
                vec!["keeps events for ever, longer than what they did is known"],
            ),
            (found(3, 2, Some(2_592_000_001)), wanted(3, -1), 3, vec!["keeps events for 2592000001 ms, longer"]),
            (found(3, 2, Some(-1)), Wanted::of("stock-events.dlq", &Kafka::default()), 3, vec![]),
            (compacted, wanted(3, -1), 3, vec!["is compacted"]),
            (found(1, 1, week), wanted(-1, -1), 3, vec!["has one replica on 3 brokers"]),
            (found(1, 1, week), wanted(3, -1), 3, vec!["has 1 replicas", "takes an event"]),
            (found(3, 1, week), wanted(-1, -1), 3, vec!["takes an event for published when 1 of its 3"]),
            (found(3, 2, Some(3_600_000)), wanted(3, 2), 3, vec!["keeps events for 3600000 ms"]),
        ] {
            let doubts = found.doubts(&wanted, brokers);
            let same = doubts.len() == expected.len() && doubts.iter().zip(&expected).all(|(d, e)| d.starts_with(e));
            assert!(same, "{doubts:?} {expected:?}");
        }
    }
}
