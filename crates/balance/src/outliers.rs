//! Backends that do worse than the others of their list: those that fail more of their calls, or take longer for them. They are
//! ejected for a while, as with Envoy's outlier detection.
//!
//! A breaker judges a backend by itself, and lets one pass that fails every tenth call. Here each is compared with the others, so
//! that what ails all of them, such as a store, is held against none.

use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::settings::OutlierDetection;

/// Of fewer that have enough calls nobody can say which is the odd one out.
const FEWEST: usize = 3;
/// Whatever others take, to be slower by less than this is no reason.
const LEAST_SLOWER: Duration = Duration::from_millis(5);
/// Who comes back again and again is away no longer than this.
const LONGEST: Duration = Duration::from_mins(5);

/// Why a backend was ejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Ejected {
    /// It fails more calls than the others.
    SuccessRate = 1,
    /// It takes longer than the others.
    Latency = 2,
}

impl Ejected {
    /// The reason in a word, which is that of its setting.
    pub const fn word(self) -> &'static str {
        match self {
            Self::SuccessRate => "success_rate",
            Self::Latency => "latency",
        }
    }
}

/// What is known of one backend. Calls write atomics; the rest is written once per interval.
#[derive(Debug, Default)]
pub struct Outlier {
    calls: AtomicU32,
    failed: AtomicU32,
    /// All calls together.
    micros: AtomicU64,
    /// An [`Ejected`], or 0.
    ejected: AtomicU8,
    history: Mutex<History>,
}

#[derive(Debug, Default)]
struct History {
    /// Until when it is ejected.
    until: Option<Instant>,
    /// How often it was, less the intervals in which it did well since.
    times: u32,
}

/// What a backend did in one interval.
#[derive(Debug, Clone, Copy)]
struct Sample {
    calls: f64,
    failed: f64,
    seconds: f64,
}

impl Outlier {
    /// Counts a call that `took` so long, until its answer began.
    pub fn note(&self, took: Duration, is_ill: bool) {
        self.calls.fetch_add(1, Relaxed);
        if is_ill {
            self.failed.fetch_add(1, Relaxed);
        }
        self.micros.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Relaxed);
    }

    /// Whether it is ejected, and why.
    #[inline]
    pub fn ejected(&self) -> Option<Ejected> {
        match self.ejected.load(Relaxed) {
            0 => None,
            1 => Some(Ejected::SuccessRate),
            _ => Some(Ejected::Latency),
        }
    }

    /// Nobody compares it any more.
    pub fn forget(&self) {
        self.ejected.store(0, Relaxed);
        *self.history.lock() = History::default();
    }

    /// What it did since this was last asked.
    #[expect(clippy::cast_precision_loss, reason = "microseconds of an interval")]
    fn take(&self) -> Sample {
        let (calls, failed) = (self.calls.swap(0, Relaxed), self.failed.swap(0, Relaxed));
        let seconds = self.micros.swap(0, Relaxed) as f64 / 1e6;
        Sample { calls: f64::from(calls), failed: f64::from(failed.min(calls)), seconds }
    }

    fn eject(&self, why: Ejected, now: Instant, shortest: Duration) {
        let mut history = self.history.lock();
        history.times = history.times.saturating_add(1);
        history.until = Some(now + shortest.saturating_mul(history.times).min(LONGEST.max(shortest)));
        self.ejected.store(why as u8, Relaxed);
    }

    /// Ends an ejection whose time is over.
    fn come_back(&self, now: Instant) -> bool {
        let mut history = self.history.lock();
        let is_over = history.until.is_some_and(|until| until <= now);
        if is_over {
            history.until = None;
            self.ejected.store(0, Relaxed);
        }
        is_over
    }

    /// It did as well as the others for an interval.
    fn did_well(&self) {
        let mut history = self.history.lock();
        history.times = history.times.saturating_sub(1);
    }
}

/// What the comparison of an interval led to: places of backends.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct News {
    /// They are ejected from now on.
    pub ejected: Vec<(usize, Ejected)>,
    /// Their time is over.
    pub back: Vec<usize>,
}

impl News {
    /// Whether there is any.
    pub fn is_empty(&self) -> bool {
        self.ejected.is_empty() && self.back.is_empty()
    }
}

/// Compares the backends of one list, interval by interval.
#[derive(Debug)]
pub struct Outliers {
    settings: OutlierDetection,
    begun: Instant,
    /// When the interval is over, in milliseconds from `begun`.
    due: AtomicU64,
}

impl Outliers {
    /// By these settings; nothing when they look at nothing.
    pub fn new(settings: &OutlierDetection) -> Option<Self> {
        let due = AtomicU64::new(millis(settings.interval.get()));
        settings.is_on().then(|| Self { settings: settings.clone(), begun: Instant::now(), due })
    }

    /// Whether an interval is over. True for one of those who ask; it goes on to [`compare`](Self::compare).
    #[inline]
    pub fn is_due(&self) -> bool {
        let (now, due) = (millis(self.begun.elapsed()), self.due.load(Relaxed));
        let next = now + millis(self.settings.interval.get());
        now >= due && self.due.compare_exchange(due, next, Relaxed, Relaxed).is_ok()
    }

    /// Compares what `backends` did since the last time. Nothing for those that take no part.
    pub fn compare(&self, backends: &[Option<&Outlier>]) -> News {
        self.compare_at(backends, Instant::now())
    }

    fn compare_at(&self, backends: &[Option<&Outlier>], now: Instant) -> News {
        let part = || backends.iter().enumerate().filter_map(|(place, outlier)| Some((place, (*outlier)?)));
        let mut news = News::default();
        let mut samples = Vec::new();
        for (place, outlier) in part() {
            let sample = outlier.take();
            if outlier.come_back(now) {
                news.back.push(place);
            } else if outlier.ejected().is_none() && sample.calls >= f64::from(self.settings.min_requests.get()) {
                samples.push((place, sample));
            }
        }
        let out = part().filter(|(_, outlier)| outlier.ejected().is_some()).count();
        // One may always be: of a few, no smaller share than that can be told apart.
        let most = (part().count() * self.settings.max_ejected as usize / 100).max(1);
        for (place, why) in self.worst(&samples).into_iter().take(most.saturating_sub(out)) {
            if let Some(outlier) = backends[place] {
                outlier.eject(why, now, self.settings.ejection_time.get());
                news.ejected.push((place, why));
            }
        }
        for outlier in samples.iter().filter_map(|(place, _)| backends[*place]) {
            if outlier.ejected().is_none() {
                outlier.did_well();
            }
        }
        news
    }

    /// Those that do worse than the others, by how much, the worst first.
    fn worst(&self, samples: &[(usize, Sample)]) -> Vec<(usize, Ejected)> {
        if samples.len() < FEWEST {
            return Vec::new();
        }
        let mut worst = Vec::new();
        for (mine, (place, sample)) in samples.iter().enumerate() {
            let others =
                || samples.iter().enumerate().filter(move |(other, _)| *other != mine).map(|(_, (_, one))| one);
            // How many times what it may be.
            let failing = self.settings.success_rate.map(|points| {
                let rate = |one: &Sample| 1.0 - one.failed / one.calls;
                let median = median(others().map(rate));
                (Ejected::SuccessRate, (median - rate(sample)) * 100.0 / f64::from(points.get()))
            });
            let slow = self.settings.latency.map(|times| {
                let mean = |one: &Sample| one.seconds / one.calls;
                let (took, median) = (mean(sample), median(others().map(mean)));
                let allowed = (median * f64::from(times.get())).max(median + LEAST_SLOWER.as_secs_f64());
                (Ejected::Latency, took / allowed)
            });
            let reasons = failing.into_iter().chain(slow).filter(|(_, excess)| *excess > 1.0);
            worst.extend(
                reasons.max_by(|one, other| one.1.total_cmp(&other.1)).map(|(why, excess)| (*place, why, excess)),
            );
        }
        worst.sort_by(|one, other| other.2.total_cmp(&one.2));
        worst.into_iter().map(|(place, why, _)| (place, why)).collect()
    }
}

/// The middle one, or the mean of the two in the middle; of none, 0.
fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    match (values.len() / 2, values.len() % 2) {
        (0, 0) => 0.0,
        (middle, 0) => f64::midpoint(values[middle - 1], values[middle]),
        (middle, _) => values[middle],
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX / 2)
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;

    fn number(number: u32) -> NonZeroU32 {
        NonZeroU32::new(number).expect("not 0")
    }

    fn both() -> OutlierDetection {
        OutlierDetection {
            success_rate: Some(number(10)),
            latency: Some(number(3)),
            min_requests: number(10),
            max_ejected: 50,
            ..OutlierDetection::default()
        }
    }

    /// Calls, of which so many failed, each of so many milliseconds.
    fn did(outlier: &Outlier, (calls, failed, millis): (u32, u32, u64)) {
        (0..calls).for_each(|call| outlier.note(Duration::from_millis(millis), call < failed));
    }

    fn compared(settings: &OutlierDetection, samples: &[(u32, u32, u64)]) -> Vec<(usize, Ejected)> {
        let all: Vec<_> = samples.iter().map(|_| Outlier::default()).collect();
        all.iter().zip(samples).for_each(|(outlier, sample)| did(outlier, *sample));
        let outliers = Outliers::new(settings).expect("is on");
        outliers.compare(&all.iter().map(Some).collect::<Vec<_>>()).ejected
    }

    #[test]
    fn who_does_worse_than_the_others_is_ejected() {
        use Ejected::{Latency as L, SuccessRate as S};
        let good = (100, 0, 20);
        for (samples, expected) in [
            (&[good, good, (100, 11, 20)][..], &[(2, S)][..]),
            (&[good, good, (100, 10, 20)], &[]),
            (&[good, (100, 0, 61), good], &[(1, L)]),
            (&[good, (100, 0, 60), good], &[]),
            // Whatever ails all of them is nobody's fault.
            (&[(100, 90, 900), (100, 95, 900), (100, 92, 900)], &[]),
            // Two cannot be told apart, nor can who had few calls.
            (&[good, (100, 100, 20)], &[]),
            (&[good, good, (9, 9, 20)], &[]),
            (&[good, (100, 100, 20), (9, 0, 20)], &[]),
            // A little slower is not slow.
            (&[(100, 0, 1), (100, 0, 1), (100, 0, 6)], &[]),
            (&[(100, 0, 1), (100, 0, 1), (100, 0, 7)], &[(2, L)]),
            // The worst of more than may be ejected.
            (&[good, (100, 20, 20), (100, 80, 20), good, good], &[(2, S), (1, S)]),
            (&[good, (100, 20, 20), (100, 80, 20)], &[(2, S)]),
        ] {
            assert_eq!(compared(&both(), samples), expected, "{samples:?}");
        }
        let only =
            |settings: OutlierDetection| compared(&settings, &[good, (100, 50, 20), good, (100, 0, 200), good, good]);
        assert_eq!(only(OutlierDetection { latency: None, ..both() }), [(1, S)]);
        assert_eq!(only(OutlierDetection { success_rate: None, ..both() }), [(3, L)]);
        assert_eq!(only(OutlierDetection { max_ejected: 0, ..both() }).len(), 1, "one may always be");
        assert!(Outliers::new(&OutlierDetection::default()).is_none());
    }

    #[test]
    fn an_ejection_ends_and_is_longer_for_who_was_ejected_before() {
        let outliers = Outliers::new(&both()).expect("is on");
        let all = [Outlier::default(), Outlier::default(), Outlier::default()];
        let list: Vec<_> = all.iter().map(Some).collect();
        let mut now = Instant::now();
        for seconds in [30, 60, 90] {
            all.iter().zip([(50, 0, 1), (50, 0, 1), (50, 50, 1)]).for_each(|(outlier, sample)| did(outlier, sample));
            assert_eq!(outliers.compare_at(&list, now).ejected, [(2, Ejected::SuccessRate)]);
            now += Duration::from_secs(seconds - 1);
            assert!(outliers.compare_at(&list, now).is_empty());
            assert_eq!(all[2].ejected(), Some(Ejected::SuccessRate));
            now += Duration::from_secs(1);
            assert_eq!(outliers.compare_at(&list, now).back, [2]);
            assert_eq!(all[2].ejected(), None);
        }
        // Intervals in which it does well make up for it.
        for failed in [0, 0, 0, 50] {
            assert!(outliers.compare_at(&list, now).is_empty());
            all.iter()
                .zip([(50, 0, 1), (50, 0, 1), (50, failed, 1)])
                .for_each(|(outlier, sample)| did(outlier, sample));
        }
        assert_eq!(outliers.compare_at(&list, now).ejected.len(), 1);
        now += Duration::from_secs(30);
        assert_eq!(outliers.compare_at(&list, now).back, [2]);
    }

    #[test]
    fn an_interval_is_over_for_one_of_those_who_ask() {
        let interval = shop_config::Duration::millis(10);
        let outliers = Outliers::new(&OutlierDetection { interval, ..both() }).expect("is on");
        while !outliers.is_due() {
            std::thread::yield_now();
        }
        let outliers = Outliers::new(&OutlierDetection { interval: shop_config::Duration::secs(3600), ..both() });
        assert!(!outliers.expect("is on").is_due());
    }
}
