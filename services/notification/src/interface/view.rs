//! Notifications, preferences and endpoints in JSON: as they are shown, and as they are sent in.

use salvo::oapi::ToSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use shop_http::Problem;
use shop_http::idempotency::Canonical;
use shop_http::page::Listed;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::domain::{
    Channel, Endpoint, EndpointDraft, EndpointSettings, EventType, Notification, Preferences, PreferencesDraft, Reach,
    Status,
};

/// A notification as it is shown.
#[derive(Debug, Serialize, ToSchema)]
#[salvo(schema(name = "Notification"))]
pub(crate) struct NotificationView {
    /// Receivers see it too: in `Message-ID` or `webhook-id`, the same on every attempt.
    id: Uuid,
    /// The event it tells of.
    event_id: Uuid,
    /// `payment.completed`, `payment.failed` or `payment.refunded`.
    #[salvo(schema(example = "payment.completed"))]
    event_type: &'static str,
    /// Which payment.
    payment_id: Uuid,
    /// Whose payment.
    user_id: String,
    /// `email`, `webhook` or `log`.
    #[salvo(schema(example = "email"))]
    channel: &'static str,
    /// An address with its middle left out, or an endpoint's id; null where there is none.
    #[salvo(schema(example = "a…@shop.example"))]
    recipient: Option<String>,
    /// `pending`, `sending`, `sent`, `skipped` (opted out, or no address) or `dead` (given up).
    #[salvo(schema(example = "sent"))]
    status: &'static str,
    /// Attempts begun.
    attempts: i64,
    /// When it is tried next; null when it is not.
    #[serde(with = "shop_clock::serde_rfc3339::option")]
    #[salvo(schema(value_type = Option<String>, format = "date-time", example = "2026-01-02T03:04:05.678Z"))]
    next_attempt_at: Option<OffsetDateTime>,
    /// What the last attempt ran into, or why it was skipped.
    failure: Option<FailureView>,
    /// When the event came.
    #[serde(with = "shop_clock::serde_rfc3339")]
    #[salvo(schema(value_type = String, format = "date-time", example = "2026-01-02T03:04:05.678Z"))]
    created_at: OffsetDateTime,
    /// When it was last changed.
    #[serde(with = "shop_clock::serde_rfc3339")]
    #[salvo(schema(value_type = String, format = "date-time", example = "2026-01-02T03:04:05.678Z"))]
    updated_at: OffsetDateTime,
    /// When the other side took it.
    #[serde(with = "shop_clock::serde_rfc3339::option")]
    #[salvo(schema(value_type = Option<String>, format = "date-time", example = "2026-01-02T03:04:05.678Z"))]
    sent_at: Option<OffsetDateTime>,
}

/// What an attempt ran into.
#[derive(Debug, Serialize, ToSchema)]
#[salvo(schema(name = "NotificationFailure"))]
pub(crate) struct FailureView {
    /// For programs.
    #[salvo(schema(example = "timeout"))]
    code: String,
    /// For people.
    message: String,
}

impl Listed for NotificationView {
    const PLURAL: &'static str = "notifications";
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
    #[salvo(schema(example = "ada"))]
    user_id: String,
    /// Where e-mails go; none are sent without one.
    #[salvo(schema(example = "ada@shop.example"))]
    email: Option<String>,
    /// Whether e-mails are wanted at all.
    email_enabled: bool,
    /// About what.
    #[salvo(schema(value_type = Vec<String>))]
    event_types: Vec<&'static str>,
    /// When they were last changed; null while the user has said nothing.
    #[serde(with = "shop_clock::serde_rfc3339::option")]
    #[salvo(schema(value_type = Option<String>, format = "date-time", example = "2026-01-02T03:04:05.678Z"))]
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
    #[salvo(schema(example = "ada@shop.example"))]
    email: Option<String>,
    /// Whether e-mails are wanted at all; true when left out.
    email_enabled: Option<bool>,
    /// About what: `payment.completed`, `payment.failed`, `payment.refunded`; all when left out.
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
    id: Uuid,
    /// Where webhooks go.
    #[salvo(schema(example = "https://shop.example/hooks"))]
    url: String,
    /// For people.
    description: String,
    /// What is sent.
    #[salvo(schema(value_type = Vec<String>))]
    event_types: Vec<&'static str>,
    /// Whether anything is sent.
    enabled: bool,
    /// Why the service itself turned it off; null when it did not.
    disabled_reason: Option<String>,
    /// What is signed with: only in the answers that made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[salvo(schema(example = "whsec_…"))]
    secret: Option<String>,
    /// When it was added.
    #[serde(with = "shop_clock::serde_rfc3339")]
    #[salvo(schema(value_type = String, format = "date-time", example = "2026-01-02T03:04:05.678Z"))]
    created_at: OffsetDateTime,
    /// When it was last changed.
    #[serde(with = "shop_clock::serde_rfc3339")]
    #[salvo(schema(value_type = String, format = "date-time", example = "2026-01-02T03:04:05.678Z"))]
    updated_at: OffsetDateTime,
}

impl Listed for EndpointView {
    const PLURAL: &'static str = "endpoints";
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
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default)]
#[salvo(schema(name = "WebhookEndpointBody"))]
pub(crate) struct EndpointBody {
    /// Where webhooks go: https, at an address that is open to everybody unless the settings allow others.
    #[salvo(schema(required = true, example = "https://shop.example/hooks"))]
    url: String,
    /// For people; up to 200 characters.
    description: String,
    /// What to send: `payment.completed`, `payment.failed`, `payment.refunded`; all when left out.
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
