//! The one loop that delivers a message to a handler, and the one attempt to deliver several together.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;
use shop_telemetry::{RequestContext, Span, context};
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
    let envelope = match opened(message, group, context::current().as_ref()) {
        Ok(envelope) => envelope,
        Err(delivery) => return delivery,
    };
    let (mut rejections, mut waited, mut aside) = (0, Duration::ZERO, Some(aside));
    let mut pause = policy.first;
    loop {
        let event_id = tracing::field::display(envelope.id);
        match attempt(handler.handle(&envelope), policy.deadline).await {
            Ok(()) => return took_effect(&envelope),
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

/// Delivers messages that wait together to `handler` of `group`, each with the context it is applied in: what became of each,
/// or none when they did not all take effect. They are to be [delivered](deliver) one by one then, so that what is wrong with
/// one of them is nothing to the others.
pub async fn deliver_all(
    handler: &dyn Handler,
    group: &str,
    messages: &[(&Message, &RequestContext)],
    policy: RetryPolicy,
) -> Option<Vec<Delivery>> {
    let (mut deliveries, mut envelopes) = (Vec::with_capacity(messages.len()), Vec::with_capacity(messages.len()));
    for (message, context) in messages {
        match opened(message, group, Some(context)) {
            Ok(envelope) => {
                envelopes.push(envelope);
                deliveries.push(Delivery::Done);
            }
            Err(Delivery::Dead(_)) => return None,
            Err(delivery) => deliveries.push(delivery),
        }
    }
    if !envelopes.is_empty()
        && let Err(error) = attempt(handler.handle_all(&envelopes), policy.deadline).await
    {
        tracing::debug!(group, events = envelopes.len(), error = %error, "events did not take effect together, each is tried alone");
        return None;
    }
    for envelope in &envelopes {
        took_effect(envelope);
    }
    Some(deliveries)
}

/// The event in a message, with the trace it is applied in; or what becomes of one that is none for `group`.
fn opened(message: &Message, group: &str, context: Option<&RequestContext>) -> Result<Envelope, Delivery> {
    if message.header(REPLAY_FOR).is_some_and(|only| only != group) {
        return Err(Delivery::NotOurs);
    }
    match Envelope::decode(message) {
        Ok(mut envelope) => {
            if let Some(context) = context {
                envelope.context.traceparent = Some(context.traceparent());
            }
            Ok(envelope)
        }
        Err(DecodeError::UnknownType(kind)) => {
            tracing::debug!(topic = %message.topic, group, kind, "event is of an unknown type and passed over");
            Err(Delivery::Unknown(kind))
        }
        Err(error) => Err(Delivery::Dead(error.to_string())),
    }
}

fn took_effect(envelope: &Envelope) -> Delivery {
    let event_id = tracing::field::display(envelope.id);
    tracing::debug!(event.id = event_id, event.kind = envelope.event.event_type(), "event took effect");
    Delivery::Done
}

/// One attempt. A handler that panics fails these events; it must not take the consumer of all others along.
async fn attempt(work: impl Future<Output = Result<(), HandleError>>, deadline: Duration) -> Result<(), HandleError> {
    let work = AssertUnwindSafe(work).catch_unwind();
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
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicU32, Ordering};

    use async_trait::async_trait;
    use shop_telemetry::TraceParent;
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

    /// Takes several at once, all or none, and notes their ids and traces.
    #[derive(Default)]
    struct Together {
        refuses: Option<Uuid>,
        taken: Mutex<Vec<(Uuid, Option<String>)>>,
    }

    #[async_trait]
    impl Handler for Together {
        async fn handle(&self, _: &Envelope) -> Result<(), HandleError> {
            panic!("alone")
        }

        async fn handle_all(&self, envelopes: &[Envelope]) -> Result<(), HandleError> {
            if envelopes.iter().any(|envelope| self.refuses == Some(envelope.id)) {
                return Err(HandleError::Rejected("no such line".into()));
            }
            let taken = envelopes.iter().map(|envelope| (envelope.id, envelope.context.traceparent.clone()));
            self.taken.lock().expect("nobody panicked").extend(taken);
            Ok(())
        }
    }

    fn numbered(number: u128) -> (Message, RequestContext) {
        let mut envelope = Envelope::decode(&message()).expect("an event");
        envelope.id = Uuid::from_u128(number);
        (envelope.encode(), RequestContext::new("r", TraceParent::random()))
    }

    async fn together(handler: &dyn Handler, messages: &[(Message, RequestContext)]) -> Option<Vec<Delivery>> {
        let messages: Vec<_> = messages.iter().map(|(message, context)| (message, context)).collect();
        deliver_all(handler, "g", &messages, RetryPolicy::default()).await
    }

    #[tokio::test]
    async fn events_that_take_effect_together_keep_each_its_trace_and_strangers_are_passed_over() {
        let (first, mut newer, mut replay, last) = (numbered(1), numbered(2), numbered(3), numbered(4));
        newer.0.payload =
            String::from_utf8(newer.0.payload).expect("JSON").replace("stock.updated", "stock.moved").into();
        replay.0.headers.push((REPLAY_FOR.to_owned(), "another".to_owned()));
        let handler = Together::default();
        let deliveries = together(&handler, &[first.clone(), newer, replay, last.clone()]).await.expect("take effect");
        let unknown = Delivery::Unknown("stock.moved".to_owned());
        assert_eq!(deliveries, [Delivery::Done, unknown, Delivery::NotOurs, Delivery::Done]);
        let expected =
            [(1, first.1), (4, last.1)].map(|(id, context)| (Uuid::from_u128(id), Some(context.traceparent())));
        assert_eq!(*handler.taken.lock().expect("nobody panicked"), expected);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_cannot_take_effect_leaves_the_others_to_be_tried_alone() {
        let refused = Together { refuses: Some(Uuid::from_u128(2)), ..Together::default() };
        assert_eq!(together(&refused, &[numbered(1), numbered(2)]).await, None);
        let mut unreadable = numbered(2);
        unreadable.0.payload = b"<stock/>".to_vec();
        assert_eq!(together(&refused, &[numbered(1), unreadable]).await, None);
        assert_eq!(*refused.taken.lock().expect("nobody panicked"), []);
        // Nor does one that makes the handler panic, or keeps it for ever, take the consumer along.
        let handler = Broken { how: || panic!("stumbled"), times: 1, calls: AtomicU32::new(0) };
        assert_eq!(together(&handler, &[numbered(1), numbered(2)]).await, None);
        assert_eq!(together(&Hanging(AtomicU32::new(0)), &[numbered(1), numbered(2)]).await, None);
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
