//! Kills a process at a named point of the checkout, starts it again, and checks that nothing was lost and
//! nothing happened twice. What the buyers do and when the process dies comes from one seed: `SHOP_TEST_SEED`, or a
//! random one; it is printed either way.
#![cfg(feature = "crash-points")]

mod buyers;
mod chance;
mod double;
mod kafka;
mod migrations;
mod region;
mod replica;
mod turns;
mod world;

use crate::world::World;

/// One test a point: the process dies the N-th time it gets there, N from the seed and at most the number given.
macro_rules! dies_at {
    ($module:ident, $world:ident, $($test:ident: $point:literal, $most:literal;)+) => {
        mod $module {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                if let Some(world) = crate::World::$world().await {
                    crate::survives(world, $point, $most).await;
                }
            })+
        }
    };
}

dies_at!(embedded, embedded,
    after_the_payment_row: "create.after_insert", 4;
    after_the_reservation: "create.after_reserve", 4;
    after_the_provider_has_prepared_it: "process.after_open", 3;
    before_processing_is_committed: "process.before_commit1", 3;
    after_processing_is_committed: "process.after_processing", 3;
    after_the_charge: "process.after_charge", 3;
    before_completed_is_committed: "process.before_commit2", 3;
    after_completed_is_committed: "process.after_commit2", 3;
    before_an_event_is_published: "relay.before_publish", 4;
    after_an_event_is_published: "relay.after_publish", 4;
    before_the_outbox_lets_go: "relay.before_delete", 2;
    after_a_cancellation: "cancel.after_commit", 2;
    after_the_provider_has_let_go: "cancel.after_void", 1;
    before_a_capture_is_committed: "capture.before_commit", 2;
    after_a_capture_is_committed: "capture.after_request", 1;
    after_the_capture: "capture.after_capture", 1;
    after_the_capture_is_settled: "capture.after_settle", 1;
    before_a_confirmation_is_committed: "action.before_commit", 1;
    before_a_refund_is_committed: "refund.before_commit", 1;
    after_a_refund_is_paid_back: "refund.after_payback", 1;
    after_stock_moved: "product.after_effect", 4;
    after_an_event_was_noted: "notification.after_effect", 4;
    before_a_notification_is_sent: "notification.before_send", 4;
);

dies_at!(real, real_payment,
    after_the_payment_row: "create.after_insert", 4;
    after_the_reservation: "create.after_reserve", 4;
    after_the_provider_has_prepared_it: "process.after_open", 3;
    before_processing_is_committed: "process.before_commit1", 3;
    after_processing_is_committed: "process.after_processing", 3;
    after_the_charge: "process.after_charge", 3;
    before_completed_is_committed: "process.before_commit2", 3;
    after_completed_is_committed: "process.after_commit2", 3;
    before_an_event_is_published: "relay.before_publish", 4;
    after_an_event_is_published: "relay.after_publish", 4;
    before_the_outbox_lets_go: "relay.before_delete", 2;
    after_a_cancellation: "cancel.after_commit", 2;
    after_the_provider_has_let_go: "cancel.after_void", 1;
    before_a_capture_is_committed: "capture.before_commit", 2;
    after_a_capture_is_committed: "capture.after_request", 1;
    after_the_capture: "capture.after_capture", 1;
    after_the_capture_is_settled: "capture.after_settle", 1;
    before_a_confirmation_is_committed: "action.before_commit", 1;
    after_a_refund_is_paid_back: "refund.after_payback", 1;
);

dies_at!(consumer, real_product,
    between_effect_and_offset: "consumer.before_commit", 4;
    after_stock_moved: "product.after_effect", 4;
);

dies_at!(notifier, real_notification,
    between_effect_and_offset: "consumer.before_commit", 4;
    after_an_event_was_noted: "notification.after_effect", 4;
    before_a_notification_is_sent: "notification.before_send", 4;
);

/// Buyers buy, the process dies once and comes back, and the books balance.
async fn survives(mut world: World, point: &str, most: u64) {
    let mut chance = chance::Chance::from_environment(point);
    let nth = 1 + chance.below(most);
    world.start(Some(&format!("{point}:{nth}"))).await;
    let plan = buyers::Plan::make("buyer", &world, &mut chance).await;
    let apis = world.apis();
    let deaths = world.supervise(plan.carry_out(&apis)).await;
    assert_eq!(deaths, 1, "{point}:{nth} was not reached");
    plan.balance(&world).await;
    world.stop().await;
}
