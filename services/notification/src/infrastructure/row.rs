//! How notifications, preferences and endpoints lie in their tables.

use std::collections::BTreeSet;

use shop_clock::{from_millis, millis};
use shop_events::{Envelope, Message};
use shop_fault::Fault;
use shop_sql::Value;
use uuid::Uuid;

use super::seals::Seals;
use crate::domain::{
    Channel, Endpoint, EndpointSettings, Error, EventType, Failure, HookUrl, Notification, Preferences, Result,
    SigningSecret, Status,
};

/// The columns of a [`NotificationRow`], for `concat!`.
macro_rules! columns {
    () => {
        "id, user_id, payment_id, channel, target, status, attempts, due_at, give_up_at, failure_code, \
         failure_message, payload, headers, version, created_at, updated_at, sent_at"
    };
}
pub(super) use columns;

/// The columns of an [`EndpointRow`], for `concat!`.
macro_rules! endpoint_columns {
    () => {
        "id, url, description, event_types, enabled, disabled_reason, secret, old_secret, old_secret_until, version, \
         created_at, updated_at, rotations"
    };
}
pub(super) use endpoint_columns;

/// A row of `notifications`.
#[derive(Debug, shop_sql::FromRow)]
pub(super) struct NotificationRow {
    pub(super) id: Uuid,
    user_id: String,
    payment_id: Uuid,
    channel: String,
    target: String,
    status: String,
    attempts: i64,
    due_at: i64,
    give_up_at: i64,
    failure_code: Option<String>,
    failure_message: Option<String>,
    payload: String,
    headers: String,
    pub(super) version: i64,
    created_at: i64,
    updated_at: i64,
    sent_at: Option<i64>,
}

impl TryFrom<NotificationRow> for Notification {
    type Error = Error;

    fn try_from(row: NotificationRow) -> Result<Self> {
        let headers = serde_json::from_str(&row.headers).map_err(Fault::internal)?;
        let payload = row.payload.into_bytes();
        // The topic and the key follow from the body.
        let message = Message { topic: String::new(), key: String::new(), headers, payload };
        let failure = row.failure_code.map(|code| Failure { code, message: row.failure_message.unwrap_or_default() });
        Ok(Self {
            id: row.id,
            event: Envelope::decode(&message).map_err(Fault::internal)?,
            user_id: row.user_id,
            payment_id: row.payment_id,
            channel: known(Channel::named(&row.channel), &row.channel)?,
            target: row.target,
            status: known(Status::named(&row.status), &row.status)?,
            attempts: row.attempts,
            due_at: from_millis(row.due_at),
            give_up_at: from_millis(row.give_up_at),
            failure,
            version: row.version,
            created_at: from_millis(row.created_at),
            updated_at: from_millis(row.updated_at),
            sent_at: row.sent_at.map(from_millis),
        })
    }
}

/// Adds notifications: rows of so many columns follow.
pub(super) const COLUMNS: usize = 19;
pub(super) const INSERT: &str = "INSERT INTO notifications (id, event_id, event_type, user_id, payment_id, channel, \
     target, status, attempts, due_at, give_up_at, failure_code, failure_message, payload, headers, version, \
     created_at, updated_at, sent_at) VALUES";

/// An event as it is kept with each of its notifications.
pub(super) struct Kept {
    payload: String,
    headers: String,
}

impl Kept {
    pub(super) fn new(event: &Envelope) -> Result<Self> {
        let message = event.encode();
        Ok(Self {
            payload: String::from_utf8(message.payload).map_err(Fault::internal)?,
            headers: serde_json::to_string(&message.headers).map_err(Fault::internal)?,
        })
    }
}

/// A row of [`INSERT`].
pub(super) fn inserted<'a>(new: &'a Notification, kept: &'a Kept) -> [Value<'a>; COLUMNS] {
    [
        Value::Id(new.id),
        Value::Id(new.event.id),
        Value::Text(new.event.event.event_type()),
        Value::Text(&new.user_id),
        Value::Id(new.payment_id),
        Value::Text(new.channel.as_str()),
        Value::Text(&new.target),
        Value::Text(new.status.as_str()),
        Value::Int(new.attempts),
        Value::Int(millis(new.due_at)),
        Value::Int(millis(new.give_up_at)),
        Value::Maybe(new.failure.as_ref().map(|failure| failure.code.as_str())),
        Value::Maybe(new.failure.as_ref().map(|failure| failure.message.as_str())),
        Value::Text(&kept.payload),
        Value::Text(&kept.headers),
        Value::Int(new.version),
        Value::Int(millis(new.created_at)),
        Value::Int(millis(new.updated_at)),
        Value::MaybeInt(new.sent_at.map(millis)),
    ]
}

/// Writes what can change of a notification, if it still has the version of the last parameter.
pub(super) const UPDATE: &str = "UPDATE notifications SET status = $1, attempts = $2, due_at = $3, give_up_at = $4, \
     failure_code = $5, failure_message = $6, version = $7, updated_at = $8, sent_at = $9 \
     WHERE id = $10 AND version = $11";

/// The parameters of [`UPDATE`].
pub(super) fn updated(changed: &Notification, seen: i64) -> [Value<'_>; 11] {
    [
        Value::Text(changed.status.as_str()),
        Value::Int(changed.attempts),
        Value::Int(millis(changed.due_at)),
        Value::Int(millis(changed.give_up_at)),
        Value::Maybe(changed.failure.as_ref().map(|failure| failure.code.as_str())),
        Value::Maybe(changed.failure.as_ref().map(|failure| failure.message.as_str())),
        Value::Int(changed.version),
        Value::Int(millis(changed.updated_at)),
        Value::MaybeInt(changed.sent_at.map(millis)),
        Value::Id(changed.id),
        Value::Int(seen),
    ]
}

/// Gives up a claimed notification that this version cannot read; a later one may, after a retry.
pub(super) const GIVE_UP: &str = "UPDATE notifications SET status = 'dead', failure_code = 'unreadable', \
     failure_message = 'this version of the service cannot read it', version = version + 1 \
     WHERE id = $1 AND version = $2";

/// A row of `preferences`.
#[derive(Debug, shop_sql::FromRow)]
pub(super) struct PreferencesRow {
    pub(super) user_id: String,
    email: Option<String>,
    email_enabled: i64,
    event_types: String,
    version: i64,
    updated_at: i64,
}

impl TryFrom<PreferencesRow> for Preferences {
    type Error = Error;

    fn try_from(row: PreferencesRow) -> Result<Self> {
        Ok(Self {
            user_id: row.user_id,
            email: row.email,
            email_enabled: row.email_enabled != 0,
            event_types: types(&row.event_types),
            version: row.version,
            updated_at: Some(from_millis(row.updated_at)),
        })
    }
}

/// A row of `webhook_endpoints`.
#[derive(Debug, shop_sql::FromRow)]
pub(super) struct EndpointRow {
    pub(super) id: Uuid,
    url: String,
    description: String,
    event_types: String,
    enabled: i64,
    disabled_reason: Option<String>,
    secret: String,
    old_secret: Option<String>,
    old_secret_until: Option<i64>,
    version: i64,
    created_at: i64,
    updated_at: i64,
    /// JSON: [[operation, milliseconds], …]
    rotations: Option<String>,
}

impl EndpointRow {
    /// The endpoint, its secrets opened.
    pub(super) fn opened(self, seals: &Seals) -> Result<Endpoint> {
        let row = self;
        let secret = |text: &str| {
            let opened = seals.open(row.id, text).map_err(Fault::internal)?;
            SigningSecret::parse(&opened).map_err(Fault::internal)
        };
        let old_secret = match (row.old_secret, row.old_secret_until) {
            (Some(text), Some(until)) => Some((secret(&text)?, from_millis(until))),
            _ => None,
        };
        let rotations: Vec<(Uuid, i64)> = row
            .rotations
            .map_or_else(|| Ok(Vec::new()), |text| serde_json::from_str(&text))
            .map_err(Fault::internal)?;
        Ok(Endpoint {
            id: row.id,
            settings: EndpointSettings {
                url: known(HookUrl::stored(&row.url), "url")?,
                description: row.description,
                event_types: types(&row.event_types),
                enabled: row.enabled != 0,
            },
            disabled_reason: row.disabled_reason,
            secret: secret(&row.secret)?,
            old_secret,
            rotations: rotations.into_iter().map(|(operation, at)| (operation, from_millis(at))).collect(),
            version: row.version,
            created_at: from_millis(row.created_at),
            updated_at: from_millis(row.updated_at),
        })
    }
}

/// An endpoint as it is written, its secrets sealed.
pub(super) struct Written {
    types: String,
    secret: String,
    old_secret: Option<String>,
    rotations: String,
}

impl Written {
    pub(super) fn new(endpoint: &Endpoint, seals: &Seals) -> Result<Self> {
        let seal = |secret: &SigningSecret| seals.seal(endpoint.id, secret.expose()).map_err(Fault::internal);
        let rotations: Vec<_> = endpoint.rotations.iter().map(|(operation, at)| (operation, millis(*at))).collect();
        Ok(Self {
            types: listed(&endpoint.settings.event_types),
            secret: seal(&endpoint.secret)?,
            old_secret: endpoint.old_secret.as_ref().map(|(secret, _)| seal(secret)).transpose()?,
            rotations: serde_json::to_string(&rotations).map_err(Fault::internal)?,
        })
    }

    /// The columns of `endpoint` in their order.
    pub(super) fn values<'a>(&'a self, endpoint: &'a Endpoint) -> [Value<'a>; 13] {
        [
            Value::Id(endpoint.id),
            Value::Text(endpoint.settings.url.as_str()),
            Value::Text(&endpoint.settings.description),
            Value::Text(&self.types),
            Value::Int(endpoint.settings.enabled.into()),
            Value::Maybe(endpoint.disabled_reason.as_deref()),
            Value::Text(&self.secret),
            Value::Maybe(self.old_secret.as_deref()),
            Value::MaybeInt(endpoint.old_secret.as_ref().map(|(_, until)| millis(*until))),
            Value::Int(endpoint.version),
            Value::Int(millis(endpoint.created_at)),
            Value::Int(millis(endpoint.updated_at)),
            Value::Text(&self.rotations),
        ]
    }
}

/// Event types in one text.
pub(super) fn listed(types: &BTreeSet<EventType>) -> String {
    types.iter().map(|kind| kind.as_str()).collect::<Vec<_>>().join(",")
}

fn types(text: &str) -> BTreeSet<EventType> {
    // One that this version does not know is of a later one: nobody is told about it here.
    text.split(',').filter_map(EventType::named).collect()
}

/// What a store holds was checked when it came in; anything else was written by others.
fn known<T>(found: Option<T>, text: &str) -> Result<T> {
    found.ok_or_else(|| Fault::internal(format!("the store holds `{text}`, which is none of ours")).into())
}
