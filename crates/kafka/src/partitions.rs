//! What a consumer knows of each partition it holds: waiting messages, and how far their effects go.

use std::collections::{HashMap, VecDeque};
use std::error::Error;

use parking_lot::Mutex;
use prometheus::IntGaugeVec;
use rdkafka::client::{ClientContext, OAuthToken};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext, Rebalance};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::statistics::Statistics;
use rdkafka::{Offset, TopicPartitionList};
use shop_events::Message;
use tokio_util::sync::CancellationToken;

use crate::availability::Availability;
use crate::wire::Place;

/// Waiting messages at which a partition is paused, and down to which it is resumed.
const PAUSE: usize = 256;
const RESUME: usize = 64;

/// Effects after which the offset is committed although more messages wait.
const COMMIT_EVERY: u32 = 64;

/// Messages of a partition that may wait for a defect to be mended while others go on: with more, everything is broken.
const ASIDE: usize = 8;

/// Which message is meant, during which hold of its partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct JobId {
    pub(crate) topic: String,
    pub(crate) partition: i32,
    offset: i64,
    tenure: u64,
}

/// A message on its way to the handler, or several of a partition that go there together.
#[derive(Debug)]
pub(crate) struct Job {
    /// The first of them.
    pub(crate) place: Place,
    pub(crate) message: Message,
    /// What waited behind it, in its order.
    pub(crate) others: Vec<(Place, Message)>,
    /// Fires when the partition is taken away or the consumer stops.
    pub(crate) stop: CancellationToken,
    tenure: u64,
}

impl Job {
    pub(crate) fn id(&self) -> JobId {
        let Place { topic, partition, offset } = self.place.clone();
        JobId { topic, partition, offset, tenure: self.tenure }
    }

    fn offsets(&self) -> impl Iterator<Item = i64> {
        std::iter::once(&self.place).chain(self.others.iter().map(|(place, _)| place)).map(|place| place.offset)
    }
}

/// What became of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Every effect is durable.
    Durable,
    /// It was stopped.
    Stopped,
    /// Its messages did not take effect together: each is to be tried alone.
    Apart,
}

/// What the consumer has to do after a change of a partition.
#[derive(Debug, Default)]
pub(crate) struct Next {
    pub(crate) job: Option<Job>,
    pub(crate) commit: Option<Offset>,
    pub(crate) pause: bool,
    pub(crate) resume: bool,
}

/// One partition: its messages wait here while an earlier one is at the handler.
#[derive(Debug)]
struct Partition {
    /// Tells this hold of the partition from earlier ones, whose late results no longer count.
    tenure: u64,
    stop: CancellationToken,
    waiting: VecDeque<(Place, Message)>,
    /// What is at the handler: offsets and keys.
    running: Vec<(i64, String)>,
    /// What is still at the handler and lets others pass, but for those with its key.
    aside: Vec<(i64, String)>,
    paused: bool,
    /// Messages before this offset go to the handler one by one: they did not take effect together.
    alone_until: i64,
    /// The offset after the last one whose effect is durable.
    reached: Option<i64>,
    uncommitted: u32,
}

/// The partitions held, shared with the client's callbacks.
pub(crate) struct Partitions {
    group: String,
    /// Messages that go to the handler together.
    at_once: usize,
    lag: IntGaugeVec,
    availability: Availability,
    stop: CancellationToken,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    held: HashMap<(String, i32), Partition>,
    tenures: u64,
    commit_failed: bool,
}

impl Partitions {
    /// No partitions yet; of each, up to `at_once` messages go to the handler together. `stop` ends all of them.
    pub(crate) fn new(
        group: String,
        at_once: usize,
        lag: IntGaugeVec,
        availability: Availability,
        stop: CancellationToken,
    ) -> Self {
        Self { group, at_once, lag, availability, stop, state: Mutex::default() }
    }

    /// Takes in a message just received. What came with it should be taken in before anything [begins](Self::begin).
    pub(crate) fn arrive(&self, place: Place, message: Message) -> Next {
        let mut state = self.state.lock();
        let State { held, tenures, .. } = &mut *state;
        let partition = held.entry((place.topic.clone(), place.partition)).or_insert_with(|| {
            *tenures += 1;
            Partition::new(*tenures, self.stop.child_token())
        });
        partition.waiting.push_back((place, message));
        let pause = partition.waiting.len() >= PAUSE && !partition.paused;
        partition.paused |= pause;
        Next { pause, ..Next::default() }
    }

    /// Begins with what waits in a partition.
    pub(crate) fn begin(&self, topic: &str, partition: i32) -> Option<Job> {
        let mut state = self.state.lock();
        state.held.get_mut(&(topic.to_owned(), partition))?.next(self.at_once)
    }

    /// Lets other keys go on while that job takes its time.
    pub(crate) fn step_aside(&self, id: &JobId) -> Next {
        let mut state = self.state.lock();
        let Some(partition) = state.held(&id.topic, id.partition, id.tenure) else { return Next::default() };
        if partition.aside.len() < ASIDE && partition.running.iter().any(|(offset, _)| *offset == id.offset) {
            partition.aside.append(&mut partition.running);
        }
        let job = if self.stop.is_cancelled() { None } else { partition.next(self.at_once) };
        Next { job, ..Next::default() }
    }

    /// Notes what became of a job.
    pub(crate) fn settle(&self, job: Job, outcome: Outcome) -> Next {
        let mut state = self.state.lock();
        let Some(partition) = state.held(&job.place.topic, job.place.partition, job.tenure) else {
            return Next::default();
        };
        match outcome {
            Outcome::Durable => job.offsets().for_each(|offset| partition.settled(offset)),
            Outcome::Apart => partition.put_back(job),
            Outcome::Stopped => {}
        }
        let goes_on = outcome != Outcome::Stopped && !self.stop.is_cancelled();
        let next = if goes_on { partition.next(self.at_once) } else { None };
        let due = partition.uncommitted >= COMMIT_EVERY || (next.is_none() && partition.uncommitted > 0);
        let commit = partition.done().filter(|_| due);
        if due {
            partition.uncommitted = 0;
        }
        let resume = partition.paused && partition.waiting.len() <= RESUME;
        partition.paused &= !resume;
        Next { job: next, commit, pause: false, resume }
    }

    /// Every offset whose effect is durable.
    pub(crate) fn done(&self) -> TopicPartitionList {
        let state = self.state.lock();
        positions(
            state.held.iter().filter_map(|((topic, number), partition)| Some((topic, *number, partition.done()?))),
        )
    }

    /// Whether a commit failed since the last time this was asked.
    pub(crate) fn commit_failed(&self) -> bool {
        std::mem::take(&mut self.state.lock().commit_failed)
    }

    /// Lets go of partitions: what waits is dropped (somebody else will get it), what runs is told to stop.
    fn let_go(&self, lost: &TopicPartitionList) -> TopicPartitionList {
        let mut state = self.state.lock();
        let mut done = Vec::new();
        for element in lost.elements() {
            let (topic, number) = (element.topic().to_owned(), element.partition());
            // Fails only when there is no such gauge.
            let _ = self.lag.remove_label_values(&[&self.group, &topic, &number.to_string()]);
            if let Some(partition) = state.held.remove(&(topic.clone(), number)) {
                partition.stop.cancel();
                done.extend(partition.done().map(|offset| (topic, number, offset)));
            }
        }
        positions(done.iter().map(|(topic, partition, offset)| (topic, *partition, *offset)))
    }
}

impl Partition {
    fn new(tenure: u64, stop: CancellationToken) -> Self {
        let (waiting, aside) = (VecDeque::new(), Vec::new());
        Self {
            tenure,
            stop,
            waiting,
            running: Vec::new(),
            aside,
            paused: false,
            alone_until: 0,
            reached: None,
            uncommitted: 0,
        }
    }

    /// What to begin now: the first messages whose keys have nothing at the handler, up to `at_once` of them.
    fn next(&mut self, at_once: usize) -> Option<Job> {
        if !self.running.is_empty() {
            return None;
        }
        let (place, message) = self.take_free()?;
        let (mut others, alone) = (Vec::new(), place.offset < self.alone_until);
        while !alone && others.len() + 1 < at_once {
            let Some(other) = self.take_free() else { break };
            others.push(other);
        }
        let all = std::iter::once((&place, &message)).chain(others.iter().map(|(place, message)| (place, message)));
        self.running = all.map(|(place, message)| (place.offset, message.key.clone())).collect();
        Some(Job { place, message, others, stop: self.stop.clone(), tenure: self.tenure })
    }

    /// Takes the first message whose key has nothing that waits for a defect to be mended.
    fn take_free(&mut self) -> Option<(Place, Message)> {
        let free = |(_, message): &(Place, Message)| self.aside.iter().all(|(_, key)| *key != message.key);
        self.waiting.remove(self.waiting.iter().position(free)?)
    }

    /// Takes back what did not take effect together, to be tried one by one.
    fn put_back(&mut self, job: Job) {
        self.alone_until = job.offsets().last().map_or(self.alone_until, |last| last + 1);
        self.running.clear();
        self.waiting.push_front((job.place, job.message));
        self.waiting.extend(job.others);
        // What waited for others of its key is between them.
        self.waiting.make_contiguous().sort_unstable_by_key(|(place, _)| place.offset);
    }

    fn settled(&mut self, offset: i64) {
        self.running.retain(|(running, _)| *running != offset);
        self.aside.retain(|(aside, _)| *aside != offset);
        self.reached = self.reached.max(Some(offset + 1));
        self.uncommitted += 1;
    }

    /// The offset to commit: nothing before it is without its effect.
    fn done(&self) -> Option<Offset> {
        let at_the_handler = self.running.iter().chain(&self.aside).map(|(offset, _)| *offset);
        let unsettled = at_the_handler.chain(self.waiting.front().map(|(place, _)| place.offset)).min();
        let reached = self.reached?;
        Some(Offset::Offset(unsettled.map_or(reached, |unsettled| unsettled.min(reached))))
    }
}

impl State {
    /// A partition, if it is still held as it was then.
    fn held(&mut self, topic: &str, partition: i32, tenure: u64) -> Option<&mut Partition> {
        self.held.get_mut(&(topic.to_owned(), partition)).filter(|held| held.tenure == tenure)
    }
}

/// A list as the client wants it.
pub(crate) fn positions<'a>(of: impl Iterator<Item = (&'a String, i32, Offset)>) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for (topic, partition, offset) in of {
        // Fails only for offsets that are not a number.
        let _ = list.add_partition_offset(topic, partition, offset);
    }
    list
}

impl ClientContext for Partitions {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.availability.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.availability.report(&error, reason);
    }

    fn generate_oauth_token(&self, config: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        self.availability.generate_oauth_token(config)
    }

    fn stats(&self, statistics: Statistics) {
        if statistics.brokers.values().any(|broker| broker.nodeid >= 0 && broker.state == "UP") {
            self.availability.found();
        }
        for (topic, of) in &statistics.topics {
            for (partition, of) in of.partitions.iter().filter(|(_, of)| of.desired && of.consumer_lag >= 0) {
                let labels = [self.group.as_str(), topic.as_str(), &partition.to_string()];
                self.lag.with_label_values(&labels).set(of.consumer_lag);
            }
        }
    }
}

impl ConsumerContext for Partitions {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        let Rebalance::Revoke(partitions) = rebalance else { return };
        let done = self.let_go(partitions);
        if done.count() > 0
            && let Err(error) = consumer.commit(&done, CommitMode::Async)
        {
            tracing::debug!(error = %error, "offsets of partitions that leave were not committed");
        }
    }

    fn post_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        let Rebalance::Assign(partitions) = rebalance else { return };
        self.availability.joined();
        // A partition that comes back may still be paused from the last time.
        if let Err(error) = consumer.resume(partitions) {
            tracing::warn!(error = %error, "partitions could not be resumed");
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, _: &TopicPartitionList) {
        if let Err(error) = result {
            tracing::warn!(error = %error, "offsets were not committed, trying again");
            self.state.lock().commit_failed = true;
        }
    }
}
