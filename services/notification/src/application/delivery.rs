//! Taking what is due, sending it, and keeping what became of it.
//!
//! A claim is a lease: it is written before anything is sent, so no two processes send the same notification, and one
//! that dies leaves its claims to be taken again when the lease is over. Receivers may then see a notification twice,
//! under the same id.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use shop_clock::chance;
use shop_fault::{Fault, Kind};
use time::OffsetDateTime;
use uuid::Uuid;

use super::Commands;
use crate::domain::{
    Call, Channel, Claim, Error, Failure, Hooks, Letter, Mail, Next, Notification, Outcome, Result, SigningSecret,
    Status,
};

/// Pause before an outcome is offered again to a store that is away.
const STORE_PAUSE: Duration = Duration::from_millis(500);

/// How much at once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Attempts under way at once, for each channel.
    pub(crate) concurrency: usize,
    /// The same to one target.
    pub(crate) per_target: usize,
    /// After so long a claim counts as left by a process that died: longer than any attempt takes.
    pub(crate) lease: Duration,
    /// How long finished notifications are kept.
    pub(crate) keep: Duration,
}

/// The endpoint of the settings.
#[derive(Clone)]
pub(crate) struct Configured {
    pub(crate) url: String,
    pub(crate) secret: SigningSecret,
}

/// Sends what is due.
#[derive(Clone)]
pub(crate) struct Delivery {
    pub(crate) commands: Commands,
    pub(crate) limits: Limits,
    /// None without a mail server in the settings.
    pub(crate) mail: Option<Arc<dyn Mail>>,
    pub(crate) hooks: Arc<dyn Hooks>,
    pub(crate) configured: Option<Configured>,
}

/// What was taken to be sent.
#[derive(Debug, Default)]
pub(crate) struct Claimed {
    /// To be sent now.
    pub(crate) notifications: Vec<Notification>,
    /// Whether more may be due: as many were taken as were asked for.
    pub(crate) more: bool,
}

/// What became of an attempt, for those who count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Delivered {
    /// The other side has it.
    Sent,
    /// It will be tried again.
    Later(Failure),
    /// It is given up.
    Dead(Failure),
    /// Another process had taken it over meanwhile.
    Lost,
}

impl Delivery {
    /// Takes what is due by `channel`, given the targets of what is under way.
    pub(crate) async fn claim(&self, channel: Channel, busy: &HashMap<String, usize>) -> Result<Claimed> {
        let room = self.limits.concurrency.saturating_sub(busy.values().sum());
        if room == 0 {
            return Ok(Claimed::default());
        }
        let full = busy.iter().filter(|(_, count)| **count >= self.limits.per_target);
        let except: Vec<String> = full.map(|(target, _)| target.clone()).collect();
        let now = self.commands.clock.now();
        // All of them may be for the busiest target that is not full.
        let busiest = busy.values().filter(|count| **count < self.limits.per_target).max().copied().unwrap_or_default();
        let limit = room.min(self.limits.per_target - busiest);
        let claim = Claim { channel, except: &except, now, until: now + self.limits.lease, limit };
        let notifications = self.commands.store.claim(&claim).await?;
        let more = notifications.len() >= limit;
        Ok(Claimed { notifications, more })
    }

    /// Wakes the channels by which something is due.
    pub(crate) async fn wake(&self) -> Result<()> {
        for channel in self.commands.store.due(self.commands.clock.now()).await? {
            self.commands.wakes.of(channel).send_replace(());
        }
        Ok(())
    }

    /// Whether some that are due may wait for one that is under way to end.
    pub(crate) fn is_full(&self, busy: &HashMap<String, usize>) -> bool {
        busy.values().sum::<usize>() >= self.limits.concurrency
            || busy.values().any(|count| *count >= self.limits.per_target)
    }

    /// Sends a claimed notification and keeps what became of it.
    pub(crate) async fn deliver(&self, notification: Notification) -> Result<Delivered> {
        // A defect that one notification meets must not make it come back for ever, nor be felt by others.
        let sent = AssertUnwindSafe(self.send(&notification)).catch_unwind().await;
        let outcome = match sent {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(error)) => match Fault::from(error) {
                fault if fault.kind() == Kind::Unavailable => return Err(fault.into()),
                _ => Outcome::retry("internal", "the service failed over it"),
            },
            Err(_) => Outcome::retry("internal", "the service failed over it"),
        };
        let seen = notification.version;
        let mut settled = notification;
        let lease = settled.due_at;
        settled.settle(outcome, self.commands.rules.policy, chance::fraction(), self.commands.clock.now());
        if !self.keep_outcome(&settled, seen, lease).await? {
            return Ok(Delivered::Lost);
        }
        Ok(match (settled.status, settled.failure) {
            (Status::Dead, Some(failure)) => Delivered::Dead(failure),
            (_, Some(failure)) => Delivered::Later(failure),
            (_, None) => Delivered::Sent,
        })
    }

    /// Stores the outcome, as long as the lease lasts if the store is away: without it the receiver is told again.
    async fn keep_outcome(&self, settled: &Notification, seen: i64, lease: OffsetDateTime) -> Result<bool> {
        loop {
            match self.commands.store.settle(settled, seen).await {
                Err(Error::Store(fault)) if fault.kind() == Kind::Unavailable && self.commands.clock.now() < lease => {
                    tokio::time::sleep(STORE_PAUSE).await;
                }
                stored => return stored,
            }
        }
    }

    /// Forgets what was finished long ago, and who was erased then; how many.
    pub(crate) async fn forget(&self) -> Result<u64> {
        /// Rows per DELETE, so that no lock is held for long.
        const CHUNK: i64 = 500;
        let before = self.commands.clock.now() - self.limits.keep;
        let mut total = self.commands.store.forget_erasures(self.commands.clock.now()).await?;
        loop {
            let gone = self.commands.store.forget(before, CHUNK).await?;
            total += gone;
            if gone == 0 {
                return Ok(total);
            }
        }
    }

    async fn send(&self, notification: &Notification) -> Result<Outcome> {
        let event = &notification.event;
        Ok(match notification.channel {
            Channel::Log => {
                let kind = event.event.event_type();
                tracing::info!(event.id = %event.id, event.kind = kind, payment.id = %notification.payment_id, "{kind}");
                Outcome::Sent
            }
            Channel::Email => match &self.mail {
                Some(mail) => mail.send(Letter { id: notification.id, to: &notification.target, event }).await,
                None => Outcome::retry("channel_off", "there is no mail server in the settings"),
            },
            Channel::Webhook => self.call(notification).await?,
        })
    }

    async fn call(&self, notification: &Notification) -> Result<Outcome> {
        let now = self.commands.clock.now();
        let (url, secrets) = match notification.target.parse::<Uuid>() {
            Err(_) => match &self.configured {
                Some(endpoint) => (endpoint.url.clone(), vec![endpoint.secret.clone()]),
                None => return Ok(Outcome::retry("channel_off", "there is no webhook endpoint in the settings")),
            },
            Ok(id) => match self.commands.store.endpoint(id).await {
                Ok(endpoint) if !endpoint.settings.enabled => {
                    return Ok(Outcome::give_up("endpoint_disabled", "the endpoint is turned off"));
                }
                Ok(endpoint) => (endpoint.settings.url.as_str().to_owned(), endpoint.secrets(now)),
                Err(Error::EndpointNotFound(_)) => {
                    return Ok(Outcome::give_up("endpoint_removed", "the endpoint was removed"));
                }
                Err(error) => return Err(error),
            },
        };
        let call = Call { id: notification.id, url: &url, secrets: &secrets, at: now, event: &notification.event };
        let outcome = self.hooks.send(call).await;
        if let (Outcome::Failed { next: Next::Disable, failure }, Ok(id)) =
            (&outcome, notification.target.parse::<Uuid>())
        {
            self.commands.disable_endpoint(id, &url, &failure.message).await?;
        }
        Ok(outcome)
    }
}
