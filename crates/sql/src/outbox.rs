//! The outbox: an event is stored in the transaction of the change it tells of, and leaves by the [`crate::Relay`].

use shop_events::Envelope;
use shop_telemetry::context;

use crate::store::with_reader;
use crate::tables::{APPEND_CHUNK, NewEvent, append_step};
use crate::{Step, Store, Tables};

/// Events as rows of the outbox.
#[derive(Debug)]
pub struct Rows(Vec<NewEvent>);

/// The rows of `envelopes`, to leave in this order.
///
/// A trace or request id that an envelope lacks is taken from the request that is being served.
pub fn rows(envelopes: &[Envelope]) -> sqlx::Result<Rows> {
    let current = context::current();
    let event = |envelope: &Envelope| {
        let mut envelope = envelope.clone();
        if let Some(current) = &current {
            let context = &mut envelope.context;
            if context.traceparent.is_none() {
                context.traceparent = Some(current.traceparent());
                context.tracestate = current.state.as_ref().map(|state| state.as_str().to_owned());
            }
            context.request_id.get_or_insert_with(|| current.request_id.to_string());
        }
        let message = envelope.encode();
        Ok(NewEvent {
            event_id: envelope.id,
            topic: message.topic,
            key: message.key,
            headers: serde_json::to_string(&message.headers).map_err(|e| sqlx::Error::Encode(e.into()))?,
            payload: message.payload,
            created_at: shop_clock::millis(envelope.time),
        })
    };
    envelopes.iter().map(event).collect::<sqlx::Result<_>>().map(Rows)
}

impl Rows {
    /// What adds them, for [`crate::Engine::together`]. After that, wake the relay.
    pub fn steps(&self) -> impl Iterator<Item = Step<'_>> {
        self.0.chunks(APPEND_CHUNK).map(append_step)
    }
}

/// Adds `envelopes` to the outbox in the caller's transaction, to leave in this order. After the commit, wake the relay.
///
/// A trace or request id that an envelope lacks is taken from the request that is being served.
pub async fn append<C: Tables>(conn: &mut C, envelopes: &[Envelope]) -> sqlx::Result<()> {
    conn.outbox_append(&rows(envelopes)?.0).await
}

/// How many events wait to be acknowledged by the bus (counted up to 100 000).
pub async fn pending(store: &Store) -> sqlx::Result<i64> {
    with_reader!(store, conn => conn.outbox_count().await)
}

/// When the first event that waits was added, in unix milliseconds; none when nothing waits. Costs the same however
/// many wait.
pub async fn oldest(store: &Store) -> sqlx::Result<Option<i64>> {
    with_reader!(store, conn => conn.outbox_oldest().await)
}
