//! Three brokers that encrypt and want a login, events under way all the time, and brokers that go and come.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use shop_config::{GroupProtocol, Kafka};
use shop_testing::backend::{Cluster, Listener};

use crate::load::{Group, Ledger, Publishing};
use crate::place::TURN;
use crate::secure::good;

const TOPIC: &str = "cluster.stock-events";

fn settings(cluster: &Cluster) -> Kafka {
    Kafka { replication: 3, ..good(cluster, Listener::Secure, "cluster.") }
}

fn plain(cluster: &Cluster) -> ClientConfig {
    ClientConfig::new().set("bootstrap.servers", cluster.at(Listener::Plaintext).join(",")).clone()
}

/// Which broker leads the topic's first partition.
async fn leader(cluster: &Cluster) -> usize {
    let client: BaseConsumer = plain(cluster).create().expect("a client");
    let asked = tokio::task::spawn_blocking(move || client.fetch_metadata(Some(TOPIC), Duration::from_secs(10)));
    let metadata = asked.await.expect("it ends").expect("metadata");
    usize::try_from(metadata.topics()[0].partitions()[0].leader()).expect("there is one")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_is_killed_and_partitions_are_added_and_every_event_takes_effect_once_in_order() {
    let _turn = TURN.lock().await;
    let Some(cluster) = Cluster::start(3).await else { return };
    let (settings, ledger) = (settings(&cluster), Arc::new(Ledger::default()));
    let mut group = Group::of(&settings, &ledger, 2);
    let publishing = Publishing::start(group.first(), &BTreeMap::new());
    group.goes_on().await;
    let killed = leader(&cluster).await;
    cluster.kill(killed).await;
    group.goes_on().await;
    // One comes and one goes, in the middle of what they do.
    group.join(&settings);
    group.goes_on().await;
    group.leave().await;
    cluster.resume(killed).await;
    group.goes_on().await;
    let last = publishing.stop().await;
    group.has_all(&last).await;

    // Partitions are added while nothing is under way, then the processes start anew: see docs/operations.md.
    group.stop().await;
    let admin: AdminClient<DefaultClientContext> = plain(&cluster).create().expect("a client");
    let doubled = admin.create_partitions(&[NewPartitions::new(TOPIC, 6)], &AdminOptions::new()).await;
    doubled.expect("is told").remove(0).expect("are added");
    let (mut last, mut rounds) = (last, 0);
    // Who starts at once may still hear of three, from a broker that was not told yet.
    while written(&cluster, 3..6).await == 0 {
        rounds += 1;
        assert!(rounds <= 5, "nothing gets into the new partitions");
        let group = Group::of(&settings, &ledger, 2);
        let publishing = Publishing::start(group.first(), &last);
        group.goes_on().await;
        last = publishing.stop().await;
        group.has_all(&last).await;
        group.stop().await;
    }
}

/// How many messages partitions have.
async fn written(cluster: &Cluster, partitions: std::ops::Range<i32>) -> i64 {
    let client: BaseConsumer = plain(cluster).create().expect("a client");
    let asked = tokio::task::spawn_blocking(move || {
        // One that has no leader yet has nothing.
        partitions.map(|id| client.fetch_watermarks(TOPIC, id, Duration::from_secs(10)).map_or(0, |(_, end)| end)).sum()
    });
    asked.await.expect("it ends")
}

/// Each broker is stopped in order and started again under load, and one of them killed; members keep their names.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes: make kafka-roll"]
async fn all_brokers_are_rolled_and_every_event_takes_effect_once_in_order() {
    let Some(cluster) = Cluster::start(3).await else { return };
    let settings = Kafka { group_instance_id: "named".to_owned(), ..settings(&cluster) };
    roll(&cluster, &settings).await;
}

/// The same with groups that the brokers share out, which Kafka 4.0 and newer do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "wants Kafka 4, takes minutes: make kafka-roll"]
async fn groups_of_the_brokers_are_rolled_through_and_every_event_takes_effect_once_in_order() {
    let Some(cluster) = Cluster::start(3).await else { return };
    let settings = Kafka { group_protocol: GroupProtocol::Consumer, ..settings(&cluster) };
    roll(&cluster, &settings).await;
}

async fn roll(cluster: &Cluster, settings: &Kafka) {
    let ledger = Arc::new(Ledger::default());
    let mut group = Group::of(settings, &ledger, 2);
    let publishing = Publishing::start(group.first(), &BTreeMap::new());
    group.goes_on().await;
    for broker in 1..=3 {
        cluster.stop(broker).await;
        group.goes_on().await;
        cluster.resume(broker).await;
        group.goes_on().await;
    }
    for _ in 0..2 {
        let killed = leader(cluster).await;
        cluster.kill(killed).await;
        group.goes_on().await;
        let id = if settings.group_instance_id.is_empty() { String::new() } else { "member-9".to_owned() };
        group.join(&Kafka { group_instance_id: id, ..settings.clone() });
        group.goes_on().await;
        // One with a name leaves without a word: its partitions wait for the end of its session.
        group.leave_last().await;
        cluster.resume(killed).await;
        group.goes_on().await;
    }
    let last = publishing.stop().await;
    group.has_all(&last).await;
    group.stop().await;
    assert!(last.values().all(|last| *last > 100), "{last:?}");
}
