//! A consumer: the messages of a partition in their order, those that wait together where its handler takes several, partitions
//! side by side, offsets after effects.

use std::collections::BTreeSet;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{CommitMode, Consumer as _, StreamConsumer};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::BorrowedMessage;
use rdkafka::{Offset, TopicPartitionList};
use shop_config::GroupProtocol;
use shop_events::{Delivery, Message, Subscription, deliver, deliver_all};
use shop_telemetry::{RequestContext, Span, context};
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::burial::bury;
use crate::client::{Link, SYSTEM};
use crate::partitions::{Job, JobId, Next, Outcome, Partitions};
use crate::pause::{BACK_OFF, sleep};
use crate::wire::{self, Place};

/// How often to look for a failed commit and try it again.
const COMMIT_AGAIN: Duration = Duration::from_secs(5);

/// The most messages taken in before handlers begin with them.
const TAKE: usize = 64;

/// Drives a subscription until `stop`, however often the brokers go away meanwhile.
pub(crate) async fn run(link: Arc<Link>, subscription: Subscription, stop: CancellationToken) {
    let mut pause = BACK_OFF.0;
    while !stop.is_cancelled() {
        let ended = match link.ready().await {
            Ok(()) => read(&link, &subscription, &stop).await.map_err(|e| e.to_string()),
            Err(error) => Err(link.availability.explain(error).to_string()),
        };
        if let Err(error) = ended {
            tracing::warn!(error = %error, group = %subscription.group, "cannot read events, trying again");
            sleep(pause, &stop).await;
            pause = (pause * 2).min(BACK_OFF.1);
        }
    }
}

/// Reads until `stop` or until clients are made anew (then leaves the group in order), or until the client cannot go on.
async fn read(link: &Arc<Link>, subscription: &Subscription, stop: &CancellationToken) -> KafkaResult<()> {
    // Before the client is made: it may be one of the old already.
    let anew = link.anew.subscribe();
    let (reader, asides) = Reader::open(link, subscription, stop)?;
    let ended = reader.read(asides, anew).await;
    reader.close().await;
    ended
}

struct Reader {
    link: Arc<Link>,
    group: String,
    subscription: Subscription,
    consumer: Membership,
    partitions: Arc<Partitions>,
    stop: CancellationToken,
    asides: UnboundedSender<JobId>,
}

/// A place in the group. Whoever gives it up without [`Reader::close`], as when a runtime ends or a test fails in the middle, does not
/// wait until the brokers have heard of it: they may never answer.
struct Membership(Option<StreamConsumer<Partitions>>);

impl Deref for Membership {
    type Target = StreamConsumer<Partitions>;

    fn deref(&self) -> &Self::Target {
        self.0.as_ref().expect("it is taken at the end alone")
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        if let Some(consumer) = self.0.take() {
            // Where there is no thread to be had, it waits after all.
            let _ = std::thread::Builder::new().name("leave".to_owned()).spawn(|| drop(consumer));
        }
    }
}

/// A finished job and what became of it.
type Settled = (Job, Outcome);

impl Reader {
    fn open(
        link: &Arc<Link>,
        subscription: &Subscription,
        stop: &CancellationToken,
    ) -> KafkaResult<(Self, UnboundedReceiver<JobId>)> {
        let group = format!("{}{}", link.settings.group_prefix, subscription.group);
        // Ends the partitions when reading ends for another reason than `stop`, too.
        let stop = stop.child_token();
        let at_once = subscription.handler.at_once();
        let (lag, availability) = (link.counts.lag.clone(), link.availability.clone());
        let partitions = Partitions::new(group.clone(), at_once, lag, availability, stop.clone());
        let consumer = consumer(link, &group, partitions)?;
        let topics: Vec<_> = subscription.topics.iter().map(|topic| link.on_bus(topic.as_str())).collect();
        consumer.subscribe(&topics.iter().map(String::as_str).collect::<Vec<_>>())?;
        link.availability.tokens().give(consumer.client());
        let partitions = consumer.context().clone();
        let (link, subscription, consumer) = (link.clone(), subscription.clone(), Membership(Some(consumer)));
        let (asides, stepped) = mpsc::unbounded_channel();
        Ok((Self { link, group, subscription, consumer, partitions, stop, asides }, stepped))
    }

    /// Polls all the time, also while handlers wait for a dependency: a consumer that does not poll for
    /// `max.poll.interval.ms` is thrown out of its group.
    async fn read(&self, mut asides: UnboundedReceiver<JobId>, mut anew: watch::Receiver<u64>) -> KafkaResult<()> {
        let mut jobs = FuturesUnordered::new();
        let mut commit_again = tokio::time::interval(COMMIT_AGAIN);
        let tokens = self.link.availability.tokens();
        let mut changes = tokens.changes();
        let ended = loop {
            let next = tokio::select! {
                biased;
                () = self.stop.cancelled() => break Ok(()),
                Ok(()) = anew.changed() => break Ok(()),
                Some((job, outcome)) = jobs.next() => self.settle(job, outcome),
                Some(id) = asides.recv() => self.step_aside(&id),
                _ = commit_again.tick() => {
                    if self.partitions.commit_failed() {
                        self.commit(&self.partitions.done());
                    }
                    continue;
                }
                // Those who make them outlive this.
                Ok(()) = changes.changed() => {
                    tokens.give(self.consumer.client());
                    continue;
                }
                received = self.consumer.recv() => match self.take(received) {
                    Ok(begun) => {
                        jobs.extend(begun.into_iter().map(|job| self.start(job)));
                        continue;
                    }
                    Err(error) => break Err(error),
                },
            };
            jobs.extend(next.map(|job| self.start(job)));
        };
        self.stop.cancel();
        // What is at a handler may finish; nothing new starts.
        while let Some((job, outcome)) = jobs.next().await {
            self.settle(job, outcome);
        }
        ended
    }

    /// Takes in what was received and what is there beside it, and begins with it: so messages that came together are applied
    /// together. Nothing is waited for.
    fn take(&self, first: KafkaResult<BorrowedMessage<'_>>) -> KafkaResult<Vec<Job>> {
        let (mut arrived, mut taken, mut next) = (BTreeSet::new(), 0, Some(first));
        while let Some(received) = next {
            match received {
                Ok(message) => {
                    let (place, message) = wire::receive(&message, &self.link.settings.topic_prefix);
                    arrived.insert((place.topic.clone(), place.partition));
                    self.arrive(place, message);
                }
                Err(error @ KafkaError::MessageConsumptionFatal(_)) => return Err(error),
                // The client itself tries again; this is only news.
                Err(error) => self.link.availability.report(&error, &self.group),
            }
            taken += 1;
            next = if taken < TAKE { self.consumer.recv().now_or_never() } else { None };
        }
        Ok(arrived.iter().filter_map(|(topic, partition)| self.partitions.begin(topic, *partition)).collect())
    }

    fn arrive(&self, place: Place, message: Message) {
        let partition = only(&place.topic, place.partition);
        let next = self.partitions.arrive(place, message);
        self.act(&partition, next);
    }

    fn settle(&self, job: Job, outcome: Outcome) -> Option<Job> {
        let partition = only(&job.place.topic, job.place.partition);
        let next = self.partitions.settle(job, outcome);
        self.act(&partition, next)
    }

    fn step_aside(&self, id: &JobId) -> Option<Job> {
        let next = self.partitions.step_aside(id);
        self.act(&only(&id.topic, id.partition), next)
    }

    /// Does what a partition asks for.
    fn act(&self, partition: &TopicPartitionList, next: Next) -> Option<Job> {
        if let Some(offset) = next.commit {
            let mut position = partition.clone();
            // Fails only for offsets that are not a number.
            let _ = position.set_all_offsets(offset);
            self.commit(&position);
        }
        let flow = match (next.pause, next.resume) {
            (true, _) => self.consumer.pause(partition),
            (_, true) => self.consumer.resume(partition),
            _ => Ok(()),
        };
        if let Err(error) = flow {
            tracing::warn!(error = %error, "a partition could not be paused or resumed");
        }
        next.job
    }

    /// Commits without waiting; a failure is seen by the client's callback.
    fn commit(&self, positions: &TopicPartitionList) {
        if positions.count() > 0
            && let Err(error) = self.consumer.commit(positions, CommitMode::Async)
        {
            tracing::warn!(error = %error, "offsets were not committed");
        }
    }

    fn start(&self, job: Job) -> BoxFuture<'static, Settled> {
        if job.others.is_empty() { self.start_one(job) } else { self.start_all(job) }
    }

    /// Applies several together. None of them waits or is buried here: what did not take effect is tried alone.
    fn start_all(&self, job: Job) -> BoxFuture<'static, Settled> {
        let link = self.link.clone();
        let (group, handler) = (self.group.clone(), self.subscription.handler.clone());
        let arrived = |(place, message): (&Place, &Message)| self.arrived(place, message);
        let all = job.others.iter().map(|(place, message)| (place, message));
        let first = arrived((&job.place, &job.message));
        // The statements belong to the trace of the first: they cannot belong to all.
        let context = first.1.clone();
        let (mut spans, contexts): (Vec<_>, Vec<_>) = std::iter::once(first).chain(all.map(arrived)).unzip();
        let work = async move {
            let messages = std::iter::once(&job.message).chain(job.others.iter().map(|(_, message)| message));
            let messages: Vec<_> = messages.zip(&contexts).collect();
            let deliveries = deliver_all(handler.as_ref(), &group, &messages, link.policy).await;
            let outcome = if deliveries.is_some() { Outcome::Durable } else { Outcome::Apart };
            for delivery in deliveries.iter().flatten() {
                link.counts.settled(delivery, &group, &job.place.topic);
            }
            if outcome == Outcome::Apart {
                for span in &mut spans {
                    span.fail("not_together");
                }
            }
            drop(spans);
            shop_runtime::crash_point("consumer.before_commit");
            (job, outcome)
        };
        context::scope(context, work).boxed()
    }

    /// Begins the span of applying a message, and gives the context to do it in.
    fn arrived(&self, place: &Place, message: &Message) -> (Span, RequestContext) {
        let (mut span, context) = message.arrived(SYSTEM, &self.group);
        span.set("messaging.kafka.offset", place.offset);
        if span.is_recorded() {
            span.set("messaging.destination.partition.id", place.partition.to_string());
        }
        (span, context)
    }

    fn start_one(&self, job: Job) -> BoxFuture<'static, Settled> {
        let link = self.link.clone();
        let (group, handler) = (self.group.clone(), self.subscription.handler.clone());
        let (mut span, context) = self.arrived(&job.place, &job.message);
        let asides = self.asides.clone();
        let work = async move {
            // Fails when reading has ended; nothing new starts then.
            let aside = || drop(asides.send(job.id()));
            let delivery = deliver(handler.as_ref(), &group, &job.message, link.policy, &job.stop, &aside).await;
            delivery.tell(&mut span);
            drop(span);
            link.counts.settled(&delivery, &group, &job.place.topic);
            let durable = match delivery {
                Delivery::Done | Delivery::NotOurs | Delivery::Unknown(_) => true,
                Delivery::Dead(reason) => bury(&link, &job, &group, &reason, &aside).await,
                Delivery::Stopped => false,
            };
            shop_runtime::crash_point("consumer.before_commit");
            (job, if durable { Outcome::Durable } else { Outcome::Stopped })
        };
        context::scope(context, work).boxed()
    }

    /// Commits what is done, waits for that, and leaves the group.
    async fn close(self) {
        let done = self.partitions.done();
        let Self { mut consumer, partitions, group, .. } = self;
        drop(partitions);
        let closed = tokio::task::spawn_blocking(move || {
            // Dropped here, it leaves the group, which waits for the brokers.
            let Some(consumer) = consumer.0.take().filter(|_| done.count() > 0) else { return Ok(()) };
            consumer.commit(&done, CommitMode::Sync)
        });
        match closed.await {
            Ok(Ok(())) => tracing::debug!(group = %group, "left the consumer group"),
            Ok(Err(error)) => tracing::warn!(error = %error, group = %group, "left the group without a last commit"),
            Err(error) => tracing::error!(error = %error, group = %group, "leaving the group failed"),
        }
    }
}

fn consumer(link: &Link, group: &str, partitions: Partitions) -> KafkaResult<StreamConsumer<Partitions>> {
    let settings = &link.settings;
    let mut config = link.client.clone();
    config
        .set("group.id", group)
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        // A new group begins with what is there: events of before its first start count.
        .set("auto.offset.reset", "earliest")
        .set("group.protocol", settings.group_protocol.as_str())
        // Small messages, few at a time: what is fetched ahead per partition stays below 1 MiB.
        .set("queued.max.messages.kbytes", "1024")
        .set("fetch.error.backoff.ms", "200")
        // For the lag.
        .set("statistics.interval.ms", "5000");
    if settings.group_protocol == GroupProtocol::Classic {
        let session = settings.session_timeout.get();
        config
            // Partitions that stay where they are go on during a rebalance.
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("session.timeout.ms", session.as_millis().to_string())
            .set("heartbeat.interval.ms", (session / 4).as_millis().to_string());
    }
    if !settings.group_instance_id.is_empty() {
        config.set("group.instance.id", &settings.group_instance_id);
    }
    StreamConsumer::from_config_and_context(&config, partitions)
}

/// A list of one partition.
fn only(topic: &str, partition: i32) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    // Fails only for offsets that are not a number.
    let _ = list.add_partition_offset(topic, partition, Offset::Invalid);
    list
}
