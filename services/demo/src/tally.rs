//! What the shoppers met, counted.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::Serialize;

/// How far back the rate and the latencies on the screen look: long enough to be steady, short enough to see a switch.
const RECENT: Duration = Duration::from_secs(10);
/// Reasons told apart; a server that makes them up does not fill the memory.
const MOST_REASONS: usize = 64;

/// Everything since the beginning.
#[derive(Debug)]
pub(super) struct Tally {
    begun: Instant,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    recent: VecDeque<(Instant, Duration)>,
    latencies: Latencies,
    answers: Answers,
    reasons: BTreeMap<String, u64>,
    purchases: Purchases,
    webhooks: Webhooks,
}

/// Answers by class of status.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(super) struct Answers {
    /// Done.
    #[serde(rename = "2xx")]
    pub(super) fine: u64,
    /// Refused because of the call or the state.
    #[serde(rename = "4xx")]
    pub(super) refused: u64,
    /// Failed.
    #[serde(rename = "5xx")]
    pub(super) failed: u64,
    /// No answer at all.
    pub(super) none: u64,
}

/// What became of shoppers' wishes.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(super) struct Purchases {
    /// Paid.
    pub(super) completed: u64,
    /// The provider said no.
    pub(super) declined: u64,
    /// Paid back, wholly or partly.
    pub(super) refunded: u64,
    /// Left or cancelled before paying.
    pub(super) abandoned: u64,
    /// Times that a shelf was filled again.
    pub(super) restocked: u64,
}

/// Webhooks of the bank.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(super) struct Webhooks {
    /// Buyers who confirmed at their bank.
    pub(super) confirmed: u64,
    /// That were sent.
    pub(super) sent: u64,
    /// That the shop did not take.
    pub(super) refused: u64,
}

/// How one call ended.
#[derive(Debug, Clone, Copy)]
pub(super) enum Outcome<'a> {
    /// With this status and, when it is a problem, this reason.
    Answer(u16, Option<&'a str>),
    /// Without an answer, for this reason.
    Silence(&'a str),
}

/// What there is to show.
#[derive(Debug, Clone, Default)]
pub(super) struct Count {
    /// Since the beginning.
    pub(super) elapsed: Duration,
    /// Calls a second, lately.
    pub(super) rate: f64,
    /// Median and 99th percentile, lately.
    pub(super) lately: (Duration, Duration),
    /// The same of all calls, rounded up by a twentieth at most.
    pub(super) overall: (Duration, Duration),
    /// By class of status.
    pub(super) answers: Answers,
    /// By reason, of what did not go well.
    pub(super) reasons: BTreeMap<String, u64>,
    /// What became of shoppers' wishes.
    pub(super) purchases: Purchases,
    /// Webhooks of the bank.
    pub(super) webhooks: Webhooks,
}

impl Count {
    /// How many calls there were.
    pub(super) fn requests(&self) -> u64 {
        let Answers { fine, refused, failed, none } = self.answers;
        fine + refused + failed + none
    }
}

impl Tally {
    /// Nothing yet.
    pub(super) fn new() -> Self {
        Self { begun: Instant::now(), inner: Mutex::default() }
    }

    /// Counts one call.
    pub(super) fn call(&self, outcome: Outcome<'_>, took: Duration) {
        let now = Instant::now();
        let mut inner = self.inner.lock();
        inner.recent.push_back((now, took));
        inner.forget(now);
        inner.latencies.add(took);
        let (class, reason) = match outcome {
            Outcome::Answer(0..400, _) => (&mut inner.answers.fine, None),
            Outcome::Answer(400..500, reason) => (&mut inner.answers.refused, Some(reason.unwrap_or("unnamed"))),
            Outcome::Answer(_, reason) => (&mut inner.answers.failed, Some(reason.unwrap_or("unnamed"))),
            Outcome::Silence(reason) => (&mut inner.answers.none, Some(reason)),
        };
        *class += 1;
        if let Some(reason) = reason {
            let room = inner.reasons.len() < MOST_REASONS || inner.reasons.contains_key(reason);
            *inner.reasons.entry(if room { reason } else { "other" }.to_owned()).or_default() += 1;
        }
    }

    /// Counts a wish.
    pub(super) fn wish(&self, count: impl FnOnce(&mut Purchases)) {
        count(&mut self.inner.lock().purchases);
    }

    /// Counts a buyer whom a webhook is to tell of.
    pub(super) fn confirmed(&self) {
        self.inner.lock().webhooks.confirmed += 1;
    }

    /// Counts a webhook.
    pub(super) fn webhook(&self, is_taken: bool) {
        let webhooks = &mut self.inner.lock().webhooks;
        webhooks.sent += 1;
        webhooks.refused += u64::from(!is_taken);
    }

    /// What there is to show now.
    pub(super) fn count(&self) -> Count {
        let now = Instant::now();
        let mut inner = self.inner.lock();
        inner.forget(now);
        let elapsed = now.duration_since(self.begun);
        let mut lately: Vec<_> = inner.recent.iter().map(|(_, took)| *took).collect();
        let overall = (inner.latencies.quantile(50), inner.latencies.quantile(99));
        let (answers, reasons, purchases) = (inner.answers, inner.reasons.clone(), inner.purchases);
        let webhooks = inner.webhooks;
        drop(inner);
        lately.sort_unstable();
        let at = |percent: usize| lately.get((lately.len() * percent / 100).min(lately.len().saturating_sub(1)));
        let at = |percent| at(percent).copied().unwrap_or_default();
        #[expect(clippy::cast_precision_loss, reason = "a number to look at")]
        let rate = lately.len() as f64 / elapsed.min(RECENT).as_secs_f64().max(1.0);
        Count { elapsed, rate, lately: (at(50), at(99)), overall, answers, reasons, purchases, webhooks }
    }
}

impl Inner {
    fn forget(&mut self, now: Instant) {
        while self.recent.front().is_some_and(|(at, _)| now.duration_since(*at) > RECENT) {
            self.recent.pop_front();
        }
    }
}

/// Latencies in buckets that grow by a twentieth: a demo may run for days.
#[derive(Debug, Default)]
struct Latencies(BTreeMap<i32, u64>);

const GROWTH: f64 = 1.05;

impl Latencies {
    fn add(&mut self, took: Duration) {
        #[expect(clippy::cast_possible_truncation, reason = "a few hundred at most")]
        let bucket = took.as_secs_f64().max(1e-6).log(GROWTH).ceil() as i32;
        *self.0.entry(bucket).or_default() += 1;
    }

    fn quantile(&self, percent: u64) -> Duration {
        let all: u64 = self.0.values().sum();
        let mut below = 0;
        let found = self.0.iter().find(|(_, count)| {
            below += **count;
            below * 100 >= all * percent
        });
        found.map(|(bucket, _)| Duration::from_secs_f64(GROWTH.powi(*bucket))).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_counted_by_class_and_by_reason() {
        let tally = Tally::new();
        for _ in 0..98 {
            tally.call(Outcome::Answer(200, None), Duration::from_millis(10));
        }
        tally.call(Outcome::Answer(402, Some("payment_declined")), Duration::from_millis(900));
        tally.call(Outcome::Silence("timeout"), Duration::from_secs(10));
        tally.wish(|wishes| wishes.declined += 1);
        let count = tally.count();
        assert_eq!(count.requests(), 100);
        let Answers { fine, refused, failed, none } = count.answers;
        assert_eq!((fine, refused, failed, none), (98, 1, 0, 1));
        assert_eq!(count.reasons, [("payment_declined".to_owned(), 1), ("timeout".to_owned(), 1)].into());
        assert_eq!(count.purchases.declined, 1);
        assert_eq!(count.lately, (Duration::from_millis(10), Duration::from_secs(10)));
        let near = |took: Duration, wanted: f64| (wanted..wanted * 1.06).contains(&took.as_secs_f64());
        assert!(near(count.overall.0, 0.010) && near(count.overall.1, 0.900), "{:?}", count.overall);
    }

    #[test]
    fn nothing_counted_is_nothing_shown() {
        let count = Tally::new().count();
        assert_eq!((count.requests(), count.lately, count.overall), (0, Default::default(), Default::default()));
    }

    #[test]
    fn made_up_reasons_end_in_one_heap() {
        let tally = Tally::new();
        for number in 0..1000 {
            tally.call(Outcome::Answer(500, Some(&number.to_string())), Duration::ZERO);
        }
        let reasons = tally.count().reasons;
        assert_eq!(reasons.len(), MOST_REASONS + 1);
        assert_eq!(reasons.values().sum::<u64>(), 1000);
    }
}
