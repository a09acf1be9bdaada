//! Idempotency keys in a service's own store, on all three engines.

use std::time::Duration;

use async_trait::async_trait;
use shop_clock::{SharedClock, millis};
use shop_idempotency::{Begin, BoxError, Fingerprint, KEEP, LEASE, Stored};

use crate::store::{with_reader, with_writer};
use crate::tables::{Answer, Attempt, Finished, Tables};
use crate::{Store, retry_transient};

/// The keys and answers of one service.
pub struct Idempotency {
    store: Store,
    clock: SharedClock,
    lease: Duration,
}

/// What to do about a key that is known already.
enum Known {
    Answer(Begin),
    /// Its lease is over: try to take it.
    Take(Answer),
    /// It is older than promised: forget it and begin anew.
    Forget(Answer),
}

impl Idempotency {
    /// Keys kept in the table `idempotency_keys` of `store`.
    pub fn new(store: impl Into<Store>, clock: SharedClock) -> Self {
        Self { store: store.into(), clock, lease: LEASE }
    }

    /// The same, with keys held for `lease`: longer than any request may take, or it runs twice at once.
    #[must_use]
    pub fn with_lease(self, lease: Duration) -> Self {
        Self { lease, ..self }
    }

    fn now(&self) -> i64 {
        millis(self.clock.now())
    }

    async fn claim(&self, key: &str, fingerprint: &Fingerprint) -> sqlx::Result<Begin> {
        loop {
            let now = self.now();
            let leased_until = now + ms(self.lease);
            let attempt =
                Attempt { key, fingerprint: &fingerprint.asked, operation: self.clock.new_id(), now, leased_until };
            if with_writer!(&self.store, conn => conn.key_insert(&attempt).await?) {
                return Ok(Begin::Run { operation: attempt.operation });
            }
            let found = with_reader!(&self.store, conn => conn.key_get(key).await?);
            // Gone between the two statements: begin anew.
            let Some(found) = found else { continue };
            match judge(found, fingerprint, now) {
                Known::Answer(begin) => return Ok(begin),
                Known::Take(known) => {
                    let was = known.leased_until;
                    let taken = with_writer!(&self.store, conn => conn.key_lease(key, leased_until, was).await?);
                    if taken {
                        return Ok(Begin::Run { operation: known.operation });
                    }
                }
                Known::Forget(known) => {
                    with_writer!(&self.store, conn => conn.key_delete(key, known.created_at).await?);
                }
            }
        }
    }

    async fn store_answer(&self, key: &str, answer: &Stored) -> sqlx::Result<()> {
        let headers = serde_json::to_string(&answer.headers).map_err(|e| sqlx::Error::Encode(e.into()))?;
        // An HTTP status has three digits.
        let status = i16::try_from(answer.status).unwrap_or(i16::MAX);
        let finished = Finished { status, headers, body: &answer.body };
        with_writer!(&self.store, conn => conn.key_finish(key, &finished).await)
    }
}

fn judge(found: Answer, fingerprint: &Fingerprint, now: i64) -> Known {
    if found.created_at + ms(KEEP) <= now {
        return Known::Forget(found);
    }
    if !fingerprint.is_of(&found.fingerprint) {
        return Known::Answer(Begin::Mismatch);
    }
    match found.status {
        Some(status) => Known::Answer(Begin::Replay(Stored {
            status: u16::try_from(status).unwrap_or(200),
            headers: found.headers.and_then(|h| serde_json::from_str(&h).ok()).unwrap_or_default(),
            body: found.body.unwrap_or_default(),
        })),
        None if found.leased_until <= now => Known::Take(found),
        None => Known::Answer(Begin::InFlight),
    }
}

fn ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[async_trait]
impl shop_idempotency::Store for Idempotency {
    async fn begin(&self, key: &str, fingerprint: &Fingerprint) -> Result<Begin, BoxError> {
        let begun = retry_transient(|| self.claim(key, fingerprint)).await;
        Ok(begun.inspect_err(|error| self.store.note(error))?)
    }

    async fn finish(&self, key: &str, answer: &Stored) -> Result<(), BoxError> {
        let stored = retry_transient(|| self.store_answer(key, answer)).await;
        Ok(stored.inspect_err(|error| self.store.note(error))?)
    }

    async fn abandon(&self, key: &str) -> Result<(), BoxError> {
        with_writer!(&self.store, conn => conn.key_release(key).await?);
        Ok(())
    }
}

impl std::fmt::Debug for Idempotency {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Idempotency").field("store", &self.store).finish_non_exhaustive()
    }
}
