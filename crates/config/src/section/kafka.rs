//! The event bus.

mod oauth;
mod pem;
mod security;

use serde::{Deserialize, Serialize};

pub use oauth::SaslOauth;
pub use security::{KafkaTls, Sasl, SaslMechanism, SecurityProtocol};

use crate::{Duration, Problems, Var};

/// Apache Kafka.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Kafka {
    /// Brokers to start from, as `host:port`.
    pub brokers: Vec<String>,
    /// What their listeners speak.
    pub security_protocol: SecurityProtocol,
    /// How connections are encrypted, with `ssl` and `sasl_ssl`. (Boxed as the next one: `shop` has five of these settings.)
    pub tls: Box<KafkaTls>,
    /// As whom to log in, with `sasl_ssl` and `sasl_plaintext`.
    pub sasl: Box<Sasl>,
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
    /// How long a silent consumer keeps its partitions, with the classic protocol; with the other one the brokers decide.
    pub session_timeout: Duration,
    /// How consumers share out partitions.
    pub group_protocol: GroupProtocol,
    /// Names this process among those of its groups, for good (`group.instance.id`): one that is back within
    /// `session_timeout` has the partitions it had, and nobody else stops meanwhile. No two processes may have the same.
    /// Empty for a member that is new with every start.
    pub group_instance_id: String,
}

/// Who shares out a group's partitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GroupProtocol {
    /// One of its consumers, each time that one comes or goes. Every broker knows it.
    #[default]
    Classic,
    /// The brokers, from Kafka 4.0 on (KIP-848): a change concerns only those that get or give something.
    Consumer,
}

impl GroupProtocol {
    /// As clients' `group.protocol`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Classic => "classic",
            Self::Consumer => "consumer",
        }
    }
}

impl Default for Kafka {
    fn default() -> Self {
        Self {
            brokers: vec!["localhost:9092".to_owned()],
            security_protocol: SecurityProtocol::default(),
            tls: Box::default(),
            sasl: Box::default(),
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
            group_protocol: GroupProtocol::default(),
            group_instance_id: String::new(),
        }
    }
}

impl Kafka {
    /// The longest that topics may keep events. Whoever lost its place in a topic reads all of it once more, and what took effect
    /// must still be known then: for 45 days, of which Kafka has a week to delete what is old enough.
    pub const LONGEST_RETENTION: std::time::Duration = std::time::Duration::from_hours(30 * 24);

    /// The variables of this section, when it is at the top level.
    pub fn vars() -> [Var; 16] {
        [
            Var::new("KAFKA_BROKERS", "kafka.brokers", "Kafka brokers, host:port, separated by commas"),
            Var::new(
                "KAFKA_SECURITY_PROTOCOL",
                "kafka.security_protocol",
                "what they speak: plaintext, ssl, sasl_plaintext or sasl_ssl",
            ),
            Var::new("KAFKA_TLS_CA_FILE", "kafka.tls.ca_file", "authorities of the brokers' certificates, PEM"),
            Var::new("KAFKA_TLS_CERT_FILE", "kafka.tls.cert_file", "certificate to show to brokers, PEM"),
            Var::new("KAFKA_TLS_KEY_FILE", "kafka.tls.key_file", "its private key, PEM"),
            Var::new(
                "KAFKA_SASL_MECHANISM",
                "kafka.sasl.mechanism",
                "PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER",
            ),
            Var::new("KAFKA_SASL_USERNAME", "kafka.sasl.username", "user to log in to the brokers as"),
            Var::new("KAFKA_SASL_PASSWORD", "kafka.sasl.password", "password of that user"),
            Var::new(
                "KAFKA_SASL_OAUTH_TOKEN_URL",
                "kafka.sasl.oauth.token_url",
                "where tokens for OAUTHBEARER are given",
            ),
            Var::new("KAFKA_SASL_OAUTH_CLIENT_ID", "kafka.sasl.oauth.client_id", "who asks for them there"),
            Var::new("KAFKA_SASL_OAUTH_CLIENT_SECRET", "kafka.sasl.oauth.client_secret", "secret of that client"),
            Var::new("KAFKA_SASL_OAUTH_SCOPE", "kafka.sasl.oauth.scope", "what to ask for, spaces between"),
            Var::new("KAFKA_SASL_OAUTH_AUDIENCE", "kafka.sasl.oauth.audience", "whom the tokens are to be for"),
            Var::new(
                "KAFKA_SASL_OAUTH_CA_FILE",
                "kafka.sasl.oauth.ca_file",
                "authorities of that endpoint's certificate, PEM",
            ),
            Var::new("KAFKA_SASL_OAUTH_TOKEN_FILE", "kafka.sasl.oauth.token_file", "a file with the token instead"),
            Var::new(
                "KAFKA_GROUP_INSTANCE_ID",
                "kafka.group_instance_id",
                "name of this process that its consumer groups keep over a restart",
            ),
        ]
    }

    /// Refuses a malformed broker list, and what no broker could be spoken to with. `section` is the dotted key of this section.
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
            self.tls.check(self.security_protocol, p);
            self.sasl.check(self.security_protocol, p);
            let letters = "use letters, digits, dots, dashes and underscores only";
            p.ensure(name(&self.topic_prefix), "topic_prefix", letters);
            p.ensure(name(&self.group_prefix), "group_prefix", letters);
            p.ensure(name(&self.group_instance_id), "group_instance_id", letters);
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
            p.ensure(
                self.retention.get() <= Self::LONGEST_RETENTION,
                "retention",
                "use 30 days (2592000) at most: what an event did is known for 45, and it would be done once more after that",
            );
            p.ensure(!self.message_timeout.is_zero(), "message_timeout", "must be more than 0");
            p.ensure(!self.session_timeout.is_zero(), "session_timeout", "must be more than 0");
            if self.group_protocol == GroupProtocol::Consumer {
                let message = "has no effect with group_protocol = consumer: the brokers' group.consumer.session.timeout.ms has";
                p.useless("session_timeout", message);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::SecurityProtocol::{Plaintext, SaslPlaintext, SaslSsl, Ssl};
    use super::*;
    use crate::Secret;

    /// What is said of settings, keys alone: what is wrong, and what has no effect.
    fn said(kafka: &Kafka) -> (Vec<String>, Vec<String>) {
        let mut problems = Problems::default();
        kafka.check("kafka", &mut problems);
        let (wrong, useless) = problems.into_lists();
        let keys = |list: Vec<crate::Problem>| list.into_iter().map(|problem| problem.key).collect();
        (keys(wrong), keys(useless))
    }

    #[test]
    fn what_a_protocol_needs_has_to_be_there_and_what_it_does_not_has_no_effect() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = |name: &str, text: &str| -> Option<PathBuf> {
            let path = folder.path().join(name);
            std::fs::write(&path, text).expect("writes");
            Some(path)
        };
        let certificate = file("cert.pem", "-----BEGIN CERTIFICATE-----");
        let key = file("key.pem", "-----BEGIN PRIVATE KEY-----");
        let locked = file("locked.pem", "-----BEGIN ENCRYPTED PRIVATE KEY-----");
        let missing = Some(folder.path().join("none.pem"));
        let pair = |cert_file: &Option<PathBuf>, key_file: &Option<PathBuf>, key_password: &str| KafkaTls {
            ca_file: certificate.clone(),
            cert_file: cert_file.clone(),
            key_file: key_file.clone(),
            key_password: Secret::from(key_password),
        };
        let user = |username: &str, password: &str| Sasl {
            username: username.to_owned(),
            password: Secret::from(password),
            ..Sasl::default()
        };
        let none = (KafkaTls::default, Sasl::default);
        for (security_protocol, tls, sasl, wrong, useless) in [
            (Plaintext, none.0(), none.1(), vec![], vec!["kafka.tls", "kafka.sasl"]),
            (Ssl, none.0(), none.1(), vec![], vec!["kafka.sasl"]),
            (Ssl, pair(&certificate, &key, ""), none.1(), vec![], vec!["kafka.sasl"]),
            (Ssl, pair(&certificate, &None, ""), none.1(), vec!["kafka.tls.key_file"], vec!["kafka.sasl"]),
            (Ssl, pair(&None, &key, ""), none.1(), vec!["kafka.tls.cert_file"], vec!["kafka.sasl"]),
            (
                Ssl,
                pair(&key, &missing, ""),
                none.1(),
                vec!["kafka.tls.cert_file", "kafka.tls.key_file"],
                vec!["kafka.sasl"],
            ),
            (Ssl, pair(&certificate, &locked, ""), none.1(), vec!["kafka.tls.key_password"], vec!["kafka.sasl"]),
            (SaslSsl, pair(&certificate, &locked, "open"), user("shop", "secret"), vec![], vec!["kafka.sasl.oauth"]),
            (SaslSsl, none.0(), none.1(), vec!["kafka.sasl.username", "kafka.sasl.password"], vec!["kafka.sasl.oauth"]),
            (
                SaslPlaintext,
                none.0(),
                user("shop", ""),
                vec!["kafka.sasl.password"],
                vec!["kafka.tls", "kafka.sasl.oauth"],
            ),
        ] {
            let kafka = Kafka { security_protocol, tls: Box::new(tls), sasl: Box::new(sasl), ..Kafka::default() };
            assert_eq!(said(&kafka), (owned(&wrong), owned(&useless)), "{kafka:?}");
        }
    }

    #[test]
    fn a_token_has_one_origin_and_what_that_needs() {
        let folder = tempfile::tempdir().expect("a folder");
        let token = folder.path().join("token");
        std::fs::write(&token, "a.b.c").expect("writes");
        let (file, missing) = (Some(token), Some(folder.path().join("none")));
        let asked = |token_url: &str| SaslOauth {
            token_url: token_url.to_owned(),
            client_id: "shop".to_owned(),
            client_secret: Secret::from("secret"),
            ..SaslOauth::default()
        };
        let at = |keys: &[&str]| keys.iter().map(|key| format!("kafka.sasl.oauth.{key}")).collect::<Vec<_>>();
        let of_client = ["client_id", "client_secret", "scope", "audience", "ca_file"];
        for (oauth, wrong, useless) in [
            (SaslOauth::default(), &["token_url", "client_id", "client_secret"][..], &[][..]),
            (asked("https://id.example/token"), &[], &[]),
            (asked("http://127.0.0.1:1/token"), &[], &["ca_file"]),
            (asked("http://id.example/token"), &["token_url"], &["ca_file"]),
            (SaslOauth { ca_file: missing.clone(), ..asked("https://id.example/token") }, &["ca_file"], &[]),
            (SaslOauth { token_file: file.clone(), ..SaslOauth::default() }, &[], &of_client),
            (SaslOauth { token_file: missing, ..SaslOauth::default() }, &["token_file"], &of_client),
            (SaslOauth { token_file: file, ..asked("https://id.example/token") }, &["token_file"], &of_client),
        ] {
            let sasl = Sasl { mechanism: SaslMechanism::OauthBearer, oauth, ..Sasl::default() };
            let kafka = Kafka { security_protocol: SaslSsl, sasl: Box::new(sasl), ..Kafka::default() };
            let mut useless = at(useless);
            useless.extend(owned(&["kafka.sasl.username", "kafka.sasl.password"]));
            assert_eq!(said(&kafka), (at(wrong), useless), "{kafka:?}");
        }
    }

    #[test]
    fn events_are_kept_for_less_than_what_they_did_is_known() {
        let kept = |seconds| Kafka { retention: Duration::secs(seconds), ..Kafka::default() };
        assert_eq!(said(&kept(30 * 86_400)).0, owned(&[]));
        assert_eq!(said(&kept(30 * 86_400 + 1)).0, owned(&["kafka.retention"]));
    }

    #[test]
    fn brokers_that_share_out_partitions_decide_when_a_consumer_is_gone() {
        let kafka = Kafka { group_protocol: GroupProtocol::Consumer, ..Kafka::default() };
        assert_eq!(said(&kafka).1, owned(&["kafka.tls", "kafka.sasl", "kafka.session_timeout"]));
        let kafka = Kafka { group_instance_id: "a b".to_owned(), ..Kafka::default() };
        assert_eq!(said(&kafka).0, owned(&["kafka.group_instance_id"]));
    }

    #[test]
    fn protocols_and_mechanisms_are_read_as_kafka_writes_them_and_in_small_letters() {
        let protocol = |text: &str| serde_json::from_str::<SecurityProtocol>(&format!("\"{text}\"")).expect(text);
        for (one, other) in
            [("plaintext", "PLAINTEXT"), ("ssl", "SSL"), ("sasl_plaintext", "SASL_PLAINTEXT"), ("sasl_ssl", "SASL_SSL")]
        {
            assert_eq!((protocol(one).as_str(), protocol(other).as_str()), (one, one));
        }
        let mechanism = |text: &str| serde_json::from_str::<SaslMechanism>(&format!("\"{text}\"")).expect(text);
        for name in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] {
            assert_eq!((mechanism(name).as_str(), mechanism(&name.to_ascii_lowercase()).as_str()), (name, name));
        }
    }

    fn owned(keys: &[&str]) -> Vec<String> {
        keys.iter().map(|key| (*key).to_owned()).collect()
    }
}
