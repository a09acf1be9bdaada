//! Brokers that want a token of a real provider's: where it comes from, that the next one is there in time, and what is said and
//! done when none comes or it is not taken.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use shop_config::{Kafka, SaslOauth, Secret};
use shop_events::{Bus as _, Letters as _};
use shop_telemetry::Metrics;
use shop_testing::backend::{self, Cluster, Listener};
use shop_testing::certificates::Folder;
use shop_testing::eventually;

use crate::endpoint::{CLIENT, Endpoint, Mood, SECRET, token};
use crate::handler::{Notebook, POISON, event};
use crate::load::{Group, Ledger, Publishing};
use crate::place::{Consuming, TURN, bus, publish};
use crate::secure::good;

const LONG: Duration = Duration::from_mins(1);

/// Settings that ask `endpoint` for tokens for `audience`.
fn asking(cluster: &Cluster, endpoint: &Endpoint, audience: &str, prefix: &str) -> Kafka {
    let mut settings = good(cluster, Listener::Oauth, prefix);
    settings.sasl.oauth = SaslOauth {
        token_url: endpoint.url(),
        client_id: CLIENT.to_owned(),
        client_secret: Secret::from(SECRET),
        audience: audience.to_owned(),
        ca_file: Some(endpoint.ca_file()),
        ..SaslOauth::default()
    };
    settings
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn brokers_are_shown_tokens_that_live_and_who_has_none_waits_and_says_why() {
    let _turn = TURN.lock().await;
    let Some(issuer) = backend::oidc() else { return };
    let Some(cluster) = Cluster::start_with_tokens_of(&issuer, 1).await else { return };
    understood(&cluster, &issuer).await;
    misunderstood(&cluster, &issuer).await;
    replaced(&cluster, &issuer).await;
    renewed(&cluster, &issuer).await;
}

/// Events go through, and dead letters are read.
async fn understood(cluster: &Cluster, issuer: &str) {
    let endpoint = Endpoint::start(issuer, Mood::Honest).await;
    let settings = asking(cluster, &endpoint, "kafka", "a.");
    let (bus, handler) = (bus(&settings, &Metrics::new("test")), Notebook::new());
    let consumer = Consuming::start(&bus, "one", &handler);
    eventually!(within LONG, bus.publish(&event(1, 1).encode()).await);
    publish(&bus, 1, [2, POISON, 3]).await;
    eventually!(within LONG, handler.quantities(1).last() == Some(&3));
    bus.check().await.expect("the cluster is there");
    eventually!(within LONG, bus.letters(&["one"]).read().await.is_ok_and(|letters| letters.len() == 1));
    consumer.stop().await;
    assert_eq!(endpoint.given(), 1, "one token is for all clients");
}

/// What is in the way is said by its setting, and is over when it is mended.
async fn misunderstood(cluster: &Cluster, issuer: &str) {
    let cases = [
        (Mood::Away, "kafka.sasl.oauth.token_url https://127.0.0.1:"),
        (
            Mood::Mistaken,
            "or its secret: look at kafka.sasl.oauth.client_id and kafka.sasl.oauth.client_secret (it answered 401",
        ),
        (
            Mood::Astray,
            "refuses the token that kafka.sasl.oauth.token_url gives to the client shop-kafka: look at kafka.sasl.oauth.audience",
        ),
    ];
    join_all(cases.iter().zip(["b.", "c.", "d."]).map(|((mood, expected), prefix)| async move {
        let endpoint = Endpoint::start(issuer, *mood).await;
        let settings = asking(cluster, &endpoint, "kafka", prefix);
        let (bus, handler) = (bus(&settings, &Metrics::new("test")), Notebook::new());
        let consumer = Consuming::start(&bus, "one", &handler);
        eventually!(within LONG, {
            let said = bus.check().await.expect_err("brokers take nobody without a token").to_string();
            if said.contains(expected) && !said.contains(SECRET) { Ok(()) } else { Err(said) }
        });
        bus.publish(&event(1, 1).encode()).await.expect_err("it waits in its outbox");
        endpoint.set(Mood::Honest);
        eventually!(within LONG, bus.publish(&event(1, 1).encode()).await);
        eventually!(within LONG, handler.quantities(1).contains(&1));
        eventually!(within LONG, bus.check().await);
        consumer.stop().await;
    }))
    .await;
}

/// A token of a file's: none yet, one for others, a good one.
async fn replaced(cluster: &Cluster, issuer: &str) {
    let folder = Folder::new();
    let mut settings = good(cluster, Listener::Oauth, "e.");
    settings.sasl.oauth = SaslOauth { token_file: Some(folder.path().join("token")), ..SaslOauth::default() };
    let (bus, handler) = (bus(&settings, &Metrics::new("test")), Notebook::new());
    let consumer = Consuming::start(&bus, "one", &handler);
    let says = async |expected: &str| {
        eventually!(within LONG, {
            let said = bus.check().await.expect_err("brokers take nobody without a token").to_string();
            if said.contains("kafka.sasl.oauth.token_file") && said.contains(expected) { Ok(()) } else { Err(said) }
        });
    };
    says("cannot be read").await;
    folder.put("token", "opaque");
    says("does not say how long it lives").await;
    folder.put("token", &token(issuer, "somebody").await);
    says("refuses the token in").await;
    folder.put("token", &format!("{}\n", token(issuer, "kafka").await));
    eventually!(within LONG, bus.publish(&event(1, 1).encode()).await);
    eventually!(within LONG, handler.quantities(1).contains(&1));
    consumer.stop().await;
}

/// Tokens of some seconds, under load; the endpoint may be away for longer than one lives.
async fn renewed(cluster: &Cluster, issuer: &str) {
    let endpoint = Endpoint::start(issuer, Mood::Honest).await;
    let settings = asking(cluster, &endpoint, "kafka/6", "f.");
    let ledger = Arc::new(Ledger::default());
    let group = Group::of(&settings, &ledger, 2);
    let publishing = Publishing::start(group.first(), &BTreeMap::new());
    group.goes_on().await;
    // Both processes have some each.
    let then = endpoint.given();
    eventually!(within LONG, endpoint.given() >= then + 8);
    group.goes_on().await;
    endpoint.set(Mood::Silent);
    let silent = Instant::now();
    eventually!(within LONG, group.first().check().await.is_err_and(|said| said.to_string().contains("token_url")));
    assert!(silent.elapsed() > Duration::from_secs(1), "a token lives on while there is no new one");
    endpoint.set(Mood::Honest);
    group.goes_on().await;
    let last = publishing.stop().await;
    group.has_all(&last).await;
    group.stop().await;
}

#[tokio::test]
async fn who_waits_for_a_token_stops_at_once() {
    let folder = Folder::new();
    let mut settings = crate::place::settings("127.0.0.1:1", "");
    settings.security_protocol = shop_config::SecurityProtocol::SaslSsl;
    settings.sasl.mechanism = shop_config::SaslMechanism::OauthBearer;
    settings.sasl.oauth = SaslOauth { token_file: Some(folder.path().join("token")), ..SaslOauth::default() };
    let bus = bus(&settings, &Metrics::new("test"));
    let consumer = Consuming::start(&bus, "one", &Notebook::new());
    eventually!({
        let said = bus.check().await.expect_err("nobody is there").to_string();
        if said.contains("token_file") { Ok(()) } else { Err(said) }
    });
    let begun = Instant::now();
    consumer.stop().await;
    drop(bus);
    assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
}
