//! Making the topics that are missing.

use std::collections::HashSet;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::producer::Producer as _;
use rdkafka::types::RDKafkaErrorCode;
use shop_config::Kafka;
use shop_events::{BusError, Topic};

use crate::availability::{Availability, Producer};
use crate::wire::DEAD_LETTERS;

/// How long a broker may take to answer.
const ANSWER: Duration = Duration::from_secs(5);

/// Dead letters wait for a person: 30 days, in milliseconds.
const DEAD_LETTERS_KEPT: &str = "2592000000";

/// Every topic of the suite and its dead-letter topic, as named on this bus.
fn names(prefix: &str) -> Vec<String> {
    Topic::ALL
        .iter()
        .flat_map(|topic| {
            [String::new(), DEAD_LETTERS.to_owned()].map(|end| format!("{prefix}{}{end}", topic.as_str()))
        })
        .collect()
}

/// Makes the topics that do not exist. Another process may be doing the same.
pub(crate) async fn ensure(
    producer: &Producer,
    client: &ClientConfig,
    settings: &Kafka,
    availability: &Availability,
) -> Result<(), BusError> {
    let present = present(producer).await?;
    availability.found();
    let missing: Vec<_> = names(&settings.topic_prefix).into_iter().filter(|name| !present.contains(name)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let admin: AdminClient<Availability> =
        AdminClient::from_config_and_context(client, availability.clone()).map_err(BusError::new)?;
    let wanted: Vec<_> = missing.iter().map(|name| new_topic(name, settings)).collect();
    let options = AdminOptions::new().request_timeout(Some(ANSWER)).operation_timeout(Some(ANSWER));
    for made in admin.create_topics(&wanted, &options).await.map_err(BusError::new)? {
        match made {
            Ok(name) => tracing::info!(topic = %name, "made the topic"),
            Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((name, error)) => return Err(BusError::new(format!("could not make the topic {name}: {error}"))),
        }
    }
    Ok(())
}

fn new_topic<'a>(name: &'a str, settings: &Kafka) -> NewTopic<'a> {
    let topic = NewTopic::new(name, settings.partitions, TopicReplication::Fixed(settings.replication));
    if name.ends_with(DEAD_LETTERS) { topic.set("retention.ms", DEAD_LETTERS_KEPT) } else { topic }
}

/// The topics there are. All are asked for: to ask for one by name may make it, with the broker's defaults.
async fn present(producer: &Producer) -> Result<HashSet<String>, BusError> {
    let producer = producer.clone();
    let names = tokio::task::spawn_blocking(move || {
        let metadata = producer.client().fetch_metadata(None, ANSWER)?;
        Ok::<_, rdkafka::error::KafkaError>(metadata.topics().iter().map(|topic| topic.name().to_owned()).collect())
    });
    names.await.map_err(BusError::new)?.map_err(BusError::new)
}
