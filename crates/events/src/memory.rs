//! The bus of a single process: a publisher waits until every subscriber's effect is durable.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use parking_lot::{Mutex, RwLock};
use prometheus::IntCounterVec;
use shop_clock::{Clock as _, SystemClock};
use shop_telemetry::{Metrics, RequestContext, context};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::gathering::Gathering;
use crate::{Bus, BusError, Delivery, Letter, LetterFiles, Message, RetryPolicy, Subscription, deliver};

/// How often to look for dead letters that somebody wants tried again.
const LOOK: Duration = Duration::from_secs(2);

/// How long a publisher waits for a defect to pass. It has to come again for longer: what other keys have must not wait behind it.
const DEFECT: Duration = Duration::from_secs(1);

/// A bus without a server: what is published is applied before the publisher's outbox lets go of it, so a
/// crash loses nothing. One handler a group; order per key is the publisher's, who waits for each message. What others publish
/// meanwhile is applied together by a handler that takes several.
pub struct MemoryBus {
    subscribers: RwLock<Vec<Subscriber>>,
    dead_letters: Option<LetterFiles>,
    policy: RetryPolicy,
    /// Since when which event meets a defect at which group.
    defects: Mutex<HashMap<(String, String), Instant>>,
}

#[derive(Clone)]
struct Subscriber {
    subscription: Subscription,
    stop: CancellationToken,
    gathering: Arc<Gathering>,
    /// Where somebody counts.
    passed_over: Option<IntCounterVec>,
}

/// The bus as one service has it.
struct Counted {
    bus: Arc<MemoryBus>,
    passed_over: IntCounterVec,
}

impl MemoryBus {
    /// A bus that appends dead letters to `<dead_letters>/<topic>.dlq.jsonl`, or only logs them when `None`.
    pub fn new(dead_letters: Option<PathBuf>) -> Self {
        Self::with_policy(dead_letters, RetryPolicy::default())
    }

    /// The same with a retry policy of one's own.
    pub fn with_policy(dead_letters: Option<PathBuf>, policy: RetryPolicy) -> Self {
        let dead_letters = dead_letters.map(LetterFiles::new);
        Self { subscribers: RwLock::default(), dead_letters, policy, defects: Mutex::default() }
    }

    /// The bus for a service with these metrics, in which it counts what its consumers pass over.
    pub fn counted(self: &Arc<Self>, metrics: &Metrics) -> Arc<dyn Bus> {
        let passed_over = metrics.counters(
            "memory_events_passed_over_total",
            "Events of a type that this program does not know, on the bus of one process.",
            &["group", "topic"],
        );
        Arc::new(Counted { bus: self.clone(), passed_over })
    }

    fn register(
        &self,
        subscription: Subscription,
        stop: CancellationToken,
        passed_over: Option<IntCounterVec>,
    ) -> BoxFuture<'static, ()> {
        self.subscribers.write().push(Subscriber {
            subscription: subscription.clone(),
            stop: stop.clone(),
            gathering: Arc::default(),
            passed_over: passed_over.clone(),
        });
        // The subscriber stays registered after `stop`: a message must not pass it by on the way down, so
        // publishing fails from then on and the outbox keeps what is left for the next start.
        match &self.dead_letters {
            Some(letters) => Box::pin(replay(letters.clone(), subscription, self.policy, stop, passed_over)),
            None => Box::pin(async move { stop.cancelled().await }),
        }
    }

    /// One delivery, of perhaps several until the publisher may let go of the message. None when a defect lasts.
    async fn try_once(&self, message: &Message, to: &Subscriber, context: &RequestContext) -> Option<Delivery> {
        let Subscriber { subscription: Subscription { group, handler, .. }, stop, gathering, .. } = to;
        let event = (group.clone(), message.header("ce_id").unwrap_or_default().to_owned());
        let since = self.defects.lock().get(&event).copied();
        // What met a defect is tried apart from others.
        if since.is_none()
            && handler.at_once() > 1
            && let Some(settled) = gathering.deliver(handler.as_ref(), group, message, context, self.policy).await
        {
            return Some(settled);
        }
        let spent = since.map_or(Duration::ZERO, |since| since.elapsed());
        let policy = RetryPolicy { internal: self.policy.internal.saturating_sub(spent), ..self.policy };
        let met = Notify::new();
        let aside = || {
            self.defects.lock().entry(event.clone()).or_insert_with(Instant::now);
            met.notify_one();
        };
        let settled = tokio::select! {
            biased;
            settled = deliver(handler.as_ref(), group, message, policy, stop, aside) => settled,
            () = async { met.notified().await; tokio::time::sleep(DEFECT).await } => return None,
        };
        self.defects.lock().remove(&event);
        Some(settled)
    }

    fn bury(&self, message: &Message, group: &str, reason: &str) -> Result<(), BusError> {
        tracing::error!(topic = %message.topic, group, reason, "event went to the dead letters");
        let Some(letters) = &self.dead_letters else { return Ok(()) };
        letters.bury(message, group, reason).map_err(BusError::new)
    }
}

/// Counts what `group` passed over.
fn pass_over(counter: Option<&IntCounterVec>, group: &str, topic: &str) {
    if let Some(counter) = counter {
        counter.with_label_values(&[group, topic]).inc();
    }
}

/// Tries again what people asked for, until `stop`.
async fn replay(
    letters: LetterFiles,
    subscription: Subscription,
    policy: RetryPolicy,
    stop: CancellationToken,
    passed_over: Option<IntCounterVec>,
) {
    while stop.run_until_cancelled(tokio::time::sleep(LOOK)).await.is_some() {
        let asked = letters.asked(&subscription.group).unwrap_or_else(|error| {
            tracing::warn!(error = %error, "dead letters cannot be looked at");
            Vec::new()
        });
        for letter in asked {
            let counter = passed_over.as_ref();
            if let Err(error) = again(&letters, &letter, &subscription, policy, &stop, counter).await {
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
    passed_over: Option<&IntCounterVec>,
) -> std::io::Result<()> {
    let (group, message) = (&to.group, letter.again());
    // It may have been asked for long ago, of a process that did not run.
    if let Err(late) = letter.in_time(SystemClock.now()) {
        tracing::error!(letter = letter.id, group, error = %late, "the dead letter is not tried again");
        return letters.withdraw(letter);
    }
    match deliver(to.handler.as_ref(), group, &message, policy, stop, || {}).await {
        Delivery::Stopped => return Ok(()),
        Delivery::Dead(reason) => {
            tracing::error!(letter = letter.id, group, reason, "event went to the dead letters again");
            letters.bury(&message, group, &reason)?;
        }
        Delivery::Unknown(kind) => {
            pass_over(passed_over, group, &message.topic);
            tracing::warn!(
                letter = letter.id,
                group,
                kind,
                "a dead letter is of a type that this program does not know"
            );
            return letters.withdraw(letter);
        }
        Delivery::Done | Delivery::NotOurs => {
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
            .cloned()
            .collect();
        for to in interested {
            let (mut span, context) = message.arrived(self.system(), &to.subscription.group);
            let taken_up = context.clone();
            let work = async {
                let group = &to.subscription.group;
                let Some(delivery) = self.try_once(message, &to, &taken_up).await else {
                    span.fail("defect");
                    return Err(BusError::new(format!("{group} meets a defect, and is told again")));
                };
                delivery.tell(&mut span);
                match delivery {
                    Delivery::Done | Delivery::NotOurs => Ok(()),
                    Delivery::Unknown(_) => {
                        pass_over(to.passed_over.as_ref(), group, &message.topic);
                        Ok(())
                    }
                    Delivery::Dead(reason) => self.bury(message, group, &reason),
                    Delivery::Stopped => Err(BusError::new("the subscriber stopped before the event took effect")),
                }
            };
            context::scope(context, work).await?;
        }
        Ok(())
    }

    fn subscribe(&self, subscription: Subscription, stop: CancellationToken) -> BoxFuture<'static, ()> {
        self.register(subscription, stop, None)
    }

    async fn check(&self) -> Result<(), BusError> {
        Ok(())
    }
}

#[async_trait]
impl Bus for Counted {
    async fn publish(&self, message: &Message) -> Result<(), BusError> {
        self.bus.publish(message).await
    }

    fn subscribe(&self, subscription: Subscription, stop: CancellationToken) -> BoxFuture<'static, ()> {
        self.bus.register(subscription, stop, Some(self.passed_over.clone()))
    }

    async fn check(&self) -> Result<(), BusError> {
        self.bus.check().await
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

    /// Meets a defect until then.
    struct Broken(Instant);

    #[async_trait]
    impl Handler for Broken {
        async fn handle(&self, _: &Envelope) -> Result<(), HandleError> {
            if Instant::now() < self.0 { Err(HandleError::Internal("no such table".into())) } else { Ok(()) }
        }
    }

    /// Publishes as a relay does: again and again, and never waiting for long. How long it took.
    async fn published(bus: &MemoryBus) -> Duration {
        let begun = Instant::now();
        loop {
            let attempt = Instant::now();
            let published = bus.publish(&message()).await;
            assert!(attempt.elapsed() < Duration::from_secs(3), "others wait behind it");
            if published.is_ok() {
                return begun.elapsed();
            }
            tokio::time::sleep(Duration::from_secs(5)).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_defect_holds_up_nobody_else_and_is_buried_after_minutes_unless_it_is_mended() {
        let folder = tempfile::tempdir().expect("a folder");
        for (mended, took, letters) in [(180, 180..190, 0), (86_400, 300..310, 1)] {
            let bus = MemoryBus::new(Some(folder.path().to_owned()));
            let handler = Arc::new(Broken(Instant::now() + Duration::from_secs(mended)));
            let subscription = Subscription { group: "g".to_owned(), topics: vec![Topic::Stock], handler };
            drop(bus.subscribe(subscription, CancellationToken::new()));
            let after = published(&bus).await.as_secs();
            assert!(took.contains(&after), "{after} s");
            let buried = LetterFiles::new(folder.path().to_owned()).read().await.expect("reads");
            assert_eq!(buried.len(), letters);
            assert!(bus.defects.lock().is_empty());
        }
    }

    #[tokio::test]
    async fn an_event_of_a_newer_program_is_passed_over_and_counted() {
        let (bus, metrics) = (Arc::new(MemoryBus::new(None)), Metrics::new("test"));
        let subscription =
            Subscription { group: "g".to_owned(), topics: vec![Topic::Stock], handler: Arc::new(Clumsy) };
        drop(bus.counted(&metrics).subscribe(subscription, CancellationToken::new()));
        let mut newer = message();
        newer.payload = String::from_utf8(newer.payload).expect("JSON").replace("stock.updated", "stock.moved").into();
        newer.headers.iter_mut().for_each(|(_, value)| *value = value.replace("stock.updated", "stock.moved"));
        bus.publish(&newer).await.expect("is passed over");
        let counted = r#"memory_events_passed_over_total{group="g",topic="stock-events"} 1"#;
        assert!(metrics.render().contains(counted), "{}", metrics.render());
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
        // It is a defect: for minutes somebody may mend it, and the publisher is told to come again.
        let begun = Instant::now();
        while bus.publish(&message()).await.is_err() {
            assert!(begun.elapsed() < Duration::from_mins(6), "comes for ever");
        }
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

    /// Takes up to four at once, all or none, a second each time, and notes how many; one number is poison.
    #[derive(Default)]
    struct Slow(parking_lot::Mutex<Vec<Vec<u128>>>);

    const POISON: u128 = 5;

    #[async_trait]
    impl Handler for Slow {
        async fn handle(&self, envelope: &Envelope) -> Result<(), HandleError> {
            self.handle_all(std::slice::from_ref(envelope)).await
        }

        fn at_once(&self) -> usize {
            4
        }

        async fn handle_all(&self, envelopes: &[Envelope]) -> Result<(), HandleError> {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let ids: Vec<_> = envelopes.iter().map(|envelope| envelope.id.as_u128()).collect();
            if ids.contains(&POISON) {
                return Err(HandleError::Rejected("no such product".into()));
            }
            self.0.lock().push(ids);
            Ok(())
        }
    }

    fn numbered(number: u128) -> Message {
        let envelope = Envelope::decode(&message()).expect("an event");
        Envelope { id: Uuid::from_u128(number), ..envelope }.encode()
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_published_meanwhile_takes_effect_together_and_poison_alone_is_buried() {
        let folder = tempfile::tempdir().expect("a folder");
        let (bus, handler) = (MemoryBus::new(Some(folder.path().to_owned())), Arc::new(Slow::default()));
        let subscription = Subscription { group: "g".to_owned(), topics: vec![Topic::Stock], handler: handler.clone() };
        drop(bus.subscribe(subscription, CancellationToken::new()));
        let messages: Vec<_> = (0..9).map(numbered).collect();
        let published = futures_util::future::join_all(messages.iter().map(|message| bus.publish(message))).await;
        assert!(published.iter().all(Result::is_ok), "{published:?}");
        let taken = handler.0.lock().clone();
        assert_eq!(taken[..2], [vec![0], vec![1, 2, 3, 4]]);
        // Those beside the poison, each alone.
        let mut others = taken[2..].concat();
        others.sort_unstable();
        assert_eq!(others, [6, 7, 8]);
        let buried = std::fs::read_to_string(folder.path().join("stock-events.dlq.jsonl")).expect("dead letters");
        assert_eq!(buried.lines().count(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_publisher_that_goes_away_takes_none_of_those_along_that_wait_with_it() {
        let (bus, handler) = (MemoryBus::new(None), Arc::new(Slow::default()));
        let subscription = Subscription { group: "g".to_owned(), topics: vec![Topic::Stock], handler: handler.clone() };
        drop(bus.subscribe(subscription, CancellationToken::new()));
        let messages: Vec<_> = (0..3).map(numbered).collect();
        let impatient =
            async |message| tokio::time::timeout(Duration::from_millis(1500), bus.publish(message)).await.is_ok();
        let (first, second, third) =
            tokio::join!(bus.publish(&messages[0]), impatient(&messages[1]), bus.publish(&messages[2]));
        first.expect("takes effect");
        third.expect("takes effect");
        assert!(!second, "it left while it served both");
        assert_eq!(*handler.0.lock(), [[0], [2]]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_letter_asked_for_of_a_shop_that_was_closed_for_weeks_is_not_sold_a_second_time() {
        let folder = tempfile::tempdir().expect("a folder");
        let letters = LetterFiles::new(folder.path().to_owned());
        let (handler, stop) = (Stubborn::new(0, false), CancellationToken::new());
        letters.bury(&message(), "g", "no such product").expect("is buried");
        letters.replay(&letters.read().await.expect("reads")[0]).await.expect("is asked for");
        let file = folder.path().join("stock-events.dlq.jsonl");
        let line = std::fs::read_to_string(&file).expect("letters");
        let now = shop_clock::rfc3339(SystemClock.now());
        let year = |back: i32| (now[..4].parse::<i32>().expect("a year") - back).to_string();
        let aged = line.replace(&format!(r#""buried_at":"{}"#, year(0)), &format!(r#""buried_at":"{}"#, year(1)));
        assert_ne!(line, aged);
        std::fs::write(&file, aged).expect("is written");

        let bus = MemoryBus::new(Some(folder.path().to_owned()));
        let (group, topics) = ("g".to_owned(), vec![Topic::Stock]);
        let driven = bus.subscribe(Subscription { group, topics, handler: handler.clone() }, stop.clone());
        let work = async {
            tokio::time::sleep(Duration::from_secs(10)).await;
            stop.cancel();
        };
        tokio::join!(driven, work);
        assert_eq!(handler.handled.load(Ordering::SeqCst), 0);
        assert_eq!(letters.read().await.expect("reads")[0].state, LetterState::Open, "it is there to be looked at");
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
