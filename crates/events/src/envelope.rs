//! An event as it travels: `CloudEvents` 1.0 in Kafka binary mode, JSON body.

use serde::{Deserialize, Serialize};
use shop_telemetry::{KeyValue, RequestContext, Span, SpanKind, TraceState};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

use crate::Event;

/// One event with what identifies it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// Unique; consumers apply an id once.
    pub id: Uuid,
    /// When it happened, UTC, whole milliseconds.
    pub time: OffsetDateTime,
    /// Who says so, such as `payment-service`.
    pub source: String,
    /// What happened.
    pub event: Event,
    /// The request it came from.
    pub context: Context,
}

/// What ties an event to the request that caused it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Context {
    /// W3C trace context.
    pub traceparent: Option<String>,
    /// What other tracing systems say of that trace.
    pub tracestate: Option<String>,
    /// The request's id.
    pub request_id: Option<String>,
}

/// An event in its wire form, as outboxes keep it and buses carry it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The topic's name, without a bus's own prefix.
    pub topic: String,
    /// Order holds per key.
    pub key: String,
    /// Headers in order.
    pub headers: Vec<(String, String)>,
    /// The JSON body.
    pub payload: Vec<u8>,
}

impl Message {
    /// The first header of that name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Begins the span of sending this message, below the context stored with it, over the bus that `system` names. Whoever
    /// applies the message goes on from there.
    pub fn sent(&mut self, system: &'static str) -> Span {
        let span = Span::after(self.header("traceparent"), SpanKind::Producer, || {
            (format!("send {}", self.topic).into(), self.attributes(system, "send"))
        });
        let header = self.headers.iter_mut().find(|(key, _)| key == "traceparent");
        if let (Some(trace), Some((_, traceparent))) = (span.trace(), header) {
            *traceparent = trace.to_string();
        }
        span
    }

    /// Begins the work of applying this message for `group`: its span, a part of the trace that the event came from, and the
    /// context to do it in.
    pub fn arrived(&self, system: &'static str, group: &str) -> (Span, RequestContext) {
        let (span, trace) = shop_telemetry::arrive(self.header("traceparent"), SpanKind::Consumer, || {
            let mut attributes = self.attributes(system, "process");
            attributes.push(KeyValue::new("messaging.consumer.group.name", group.to_owned()));
            (format!("process {}", self.topic).into(), attributes)
        });
        let request = self.header("x-request-id").or(self.header("ce_id")).unwrap_or_default();
        let state = self.headers.iter().filter(|(key, _)| key == "tracestate").map(|(_, line)| line.as_bytes());
        let state = TraceState::beside(self.header("traceparent"), state);
        (span, RequestContext::new(request, trace).with_state(state))
    }

    /// What is said of both ends. Not the key, which is a user's name in some topics.
    fn attributes(&self, system: &'static str, operation: &'static str) -> Vec<KeyValue> {
        let mut attributes = vec![
            KeyValue::new("messaging.system", system),
            KeyValue::new("messaging.destination.name", self.topic.clone()),
            KeyValue::new("messaging.operation.name", operation),
            KeyValue::new("messaging.operation.type", operation),
        ];
        let id = self.header("ce_id").map(|id| KeyValue::new("messaging.message.id", id.to_owned()));
        let kind = self.header("ce_type").map(|kind| KeyValue::new("shop.event.type", kind.to_owned()));
        attributes.extend(id.into_iter().chain(kind));
        attributes
    }
}

/// Why a message is not an event of ours.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The body is not the JSON of such an event.
    #[error("the body is not a valid event: {0}")]
    Body(#[from] serde_json::Error),
    /// The timestamp is not RFC 3339.
    #[error("the timestamp is not RFC 3339: {0}")]
    Time(#[from] time::error::Parse),
    /// No such event type.
    #[error("event type `{0}` is unknown")]
    UnknownType(String),
}

#[derive(Serialize)]
struct Body<'a, T> {
    event_id: Uuid,
    event_type: &'a str,
    timestamp: &'a str,
    #[serde(flatten)]
    event: &'a T,
}

#[derive(Deserialize)]
struct Head {
    event_id: Uuid,
    event_type: String,
    timestamp: String,
}

impl Envelope {
    /// The wire form.
    pub fn encode(&self) -> Message {
        let event_type = self.event.event_type();
        let timestamp = shop_clock::rfc3339(self.time);
        let payload = match &self.event {
            Event::PaymentCompleted(body) => self.body(body, &timestamp),
            Event::PaymentFailed(body) => self.body(body, &timestamp),
            Event::PaymentRefunded(body) => self.body(body, &timestamp),
            Event::PaymentRefundFailed(body) => self.body(body, &timestamp),
            Event::PaymentAuthorised(body) => self.body(body, &timestamp),
            Event::PaymentActionRequired(body) => self.body(body, &timestamp),
            Event::PaymentExpired(body) => self.body(body, &timestamp),
            Event::PaymentCancelled(body) => self.body(body, &timestamp),
            Event::PaymentDisputed(body) => self.body(body, &timestamp),
            Event::StockUpdated(body) => self.body(body, &timestamp),
            Event::BasketCleared(body) => self.body(body, &timestamp),
            Event::UserErased(body) => self.body(body, &timestamp),
        };
        let mut headers = vec![
            ("ce_specversion".to_owned(), "1.0".to_owned()),
            ("ce_id".to_owned(), self.id.to_string()),
            ("ce_type".to_owned(), event_type.to_owned()),
            ("ce_source".to_owned(), self.source.clone()),
            ("ce_time".to_owned(), timestamp),
            ("content-type".to_owned(), "application/json".to_owned()),
            ("event_type".to_owned(), event_type.to_owned()),
        ];
        let context = [
            ("traceparent", &self.context.traceparent),
            ("tracestate", &self.context.tracestate),
            ("x-request-id", &self.context.request_id),
        ];
        headers.extend(
            context.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value.as_ref()?.to_owned()))),
        );
        Message { topic: self.event.topic().as_str().to_owned(), key: self.event.key(), headers, payload }
    }

    fn body<T: Serialize>(&self, body: &T, timestamp: &str) -> Vec<u8> {
        let body = Body { event_id: self.id, event_type: self.event.event_type(), timestamp, event: body };
        serde_json::to_vec(&body).unwrap_or_default() // plain structs with string keys: cannot fail
    }

    /// Reads the wire form; fields that are not known are passed over, so producers may add some.
    pub fn decode(message: &Message) -> Result<Self, DecodeError> {
        let payload = message.payload.as_slice();
        let head: Head = serde_json::from_slice(payload).map_err(|error| match message.header("ce_type") {
            // A stranger's event need not have a body like ours.
            Some(kind) if !Event::TYPES.contains(&kind) => DecodeError::UnknownType(kind.to_owned()),
            _ => error.into(),
        })?;
        let event = match head.event_type.as_str() {
            "payment.completed" => Event::PaymentCompleted(serde_json::from_slice(payload)?),
            "payment.failed" => Event::PaymentFailed(serde_json::from_slice(payload)?),
            "payment.refunded" => Event::PaymentRefunded(serde_json::from_slice(payload)?),
            "payment.refund_failed" => Event::PaymentRefundFailed(serde_json::from_slice(payload)?),
            "payment.authorised" => Event::PaymentAuthorised(serde_json::from_slice(payload)?),
            "payment.action_required" => Event::PaymentActionRequired(serde_json::from_slice(payload)?),
            "payment.expired" => Event::PaymentExpired(serde_json::from_slice(payload)?),
            "payment.cancelled" => Event::PaymentCancelled(serde_json::from_slice(payload)?),
            "payment.disputed" => Event::PaymentDisputed(serde_json::from_slice(payload)?),
            "stock.updated" => Event::StockUpdated(serde_json::from_slice(payload)?),
            "basket.cleared" => Event::BasketCleared(serde_json::from_slice(payload)?),
            "user.erased" => Event::UserErased(serde_json::from_slice(payload)?),
            _ => return Err(DecodeError::UnknownType(head.event_type)),
        };
        Ok(Self {
            id: head.event_id,
            time: OffsetDateTime::parse(&head.timestamp, &Rfc3339)?,
            source: message.header("ce_source").unwrap_or_default().to_owned(),
            event,
            context: Context {
                traceparent: message.header("traceparent").map(str::to_owned),
                tracestate: message.header("tracestate").map(str::to_owned),
                request_id: message.header("x-request-id").map(str::to_owned),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Item, PaymentCompleted, StockOperation, StockUpdated};

    fn envelope(event: Event) -> Envelope {
        Envelope {
            id: Uuid::from_u128(7),
            time: time::macros::datetime!(2026-01-02 03:04:05.678 UTC),
            source: "payment-service".to_owned(),
            event,
            context: Context { request_id: Some("r-1".to_owned()), ..Context::default() },
        }
    }

    #[test]
    fn an_event_survives_the_wire() {
        let completed = envelope(Event::PaymentCompleted(PaymentCompleted {
            payment_id: Uuid::from_u128(1),
            user_id: "ada".to_owned(),
            basket_id: None,
            amount: "2599.80".parse().expect("decimal"),
            currency: shop_money::Currency::USD,
            items: vec![Item {
                product_id: 3,
                name: "Laptop".to_owned(),
                quantity: 2,
                price: "1299.90".parse().expect("decimal"),
                subtotal: "2599.80".parse().expect("decimal"),
                category: "computers".to_owned(),
            }],
            metadata: [("order".to_owned(), "17".to_owned())].into(),
        }));
        let message = completed.encode();
        assert_eq!(Envelope::decode(&message).expect("an event"), completed);
        let text = String::from_utf8(message.payload).expect("utf-8");
        assert!(text.contains(r#""amount":2599.80"#), "{text}");
    }

    #[test]
    fn the_wire_form_is_cloudevents_binary_mode() {
        let message = envelope(Event::StockUpdated(StockUpdated {
            product_id: 3,
            quantity: 2,
            operation: StockOperation::Decrease,
            reason: "payment completed".to_owned(),
            payment_id: Uuid::from_u128(1),
        }))
        .encode();
        assert_eq!((message.topic.as_str(), message.key.as_str()), ("stock-events", "3"));
        for (name, value) in [
            ("ce_specversion", "1.0"),
            ("ce_id", "00000000-0000-0000-0000-000000000007"),
            ("ce_type", "stock.updated"),
            ("event_type", "stock.updated"),
            ("ce_source", "payment-service"),
            ("ce_time", "2026-01-02T03:04:05.678Z"),
            ("content-type", "application/json"),
            ("x-request-id", "r-1"),
        ] {
            assert_eq!(message.header(name), Some(value), "{name}");
        }
        assert_eq!(message.header("traceparent"), None);
    }

    #[test]
    fn what_other_systems_say_of_a_trace_goes_along_with_it_only() {
        let traceparent = Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned());
        let arrived = |traceparent: Option<String>, state: &str| {
            let mut sent = envelope(Event::StockUpdated(StockUpdated {
                product_id: 3,
                quantity: 2,
                operation: StockOperation::Release,
                reason: String::new(),
                payment_id: Uuid::nil(),
            }));
            sent.context.traceparent = traceparent;
            sent.context.tracestate = Some(state.to_owned());
            let message = sent.encode();
            assert_eq!(Envelope::decode(&message).expect("an event"), sent);
            message.arrived("kafka", "group").1.state.map(|state| state.as_str().to_owned())
        };
        assert_eq!(arrived(traceparent.clone(), "rojo=1,congo=2").as_deref(), Some("rojo=1,congo=2"));
        assert_eq!(arrived(traceparent, "nonsense"), None);
        assert_eq!(arrived(None, "rojo=1"), None);
    }

    #[test]
    fn what_is_no_event_is_refused_with_a_reason() {
        let mut message = envelope(Event::StockUpdated(StockUpdated {
            product_id: 3,
            quantity: 2,
            operation: StockOperation::Release,
            reason: String::new(),
            payment_id: Uuid::nil(),
        }))
        .encode();
        for payload in [&b""[..], b"{}", b"\xff", b"{\"event_id\":1}", b"[]"] {
            message.payload = payload.to_vec();
            assert!(Envelope::decode(&message).is_err());
        }
        message.payload =
            br#"{"event_id":"00000000-0000-0000-0000-000000000007","event_type":"x.y","timestamp":"2026-01-02T03:04:05Z"}"#
                .to_vec();
        assert_eq!(Envelope::decode(&message).unwrap_err().to_string(), "event type `x.y` is unknown");
    }
}
