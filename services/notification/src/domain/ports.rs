//! What the service needs: a store, and the ways out.

use std::collections::BTreeSet;

use async_trait::async_trait;
use shop_events::Envelope;
use shop_page::Slice;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{
    Channel, Endpoint, Expected, Notification, Outcome, Preferences, Recipients, Result, SigningSecret, Status,
};

/// What to make of an event, given who might be told. The store owns the transaction and may run it twice.
pub(crate) type Plan<'a> = &'a (dyn Fn(&Envelope, &Recipients) -> Vec<Notification> + Sync);

/// An event to make notifications of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct News<'a> {
    /// The event.
    pub(crate) event: &'a Envelope,
    /// Whose it is.
    pub(crate) user_id: &'a str,
    /// Whether he may want an e-mail of it; otherwise nobody gets one, whatever he wants.
    pub(crate) mails: bool,
}

/// A change of one thing; pure like a [`Plan`].
pub(crate) type Change<'a, T> = &'a (dyn Fn(&mut T) -> Result<()> + Sync);

/// Which notifications to list.
#[derive(Debug, Clone, Default)]
pub(crate) struct Filter {
    /// Only what belongs to this user, whoever is asked for.
    pub(crate) owner: Option<String>,
    /// Only this user's.
    pub(crate) user_id: Option<String>,
    /// Only with this status.
    pub(crate) status: Option<Status>,
    /// Only by this way.
    pub(crate) channel: Option<Channel>,
}

/// Which notifications to take for sending.
#[derive(Debug)]
pub(crate) struct Claim<'a> {
    /// By this way.
    pub(crate) channel: Channel,
    /// None for these: they have as many attempts under way as they may.
    pub(crate) except: &'a [String],
    /// The present time.
    pub(crate) now: OffsetDateTime,
    /// When others may take them again, unless they are settled before.
    pub(crate) until: OffsetDateTime,
    /// Not more than these.
    pub(crate) limit: usize,
}

/// What waits to be sent by one channel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Waiting {
    /// How many.
    pub(crate) count: i64,
    /// When the oldest of them came.
    pub(crate) oldest: Option<OffsetDateTime>,
}

/// The notifications.
#[async_trait]
pub(crate) trait Notifications: Send + Sync {
    /// Stores what `plan` makes of events, once per event id, all of it or nothing; nothing of those whose user was erased since they
    /// happened. The ways by which something is to be sent: none when it was done before.
    async fn announce(&self, news: &[News<'_>], plan: Plan<'_>, now: OffsetDateTime) -> Result<BTreeSet<Channel>>;

    /// The notification of that id; `NotFound` when there is none.
    async fn get(&self, id: Uuid) -> Result<Notification>;

    /// One page; its cost does not depend on how deep it lies.
    async fn list(&self, filter: &Filter, after: Option<Uuid>, limit: usize) -> Result<Slice<Notification, Uuid>>;

    /// Changes a notification while nobody else can.
    async fn change(&self, id: Uuid, change: Change<'_, Notification>) -> Result<Notification>;

    /// Takes what is due, marks it as sending and counts the attempt. No two callers get the same one.
    async fn claim(&self, claim: &Claim<'_>) -> Result<Vec<Notification>>;

    /// The ways by which something is due.
    async fn due(&self, now: OffsetDateTime) -> Result<BTreeSet<Channel>>;

    /// Stores what became of a claimed one that had version `seen`; false when somebody else has it meanwhile.
    async fn settle(&self, settled: &Notification, seen: i64) -> Result<bool>;

    /// What waits to be sent by `channel`.
    async fn waiting(&self, channel: Channel) -> Result<Waiting>;

    /// Deletes up to `limit` that were finished before `before`; how many.
    async fn forget(&self, before: OffsetDateTime, limit: i64) -> Result<u64>;
}

/// What users want.
#[async_trait]
pub(crate) trait PreferenceStore: Send + Sync {
    /// What the user said; [`Preferences::unsaid`] before that.
    async fn preferences(&self, user_id: &str) -> Result<Preferences>;

    /// Changes what the user said while nobody else can.
    async fn change_preferences(&self, user_id: &str, change: Change<'_, Preferences>) -> Result<Preferences>;
}

/// Where webhooks go.
#[async_trait]
pub(crate) trait Endpoints: Send + Sync {
    /// Adds an endpoint once per id: a repeat finds what the first call made. `TooManyEndpoints` when it is full.
    async fn add_endpoint(&self, endpoint: &Endpoint) -> Result<Endpoint>;

    /// The endpoint of that id; `EndpointNotFound` when there is none.
    async fn endpoint(&self, id: Uuid) -> Result<Endpoint>;

    /// One page, the newest first.
    async fn list_endpoints(&self, after: Option<Uuid>, limit: usize) -> Result<Slice<Endpoint, Uuid>>;

    /// Changes an endpoint while nobody else can.
    async fn change_endpoint(&self, id: Uuid, change: Change<'_, Endpoint>) -> Result<Endpoint>;

    /// Removes an endpoint if it is in the state that is expected.
    async fn remove_endpoint(&self, id: Uuid, expected: &Expected) -> Result<()>;
}

/// Persons who are to be forgotten.
#[async_trait]
pub(crate) trait Persons: Send + Sync {
    /// Deletes what is kept of the user of what happened up to `at`, once per event id, and lets no event from before then be
    /// announced any more.
    async fn erase(&self, event: Uuid, user_id: &str, at: OffsetDateTime, now: OffsetDateTime) -> Result<()>;

    /// Forgets who was erased so long before `now` that no event from before then can come any more; how many.
    async fn forget_erasures(&self, now: OffsetDateTime) -> Result<u64>;
}

/// A store is all four, so that an event's effect and its inbox entry are one transaction.
pub(crate) trait Store: Notifications + PreferenceStore + Endpoints + Persons {}

impl<S: Notifications + PreferenceStore + Endpoints + Persons> Store for S {}

/// An e-mail to send.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Letter<'a> {
    /// The notification's id, the same on every attempt: the `Message-ID` is made of it.
    pub(crate) id: Uuid,
    /// The address.
    pub(crate) to: &'a str,
    /// What happened.
    pub(crate) event: &'a Envelope,
}

/// Sends e-mail.
#[async_trait]
pub(crate) trait Mail: Send + Sync {
    /// Sends one; [`Outcome::Sent`] when the server took it over.
    async fn send(&self, letter: Letter<'_>) -> Outcome;
}

/// A webhook to send.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call<'a> {
    /// The notification's id, the same on every attempt: `webhook-id`.
    pub(crate) id: Uuid,
    /// Where to. Its host is looked up and judged when it is sent.
    pub(crate) url: &'a str,
    /// What to sign with, the newest first.
    pub(crate) secrets: &'a [SigningSecret],
    /// When it is sent: `webhook-timestamp`.
    pub(crate) at: OffsetDateTime,
    /// What happened.
    pub(crate) event: &'a Envelope,
}

/// Sends webhooks.
#[async_trait]
pub(crate) trait Hooks: Send + Sync {
    /// Sends one; [`Outcome::Sent`] when the receiver answered 2xx.
    async fn send(&self, call: Call<'_>) -> Outcome;
}
