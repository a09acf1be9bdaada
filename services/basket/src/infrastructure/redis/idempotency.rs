//! Idempotency keys in Redis: one hash per key, gone by itself when its time is over.

use std::time::Duration;

use async_trait::async_trait;
use redis::{Pipeline, Script};
use shop_clock::{SharedClock, millis};
use shop_idempotency::{Begin, BoxError, Fingerprint, KEEP, Store, Stored};

use super::link::Link;

/// Keys and answers in Redis.
pub(crate) struct RedisIdempotency {
    link: Link,
    clock: SharedClock,
    begin: Script,
    lease: Duration,
}

impl RedisIdempotency {
    /// On an open connection; a run holds its key for `lease`.
    pub(crate) fn new(link: Link, clock: SharedClock, lease: Duration) -> Self {
        Self { link, clock, begin: Script::new(include_str!("begin.lua")), lease }
    }

    fn name(&self, key: &str) -> String {
        self.link.key(&format!("idempotency:{key}"))
    }
}

#[async_trait]
impl Store for RedisIdempotency {
    async fn begin(&self, key: &str, fingerprint: &Fingerprint) -> Result<Begin, BoxError> {
        let now = self.clock.now();
        let mut call = self.begin.key(self.name(key));
        call.arg(&fingerprint.asked[..]).arg(self.clock.new_id().to_string());
        call.arg(millis(now)).arg(millis(now + self.lease)).arg(life()).arg(&fingerprint.bytes[..]);
        let (what, first, headers, body): (String, String, String, Vec<u8>) = self.link.script(&call).await?;
        Ok(match what.as_str() {
            "run" => Begin::Run { operation: first.parse()? },
            "replay" => {
                Begin::Replay(Stored { status: first.parse()?, headers: serde_json::from_str(&headers)?, body })
            }
            "in_flight" => Begin::InFlight,
            _ => Begin::Mismatch,
        })
    }

    async fn finish(&self, key: &str, answer: &Stored) -> Result<(), BoxError> {
        let (name, headers) = (self.name(key), serde_json::to_string(&answer.headers)?);
        let fields = [("status", answer.status.to_string().into_bytes()), ("headers", headers.into_bytes())];
        self.set(&name, fields.into_iter().chain([("body", answer.body.clone())])).await
    }

    async fn abandon(&self, key: &str) -> Result<(), BoxError> {
        self.set(&self.name(key), [("lease", b"0".to_vec())]).await
    }
}

impl RedisIdempotency {
    /// Sets fields and starts the life over, so that a key that vanished meanwhile does not come back for ever.
    async fn set(&self, name: &str, fields: impl IntoIterator<Item = (&str, Vec<u8>)>) -> Result<(), BoxError> {
        let fields: Vec<_> = fields.into_iter().collect();
        let mut both = Pipeline::new();
        both.atomic().hset_multiple(name, &fields).ignore().pexpire(name, life()).ignore();
        self.link.pipeline::<()>(&both).await?;
        Ok(())
    }
}

fn life() -> i64 {
    i64::try_from(KEEP.as_millis()).unwrap_or(i64::MAX)
}
