//! Notifications, preferences and endpoints in JSON: as they are shown, and as they are sent in.

use salvo::oapi::{Array, Components, ToSchema};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use shop_web::idempotency::Canonical;
use shop_web::page::Listed;
use shop_web::{Problem, describe, schema};

use crate::domain::{
    Channel, DESCRIPTION, EMAIL, Endpoint, EndpointDraft, EndpointSettings, EventType, MAX_EMAIL, MAX_EVENT_TYPES,
    MAX_URL, Notification, Preferences, PreferencesDraft, Reach, Status,
};

describe! {
    pub(super) StatusName(&'static str) = describe::names(Status::ALL.map(Status::as_str))
        .description("Where a notification stands") => "NotificationStatus";
    pub(super) ChannelName(&'static str) = describe::names(Channel::ALL.map(Channel::as_str))
        .description("How a notification is sent") => "NotificationChannel";
    EventTypeName(&'static str) = describe::names(EventType::ALL.map(EventType::as_str))
        .description("What users and receivers are told of") => "EventType";
    EventTypeNames = Array::new().items(EventTypeName::to_schema(&mut Components::new())).max_items(MAX_EVENT_TYPES);
    EventTypesShown = Array::new().items(EventTypeName::to_schema(&mut Components::new())).max_items(EventType::ALL.len());
    Attempts(i64) = describe::integer(0..=i64::from(i32::MAX)).example(1);
    Recipient(String) = describe::string(1..=MAX_EMAIL).example("a…@shop.example");
    FailureCode(String) = describe::string(1..=64).pattern("^[a-z][a-z0-9_]*$").example("timeout");
    FailureMessage(String) = describe::string(1..=2000).example("the mail server did not answer in time");
    Email(String) = describe::string(3..=MAX_EMAIL).format(describe::format("email")).example("ada@shop.example");
    EmailSent = describe::string(3..=MAX_EMAIL).pattern(EMAIL).example("ada@shop.example");
    HookUrlText(String) = describe::string(8..=MAX_URL).format(describe::format("uri")).example("https://shop.example/hooks");
    HookUrlSent = describe::string(8..=MAX_URL - 1).format(describe::format("uri")).pattern(describe::PUBLIC)
        .example("https://shop.example/hooks");
    Description(String) = describe::text(DESCRIPTION).example("the order desk");
    DisabledReason(String) = describe::string(1..=500).example("it answered 410 Gone");
    Secret = describe::string(1..=200).pattern("^whsec_[A-Za-z0-9+/=]+$").example("whsec_c2hvcC1leGFtcGxlLXNlY3JldA==");
}

/// A notification as it is shown.
#[derive(Debug, Serialize, ToSchema)]
#[salvo(schema(name = "Notification"))]
pub(crate) struct NotificationView {
    /// Receivers see it too: in `Message-ID` or `webhook-id`, the same on every attempt.
    id: describe::Id,
    /// The event it tells of.
    event_id: describe::Id,
    /// What happened.
    event_type: EventTypeName,
    /// Which payment.
    payment_id: describe::Id,
    /// Whose payment.
    user_id: schema::UserId,
    /// How it is sent.
    channel: ChannelName,
    /// An address with its middle left out, or an endpoint's id; null where there is none.
    recipient: Option<Recipient>,
    /// Where it stands; skipped is opted out or without an address, dead is given up.
    status: StatusName,
    /// Attempts begun.
    attempts: Attempts,
    /// When it is tried next; null when it is not.
    next_attempt_at: Option<describe::Time>,
    /// What the last attempt ran into, or why it was skipped.
    failure: Option<FailureView>,
    /// When the event came.
    created_at: describe::Time,
    /// When it was last changed.
    updated_at: describe::Time,
    /// When the other side took it.
    sent_at: Option<describe::Time>,
}

/// What an attempt ran into.
#[derive(Debug, Serialize, ToSchema)]
#[salvo(schema(name = "NotificationFailure"))]
pub(crate) struct FailureView {
    /// For programs.
    code: FailureCode,
    /// For people.
    message: FailureMessage,
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
            id: notification.id.into(),
            event_id: notification.event.id.into(),
            event_type: notification.event.event.event_type().into(),
            payment_id: notification.payment_id.into(),
            user_id: notification.user_id.into(),
            channel: notification.channel.as_str().into(),
            recipient: recipient.map(Into::into),
            status: notification.status.as_str().into(),
            attempts: notification.attempts.into(),
            next_attempt_at: Some(notification.due_at)
                .filter(|_| notification.status == Status::Pending)
                .map(Into::into),
            failure: notification
                .failure
                .map(|failure| FailureView { code: failure.code.into(), message: failure.message.into() }),
            created_at: notification.created_at.into(),
            updated_at: notification.updated_at.into(),
            sent_at: notification.sent_at.map(Into::into),
        }
    }
}

/// A notification with all that is kept of it, for him whom it tells of: his address in full, and the event.
pub(crate) fn record(notification: Notification) -> serde_json::Result<String> {
    let event = serde_json::from_slice(&notification.event.encode().payload)?;
    let address = (notification.channel == Channel::Email).then(|| notification.target.clone());
    let mut record = serde_json::to_value(NotificationView::from(notification))?;
    if let Some(address) = address.filter(|address| !address.is_empty()) {
        record["recipient"] = Value::String(address);
    }
    record["event"] = event;
    serde_json::to_string(&record)
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
    user_id: schema::UserId,
    /// Where e-mails go; none are sent without one.
    email: Option<Email>,
    /// Whether e-mails are wanted at all.
    email_enabled: bool,
    /// About what.
    #[salvo(schema(value_type = EventTypesShown))]
    event_types: Vec<&'static str>,
    /// When they were last changed; null while the user has said nothing.
    updated_at: Option<describe::Time>,
}

impl From<Preferences> for PreferencesView {
    fn from(preferences: Preferences) -> Self {
        Self {
            user_id: preferences.user_id.into(),
            email: preferences.email.map(Into::into),
            email_enabled: preferences.email_enabled,
            event_types: names(preferences.event_types),
            updated_at: preferences.updated_at.map(Into::into),
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
    id: describe::Id,
    /// Where webhooks go.
    url: HookUrlText,
    /// For people.
    description: Description,
    /// What is sent.
    #[salvo(schema(value_type = EventTypesShown))]
    event_types: Vec<&'static str>,
    /// Whether anything is sent.
    enabled: bool,
    /// Why the service itself turned it off; null when it did not.
    disabled_reason: Option<DisabledReason>,
    /// What is signed with: only in the answers that made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[salvo(schema(required = false, value_type = Secret))]
    secret: Option<String>,
    /// When it was added.
    created_at: describe::Time,
    /// When it was last changed.
    updated_at: describe::Time,
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
            id: endpoint.id.into(),
            url: endpoint.settings.url.as_str().to_owned().into(),
            description: endpoint.settings.description.into(),
            event_types: names(endpoint.settings.event_types),
            enabled: endpoint.settings.enabled,
            disabled_reason: endpoint.disabled_reason.map(Into::into),
            secret: None,
            created_at: endpoint.created_at.into(),
            updated_at: endpoint.updated_at.into(),
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
