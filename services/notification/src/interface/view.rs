//! Notifications, preferences and endpoints in JSON: as they are shown, and as they are sent in.

use salvo::oapi::{Array, Components, ToSchema};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use shop_web::idempotency::Canonical;
use shop_web::page::Listed;
use shop_web::{Problem, describe, schema};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::domain::{
    Channel, DESCRIPTION, EMAIL, Endpoint, EndpointDraft, EndpointSettings, EventType, MAX_EMAIL, MAX_EVENT_TYPES,
    MAX_URL, Notification, Preferences, PreferencesDraft, Reach, Status,
};

describe! {
    pub(super) StatusName = describe::names(Status::ALL.iter().map(|one| one.as_str()))
        .description("Where a notification stands") => "NotificationStatus";
    pub(super) ChannelName = describe::names(Channel::ALL.iter().map(|one| one.as_str()))
        .description("How a notification is sent") => "NotificationChannel";
    EventTypeName = describe::names(EventType::ALL.iter().map(|one| one.as_str()))
        .description("What users and receivers are told of") => "EventType";
    EventTypeNames = Array::new().items(EventTypeName::to_schema(&mut Components::new())).max_items(MAX_EVENT_TYPES);
    Attempts = describe::integer(0..=i64::from(i32::MAX)).example(1);
    Recipient = describe::string(1..=MAX_EMAIL).example("a…@shop.example");
    FailureCode = describe::string(1..=64).pattern("^[a-z][a-z0-9_]*$").example("timeout");
    FailureMessage = describe::string(1..=2000).example("the mail server did not answer in time");
    Email = describe::string(3..=MAX_EMAIL).format(describe::format("email")).example("ada@shop.example");
    EmailSent = describe::string(3..=MAX_EMAIL).pattern(EMAIL).example("ada@shop.example");
    HookUrlText = describe::string(8..=MAX_URL).format(describe::format("uri")).example("https://shop.example/hooks");
    HookUrlSent = describe::string(8..=MAX_URL - 1).format(describe::format("uri")).pattern(describe::PUBLIC)
        .example("https://shop.example/hooks");
    Description = describe::text(DESCRIPTION).example("the order desk");
    DisabledReason = describe::string(1..=500).example("it answered 410 Gone");
    Secret = describe::string(1..=200).pattern("^whsec_[A-Za-z0-9+/=]+$").example("whsec_c2hvcC1leGFtcGxlLXNlY3JldA==");
}

/// A notification as it is shown.
#[derive(Debug, Serialize, ToSchema)]
#[salvo(schema(name = "Notification"))]
pub(crate) struct NotificationView {
    /// Receivers see it too: in `Message-ID` or `webhook-id`, the same on every attempt.
    #[salvo(schema(value_type = describe::Id))]
    id: Uuid,
    /// The event it tells of.
    #[salvo(schema(value_type = describe::Id))]
    event_id: Uuid,
    /// What happened.
    #[salvo(schema(value_type = EventTypeName))]
    event_type: &'static str,
    /// Which payment.
    #[salvo(schema(value_type = describe::Id))]
    payment_id: Uuid,
    /// Whose payment.
    #[salvo(schema(value_type = schema::UserId))]
    user_id: String,
    /// How it is sent.
    #[salvo(schema(value_type = ChannelName))]
    channel: &'static str,
    /// An address with its middle left out, or an endpoint's id; null where there is none.
    #[salvo(schema(value_type = Option<Recipient>))]
    recipient: Option<String>,
    /// Where it stands; skipped is opted out or without an address, dead is given up.
    #[salvo(schema(value_type = StatusName))]
    status: &'static str,
    /// Attempts begun.
    #[salvo(schema(value_type = Attempts))]
    attempts: i64,
    /// When it is tried next; null when it is not.
    #[serde(with = "shop_clock::serde_rfc3339::option")]
    #[salvo(schema(value_type = Option<describe::Time>))]
    next_attempt_at: Option<OffsetDateTime>,
    /// What the last attempt ran into, or why it was skipped.
    failure: Option<FailureView>,
    /// When the event came.
    #[serde(with = "shop_clock::serde_rfc3339")]
    #[salvo(schema(value_type = describe::Time))]
    created_at: OffsetDateTime,
    /// When it was last changed.
    #[serde(with = "shop_clock::serde_rfc3339")]
    #[salvo(schema(value_type = describe::Time))]
    updated_at: OffsetDateTime,
    /// When the other side took it.
    #[serde(with = "shop_clock::serde_rfc3339::option")]
    #[salvo(schema(value_type = Option<describe::Time>))]
    sent_at: Option<OffsetDateTime>,
}

/// What an attempt ran into.
#[derive(Debug, Serialize, ToSchema)]
#[salvo(schema(name = "NotificationFailure"))]
pub(crate) struct FailureView {
    /// For programs.
    #[salvo(schema(value_type = FailureCode))]
    code: String,
    /// For people.
    #[salvo(schema(value_type = FailureMessage))]
    message: String,
}

impl Listed for NotificationView {
    const PLURAL: &'static str = "notifications";
    const PAGE: &'static str = "NotificationPage";
}

impl From<Notification> for NotificationView {
    fn from(notification: Notification) -> Self {
        let recipient = match notification.channel {
            Channel::Email => masked(&notification.target),
            Channel::Webhook => Some(notification.target),
            Channel::Log => None,
        };
        Self {
            id: notification.id,
            event_id: notification.event.id,
            event_type: notification.event.event.event_type(),
            payment_id: notification.payment_id,
            user_id: notification.user_id,
            channel: notification.channel.as_str(),
            recipient,
            status: notification.status.as_str(),
            attempts: notification.attempts,
            next_attempt_at: Some(notification.due_at).filter(|_| notification.status == Status::Pending),
            failure: notification.failure.map(|failure| FailureView { code: failure.code, message: failure.message }),
            created_at: notification.created_at,
            updated_at: notification.updated_at,
            sent_at: notification.sent_at,
        }
    }
}

/// An address that its owner knows again and nobody else can use.
fn masked(address: &str) -> Option<String> {
    let (local, domain) = address.rsplit_once('@')?;
    Some(format!("{}…@{domain}", local.chars().next()?))
}

/// What a user wants, as it is shown.
#[derive(Debug, Serialize, ToSchema)]
#[salvo(schema(name = "NotificationPreferences"))]
pub(crate) struct PreferencesView {
    /// Whose.
    #[salvo(schema(value_type = schema::UserId))]
    user_id: String,
    /// Where e-mails go; none are sent without one.
    #[salvo(schema(value_type = Option<Email>))]
    email: Option<String>,
    /// Whether e-mails are wanted at all.
    email_enabled: bool,
    /// About what.
    #[salvo(schema(value_type = Vec<EventTypeName>, max_items = 3))]
    event_types: Vec<&'static str>,
    /// When they were last changed; null while the user has said nothing.
    #[serde(with = "shop_clock::serde_rfc3339::option")]
    #[salvo(schema(value_type = Option<describe::Time>))]
    updated_at: Option<OffsetDateTime>,
}

impl From<Preferences> for PreferencesView {
    fn from(preferences: Preferences) -> Self {
        Self {
            user_id: preferences.user_id,
            email: preferences.email,
            email_enabled: preferences.email_enabled,
            event_types: names(preferences.event_types),
            updated_at: preferences.updated_at,
        }
    }
}

/// What a user wants, as it is sent in.
#[derive(Debug, Deserialize, ToSchema)]
#[salvo(schema(name = "NotificationPreferencesBody"))]
pub(crate) struct PreferencesBody {
    /// Where e-mails go; null or left out: none are sent.
    #[salvo(schema(value_type = Option<EmailSent>))]
    email: Option<String>,
    /// Whether e-mails are wanted at all; true when left out.
    email_enabled: Option<bool>,
    /// About what; all when left out.
    #[salvo(schema(value_type = Option<EventTypeNames>))]
    event_types: Option<Vec<String>>,
}

impl From<PreferencesBody> for PreferencesDraft {
    fn from(body: PreferencesBody) -> Self {
        Self { email: body.email, email_enabled: body.email_enabled, event_types: body.event_types }
    }
}

/// An endpoint as it is shown.
#[derive(Debug, Serialize, ToSchema)]
#[salvo(schema(name = "WebhookEndpoint"))]
pub(crate) struct EndpointView {
    /// Its id.
    #[salvo(schema(value_type = describe::Id))]
    id: Uuid,
    /// Where webhooks go.
    #[salvo(schema(value_type = HookUrlText))]
    url: String,
    /// For people.
    #[salvo(schema(value_type = Description))]
    description: String,
    /// What is sent.
    #[salvo(schema(value_type = Vec<EventTypeName>, max_items = 3))]
    event_types: Vec<&'static str>,
    /// Whether anything is sent.
    enabled: bool,
    /// Why the service itself turned it off; null when it did not.
    #[salvo(schema(value_type = Option<DisabledReason>))]
    disabled_reason: Option<String>,
    /// What is signed with: only in the answers that made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[salvo(schema(required = false, value_type = Secret))]
    secret: Option<String>,
    /// When it was added.
    #[serde(with = "shop_clock::serde_rfc3339")]
    #[salvo(schema(value_type = describe::Time))]
    created_at: OffsetDateTime,
    /// When it was last changed.
    #[serde(with = "shop_clock::serde_rfc3339")]
    #[salvo(schema(value_type = describe::Time))]
    updated_at: OffsetDateTime,
}

impl Listed for EndpointView {
    const PLURAL: &'static str = "endpoints";
    const PAGE: &'static str = "WebhookEndpointPage";
}

impl EndpointView {
    /// With its secret, for the one who just made it.
    pub(crate) fn with_secret(endpoint: Endpoint) -> Self {
        let secret = Some(endpoint.secret.expose().to_owned());
        Self { secret, ..endpoint.into() }
    }
}

impl From<Endpoint> for EndpointView {
    fn from(endpoint: Endpoint) -> Self {
        Self {
            id: endpoint.id,
            url: endpoint.settings.url.as_str().to_owned(),
            description: endpoint.settings.description,
            event_types: names(endpoint.settings.event_types),
            enabled: endpoint.settings.enabled,
            disabled_reason: endpoint.disabled_reason,
            secret: None,
            created_at: endpoint.created_at,
            updated_at: endpoint.updated_at,
        }
    }
}

/// An endpoint as it is sent in. Fields left out are judged with the others, so that one answer names everything that
/// is missing or wrong.
#[derive(Debug, Deserialize, ToSchema)]
#[salvo(schema(name = "WebhookEndpointBody"))]
pub(crate) struct EndpointBody {
    /// Where webhooks go: https, at an address that is open to everybody unless the settings allow others.
    #[serde(default)]
    #[salvo(schema(required = true, value_type = HookUrlSent))]
    url: String,
    /// For people.
    #[serde(default)]
    #[salvo(schema(value_type = Description))]
    description: String,
    /// What to send; all when left out.
    #[salvo(schema(value_type = Option<EventTypeNames>))]
    event_types: Option<Vec<String>>,
    /// Whether anything is sent; true when left out.
    enabled: Option<bool>,
}

impl Canonical for EndpointBody {
    fn canonical(self) -> Result<Value, Problem> {
        // Where webhooks may lead is up to the settings, and not what tells one request from another.
        let anywhere = Reach { private: true, plain: true };
        let settings = EndpointSettings::parse(&self.into(), anywhere)?;
        let EndpointSettings { url, description, event_types, enabled } = settings;
        Ok(json!({
            "url": url.as_str(),
            "description": description,
            "event_types": names(event_types),
            "enabled": enabled,
        }))
    }
}

impl From<EndpointBody> for EndpointDraft {
    fn from(body: EndpointBody) -> Self {
        Self { url: body.url, description: body.description, event_types: body.event_types, enabled: body.enabled }
    }
}

fn names(types: impl IntoIterator<Item = EventType>) -> Vec<&'static str> {
    types.into_iter().map(EventType::as_str).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_without_its_middle() {
        assert_eq!(masked("ada@shop.example").as_deref(), Some("a…@shop.example"));
        assert_eq!(masked(""), None);
    }
}
