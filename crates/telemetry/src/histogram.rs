//! Durations with examples: each bucket keeps the trace that was last counted in it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use prometheus::HistogramVec;
use prometheus::proto::LabelPair;

use crate::{TraceParent, context};

/// Bounds in seconds for what a client waits for: from a cache's answer to a time-out.
pub const LATENCY_BUCKETS: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Buckets with the one beyond all bounds.
const SLOTS: usize = LATENCY_BUCKETS.len() + 1;

/// A histogram of seconds in [`LATENCY_BUCKETS`]. Clones share it.
#[derive(Debug, Clone)]
pub struct Histogram {
    plain: prometheus::Histogram,
    exemplars: Arc<Exemplars>,
}

impl Histogram {
    pub(crate) fn new(plain: prometheus::Histogram) -> Self {
        Self { plain, exemplars: Arc::default() }
    }

    /// Counts `seconds`, with the trace at hand as an example.
    pub fn observe(&self, seconds: f64) {
        self.plain.observe(seconds);
        if let Some(trace) = context::with(|context| context.trace) {
            self.exemplars.keep(seconds, trace);
        }
    }

    /// Counts `seconds`, with `trace` as an example.
    pub fn observe_in(&self, seconds: f64, trace: TraceParent) {
        self.plain.observe(seconds);
        self.exemplars.keep(seconds, trace);
    }

    /// The numbers alone.
    pub fn plain(&self) -> &prometheus::Histogram {
        &self.plain
    }

    pub(crate) fn exemplars(&self) -> Arc<Exemplars> {
        self.exemplars.clone()
    }
}

/// A [`Histogram`] per combination of labels. Resolve them once where labels are known beforehand.
#[derive(Debug, Clone)]
pub struct Histograms {
    plain: HistogramVec,
    labels: Arc<[String]>,
    known: Arc<Mutex<HashMap<Vec<String>, Histogram>>>,
}

impl Histograms {
    pub(crate) fn new(plain: HistogramVec, labels: &[&str]) -> Self {
        Self { plain, labels: labels.iter().map(|label| (*label).to_owned()).collect(), known: Arc::default() }
    }

    /// The examples of the one whose labels are shown so.
    pub(crate) fn exemplars(&self, shown: &[LabelPair]) -> Option<Arc<Exemplars>> {
        let value = |label: &String| shown.iter().find(|pair| pair.name() == label).map(|pair| pair.value().to_owned());
        let key: Vec<String> = self.labels.iter().map(value).collect::<Option<_>>()?;
        Some(self.known.lock().get(&key)?.exemplars())
    }

    /// The one of these labels.
    ///
    /// # Panics
    ///
    /// When there are more or fewer values than labels: a mistake in the program.
    pub fn with_label_values(&self, values: &[&str]) -> Histogram {
        let key: Vec<String> = values.iter().map(|value| (*value).to_owned()).collect();
        let mut known = self.known.lock();
        known.entry(key).or_insert_with(|| Histogram::new(self.plain.with_label_values(values))).clone()
    }
}

/// An example a bucket; room for them is made with the first.
#[derive(Debug, Default)]
pub(crate) struct Exemplars(OnceLock<Box<[Slot; SLOTS]>>);

/// One trace that was counted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Exemplar {
    pub(crate) trace: u128,
    pub(crate) seconds: f64,
    /// When, in milliseconds since 1970.
    pub(crate) at: u64,
}

impl Exemplars {
    /// Keeps what can be looked up: a trace that nobody records is no example.
    fn keep(&self, seconds: f64, trace: TraceParent) {
        if !trace.is_recorded() {
            return;
        }
        let slots = self.0.get_or_init(Box::default);
        let bucket = LATENCY_BUCKETS.partition_point(|bound| *bound < seconds);
        slots[bucket].write(Exemplar { trace: trace.number(), seconds, at: now() });
    }

    /// The example of a bucket, counted from the smallest.
    pub(crate) fn of(&self, bucket: usize) -> Option<Exemplar> {
        self.0.get()?.get(bucket)?.read()
    }
}

#[expect(clippy::disallowed_methods, reason = "an example tells the real time, also in tests that set another")]
fn now() -> u64 {
    let now = time::OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000_000;
    u64::try_from(now).unwrap_or_default()
}

/// An example that is written without a lock: who meets another writer leaves it, who reads meanwhile finds none.
#[derive(Debug, Default)]
struct Slot {
    /// Even when the words belong together, 0 when there never was one.
    turn: AtomicU64,
    words: [AtomicU64; 4],
}

impl Slot {
    fn write(&self, exemplar: Exemplar) {
        let turn = self.turn.load(Ordering::Relaxed);
        let is_free = turn.is_multiple_of(2);
        if !is_free || self.turn.compare_exchange(turn, turn + 1, Ordering::Acquire, Ordering::Relaxed).is_err() {
            return;
        }
        fence(Ordering::Release);
        let words = [high(exemplar.trace), low(exemplar.trace), exemplar.seconds.to_bits(), exemplar.at];
        for (place, word) in self.words.iter().zip(words) {
            place.store(word, Ordering::Relaxed);
        }
        self.turn.store(turn + 2, Ordering::Release);
    }

    fn read(&self) -> Option<Exemplar> {
        let turn = self.turn.load(Ordering::Acquire);
        let [high, low, seconds, at] = [0, 1, 2, 3].map(|word: usize| self.words[word].load(Ordering::Relaxed));
        fence(Ordering::Acquire);
        let whole = turn != 0 && turn.is_multiple_of(2) && self.turn.load(Ordering::Relaxed) == turn;
        let trace = u128::from(high) << 64 | u128::from(low);
        whole.then_some(Exemplar { trace, seconds: f64::from_bits(seconds), at })
    }
}

fn high(number: u128) -> u64 {
    u64::try_from(number >> 64).unwrap_or_default()
}

fn low(number: u128) -> u64 {
    u64::try_from(number & u128::from(u64::MAX)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recorded(trace: u128) -> TraceParent {
        format!("00-{trace:032x}-b7ad6b7169203331-01").parse().expect("well formed")
    }

    #[test]
    fn a_bucket_keeps_the_last_recorded_trace() {
        let exemplars = Exemplars::default();
        assert_eq!(exemplars.of(2), None);
        exemplars.keep(0.003, TraceParent::random());
        assert_eq!(exemplars.of(2), None, "nobody records it");
        exemplars.keep(0.003, recorded(1 << 100));
        exemplars.keep(0.005, recorded(7));
        exemplars.keep(99.0, recorded(8));
        let kept = |bucket| exemplars.of(bucket).map(|kept| (kept.trace, kept.seconds));
        assert_eq!((kept(1), kept(2), kept(13)), (None, Some((7, 0.005)), Some((8, 99.0))));
    }

    #[test]
    fn an_example_is_never_put_together_from_two() {
        let slot = Slot::default();
        std::thread::scope(|scope| {
            for writer in 1..=2_u64 {
                let slot = &slot;
                scope.spawn(move || {
                    let trace = u128::from(writer) << 64 | u128::from(writer);
                    #[expect(clippy::cast_precision_loss, reason = "one and two")]
                    let seconds = writer as f64;
                    for _ in 0..50_000 {
                        slot.write(Exemplar { trace, seconds, at: writer });
                    }
                });
            }
            for _ in 0..50_000 {
                if let Some(Exemplar { trace, seconds, at }) = slot.read() {
                    #[expect(clippy::cast_precision_loss, reason = "one and two")]
                    let same = (high(trace), low(trace), seconds) == (at, at, at as f64);
                    assert!(same, "{trace:x} {seconds} {at}");
                }
            }
        });
    }
}
