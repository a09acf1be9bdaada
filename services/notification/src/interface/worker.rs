//! Sends what is due, channel by channel, from start to stop; and forgets what is old.

use std::collections::HashMap;
use std::time::Duration;

use prometheus::{IntCounterVec, IntGaugeVec};
use shop_fault::Fault;
use shop_runtime::{CancellationToken, crash_point};
use shop_telemetry::{KeyValue, Metrics, RequestContext, Span, SpanKind, context};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::application::{Delivered, Delivery, Queries};
use crate::domain::{Channel, Error, Notification};

/// Pause after the store failed.
const STORE_PAUSE: Duration = Duration::from_secs(1);

/// Time between two counts of what waits.
const MEASURE_EVERY: Duration = Duration::from_secs(5);

/// Time between two looks for what is old enough to forget.
const FORGET_EVERY: Duration = Duration::from_mins(10);

/// Sends what is due.
#[derive(Clone)]
pub(crate) struct Worker {
    delivery: Delivery,
    queries: Queries,
    interval: Duration,
    attempts: IntCounterVec,
    pending: IntGaugeVec,
    oldest: IntGaugeVec,
}

impl Worker {
    /// Sends what is new at once, and looks for what is due every `interval`.
    pub(crate) fn new(delivery: Delivery, queries: Queries, interval: Duration, metrics: &Metrics) -> Self {
        let attempts = "Attempts to send, by how they ended: sent, later, dead.";
        let pending = "Notifications that wait to be sent.";
        let oldest = "Age of the oldest notification that waits to be sent, in seconds.";
        Self {
            attempts: metrics.counters("notification_attempts_total", attempts, &["channel", "outcome"]),
            pending: metrics.gauges("notification_pending", pending, &["channel"]),
            oldest: metrics.gauges("notification_oldest_pending_seconds", oldest, &["channel"]),
            delivery,
            queries,
            interval,
        }
    }

    /// Wakes the channels by which something is due, and counts what waits, until `stop`: one look for all of them, as there is
    /// nothing most of the time.
    pub(crate) async fn look(self, stop: CancellationToken) {
        let mut measured: Option<Instant> = None;
        while stop.run_until_cancelled(tokio::time::sleep(self.interval)).await.is_some() {
            if let Err(error) = self.delivery.wake().await {
                told(error, "could not look for notifications to send, trying again");
            }
            if measured.is_none_or(|at| at.elapsed() >= MEASURE_EVERY) {
                for channel in Channel::ALL {
                    self.measure(channel).await;
                }
                measured = Some(Instant::now());
            }
        }
    }

    /// Sends what is due by `channel` until `stop`; then what is under way is finished.
    pub(crate) async fn run(self, channel: Channel, stop: CancellationToken) {
        let mut wake = self.delivery.commands.wakes.of(channel).subscribe();
        let mut busy: HashMap<String, usize> = HashMap::new();
        let mut under_way: JoinSet<String> = JoinSet::new();
        loop {
            // Everything that is due, as far as there is room for it.
            let failed = loop {
                if stop.is_cancelled() {
                    break false;
                }
                match self.delivery.claim(channel, &busy).await {
                    Ok(claimed) => {
                        for notification in claimed.notifications {
                            *busy.entry(notification.target.clone()).or_default() += 1;
                            let one = self.clone();
                            under_way.spawn(async move { one.attempt(notification).await });
                        }
                        if !claimed.more {
                            break false;
                        }
                    }
                    Err(error) => {
                        told(error, "could not look for notifications to send, trying again");
                        break true;
                    }
                }
            };
            // When one ends, others have its place only if there was none.
            let (held_back, again) = (self.delivery.is_full(&busy), Instant::now() + STORE_PAUSE);
            let mut freed = false;
            while !(freed && held_back) {
                tokio::select! {
                    biased;
                    () = stop.cancelled() => break,
                    Ok(()) = wake.changed() => break,
                    Some(ended) = under_way.join_next() => {
                        free(&mut busy, ended.ok());
                        freed = true;
                    }
                    () = tokio::time::sleep_until(again), if failed => break,
                }
            }
            while let Some(ended) = under_way.try_join_next() {
                free(&mut busy, ended.ok());
            }
            if stop.is_cancelled() {
                break;
            }
        }
        while under_way.join_next().await.is_some() {}
    }

    /// Forgets old notifications from time to time, until `stop`.
    pub(crate) async fn forget(self, stop: CancellationToken) {
        loop {
            let Some(forgotten) = stop.run_until_cancelled(self.delivery.forget()).await else { return };
            if let Err(error) = forgotten {
                told(error, "could not delete old notifications, trying later");
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(FORGET_EVERY) => {}
            }
        }
    }

    /// Sends one, in the trace of its event; gives back its target.
    async fn attempt(&self, notification: Notification) -> String {
        let (channel, target) = (notification.channel, notification.target.clone());
        let origin = &notification.event.context;
        let (span, trace) = shop_telemetry::arrive(origin.traceparent.as_deref(), SpanKind::Client, || {
            let id = KeyValue::new("shop.notification.id", notification.id.to_string());
            (format!("send {channel}").into(), vec![id, KeyValue::new("shop.notification.channel", channel.as_str())])
        });
        let request = origin.request_id.clone().unwrap_or_else(|| notification.id.to_string());
        let context = RequestContext::new(request, trace);
        context::scope(context, self.send(notification, span)).await;
        target
    }

    async fn send(&self, notification: Notification, mut span: Span) {
        let (id, channel) = (notification.id, notification.channel);
        crash_point("notification.before_send");
        let delivered = self.delivery.deliver(notification).await;
        let outcome = match delivered {
            Ok(Delivered::Sent) => {
                tracing::debug!(notification.id = %id, %channel, "notification sent");
                "sent"
            }
            Ok(Delivered::Later(failure)) => {
                let (code, message) = (failure.code, failure.message);
                span.fail(code.clone());
                tracing::info!(notification.id = %id, %channel, reason = code, "notification not sent, trying later: {message}");
                "later"
            }
            Ok(Delivered::Dead(failure)) => {
                let (code, message) = (failure.code, failure.message);
                span.fail(code.clone());
                tracing::warn!(notification.id = %id, %channel, reason = code, "notification given up: {message}");
                "dead"
            }
            Ok(Delivered::Lost) => return,
            Err(error) => {
                return told(error, "what became of a notification could not be stored; it may be sent again");
            }
        };
        self.attempts.with_label_values(&[channel.as_str(), outcome]).inc();
    }

    async fn measure(&self, channel: Channel) {
        let Ok(waiting) = self.queries.waiting(channel).await else { return };
        let age = waiting.oldest.map_or(0, |oldest| (self.delivery.commands.clock.now() - oldest).whole_seconds());
        self.pending.with_label_values(&[channel.as_str()]).set(waiting.count);
        self.oldest.with_label_values(&[channel.as_str()]).set(age);
    }
}

/// One attempt less is under way to this target.
fn free(busy: &mut HashMap<String, usize>, target: Option<String>) {
    let Some(target) = target else { return };
    if let Some(count) = busy.get_mut(&target) {
        *count -= 1;
        if *count == 0 {
            busy.remove(&target);
        }
    }
}

fn told(error: Error, message: &'static str) {
    tracing::warn!(cause = ?Fault::from(error), "{message}");
}
