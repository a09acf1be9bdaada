//! Brokers that encrypt and want a login, and what is said when they and this side do not understand each other.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use shop_config::{Kafka, KafkaTls, Sasl, SaslMechanism, Secret, SecurityProtocol};
use shop_events::Bus;
use shop_kafka::KafkaBus;
use shop_telemetry::Metrics;
use shop_testing::backend::{Cluster, Listener};
use shop_testing::eventually;

use crate::handler::{Notebook, event};
use crate::place::{Consuming, TURN, bus, publish, settings};

const LONG: Duration = Duration::from_mins(1);

/// Settings for a cluster's listener, with all that it wants.
pub(crate) fn good(cluster: &Cluster, listener: Listener, prefix: &str) -> Kafka {
    let (security_protocol, mechanism) = match listener {
        Listener::Plaintext => (SecurityProtocol::Plaintext, SaslMechanism::default()),
        Listener::Secure => (SecurityProtocol::SaslSsl, SaslMechanism::ScramSha512),
        Listener::Mutual => (SecurityProtocol::Ssl, SaslMechanism::default()),
        Listener::Clear => (SecurityProtocol::SaslPlaintext, SaslMechanism::Plain),
        Listener::Oauth => (SecurityProtocol::SaslSsl, SaslMechanism::OauthBearer),
    };
    let mutual = |name| Some(cluster.file(name)).filter(|_| listener == Listener::Mutual);
    Kafka {
        security_protocol,
        tls: Box::new(KafkaTls {
            ca_file: Some(cluster.file("ca.pem")),
            cert_file: mutual("client.pem"),
            key_file: mutual("client.key"),
            key_password: Secret::default(),
        }),
        sasl: Box::new(Sasl {
            mechanism,
            username: "shop".to_owned(),
            password: Secret::from(cluster.password()),
            ..Sasl::default()
        }),
        ..settings(&cluster.at(listener).join(","), prefix)
    }
}

fn open(settings: &Kafka) -> Arc<KafkaBus> {
    bus(settings, &Metrics::new("test"))
}

#[tokio::test]
async fn brokers_are_spoken_to_as_they_want_it_and_what_is_wrong_is_said_by_its_setting() {
    let _turn = TURN.lock().await;
    let Some(cluster) = Cluster::start(1).await else { return };
    understood(&cluster).await;
    misunderstood(&cluster).await;
    left_out(&cluster).await;
}

/// Two processes that have one name.
async fn left_out(cluster: &Cluster) {
    let named = Kafka { group_instance_id: "till".to_owned(), ..good(cluster, Listener::Secure, "f.") };
    let (one, other) = (open(&named), open(&named));
    let first = Consuming::start(&one, "one", &Notebook::new());
    let second = Consuming::start(&other, "one", &Notebook::new());
    eventually!(within LONG, {
        let said = [one.check().await, other.check().await].map(|said| said.err().map(|error| error.to_string()));
        let told = said.iter().flatten().any(|said| said.starts_with("another process has kafka.group_instance_id = till"));
        if told { Ok(()) } else { Err(said) }
    });
    first.stop().await;
    second.stop().await;
}

async fn understood(cluster: &Cluster) {
    let mut scram_256 = good(cluster, Listener::Secure, "b.");
    scram_256.sasl.mechanism = SaslMechanism::ScramSha256;
    let ways = [
        good(cluster, Listener::Secure, "a."),
        scram_256,
        good(cluster, Listener::Mutual, "c."),
        good(cluster, Listener::Clear, "d."),
    ];
    join_all(ways.iter().map(|settings| async move {
        let (bus, handler) = (open(settings), Notebook::new());
        let consumer = Consuming::start(&bus, "one", &handler);
        eventually!(within LONG, bus.publish(&event(1, 1).encode()).await);
        publish(&bus, 1, [2, 3]).await;
        eventually!(within LONG, handler.quantities(1).last() == Some(&3));
        bus.check().await.expect("the cluster is there");
        consumer.stop().await;
    }))
    .await;
}

async fn misunderstood(cluster: &Cluster) {
    let with = |listener, change: &dyn Fn(&mut Kafka)| {
        let mut settings = good(cluster, listener, "e.");
        change(&mut settings);
        settings
    };
    let protocol = |protocol| move |settings: &mut Kafka| settings.security_protocol = protocol;
    let cases = [
        (
            with(Listener::Secure, &|it| it.sasl.password = Secret::from("wrong")),
            "refuses the user shop or its password: look at kafka.sasl.username",
        ),
        (
            with(Listener::Clear, &|it| it.sasl.password = Secret::from("wrong")),
            "refuses the user shop or its password",
        ),
        (
            with(Listener::Secure, &|it| it.sasl.mechanism = SaslMechanism::Plain),
            "does not take kafka.sasl.mechanism = PLAIN: it takes SCRAM-SHA-",
        ),
        (
            with(Listener::Secure, &|it| it.tls.ca_file = Some(cluster.file("stranger-ca.pem"))),
            "is not from an authority in kafka.tls.ca_file",
        ),
        (with(Listener::Secure, &|it| it.tls.ca_file = None), "is not from an authority that this machine knows"),
        (
            with(Listener::Secure, &|it| {
                it.brokers = it.brokers.iter().map(|at| at.replace("127.0.0.1", "localhost")).collect();
            }),
            "is not for localhost: name the broker in kafka.brokers",
        ),
        (with(Listener::Plaintext, &protocol(SecurityProtocol::Ssl)), "does not speak TLS there"),
        (with(Listener::Plaintext, &protocol(SecurityProtocol::SaslSsl)), "kafka.security_protocol to sasl_plaintext"),
        (
            with(Listener::Secure, &protocol(SecurityProtocol::Plaintext)),
            "speaks TLS there: set kafka.security_protocol to ssl",
        ),
        (with(Listener::Secure, &protocol(SecurityProtocol::SaslPlaintext)), "set kafka.security_protocol to sasl_ssl"),
        (with(Listener::Secure, &protocol(SecurityProtocol::Ssl)), "hangs up on who does not log in"),
        (
            with(Listener::Clear, &protocol(SecurityProtocol::Plaintext)),
            "set kafka.security_protocol to sasl_plaintext",
        ),
        (
            with(Listener::Mutual, &|it| (it.tls.cert_file, it.tls.key_file) = (None, None)),
            "wants a certificate of this process: name it in kafka.tls.cert_file",
        ),
        (
            with(Listener::Mutual, &|it| {
                it.tls.cert_file = Some(cluster.file("stranger.pem"));
                it.tls.key_file = Some(cluster.file("stranger.key"));
            }),
            "does not take the certificate of kafka.tls.cert_file",
        ),
    ];
    let unsaid = join_all(cases.iter().map(|(settings, expected)| async move {
        let bus = open(settings);
        let asked = tokio::time::Instant::now();
        loop {
            let said = bus.check().await.expect_err("they do not understand each other").to_string();
            if said.contains(expected) {
                return None;
            }
            if asked.elapsed() > LONG {
                return Some(format!("{expected}: {said}"));
            }
        }
    }));
    let unsaid: Vec<_> = unsaid.await.into_iter().flatten().collect();
    assert_eq!(unsaid, Vec::<String>::new());
}
