//! Burying what cannot take effect, and saying so where that is not possible either.

use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;
use shop_events::BusError;

use crate::client::Link;
use crate::partitions::Job;
use crate::pause::{BACK_OFF, sleep};
use crate::wire::{self, Size};

/// Moves a message to the dead letters, smaller than it was where it has to be; true when the brokers have it there, false
/// when stopped before. `aside` is called when it takes longer, so that others need not wait behind it.
pub(crate) async fn bury(link: &Link, job: &Job, group: &str, reason: &str, aside: &(impl Fn() + Sync)) -> bool {
    let place = &job.place;
    let waiting = link.counts.unburied.with_label_values(&[group, &place.topic]);
    let id = (place.topic.clone(), place.partition, place.offset);
    let (mut size, mut pause, mut told) = (Size::Whole, BACK_OFF.0, false);
    let buried = loop {
        let dead = wire::dead_letter(&job.message, place, group, reason, size);
        let Err(error) = link.publish(&dead).await else { break true };
        if is_too_large(&error) && size != Size::Bare {
            size = size.smaller();
            continue;
        }
        link.counts.refused.with_label_values(&[group, &place.topic]).inc();
        tracing::error!(error = %error, topic = %dead.topic, partition = place.partition, offset = place.offset, group,
            "the dead letter is not taken, trying again: look at the topic's rights and limits");
        if !told {
            waiting.inc();
            told = true;
            aside();
        }
        link.unburied.0.lock().insert(id.clone(), error.to_string());
        sleep(pause, &job.stop).await;
        if job.stop.is_cancelled() {
            break false;
        }
        pause = (pause * 2).min(BACK_OFF.1);
    };
    if told {
        waiting.dec();
        link.unburied.0.lock().remove(&id);
    }
    if buried {
        link.counts.dead.with_label_values(&[group, &place.topic]).inc();
        tracing::error!(topic = %place.topic, partition = place.partition, offset = place.offset, group, reason,
            whole = size != Size::Bare, "event went to the dead letters");
    }
    buried
}

/// Whether this client or the topic has no room for a message of that size.
fn is_too_large(error: &BusError) -> bool {
    let code = error.0.downcast_ref::<KafkaError>().and_then(KafkaError::rdkafka_error_code);
    matches!(code, Some(RDKafkaErrorCode::MessageSizeTooLarge | RDKafkaErrorCode::MessageBatchTooLarge))
}
