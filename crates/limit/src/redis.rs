//! Counting together with other processes: one script in Redis takes a call off a client's budget, atomically and by the
//! server's clock.
//!
//! Redis is a help, not a need. When it is away or slow this process counts by itself from that moment on, without asking
//! again with each call: a task of its own looks whether Redis is back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use redis::RedisError;
use shop_clock::chance;
use shop_redis::{Connection, Script, Source};
use shop_telemetry::{About, KeyValue, Span, SpanKind};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::key::Key;
use crate::local::LocalCounter;
use crate::policy::Policy;
use crate::rate::{Rate, Verdict};
use crate::settings::RedisLimit;
use crate::{Counting, SharedObserver};

/// What Redis runs.
const SCRIPT: &str = include_str!("redis/gcra.lua");

/// Until Redis is looked for again the first time, and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// A connection that lasted as long was a good one.
const STEADY: Duration = Duration::from_secs(30);

/// Budgets in Redis, shared by all processes with the same server and prefix.
pub(crate) struct RedisCounter {
    source: Source,
    prefix: String,
    /// The longest that a call waits.
    timeout: Duration,
    script: Script,
    /// None while Redis is away.
    link: ArcSwapOption<Connection>,
    /// The link was lost.
    lost: Notify,
    /// Whether it was said that Redis is away.
    is_away: AtomicBool,
    observer: SharedObserver,
    /// Another limiter counts now, and says who does. Calls that began before still end here.
    is_replaced: Mutex<bool>,
}

/// What the script says.
struct Count {
    verdict: Verdict,
    /// Until the budget is full.
    full_in: Duration,
}

impl RedisCounter {
    /// Not connected yet.
    pub(crate) fn new(settings: &RedisLimit, observer: SharedObserver) -> Result<Self, String> {
        Ok(Self {
            source: settings.source()?,
            prefix: settings.key_prefix.clone(),
            timeout: settings.timeout.get(),
            script: Script::new(SCRIPT),
            link: ArcSwapOption::empty(),
            lost: Notify::new(),
            is_away: AtomicBool::new(false),
            observer,
            is_replaced: Mutex::new(false),
        })
    }

    /// Takes one call off what `key` may do: in Redis, as a part of `request`, or with `counter` when it is away.
    pub(crate) async fn check(&self, policy: &Policy, counter: &LocalCounter, key: Key, request: &Span) -> Verdict {
        if let Some(link) = self.link.load_full() {
            let span = request.part_of(SpanKind::Client, || self.about());
            let asked = self.ask(&link, &format!("{}{}:{key}", self.prefix, policy.key), policy.rate).await;
            match told(span, asked) {
                Ok(count) => {
                    // If Redis goes away, nobody begins anew.
                    counter.learn(key, count.full_in);
                    return count.verdict;
                }
                Err(error) => self.lose(link, &error),
            }
        }
        self.observer.fell_back();
        counter.check(key)
    }

    async fn ask(&self, link: &Connection, key: &str, rate: Rate) -> Result<Count, RedisError> {
        // Rounded up: a client may have a little less, never more.
        let interval = u64::try_from(rate.per_call.as_nanos().div_ceil(1000)).unwrap_or(u64::MAX);
        let mut call = self.script.call(&[key]);
        call.arg(interval).arg(rate.burst.get());
        let mut link = link.clone();
        let asked = tokio::time::timeout(self.timeout, call.invoke(&mut link));
        let (allowed, remaining, wait, full): (bool, u32, u64, u64) = asked.await.map_err(|_| late(self.timeout))??;
        let verdict = if allowed {
            let missing = rate.burst.get().saturating_sub(remaining);
            Verdict::Allowed { remaining, full_in: rate.per_call * missing }
        } else {
            Verdict::Refused { retry_after: Duration::from_micros(wait) }
        };
        Ok(Count { verdict, full_in: Duration::from_micros(full) })
    }

    /// What a call's span says, in OpenTelemetry's words for databases. Not the key, which is a client's address or name.
    fn about(&self) -> About {
        const OPERATION: &str = "EVALSHA";
        let (host, port) = self.source.place();
        let mut attributes = vec![
            KeyValue::new("db.system.name", "redis"),
            KeyValue::new("db.operation.name", OPERATION),
            KeyValue::new("db.namespace", self.source.database().to_string()),
            KeyValue::new("server.address", host),
        ];
        if port != 0 {
            attributes.push(KeyValue::new("server.port", i64::from(port)));
        }
        (OPERATION.into(), attributes)
    }

    /// Keeps connected until dropped.
    pub(crate) async fn keep(&self) {
        let mut pause = FIRST_PAUSE;
        loop {
            if self.link.load().is_none() {
                match self.connect().await {
                    Ok(link) => self.found(link),
                    Err(error) => self.missing(&error),
                }
            }
            let since = Instant::now();
            if self.link.load().is_some() {
                self.lost.notified().await;
            }
            pause = if since.elapsed() > STEADY { FIRST_PAUSE } else { pause };
            tokio::time::sleep(chance::around(pause)).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// A connection over which the script was seen to work in time.
    async fn connect(&self) -> Result<Connection, RedisError> {
        let link = self.source.connect().await?;
        let rate = Rate { per_call: Duration::from_millis(1), burst: std::num::NonZeroU32::MAX };
        self.ask(&link, &format!("{}probe", self.prefix), rate).await?;
        Ok(link)
    }

    /// From now on another limiter says who counts.
    pub(crate) fn replace(&self) {
        *self.is_replaced.lock() = true;
    }

    /// Says who counts, unless another limiter does.
    pub(crate) fn counts(&self, is_so: bool) {
        let is_replaced = self.is_replaced.lock();
        if !*is_replaced {
            self.observer.counting(if is_so { Counting::Redis } else { Counting::Local });
        }
    }

    fn found(&self, link: Connection) {
        self.link.store(Some(Arc::new(link)));
        self.is_away.store(false, SeqCst);
        self.counts(true);
        tracing::info!("clients' calls are counted in Redis at {}", self.source);
    }

    fn missing(&self, error: &RedisError) {
        if !self.is_away.swap(true, SeqCst) {
            let place = &self.source;
            tracing::warn!(%error, "Redis at {place} is away: this process counts clients' calls by itself");
        }
    }

    /// Gives the link up, unless another call did.
    fn lose(&self, link: Arc<Connection>, error: &RedisError) {
        let link = Some(link);
        let previous = self.link.compare_and_swap(&link, None);
        let is_first = previous.as_ref().zip(link.as_ref()).is_some_and(|(one, other)| Arc::ptr_eq(one, other));
        if is_first {
            self.counts(false);
            self.missing(error);
            self.lost.notify_one();
        }
    }
}

/// Tells a call's span how it ended.
fn told(mut span: Span, asked: Result<Count, RedisError>) -> Result<Count, RedisError> {
    if let Err(error) = &asked {
        let kind = if error.is_timeout() { "timeout" } else { error.code().unwrap_or_else(|| error.category()) };
        span.fail(kind.replace(' ', "_"));
    }
    asked
}

fn late(timeout: Duration) -> RedisError {
    std::io::Error::new(std::io::ErrorKind::TimedOut, format!("no answer within {timeout:?}")).into()
}

#[cfg(test)]
mod tests;
