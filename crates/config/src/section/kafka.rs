//! The event bus.

use serde::{Deserialize, Serialize};

use crate::{Duration, Problems, Var};

/// Apache Kafka.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Kafka {
    /// Brokers to start from, as `host:port`.
    pub brokers: Vec<String>,
    /// Put before every topic's name, so that installations can share a cluster.
    pub topic_prefix: String,
    /// Put before every consumer group's name.
    pub group_prefix: String,
    /// How the brokers' logs name this client; the service's name when empty.
    pub client_id: String,
    /// Partitions of a topic this process has to create.
    pub partitions: i32,
    /// Replicas of a topic this process has to create; -1 takes the brokers' default. Existing topics with fewer are warned
    /// about.
    pub replication: i32,
    /// Replicas that must have an event before it counts as published (`min.insync.replicas`), for a topic this process has to
    /// create; -1 is one less than `replication`, where that is more than two, and else the brokers' default. Existing topics
    /// with less are warned about.
    pub min_insync_replicas: i32,
    /// How long a topic this process has to create keeps events. A service that is away for longer misses some; existing
    /// topics that keep them for less are warned about.
    pub retention: Duration,
    /// Longest wait for a broker to take an event before the relay tries it anew.
    pub message_timeout: Duration,
    /// How long a silent consumer keeps its partitions.
    pub session_timeout: Duration,
}

impl Default for Kafka {
    fn default() -> Self {
        Self {
            brokers: vec!["localhost:9092".to_owned()],
            topic_prefix: String::new(),
            group_prefix: String::new(),
            client_id: String::new(),
            partitions: 3,
            replication: -1,
            min_insync_replicas: -1,
            // Kafka's own default: a long weekend, and what follows it.
            retention: Duration::secs(7 * 24 * 3600),
            message_timeout: Duration::secs(10),
            session_timeout: Duration::secs(10),
        }
    }
}

impl Kafka {
    /// The variables of this section, when it is at the top level.
    pub fn vars() -> [Var; 1] {
        [Var::new("KAFKA_BROKERS", "kafka.brokers", "Kafka brokers, host:port, separated by commas")]
    }

    /// Refuses an empty or malformed broker list. `section` is the dotted key of this section.
    pub fn check(&self, section: &'static str, problems: &mut Problems) {
        let dialable = |broker: &String| {
            broker
                .rsplit_once(':')
                .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|p| p > 0))
        };
        let name = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
        problems.within(section, |p| {
            p.ensure(
                !self.brokers.is_empty() && self.brokers.iter().all(dialable),
                "brokers",
                "use a list of host:port, such as kafka-1:9092,kafka-2:9092",
            );
            let letters = "use letters, digits, dots, dashes and underscores only";
            p.ensure(name(&self.topic_prefix), "topic_prefix", letters);
            p.ensure(name(&self.group_prefix), "group_prefix", letters);
            p.ensure(self.partitions > 0, "partitions", "use at least 1");
            p.ensure(
                self.replication == -1 || self.replication > 0,
                "replication",
                "use at least 1, or -1 for the brokers' default",
            );
            let most = if self.replication == -1 { i32::MAX } else { self.replication };
            p.ensure(
                self.min_insync_replicas == -1 || (1..=most).contains(&self.min_insync_replicas),
                "min_insync_replicas",
                "use 1 up to replication, or -1 for one less than that; as many as replication stops events with one broker",
            );
            p.ensure(!self.retention.is_zero(), "retention", "must be more than 0");
            p.ensure(!self.message_timeout.is_zero(), "message_timeout", "must be more than 0");
            p.ensure(!self.session_timeout.is_zero(), "session_timeout", "must be more than 0");
        });
    }
}
