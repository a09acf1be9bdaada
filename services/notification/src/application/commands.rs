//! The changes.

use std::sync::Arc;
use std::time::Duration;

use shop_clock::SharedClock;
use shop_events::{Envelope, Event};
use tokio::sync::watch;
use uuid::Uuid;

use crate::domain::{
    Channel, Channels, Endpoint, EndpointDraft, EndpointSettings, Error, Expected, News, Notification, Policy,
    Preferences, PreferencesDraft, Reach, Result, SigningSecret, Store, plan,
};

/// What the settings say about who is told, and how.
#[derive(Clone)]
pub(crate) struct Rules {
    /// Which channels there are.
    pub(crate) channels: Channels,
    /// How often and how long is tried.
    pub(crate) policy: Policy,
    /// How far webhooks may reach.
    pub(crate) reach: Reach,
    /// How long a rotated secret still signs.
    pub(crate) secret_overlap: Duration,
    /// Makes a secret that nobody can guess.
    pub(crate) new_secret: fn() -> SigningSecret,
}

/// Everything that changes what the service keeps.
#[derive(Clone)]
pub(crate) struct Commands {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: SharedClock,
    pub(crate) rules: Rules,
    /// Tells the delivery that something is due.
    pub(crate) wakes: Wakes,
}

/// Tells the delivery of a channel that something of it is due; the others go on sleeping.
#[derive(Clone, Default)]
pub(crate) struct Wakes {
    email: watch::Sender<()>,
    webhook: watch::Sender<()>,
    log: watch::Sender<()>,
}

impl Wakes {
    /// What wakes the delivery of `channel`.
    pub(crate) const fn of(&self, channel: Channel) -> &watch::Sender<()> {
        match channel {
            Channel::Email => &self.email,
            Channel::Webhook => &self.webhook,
            Channel::Log => &self.log,
        }
    }
}

impl Commands {
    /// Changes to `store`, dated by `clock`, under these rules.
    pub(crate) fn new(store: Arc<dyn Store>, clock: SharedClock, rules: Rules) -> Self {
        Self { store, clock, rules, wakes: Wakes::default() }
    }

    /// Makes notifications of events for everybody who is to be told, or forgets whom they erase; once per event id, and in their
    /// order.
    pub(crate) async fn hear(&self, events: &[Envelope]) -> Result<()> {
        for some in events.chunk_by(|one, other| erased(one).is_none() && erased(other).is_none()) {
            match (some, some.first().and_then(erased)) {
                ([event, ..], Some(user_id)) => {
                    self.store.erase(event.id, user_id, event.time, self.clock.now()).await?;
                }
                _ => self.announce(some).await?,
            }
        }
        Ok(())
    }

    /// Makes notifications. What is sent later belongs to the trace in which the event was taken up.
    async fn announce(&self, events: &[Envelope]) -> Result<()> {
        let (rules, clock, now) = (&self.rules, &self.clock, self.clock.now());
        let news = |event| Some(News { event, user_id: user_of(event)?, mails: rules.channels.email });
        let news: Vec<_> = events.iter().filter_map(news).collect();
        if news.is_empty() {
            return Ok(());
        }
        let made = |event: &_, recipients: &_| {
            plan(event, rules.channels, recipients, rules.policy.give_up_after, now, || clock.new_id())
        };
        for channel in self.store.announce(&news, &made, now).await? {
            self.wakes.of(channel).send_replace(());
        }
        Ok(())
    }

    /// Makes a notification due at once that was given up or waits, if it is in the state that is expected.
    pub(crate) async fn retry(&self, id: Uuid, expected: &Expected) -> Result<Notification> {
        let (policy, now) = (self.rules.policy, self.clock.now());
        let retry = |notification: &mut Notification| {
            let seen = notification.version;
            notification.retry(policy, now)?;
            if expected.admits(seen) { Ok(()) } else { Err(Error::VersionMismatch) }
        };
        let notification = self.store.change(id, &retry).await?;
        self.wakes.of(notification.channel).send_replace(());
        Ok(notification)
    }

    /// Replaces what a user wants, if it is in the state that is expected.
    pub(crate) async fn prefer(
        &self,
        user_id: &str,
        expected: &Expected,
        draft: &PreferencesDraft,
    ) -> Result<Preferences> {
        let now = self.clock.now();
        self.store.change_preferences(user_id, &|preferences| preferences.replace(draft, expected, now)).await
    }

    /// Adds an endpoint with a secret of its own; a repeat of the same `id` finds the first one.
    pub(crate) async fn add_endpoint(&self, id: Uuid, draft: &EndpointDraft) -> Result<Endpoint> {
        let settings = EndpointSettings::parse(draft, self.rules.reach)?;
        let endpoint = Endpoint::new(id, settings, (self.rules.new_secret)(), self.clock.now());
        self.store.add_endpoint(&endpoint).await
    }

    /// Replaces what a client may write, if the endpoint is in the state that is expected.
    pub(crate) async fn change_endpoint(
        &self,
        id: Uuid,
        expected: &Expected,
        draft: &EndpointDraft,
    ) -> Result<Endpoint> {
        let settings = EndpointSettings::parse(draft, self.rules.reach)?;
        let now = self.clock.now();
        self.store.change_endpoint(id, &|endpoint| endpoint.replace(settings.clone(), expected, now)).await
    }

    /// Gives an endpoint a new secret, once for each `operation`; the one before still signs for a while.
    pub(crate) async fn rotate_secret(&self, id: Uuid, operation: Uuid, expected: &Expected) -> Result<Endpoint> {
        let (secret, now) = ((self.rules.new_secret)(), self.clock.now());
        let overlap = time::Duration::try_from(self.rules.secret_overlap).unwrap_or(time::Duration::DAY);
        let rotate = |endpoint: &mut Endpoint| endpoint.rotate(operation, expected, secret.clone(), overlap, now);
        self.store.change_endpoint(id, &rotate).await
    }

    /// Removes an endpoint, if it is in the state that is expected. What waits to be sent there is given up.
    pub(crate) async fn remove_endpoint(&self, id: Uuid, expected: &Expected) -> Result<()> {
        self.store.remove_endpoint(id, expected).await
    }

    /// Sends nothing to an endpoint any more that says it is gone; fine when it was removed, or leads elsewhere, meanwhile.
    pub(crate) async fn disable_endpoint(&self, id: Uuid, url: &str, reason: &str) -> Result<()> {
        let now = self.clock.now();
        let disable = |endpoint: &mut Endpoint| {
            if endpoint.settings.url.as_str() == url {
                endpoint.disable(reason, now);
            }
            Ok(())
        };
        match self.store.change_endpoint(id, &disable).await {
            Ok(_) | Err(Error::EndpointNotFound(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// Whose payment an event is about.
fn user_of(event: &Envelope) -> Option<&str> {
    match &event.event {
        Event::PaymentCompleted(body) => Some(&body.user_id),
        Event::PaymentFailed(body) => Some(&body.user_id),
        Event::PaymentRefunded(body) => Some(&body.user_id),
        Event::PaymentRefundFailed(body) => Some(&body.user_id),
        Event::PaymentAuthorised(body) => Some(&body.user_id),
        Event::PaymentActionRequired(body) => Some(&body.user_id),
        Event::PaymentExpired(body) => Some(&body.user_id),
        Event::PaymentCancelled(body) => Some(&body.user_id),
        Event::PaymentDisputed(body) => Some(&body.user_id),
        Event::StockUpdated(_) | Event::BasketCleared(_) | Event::UserErased(_) => None,
    }
}

/// Whom an event erases.
fn erased(event: &Envelope) -> Option<&str> {
    match &event.event {
        Event::UserErased(body) => Some(&body.user_id),
        _ => None,
    }
}
