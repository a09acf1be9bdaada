//! The bus of a single process: a publisher waits until every subscriber's effect is durable.

use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use parking_lot::RwLock;
use shop_telemetry::context;
use tokio_util::sync::CancellationToken;

use crate::{Bus, BusError, Delivery, Letter, LetterFiles, Message, RetryPolicy, Subscription, deliver};

/// How often to look for dead letters that somebody wants tried again.
const LOOK: Duration = Duration::from_secs(2);

/// A bus without a server: what is published is applied before the publisher's outbox lets go of it, so a
/// crash loses nothing. One handler a group; order per key is the publisher's, who waits for each message.
pub struct MemoryBus {
    subscribers: RwLock<Vec<Subscriber>>,
    dead_letters: Option<LetterFiles>,
    policy: RetryPolicy,
}

struct Subscriber {
    subscription: Subscription,
    stop: CancellationToken,
}

impl MemoryBus {
    /// A bus that appends dead letters to `<dead_letters>/<topic>.dlq.jsonl`, or only logs them when `None`.
    pub fn new(dead_letters: Option<PathBuf>) -> Self {
        Self::with_policy(dead_letters, RetryPolicy::default())
    }

    /// The same with a retry policy of one's own.
    pub fn with_policy(dead_letters: Option<PathBuf>, policy: RetryPolicy) -> Self {
        Self { subscribers: RwLock::default(), dead_letters: dead_letters.map(LetterFiles::new), policy }
    }

    fn bury(&self, message: &Message, group: &str, reason: &str) -> Result<(), BusError> {
        tracing::error!(topic = %message.topic, group, reason, "event went to the dead letters");
        let Some(letters) = &self.dead_letters else { return Ok(()) };
        letters.bury(message, group, reason).map_err(BusError::new)
    }
}

/// Tries again what people asked for, until `stop`.
async fn replay(letters: LetterFiles, subscription: Subscription, policy: RetryPolicy, stop: CancellationToken) {
    while stop.run_until_cancelled(tokio::time::sleep(LOOK)).await.is_some() {
        let asked = letters.asked(&subscription.group).unwrap_or_else(|error| {
            tracing::warn!(error = %error, "dead letters cannot be looked at");
            Vec::new()
        });
        for letter in asked {
            if let Err(error) = again(&letters, &letter, &subscription, policy, &stop).await {
                tracing::warn!(error = %error, letter = letter.id, "the dead letter was not tried again");
            }
        }
    }
}

/// Tries one letter again. Killed in the middle, it is tried once more: what took effect is known by the event's id.
async fn again(
    letters: &LetterFiles,
    letter: &Letter,
    to: &Subscription,
    policy: RetryPolicy,
    stop: &CancellationToken,
) -> std::io::Result<()> {
    let (group, message) = (&to.group, letter.again());
    match deliver(to.handler.as_ref(), group, &message, policy, stop, || {}).await {
        Delivery::Stopped => return Ok(()),
        Delivery::Dead(reason) => {
            tracing::error!(letter = letter.id, group, reason, "event went to the dead letters again");
            letters.bury(&message, group, &reason)?;
        }
        Delivery::Done | Delivery::NotOurs | Delivery::Unknown(_) => {
            tracing::info!(letter = letter.id, group, "a dead letter took effect");
        }
    }
    letters.settle(letter)
}

#[async_trait]
impl Bus for MemoryBus {
    async fn publish(&self, message: &Message) -> Result<(), BusError> {
        let interested: Vec<_> = self
            .subscribers
            .read()
            .iter()
            .filter(|subscriber| subscriber.subscription.topics.iter().any(|topic| topic.as_str() == message.topic))
            .map(|subscriber| (subscriber.subscription.clone(), subscriber.stop.clone()))
            .collect();
        for (subscription, stop) in interested {
            let (mut span, context) = message.arrived(self.system(), &subscription.group);
            let work = async {
                let (group, handler) = (&subscription.group, subscription.handler.as_ref());
                let delivery = deliver(handler, group, message, self.policy, &stop, || {}).await;
                delivery.tell(&mut span);
                match delivery {
                    Delivery::Done | Delivery::NotOurs | Delivery::Unknown(_) => Ok(()),
                    Delivery::Dead(reason) => self.bury(message, &subscription.group, &reason),
                    Delivery::Stopped => Err(BusError::new("the subscriber stopped before the event took effect")),
                }
            };
            context::scope(context, work).await?;
        }
        Ok(())
    }

    fn subscribe(&self, subscription: Subscription, stop: CancellationToken) -> BoxFuture<'static, ()> {
        self.subscribers.write().push(Subscriber { subscription: subscription.clone(), stop: stop.clone() });
        // The subscriber stays registered after `stop`: a message must not pass it by on the way down, so
        // publishing fails from then on and the outbox keeps what is left for the next start.
        match &self.dead_letters {
            Some(letters) => Box::pin(replay(letters.clone(), subscription, self.policy, stop)),
            None => Box::pin(async move { stop.cancelled().await }),
        }
    }

    async fn check(&self) -> Result<(), BusError> {
        Ok(())
    }
}

impl std::fmt::Debug for MemoryBus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let groups: Vec<_> = self.subscribers.read().iter().map(|s| s.subscription.group.clone()).collect();
        f.debug_struct("MemoryBus").field("groups", &groups).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use uuid::Uuid;

    use super::*;
    use crate::{
        Envelope, Event, HandleError, Handler, LetterState, Letters as _, StockOperation, StockUpdated, Topic,
    };

    /// Fails so many times before it succeeds.
    struct Stubborn {
        failures: AtomicUsize,
        transient: bool,
        handled: AtomicUsize,
    }

    impl Stubborn {
        fn new(failures: usize, transient: bool) -> Arc<Self> {
            Arc::new(Self { failures: AtomicUsize::new(failures), transient, handled: AtomicUsize::new(0) })
        }
    }

    #[async_trait]
    impl Handler for Stubborn {
        async fn handle(&self, _: &Envelope) -> Result<(), HandleError> {
            let left = self.failures.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
            match left {
                Ok(_) if self.transient => Err(HandleError::Transient("the store is down".into())),
                Ok(_) => Err(HandleError::Rejected("no such product".into())),
                Err(_) => {
                    self.handled.fetch_add(1, Ordering::SeqCst);
                    Ok(())
                }
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
        Envelope { id: Uuid::nil(), time, source: "test".to_owned(), event, context: crate::Context::default() }
            .encode()
    }

    fn subscribe(bus: &MemoryBus, handler: Arc<Stubborn>, stop: &CancellationToken) {
        let subscription = Subscription { group: "g".to_owned(), topics: vec![Topic::Stock], handler };
        drop(bus.subscribe(subscription, stop.clone()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_dependency_that_is_down_for_long_is_waited_for() {
        let bus = MemoryBus::new(None);
        let handler = Stubborn::new(100, true);
        subscribe(&bus, handler.clone(), &CancellationToken::new());
        bus.publish(&message()).await.expect("applied");
        assert_eq!(handler.handled.load(Ordering::SeqCst), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn poison_is_buried_and_the_next_message_is_handled() {
        let folder = tempfile::tempdir().expect("a folder");
        let bus = MemoryBus::new(Some(folder.path().to_owned()));
        let handler = Stubborn::new(5, false);
        subscribe(&bus, handler.clone(), &CancellationToken::new());
        bus.publish(&message()).await.expect("buried");
        bus.publish(&message()).await.expect("applied");
        assert_eq!(handler.handled.load(Ordering::SeqCst), 1);
        let buried = std::fs::read_to_string(folder.path().join("stock-events.dlq.jsonl")).expect("dead letters");
        assert_eq!(buried.lines().count(), 1);
        assert!(buried.contains("no such product"));
    }

    /// Panics on every event.
    struct Clumsy;

    #[async_trait]
    impl Handler for Clumsy {
        async fn handle(&self, _: &Envelope) -> Result<(), HandleError> {
            panic!("stumbled")
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_event_that_makes_its_handler_panic_is_poison_and_no_more() {
        let folder = tempfile::tempdir().expect("a folder");
        let bus = MemoryBus::new(Some(folder.path().to_owned()));
        let subscription =
            Subscription { group: "g".to_owned(), topics: vec![Topic::Stock], handler: Arc::new(Clumsy) };
        drop(bus.subscribe(subscription, CancellationToken::new()));
        bus.publish(&message()).await.expect("buried");
        let buried = std::fs::read_to_string(folder.path().join("stock-events.dlq.jsonl")).expect("dead letters");
        assert!(buried.contains("the handler panicked"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_letter_that_is_tried_again_takes_effect_and_is_open_no_more() {
        let folder = tempfile::tempdir().expect("a folder");
        let letters = LetterFiles::new(folder.path().to_owned());
        let (handler, stop) = (Stubborn::new(6, false), CancellationToken::new());
        let bus = MemoryBus::new(Some(folder.path().to_owned()));
        let (group, topics) = ("g".to_owned(), vec![Topic::Stock]);
        let driven = bus.subscribe(Subscription { group, topics, handler: handler.clone() }, stop.clone());
        bus.publish(&message()).await.expect("buried");
        // A crash cut a line off.
        let file = folder.path().join("stock-events.dlq.jsonl");
        let cut = format!("{}{{\"topic\":\"sto", std::fs::read_to_string(&file).expect("letters"));
        std::fs::write(&file, cut).expect("is written");

        let states = async || {
            let read = letters.read().await.expect("reads");
            read.into_iter().map(|letter| (letter.id, letter.state)).collect::<Vec<_>>()
        };
        assert_eq!(states().await, [("stock-events/1".to_owned(), LetterState::Open)]);
        letters.replay(&letters.read().await.expect("reads")[0]).await.expect("is asked for");
        assert_eq!(states().await, [("stock-events/1".to_owned(), LetterState::Asked)]);
        let work = async {
            tokio::time::sleep(Duration::from_secs(10)).await;
            assert_eq!(handler.handled.load(Ordering::SeqCst), 1);
            stop.cancel();
        };
        tokio::join!(driven, work);
        assert_eq!(states().await, [("stock-events/1".to_owned(), LetterState::Replayed)]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_is_not_taken_while_its_subscriber_stops() {
        let bus = MemoryBus::new(None);
        let stop = CancellationToken::new();
        subscribe(&bus, Stubborn::new(usize::MAX, true), &stop);
        let message = message();
        let publish = bus.publish(&message);
        let stopper = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            stop.cancel();
        };
        let (published, ()) = tokio::join!(publish, stopper);
        assert!(published.is_err());
    }
}
