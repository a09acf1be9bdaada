//! Who is told about an event.

use std::time::Duration;

use shop_events::{Envelope, Event};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Channel, Endpoint, EventType, Failure, Notification, Preferences, Status};

/// The target of a webhook to the endpoint of the settings.
const SETTINGS: &str = "settings";

/// Which channels there are, by the settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Channels {
    /// There is a mail server.
    pub(crate) email: bool,
    /// There is an endpoint in the settings, beside those that clients added.
    pub(crate) webhook: bool,
    /// Lines in the log are wanted.
    pub(crate) log: bool,
}

/// Who might be told.
#[derive(Debug, Clone)]
pub(crate) struct Recipients {
    /// What the user wants.
    pub(crate) preferences: Preferences,
    /// All endpoints.
    pub(crate) endpoints: Vec<Endpoint>,
}

/// A notification for each receiver of `event`: one a channel, for webhooks one an endpoint. None for an event that
/// nobody is told about.
pub(crate) fn plan(
    event: &Envelope,
    channels: Channels,
    recipients: &Recipients,
    give_up_after: Duration,
    now: OffsetDateTime,
    mut new_id: impl FnMut() -> Uuid,
) -> Vec<Notification> {
    let (Some(kind), Some((payment_id, user_id))) = (EventType::of(&event.event), payment(&event.event)) else {
        return Vec::new();
    };
    let give_up_at = event.time + give_up_after;
    // Told of long after, such as by a service that is new to the bus, nobody would understand it.
    let late = (give_up_at < now).then(|| Failure::new("too_late", "the event is older than sending is tried"));
    let mut made = |channel, target: &str, skipped: Option<Failure>| {
        let skipped = skipped.or_else(|| late.clone());
        Notification {
            id: new_id(),
            event: event.clone(),
            user_id: user_id.to_owned(),
            payment_id,
            channel,
            target: target.to_owned(),
            status: if skipped.is_some() { Status::Skipped } else { Status::Pending },
            attempts: 0,
            due_at: now,
            give_up_at,
            failure: skipped,
            version: 1,
            created_at: now,
            updated_at: now,
            sent_at: None,
        }
    };
    let mut plan = Vec::new();
    if channels.email {
        let wants = &recipients.preferences;
        plan.push(match wants.email.as_deref() {
            _ if !(wants.email_enabled && wants.event_types.contains(&kind)) => {
                made(Channel::Email, "", Some(Failure::new("opted_out", "the user does not want this e-mail")))
            }
            None => made(Channel::Email, "", Some(Failure::new("no_address", "the user has no e-mail address"))),
            Some(address) => made(Channel::Email, address, None),
        });
    }
    if channels.webhook {
        plan.push(made(Channel::Webhook, SETTINGS, None));
    }
    for endpoint in recipients.endpoints.iter().filter(|endpoint| endpoint.wants(kind)) {
        plan.push(made(Channel::Webhook, &endpoint.id.to_string(), None));
    }
    if channels.log {
        plan.push(made(Channel::Log, "log", None));
    }
    plan
}

/// The payment that `event` is about, and whose it is.
fn payment(event: &Event) -> Option<(Uuid, &str)> {
    match event {
        Event::PaymentCompleted(body) => Some((body.payment_id, &body.user_id)),
        Event::PaymentFailed(body) => Some((body.payment_id, &body.user_id)),
        Event::PaymentRefunded(body) => Some((body.payment_id, &body.user_id)),
        Event::PaymentRefundFailed(body) => Some((body.payment_id, &body.user_id)),
        Event::PaymentAuthorised(body) => Some((body.payment_id, &body.user_id)),
        Event::PaymentActionRequired(body) => Some((body.payment_id, &body.user_id)),
        Event::PaymentExpired(body) => Some((body.payment_id, &body.user_id)),
        Event::PaymentCancelled(body) => Some((body.payment_id, &body.user_id)),
        Event::PaymentDisputed(body) => Some((body.payment_id, &body.user_id)),
        Event::StockUpdated(_) | Event::BasketCleared(_) | Event::UserErased(_) => None,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use shop_events::{BasketCleared, Context, Item, PaymentCompleted};

    use super::*;
    use crate::domain::{EndpointDraft, EndpointSettings, Reach, SigningSecret};

    const NOW: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;
    const ALL: Channels = Channels { email: true, webhook: true, log: true };

    fn envelope(event: Event) -> Envelope {
        let source = "payment-service".to_owned();
        Envelope { id: Uuid::from_u128(7), time: NOW, source, event, context: Context::default() }
    }

    /// `user_id` bought two desks.
    pub(crate) fn completed(user_id: &str) -> Envelope {
        let item = Item {
            product_id: 3,
            name: "Walnut desk".to_owned(),
            quantity: 2,
            price: "1299.50".parse().expect("a decimal"),
            subtotal: "2599.00".parse().expect("a decimal"),
            category: "furniture".to_owned(),
        };
        envelope(Event::PaymentCompleted(PaymentCompleted {
            payment_id: Uuid::from_u128(1),
            user_id: user_id.to_owned(),
            basket_id: None,
            amount: "2599.00".parse().expect("a decimal"),
            currency: shop_money::Currency::USD,
            items: vec![item],
            metadata: std::collections::BTreeMap::default(),
        }))
    }

    fn endpoint(n: u128, events: &[&str]) -> Endpoint {
        let draft = EndpointDraft {
            url: "https://a.example/".to_owned(),
            event_types: Some(events.iter().map(|&name| name.to_owned()).collect()),
            ..EndpointDraft::default()
        };
        let settings = EndpointSettings::parse(&draft, Reach::default()).expect("is fine");
        Endpoint::new(Uuid::from_u128(n), settings, SigningSecret::from_key([1; 32]), NOW)
    }

    fn planned(event: &Envelope, channels: Channels, recipients: &Recipients) -> Vec<(Channel, String, Status)> {
        let plan = plan(event, channels, recipients, Duration::from_hours(72), NOW, Uuid::new_v4);
        plan.into_iter().map(|one| (one.channel, one.target, one.status)).collect()
    }

    #[test]
    fn every_channel_and_every_endpoint_that_wants_it_gets_one() {
        let mut off = endpoint(3, &["payment.completed"]);
        off.settings.enabled = false;
        let recipients = Recipients {
            preferences: Preferences::unsaid("ada@shop.example"),
            endpoints: vec![endpoint(1, &["payment.completed"]), endpoint(2, &["payment.failed"]), off],
        };
        let expected = [
            (Channel::Email, "ada@shop.example".to_owned(), Status::Pending),
            (Channel::Webhook, "settings".to_owned(), Status::Pending),
            (Channel::Webhook, Uuid::from_u128(1).to_string(), Status::Pending),
            (Channel::Log, "log".to_owned(), Status::Pending),
        ];
        assert_eq!(planned(&completed("ada@shop.example"), ALL, &recipients), expected);
    }

    #[test]
    fn who_has_no_address_or_opted_out_is_skipped_and_it_shows() {
        let skipped = [(Channel::Email, String::new(), Status::Skipped)];
        let email = Channels { email: true, webhook: false, log: false };
        let unreachable = Recipients { preferences: Preferences::unsaid("ada"), endpoints: Vec::new() };
        assert_eq!(planned(&completed("ada"), email, &unreachable), skipped);
        for (email_enabled, event_types) in [(false, vec![EventType::Completed]), (true, vec![EventType::Failed])] {
            let preferences = Preferences {
                email_enabled,
                event_types: event_types.into_iter().collect(),
                ..Preferences::unsaid("ada@shop.example")
            };
            let unwilling = Recipients { preferences, endpoints: Vec::new() };
            assert_eq!(planned(&completed("ada@shop.example"), email, &unwilling), skipped);
        }
    }

    #[test]
    fn what_happened_long_ago_is_told_nobody() {
        let recipients = Recipients { preferences: Preferences::unsaid("ada@shop.example"), endpoints: Vec::new() };
        let event = completed("ada@shop.example");
        for (hours, status) in [(72, Status::Pending), (73, Status::Skipped)] {
            let now = NOW + time::Duration::hours(hours);
            let plan = plan(&event, ALL, &recipients, Duration::from_hours(72), now, Uuid::new_v4);
            assert!(plan.iter().all(|one| one.status == status), "{hours}: {plan:?}");
        }
    }

    #[test]
    fn nobody_is_told_about_baskets() {
        let event = envelope(Event::BasketCleared(BasketCleared {
            user_id: "ada".to_owned(),
            basket_id: Uuid::nil(),
            lines: Vec::new(),
            reason: String::new(),
            payment_id: Uuid::nil(),
        }));
        let recipients = Recipients { preferences: Preferences::unsaid("ada"), endpoints: Vec::new() };
        assert_eq!(planned(&event, ALL, &recipients), []);
    }
}
