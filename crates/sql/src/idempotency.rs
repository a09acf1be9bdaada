//! Idempotency keys in a service's own store, on all three engines.

use std::borrow::Cow;

use async_trait::async_trait;
use shop_clock::{SharedClock, millis};
use shop_idempotency::{Begin, BoxError, Claim, KEEP, LEASE, Lease, Stored};

use crate::store::{with_reader, with_writer};
use crate::tables::{Attempt, Finished, Known, Tables};
use crate::{Store, retry_transient};

/// What stands in the place of a fingerprint where the key is free for any request: no request has it.
const VACANT: [u8; 32] = [0; 32];

/// The keys and answers of one service.
pub struct Idempotency {
    store: Store,
    clock: SharedClock,
}

/// What to do about a key that is known already.
enum Next {
    Answer(Begin),
    /// Nobody holds it: try to take it.
    Take {
        fresh: bool,
    },
    /// It is older than promised: forget it and begin anew.
    Forget,
    /// It is another operation's; this one's is kept beside it.
    Beside,
}

impl Idempotency {
    /// Keys kept in the table `idempotency_keys` of `store`.
    pub fn new(store: impl Into<Store>, clock: SharedClock) -> Self {
        Self { store: store.into(), clock }
    }

    fn now(&self) -> i64 {
        millis(self.clock.now())
    }

    async fn claim(&self, claim: &Claim) -> sqlx::Result<Begin> {
        let mut name = Cow::Borrowed(claim.name());
        loop {
            let (now, owner, operation) = (self.now(), self.clock.new_id(), self.clock.new_id());
            let attempt = Attempt {
                key: &name,
                method: claim.method,
                fingerprint: &claim.fingerprint.asked,
                operation,
                owner,
                now,
                leased_until: now + ms(LEASE),
            };
            let lease = Lease { name: name.clone().into_owned(), owner };
            if with_writer!(&self.store, conn => conn.key_insert(&attempt).await?) {
                return Ok(Begin::Run { lease, operation, fresh: true });
            }
            let found = with_reader!(&self.store, conn => conn.key_get(&name).await?);
            // Gone between the two statements: begin anew.
            let Some(found) = found else { continue };
            let (operation, created_at) = (found.operation, found.created_at);
            // Both: a lease that was let go ends at 0, however often it was taken since, and for which request.
            let (asked, until) = (found.fingerprint.clone(), found.leased_until);
            match judge(found, claim, now) {
                Next::Answer(begin) => return Ok(begin),
                Next::Take { fresh } => {
                    if with_writer!(&self.store, conn => conn.key_take(&attempt, (&asked, until)).await?) {
                        return Ok(Begin::Run { lease, operation, fresh });
                    }
                }
                Next::Forget => with_writer!(&self.store, conn => conn.key_delete(&name, created_at).await?),
                Next::Beside => {
                    // It has to outlive what is kept beside it: were it gone first, the next repeat would look no further.
                    if with_writer!(&self.store, conn => conn.key_touch(&name, now).await?) {
                        name = Cow::Owned(claim.second_name());
                    }
                }
            }
        }
    }

    async fn store_answers(&self, answers: &[(Lease, Stored)]) -> sqlx::Result<()> {
        let finished = answers.iter().map(|(lease, answer)| {
            let headers = serde_json::to_string(&answer.headers).map_err(|e| sqlx::Error::Encode(e.into()))?;
            // An HTTP status has three digits.
            let status = i16::try_from(answer.status).unwrap_or(i16::MAX);
            Ok(Finished { lease, status, headers, body: &answer.body })
        });
        let finished = finished.collect::<sqlx::Result<Vec<_>>>()?;
        with_writer!(&self.store, conn => conn.key_finish(&finished).await)
    }

    async fn hold(&self, leases: &[Lease], until: i64) -> sqlx::Result<()> {
        with_writer!(&self.store, conn => conn.key_hold(leases, until).await)
    }
}

fn judge(found: Known, claim: &Claim, now: i64) -> Next {
    if found.created_at + ms(KEEP) <= now {
        return Next::Forget;
    }
    // Versions that did not keep the operation are told apart by the fingerprint alone.
    if found.method.is_some_and(|method| method != claim.method) {
        return Next::Beside;
    }
    if found.fingerprint == VACANT {
        return Next::Take { fresh: true };
    }
    if !claim.fingerprint.is_of(&found.fingerprint) {
        return Next::Answer(Begin::Mismatch);
    }
    match found.status {
        Some(status) => Next::Answer(Begin::Replay(Stored {
            status: u16::try_from(status).unwrap_or(200),
            headers: found.headers.and_then(|h| serde_json::from_str(&h).ok()).unwrap_or_default(),
            body: found.body.unwrap_or_default(),
        })),
        None if found.leased_until <= now => Next::Take { fresh: false },
        None => Next::Answer(Begin::InFlight),
    }
}

fn ms(duration: std::time::Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[async_trait]
impl shop_idempotency::Store for Idempotency {
    async fn begin(&self, claim: &Claim) -> Result<Begin, BoxError> {
        let begun = retry_transient(|| self.claim(claim)).await;
        Ok(begun.inspect_err(|error| self.store.note(error))?)
    }

    async fn renew(&self, leases: &[Lease]) -> Result<(), BoxError> {
        let until = self.now() + ms(LEASE);
        Ok(retry_transient(|| self.hold(leases, until)).await?)
    }

    async fn finish(&self, answers: &[(Lease, Stored)]) -> Result<(), BoxError> {
        let stored = retry_transient(|| self.store_answers(answers)).await;
        Ok(stored.inspect_err(|error| self.store.note(error))?)
    }

    async fn release(&self, leases: &[Lease]) -> Result<(), BoxError> {
        Ok(retry_transient(|| self.hold(leases, 0)).await?)
    }

    async fn forget(&self, lease: &Lease) -> Result<(), BoxError> {
        with_writer!(&self.store, conn => conn.key_vacate(lease, &VACANT).await?);
        Ok(())
    }
}

impl std::fmt::Debug for Idempotency {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Idempotency").field("store", &self.store).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use shop_clock::SystemClock;
    use shop_idempotency::{Fingerprint, Key, Store as _};
    use shop_input::Id as _;
    use sqlx::Executor as _;

    use super::*;

    fn claim(asked: u8) -> Claim {
        let fingerprint = Fingerprint { asked: [asked; 32], bytes: [asked; 32] };
        Claim::new("ada".to_owned(), Key::read("order 17").expect("a key"), "CreatePayment", fingerprint)
    }

    #[tokio::test]
    async fn who_looked_at_a_free_key_does_not_get_that_of_a_request_that_ran_since() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = crate::sqlite(&folder.path().join("keys.db")).await.expect("opens");
        for file in crate::ddl::SQLITE {
            store.write.execute(file).await.expect("is made");
        }
        let keys = Idempotency::new(store.clone(), Arc::new(SystemClock));
        let Begin::Run { lease, operation, .. } = keys.begin(&claim(1)).await.expect("begins") else { panic!("runs") };
        keys.forget(&lease).await.expect("nothing was done");
        let mut conn = crate::acquire(&store.write).await.expect("a connection");
        let seen = conn.key_get(claim(1).name()).await.expect("reads").expect("is there");
        drop(conn);

        // Another request runs under the key, begins, and fails for now.
        let Begin::Run { lease, .. } = keys.begin(&claim(2)).await.expect("begins") else { panic!("runs") };
        keys.release(&[lease]).await.expect("lets go");

        let key = claim(3);
        let attempt = Attempt {
            key: key.name(),
            method: key.method,
            fingerprint: &key.fingerprint.asked,
            operation,
            owner: operation,
            now: keys.now(),
            leased_until: keys.now() + ms(LEASE),
        };
        let mut conn = crate::acquire(&store.write).await.expect("a connection");
        assert_eq!(seen.leased_until, 0, "as it is again now");
        assert!(!conn.key_take(&attempt, (&seen.fingerprint, 0)).await.expect("is asked for"));
        drop(conn);
        assert_eq!(keys.begin(&key).await.expect("begins"), Begin::Mismatch);
    }
}
