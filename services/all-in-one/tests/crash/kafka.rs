//! Kafka dies for half a minute while people buy: no call fails for it, and every event arrives once it is back.

use std::time::Duration;

use shop_testing::{backend, eventually};

use crate::buyers::Plan;
use crate::chance::Chance;
use crate::world::World;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kafka_gone_for_thirty_seconds_under_load() {
    let Some(kafka) = backend::Own::start("kafka").await else { return };
    let brokers = kafka.variable("SHOP_TEST_KAFKA_BROKERS").to_owned();
    let Some(mut world) = World::on_kafka("payment-service", &brokers, "outage.").await else { return };
    let mut chance = Chance::from_environment("kafka gone");
    world.start(None).await;
    let before = Plan::make("before", &world, &mut chance).await;
    before.carry_out(&world.apis()).await;

    kafka.kill().await;
    let outage = tokio::time::Instant::now();
    let during = Plan::make("during", &world, &mut chance).await;
    during.carry_out(&world.apis()).await;
    eventually!(within Duration::from_secs(20), world.apis().outbox_is_empty().await.is_err());
    // Not a wait for something to happen: the length of the outage is what is being tested.
    tokio::time::sleep_until(outage + Duration::from_secs(30)).await;
    kafka.resume().await;

    before.and(during).balance(&world).await;
    world.stop().await;
}
