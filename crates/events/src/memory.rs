//! The bus of a single process: a publisher waits until every subscriber's effect is durable.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use parking_lot::RwLock;
use shop_telemetry::context;
use tokio_util::sync::CancellationToken;

use crate::Message;
use crate::bus::{Bus, BusError, Delivery, RetryPolicy, Subscription, deliver};

/// A bus without a server: what is published is applied before the publisher's outbox lets go of it, so a
/// crash loses nothing. One handler a group; order per key is the publisher's, who waits for each message.
pub struct MemoryBus {
    subscribers: RwLock<Vec<Subscriber>>,
    dead_letters: Option<PathBuf>,
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
        Self { subscribers: RwLock::default(), dead_letters, policy }
    }

    fn bury(&self, message: &Message, group: &str, reason: &str) -> Result<(), BusError> {
        tracing::error!(topic = %message.topic, group, reason, "event went to the dead letters");
        let Some(folder) = &self.dead_letters else { return Ok(()) };
        append(folder, message, group, reason).map_err(BusError::new)
    }
}

fn append(folder: &Path, message: &Message, group: &str, reason: &str) -> std::io::Result<()> {
    let line = serde_json::json!({
        "topic": message.topic,
        "key": message.key,
        "group": group,
        "reason": reason,
        "headers": message.headers,
        "payload": String::from_utf8_lossy(&message.payload),
    });
    std::fs::create_dir_all(folder)?;
    let path = folder.join(format!("{}.dlq.jsonl", message.topic));
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    file.write_all(format!("{line}\n").as_bytes())?;
    file.sync_data()
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
                let delivery = deliver(subscription.handler.as_ref(), message, self.policy, &stop).await;
                delivery.tell(&mut span);
                match delivery {
                    Delivery::Done => Ok(()),
                    Delivery::Dead(reason) => self.bury(message, &subscription.group, &reason),
                    Delivery::Stopped => Err(BusError::new("the subscriber stopped before the event took effect")),
                }
            };
            context::scope(context, work).await?;
        }
        Ok(())
    }

    fn subscribe(&self, subscription: Subscription, stop: CancellationToken) -> BoxFuture<'static, ()> {
        self.subscribers.write().push(Subscriber { subscription, stop: stop.clone() });
        // The subscriber stays registered after `stop`: a message must not pass it by on the way down, so
        // publishing fails from then on and the outbox keeps what is left for the next start.
        Box::pin(async move { stop.cancelled().await })
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
    use std::time::Duration;

    use uuid::Uuid;

    use super::*;
    use crate::{Envelope, Event, HandleError, Handler, StockOperation, StockUpdated, Topic};

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
