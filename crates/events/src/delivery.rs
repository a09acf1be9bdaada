//! The one loop that delivers a message to a handler.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;
use shop_telemetry::Span;
use tokio_util::sync::CancellationToken;

use crate::{DecodeError, Envelope, HandleError, Handler, Message};

/// Names the only group that a message is for: one that gave it up and is to try it once more.
pub const REPLAY_FOR: &str = "replay_for";

/// How often and how fast a delivery is tried again.
#[derive(Debug, Clone, Copy)]
pub struct RetryPolicy {
    /// Attempts for an event that is [`HandleError::Rejected`].
    pub attempts: u32,
    /// Pause after the first failure; doubles from there.
    pub first: Duration,
    /// The longest pause.
    pub longest: Duration,
    /// How long to wait in all, over several pauses, for what is [`HandleError::Internal`].
    pub internal: Duration,
    /// How long a handler may take before the attempt counts as one whose dependency is down.
    pub deadline: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            // Five attempts ride out a lost race; a store that is down is retried for as long as it takes.
            attempts: 5,
            first: Duration::from_millis(50),
            longest: Duration::from_secs(5),
            // Longer than a table is locked or half changed while a service is upgraded.
            internal: Duration::from_mins(5),
            // Far over what any handler needs: a store that neither answers nor refuses must not hold a partition.
            deadline: Duration::from_mins(1),
        }
    }
}

/// What became of a delivery.
#[derive(Debug, PartialEq, Eq)]
pub enum Delivery {
    /// The effect is durable.
    Done,
    /// It is for another group, which tries it once more.
    NotOurs,
    /// It is an event of a type that this program does not know: one of a newer program, or of a stranger.
    Unknown(String),
    /// It never will be; the reason goes to the dead-letter topic.
    Dead(String),
    /// Told to stop before it was settled: deliver it again later.
    Stopped,
}

impl Delivery {
    /// Tells the span of the work how it ended.
    pub fn tell(&self, span: &mut Span) {
        match self {
            Self::Done | Self::NotOurs | Self::Unknown(_) => {}
            Self::Dead(_) => span.fail("dead_letter"),
            Self::Stopped => span.fail("stopped"),
        }
    }
}

/// Delivers `message` to `handler` of `group`: retries what may pass, gives up on what cannot, stops when told to. `aside`
/// is called once when it may take minutes, so that others need not wait behind it.
pub async fn deliver(
    handler: &dyn Handler,
    group: &str,
    message: &Message,
    policy: RetryPolicy,
    stop: &CancellationToken,
    aside: impl FnOnce() + Send,
) -> Delivery {
    if message.header(REPLAY_FOR).is_some_and(|only| only != group) {
        return Delivery::NotOurs;
    }
    let envelope = match Envelope::decode(message) {
        Ok(envelope) => envelope,
        Err(DecodeError::UnknownType(kind)) => {
            tracing::debug!(topic = %message.topic, group, kind, "event is of an unknown type and passed over");
            return Delivery::Unknown(kind);
        }
        Err(error) => return Delivery::Dead(error.to_string()),
    };
    let (mut rejections, mut waited, mut aside) = (0, Duration::ZERO, Some(aside));
    let mut pause = policy.first;
    loop {
        let event_id = tracing::field::display(envelope.id);
        match attempt(handler, &envelope, policy.deadline).await {
            Ok(()) => {
                let kind = envelope.event.event_type();
                tracing::debug!(event.id = event_id, event.kind = kind, "event took effect");
                return Delivery::Done;
            }
            Err(HandleError::Transient(error)) => {
                tracing::warn!(event.id = event_id, error = %error, "event waits for a dependency, trying again");
            }
            Err(HandleError::Internal(error)) => {
                if waited >= policy.internal {
                    return Delivery::Dead(error.to_string());
                }
                tracing::error!(event.id = event_id, error = %error, "event met a defect, trying again");
                waited += pause;
                if let Some(aside) = aside.take() {
                    aside();
                }
            }
            Err(HandleError::Rejected(error)) => {
                rejections += 1;
                if rejections >= policy.attempts {
                    return Delivery::Dead(error.to_string());
                }
                tracing::warn!(event.id = event_id, error = %error, "event was rejected, trying again");
            }
        }
        if unless(stop, tokio::time::sleep(pause)).await.is_none() {
            return Delivery::Stopped;
        }
        pause = (pause * 2).min(policy.longest);
    }
}

/// One attempt. A handler that panics fails this one event; it must not take the consumer of all others along.
async fn attempt(handler: &dyn Handler, envelope: &Envelope, deadline: Duration) -> Result<(), HandleError> {
    let work = AssertUnwindSafe(handler.handle(envelope)).catch_unwind();
    match tokio::time::timeout(deadline, work).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(_)) => Err(HandleError::Internal("the handler panicked".into())),
        Err(_) => Err(HandleError::Transient(format!("not done within {} s", deadline.as_secs()).into())),
    }
}

/// Runs `future` unless `stop` comes first.
async fn unless<F: Future>(stop: &CancellationToken, future: F) -> Option<F::Output> {
    tokio::select! {
        biased;
        () = stop.cancelled() => None,
        output = future => Some(output),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use async_trait::async_trait;
    use tokio::time::Instant;
    use uuid::Uuid;

    use super::*;
    use crate::{Context, Event, StockOperation, StockUpdated};

    /// Fails in one way so many times.
    struct Broken {
        how: fn() -> HandleError,
        times: u32,
        calls: AtomicU32,
    }

    #[async_trait]
    impl Handler for Broken {
        async fn handle(&self, _: &Envelope) -> Result<(), HandleError> {
            let calls = self.calls.fetch_add(1, Ordering::SeqCst);
            if calls < self.times { Err((self.how)()) } else { Ok(()) }
        }
    }

    /// Never answers the first time.
    struct Hanging(AtomicU32);

    #[async_trait]
    impl Handler for Hanging {
        async fn handle(&self, _: &Envelope) -> Result<(), HandleError> {
            match self.0.fetch_add(1, Ordering::SeqCst) {
                0 => std::future::pending().await,
                _ => Ok(()),
            }
        }
    }

    fn message() -> Message {
        let event = Event::StockUpdated(StockUpdated {
            product_id: 3,
            quantity: 2,
            operation: StockOperation::Release,
            reason: "payment cancelled".to_owned(),
            payment_id: Uuid::nil(),
        });
        let time = time::OffsetDateTime::UNIX_EPOCH;
        Envelope { id: Uuid::nil(), time, source: "test".to_owned(), event, context: Context::default() }.encode()
    }

    async fn delivered(handler: &dyn Handler, message: &Message) -> (Delivery, Duration) {
        let begun = Instant::now();
        let delivery = deliver(handler, "g", message, RetryPolicy::default(), &CancellationToken::new(), || {}).await;
        (delivery, begun.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn a_table_that_is_being_changed_for_three_minutes_costs_no_event() {
        let handler = Broken { how: || HandleError::Internal("42P01".into()), times: 40, calls: AtomicU32::new(0) };
        let (delivery, took) = delivered(&handler, &message()).await;
        assert_eq!(delivery, Delivery::Done);
        assert!(took > Duration::from_mins(2) && took < Duration::from_mins(4), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_defect_nobody_mends_is_buried_after_minutes_and_a_rule_within_a_second() {
        for (how, from, to) in [
            ((|| HandleError::Internal("x".into())) as fn() -> HandleError, 300, 310),
            (|| HandleError::Rejected("x".into()), 0, 1),
        ] {
            let handler = Broken { how, times: u32::MAX, calls: AtomicU32::new(0) };
            let (delivery, took) = delivered(&handler, &message()).await;
            assert_eq!(delivery, Delivery::Dead("x".to_owned()));
            assert!((from..=to).contains(&took.as_secs()), "{took:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_a_defect_steps_aside_once() {
        let handler = Broken { how: || HandleError::Internal("x".into()), times: 3, calls: AtomicU32::new(0) };
        let (asides, stop) = (AtomicU32::new(0), CancellationToken::new());
        let aside = || {
            asides.fetch_add(1, Ordering::SeqCst);
        };
        deliver(&handler, "g", &message(), RetryPolicy::default(), &stop, aside).await;
        assert_eq!(asides.load(Ordering::SeqCst), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_handler_that_hangs_is_asked_again() {
        let (delivery, took) = delivered(&Hanging(AtomicU32::new(0)), &message()).await;
        assert_eq!(delivery, Delivery::Done);
        assert!(took < Duration::from_secs(62), "{took:?}");
    }

    #[tokio::test]
    async fn events_of_a_newer_program_are_passed_over_and_what_nobody_can_read_is_dead() {
        let handler = Broken { how: || HandleError::Internal("x".into()), times: 0, calls: AtomicU32::new(0) };
        let mut newer = message();
        newer.payload = String::from_utf8(newer.payload).expect("JSON").replace("stock.updated", "stock.moved").into();
        assert_eq!(delivered(&handler, &newer).await.0, Delivery::Unknown("stock.moved".to_owned()));
        // A stranger's event need not even look like ours.
        newer.headers.iter_mut().for_each(|(_, value)| *value = value.replace("stock.updated", "stock.moved"));
        newer.payload = b"<moved/>".to_vec();
        assert_eq!(delivered(&handler, &newer).await.0, Delivery::Unknown("stock.moved".to_owned()));
        let mut broken = message();
        broken.payload = String::from_utf8(broken.payload).expect("JSON").replace("\"quantity\"", "\"q\"").into();
        assert!(matches!(delivered(&handler, &broken).await.0, Delivery::Dead(_)));
        assert_eq!(handler.calls.load(Ordering::SeqCst), 0);
    }

    #[tokio::test]
    async fn a_replay_is_for_the_group_that_gave_it_up() {
        let handler = Broken { how: || HandleError::Internal("x".into()), times: 0, calls: AtomicU32::new(0) };
        let mut replay = message();
        replay.headers.push((REPLAY_FOR.to_owned(), "another".to_owned()));
        assert_eq!(delivered(&handler, &replay).await.0, Delivery::NotOurs);
        assert_eq!(handler.calls.load(Ordering::SeqCst), 0);
        replay.headers.retain(|(name, _)| name != REPLAY_FOR);
        replay.headers.push((REPLAY_FOR.to_owned(), "g".to_owned()));
        assert_eq!(delivered(&handler, &replay).await.0, Delivery::Done);
    }
}
